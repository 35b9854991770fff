//! The machine's own memory orderings, under the model checker.
//!
//! Each model is a machine of a few frames and two threads; loom runs it under
//! every interleaving up to a number of preemptions, and every value that a
//! relaxed load may return. Run with
//! `RUSTFLAGS="--cfg loom" cargo test --release --test loom`.
//!
//! A model counts the outcomes that it is about, so that one that no longer
//! reaches them fails instead of passing by doing nothing.
#![cfg(loom)]
// What loom calls `Sync` is checked by loom, one schedule at a time.
#![allow(clippy::arc_with_non_send_sync)]
// Outcomes are counted over all schedules, outside of any model.
#![allow(clippy::disallowed_types)]

use gupstress_run::drive::{Driver, Step, Wait, Waited};
use gupstress_run::machine::{
    Backing, CpuId, Frame, Gfp, Kind, Known, Layout, Machine, MappingId, Page, PageIndex, flag, pages,
};
use gupstress_run::observe::{Counters, Event};
use gupstress_run::ops::{Access, Dma, MigrateMode, Pin, PinRequest, Task};
use gupstress_run::policy::{Policy, Rules, Source, load_kernel, load_policy};
use gupstress_run::sync::{AtomicBool, Exclusive, Monitor, Ordering, thread};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// Runs a model under every schedule with at most `preemptions` forced switches.
fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    // `LOOM_MAX_PREEMPTIONS` looks deeper.
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.max_branches = 20_000;
    let schedules = Reached::default();
    let run = schedules.clone();
    builder.check(move || {
        run.count(true);
        model();
    });
    println!("{} schedules", schedules.0.load(Ordering::Relaxed));
}

/// How often an outcome was reached over all schedules.
#[derive(Clone, Default)]
struct Reached(Arc<AtomicUsize>);

impl Reached {
    fn count(&self, reached: bool) {
        self.0.fetch_add(usize::from(reached), Ordering::Relaxed);
    }

    #[track_caller]
    fn some(&self, what: &str) {
        assert_ne!(self.0.load(Ordering::Relaxed), 0, "no schedule reached: {what}");
    }
}

/// Runs a model of a tiny world, and sees that some schedule comes to each of the outcomes.
fn model<const N: usize>(
    preemptions: usize,
    kernel: (&str, &[(&str, &str)]),
    outcomes: [&str; N],
    model: impl Fn(&Arc<World>, &[Reached; N]) + Sync + Send + 'static,
) {
    model_of(TINY.normal, preemptions, kernel, outcomes, model);
}

/// The same of a world with so many frames.
fn model_of<const N: usize>(
    frames: u32,
    preemptions: usize,
    (kernel, sets): (&str, &[(&str, &str)]),
    outcomes: [&str; N],
    model: impl Fn(&Arc<World>, &[Reached; N]) + Sync + Send + 'static,
) {
    let (rules, policy) = (rules(kernel, sets), policy());
    let reached: [Reached; N] = std::array::from_fn(|_| Reached::default());
    let seen = reached.clone();
    explore(preemptions, move || model(&World::with(&rules, &policy, frames, false), &seen));
    reached.iter().zip(outcomes).for_each(|(reached, what)| reached.some(what));
}

