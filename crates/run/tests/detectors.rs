//! What would see each part of the machine left out.
//!
//! Scripted on the simulator, so that every run of a test is the same run; a
//! task that never ends is killed at a virtual time and fails its test.
#![cfg(not(loom))]

mod lab;

use gupstress_run::drive::sim::{Lab, SimEnd, SimTask, SimThread};
use gupstress_run::drive::{Costs, Decision, Driver, Timed};
use gupstress_run::machine::{
    Batch, CpuId, Frame, Gfp, Kind, Known, Layout, Machine, MappingId, NO_FRAME, PageIndex, flag, pages,
    payload::pattern, vm,
};
use gupstress_run::observe::{Event, Totals};
use gupstress_run::ops::{MigrateMode, Pin, PinRequest, Task};
use gupstress_run::policy::{Rules, Source, kernel_names, load_kernel, load_policy};
use lab::Body;
use std::sync::Arc;

const CPUS: usize = 2;
const LAYOUT: Layout = Layout { normal: 64, movable: 64, cma: 0, page_bytes: 64 };

fn rules(kernel: &str) -> Rules {
    load_kernel(Source::Preset(kernel), &[]).unwrap()
}

fn machine(rules: Rules) -> Arc<Machine> {
    Arc::new(Machine::new(rules, &LAYOUT, CPUS))
}

/// Runs each body as a thread on its CPU, with every kworker beside them; all end by themselves.
fn simulate(m: &Arc<Machine>, bodies: Vec<(u32, Body)>) -> Totals {
    let ran = lab::run(m, Box::new(Timed::new(1_000_000)), 1, 200_000_000, bodies).unwrap();
    assert!(!ran.killed, "a task did not end by itself");
    ran.totals
}

fn on(m: &Arc<Machine>, cpu: u32, body: impl FnOnce(&Task<'_, SimThread<'_>>) + 'static) -> Totals {
    simulate(m, vec![(cpu, Box::new(body))])
}

#[track_caller]
fn assert_sound(m: &Machine, what: &str) {
    let recount = m.validate(&Known::default());
    assert!(recount.checked > 0 && recount.broken.is_empty(), "{what}: {:#?}", recount.broken);
}

/// Isolates every page of a mapping and migrates it out of Movable.
fn migrate_all(t: &Task<'_, SimThread<'_>>, id: MappingId) {
    let mapping = t.m.mapping(id);
    let mut isolated = Vec::new();
    for index in 0..mapping.vma.len() {
        t.with_short_ref(mapping, PageIndex(index), |frame| {
            assert!(t.isolate_lru(frame));
            isolated.push(frame);
        });
    }
    assert!(t.migrate_pages(&isolated, Gfp::Pin, MigrateMode::Sync).is_complete());
}

#[test]
fn a_migrated_page_is_mapped_again_with_its_contents() {
    for kernel in kernel_names() {
        for (kind, mlocked) in
            [(Kind::Anon, false), (Kind::Shmem, false), (Kind::Anon, true), (Kind::Shmem, true)]
        {
            let what = format!("{kind:?}, mlocked {mlocked}, {kernel}");
            let m = machine(rules(kernel));
            let id = m.map(kind, 3).id;
            on(&m, 0, move |t| {
                let mapping = t.m.mapping(id);
                t.touch(mapping, pages(0..3)).unwrap();
                if mlocked {
                    t.mlock(mapping, pages(0..3)).unwrap();
                }
                t.lru_add_drain_all(false);
            });
            let frames =
                |m: &Machine| (0..3).map(|index| m.mapping(id).vma.pte(PageIndex(index))).collect::<Vec<_>>();
            let before = frames(&m);
            let counted = on(&m, 1, move |t| migrate_all(t, id));
            assert_eq!(counted.get(Event::Migrated), 3, "{what}");
            for ((index, old), new) in (0..).zip(&before).zip(frames(&m)) {
                assert!(new.is_present() && new.is_writable() == old.is_writable(), "{what}: {new:?}");
                assert!(m.must_move(old.frame()) && !m.must_move(new.frame()), "{what}: it stayed");
                let kept = m.memory.payload.is_filled(new.frame(), pattern(id, PageIndex(index)));
                assert!(kept, "{what}: page {index} lost its contents");
                assert_eq!(m.page(new.frame()).has(flag::MLOCKED), mlocked, "{what}");
            }
            assert_sound(&m, &what);
        }
    }
}

