//! Who moves pages and folios, or cannot: what that counts as, whom it waits for, and what it is told to be for.
#![cfg(not(loom))]

mod lab;
mod mapped;

use gupstress_run::drive::{Driver, Pending, Place, Step, Strategy, TaskId, Timed};
use gupstress_run::machine::{
    CpuId, Gfp, Hindrance, Kind, Layout, MAX_ORDER, Machine, MappingId, Obstacle, PageIndex, ZoneKind, flag,
    pages,
};
use gupstress_run::observe::Event;
use gupstress_run::ops::{Errno, MigrateMode, Pin, PinRequest};
use gupstress_run::policy::{Source, load_policy};
use mapped::{At, LAYOUT, MS, anon, body, frame, machine, play, with};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

const HUGE: u32 = 1 << MAX_ORDER;
/// One that moves page by page, and one that moves batches.
const KERNELS: [&str; 2] = ["linux-6.1.176", "linux-7.2.13"];

/// What a huge page or a smaller folio counts as when it moves, does not, and is split for want of a target.
#[test]
fn huge_pages_are_counted_apart_where_they_are_moved_not_moved_and_split() {
    const COUNTED: [Event; 5] = [
        Event::Migrated,
        Event::MigrateFailed,
        Event::ThpMigrationSuccess,
        Event::ThpMigrationFail,
        Event::ThpMigrationSplit,
    ];
    let size = u64::from(HUGE);
    for kernel in KERNELS {
        for (order, held, pieces, wanted) in [
            (MAX_ORDER, false, false, [2 * size, 0, 2, 0, 0]),
            (MAX_ORDER, true, false, [0, 2 * size, 0, 2, 0]),
            (MAX_ORDER, false, true, [2 * size, 0, 0, 2, 2]),
            (4, false, false, [32, 0, 0, 0, 0]),
            (4, true, false, [0, 32, 0, 0, 0]),
            (4, false, true, [32, 0, 0, 0, 0]),
        ] {
            let m = machine(kernel, &[], &Layout { normal: 3072, ..LAYOUT });
            let id = m.map(anon(order), 2 << order).id;
            let totals = play(
                &m,
                vec![body(id, move |(t, mapping)| {
                    t.touch(mapping, mapping.vma.pages()).unwrap();
                    let heads = [0, 1 << order].map(|index| frame(mapping, index));
                    if pieces {
                        t.fragment();
                    }
                    for head in heads {
                        assert!(t.isolate_lru(head));
                        t.m.page(head).get(i32::from(held));
                    }
                    let result = t.migrate_pages(&heads, Gfp::Pin, MigrateMode::Sync);
                    assert_eq!(result.is_complete(), !held, "{kernel} {order}");
                    t.putback_movable(result.left);
                    if held {
                        heads.iter().for_each(|&head| t.put(head, 1));
                    }
                    t.lru_add_drain();
                })],
            );
            let counted = COUNTED.map(|event| totals.get(event));
            assert_eq!(counted, wanted, "{kernel}, order {order}, held: {held}, in pieces: {pieces}");
        }
    }
}

#[test]
fn who_splits_a_folio_for_want_of_a_target_sleeps_on_its_lock_if_he_may() {
    for kernel in KERNELS {
        for (mode, sleeps) in [(MigrateMode::Sync, true), (MigrateMode::Async, false)] {
            let m = machine(kernel, &[], &LAYOUT);
            let id = m.map(anon(4), 16).id;
            play(
                &m,
                vec![body(id, |(t, mapping)| {
                    t.touch(mapping, mapping.vma.pages()).unwrap();
                    t.lru_add_drain_all(false);
                    t.fragment();
                    t.lru_add_drain_all(false);
                })],
            );
            let head = frame(m.mapping(id), 0);
            let holder = body(id, move |(t, _)| {
                assert!(t.lock(head));
                t.d.sleep(10 * MS);
                t.unlock(head);
            });
            let mover = body(id, move |(t, mapping)| {
                t.d.sleep(MS);
                assert!(t.isolate_lru(head));
                let result = t.migrate_pages(&[head], Gfp::Pin, mode);
                let split = (0..16).all(|index| t.m.folio(frame(mapping, index)).order() == 0);
                let done = (result.is_complete(), split, t.d.now() >= 10 * MS);
                assert_eq!(done, (sleeps, sleeps, sleeps), "{kernel} {mode:?}");
                t.putback_movable(result.left);
                t.lru_add_drain();
            });
            play(&m, vec![holder, mover]);
        }
    }
}

