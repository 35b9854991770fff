//! What goes on beside pins: who compacts, offlines, poisons, holds and drains takes what is his to take.
#![cfg(not(loom))]

mod lab;
mod mapped;

use gupstress_run::drive::{Driver, Step};
use gupstress_run::machine::{
    Frame, Kind, Layout, Machine, NO_FRAME, PAGEBLOCK, PageIndex, ZoneKind, flag, pages,
};
use gupstress_run::observe::Event;
use gupstress_run::ops::Errno;
use mapped::{At, LAYOUT, MS, anon, body, frame, machine, play, run, with};
use std::cell::RefCell;
use std::rc::Rc;

// ------------------------------------------------------------ compaction

/// A machine of so much Movable that half of it is a mapping's, in which only every so manieth frame
/// is that of a page on its list.
fn spread(every: u32, act: impl FnOnce(At<'_, '_>) + 'static) {
    let layout = Layout { movable: 1024, ..LAYOUT };
    let m = machine("linux-7.2.13", &[], &layout);
    let id = m.map(Kind::Anon, 1000).id;
    let acts = body(id, move |(t, mapping)| {
        t.touch(mapping, mapping.vma.pages()).unwrap();
        t.lru_add_drain();
        for index in mapping.vma.pages() {
            if mapping.vma.pte(index).frame().0 % every != 0 {
                t.madvise_dontneed(mapping, index.run(1)).unwrap();
            }
        }
        act((t, mapping));
    });
    play(&m, vec![acts]);
}

#[test]
fn compaction_takes_as_many_pages_as_it_may_from_eight_times_as_many_frames() {
    // Of 32 frames every eighth is four, every other sixteen, and every sixteenth two.
    for (every, moved) in [(8, 4), (2, 4), (16, 2)] {
        for nth in 0..6 {
            spread(every, move |(t, mapping)| {
                // Another place at each time.
                (0..nth).for_each(|_| _ = t.d.below(2));
                let before = t.count.get(Event::Migrated);
                assert_eq!(t.compact(4), moved, "every {every}, at place {nth}");
                assert_eq!(t.count.get(Event::Migrated) - before, moved as u64);
                let zone = |index| {
                    let pte = mapping.vma.pte(PageIndex(index));
                    pte.is_none() || ZoneKind::of(t.m.page(pte.frame()).flags()) == ZoneKind::Movable
                };
                assert!((0..1000).all(zone), "it moved something out of Movable");
            });
        }
    }
}

#[test]
fn compaction_tells_what_it_moved_and_puts_back_what_it_could_not() {
    spread(4, |(t, mapping)| {
        let present = |index: &PageIndex| mapping.vma.pte(*index).is_present();
        let frames: Vec<Frame> =
            mapping.vma.pages().filter(present).map(|index| mapping.vma.pte(index).frame()).collect();
        let locked: Vec<Frame> = frames.into_iter().filter(|frame| frame.0 % 8 == 0).collect();
        assert!(locked.iter().all(|&frame| t.trylock(frame)));
        // Of eight in a row every other is locked.
        assert_eq!(t.compact(8), 4);
        assert_eq!((t.count.get(Event::Migrated), t.count.get(Event::MigrateFailed)), (4, 4));
        locked.iter().for_each(|&frame| t.unlock(frame));
        t.lru_add_drain();
        assert!(locked.iter().all(|&frame| t.m.page(frame).has(flag::LRU)));
    });
}

#[test]
fn compaction_leaves_larger_folios_alone() {
    for (order, moved) in [(0, 4), (2, 0)] {
        // All of Movable is full of them, but for where they go to.
        let layout = Layout { movable: 1024, ..LAYOUT };
        let m = machine("linux-7.2.13", &[], &layout);
        let id = m.map(anon(order), 1000).id;
        let acts = body(id, move |(t, mapping)| {
            t.touch(mapping, mapping.vma.pages()).unwrap();
            t.lru_add_drain();
            assert_eq!(t.compact(4), moved, "order {order}");
        });
        play(&m, vec![acts]);
    }
}

// ------------------------------------------------------------ offlining

/// A block of Movable that is full of a mapping's pages, as the one after it is.
fn full_block(m: &Machine) -> u32 {
    m.memory.whole_blocks(ZoneKind::Movable).start + 1
}

#[test]
fn a_block_is_offlined_with_all_that_lies_in_it_and_nothing_beside_it() {
    for order in [0, 2] {
        with(&[], anon(order), 4 * PAGEBLOCK, move |(t, mapping)| {
            t.touch(mapping, mapping.vma.pages()).unwrap();
            t.lru_add_drain();
            let block = full_block(t.m);
            let within = t.m.memory.pageblock(block);
            let where_all = || -> Vec<Frame> {
                mapping.vma.pages().map(|index| mapping.vma.pte(index).frame()).collect()
            };
            let before = where_all();
            let of_block = before.iter().filter(|frame| within.contains(**frame)).count();
            assert_eq!(of_block, PAGEBLOCK as usize);
            // A frame of it that is on no list.
            let hole = before.iter().position(|&frame| within.contains(frame)).unwrap() as u32;
            t.madvise_dontneed(mapping, pages(hole..hole + (1 << order))).unwrap();
            assert!(t.offline(block, 3), "order {order}");
            for (index, (before, after)) in before.into_iter().zip(where_all()).enumerate() {
                if !(hole..hole + (1 << order)).contains(&(index as u32)) {
                    assert_eq!(before == after, !within.contains(before), "order {order}, page {index}");
                }
            }
        });
    }
}