fn words(sets: &[(&str, &str)]) -> Vec<(String, String)> {
    sets.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn rules(kernel: &str, sets: &[(&str, &str)]) -> Rules {
    let mut all = vec![("migrate_passes", "1")];
    all.extend_from_slice(sets);
    load_kernel(Source::Preset(kernel), &words(&all)).unwrap()
}

fn policy() -> Policy {
    load_policy(Source::Preset("linux-7.2"), &[]).unwrap()
}

/// Few frames, all outside Movable, of one word each.
const TINY: Layout = Layout { normal: 3, movable: 0, cma: 0, page_bytes: 8 };

/// A machine, with what its threads sleep on.
struct World {
    m: Machine,
    monitor: Monitor,
    policy: Policy,
    /// Whether the model has threads that are kworkers.
    kworkers: bool,
}

impl World {
    fn new(rules: &Rules, policy: &Policy) -> Arc<Self> {
        Self::with(rules, policy, TINY.normal, false)
    }

    fn with(rules: &Rules, policy: &Policy, frames: u32, kworkers: bool) -> Arc<Self> {
        Arc::new(Self {
            kworkers,
            m: Machine::new(rules.clone(), &Layout { normal: frames, ..TINY }, 2),
            monitor: Monitor::new(),
            policy: policy.clone(),
        })
    }

    /// Runs `body` as this thread's part, on `cpu`; one thread for each.
    fn on<R>(self: &Arc<Self>, cpu: u32, body: impl FnOnce(&Task<'_, Threads<'_>>) -> R) -> R {
        let count = Counters::default();
        let driver = Threads { world: self, id: cpu };
        body(&Task::new(&self.m, &driver, &count, CpuId(cpu)))
    }

    fn spawn<R: 'static>(
        self: &Arc<Self>,
        cpu: u32,
        body: impl FnOnce(&Task<'_, Threads<'_>>) -> R + 'static,
    ) -> thread::JoinHandle<R> {
        let world = Arc::clone(self);
        thread::spawn(move || world.on(cpu, body))
    }

    #[track_caller]
    fn assert_sound(&self) {
        let recount = self.m.validate(&Known::default());
        assert!(recount.checked > 0 && recount.broken.is_empty(), "{:?}", recount.broken);
    }
}

/// The model checker's threads: a step is nothing, as every access is one anyway.
struct Threads<'w> {
    world: &'w World,
    id: u32,
}

impl Driver for Threads<'_> {
    fn step(&self, _at: Step, _frame: Frame) {}

    fn wait_until(&self, on: Wait, _deadline: u64, ready: &dyn Fn() -> bool) -> Waited {
        if let Wait::DrainWork(cpu) = on
            && !self.world.kworkers
            && !ready()
        {
            // The waiter plays the kworker, which spares the model a thread.
            let count = Counters::default();
            Task::new(&self.world.m, self, &count, cpu).kworker(&|| true);
        }
        if !ready() {
            self.world.monitor.sleep_until(None, ready);
        }
        Waited::Ready
    }

    fn wake(&self, _on: Wait) {
        self.world.monitor.wake_all();
    }

    fn relax(&self) {
        thread::yield_now();
    }

    fn now(&self) -> u64 {
        0
    }

    fn random(&self) -> u64 {
        0
    }

    fn killed(&self) -> bool {
        false
    }

    fn id(&self) -> u32 {
        self.id
    }
}

/// Pins page 0, transfers through the pin, checks the transfer, unpins; true if the fast path did.
fn pin_and_transfer(t: &Task<'_, Threads<'_>>, mapping: MappingId, policy: &Policy) -> bool {
    let mapping = t.m.mapping(mapping);
    let request = PinRequest::new(policy, mapping, pages(0..1), true);
    let mut pin = Pin::default();
    t.pin_longterm(&request, &mut pin).unwrap();
    let dma = Dma { word: 0, token: 7 };
    t.dma_start(dma, &pin.pages);
    assert_eq!(t.dma_finish(dma, mapping, pages(0..1), &pin.pages), None, "the mapping lost its pinned page");
    t.unpin_user_pages(&pin.pages);
    t.count.get(Event::GupFast) == 1
}

/// Isolates page 0, whoever comes.
fn isolate(t: &Task<'_, Threads<'_>>, mapping: MappingId) -> Vec<Frame> {
    let mut isolated = Vec::new();
    t.with_short_ref(t.m.mapping(mapping), PageIndex(0), |frame| {
        assert!(t.isolate_lru(frame), "nobody else is there");
        isolated.push(frame);
    });
    isolated
}

/// Migrates what has been isolated; true if it moved.
fn migrate(t: &Task<'_, Threads<'_>>, isolated: &[Frame]) -> bool {
    let result = t.migrate_pages(isolated, Gfp::Pin, MigrateMode::Async);
    let moved = result.is_complete();
    t.putback_movable(result.left);
    moved
}

#[test]
fn a_monitor_loses_no_wake_up() {
    let slept = Reached::default();
    let seen = slept.clone();
    explore(3, move || {
        let monitor = Arc::new(Monitor::new());
        let flag = Arc::new(AtomicBool::new(false));
        let waker = {
            let (monitor, flag) = (Arc::clone(&monitor), Arc::clone(&flag));
            thread::spawn(move || {
                flag.store(true, Ordering::Release);
                monitor.wake_all();
            })
        };
        // A lost wake-up is a deadlock of the model.
        let looks = std::cell::Cell::new(0);
        monitor.sleep_until(None, &|| {
            looks.set(looks.get() + 1);
            flag.load(Ordering::Acquire)
        });
        seen.count(looks.get() > 1);
        waker.join().unwrap();
    });
    slept.some("a sleep that was woken");
}

