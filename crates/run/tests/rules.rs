//! Rules of the machine that nothing else would miss: each test fails if its rule is left out.
#![cfg(not(loom))]

mod lab;

use gupstress_run::drive::sim::SimThread;
use gupstress_run::drive::{Driver, Sched, Timed};
use gupstress_run::machine::cpu::{Entry, Tag};
use gupstress_run::machine::lruvec::Lists;
use gupstress_run::machine::payload::pattern;
use gupstress_run::machine::{
    Backing, Batch, Frame, Gfp, Kind, Known, Layout, Lru, MAX_ORDER, Machine, Mapping, MappingId, PAGEBLOCK,
    PageIndex, ZoneKind, flag, pages, vm,
};
use gupstress_run::observe::{Event, Totals};
use gupstress_run::ops::{Dma, Errno, MigrateMode, Pin, PinRequest, Task};
use gupstress_run::policy::{Policy, Rules, Source, load_kernel, load_policy};
use lab::Body;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

const LAYOUT: Layout = Layout { normal: 192, movable: 192, cma: 0, page_bytes: 64 };
const MS: u64 = 1_000_000;

fn rules(kernel: &str) -> Rules {
    load_kernel(Source::Preset(kernel), &[]).unwrap()
}

fn policy(base: &str, sets: &[(&str, &str)]) -> Policy {
    let sets: Vec<_> = sets.iter().map(|(key, word)| ((*key).to_owned(), (*word).to_owned())).collect();
    load_policy(Source::Preset(base), &sets).unwrap()
}

/// A machine of two CPUs with a mapping of `pages` pages.
fn machine(kernel: &str, kind: Kind, pages: u32) -> (Arc<Machine>, MappingId) {
    let m = Arc::new(Machine::new(rules(kernel), &LAYOUT, 2));
    let id = m.map(kind, pages).id;
    (m, id)
}

/// Runs the bodies to their end, which must come by itself; then the machine must be sound.
#[track_caller]
fn play(m: &Arc<Machine>, bodies: Vec<(u32, Body)>) -> Totals {
    let ran = lab::run(m, Box::new(Timed::new(MS)), 1, 10_000 * MS, bodies).unwrap();
    assert!(!ran.killed, "somebody did not end");
    let recount = m.validate(&Known::default());
    assert!(recount.checked > 0 && recount.broken.is_empty(), "{:#?}", recount.broken);
    ran.totals
}

/// The same of one body, on the first CPU.
#[track_caller]
fn alone(m: &Arc<Machine>, one: impl FnOnce(&Task<'_, SimThread<'_>>) + 'static) {
    play(m, vec![(0, body(one))]);
}

fn body(body: impl FnOnce(&Task<'_, SimThread<'_>>) + 'static) -> Body {
    Box::new(body)
}

fn frame_of(m: &Machine, id: MappingId, index: u32) -> Frame {
    m.mapping(id).vma.pte(PageIndex(index)).frame()
}

/// As two areas that map the same page would: the second's flag is set without a word to the page.
#[test]
fn a_page_that_two_areas_lock_stays_unevictable_until_both_unlock_it() {
    for kernel in ["linux-6.1.176", "linux-7.2.13"] {
        let (m, id) = machine(kernel, Kind::Shmem, 1);
        alone(&m, move |t| {
            let mapping = t.m.mapping(id);
            t.touch(mapping, pages(0..1)).unwrap();
            t.lru_add_drain();
            let page = t.m.page(frame_of(t.m, id, 0));
            let other_area = |locked| {
                let flags = if locked { vm::LOCKED } else { 0 };
                assert!(mapping.vma.fix(&pages(0..1), vm::LOCKED, flags, true).is_some());
            };
            t.mlock(mapping, pages(0..1)).unwrap();
            other_area(false);
            t.mlock(mapping, pages(0..1)).unwrap();
            t.munlock(mapping, pages(0..1)).unwrap();
            let kept = flag::MLOCKED | flag::UNEVICTABLE;
            assert_eq!(page.flags() & kept, kept, "{:#x}", page.flags());
            other_area(true);
            t.munlock(mapping, pages(0..1)).unwrap();
            assert!(!page.has(kept), "{:#x}", page.flags());
        });
    }
}

/// The pages of a list from its head.
fn listed(m: &Machine, lru: Lru) -> Vec<Frame> {
    let lists = m.lruvec.lock();
    let mut next = lists.tail(lru);
    let mut found = Vec::new();
    while let Some(frame) = next {
        found.insert(0, frame);
        next = Lists::before(&m.memory, frame);
    }
    found
}

