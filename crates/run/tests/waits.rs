//! Who comes in the midst of what another does, and waits for it: in random orders.
#![cfg(not(loom))]

mod lab;

use gupstress_run::drive::sim::SimThread;
use gupstress_run::drive::{
    Driver as _, Listed, Pending, Sched, Step, Strategy, TaskId, Timed, Uniform, Wait,
};
use gupstress_run::machine::{
    Backing, CpuId, Frame, Gfp, Kind, Known, Layout, MAX_ORDER, Machine, MappingId, NO_FRAME, Obstacle,
    PageIndex, Test, ZoneKind, flag, pages,
};
use gupstress_run::observe::{Event, Totals};
use gupstress_run::ops::{Caller, Errno, MigrateMode, Pin, PinRequest, Task};
use gupstress_run::policy::{Source, load_kernel, load_policy};
use lab::Body;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

const SEEDS: u64 = 60;
const HUGE: u32 = 1 << MAX_ORDER;
/// Room for huge pages and their copies, wherever they lie.
const LAYOUT: Layout = Layout { normal: 4 * HUGE, movable: 4 * HUGE, cma: 0, page_bytes: 64 };

/// A machine of two CPUs, and a mapping.
fn machine(kernel: &str, backing: impl Into<Backing>, pages: u32) -> (Arc<Machine>, MappingId) {
    let rules = load_kernel(Source::Preset(kernel), &[]).unwrap();
    let m = Arc::new(Machine::new(rules, &LAYOUT, 2));
    let id = m.map(backing, pages).id;
    (m, id)
}

fn body(body: impl FnOnce(&Task<'_, SimThread<'_>>) + 'static) -> Body {
    Box::new(body)
}

/// Runs the bodies in an order of the seed's, each on a CPU of its own; then the machine must be sound.
#[track_caller]
fn play(m: &Arc<Machine>, seed: u64, bodies: Vec<Body>) -> Totals {
    let bodies = (0..).zip(bodies).collect();
    let ran = lab::run(m, Box::new(Listed::new(Uniform::new(seed))), seed, 1_000_000_000, bodies).unwrap();
    assert!(!ran.killed, "seed {seed}: somebody did not end");
    let recount = m.validate(&Known::default());
    assert!(recount.complete && recount.broken.is_empty(), "seed {seed}: {:#?}", recount.broken);
    ran.totals
}

#[test]
fn a_child_that_is_forked_in_the_midst_of_a_migration_has_the_page_too() {
    for (kernel, order) in [("linux-5.13", 0), ("linux-6.1.192", 9), ("linux-7.2.13", 0), ("linux-7.2.13", 9)]
    {
        let midst = Rc::new(Cell::new(0));
        for seed in 0..SEEDS {
            let (m, id) = machine(kernel, Backing { kind: Kind::Anon, order }, 1 << order);
            let all = move || pages(0..1 << order);
            play(&m, seed, vec![body(move |t| t.touch(t.m.mapping(id), all()).unwrap())]);
            let policy = load_policy(Source::Preset(&m.rules.policy), &[]).unwrap();
            let pinner = body(move |t| {
                let request = PinRequest::new(&policy, t.m.mapping(id), pages(0..1), true);
                let mut pin = Pin::default();
                if t.pin_longterm(&request, &mut pin).is_ok() {
                    t.unpin_longterm(&mut pin);
                }
            });
            let count = Rc::clone(&midst);
            let forker = body(move |t| {
                // As far into the other's work as it may be.
                (0..t.d.below(60)).for_each(|_| t.d.step(Step::Idle, NO_FRAME));
                t.fork(t.m.mapping(id), all()).unwrap();
                t.m.mapping(id).for_each_child(|child| {
                    count.set(count.get() + u32::from(child.pte(PageIndex(0)).is_migration()));
                });
            });
            play(&m, seed, vec![pinner, forker]);
            m.mapping(id).for_each_child(|child| {
                let there = all().into_iter().all(|index| child.pte(index).is_present());
                assert!(there, "{kernel}, order {order}, seed {seed}: the child lacks a page");
            });
        }
        assert!(midst.get() > 0, "{kernel}, order {order}: no fork came in the midst of a migration");
    }
}