#[test]
fn who_is_told_to_wait_for_a_flag_is_woken_by_who_clears_it() {
    let [waited, cleared] = [Reached::default(), Reached::default()];
    let seen = [waited.clone(), cleared.clone()];
    explore(3, move || {
        let page = Arc::new(Page::default());
        page.set(flag::LOCKED);
        let waker = {
            let page = Arc::clone(&page);
            thread::spawn(move || page.clear_awaited(flag::LOCKED))
        };
        let clear = page.is_clear_or_awaited(flag::LOCKED);
        assert_eq!(waker.join().unwrap(), !clear);
        seen[0].count(!clear);
        seen[1].count(clear);
    });
    waited.some("a look before it was cleared");
    cleared.some("a look after that");
}

#[test]
fn a_page_lock_is_handed_over_with_what_it_guards() {
    model(3, ("linux-7.2.13", &[("batch_size", "1")]), ["a wait for the lock"], move |world, [seen]| {
        let guarded = Arc::new(Exclusive::new());
        let frame = world.m.memory.alloc(CpuId(0), Gfp::Pin, 0).unwrap().publish();
        let use_it = |guarded: Arc<Exclusive>| {
            move |t: &Task<'_, Threads<'_>>| {
                assert!(t.lock(frame));
                guarded.exclusive(|| ());
                t.unlock(frame);
                t.count.get(Event::LockWaits) != 0
            }
        };
        let other = world.spawn(0, use_it(Arc::clone(&guarded)));
        seen.count(world.on(1, use_it(guarded)) | other.join().unwrap());
    });
}

#[test]
fn gup_fast_and_zap_see_each_other() {
    model(
        3,
        ("linux-7.2.13", &[("batch_size", "1")]),
        ["a pin by the fast path", "a page zapped"],
        move |world, [was_fast, was_zapped]| {
            let mapping = world.m.map(Kind::Anon, 1).id;
            world.on(1, |t| t.touch(t.m.mapping(mapping), pages(0..1)).unwrap());
            let policy = world.policy.clone();
            let pinner = world.spawn(0, move |t| pin_and_transfer(t, mapping, &policy));
            world.on(1, |t| {
                let mapping = t.m.mapping(mapping);
                was_zapped.count(t.zap(mapping, pages(0..1), true) == 1);
            });
            was_fast.count(pinner.join().unwrap());
            world.assert_sound();
        },
    );
}

/// Pins by the fast path against a migration of the same page. It has been isolated before, which
/// has a model of its own; with two preemptions each ordering that this is for is missed when it is
/// weakened (`docs/ordering.md`).
fn gup_fast_against_migration(kind: Kind, kernel: &str) {
    model(
        2,
        (kernel, &[("batch_size", "1"), ("entry", "fast")]),
        ["a pin by the fast path", "a page migrated"],
        move |world, [was_fast, was_moved]| {
            let mapping = world.m.map(kind, 1).id;
            let isolated = world.on(1, |t| {
                t.touch(t.m.mapping(mapping), pages(0..1)).unwrap();
                isolate(t, mapping)
            });
            let policy = world.policy.clone();
            let pinner = world.spawn(0, move |t| pin_and_transfer(t, mapping, &policy));
            was_moved.count(world.on(1, |t| migrate(t, &isolated)));
            was_fast.count(pinner.join().unwrap());
            world.assert_sound();
        },
    );
}

#[test]
fn a_pin_and_a_migration_of_anon_memory_see_each_other() {
    gup_fast_against_migration(Kind::Anon, "linux-7.2.13");
}

#[test]
fn a_pin_and_a_migration_of_anon_memory_see_each_other_by_the_freeze_alone() {
    gup_fast_against_migration(Kind::Anon, "linux-5.13");
}

#[test]
fn a_pin_and_a_migration_of_shmem_see_each_other() {
    gup_fast_against_migration(Kind::Shmem, "linux-7.2.13");
}