#[test]
fn an_invalidated_page_goes_to_the_tail_if_clean_and_to_the_head_if_dirty() {
    let (m, id) = machine("linux-7.2.13", Kind::Anon, 4);
    alone(&m, move |t| {
        let mapping = t.m.mapping(id);
        t.touch(mapping, pages(0..4)).unwrap();
        t.lru_add_drain();
        // Not swap-backed any more: what invalidation takes for file pages.
        t.madvise_free(mapping, pages(0..4)).unwrap();
        t.lru_add_drain();
        let frames: Vec<Frame> = (0..4).map(|index| frame_of(t.m, id, index)).collect();
        let before = listed(t.m, Lru::InactiveFile);
        assert_eq!(before.len(), 4);
        let (clean, dirty) = (before[1], before[2]);
        for (frame, flags) in [(clean, 0), (dirty, flag::DIRTY)] {
            t.m.page(frame).set(flags);
            let index = frames.iter().position(|&other| other == frame).unwrap() as u32;
            t.invalidate(mapping, PageIndex(index).run(1));
            t.lru_add_drain();
        }
        assert_eq!(listed(t.m, Lru::InactiveFile), [dirty, before[0], before[3], clean]);
        t.m.page(dirty).clear(flag::DIRTY);
    });
}

#[test]
fn only_a_clean_unlocked_inactive_page_is_rotated() {
    for (mask, rotated) in [
        (0, true),
        (flag::LOCKED, false),
        (flag::DIRTY, false),
        (flag::ACTIVE, false),
        (flag::UNEVICTABLE, false),
    ] {
        let (m, id) = machine("linux-7.2.13", Kind::Shmem, 1);
        alone(&m, move |t| {
            t.touch(t.m.mapping(id), pages(0..1)).unwrap();
            t.lru_add_drain();
            let frame = frame_of(t.m, id, 0);
            let page = t.m.page(frame);
            page.clear(flag::DIRTY);
            page.set(mask);
            t.rotate_reclaimable(frame);
            page.clear(mask);
            let queued: Vec<Batch> = t.m.cpus[0].lock().entries().map(|(batch, _)| batch).collect();
            assert_eq!(queued, if rotated { vec![Batch::MoveTail] } else { vec![] }, "{mask:#x}");
        });
    }
}

/// `wp_can_reuse_anon_folio`: up to three references are worth a drain of this CPU.
#[test]
fn a_shared_page_with_up_to_two_batch_entries_is_reused_and_with_three_copied() {
    for (entries, reused) in [(1, true), (2, true), (3, false)] {
        let (m, id) = machine("linux-7.2.13", Kind::Anon, 1);
        alone(&m, move |t| {
            let mapping = t.m.mapping(id);
            t.touch(mapping, pages(0..1)).unwrap();
            let frame = frame_of(t.m, id, 0);
            let page = t.m.page(frame);
            // One entry is the fault's own; the others are of pages that had left the list.
            for _ in 1..entries {
                page.get(1);
                t.m.cpus[0].lock().push(Batch::Activate, Entry { frame, tag: Tag::None });
            }
            page.clear(flag::ANON_EXCLUSIVE);
            let locked = mapping.vma.lock(PageIndex(0));
            locked.set(PageIndex(0), locked.get(PageIndex(0)).write_protected());
            drop(locked);
            t.touch(mapping, pages(0..1)).unwrap();
            assert_eq!(frame_of(t.m, id, 0) == frame, reused, "{entries} entries");
        });
    }
}

#[test]
fn a_synchronous_migration_sleeps_on_a_page_lock() {
    for kernel in ["linux-6.1.176", "linux-7.2.13"] {
        let (m, id) = machine(kernel, Kind::Anon, 1);
        alone(&m, move |t| {
            t.touch(t.m.mapping(id), pages(0..1)).unwrap();
            t.lru_add_drain_all(false);
        });
        let frame = frame_of(&m, id, 0);
        let holder = body(move |t| {
            assert!(t.lock(frame));
            t.d.sleep(MS);
            t.unlock(frame);
        });
        let mover = body(move |t| {
            t.d.sleep(MS / 2);
            assert!(t.isolate_lru(frame));
            let result = t.migrate_pages(&[frame], Gfp::Pin, MigrateMode::Sync);
            assert!(result.is_complete(), "{kernel}: {result:?}");
            assert!(t.d.now() >= MS, "{kernel}: it did not wait");
        });
        let counted = play(&m, vec![(0, holder), (1, mover)]);
        assert!(counted.get(Event::LockWaits) > 0, "{kernel}");
    }
}