#[test]
fn a_page_that_nothing_maps_is_moved_without_a_drain_for_those_who_do() {
    for (mapped, drains) in [(true, 1), (false, 0)] {
        with(&[("drain_after_migrate", "mapped")], Kind::Shmem, 1, move |(t, mapping)| {
            t.touch(mapping, pages(0..1)).unwrap();
            if !mapped {
                t.madvise_dontneed(mapping, pages(0..1)).unwrap();
            }
            t.lru_add_drain();
            let page = mapping.cached(PageIndex(0)).unwrap();
            assert!(t.isolate_lru(page));
            let before = t.count.get(Event::DrainLocal);
            assert!(t.migrate_pages(&[page], Gfp::Pin, MigrateMode::Sync).is_complete());
            assert_eq!(t.count.get(Event::DrainLocal) - before, drains);
            assert!(mapping.cached(PageIndex(0)).is_some_and(|copy| copy != page));
            t.lru_add_drain();
        });
    }
}

// ------------------------------------------------------------ why a page cannot be moved

/// What a pin of a page fails by at a millisecond: of one that has been faulted in and drained, and
/// whatever is done to it before, and by another CPU meanwhile.
fn hindered(
    kernel: &str,
    kind: Kind,
    before: impl FnOnce(At<'_, '_>) + 'static,
    meanwhile: impl FnOnce(At<'_, '_>) + 'static,
) -> (Step, Hindrance) {
    hindered_by(kernel, kind, before, meanwhile, |_, _| Box::new(Timed::new(MS)))
}

/// The same under a strategy, which may know the page.
fn hindered_by(
    kernel: &str,
    kind: Kind,
    before: impl FnOnce(At<'_, '_>) + 'static,
    meanwhile: impl FnOnce(At<'_, '_>) + 'static,
    strategy: impl FnOnce(&Arc<Machine>, MappingId) -> Box<dyn Strategy>,
) -> (Step, Hindrance) {
    let m = machine(kernel, &[], &LAYOUT);
    let id = m.map(kind, 1).id;
    let policy = load_policy(Source::Preset(&m.rules.policy), &[]).unwrap();
    let pinner = body(id, move |(t, mapping)| {
        t.touch(mapping, pages(0..1)).unwrap();
        t.lru_add_drain();
        before((t, mapping));
        t.d.sleep(MS - t.d.now());
        let request = PinRequest::new(&policy, mapping, pages(0..1), true);
        assert_eq!(t.pin_longterm(&request, &mut Pin::default()), Err(Errno::ENOMEM));
    });
    let place: Arc<Place> = Arc::default();
    let bodies = vec![(0, Arc::clone(&place), pinner), (1, Arc::default(), body(id, meanwhile))];
    let ran = lab::run_at(&m, strategy(&m, id), 1, 1000 * MS, bodies).unwrap();
    assert!(!ran.killed);
    place.hindered().expect("it failed")
}

fn hold((t, mapping): At<'_, '_>) {
    t.m.folio(frame(mapping, 0)).get(1);
}

#[test]
fn a_page_that_is_held_has_a_reference_more_than_the_isolation_and_the_cache_explain() {
    for kernel in KERNELS {
        for (kind, expected) in [(Kind::Anon, 1), (Kind::Shmem, 2)] {
            let (at, by) = hindered(kernel, kind, hold, |_| ());
            assert_eq!((at, by.obstacle), (Step::MigrateFreeze, Obstacle::ShortRefs { refs: 1 }), "{kernel}");
            let counted = by.page.map(|page| (page.refcount, page.expected));
            assert_eq!(counted, Some((expected + 1, expected)), "{kernel} {kind:?}");
        }
    }
}

#[test]
fn a_page_that_another_has_pinned_is_not_unmapped_and_has_his_pin_beside_its_mapping_and_the_isolation() {
    for kernel in KERNELS {
        let pin = |(t, mapping): At<'_, '_>| {
            t.touch(mapping, pages(0..1)).unwrap();
            t.m.folio(frame(mapping, 0)).get(t.m.rules.pin_bias as i32);
        };
        let (at, by) = hindered(kernel, Kind::Anon, pin, |_| ());
        assert_eq!((at, by.obstacle), (Step::MigrateUnmap, Obstacle::Pinned { pins: 1 }), "{kernel}");
        let page = by.page.unwrap();
        assert_eq!((page.refcount - page.expected, page.expected), (1024, 2), "{kernel}");
    }
}