#[test]
fn a_page_that_another_thread_puts_into_the_cache_is_no_lack_of_memory() {
    model(
        2,
        ("linux-7.2.13", &[("batch_size", "1")]),
        ["both allocated, and the second was faster"],
        move |world, [second_won]| {
            let mapping = world.m.map(Kind::Shmem, 1).id;
            let touch = move |t: &Task<'_, Threads<'_>>| t.touch(t.m.mapping(mapping), pages(0..1)).unwrap();
            let other = world.spawn(0, touch);
            world.on(1, touch);
            other.join().unwrap();
            // Frames are handed out in order: who had the second was not the first to find no page.
            second_won.count(world.m.mapping(mapping).cached(PageIndex(0)) != Some(Frame(1)));
            world.assert_sound();
        },
    );
}

#[test]
fn a_page_that_is_split_off_gets_the_reference_that_was_meant_for_it() {
    let kernel = ("linux-7.2.13", &[("batch_size", "1")][..]);
    let outcomes = ["split by the time that the page was mapped", "kept whole by the reference of the other"];
    model_of(4, 2, kernel, outcomes, move |world, [split_first, whole]| {
        let mapping = world.m.map(Backing { kind: Kind::Shmem, order: 1 }, 2).id;
        world.on(0, |t| t.touch(t.m.mapping(mapping), pages(0..1)).unwrap());
        let large = |world: &World| {
            world.m.memory.folio(world.m.mapping(mapping).cached(PageIndex(0)).unwrap()).is_large()
        };
        assert!(large(world));
        let other = world.spawn(0, move |t| t.split_folios(t.m.mapping(mapping), pages(0..1)));
        world.on(1, |t| t.touch_alias(t.m.mapping(mapping), pages(1..2)).unwrap());
        split_first.count(!large(world));
        other.join().unwrap();
        whole.count(large(world));
        world.assert_sound();
    });
}

#[test]
fn a_page_that_has_left_the_cache_is_not_locked_once_it_is_anothers() {
    let kernel = ("linux-7.2.13", &[("batch_size", "1")][..]);
    let outcomes = ["the frame of the page, allocated anew", "a page that is found or made"];
    model_of(2, 2, kernel, outcomes, move |world, [again, found]| {
        let mapping = world.m.map(Kind::Shmem, 1).id;
        world.on(1, |t| t.pwrite(t.m.mapping(mapping), pages(0..1)).unwrap());
        let cached = world.m.mapping(mapping).cached(PageIndex(0));
        let other = world.spawn(0, move |t| t.pwrite(t.m.mapping(mapping), pages(0..1)));
        world.on(1, |t| {
            t.zap(t.m.mapping(mapping), pages(0..1), false);
            let fresh = t.m.memory.alloc(CpuId(1), Gfp::Pin, 0);
            again.count(fresh.as_ref().map(|fresh| fresh.frame()) == cached);
            if let Some(fresh) = fresh {
                let frame = fresh.publish();
                assert!(t.trylock(frame), "nobody knows of this page, and somebody has it locked");
                t.unlock(frame);
                t.put(frame, 1);
            }
        });
        found.count(other.join().unwrap().is_ok());
        world.assert_sound();
    });
}

#[test]
fn a_folio_that_was_truncated_is_not_split() {
    let kernel = ("linux-7.2.13", &[("batch_size", "1")][..]);
    let outcomes = ["split before it was truncated", "truncated meanwhile"];
    model_of(4, 2, kernel, outcomes, move |world, [split, gone]| {
        let mapping = world.m.map(Backing { kind: Kind::Shmem, order: 1 }, 2).id;
        world.on(1, |t| t.touch(t.m.mapping(mapping), pages(0..1)).unwrap());
        let frame = world.m.mapping(mapping).cached(PageIndex(0)).unwrap();
        let other = world.spawn(0, move |t| {
            t.split_folios(t.m.mapping(mapping), pages(0..1));
            let is_there = t.m.mapping(mapping).cached(PageIndex(0)) == Some(frame);
            (is_there && !t.m.page(frame).is_large(), !is_there)
        });
        let zapped = world.on(1, |t| t.zap(t.m.mapping(mapping), pages(0..2), false));
        let (is_split, is_gone) = other.join().unwrap();
        split.count(is_split);
        gone.count(is_gone);
        assert_eq!((zapped, world.m.page(frame).refcount()), (2, 0));
        world.assert_sound();
    });
}