#[test]
fn who_faults_in_the_page_that_another_does_finds_it_where_the_pool_has_but_one() {
    for kind in [Kind::Hugetlb, Kind::Hugeshm] {
        let mut waits = 0;
        for seed in 0..SEEDS {
            let (m, id) = machine("linux-7.2.13", kind, HUGE);
            assert_eq!(m.set_hugetlb_pool(CpuId(0), 1), 1);
            assert!(m.reserve_hugetlb(CpuId(0), id, 1));
            let ended: Rc<RefCell<Vec<Result<(), Errno>>>> = Rc::default();
            let toucher = |at: u32| {
                let ended = Rc::clone(&ended);
                body(move |t| {
                    let touched = t.touch(t.m.mapping(id), pages(at..at + 1));
                    ended.borrow_mut().push(touched);
                })
            };
            let counted = play(&m, seed, vec![toucher(0), toucher(5)]);
            assert_eq!(*ended.borrow(), [Ok(()), Ok(())], "{kind:?}, seed {seed}");
            waits += counted.get(Event::LockWaits);
        }
        assert!(waits > 0, "{kind:?}: nobody came while the other was at it");
    }
}

#[test]
fn who_waited_for_the_lock_of_a_page_that_left_its_file_meanwhile_gets_another() {
    for order in [0, 2] {
        let (m, id) = machine("linux-7.2.13", Backing { kind: Kind::Shmem, order }, 4);
        let taken: Rc<Cell<Option<Frame>>> = Rc::default();
        let gone = Rc::clone(&taken);
        let holder = body(move |t| {
            let mapping = t.m.mapping(id);
            t.touch(mapping, pages(0..4)).unwrap();
            t.lru_add_drain_all(true);
            let frame = t.lock_page(mapping, PageIndex(0), &[]).unwrap();
            gone.set(Some(frame));
            // The other finds it in the cache alone.
            t.madvise_dontneed(mapping, pages(0..4)).unwrap();
            t.d.sleep(100_000);
            t.unlock_page(frame);
            t.madvise_remove(mapping, pages(0..4)).unwrap();
        });
        let waited = Rc::new(Cell::new(0));
        let waits = Rc::clone(&waited);
        let toucher = body(move |t| {
            while taken.get().is_none_or(|frame| {
                t.m.mapping(id).vma.pte(PageIndex(0)).is_present() || !t.m.page(frame).has(flag::LOCKED)
            }) {
                t.d.sleep(1_000);
            }
            t.touch(t.m.mapping(id), pages(0..1)).unwrap();
            waits.set(t.count.get(Event::LockWaits));
        });
        // Whoever is woken runs only once the page has left its file.
        let sched = Sched { wakeup_ns: 1_000_000, ..Sched::ideal(1_000_000) };
        let ran = lab::run(&m, Box::new(Timed::on(sched)), 1, 1_000_000_000, vec![(0, holder), (1, toucher)]);
        assert!(!ran.unwrap().killed);
        assert!(waited.get() > 0, "order {order}: it came too late");
        let mapping = m.mapping(id);
        let mapped = mapping.vma.pte(PageIndex(0));
        assert!(mapped.is_present(), "order {order}");
        assert_eq!(mapping.cached(PageIndex(0)), Some(mapped.frame()), "order {order}");
        let recount = m.validate(&Known::default());
        assert!(recount.complete && recount.broken.is_empty(), "order {order}: {:#?}", recount.broken);
    }
}

#[test]
fn a_hole_waits_for_the_lock_of_a_page_and_a_pin_fails_by_its_reference_meanwhile() {
    for order in [0, 2] {
        let (m, id) = machine("linux-7.2.13", Backing { kind: Kind::Shmem, order }, 4);
        let locked: Rc<Cell<Option<Frame>>> = Rc::default();
        let (seen, gone) = (Rc::clone(&locked), Rc::new(Cell::new(false)));
        let ended = Rc::clone(&gone);
        let holder = body(move |t| {
            let mapping = t.m.mapping(id);
            t.touch(mapping, pages(0..4)).unwrap();
            t.lru_add_drain_all(true);
            let frame = t.lock_page(mapping, PageIndex(0), &[]).unwrap();
            locked.set(Some(frame));
            t.d.sleep(1_000_000);
            assert!(!ended.get(), "order {order}: it did not wait");
            let folio = t.m.memory.folio(frame);
            let (found, expected) = (folio.refcount(), t.m.expected_refs(folio) + 1);
            let by = t.m.hindrance(frame, Test::Refs { found, expected }, t.d.id(), 0);
            assert!(matches!(by.obstacle, Obstacle::ShortRefs { refs: 1.. }), "order {order}: {by:?}");
            t.unlock_page(frame);
        });
        let puncher = body(move |t| {
            while seen.get().is_none() {
                t.d.sleep(1_000);
            }
            t.madvise_remove(t.m.mapping(id), pages(0..4)).unwrap();
            assert_eq!(t.count.get(Event::LockWaits), 1, "order {order}");
            gone.set(true);
        });
        let ran =
            lab::run(&m, Box::new(Timed::new(1_000_000)), 1, 1_000_000_000, vec![(0, holder), (1, puncher)]);
        assert!(!ran.unwrap().killed);
        let mapping = m.mapping(id);
        assert!(mapping.has_none_of(pages(0..4)), "order {order}: what was locked is in the file still");
        let recount = m.validate(&Known::default());
        assert!(recount.complete && recount.broken.is_empty(), "order {order}: {:#?}", recount.broken);
    }
}