/// With the LRU cache disabled a page put back is on its list at once.
#[test]
fn who_waits_for_a_page_is_woken_when_it_is_put_back() {
    for look in ["after-pin", "before-pin"] {
        let (m, id) = machine("linux-7.2.13", Kind::Anon, 1);
        alone(&m, move |t| {
            t.touch(t.m.mapping(id), pages(0..1)).unwrap();
            t.lru_cache_disable();
        });
        let frame = frame_of(&m, id, 0);
        let owner = body(move |t| {
            assert!(t.isolate_lru(frame));
            t.d.sleep(2 * MS);
            t.putback_lru(frame);
        });
        let patient = [("backoff_min", "1s"), ("backoff_max", "1s"), ("deadline", "none"), ("look", look)];
        let policy = policy("cooperative", &patient);
        let pinner = body(move |t| {
            t.d.sleep(MS);
            let request = PinRequest::new(&policy, t.m.mapping(id), pages(0..1), true);
            let mut pin = Pin::default();
            t.pin_longterm(&request, &mut pin).unwrap();
            let now = t.d.now();
            assert!((2 * MS..10 * MS).contains(&now), "{look}: pinned at {now} ns");
            t.unpin_user_pages(&pin.pages);
        });
        let counted = play(&m, vec![(0, owner), (1, pinner)]);
        assert!(counted.get(Event::OwnerWaits) > 0, "{look}");
    }
}

#[test]
fn a_pin_that_waits_in_its_only_sweep_is_contended() {
    let (m, id) = machine("linux-7.2.13", Kind::Anon, 1);
    alone(&m, move |t| t.touch_pinnable(t.m.mapping(id), pages(0..1)).unwrap());
    let frame = frame_of(&m, id, 0);
    // The page is on its way from one frame to another, for a millisecond.
    let mover = body(move |t| {
        assert!(t.lock(frame));
        let set = |pte| t.m.mapping(id).vma.lock(PageIndex(0)).set(PageIndex(0), pte);
        let pte = t.m.mapping(id).vma.pte(PageIndex(0));
        set(pte.to_migration(true));
        t.d.sleep(2 * MS);
        set(pte);
        t.unlock(frame);
    });
    let seen = Rc::new(RefCell::new(Vec::new()));
    let pinner = {
        let (seen, policy) = (Rc::clone(&seen), policy("linux-7.2", &[]));
        body(move |t| {
            t.d.sleep(MS);
            for _ in 0..2 {
                let request = PinRequest::new(&policy, t.m.mapping(id), pages(0..1), true);
                let mut pin = Pin::default();
                t.pin_longterm(&request, &mut pin).unwrap();
                seen.borrow_mut().push((pin.sweeps, pin.contended));
                t.unpin_user_pages(&pin.pages);
            }
        })
    };
    play(&m, vec![(0, mover), (1, pinner)]);
    assert_eq!(*seen.borrow(), [(1, true), (1, false)]);
}

#[test]
fn a_device_sees_that_its_token_is_lost() {
    let (m, id) = machine("linux-7.2.13", Kind::Anon, 2);
    alone(&m, move |t| {
        let mapping = t.m.mapping(id);
        t.touch(mapping, pages(0..2)).unwrap();
        let frames: Vec<Frame> = (0..2).map(|index| frame_of(t.m, id, index)).collect();
        let mine = Dma { word: 3, token: 1 };
        t.dma_start(mine, &frames);
        assert_eq!(t.dma_finish(mine, mapping, pages(0..2), &frames), None);
        t.dma_start(mine, &frames);
        t.dma_start(Dma { word: 3, token: 2 }, &frames[1..]);
        let wrong = t.dma_finish(mine, mapping, pages(0..2), &frames).expect("its word was overwritten");
        assert_eq!((wrong.index, wrong.token_kept, wrong.mapped), (PageIndex(1), false, Some(frames[1])));
    });
}

