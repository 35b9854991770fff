//! What one call of a long-term pin does by itself: what its look at the range sees, whom it waits
//! for and how long, what it says stood in its way, and what it leaves.
#![cfg(not(loom))]

mod lab;

use gupstress_run::drive::sim::SimThread;
use gupstress_run::drive::{Driver, Step, Timed, Wait, Waited};
use gupstress_run::machine::{
    Backing, Frame, Gfp, Hindrance, Kind, Known, Layout, MAX_ORDER, Machine, Mapping, MappingId, Obstacle,
    PageIndex, ZERO_FRAME, flag, pages,
};
use gupstress_run::observe::{Event, Totals};
use gupstress_run::ops::{Caller, Errno, Pin, PinRequest, Task};
use gupstress_run::policy::{Policy, Source, load_kernel, load_policy};
use lab::Body;
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

const MS: u64 = 1_000_000;
const LAYOUT: Layout = Layout { normal: 1024, movable: 1023, cma: 0, page_bytes: 64 };
type Sets<'s> = &'s [(&'s str, &'s str)];

fn owned(sets: Sets<'_>) -> Vec<(String, String)> {
    sets.iter().map(|(key, word)| ((*key).to_owned(), (*word).to_owned())).collect()
}

/// A policy that gives up at the first failure and drains for nobody, but for what is said otherwise.
fn policy(sets: Sets<'_>) -> Policy {
    load_policy(Source::Preset("none"), &owned(&[&[("drain", "never")], sets].concat())).unwrap()
}

/// What another does at a step.
type Act = Box<dyn FnOnce(&Task<'_, SimThread<'_>>)>;

/// A thread that tells what it does, and that others get in between at the steps that are said.
struct Told<'a, 'b> {
    t: &'a Task<'a, SimThread<'b>>,
    /// Steps with their pages, and when each was over.
    steps: RefCell<Vec<(Step, Frame, u64)>>,
    hindered: RefCell<Vec<(Step, Hindrance)>>,
    sleeps: RefCell<Vec<u64>>,
    acts: RefCell<Vec<(Step, Act)>>,
}

impl Told<'_, '_> {
    fn at(&self, step: Step, act: impl FnOnce(&Task<'_, SimThread<'_>>) + 'static) {
        self.acts.borrow_mut().push((step, Box::new(act)));
    }
}

impl Driver for Told<'_, '_> {
    fn step(&self, at: Step, frame: Frame) {
        self.t.d.step(at, frame);
        self.steps.borrow_mut().push((at, frame, self.now()));
        let due = self.acts.borrow().iter().position(|&(step, _)| step == at);
        if let Some(nth) = due {
            let (_, act) = self.acts.borrow_mut().remove(nth);
            act(self.t);
        }
    }

    fn wait_until(&self, on: Wait, deadline: u64, ready: &dyn Fn() -> bool) -> Waited {
        if on == Wait::Time {
            self.sleeps.borrow_mut().push(deadline - self.now());
        }
        self.t.d.wait_until(on, deadline, ready)
    }

    fn wake(&self, on: Wait) {
        self.t.d.wake(on);
    }

    fn now(&self) -> u64 {
        self.t.d.now()
    }

    fn random(&self) -> u64 {
        self.t.d.random()
    }

    fn killed(&self) -> bool {
        self.t.d.killed()
    }

    fn id(&self) -> u32 {
        self.t.d.id()
    }

    fn hindered(&self, at: Step, by: Hindrance) {
        self.hindered.borrow_mut().push((at, by));
    }
}

/// A thread that tells what it does, on a machine with a mapping.
type At<'a, 'b, 'c> = (&'a Task<'a, Told<'b, 'c>>, &'a Mapping);

fn machine(sets: Sets<'_>, layout: &Layout) -> Arc<Machine> {
    Arc::new(Machine::new(load_kernel(Source::Preset("linux-7.2.13"), &owned(sets)).unwrap(), layout, 2))
}