/// Puts pages of `id` into `batch` of CPU 0, from an LRU list or fresh.
fn fill_batch(t: &Task<'_, SimThread<'_>>, id: MappingId, batch: Batch) {
    let mapping = t.m.mapping(id);
    if batch == Batch::LruAdd {
        return t.touch(mapping, pages(0..3)).unwrap();
    }
    t.touch(mapping, pages(0..3)).unwrap();
    t.lru_add_drain();
    match batch {
        Batch::Mlock => _ = mapping.vma.fix(&pages(0..3), vm::LOCKED, vm::LOCKED, true),
        Batch::Activate => t.mark_range_accessed(mapping, pages(0..3)),
        Batch::DeactivateFile => t.madvise_free(mapping, pages(0..3)).unwrap(),
        _ => {}
    }
    t.lru_add_drain();
    match batch {
        Batch::LruAdd => unreachable!("done above"),
        Batch::MoveTail => {
            (0..3).for_each(|index| {
                t.with_short_ref(mapping, PageIndex(index), |frame| t.rotate_reclaimable(frame));
            });
        }
        Batch::DeactivateFile => t.invalidate(mapping, pages(0..3)),
        Batch::Deactivate => t.madvise_cold(mapping, pages(0..3)).unwrap(),
        Batch::Lazyfree => t.madvise_free(mapping, pages(0..3)).unwrap(),
        Batch::Activate => t.mark_range_accessed(mapping, pages(0..3)),
        // What `mlock` queues it drains as well; a fault in a locked area leaves it queued.
        Batch::Mlock => {
            t.zap(mapping, pages(0..3), false);
            t.lru_add_drain();
            t.touch(mapping, pages(0..3)).unwrap();
        }
    }
}

#[test]
fn every_batch_gives_back_the_references_it_took() {
    for clears in [false, true] {
        for batch in Batch::ALL {
            let what = format!("{batch:?}, queueing clears PG_lru: {clears}");
            // Multi-gen LRU queues no page to be activated, and the other queues no inactive one to be aged.
            let mglru = batch == Batch::Deactivate;
            let m = machine(Rules { queueing_clears_lru: clears, mglru, ..rules("linux-6.12.43") });
            let id = m.map(Kind::Anon, 3).id;
            on(&m, 0, move |t| fill_batch(t, id, batch));
            let queued: Vec<Batch> = m.cpus[0].lock().entries().map(|(batch, _)| batch).collect();
            assert_eq!(queued, [batch; 3], "{what}");
            assert_sound(&m, &what);
            // From another CPU, so that the kworker does it.
            let counted = on(&m, 1, |t| t.lru_add_drain_all(false));
            assert_eq!(counted.get(Event::DrainWork), 1, "{what}");
            assert_eq!(m.cpus[0].lock().entries().count(), 0, "{what}");
            assert_sound(&m, &what);
            for index in 0..3 {
                let page = m.page(m.mapping(id).vma.pte(PageIndex(index)).frame());
                assert_eq!(page.refcount(), 1, "{what}");
            }
        }
    }
}

#[test]
fn of_two_concurrent_drains_the_second_takes_the_shortcut() {
    let m = machine(rules("linux-6.12.57"));
    let id = m.map(Kind::Anon, 3).id;
    on(&m, 0, move |t| t.touch(t.m.mapping(id), pages(0..3)).unwrap());
    // Both load the generation before either has the mutex; the first to get
    // it drains everything, the second finds the generation moved.
    let drain = || -> Body { Box::new(|t| t.lru_add_drain_all(false)) };
    let counted = simulate(&m, vec![(0, drain()), (1, drain())]);
    assert_eq!(counted.get(Event::DrainAll), 2);
    assert_eq!(counted.get(Event::DrainShortcut), 1, "the generation did not move");
    assert_eq!(counted.get(Event::DrainWork), 1);
    // One after the other: nobody else drained meanwhile, so no shortcut.
    let alone = on(&m, 0, |t| {
        t.lru_add_drain_all(false);
        t.lru_add_drain_all(false);
    });
    assert_eq!(alone.get(Event::DrainShortcut), 0);
    assert_sound(&m, "drained");
}

#[test]
fn a_forced_drain_takes_no_shortcut() {
    let m = machine(rules("linux-6.12.57"));
    let drain = || -> Body { Box::new(|t| t.lru_add_drain_all(true)) };
    let counted = simulate(&m, vec![(0, drain()), (1, drain())]);
    assert_eq!(counted.get(Event::DrainAll), 2);
    assert_eq!(counted.get(Event::DrainShortcut), 0);
}

#[test]
fn a_pinned_page_is_spared_by_zap_and_stays_put() {
    let policy = load_policy(Source::Preset("linux-7.2"), &[]).unwrap();
    for kind in [Kind::Anon, Kind::Shmem] {
        let m = machine(rules("linux-7.2.13"));
        let id = m.map(kind, 2).id;
        let policy = policy.clone();
        on(&m, 0, move |t| {
            let mapping = t.m.mapping(id);
            t.touch(mapping, pages(0..2)).unwrap();
            let mut pin = Pin::default();
            t.pin_longterm(&PinRequest::new(&policy, mapping, pages(0..1), true), &mut pin).unwrap();
            assert_eq!(t.zap(mapping, pages(0..2), true), 1, "the page that is not pinned, and no other");
            assert_eq!(mapping.vma.pte(PageIndex(0)).frame(), pin.pages[0]);
            assert!(mapping.vma.pte(PageIndex(0)).is_present());
            t.unpin_user_pages(&pin.pages);
            assert_eq!(t.zap(mapping, pages(0..2), true), 1, "pinned no more");
        });
        assert_sound(&m, &format!("{kind:?}"));
    }
}