#[test]
fn a_page_that_moves_while_its_file_is_truncated_is_gone_for_all_that() {
    let kernel = ("linux-7.2.13", &[("batch_size", "1")][..]);
    model(1, kernel, ["moved before", "not moved yet"], move |world, [moved, still]| {
        let mapping = world.m.map(Kind::Shmem, 1).id;
        let isolated = world.on(1, |t| {
            t.touch(t.m.mapping(mapping), pages(0..1)).unwrap();
            isolate(t, mapping)
        });
        let source = isolated[0];
        let other = world.spawn(0, move |t| migrate(t, &isolated));
        let zapped = world.on(1, |t| {
            let mapping = t.m.mapping(mapping);
            let is_moved = mapping.cached(PageIndex(0)) != Some(source);
            moved.count(is_moved);
            still.count(!is_moved);
            t.zap(mapping, pages(0..1), false)
        });
        other.join().unwrap();
        assert_eq!(zapped, 1);
        assert_eq!(world.m.mapping(mapping).cached(PageIndex(0)), None);
        world.assert_sound();
    });
}

#[test]
fn a_page_alone_is_not_split_though_it_is_unmapped_meanwhile() {
    let kernel = ("linux-7.2.13", &[("batch_size", "1")][..]);
    model(2, kernel, ["a page that was found, and zapped then"], move |world, [found]| {
        let mapping = world.m.map(Kind::Shmem, 1).id;
        world.on(1, |t| t.touch(t.m.mapping(mapping), pages(0..1)).unwrap());
        let other = world.spawn(0, move |t| {
            t.madvise_cold(t.m.mapping(mapping), pages(0..1)).unwrap();
            assert_eq!(t.count.get(Event::SplitCalls), 0);
            t.m.mapping(mapping).cached(PageIndex(0)).is_none()
        });
        world.on(1, |t| t.zap(t.m.mapping(mapping), pages(0..1), false));
        found.count(other.join().unwrap());
        world.assert_sound();
    });
}

#[test]
fn a_page_that_was_copied_meanwhile_gets_no_reference_for_the_one_before() {
    let kernel = ("linux-7.2.13", &[("batch_size", "1")][..]);
    model(2, kernel, ["both copied, and one in vain"], move |world, [in_vain]| {
        let mapping = world.m.map(Kind::Anon, 1).id;
        world.on(1, |t| {
            t.touch(t.m.mapping(mapping), pages(0..1)).unwrap();
            t.fork(t.m.mapping(mapping), pages(0..1)).unwrap();
        });
        let store = move |t: &Task<'_, Threads<'_>>| {
            t.touch(t.m.mapping(mapping), pages(0..1)).unwrap();
            t.count.get(Event::Faults) > 0
        };
        let other = world.spawn(0, store);
        in_vain.count(world.on(1, store) & other.join().unwrap());
        world.assert_sound();
    });
}

/// What a pin got of page 0, if it was got by the fast path alone.
fn pinned_fast(t: &Task<'_, Threads<'_>>, mapping: MappingId, policy: &Policy, write: bool) -> Vec<Frame> {
    let mut frames = Vec::new();
    t.gup_fast(&PinRequest::new(policy, t.m.mapping(mapping), pages(0..1), write), &mut frames);
    frames
}

#[test]
fn a_fork_and_a_pin_by_the_fast_path_see_each_other() {
    let outcomes = ["a pin that the fork saw", "a pin given back", "a page shared before it was pinned"];
    let kernel = ("linux-7.2.13", &[("batch_size", "1")][..]);
    model(3, kernel, outcomes, move |world, [seen, in_vain, shared]| {
        let mapping = world.m.map(Kind::Anon, 1).id;
        world.on(1, |t| t.touch(t.m.mapping(mapping), pages(0..1)).unwrap());
        let policy = world.policy.clone();
        let other = world
            .spawn(0, move |t| (pinned_fast(t, mapping, &policy, true), t.count.get(Event::Released) == 1));
        world.on(1, |t| t.fork(t.m.mapping(mapping), pages(0..1)).unwrap());
        let (pinned, gave_back) = other.join().unwrap();
        let alone = |frame: &Frame| world.m.page(*frame).has(flag::ANON_EXCLUSIVE);
        assert!(pinned.iter().all(alone), "a pinned page is shared with the child");
        seen.count(!pinned.is_empty());
        in_vain.count(gave_back);
        shared.count(pinned.is_empty() && !gave_back);
    });
}