/// Counts who is woken.
struct Woken(Timed, Rc<Cell<u32>>);

impl Strategy for Woken {
    fn begin(&mut self, seed: u64) {
        self.0.begin(seed);
    }
    fn enqueue(&mut self, pending: Pending) {
        self.1.set(self.1.get() + u32::from(pending.woken && pending.step == Step::FaultMutex));
        self.0.enqueue(pending);
    }
    fn dequeue(&mut self, task: TaskId) {
        self.0.dequeue(task);
    }
    fn ran(&mut self, task: TaskId, cpu: CpuId, from: u64, cost: u64) -> u64 {
        self.0.ran(task, cpu, from, cost)
    }
    fn earliest(&mut self) -> Option<u64> {
        self.0.earliest()
    }
    fn choose(&mut self, current: Option<TaskId>, before: u64) -> Option<(TaskId, u64)> {
        self.0.choose(current, before)
    }
    fn interrupts(&mut self, task: TaskId) -> bool {
        self.0.interrupts(task)
    }
    fn draw(&mut self, task: TaskId) -> u64 {
        self.0.draw(task)
    }
}

/// A machine with a pool of so many huge pages, and a mapping of that kind which has one reserved.
fn pool(kernel: &str, kind: Kind, size: u32) -> (Arc<Machine>, MappingId) {
    let rules = load_kernel(Source::Preset(kernel), &[]).unwrap();
    let m = Arc::new(Machine::new(rules, &LAYOUT, 8));
    let id = m.map(kind, HUGE).id;
    assert_eq!(m.set_hugetlb_pool(CpuId(0), size), size);
    assert!(m.reserve_hugetlb(CpuId(0), id, 1));
    (m, id)
}

#[test]
fn a_fault_of_the_pool_that_is_over_wakes_one_of_those_who_wait() {
    for kind in [Kind::Hugetlb, Kind::Hugeshm] {
        let (m, id) = pool("linux-7.2.13", kind, 1);
        let woken = Rc::new(Cell::new(0));
        let touch =
            || body(move |t: &Task<'_, SimThread<'_>>| t.touch(t.m.mapping(id), pages(0..1)).unwrap());
        let bodies = (0..8).map(|cpu| (cpu, touch())).collect();
        let strategy = Woken(Timed::new(1_000_000), Rc::clone(&woken));
        let ran = lab::run(&m, Box::new(strategy), 1, 1_000_000_000, bodies).unwrap();
        assert!(!ran.killed);
        let waits = ran.totals.get(Event::LockWaits);
        assert!(waits >= 2, "{waits}");
        assert!(u64::from(woken.get()) <= waits, "{} woken for {waits} waits", woken.get());
    }
}