#[test]
fn a_pinned_page_cannot_be_migrated() {
    let policy = load_policy(Source::Preset("linux-7.2"), &[]).unwrap();
    for kernel in kernel_names() {
        let m = machine(rules(kernel));
        let id = m.map(Kind::Anon, 1).id;
        let policy = policy.clone();
        on(&m, 0, move |t| {
            let mapping = t.m.mapping(id);
            t.touch(mapping, pages(0..1)).unwrap();
            let mut pin = Pin::default();
            t.pin_longterm(&PinRequest::new(&policy, mapping, pages(0..1), true), &mut pin).unwrap();
            t.lru_add_drain_all(false);
            let frame: Frame = pin.pages[0];
            assert!(t.isolate_lru(frame));
            let result = t.migrate_pages(&[frame], Gfp::Pin, MigrateMode::Sync);
            assert_eq!(result.left, [frame]);
            t.putback_movable(result.left);
            assert_eq!(mapping.vma.pte(PageIndex(0)).frame(), frame);
            t.unpin_user_pages(&pin.pages);
        });
        assert_sound(&m, kernel);
    }
}

#[test]
#[cfg(debug_assertions)]
fn a_lock_held_across_a_step_of_the_simulator_is_caught() {
    let m = machine(rules("linux-7.2.13"));
    let body = {
        let m = Arc::clone(&m);
        move |thread: &SimThread<'_>| {
            let _lists = m.lruvec.lock();
            thread.step(gupstress_run::drive::Step::Idle, NO_FRAME);
        }
    };
    let task =
        SimTask { cpu: CpuId(0), place: Arc::default(), killable: true, daemon: false, body: Box::new(body) };
    let report = Lab::default().run(
        Box::new(Timed::new(1)),
        &Costs::default(),
        1,
        vec![task],
        None,
        &mut |_, _| Decision::Continue(u64::MAX),
        &mut |_| true,
    );
    let SimEnd::Panicked(0, message) = report.end else { panic!("{:?}", report.end) };
    assert!(message.contains("an internal lock is held across a step"), "{message}");
}

#[test]
fn who_watches_is_asked_by_steps_and_not_by_virtual_time() {
    // Nothing is ever due: all that could end this early is the watch.
    let steps = |limit: u32| {
        let body = |thread: &SimThread<'_>| {
            for _ in 0..100_000 {
                if thread.killed() {
                    return;
                }
                thread.step(gupstress_run::drive::Step::Idle, NO_FRAME);
            }
        };
        let task = || SimTask {
            cpu: CpuId(0),
            place: Arc::default(),
            killable: true,
            daemon: false,
            body: Box::new(body),
        };
        let mut asked = 0;
        let report = Lab::default().run(
            Box::new(Timed::new(1)),
            &Costs::default(),
            1,
            vec![task(), task()],
            None,
            &mut |_, _| Decision::Continue(u64::MAX),
            &mut |_| {
                asked += 1;
                asked <= limit
            },
        );
        assert!(matches!(report.end, SimEnd::Done), "{:?}", report.end);
        report.steps
    };
    assert_eq!(steps(u32::MAX), 200_000);
    assert!(steps(3) < 10_000, "{}", steps(3));
    // Whether anyone looks changes nothing of what is simulated.
    assert!(steps(0) < steps(1) && steps(1) < steps(2));
}

/// One sweep, in which it meets nobody but the holder of a page lock, if there is one.
#[test]
fn a_pin_that_only_waited_is_contended() {
    for held in [false, true] {
        let m = machine(rules("linux-7.2.13"));
        let id = m.map(Kind::Shmem, 1).id;
        on(&m, 0, move |t| {
            let mapping = t.m.mapping(id);
            t.touch_pinnable(mapping, pages(0..1)).unwrap();
            // The page stays in the page cache: the pin faults it in again, under its lock.
            t.madvise_dontneed(mapping, pages(0..1)).unwrap();
        });
        let frame = m.mapping(id).cached(PageIndex(0)).unwrap();
        let holder = move |t: &Task<'_, SimThread<'_>>| {
            if held {
                assert!(t.trylock(frame));
                t.d.sleep(100_000);
                t.unlock(frame);
            }
        };
        let pinner = move |t: &Task<'_, SimThread<'_>>| {
            t.d.sleep(1_000);
            let policy = load_policy(Source::Preset("linux-7.2"), &[]).unwrap();
            let mapping = t.m.mapping(id);
            let mut pin = Pin::default();
            t.pin_longterm(&PinRequest::new(&policy, mapping, pages(0..1), true), &mut pin).unwrap();
            assert_eq!((pin.sweeps, pin.contended), (1, held));
            t.unpin_user_pages(&pin.pages);
        };
        let counted = simulate(&m, vec![(0, Box::new(holder)), (1, Box::new(pinner))]);
        assert_eq!(counted.get(Event::LockWaits) > 0, held);
    }
}