#[test]
fn contents_are_checked_in_every_word() {
    let (m, id) = machine("linux-7.2.13", Kind::Anon, 1);
    alone(&m, move |t| {
        let mapping = t.m.mapping(id);
        t.touch(mapping, pages(0..1)).unwrap();
        let frame = frame_of(t.m, id, 0);
        let payload = &t.m.memory.payload;
        assert!(payload.words_per_frame() > 2);
        for word in 0..payload.words_per_frame() {
            assert!(payload.is_filled(frame, pattern(id, PageIndex(0))));
            let dma = Dma { word, token: 7 };
            t.dma_start(dma, &[frame]);
            assert!(!payload.is_filled(frame, pattern(id, PageIndex(0))), "word {word}");
            assert_eq!(t.dma_finish(dma, mapping, pages(0..1), &[frame]), None);
        }
    });
}

#[test]
fn the_frames_of_an_offlined_block_come_back() {
    let (m, id) = machine("linux-7.2.13", Kind::Anon, 60);
    alone(&m, move |t| {
        t.touch(t.m.mapping(id), pages(0..60)).unwrap();
        let zone = &t.m.memory.zone(ZoneKind::Movable).frames;
        // The first has the zero page.
        let block = zone.start.0 / PAGEBLOCK + 1;
        assert!((block + 1) * PAGEBLOCK <= zone.end.0);
        let free = |t: &Task<'_, SimThread<'_>>| t.m.memory.free_in(ZoneKind::Movable);
        let before = free(t);
        assert!(t.offline(block, 3), "nothing is in the way");
        assert_eq!(free(t), before);
        // All of them can be had: there are no others.
        let other = t.m.map(Kind::Anon, before as u32).id;
        t.touch(t.m.mapping(other), pages(0..before as u32)).unwrap();
        let anywhere = |index| t.m.must_move(frame_of(t.m, other, index));
        assert!((0..before as u32).all(anywhere), "some were not handed out again");
    });
}

#[test]
fn a_device_that_reads_sees_what_is_written_later_where_the_page_is_unshared() {
    // To 5.18 a pin that reads takes the page that a child shares: the program's next write leaves it.
    for (kernel, sees) in [("linux-5.13", false), ("linux-6.1.176", true), ("linux-7.2.13", true)] {
        let (m, id) = machine(kernel, Kind::Anon, 1);
        let found = Rc::new(RefCell::new(None));
        let (seen, policy) = (Rc::clone(&found), policy("linux-7.2", &[]));
        let reader = body(move |t| {
            let mapping = t.m.mapping(id);
            t.touch(mapping, pages(0..1)).unwrap();
            t.lru_add_drain();
            t.fork(mapping, pages(0..1)).unwrap();
            let mut pin = Pin::default();
            t.pin_longterm(&PinRequest::new(&policy, mapping, pages(0..1), false), &mut pin).unwrap();
            let dma = Dma { word: 0, token: 7 };
            t.dma_publish(dma, mapping, pages(0..1)).unwrap();
            *seen.borrow_mut() = Some(t.dma_finish(dma, mapping, pages(0..1), &pin.pages));
            t.unpin_user_pages(&pin.pages);
        });
        play(&m, vec![(0, reader)]);
        let found = found.borrow().expect("it has pinned");
        assert_eq!(found.is_none(), sees, "{kernel}: {found:?}");
        assert!(found.is_none_or(|error| !error.token_kept), "{kernel}: {found:?}");
    }
}

fn children(mapping: &Mapping) -> usize {
    let mut count = 0;
    mapping.for_each_child(|_| count += 1);
    count
}

#[test]
fn a_child_that_has_exited_is_forgotten() {
    let (m, id) = machine("linux-7.2.13", Kind::Anon, 2);
    alone(&m, move |t| {
        let mapping = t.m.mapping(id);
        t.touch(mapping, pages(0..2)).unwrap();
        let during = std::cell::Cell::new(0);
        t.with_child(mapping, pages(0..2), || {
            during.set(children(mapping));
            assert_eq!(t.m.page(mapping.vma.pte(PageIndex(0)).frame()).mapcount(), 2);
        })
        .unwrap();
        assert_eq!((during.get(), children(mapping)), (1, 0));
        assert_eq!(t.m.page(mapping.vma.pte(PageIndex(0)).frame()).mapcount(), 1);
    });
}