#[test]
fn a_hole_and_a_page_made_for_a_pin_wait_for_a_fault_of_the_pool() {
    type Do = fn(&Task<'_, SimThread<'_>>, MappingId);
    let punch: Do = |t, id| t.madvise_remove(t.m.mapping(id), pages(0..HUGE)).unwrap_or_default();
    let pin: Do = |t, id| {
        let policy = load_policy(Source::Preset("linux-7.2"), &[]).unwrap();
        let request = PinRequest::new(&policy, t.m.mapping(id), pages(0..HUGE), true);
        let mut pin = Pin::default();
        if t.pin_longterm_by(Caller::Udmabuf, &request, &mut pin).is_ok() {
            t.unpin_longterm(&mut pin);
        }
    };
    let rows = [
        ("linux-7.2.13", true, punch, true),
        ("linux-6.12.57", true, punch, true),
        ("linux-7.2.13", false, pin, true),
        ("linux-6.12.57", false, pin, false),
        ("linux-7.2.13", true, pin, false),
    ];
    for (kernel, there, act, waits) in rows {
        // One of them where it may be pinned.
        let (m, id) = pool(kernel, Kind::Hugeshm, 5);
        let fill = body(move |t| {
            if there {
                t.touch(t.m.mapping(id), pages(0..1)).unwrap();
            }
        });
        lab::run(&m, Box::new(Timed::new(1_000_000)), 1, 1_000_000_000, vec![(0, fill)]).unwrap();
        // Somebody's fault, of whatever page.
        let mutexes = 8 * 8;
        assert!((0..mutexes).all(|number| m.hugetlb_fault_mutex(number).try_lock(99)));
        let ran = lab::run(
            &m,
            Box::new(Timed::new(1_000_000)),
            1,
            1_000_000_000,
            vec![(0, body(move |t| act(t, id)))],
        );
        assert_eq!(ran.unwrap().killed, waits, "{kernel}, there: {there}");
        assert!((0..mutexes).all(|number| m.hugetlb_fault_mutex(number).owner() == Some(99)));
    }
}

fn free(m: &Machine) -> usize {
    m.memory.free_in(ZoneKind::Normal) + m.memory.free_in(ZoneKind::Movable)
}

#[test]
fn of_two_who_fault_in_the_same_folio_one_gives_his_back() {
    for order in [2, MAX_ORDER] {
        let mut both = 0;
        for seed in 0..SEEDS {
            let (m, id) = machine("linux-7.2.13", Backing { kind: Kind::Anon, order }, 1 << order);
            let before = free(&m);
            let touch = |at: u32| body(move |t| t.touch(t.m.mapping(id), pages(at..at + 1)).unwrap());
            let counted = play(&m, seed, vec![touch(0), touch(3)]);
            let mapped = |index| m.mapping(id).vma.pte(PageIndex(index)).frame();
            assert_eq!(mapped(3), mapped(0) + 3, "order {order}, seed {seed}");
            assert_eq!(before - free(&m), 1 << order, "order {order}, seed {seed}");
            both += u32::from(counted.get(Event::Faults) == 2);
        }
        assert!(both > 0, "order {order}: one came too late each time");
    }
}

#[test]
fn a_huge_page_takes_the_place_of_the_huge_zero_page_only_while_that_is_mapped() {
    let mut midst = 0;
    for seed in 0..SEEDS {
        let (m, id) = machine("linux-7.2.13", Backing { kind: Kind::Anon, order: MAX_ORDER }, HUGE);
        play(&m, seed, vec![body(move |t| t.read(t.m.mapping(id), pages(0..1)).unwrap())]);
        let before = free(&m);
        let made: Rc<Cell<bool>> = Rc::default();
        let seen = Rc::clone(&made);
        let zapper = body(move |t| {
            (0..t.d.below(12)).for_each(|_| t.d.step(Step::Idle, NO_FRAME));
            let mapping = t.m.mapping(id);
            let zero = t.m.is_zero(mapping.vma.pte(PageIndex(0)).frame());
            seen.set(zero && free(t.m) < before);
            t.madvise_dontneed(mapping, pages(0..HUGE)).unwrap();
        });
        let toucher = body(move |t| t.touch(t.m.mapping(id), pages(0..1)).unwrap());
        let counted = play(&m, seed, vec![toucher, zapper]);
        // What was made in vain is followed by another fault.
        if made.get() {
            midst += 1;
            assert_eq!(counted.get(Event::Faults), 2, "seed {seed}");
        }
    }
    assert!(midst > 0, "nobody gave it up while its page was being made");
}

#[test]
fn who_forks_while_another_pins_by_gup_fast_makes_it_start_over() {
    let mut over = 0;
    for seed in 0..SEEDS {
        let (m, id) = machine("linux-7.2.13", Kind::Anon, 8);
        play(&m, seed, vec![body(move |t| t.touch_pinnable(t.m.mapping(id), pages(0..8)).unwrap())]);
        let policy = load_policy(Source::Preset(&m.rules.policy), &[]).unwrap();
        let pinner = body(move |t| {
            let request = PinRequest::new(&policy, t.m.mapping(id), pages(0..8), true);
            let mut pin = Pin::default();
            t.pin_longterm_by(Caller::GupFast, &request, &mut pin).unwrap();
            t.unpin_longterm(&mut pin);
        });
        let forker = body(move |t| {
            (0..t.d.below(12)).for_each(|_| t.d.step(Step::Idle, NO_FRAME));
            t.fork(t.m.mapping(id), pages(0..8)).unwrap();
        });
        let counted = play(&m, seed, vec![pinner, forker]);
        let [fast, slow, acquired] =
            [Event::GupFast, Event::SlowEntries, Event::Acquired].map(|event| counted.get(event));
        // All by the one way, or the rest by the other.
        assert_eq!(fast == 8, slow == 0, "seed {seed}: {fast} of {acquired} pins by GUP-fast");
        over += u32::from(fast == 0 && acquired > 8);
    }
    assert!(over > 0, "no fork came in the midst of it");
}