#[test]
fn a_child_that_exits_while_it_is_forked_keeps_no_page() {
    let outcomes = ["a child that has exited", "a child that lives"];
    let kernel = ("linux-7.2.13", &[("batch_size", "1")][..]);
    model(3, kernel, outcomes, move |world, [exited, lives]| {
        let mapping = world.m.map(Kind::Anon, 1).id;
        world.on(1, |t| t.touch(t.m.mapping(mapping), pages(0..1)).unwrap());
        let other = world.spawn(0, move |t| t.children_exit(t.m.mapping(mapping)));
        world.on(1, |t| t.fork(t.m.mapping(mapping), pages(0..1)).unwrap());
        other.join().unwrap();
        world.m.mapping(mapping).for_each_child(|child| {
            assert_eq!(child.pte(PageIndex(0)).is_none(), child.is_gone(), "a page that nobody unmaps");
            exited.count(child.is_gone());
            lives.count(!child.is_gone());
        });
        world.assert_sound();
    });
}

#[test]
fn a_pin_by_the_fast_path_is_kept_as_its_folio_keeps_them_once_it_is_held() {
    let kernel = ("linux-7.2.13", &[("batch_size", "1")][..]);
    let outcomes = ["pinned as it was", "none, or given back"];
    model_of(4, 2, kernel, outcomes, move |world, [pinned_whole, none]| {
        let mapping = world.m.map(Backing { kind: Kind::Anon, order: 1 }, 2).id;
        world.on(0, |t| t.touch(t.m.mapping(mapping), pages(0..1)).unwrap());
        let other = world.spawn(0, move |t| t.split_folios(t.m.mapping(mapping), pages(0..1)));
        let pinned = world.on(1, |t| pinned_fast(t, mapping, &world.policy, true));
        other.join().unwrap();
        let Some(&frame) = pinned.first() else { return none.count(true) };
        let folio = world.m.memory.folio(frame);
        assert!(world.m.maybe_dma_pinned(folio), "a pin that nobody sees");
        pinned_whole.count(folio.is_large());
        world.on(1, |t| t.unpin_user_pages(&pinned));
        world.assert_sound();
    });
}

#[test]
fn a_page_that_is_being_copied_is_not_reused_and_pinned() {
    let outcomes = ["a page copied", "a page reused and pinned"];
    let kernel = ("linux-7.2.13", &[("batch_size", "1")][..]);
    model(2, kernel, outcomes, move |world, [copied, reused]| {
        let mapping = world.m.map(Kind::Anon, 1).id;
        world.on(1, |t| {
            t.touch(t.m.mapping(mapping), pages(0..1)).unwrap();
            t.fork(t.m.mapping(mapping), pages(0..1)).unwrap();
        });
        let pte = |world: &World| world.m.mapping(mapping).vma.pte(PageIndex(0));
        let before = pte(world).frame();
        let other = world.spawn(0, move |t| t.touch(t.m.mapping(mapping), pages(0..1)).unwrap());
        let pinned = world.on(1, |t| {
            let area = t.m.mapping(mapping);
            t.children_exit(area);
            t.handle_mm_fault(area, &area.vma, PageIndex(0), Access::Unshare).unwrap();
            pinned_fast(t, mapping, &world.policy, false)
        });
        other.join().unwrap();
        let now = pte(world).frame();
        assert!(pinned.iter().all(|&frame| frame == now), "a pinned page was replaced by its copy");
        copied.count(now != before);
        reused.count(pinned == [before]);
    });
}

#[test]
fn memory_that_moves_between_page_caches_is_found() {
    model_of(2, 2, ("linux-7.2.13", &[]), [], move |world, []| {
        let alloc = |m: &Machine, cpu| m.memory.alloc(CpuId(cpu), Gfp::Pin, 0).unwrap().publish();
        let one = alloc(&world.m, 1);
        // Each has one of two frames at most. What this one gives back comes to a cache that the
        // other has looked into, before it takes what the other is yet to come to.
        let other = world.spawn(0, move |t| {
            t.put(one, 1);
            alloc(t.m, 1);
        });
        alloc(&world.m, 0);
        other.join().unwrap();
    });
}