/// The first passes find it locked; who sleeps on that then finds it held.
#[test]
fn what_the_last_pass_met_counts_and_not_what_the_first_did() {
    for kernel in KERNELS {
        let locked = |(t, mapping): At<'_, '_>| {
            t.d.sleep(MS / 2);
            let frame = frame(mapping, 0);
            t.m.folio(frame).get(1);
            assert!(t.trylock(frame));
            t.d.sleep(2 * MS);
            t.unlock(frame);
        };
        let (at, by) = hindered(kernel, Kind::Anon, |_| (), locked);
        assert_eq!((at, by.obstacle), (Step::MigrateFreeze, Obstacle::ShortRefs { refs: 1 }), "{kernel}");
    }
}

/// Something else is done whenever a thread comes to a step.
struct Meanwhile {
    timed: Timed,
    at: Step,
    act: Box<dyn FnMut()>,
}

impl Strategy for Meanwhile {
    fn begin(&mut self, seed: u64) {
        self.timed.begin(seed);
    }
    fn enqueue(&mut self, pending: Pending) {
        if pending.step == self.at {
            (self.act)();
        }
        self.timed.enqueue(pending);
    }
    fn dequeue(&mut self, task: TaskId) {
        self.timed.dequeue(task);
    }
    fn ran(&mut self, task: TaskId, cpu: CpuId, from: u64, cost: u64) -> u64 {
        self.timed.ran(task, cpu, from, cost)
    }
    fn earliest(&mut self) -> Option<u64> {
        self.timed.earliest()
    }
    fn choose(&mut self, current: Option<TaskId>, before: u64) -> Option<(TaskId, u64)> {
        self.timed.choose(current, before)
    }
    fn draw(&mut self, task: TaskId) -> u64 {
        self.timed.draw(task)
    }
}

#[test]
fn of_references_that_become_more_all_that_the_last_pass_has_counted_are_told() {
    for kernel in KERNELS {
        for (at, pinned, passes) in [(Step::MigrateFreeze, 0, 7), (Step::MigrateUnmap, 1, 7)] {
            let before = move |(t, mapping): At<'_, '_>| {
                t.m.folio(frame(mapping, 0)).get(pinned * t.m.rules.pin_bias as i32);
            };
            // Somebody takes another at each.
            let taken = Rc::new(Cell::new(0));
            let count = Rc::clone(&taken);
            let strategy = move |m: &Arc<Machine>, id| {
                let m = Arc::clone(m);
                let act = Box::new(move || {
                    m.folio(frame(m.mapping(id), 0)).get(1);
                    count.set(count.get() + 1);
                });
                Box::new(Meanwhile { timed: Timed::new(MS), at, act }) as Box<dyn Strategy>
            };
            let (step, by) = hindered_by(kernel, Kind::Anon, before, |_| (), strategy);
            let (page, taken) = (by.page.unwrap(), taken.get());
            assert!(taken >= passes, "{kernel}: only {taken} passes");
            assert_eq!((step, page.pins, page.passing), (at, pinned, taken), "{kernel}");
        }
    }
}

#[test]
fn the_copy_of_a_page_of_a_file_is_locked_from_when_it_is_found_there_until_it_is_mapped() {
    for at in [Step::MigrateCopied, Step::MigrateRemap] {
        let m = machine("linux-7.2.13", &[], &LAYOUT);
        let id = m.map(Kind::Shmem, 1).id;
        let seen = Rc::new(RefCell::new(Vec::new()));
        let act = {
            let (m, seen) = (Arc::clone(&m), Rc::clone(&seen));
            Box::new(move || {
                let copy = m.page(m.mapping(id).cached(PageIndex(0)).unwrap());
                seen.borrow_mut().push((
                    ZoneKind::of(copy.flags()),
                    copy.has(flag::LOCKED),
                    copy.lock_owner(),
                ));
            })
        };
        let moves = body(id, |(t, mapping)| {
            t.touch(mapping, pages(0..1)).unwrap();
            t.lru_add_drain();
            let page = frame(mapping, 0);
            assert!(t.isolate_lru(page));
            assert!(t.migrate_pages(&[page], Gfp::Pin, MigrateMode::Sync).is_complete());
            assert!(!t.m.page(frame(mapping, 0)).has(flag::LOCKED));
        });
        let strategy = Meanwhile { timed: Timed::new(MS), at, act };
        lab::run(&m, Box::new(strategy), 1, 1000 * MS, vec![(0, moves)]).unwrap();
        assert_eq!(*seen.borrow(), [(ZoneKind::Normal, true, Some(0))], "{at:?}");
    }
}