#[test]
fn who_gets_to_fault_in_a_page_of_the_pool_while_it_is_on_its_way_leaves_it_alone() {
    let mut waits = 0;
    for seed in 0..SEEDS {
        let (m, id) = pool("linux-7.2.13", Kind::Hugetlb, 6);
        // Its own, and not to be stored to without a fault.
        play(&m, seed, vec![body(move |t| t.read(t.m.mapping(id), pages(0..1)).unwrap())]);
        let mutexes = 0..8 * 8;
        assert!(mutexes.clone().all(|number| m.hugetlb_fault_mutex(number).try_lock(99)));
        let pte = move |m: &Machine| m.mapping(id).vma.pte(PageIndex(0));
        let toucher = body(move |t| t.touch(t.m.mapping(id), pages(0..1)).unwrap());
        let over: Rc<Cell<bool>> = Rc::default();
        let moved_on = Rc::clone(&over);
        let mover = body(move |t| {
            t.d.sleep(100_000);
            t.with_short_ref(t.m.mapping(id), PageIndex(0), |frame| assert!(t.isolate_lru(frame)));
            let moved = t.migrate_pages(&[pte(t.m).frame()], Gfp::Pin, MigrateMode::Sync);
            assert!(moved.is_complete());
            moved_on.set(true);
        });
        // Somebody else's fault, which is over in the midst of that.
        let other = body(move |t| {
            while !pte(t.m).is_migration() && !over.get() {
                t.d.step(Step::Idle, NO_FRAME);
            }
            for mutex in mutexes {
                if let Some(thread) = t.m.hugetlb_fault_mutex(mutex).unlock() {
                    t.d.wake(Wait::HugetlbFault { mutex, thread });
                }
            }
        });
        waits += play(&m, seed, vec![toucher, mover, other]).get(Event::MigrationWaits);
        assert!(pte(&m).is_writable(), "seed {seed}");
    }
    assert!(waits > 0, "nobody came to it in time");
}

/// Once its entry is gone the page may be anybody's.
#[test]
fn who_waits_for_a_page_that_is_moved_waits_once_and_not_for_a_strangers_lock() {
    let (mut waits, mut passed) = (0, 0);
    for seed in 0..4 * SEEDS {
        let (m, id) = machine("linux-7.2.13", Kind::Anon, 1);
        play(&m, seed, vec![body(move |t| t.touch(t.m.mapping(id), pages(0..1)).unwrap())]);
        let unlocked = Rc::new(Cell::new(false));
        let unlocks = Rc::clone(&unlocked);
        let mover = body(move |t| {
            let vma = &t.m.mapping(id).vma;
            let pte = vma.pte(PageIndex(0));
            let set = |pte| vma.lock(PageIndex(0)).set(PageIndex(0), pte);
            assert!(t.lock(pte.frame()));
            set(pte.to_migration(true));
            (0..8).for_each(|_| t.d.step(Step::Idle, NO_FRAME));
            set(pte);
            // The same frame, in another's hands.
            (0..40).for_each(|_| t.d.step(Step::Idle, NO_FRAME));
            unlocks.set(true);
            t.unlock(pte.frame());
        });
        let ended = Rc::new(Cell::new((0, false)));
        let ends = Rc::clone(&ended);
        let toucher = body(move |t| {
            t.touch(t.m.mapping(id), pages(0..1)).unwrap();
            ends.set((t.count.get(Event::MigrationWaits), unlocked.get()));
        });
        play(&m, seed, vec![mover, toucher]);
        let (waited, unlocked) = ended.get();
        assert!(waited <= 1, "seed {seed}: it looked at the entry {waited} times");
        waits += waited;
        passed += u32::from(waited == 1 && !unlocked);
    }
    assert!(waits > 20, "only {waits} came in the midst of it");
    assert!(passed > 0, "nobody found the entry gone");
}