#[test]
fn a_child_that_cannot_be_made_leaves_nothing() {
    let (m, id) = machine("linux-7.2.13", Kind::Anon, 4);
    alone(&m, move |t| {
        let mapping = t.m.mapping(id);
        t.touch(mapping, pages(0..4)).unwrap();
        let mut pin = Pin::default();
        // The last two may be pinned, and would be copied; there is a frame for the first.
        t.pin_longterm(&PinRequest::new(&policy("linux-7.2", &[]), mapping, pages(2..4), true), &mut pin)
            .unwrap();
        t.lru_add_drain();
        let free = || t.m.memory.free_in(ZoneKind::Normal) + t.m.memory.free_in(ZoneKind::Movable);
        let filler = t.m.map(Kind::Anon, free() as u32 - 1).id;
        t.touch(t.m.mapping(filler), pages(0..free() as u32 - 1)).unwrap();
        t.lru_add_drain();
        assert_eq!(free(), 1);
        let forks: [&dyn Fn() -> Result<(), Errno>; 3] =
            [&|| t.fork(mapping, pages(0..4)), &|| t.fork_writing(mapping, pages(0..1)), &|| {
                t.with_child(mapping, pages(0..4), || unreachable!("there is no child"))
            }];
        for fork in forks {
            assert_eq!(fork(), Err(Errno::ENOMEM));
            t.lru_add_drain();
            assert_eq!((children(mapping), free()), (0, 1));
            assert_eq!(t.m.page(frame_of(t.m, id, 0)).mapcount(), 1);
        }
        t.unpin_user_pages(&pin.pages);
    });
}

/// A machine with room for huge pages, and a mapping of one.
fn huge(kernel: &str, kind: Kind) -> (Arc<Machine>, MappingId) {
    let layout = Layout { normal: 2048, movable: 2048, cma: 0, page_bytes: 64 };
    let m = Arc::new(Machine::new(rules(kernel), &layout, 2));
    let id = m.map(Backing { kind, order: MAX_ORDER }, 512).id;
    (m, id)
}

#[test]
fn no_pmd_maps_what_has_a_page_table() {
    for kernel in ["linux-6.1.192", "linux-6.12.117", "linux-7.3.4"] {
        // Areas on both sides of an edge take PTEs; that they are one again takes none of them away.
        let (m, id) = huge(kernel, Kind::Shmem);
        alone(&m, move |t| {
            let mapping = t.m.mapping(id);
            t.mlock(mapping, pages(0..300)).unwrap();
            t.touch(mapping, pages(0..1)).unwrap();
            t.munlock(mapping, pages(0..300)).unwrap();
            t.touch(mapping, pages(1..2)).unwrap();
            assert!(mapping.vma.lock(PageIndex(0)).pmd(PageIndex(0)).is_none(), "{kernel}");
        });
        // A child has the page tables that its parent's pages needed.
        let (m, id) = huge(kernel, Kind::Anon);
        alone(&m, move |t| {
            let mapping = t.m.mapping(id);
            t.touch(mapping, pages(0..512)).unwrap();
            t.madvise_dontneed(mapping, pages(0..1)).unwrap();
            t.fork_writing(mapping, pages(0..1)).unwrap();
            mapping.for_each_child(|child| {
                assert!(child.lock(PageIndex(0)).pmd(PageIndex(0)).is_none(), "{kernel}");
            });
        });
    }
}

#[test]
fn who_sleeps_for_the_drain_mutex_gets_it_however_soon_it_is_taken_again() {
    let (m, id) = machine("linux-6.12.57", Kind::Anon, 1);
    let (rounds, waited) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(None)));
    let (counted, over) = (Rc::clone(&rounds), Rc::clone(&waited));
    // Has something to drain in every round, and is back before anybody whom it has woken runs.
    let again = move |t: &Task<'_, SimThread<'_>>| {
        while over.get().is_none() && counted.get() < 100 {
            t.touch(t.m.mapping(id), pages(0..1)).unwrap();
            t.lru_add_drain_all(true);
            t.madvise_dontneed(t.m.mapping(id), pages(0..1)).unwrap();
            counted.set(counted.get() + 1);
        }
    };
    let through = Rc::clone(&waited);
    let once = move |t: &Task<'_, SimThread<'_>>| {
        t.d.sleep(20_000);
        let before = rounds.get();
        t.lru_add_drain_all(true);
        through.set(Some(rounds.get() - before));
    };
    let sched = Sched { wakeup_ns: 2_000, ..Sched::ideal(MS) };
    let bodies = vec![(0, body(again)), (1, body(once))];
    lab::run(&m, Box::new(Timed::on(sched)), 1, 100 * MS, bodies).unwrap();
    // One that has it, one that takes it past the sleeper, and then it is handed over.
    assert!(waited.get().is_some_and(|rounds| rounds <= 2), "{waited:?} rounds");
}