fn body(id: MappingId, act: impl FnOnce(At<'_, '_, '_>) + 'static) -> Body {
    Box::new(move |t: &Task<'_, SimThread<'_>>| {
        let told = Told {
            t,
            steps: RefCell::default(),
            hindered: RefCell::default(),
            sleeps: RefCell::default(),
            acts: RefCell::default(),
        };
        act((&Task::new(t.m, &told, t.count, t.cpu()), t.m.mapping(id)));
        assert!(told.acts.borrow().is_empty(), "it did not come to every step");
    })
}

/// Runs the bodies to their end, each on a CPU of its own; then the machine must be sound.
#[track_caller]
fn play(m: &Arc<Machine>, bodies: Vec<Body>) -> Totals {
    let bodies = (0..).zip(bodies).collect();
    let ran = lab::run(m, Box::new(Timed::new(MS)), 1, 1000 * MS, bodies).unwrap();
    assert!(!ran.killed, "somebody did not end");
    let recount = m.validate(&Known::default());
    assert!(recount.complete && recount.broken.is_empty(), "{:#?}", recount.broken);
    ran.totals
}

/// One body with a mapping on the newest kernel, some of whose rules are others.
#[track_caller]
fn with(
    rules: Sets<'_>,
    backing: impl Into<Backing>,
    len: u32,
    act: impl FnOnce(At<'_, '_, '_>) + 'static,
) -> Totals {
    let m = machine(rules, &LAYOUT);
    let id = m.map(backing, len).id;
    play(&m, vec![body(id, act)])
}

/// Pins all of a mapping.
fn pin(
    (t, mapping): At<'_, '_, '_>,
    caller: Caller,
    policy: &Policy,
    write: bool,
) -> (Result<(), Errno>, Pin) {
    let mut pin = Pin::default();
    let request = PinRequest::new(policy, mapping, mapping.vma.pages(), write).by(caller);
    (t.pin_longterm_by(caller, &request, &mut pin), pin)
}

/// The same, and gives it back: sweeps that it took.
#[track_caller]
fn pinned(at: At<'_, '_, '_>, caller: Caller, policy: &Policy) -> u32 {
    let (result, mut pin) = pin(at, caller, policy, true);
    assert_eq!(result, Ok(()));
    at.0.unpin_longterm(&mut pin);
    pin.sweeps
}

fn frame(mapping: &Mapping, index: u32) -> Frame {
    mapping.vma.pte(PageIndex(index)).frame()
}

/// Pages that must move, on the LRU.
fn listed((t, mapping): At<'_, '_, '_>) {
    t.touch(mapping, mapping.vma.pages()).unwrap();
    t.lru_add_drain();
}

// ------------------------------------------------------------ the look

#[test]
fn a_look_ahead_of_a_pin_faults_in_what_the_pin_is_to_find() {
    const LOOK: (&str, &str) = ("look", "before-pin");
    // Memory for a pin comes from where it may stay.
    let fresh = with(&[], Kind::Anon, 2, |at| assert_eq!(pinned(at, Caller::IoUring, &policy(&[LOOK])), 1));
    assert_eq!((fresh.get(Event::Faults), fresh.get(Event::IsolateCalls)), (2, 0));
    // So do copies of what a child shares: the shared page is nobody's to move.
    let shared = with(&[], Kind::Anon, 2, |at| {
        listed(at);
        at.0.fork(at.1, at.1.vma.pages()).unwrap();
        assert_eq!(pinned(at, Caller::IoUring, &policy(&[LOOK])), 1);
    });
    assert_eq!(shared.get(Event::IsolateCalls), 0);
    // Of an untouched page, who reads finds the zero page, unless the policy has it replaced.
    for (word, zero) in [("pinnable", true), ("write-fault", false)] {
        let read = with(&[("unshare", "never")], Kind::Anon, 1, move |at| {
            let (result, mut pin) = pin(at, Caller::IoUring, &policy(&[LOOK, ("zero_page", word)]), false);
            assert_eq!((result, pin.sweeps), (Ok(()), 1), "{word}");
            assert_eq!(pin.pages[0] == ZERO_FRAME, zero, "{word}");
            at.0.unpin_longterm(&mut pin);
        });
        assert_eq!(read.get(Event::IsolateCalls), 0, "{word}");
    }
}

#[test]
fn what_a_look_holds_of_a_page_itself_is_no_reason_to_drain() {
    for caller in [Caller::IoUring, Caller::Udmabuf] {
        for look in [("look", "before-pin"), ("order", "unpin-first")] {
            let totals = with(&[], Kind::Shmem, 2, move |at| {
                listed(at);
                if caller == Caller::Udmabuf {
                    // It looks into the page cache, whatever is mapped.
                    at.0.madvise_dontneed(at.1, at.1.vma.pages()).unwrap();
                }
                assert_eq!(pinned(at, caller, &policy(&[("drain", "extra-refs"), look])), 2, "{caller:?}");
                let drains = [Step::CollectDrainLocal, Step::CollectDrainAll];
                let drained = at.0.d.steps.borrow().iter().filter(|(at, ..)| drains.contains(at)).count();
                assert_eq!(drained, 0, "{caller:?}, {look:?}");
            });
            assert_eq!(totals.get(Event::Migrated), 2, "{caller:?}, {look:?}");
        }
    }
}

#[test]
fn a_drain_is_for_the_page_that_it_is_done_for() {
    with(&[], Kind::Anon, 1, |at| {
        at.0.touch(at.1, at.1.vma.pages()).unwrap();
        let batched = frame(at.1, 0);
        pinned(at, Caller::IoUring, &policy(&[("drain", "extra-refs")]));
        let steps = at.0.d.steps.borrow();
        let drained: Vec<Frame> = steps
            .iter()
            .filter(|&&(at, ..)| at == Step::CollectDrainLocal)
            .map(|&(_, frame, _)| frame)
            .collect();
        assert_eq!(drained, [batched]);
    });
}

#[test]
fn a_page_that_has_left_the_range_before_it_is_isolated_is_passed_over() {
    let totals = with(&[], Kind::Anon, 2, |(t, mapping)| {
        t.touch(mapping, pages(0..1)).unwrap();
        t.lru_add_drain();
        let (id, left) = (mapping.id, frame(mapping, 0));
        t.d.at(Step::CollectIsolate, move |other| {
            // Another page has its frame by then.
            let mapping = other.m.mapping(id);
            other.madvise_dontneed(mapping, pages(0..1)).unwrap();
            [1, 0].into_iter().for_each(|index| other.touch(mapping, PageIndex(index).run(1)).unwrap());
            other.lru_add_drain();
            assert_eq!(frame(mapping, 1), left);
        });
        let patient = [("order", "unpin-first"), ("empty", "retry"), ("isolate_retries", "unlimited")];
        let (policy, mut pin) = (policy(&patient), Pin::default());
        t.pin_longterm(&PinRequest::new(&policy, mapping, pages(0..1), true), &mut pin).unwrap();
        t.unpin_longterm(&mut pin);
    });
    assert_eq!((totals.get(Event::IsolateCalls), totals.get(Event::Migrated)), (1, 1));
}

// ------------------------------------------------------------ why it failed

/// What a call that fails says stood in its way; each page is prepared, and given back after it.
fn in_the_way(
    backing: impl Into<Backing>,
    before: impl Fn(At<'_, '_, '_>) + 'static,
    after: impl Fn(At<'_, '_, '_>) + 'static,
) -> (Step, Hindrance, Vec<Frame>) {
    let (found, told) = (Rc::new(RefCell::new(None)), Rc::new(RefCell::new(Vec::new())));
    let (said, frames) = (Rc::clone(&found), Rc::clone(&told));
    with(&[], backing, 2, move |at| {
        listed(at);
        frames.borrow_mut().extend([0, 1].map(|index| frame(at.1, index)));
        before(at);
        let (result, _) = pin(at, Caller::IoUring, &policy(&[]), true);
        assert!(result.is_err());
        let mut hindered = at.0.d.hindered.borrow_mut();
        assert_eq!(hindered.len(), 1, "{hindered:?}");
        *said.borrow_mut() = hindered.pop();
        after(at);
    });
    let (step, by) = found.take().unwrap();
    (step, by, told.take())
}

/// Of two pages those that stand in the way for good, and which it is put down to.
const WORST: [(&[u32], usize); 4] = [(&[], 0), (&[1], 1), (&[0], 0), (&[0, 1], 0)];

#[test]
fn of_pages_that_are_not_isolated_the_first_counts_unless_another_never_will_be() {
    for (poisoned, wanted) in WORST {
        let (step, by, frames) = in_the_way(
            Kind::Anon,
            move |(t, mapping)| {
                (0..2).for_each(|index| assert!(t.isolate_lru(frame(mapping, index))));
                poisoned.iter().for_each(|&index| _ = t.m.page(frame(mapping, index)).set(flag::HWPOISON));
            },
            move |(t, mapping)| {
                poisoned.iter().for_each(|&index| _ = t.m.page(frame(mapping, index)).clear(flag::HWPOISON));
                (0..2).for_each(|index| t.putback_lru(frame(mapping, index)));
            },
        );
        let page = by.page.unwrap();
        assert_eq!((step, page.frame), (Step::CollectIsolate, frames[wanted]), "{poisoned:?}");
        assert_eq!(by.obstacle == Obstacle::Hwpoison, !poisoned.is_empty(), "{poisoned:?}");
        // Its own pin is none of what others have.
        assert_eq!((page.pins, page.refcount - page.expected), (0, 1), "{poisoned:?}: the isolation's");
    }
}

#[test]
fn of_pages_that_are_not_migrated_the_first_counts_unless_another_never_will_be() {
    for (held, wanted) in WORST {
        let (_, by, frames) = in_the_way(
            Kind::Anon,
            move |(t, mapping)| {
                for index in 0..2 {
                    if held.contains(&index) {
                        t.hold(mapping, PageIndex(index).run(1), false).unwrap();
                    } else {
                        t.m.page(frame(mapping, index)).get(1);
                    }
                }
            },
            move |(t, mapping)| {
                for index in 0..2 {
                    let frame = frame(mapping, index);
                    if held.contains(&index) {
                        t.release(frame);
                    } else {
                        assert!(!t.m.page(frame).put_testzero(1));
                    }
                }
            },
        );
        assert_eq!(by.page.unwrap().frame, frames[wanted], "{held:?}");
        assert_eq!(
            by.obstacle,
            if held.is_empty() { Obstacle::ShortRefs { refs: 1 } } else { Obstacle::Held { holders: 1 } }
        );
    }
}

#[test]
fn pins_of_each_page_of_a_folio_are_the_callers_own() {
    let (_, by, frames) = in_the_way(
        Backing { kind: Kind::Anon, order: 1 },
        |(t, mapping)| assert!(t.isolate_lru(frame(mapping, 0))),
        |(t, mapping)| t.putback_lru(frame(mapping, 0)),
    );
    let page = by.page.unwrap();
    assert_eq!(frames[1], frames[0] + 1, "one folio");
    assert_eq!((page.pins, page.refcount - page.expected), (0, 1));
}

#[test]
fn a_call_that_comes_to_nothing_holds_no_pins() {
    let m = machine(&[], &LAYOUT);
    let id = m.map(Kind::Anon, 1).id;
    play(
        &m,
        vec![body(id, |at| {
            at.0.munmap(at.1, at.1.vma.pages()).unwrap();
            for _ in 0..2 {
                assert_eq!(pin(at, Caller::IoUring, &policy(&[]), true).0, Err(Errno::EFAULT));
            }
            let hindered = at.0.d.hindered.borrow();
            let bad = Hindrance { obstacle: Obstacle::BadAddress, page: None };
            assert_eq!(hindered[..], [(Step::Fault, bad.clone()), (Step::Fault, bad)]);
        })],
    );
    assert_eq!(m.passing.most(), 1, "the first had ended when the second began");
}

#[test]
fn who_fails_for_another_reason_is_beyond_a_limit_only_if_all_its_pages_would_be() {
    for (memlock, beyond) in [(2, false), (1, true)] {
        let m = machine(&[], &LAYOUT);
        m.accounts.set_memlock(memlock);
        let id = m.map(Kind::Anon, 2).id;
        play(
            &m,
            vec![body(id, move |at| {
                listed(at);
                assert!(at.0.isolate_lru(frame(at.1, 0)));
                let (result, pin) = pin(at, Caller::IoUring, &policy(&[]), true);
                assert_eq!(result, Err(Errno::EBUSY));
                assert_eq!(pin.over_limit, beyond.then_some(Obstacle::Memlock));
                at.0.putback_lru(frame(at.1, 0));
            })],
        );
    }
}

#[test]
fn who_gets_no_page_from_the_pool_has_no_memory() {
    with(&[], Kind::Hugeshm, 512, |at| {
        assert_eq!(pin(at, Caller::Udmabuf, &policy(&[]), true).0, Err(Errno::ENOMEM));
        let hindered = at.0.d.hindered.borrow();
        assert_eq!(hindered[..], [(Step::Fault, Hindrance { obstacle: Obstacle::NoMemory, page: None })]);
    });
}

#[test]
fn a_reserved_page_is_reported_and_the_zero_page_is_none() {
    let report = [("permanent", "report"), ("zero_page", "must-move")];
    with(&[("unshare", "never")], Kind::Anon, 1, move |at| {
        at.0.read(at.1, at.1.vma.pages()).unwrap();
        assert_eq!(frame(at.1, 0), ZERO_FRAME);
        assert_eq!(
            pin(at, Caller::IoUring, &policy(&report), false).0,
            Err(Errno::EBUSY),
            "of its isolation"
        );
    });
    with(&[], Kind::Anon, 1, move |at| {
        listed(at);
        let page = at.0.m.page(frame(at.1, 0));
        page.set(flag::RESERVED);
        assert_eq!(pin(at, Caller::IoUring, &policy(&report), true).0, Err(Errno::EFAULT));
        page.clear(flag::RESERVED);
    });
}

// ------------------------------------------------------------ waits

/// How long a call pauses each time, one page of which another has for good, and how often that counts.
fn pauses(sets: Sets<'_>) -> (Vec<u64>, u64) {
    let policy = policy(sets);
    let told = Rc::new(RefCell::new(Vec::new()));
    let said = Rc::clone(&told);
    let totals = with(&[], Kind::Anon, 1, move |at| {
        listed(at);
        assert!(at.0.isolate_lru(frame(at.1, 0)));
        assert_eq!(pin(at, Caller::IoUring, &policy, true).0, Err(Errno::EBUSY));
        said.borrow_mut().extend(at.0.d.sleeps.take());
        at.0.putback_lru(frame(at.1, 0));
    });
    (told.take(), totals.get(Event::Backoffs))
}

#[test]
fn a_pause_is_as_long_as_the_policy_says_and_none_is_no_pause() {
    assert_eq!(pauses(&[("isolate_retries", "3")]), (vec![], 0));
    let two = [("isolate_retries", "3"), ("backoff_min", "2ns"), ("backoff_max", "2ns")];
    assert_eq!(pauses(&two), (vec![2; 3], 3));
    // Half of it is drawn, all of that or none of it included.
    let (lengths, n) = pauses(&[&two[1..], &[("isolate_retries", "40"), ("backoff_jitter", "0.5")]].concat());
    let count = |length: u64| lengths.iter().filter(|&&it| it == length).count();
    assert_eq!((lengths.len(), n, count(1) + count(2)), (40, 40, 40), "{lengths:?}");
    assert!(count(1) > 5 && count(2) > 5, "{lengths:?}");
}

/// One page is pinned by another, one is in another's hands: each is let go of when it is waited for.
#[test]
fn who_waits_for_others_waits_until_they_have_let_go_and_no_longer() {
    let totals = with(&[], Kind::Anon, 2, |(t, mapping)| {
        listed((t, mapping));
        let [taken, isolated] = [0, 1].map(|index| frame(mapping, index));
        assert!(t.isolate_lru(isolated));
        let (stays, mut theirs) = (policy(&[("scope", "cma")]), Pin::default());
        t.pin_longterm(&PinRequest::new(&stays, mapping, pages(0..1), true), &mut theirs).unwrap();
        assert_eq!(theirs.pages, [taken]);
        t.d.at(Step::Backoff, move |other| other.unpin_longterm(&mut theirs));
        t.d.at(Step::WaitOwner, move |other| {
            other.putback_lru(isolated);
            other.lru_add_drain();
        });
        let patient =
            [("other_pinner", "wait"), ("isolate_retries", "unlimited"), ("migrate_retries", "unlimited")];
        assert_eq!(pinned((t, mapping), Caller::IoUring, &policy(&patient)), 3);
    });
    let counted = [Event::Backoffs, Event::OwnerWaits, Event::MigrateCalls, Event::Migrated];
    assert_eq!(counted.map(|event| totals.get(event)), [1, 1, 3, 2]);
}

#[test]
fn sweeps_with_tickets_come_one_after_the_other() {
    let m = machine(&[], &LAYOUT);
    let spans = Rc::new(RefCell::new(Vec::new()));
    let bodies = [(); 2].map(|()| {
        let (id, spans) = (m.map(Kind::Anon, 8).id, Rc::clone(&spans));
        body(id, move |at| {
            at.0.touch_pinnable(at.1, at.1.vma.pages()).unwrap();
            let begun = at.0.d.steps.borrow().len();
            assert_eq!(pinned(at, Caller::GupSlow, &policy(&[("waiters", "ticket")])), 1);
            let steps = at.0.d.steps.borrow();
            let walks: Vec<u64> =
                steps[begun..].iter().filter(|(at, ..)| *at == Step::GupWalk).map(|&(.., at)| at).collect();
            spans.borrow_mut().push((walks[0], *walks.last().unwrap()));
        })
    });
    let totals = play(&m, bodies.into());
    let mut spans = spans.take();
    spans.sort_unstable();
    assert!(totals.get(Event::TurnWaits) > 0, "they began at once");
    assert!(spans[0].1 < spans[1].0, "{spans:?}");
}

// ------------------------------------------------------------ what it leaves

#[test]
fn the_time_with_pins_is_from_the_beginning_of_the_sweep_to_its_end() {
    with(&[], Kind::Anon, 4, |at| {
        at.0.touch_pinnable(at.1, at.1.vma.pages()).unwrap();
        let (result, mut pin) = pin(at, Caller::GupSlow, &policy(&[]), true);
        let now = at.0.d.now();
        assert_eq!((result, pin.sweeps), (Ok(()), 1));
        let begun = at.0.d.steps.borrow().iter().find(|(at, ..)| *at == Step::Sweep).unwrap().2;
        assert_eq!(at.0.count.get(Event::PinnedNs), now - begun);
        at.0.unpin_longterm(&mut pin);
    });
}

#[test]
fn pages_are_accessed_by_who_pins_them_for_others_and_not_by_who_does_for_itself() {
    for (caller, accessed) in [(Caller::Vfio, true), (Caller::GupSlow, false)] {
        with(&[], Kind::Shmem, 1, move |at| {
            at.0.touch_pinnable(at.1, at.1.vma.pages()).unwrap();
            at.0.lru_add_drain();
            let page = at.0.m.page(frame(at.1, 0));
            page.clear(flag::REFERENCED | flag::ACTIVE);
            pinned(at, caller, &policy(&[]));
            assert_eq!(page.has(flag::REFERENCED), accessed, "{caller:?}");
        });
    }
}

#[test]
fn who_pins_a_page_to_read_it_has_accessed_it_unless_it_is_the_zero_page() {
    for zero in [false, true] {
        with(&[("zero_page_counts", "true")], Kind::Anon, 1, move |at| {
            let (t, mapping) = at;
            if zero {
                t.read(mapping, pages(0..1)).unwrap();
            } else {
                t.touch_pinnable(mapping, pages(0..1)).unwrap();
                t.mprotect_readonly(mapping, pages(0..1)).unwrap();
            }
            t.lru_add_drain();
            let mapped = frame(mapping, 0);
            assert!(t.m.is_zero(mapped) == zero && !mapping.vma.pte(PageIndex(0)).is_writable());
            t.m.page(mapped).clear(flag::REFERENCED | flag::ACTIVE);
            let (result, mut pin) = pin(at, Caller::Vfio, &policy(&[]), false);
            assert_eq!(result, Ok(()));
            assert_eq!(t.m.page(mapped).has(flag::REFERENCED), !zero);
            t.unpin_longterm(&mut pin);
        });
    }
}

#[test]
fn a_range_in_parts_takes_the_sweeps_of_all_parts() {
    for (moves, sweeps) in [(false, 2), (true, 4)] {
        with(&[], Kind::Anon, 513, move |at| {
            if moves {
                listed(at);
            } else {
                at.0.touch_pinnable(at.1, at.1.vma.pages()).unwrap();
            }
            let (result, mut pin) = pin(at, Caller::Vfio, &policy(&[]), true);
            assert_eq!((result, pin.sweeps, pin.contended), (Ok(()), sweeps, moves));
            at.0.unpin_longterm(&mut pin);
        });
    }
}

#[test]
fn a_folio_that_was_pinned_as_one_is_given_back_as_one() {
    with(&[], Backing { kind: Kind::Shmem, order: 2 }, 4, |at| {
        listed(at);
        let (result, mut pin) = pin(at, Caller::Udmabuf, &policy(&[]), true);
        assert_eq!(result, Ok(()));
        let folio = at.0.m.folio(frame(at.1, 0));
        assert_eq!((pin.pages.len(), folio.order(), folio.pincount()), (4, 2, 1));
        at.0.unpin_longterm(&mut pin);
        assert_eq!(folio.pincount(), 0);
    });
}

/// How many pins of the first of two folios of four pages stay, of a registered buffer of this part of
/// both. `copied`: whether the second is four single pages by then.
fn kept(coalesce: &str, buffer: Range<u32>, copied: bool) -> i32 {
    let kept = Rc::new(Cell::new(0));
    let pins = Rc::clone(&kept);
    with(&[("coalesce", coalesce)], Backing { kind: Kind::Anon, order: 2 }, 8, move |(t, mapping)| {
        t.touch_pinnable(mapping, pages(0..8)).unwrap();
        assert_eq!(frame(mapping, 4), frame(mapping, 3) + 1, "beside each other");
        if copied {
            t.fork(mapping, pages(4..8)).unwrap();
            t.touch_pinnable(mapping, pages(4..8)).unwrap();
            assert_eq!(t.m.folio(frame(mapping, 4)).order(), 0);
        }
        let (policy, mut pin) = (policy(&[]), Pin::default());
        let request = PinRequest::new(&policy, mapping, pages(buffer), true);
        t.pin_longterm_by(Caller::IoUring, &request, &mut pin).unwrap();
        pins.set(t.m.folio(frame(mapping, 3)).pincount());
        t.unpin_longterm(&mut pin);
        assert_eq!(t.m.folio(frame(mapping, 3)).pincount(), 0);
    });
    kept.get()
}

#[test]
fn of_a_buffer_in_folios_that_follow_one_another_one_pin_a_folio_stays() {
    for (coalesce, buffer, copied, wanted) in [
        ("never", 0..4, false, 4),
        ("one", 0..4, false, 1),
        ("one", 1..3, false, 1),
        ("one", 0..8, false, 4),
        ("several", 0..4, false, 1),
        ("several", 0..8, false, 1),
        ("several", 2..7, false, 1),
        ("several", 0..8, true, 4),
    ] {
        assert_eq!(kept(coalesce, buffer.clone(), copied), wanted, "{coalesce} {buffer:?} {copied}");
    }
}

/// What becomes of a pin of so many pages, with so many left: whether it fails, and pins that are lost.
fn arrayed(leaks: bool, pages: u32, left: u32) -> (Result<(), Errno>, usize) {
    let layout = Layout { normal: pages + left, movable: 63, ..LAYOUT };
    let m = machine(&[("folio_array_leaks", if leaks { "true" } else { "false" })], &layout);
    let (id, ended) = (m.map(Kind::Anon, pages).id, Rc::new(Cell::new(Ok(()))));
    let result = Rc::clone(&ended);
    play(
        &m,
        vec![body(id, move |at| {
            let (ended, mut pin) = pin(at, Caller::GupSlow, &policy(&[]), true);
            result.set(ended);
            at.0.unpin_longterm(&mut pin);
        })],
    );
    (ended.get(), m.leaked().len())
}

#[test]
fn pins_are_lost_without_memory_for_an_array_of_them_that_is_costly() {
    // 512 pointers to a page, and 8 pages are had whatever it takes.
    let most = 8 * 512;
    assert_eq!(arrayed(true, most + 1, 8), (Err(Errno::ENOMEM), most as usize + 1));
    assert_eq!(arrayed(true, most, 8), (Ok(()), 0), "that is not costly");
    assert_eq!(arrayed(true, most + 1, 256), (Ok(()), 0), "there is memory for it");
    assert_eq!(arrayed(false, most + 1, 8), (Ok(()), 0), "other kernels have it elsewhere");
}

#[test]
fn who_reports_at_once_what_lasts_says_that_a_page_is_poisoned() {
    for report in [false, true] {
        with(&[], Kind::Anon, 1, move |at| {
            let (t, mapping) = at;
            t.touch(mapping, pages(0..1)).unwrap();
            t.lru_add_drain();
            let page = t.m.page(frame(mapping, 0));
            page.set(flag::HWPOISON);
            let policy = policy(if report { &[("permanent", "report")] } else { &[] });
            let (result, mut pin) = pin(at, Caller::GupSlow, &policy, true);
            assert_eq!(result == Err(Errno::EHWPOISON), report, "{result:?}");
            t.unpin_longterm(&mut pin);
            page.clear(flag::HWPOISON);
        });
    }
}

// ------------------------------------------------------------ the fast path

#[test]
fn a_reference_of_the_fast_path_is_kept_only_where_its_page_is_mapped_still() {
    for leaves in [false, true] {
        let totals = with(&[], Kind::Anon, 2, move |at| {
            let (t, mapping) = at;
            t.touch_pinnable(mapping, pages(0..1)).unwrap();
            t.lru_add_drain();
            let (id, before) = (mapping.id, frame(mapping, 0));
            if leaves {
                t.d.at(Step::GupFast, move |other| {
                    let mapping = other.m.mapping(id);
                    other.madvise_dontneed(mapping, pages(0..1)).unwrap();
                    other.touch_pinnable(mapping, pages(0..1)).unwrap();
                    other.lru_add_drain();
                });
            }
            let (policy, mut pin) = (policy(&[]), Pin::default());
            t.pin_longterm(&PinRequest::new(&policy, mapping, pages(0..1), true), &mut pin).unwrap();
            assert_eq!((pin.pages[0], pin.pages[0] == before), (frame(mapping, 0), !leaves));
            t.unpin_longterm(&mut pin);
        });
        // The one that was in vain is none that the slow path takes.
        assert_eq!(totals.get(Event::Acquired), 1 + u64::from(leaves));
    }
}

#[test]
fn the_fast_path_has_pages_by_a_pmd_as_by_ptes() {
    for order in [0, MAX_ORDER] {
        let totals = with(&[], Backing { kind: Kind::Anon, order }, 1 << MAX_ORDER, |(t, mapping)| {
            t.touch_pinnable(mapping, mapping.vma.pages()).unwrap();
            t.lru_add_drain();
            let (policy, mut pin) = (policy(&[]), Pin::default());
            let some = PinRequest::new(&policy, mapping, pages(3..8), true);
            t.pin_longterm(&some, &mut pin).unwrap();
            t.unpin_longterm(&mut pin);
        });
        assert_eq!((totals.get(Event::GupFast), totals.get(Event::Acquired)), (5, 5), "order {order}");
    }
}

// ------------------------------------------------------------ in the midst of its faults

#[test]
fn a_folio_is_given_back_where_part_of_its_place_has_been_taken_meanwhile() {
    for order in [2, MAX_ORDER] {
        let huge = Backing { kind: Kind::Anon, order };
        let totals = with(&[], huge, 1 << order, move |(t, mapping)| {
            let id = mapping.id;
            t.d.at(Step::FaultAlloc, move |other| {
                // There is no second one.
                let take = || other.m.memory.alloc(other.cpu(), Gfp::Movable, order);
                let kept: Vec<Frame> = std::iter::from_fn(take).map(|fresh| fresh.publish()).collect();
                let mapping = other.m.mapping(id);
                other.touch(mapping, pages(3..4)).unwrap();
                kept.iter().for_each(|&frame| other.put(frame, 1));
            });
            t.touch(mapping, pages(0..1)).unwrap();
            let folio = |index| t.m.folio(frame(mapping, index)).order();
            assert_eq!((folio(3), frame(mapping, 0) + 3 == frame(mapping, 3)), (0, false), "order {order}");
            t.lru_add_drain();
        });
        assert!(totals.get(Event::Faults) > 1, "order {order}");
    }
}