#[test]
fn a_block_with_a_pinned_page_is_given_up_after_some_rounds_and_told_of_in_each() {
    type Rounds = Rc<RefCell<Vec<Vec<Frame>>>>;
    let act = |(t, mapping): At<'_, '_>| {
        t.touch(mapping, mapping.vma.pages()).unwrap();
        t.lru_add_drain();
        let block = full_block(t.m);
        let within = t.m.memory.pageblock(block);
        let index = |index: &PageIndex| within.contains(mapping.vma.pte(*index).frame());
        let index = mapping.vma.pages().find(index).unwrap();
        let pinned = t.pin_in_place(mapping, index).unwrap();
        assert!(!t.offline(block, 2));
        let rounds: Rounds = Rc::default();
        let look = |in_use: &[Frame]| rounds.borrow_mut().push(in_use.to_vec());
        assert_eq!(t.alloc_contig_range(block, look), Err(Errno::EBUSY));
        assert_eq!(*rounds.borrow(), vec![vec![pinned]; 5]);
        let counted = [Event::OfflineFailed, Event::Offlined].map(|event| t.count.get(event));
        assert_eq!(counted, [2, 0]);
        // Once it may move, one round is enough for who tries without end.
        t.unpin_user_pages(&[pinned]);
        rounds.borrow_mut().clear();
        assert_eq!(t.offline_pages(block, look), Ok(()));
        assert!(rounds.borrow().is_empty());
    };
    with(&[], Kind::Anon, 4 * PAGEBLOCK, act);
}

#[test]
fn who_offlines_without_end_is_ended_by_a_signal() {
    let m = machine("linux-7.2.13", &[], &LAYOUT);
    let id = m.map(Kind::Anon, 4 * PAGEBLOCK).id;
    let ended = Rc::new(RefCell::new(None));
    let told = Rc::clone(&ended);
    let acts = body(id, move |(t, mapping)| {
        t.touch(mapping, mapping.vma.pages()).unwrap();
        let block = full_block(t.m);
        let within = t.m.memory.pageblock(block);
        let index = |index: &PageIndex| within.contains(mapping.vma.pte(*index).frame());
        t.pin_in_place(mapping, mapping.vma.pages().find(index).unwrap()).unwrap();
        *told.borrow_mut() = Some(t.offline_pages(block, |_| {}));
    });
    assert!(run(&m, vec![acts], MS).killed);
    assert_eq!(*ended.borrow(), Some(Err(Errno::EINTR)));
}

// ------------------------------------------------------------ pages with an obstacle of their own

/// One body with a page on a machine that is left as it is: who has a page for ever is nobody's to explain.
#[track_caller]
fn left(kind: Kind, act: impl FnOnce(At<'_, '_>) + 'static) {
    let m = machine("linux-7.2.13", &[], &LAYOUT);
    let id = m.map(kind, 1).id;
    assert!(!run(&m, vec![body(id, act)], 1000 * MS).killed);
}

#[test]
fn memory_in_pieces_has_every_other_frame_free_and_no_block_of_two() {
    let m = machine("linux-7.2.13", &[], &LAYOUT);
    let id = m.map(Kind::Anon, 1).id;
    let acts = body(id, move |(t, _)| {
        let normal = |t: &Machine| t.memory.free_in(ZoneKind::Normal);
        let before = normal(t.m);
        let movable = t.m.memory.free_in(ZoneKind::Movable);
        assert!(t.m.memory.has_block(ZoneKind::Normal, 1));
        assert_eq!(t.fragment() as usize, before);
        assert_eq!((normal(t.m), t.m.memory.free_in(ZoneKind::Movable)), (before / 2, movable));
        assert!(!t.m.memory.has_block(ZoneKind::Normal, 1));
        assert!(t.m.memory.has_block(ZoneKind::Normal, 0));
        t.lru_add_drain();
    });
    play(&m, vec![acts]);
}

#[test]
fn where_nothing_is_free_there_is_nothing_to_break_into_pieces() {
    let m = machine("linux-7.2.13", &[], &Layout { normal: 64, ..LAYOUT });
    let id = m.map(Kind::Anon, 64).id;
    let acts = body(id, move |(t, mapping)| {
        let free = t.m.memory.free_in(ZoneKind::Normal) as u32;
        t.touch_pinnable(mapping, pages(0..free)).unwrap();
        let mappings = t.m.mappings().count();
        assert_eq!((t.fragment(), t.m.mappings().count()), (0, mappings));
    });
    play(&m, vec![acts]);
}