#[test]
fn a_fresh_page_is_filled_before_a_pin_finds_it() {
    model(
        3,
        ("linux-7.2.13", &[("batch_size", "1")]),
        ["a pin by the fast path"],
        move |world, [was_fast]| {
            let mapping = world.m.map(Kind::Anon, 1).id;
            let policy = world.policy.clone();
            let pinner = world.spawn(0, move |t| pin_and_transfer(t, mapping, &policy));
            world.on(1, |t| t.touch(t.m.mapping(mapping), pages(0..1)).unwrap());
            was_fast.count(pinner.join().unwrap());
            world.assert_sound();
        },
    );
}

#[test]
fn a_page_in_a_batch_is_filled_before_a_pin_finds_it() {
    // Its batch is not flushed: nothing but the PTE has been released since it was filled.
    model(
        3,
        ("linux-7.2.13", &[("batch_size", "2")]),
        ["a pin by the fast path"],
        move |world, [was_fast]| {
            let mapping = world.m.map(Kind::Anon, 1).id;
            let pinner = world.spawn(0, move |t| {
                let vma = &t.m.mapping(mapping).vma;
                let pte = vma.pte(PageIndex(0));
                let frame = pte.frame();
                if !pte.is_present() || !t.m.page(frame).try_get(1024) {
                    return false;
                }
                if vma.pte(PageIndex(0)) == pte {
                    t.dma_start(Dma { word: 0, token: 7 }, &[frame]);
                }
                t.put(frame, 1024);
                true
            });
            world.on(1, |t| t.touch(t.m.mapping(mapping), pages(0..1)).unwrap());
            was_fast.count(pinner.join().unwrap());
        },
    );
}

#[test]
fn who_gets_a_reference_after_a_freeze_finds_the_copy_made() {
    model(
        3,
        ("linux-7.2.13", &[]),
        ["a reference on the page", "a reference refused by the freeze"],
        move |world, [was_got, was_refused]| {
            let memory = &world.m.memory;
            let src = memory.alloc(CpuId(0), Gfp::Pin, 0).unwrap().publish();
            let dst = memory.alloc(CpuId(0), Gfp::Pin, 0).unwrap();
            let other = world.spawn(0, move |t| {
                let got = t.m.page(src).try_get(1);
                if got {
                    t.dma_start(Dma { word: 0, token: 7 }, &[src]);
                    t.put(src, 1);
                }
                got
            });
            if let Ok(frozen) = memory.freeze(src, 1) {
                frozen.copy_to(&dst);
                frozen.unfreeze(1);
            }
            dst.publish();
            let got = other.join().unwrap();
            was_got.count(got);
            was_refused.count(!got);
        },
    );
}

#[test]
fn a_drain_waits_for_what_the_kworker_did() {
    let rules = rules("linux-6.12.57", &[("batch_size", "2")]);
    let policy = policy();
    let worked = Reached::default();
    let has_worked = worked.clone();
    explore(3, move || {
        let world = World::with(&rules, &policy, TINY.normal, true);
        let frame = world.m.memory.alloc(CpuId(0), Gfp::Pin, 0).unwrap().publish();
        let over = Arc::new(AtomicBool::new(false));
        let adder = world.spawn(0, move |t| t.add_lru(frame));
        let kworker = {
            let over = Arc::clone(&over);
            world.spawn(0, move |t| t.kworker(&|| over.load(Ordering::Relaxed)))
        };
        world.on(1, |t| {
            // Where the model checker may let the others go first: it does not at a relaxed load.
            drop(t.m.cpus[0].lock());
            t.lru_add_drain_all(true);
            let caused = t.count.get(Event::DrainWork) == 1;
            has_worked.count(caused);
            if caused {
                assert!(t.m.page(frame).has(flag::LRU), "the work is done, its effect is not there");
            }
            over.store(true, Ordering::Relaxed);
            t.d.wake(Wait::Work(CpuId(0)));
        });
        adder.join().unwrap();
        kworker.join().unwrap();
    });
    worked.some("an entry that the kworker drained");
}

#[test]
fn a_turn_is_handed_over_with_what_it_guards() {
    let handed = Reached::default();
    let was_handed = handed.clone();
    explore(3, move || {
        let turns = Arc::new(gupstress_run::machine::Turns::default());
        let guarded = Arc::new(Exclusive::new());
        let first = turns.join(0);
        let second = turns.join(1);
        let other = {
            let (turns, guarded) = (Arc::clone(&turns), Arc::clone(&guarded));
            thread::spawn(move || {
                let served = turns.is_served(second);
                if served {
                    guarded.exclusive(|| ());
                }
                served
            })
        };
        guarded.exclusive(|| ());
        assert_eq!(turns.leave(first), Some(second));
        was_handed.count(other.join().unwrap());
    });
    handed.some("a turn handed over");
}