#[test]
fn a_poisoned_page_is_taken_from_all_who_map_it_and_from_nobody_else() {
    let seen = |(t, mapping): At<'_, '_>| {
        let poisoned = t.memory_failure(mapping, PageIndex(0), false).unwrap();
        let mut seen = Vec::new();
        mapping.for_each_vma(|vma| {
            let pte = vma.pte(PageIndex(0));
            seen.push((pte.is_poison(), pte.is_present(), pte.frame() == poisoned));
        });
        seen
    };
    left(Kind::Shmem, move |(t, mapping)| {
        t.touch_alias(mapping, pages(0..1)).unwrap();
        t.touch(mapping, pages(0..1)).unwrap();
        assert_eq!(seen((t, mapping)), [(true, false, true); 2]);
    });
    // A child that has written has a copy of its own.
    left(Kind::Anon, move |(t, mapping)| {
        t.touch(mapping, pages(0..1)).unwrap();
        t.fork_writing(mapping, pages(0..1)).unwrap();
        assert_eq!(seen((t, mapping)), [(true, false, true), (false, true, false)]);
    });
}

#[test]
fn a_poisoned_page_is_on_no_list_and_has_no_flag_of_one() {
    for flags in [flag::ACTIVE, flag::MLOCKED] {
        left(Kind::Shmem, move |(t, mapping)| {
            t.touch(mapping, pages(0..1)).unwrap();
            t.lru_add_drain();
            // The active list, or the unevictable one.
            let page = t.m.page(frame(mapping, 0));
            assert!(t.isolate_lru(frame(mapping, 0)));
            page.set(flags);
            t.putback_lru(frame(mapping, 0));
            t.lru_add_drain();
            assert!(page.has(flag::LRU) && page.has(flags));
            t.memory_failure(mapping, PageIndex(0), false).unwrap();
            let list = flag::LRU | flag::ACTIVE | flag::UNEVICTABLE | flag::MLOCKED;
            assert_eq!(page.flags() & list, 0, "{flags:#x}");
        });
    }
}

#[test]
fn who_holds_a_page_has_used_it_unless_it_is_the_zero_page_and_lets_go_of_all() {
    with(&[], Kind::Anon, 2, |(t, mapping)| {
        t.touch(mapping, pages(0..1)).unwrap();
        t.m.page(frame(mapping, 0)).clear(flag::REFERENCED);
        let held = t.hold(mapping, pages(0..2), false).unwrap();
        assert!(t.m.is_zero(held[1]));
        let used = held.iter().map(|&frame| t.m.page(frame).has(flag::REFERENCED));
        assert_eq!(used.collect::<Vec<_>>(), [true, false]);
        let lasting = || held.iter().map(|&frame| t.m.page(frame).lasting()).collect::<Vec<_>>();
        assert_eq!(lasting(), [1, 1]);
        held.iter().for_each(|&frame| t.release(frame));
        assert_eq!(lasting(), [0, 0]);
    });
}

// ------------------------------------------------------------ drains

#[test]
fn a_drain_of_all_cpus_takes_the_time_that_it_is_said_to_take() {
    with(&[], Kind::Anon, 1, |(t, mapping)| {
        t.touch(mapping, pages(0..1)).unwrap();
        t.d.sleep(MS);
        let before = (t.d.now(), t.count.get(Event::DrainAllNs));
        t.lru_add_drain_all(true);
        let took = t.d.now() - before.0;
        assert!(took > 0);
        assert_eq!(t.count.get(Event::DrainAllNs) - before.1, took);
    });
}

#[test]
fn batches_fill_again_once_they_are_enabled_again() {
    with(&[], Kind::Anon, 2, |(t, mapping)| {
        let queued = || t.m.cpus[0].lock().entries().count();
        t.lru_cache_disable();
        t.touch(mapping, pages(0..1)).unwrap();
        assert_eq!(queued(), 0);
        t.lru_cache_enable();
        t.touch(mapping, pages(1..2)).unwrap();
        assert_eq!(queued(), 1);
        t.lru_add_drain();
    });
}

/// Whose CPU has another thing to do drains later.
#[test]
fn a_drain_of_all_cpus_ends_when_the_last_of_them_has_drained() {
    let m = machine("linux-7.2.13", &[("drain_all_local_first", "false")], &LAYOUT);
    let id = m.map(Kind::Shmem, 2).id;
    let drainer = body(id, |(t, mapping)| {
        t.touch(mapping, pages(0..1)).unwrap();
        t.d.sleep(MS);
        assert!(t.m.cpus.iter().all(|cpu| cpu.needs_drain()));
        t.lru_add_drain_all(false);
        assert!(!t.m.cpus.iter().any(|cpu| cpu.needs_drain()));
        assert_eq!(t.count.get(Event::DrainWork), 2);
    });
    let busy = body(id, |(t, mapping)| {
        t.touch(mapping, pages(1..2)).unwrap();
        while t.d.now() < 4 * MS {
            t.d.step(Step::Idle, NO_FRAME);
        }
    });
    play(&m, vec![drainer, busy]);
}