#[test]
fn whoever_clears_pg_lru_owns_the_page() {
    model(
        3,
        ("linux-5.13", &[("batch_size", "1")]),
        ["an isolation that won", "an isolation that found the page off the LRU"],
        move |world, [was_isolated, was_missed]| {
            let mapping = world.m.map(Kind::Anon, 1).id;
            world.on(0, |t| {
                t.touch(t.m.mapping(mapping), pages(0..1)).unwrap();
                // Referenced: the next access queues it to be activated, and the batch is full.
                t.mark_range_accessed(t.m.mapping(mapping), pages(0..1));
            });
            let activator = world.spawn(0, move |t| t.mark_range_accessed(t.m.mapping(mapping), pages(0..1)));
            world.on(1, |t| {
                t.with_short_ref(t.m.mapping(mapping), PageIndex(0), |frame| {
                    let won = t.isolate_lru(frame);
                    if won {
                        assert!(!t.m.page(frame).has(flag::LRU), "an isolated page is on a list again");
                        t.putback_lru(frame);
                    }
                    was_isolated.count(won);
                    was_missed.count(!won);
                });
            });
            activator.join().unwrap();
            world.assert_sound();
        },
    );
}

#[test]
fn drain_all_misses_nothing_that_its_caller_queued() {
    // No local drain first, which would drain the caller's own batch anyway.
    let rules = rules("linux-6.12.57", &[("batch_size", "2")]);
    assert!(!rules.drain_all_local_first);
    let policy = policy();
    let shortcut = Reached::default();
    let was_shortcut = shortcut.clone();
    explore(3, move || {
        let world = World::new(&rules, &policy);
        let frame = world.m.memory.alloc(CpuId(0), Gfp::Pin, 0).unwrap().publish();
        let other = world.spawn(1, |t| t.lru_add_drain_all(false));
        world.on(0, |t| {
            t.add_lru(frame);
            t.lru_add_drain_all(false);
            assert!(t.m.page(frame).has(flag::LRU), "the caller's entry is still in its batch");
            was_shortcut.count(t.count.get(Event::DrainShortcut) == 1);
        });
        other.join().unwrap();
    });
    shortcut.some("a shortcut");
}

#[test]
fn nothing_stays_in_a_batch_once_the_cache_is_disabled() {
    model(
        3,
        ("linux-6.12.57", &[("batch_size", "2")]),
        ["an entry that the disabling drained"],
        move |world, [was_batched]| {
            let frame = world.m.memory.alloc(CpuId(0), Gfp::Pin, 0).unwrap().publish();
            let other = world.spawn(0, move |t| t.add_lru(frame));
            world.on(1, |t| {
                t.lru_cache_disable();
                was_batched.count(t.m.page(frame).has(flag::LRU));
            });
            other.join().unwrap();
            assert!(world.m.page(frame).has(flag::LRU), "an entry outlived lru_cache_disable");
        },
    );
}

#[test]
#[should_panic(expected = "Causality violation")]
fn the_marker_sees_a_store_into_a_page_that_is_held_alone() {
    explore(3, || {
        let mark = Arc::new(Exclusive::new());
        let other = {
            let mark = Arc::clone(&mark);
            thread::spawn(move || mark.shared(|| ()))
        };
        mark.exclusive(|| ());
        other.join().unwrap();
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_freeze_that_overlooks_a_reference_is_seen() {
    model(3, ("linux-7.2.13", &[]), [], move |world, []| {
        let memory = &world.m.memory;
        let src = memory.alloc(CpuId(0), Gfp::Pin, 0).unwrap().publish();
        let dst = memory.alloc(CpuId(0), Gfp::Pin, 0).unwrap();
        world.m.page(src).get(1);
        let device = world.spawn(0, move |t| t.dma_start(Dma { word: 0, token: 7 }, &[src]));
        // Two references, but one is the device's, which still writes.
        let frozen = memory.freeze(src, 2).unwrap();
        frozen.copy_to(&dst);
        device.join().unwrap();
    });
}
