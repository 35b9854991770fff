//! What becomes of pages and folios that are moved, written to after a fork, and made where memory is
//! short or in pieces.
#![cfg(not(loom))]

mod lab;
mod mapped;

use gupstress_run::drive::Driver;
use gupstress_run::machine::{
    Backing, Batch, CpuId, Frame, Gfp, Kind, Layout, MAX_ORDER, Machine, Mapping, PageIndex, ZoneKind, flag,
    pages, vm,
};
use gupstress_run::observe::Event;
use gupstress_run::ops::{Caller, Errno, MigrateMode, Pin, PinRequest};
use gupstress_run::policy::{Source, load_policy};
use mapped::{At, LAYOUT, MS, anon, body, frame, machine, play, with};
use std::ops::Range;

/// Takes its dirty bit from a PTE.
fn clean(mapping: &Mapping, index: u32) {
    let (locked, index) = (mapping.vma.lock(PageIndex(index)), PageIndex(index));
    locked.set(index, locked.get(index).cleaned());
}

// ------------------------------------------------------------ migration

#[test]
fn a_copy_has_what_the_page_had_and_its_place_among_lists() {
    use flag::{ACTIVE, ANON, DIRTY, LRU, REFERENCED, SWAPBACKED, UNEVICTABLE};
    let mask = ACTIVE | ANON | DIRTY | LRU | REFERENCED | SWAPBACKED | UNEVICTABLE;
    for (kind, flags) in [
        (Kind::Anon, SWAPBACKED | ANON),
        (Kind::Anon, SWAPBACKED | ANON | REFERENCED | DIRTY),
        (Kind::Anon, ANON | ACTIVE),
        (Kind::Shmem, SWAPBACKED | ACTIVE | REFERENCED),
        (Kind::Shmem, SWAPBACKED | UNEVICTABLE | DIRTY),
        (Kind::Shmem, REFERENCED),
        (Kind::Shmem, 0),
    ] {
        with(&[("drain_after_migrate", "never")], kind, 1, move |(t, mapping)| {
            t.touch(mapping, pages(0..1)).unwrap();
            t.lru_add_drain();
            let before = frame(mapping, 0);
            assert!(t.isolate_lru(before));
            // A dirty PTE would make the page dirty when it is unmapped.
            clean(mapping, 0);
            let page = t.m.page(before);
            page.clear(mask & !flags);
            page.set(flags);
            assert!(t.migrate_pages(&[before], Gfp::Pin, MigrateMode::Sync).is_complete());
            let after = frame(mapping, 0);
            assert!(after != before && ZoneKind::of(t.m.page(after).flags()) == ZoneKind::Normal);
            assert_eq!(t.m.page(after).flags() & mask, flags, "{kind:?} {flags:#x}");
            assert_eq!(t.m.page(before).refcount(), 0);
        });
    }
}

#[test]
fn a_page_that_is_dirty_and_mapped_by_a_dirty_pte_is_dirty_where_it_is_moved_to() {
    with(&[], Kind::Anon, 1, |(t, mapping)| {
        t.touch(mapping, pages(0..1)).unwrap();
        t.lru_add_drain();
        let before = frame(mapping, 0);
        assert!(mapping.vma.pte(PageIndex(0)).is_dirty() && t.isolate_lru(before));
        t.m.page(before).set(flag::DIRTY);
        assert!(t.migrate_pages(&[before], Gfp::Pin, MigrateMode::Sync).is_complete());
        assert!(t.m.page(frame(mapping, 0)).has(flag::DIRTY));
    });
}

#[test]
fn an_isolated_page_that_nobody_else_has_is_freed_instead_of_moved() {
    let totals = with(&[], Kind::Anon, 1, |(t, mapping)| {
        t.touch(mapping, pages(0..1)).unwrap();
        t.lru_add_drain();
        let page = frame(mapping, 0);
        assert!(t.isolate_lru(page));
        t.m.page(page).set(flag::ACTIVE);
        t.madvise_dontneed(mapping, pages(0..1)).unwrap();
        assert!(t.migrate_pages(&[page], Gfp::Pin, MigrateMode::Sync).is_complete());
        assert_eq!((t.m.page(page).refcount(), t.m.page(page).has(flag::ACTIVE)), (0, false));
    });
    assert_eq!((totals.get(Event::TargetAllocs), totals.get(Event::Migrated)), (0, 1));
}

/// A lock is only tried in the first passes; a target is allocated in each.
#[test]
fn a_lock_is_tried_a_few_times_before_it_is_slept_on_and_never_by_who_may_not_sleep() {
    for (kernel, mode, tries) in [
        ("linux-6.1.176", MigrateMode::Sync, 3 + 1),
        ("linux-6.1.176", MigrateMode::Async, 10),
        ("linux-7.2.13", MigrateMode::Sync, 3 + 1),
        ("linux-7.2.13", MigrateMode::Async, 10),
    ] {
        let m = machine(kernel, &[], &LAYOUT);
        let id = m.map(Kind::Anon, 1).id;
        play(
            &m,
            vec![body(id, |(t, mapping)| {
                t.touch(mapping, pages(0..1)).unwrap();
                t.lru_add_drain_all(false);
            })],
        );
        let page = frame(m.mapping(id), 0);
        let holder = body(id, move |(t, _)| {
            assert!(t.lock(page));
            t.d.sleep(10 * MS);
            t.unlock(page);
        });
        let mover = body(id, move |(t, _)| {
            t.d.sleep(MS);
            assert!(t.isolate_lru(page));
            let result = t.migrate_pages(&[page], Gfp::Pin, mode);
            let sleeps = mode == MigrateMode::Sync;
            assert_eq!((result.is_complete(), t.d.now() >= 10 * MS), (sleeps, sleeps), "{kernel} {mode:?}");
            t.putback_movable(result.left);
        });
        let totals = play(&m, vec![holder, mover]);
        assert_eq!(totals.get(Event::TargetAllocs), tries, "{kernel} {mode:?}");
    }
}

#[test]
fn who_moves_a_page_drains_for_it_as_the_rules_say() {
    for (rule, locked, drains) in
        [("never", true, 0), ("mapped", false, 1), ("mlocked", false, 0), ("mlocked", true, 1)]
    {
        with(&[("drain_after_migrate", rule)], Kind::Anon, 1, move |(t, mapping)| {
            t.touch(mapping, pages(0..1)).unwrap();
            if locked {
                t.mlock(mapping, pages(0..1)).unwrap();
            }
            t.lru_add_drain();
            assert!(t.isolate_lru(frame(mapping, 0)));
            let before = t.count.get(Event::DrainLocal);
            assert!(t.migrate_pages(&[frame(mapping, 0)], Gfp::Pin, MigrateMode::Sync).is_complete());
            assert_eq!(t.count.get(Event::DrainLocal) - before, drains, "{rule} {locked}");
        });
    }
}

#[test]
fn a_folio_of_which_part_is_mapped_stays_so_where_the_kernel_remembers() {
    let whole = ("splits_partly_mapped", "false");
    // What is unmapped page by page is mapped in part meanwhile, what is unmapped by its PMD is not.
    for (order, keeps, zapped, marked) in [
        (2, "true", true, true),
        (2, "false", true, false),
        (2, "true", false, true),
        (2, "false", false, false),
        (MAX_ORDER, "true", false, false),
    ] {
        let sets = [whole, ("migrate_keeps_deferred", keeps)];
        let totals = with(&sets, anon(order), 1 << order, move |(t, mapping)| {
            t.touch(mapping, pages(0..1)).unwrap();
            if zapped {
                t.madvise_dontneed(mapping, pages(3..4)).unwrap();
            }
            let head = frame(mapping, 0);
            assert_eq!(t.m.page(head).has(flag::PARTLY_MAPPED), zapped);
            assert!(t.isolate_lru(head));
            assert!(t.migrate_pages(&[head], Gfp::Pin, MigrateMode::Sync).is_complete());
            let copy = t.m.page(frame(mapping, 0));
            let found = (copy.order(), copy.has(flag::PARTLY_MAPPED));
            assert_eq!(found, (order, marked), "{keeps} {zapped}");
        });
        assert_eq!(totals.get(Event::SplitCalls), 0);
    }
    // Where such a one is split first, its pages go one by one.
    let totals = with(&[("splits_partly_mapped", "true")], anon(2), 4, |(t, mapping)| {
        t.touch(mapping, pages(0..1)).unwrap();
        t.madvise_dontneed(mapping, pages(3..4)).unwrap();
        let head = frame(mapping, 0);
        assert!(t.isolate_lru(head));
        assert!(t.migrate_pages(&[head], Gfp::Pin, MigrateMode::Sync).is_complete());
        assert!((0..3).all(|index| t.m.folio(frame(mapping, index)).order() == 0));
    });
    assert_eq!(totals.get(Event::SplitCalls), 1);
}

// ------------------------------------------------------------ who may write to a page

/// Whether the first page of a folio is the same one after a store, when a child has come, and
/// what it has is gone again if `exits`.
fn reused(sets: &[(&str, &str)], order: u32, child: std::ops::Range<u32>, exits: bool, held: bool) -> bool {
    let (send, receive) = std::sync::mpsc::channel();
    with(sets, anon(order), 1 << order, move |(t, mapping)| {
        t.touch(mapping, mapping.vma.pages()).unwrap();
        t.lru_add_drain();
        t.fork(mapping, pages(child)).unwrap();
        if exits {
            t.children_exit(mapping);
        }
        let before = frame(mapping, 0);
        if held {
            t.m.folio(before).get(1);
        }
        t.touch(mapping, pages(0..1)).unwrap();
        send.send(frame(mapping, 0) == before).unwrap();
        assert!(t.m.memory.is_anon_exclusive(frame(mapping, 0)));
        if held {
            t.put(before, 1);
        }
        t.lru_add_drain();
    });
    receive.recv().unwrap()
}

#[test]
fn a_page_is_written_to_where_it_is_if_nobody_else_maps_or_holds_it() {
    for (order, alone, shared, held) in
        [(0, true, false, false), (4, true, false, false), (MAX_ORDER, true, false, false)]
    {
        let all = 0..1 << order;
        assert_eq!(reused(&[], order, all.clone(), true, false), alone, "order {order}");
        assert_eq!(reused(&[], order, all.clone(), false, false), shared, "order {order}");
        assert_eq!(reused(&[], order, all, true, true), held, "order {order}");
    }
    // All references are mappings, but not all of them this process's.
    assert!(!reused(&[], 4, 0..8, false, false));
    // What the child has of the folio is not this page.
    assert!(reused(&[], 4, 8..16, false, false));
    assert!(!reused(&[("reuses_large", "false")], 4, 0..16, true, false));
    assert!(reused(&[("reuses_large", "false")], 0, 0..1, true, false));
}

#[test]
fn a_huge_page_that_is_ones_own_again_is_written_to_by_its_pmd() {
    for (exits, splits) in [(true, 0), (false, 1)] {
        let totals = with(&[], anon(MAX_ORDER), 512, move |(t, mapping)| {
            t.touch(mapping, pages(0..1)).unwrap();
            t.fork(mapping, mapping.vma.pages()).unwrap();
            if exits {
                t.children_exit(mapping);
            }
            t.touch(mapping, pages(3..4)).unwrap();
            let huge = mapping.vma.lock(PageIndex(0)).pmd(PageIndex(0));
            assert_eq!(huge.is_some_and(|pmd| pmd.is_writable() && pmd.is_dirty()), exits);
        });
        assert_eq!(totals.get(Event::ThpSplitPmd), splits);
    }
}

#[test]
fn the_huge_zero_page_becomes_a_huge_page_or_one_page_of_it_does() {
    for (rule, splits) in [("true", 0), ("false", 1)] {
        let totals = with(&[("huge_zero_to_huge", rule)], anon(MAX_ORDER), 512, move |(t, mapping)| {
            t.read(mapping, pages(5..6)).unwrap();
            assert!(t.m.is_zero(frame(mapping, 5)));
            t.touch(mapping, pages(5..6)).unwrap();
            assert!(!t.m.is_zero(frame(mapping, 5)));
            assert_eq!(t.m.is_zero(frame(mapping, 6)), splits == 1);
        });
        assert_eq!(totals.get(Event::ThpSplitPmd), splits);
    }
}

#[test]
fn a_folio_is_reused_by_the_pages_of_it_that_are_mapped_here() {
    with(&[], anon(2), 4, |(t, mapping)| {
        t.touch(mapping, pages(0..4)).unwrap();
        t.lru_add_drain();
        t.fork(mapping, pages(0..4)).unwrap();
        let head = frame(mapping, 0);
        // In its place there is another page, which counts for none of the folio's.
        t.touch(mapping, pages(3..4)).unwrap();
        t.children_exit(mapping);
        assert_eq!(t.m.folio(head).folio_mapcount(), 3);
        t.touch(mapping, pages(0..1)).unwrap();
        assert_eq!(frame(mapping, 0), head);
        t.lru_add_drain();
    });
}

#[test]
fn a_store_to_a_page_off_the_lists_that_is_not_ones_own_drains_as_the_rules_say() {
    // Whether stores drain, those to shared pages too; whether the page is exclusive, mapped by
    // a child, and on a list.
    for (drains, of_shared, exclusive, shared, listed, drained) in [
        (true, true, false, false, false, 1),
        (true, true, false, true, false, 1),
        (true, false, false, false, false, 1),
        (true, false, false, true, false, 0),
        (false, true, false, false, false, 0),
        (false, false, false, false, false, 0),
        (true, true, true, false, false, 0),
        (true, true, false, false, true, 0),
    ] {
        let word = |is: bool| if is { "true" } else { "false" };
        let sets = [
            ("cow_drains", word(drains)),
            ("cow_drains_shared", word(of_shared)),
            ("mprotect_writable", "never"),
        ];
        with(&sets, Kind::Anon, 1, move |(t, mapping)| {
            t.touch(mapping, pages(0..1)).unwrap();
            t.lru_add_drain();
            let before = frame(mapping, 0);
            if exclusive {
                t.mprotect_and_back(mapping, pages(0..1));
            } else {
                t.fork(mapping, pages(0..1)).unwrap();
            }
            if !exclusive && !shared {
                t.children_exit(mapping);
            }
            assert!(listed || t.isolate_lru(before));
            let drains = t.count.get(Event::DrainLocal);
            t.touch(mapping, pages(0..1)).unwrap();
            let row = format!("{sets:?}, exclusive {exclusive}, shared {shared}, on a list {listed}");
            assert_eq!(t.count.get(Event::DrainLocal) - drains, drained, "{row}");
            assert_eq!(frame(mapping, 0) == before, exclusive || listed && !shared, "{row}");
            if !listed {
                t.putback_lru(before);
            }
            t.lru_add_drain();
        });
    }
}

// ------------------------------------------------------------ what a child has

#[test]
fn a_child_has_what_its_parent_has_wherever_it_lies() {
    with(&[], anon(MAX_ORDER), 1030, |(t, mapping)| {
        t.touch(mapping, pages(0..1026)).unwrap();
        t.fork(mapping, mapping.vma.pages()).unwrap();
        mapping.for_each_child(|child| {
            for index in mapping.vma.pages() {
                let (own, other) = (child.pte(index), mapping.vma.pte(index));
                assert_eq!(own, other, "page {index:?}");
                assert!(!own.is_writable());
            }
        });
        t.lru_add_drain();
    });
}

#[test]
fn a_child_has_the_holes_and_the_protection_of_its_parent() {
    with(&[], Kind::Anon, 4, |(t, mapping)| {
        t.touch(mapping, pages(0..4)).unwrap();
        t.munmap(mapping, pages(1..2)).unwrap();
        t.mprotect_readonly(mapping, pages(2..3)).unwrap();
        t.mlock(mapping, pages(3..4)).unwrap();
        t.fork(mapping, pages(0..4)).unwrap();
        mapping.for_each_child(|child| {
            let areas: Vec<u8> = child.areas(&child.pages()).iter().map(|area| area.flags).collect();
            assert_eq!(areas, [0, vm::HOLE, vm::RDONLY, 0]);
        });
        t.munlock(mapping, pages(3..4)).unwrap();
    });
}

#[test]
fn of_a_pinned_page_a_child_gets_a_copy_that_is_its_own() {
    with(&[], Kind::Anon, 1, |(t, mapping)| {
        let mut pin = pin((t, mapping), Caller::GupSlow, "linux-7.2", 0..1).unwrap();
        let pinned = pin.pages[0];
        t.fork(mapping, pages(0..1)).unwrap();
        assert!(frame(mapping, 0) == pinned && mapping.vma.pte(PageIndex(0)).is_writable());
        mapping.for_each_child(|child| {
            let pte = child.pte(PageIndex(0));
            assert!(pte.frame() != pinned && pte.is_present() && pte.is_writable());
            let wanted = flag::ANON | flag::ANON_EXCLUSIVE | flag::SWAPBACKED;
            assert_eq!(t.m.page(pte.frame()).flags() & wanted, wanted);
        });
        t.unpin_longterm(&mut pin);
        t.lru_add_drain();
    });
}

// ------------------------------------------------------------ where folios fit in

#[test]
fn a_fault_makes_a_folio_where_all_of_its_place_is_free_and_of_one_area() {
    for (len, page, order) in [(8, 5, 2), (6, 5, 0), (6, 2, 2)] {
        with(&[], anon(2), len, move |(t, mapping)| {
            t.touch(mapping, pages(page..page + 1)).unwrap();
            assert_eq!(t.m.folio(frame(mapping, page)).order(), order, "page {page} of {len}");
            t.lru_add_drain();
        });
    }
    // Beside a page that is there, and beside what may not be written to.
    with(&[], anon(2), 8, |(t, mapping)| {
        t.touch(mapping, pages(0..4)).unwrap();
        t.madvise_dontneed(mapping, pages(0..3)).unwrap();
        t.mprotect_readonly(mapping, pages(7..8)).unwrap();
        t.touch(mapping, pages(0..1)).unwrap();
        t.touch(mapping, pages(4..5)).unwrap();
        assert_eq!([0, 4].map(|page| t.m.folio(frame(mapping, page)).order()), [0, 0]);
        t.lru_add_drain();
    });
}

// ------------------------------------------------------------ memory in pieces

/// Takes all of Movable in folios of order 2 and gives every other one back, so that there is none larger.
fn crumble(m: &Machine) -> Vec<Frame> {
    let take = || m.memory.alloc(CpuId(0), Gfp::WithinMovable, 2).map(|fresh| fresh.publish());
    let all: Vec<Frame> = std::iter::from_fn(take).collect();
    let (back, kept): (Vec<Frame>, Vec<Frame>) = all.into_iter().partition(|frame| frame.0 % 8 == 0);
    for frame in back {
        assert!(m.page(frame).put_testzero(1));
        m.memory.free(CpuId(0), frame);
    }
    kept
}

#[test]
fn without_a_block_for_a_folio_a_fault_makes_a_page() {
    let layout = Layout { normal: 4, movable: 1023, cma: 0, page_bytes: 64 };
    for (backing, order) in [(anon(2), 2), (anon(4), 0), (Backing { kind: Kind::Shmem, order: 4 }, 0)] {
        let m = machine("linux-7.2.13", &[], &layout);
        let kept = crumble(&m);
        let id = m.map(backing, 32).id;
        let act = body(id, move |(t, mapping)| {
            t.touch(mapping, pages(5..6)).unwrap();
            assert_eq!(t.m.folio(frame(mapping, 5)).order(), order, "{backing:?}");
            assert!(mapping.vma.pte(PageIndex(16)).is_none());
            t.lru_add_drain();
            kept.iter().for_each(|&frame| t.put(frame, 1));
        });
        play(&m, vec![act]);
    }
}

// ------------------------------------------------------------ page caches

#[test]
fn a_fault_maps_all_of_a_folio_of_the_cache_where_nothing_of_it_is_mapped() {
    let shmem = Backing { kind: Kind::Shmem, order: 2 };
    for (rule, area, mapped) in [("true", 8, 4), ("false", 8, 1), ("true", 6, 4)] {
        with(&[("fault_maps_folio", rule)], shmem, area, move |(t, mapping)| {
            t.touch(mapping, pages(1..2)).unwrap();
            let present = |index: &u32| mapping.vma.pte(PageIndex(*index)).is_present();
            assert_eq!((0..area).filter(present).count(), mapped, "{rule} {area}");
            let page = t.m.folio(frame(mapping, 1));
            assert_eq!((page.folio_mapcount(), page.order()), (mapped as i32, 2));
            // Part of it is mapped: the rest comes page by page.
            t.madvise_dontneed(mapping, pages(0..2)).unwrap();
            t.touch(mapping, pages(0..1)).unwrap();
            assert!(!mapping.vma.pte(PageIndex(1)).is_present() || mapped == 1);
            t.lru_add_drain();
        });
    }
    // The last folio of a file that ends in it is none.
    with(&[], shmem, 6, |(t, mapping)| {
        t.touch(mapping, pages(5..6)).unwrap();
        assert_eq!(t.m.folio(frame(mapping, 5)).order(), 0);
    });
}

#[test]
fn a_folio_that_is_mapped_whole_in_a_locked_area_is_locked_as_the_rules_say() {
    for (rule, locked) in [("whole", true), ("never", false)] {
        let shmem = Backing { kind: Kind::Shmem, order: 2 };
        with(&[("mlock_large", rule)], shmem, 4, move |(t, mapping)| {
            t.mlock(mapping, mapping.vma.pages()).unwrap();
            t.touch(mapping, pages(2..3)).unwrap();
            assert_eq!(t.m.folio(frame(mapping, 2)).has(flag::MLOCKED), locked, "{rule}");
            t.lru_add_drain();
            t.munlock(mapping, mapping.vma.pages()).unwrap();
        });
    }
}

/// Whether each page is mapped, and may be written to.
fn shown(mapping: &Mapping) -> Vec<(bool, bool)> {
    let all = mapping.vma.pages();
    all.map(|index| mapping.vma.pte(index)).map(|pte| (pte.is_present(), pte.is_writable())).collect()
}

#[test]
fn a_load_maps_what_the_cache_has_around_it_as_its_area_allows() {
    // Whether the area is read-only, what page is loaded, and what is writable then.
    for (kind, readonly, at, writable) in [
        (Kind::Shmem, false, 3, true),
        (Kind::Shmem, true, 3, false),
        (Kind::File, false, 3, false),
        (Kind::Shmem, false, 20, true),
    ] {
        // A huge page would fit in.
        with(&[], kind, 1 << MAX_ORDER, move |(t, mapping)| {
            t.pwrite(mapping, pages(0..10)).unwrap();
            t.pwrite(mapping, pages(11..40)).unwrap();
            if readonly {
                t.mprotect_readonly(mapping, mapping.vma.pages()).unwrap();
            }
            t.read(mapping, pages(at..at + 1)).unwrap();
            for (index, found) in (0..).zip(shown(mapping)) {
                let around = index / 16 == at / 16 && index != 10;
                let row = format!("{kind:?}, read-only {readonly}, page {index} of what is around {at}");
                assert_eq!(found, (around, around && writable), "{row}");
            }
            t.lru_add_drain();
        });
    }
}

#[test]
fn a_load_maps_nothing_around_it_that_another_has_locked() {
    with(&[], Kind::Shmem, 16, |(t, mapping)| {
        t.pwrite(mapping, pages(0..16)).unwrap();
        let other = mapping.cached(PageIndex(5)).unwrap();
        assert!(t.lock(other));
        t.read(mapping, pages(4..5)).unwrap();
        let there: Vec<bool> = shown(mapping).into_iter().map(|(present, _)| present).collect();
        assert_eq!(there, (0..16).map(|index| index != 5).collect::<Vec<_>>());
        t.unlock(other);
        t.lru_add_drain();
    });
}

#[test]
fn a_load_maps_a_huge_page_of_the_cache_by_its_pmd() {
    with(&[], Backing { kind: Kind::Shmem, order: MAX_ORDER }, 1 << MAX_ORDER, |(t, mapping)| {
        t.touch(mapping, pages(0..1)).unwrap();
        t.madvise_dontneed(mapping, mapping.vma.pages()).unwrap();
        t.read(mapping, pages(7..8)).unwrap();
        assert!(mapping.vma.lock(PageIndex(0)).pmd(PageIndex(0)).is_some());
    });
}

#[test]
fn a_folio_that_a_load_maps_is_locked_in_memory_if_it_is_mapped_whole() {
    // Order of the folios, pages of them that are mapped before; how many folios are locked then.
    for (order, before, locked) in [
        (2, &[][..], 2),
        (2, &[3][..], 1),
        (2, &[0][..], 1),
        (2, &[1][..], 1),
        (2, &[2, 4][..], 0),
        (1, &[0][..], 3),
        (0, &[1][..], 8),
    ] {
        with(&[], Backing { kind: Kind::Shmem, order }, 8, move |(t, mapping)| {
            let all = mapping.vma.pages();
            t.touch(mapping, all.clone()).unwrap();
            t.lru_add_drain();
            for index in all.clone().filter(|index| !before.contains(&index.0)) {
                t.madvise_dontneed(mapping, index.run(1)).unwrap();
            }
            t.mlock(mapping, all.clone()).unwrap();
            let first = all.clone().find(|index| !before.contains(&index.0)).unwrap();
            t.read(mapping, first.run(1)).unwrap();
            assert!(shown(mapping).into_iter().all(|(present, _)| present));
            t.lru_add_drain();
            let heads = || (0..8 >> order).map(|nth| t.m.page(frame(mapping, nth << order)));
            let count = || heads().filter(|page| page.has(flag::MLOCKED)).count();
            assert_eq!(count(), locked, "order {order}, {before:?} were mapped");
            // Once by the one area that maps it, which lets go of it once.
            t.munlock(mapping, mapping.vma.pages()).unwrap();
            assert_eq!(count(), 0, "order {order}, {before:?} were mapped");
        });
    }
}

#[test]
fn a_store_dirties_a_page_of_a_file_and_a_load_does_not() {
    for (kind, loads) in [(Kind::File, false), (Kind::Shmem, false)] {
        with(&[], kind, 2, move |(t, mapping)| {
            t.read(mapping, pages(0..1)).unwrap();
            let pte = mapping.vma.pte(PageIndex(0));
            assert_eq!(
                (t.m.page(pte.frame()).has(flag::DIRTY), pte.is_writable()),
                (loads, kind == Kind::Shmem)
            );
            t.touch(mapping, pages(1..2)).unwrap();
            assert_eq!(t.m.page(frame(mapping, 1)).has(flag::DIRTY), kind == Kind::File);
        });
    }
}

#[test]
fn a_pin_to_write_dirties_a_page_that_its_pte_calls_clean_and_uses_it() {
    let policy = load_policy(Source::Preset("look"), &[]).unwrap();
    with(&[], Kind::Anon, 3, move |(t, mapping)| {
        // Without the first of them GUP-fast, which dirties none, takes none.
        t.touch_pinnable(mapping, pages(1..3)).unwrap();
        t.lru_add_drain();
        clean(mapping, 1);
        for index in [1, 2] {
            t.m.page(frame(mapping, index)).clear(flag::DIRTY | flag::REFERENCED);
        }
        let request = PinRequest::new(&policy, mapping, pages(0..3), true);
        let mut pin = Pin::default();
        t.pin_longterm(&request, &mut pin).unwrap();
        let mask = flag::DIRTY | flag::REFERENCED;
        let flags = [1, 2].map(|index| t.m.page(frame(mapping, index)).flags() & mask);
        assert_eq!(flags, [mask, flag::REFERENCED]);
        t.unpin_user_pages(&pin.pages);
    });
}

// ------------------------------------------------------------ pins

/// Pins pages of a mapping by a caller, under a policy.
fn pin((t, mapping): At<'_, '_>, caller: Caller, policy: &str, range: Range<u32>) -> Result<Pin, Errno> {
    let policy = load_policy(Source::Preset(policy), &[]).unwrap();
    let request = PinRequest::new(&policy, mapping, pages(range), true);
    let mut pin = Pin::default();
    t.pin_longterm_by(caller, &request, &mut pin).map(|()| pin)
}

#[test]
fn a_caller_that_comes_without_gup_fast_uses_no_page() {
    for (caller, used) in [(Caller::GupSlow, 0), (Caller::GupFast, flag::REFERENCED)] {
        with(&[], Kind::Anon, 2, move |(t, mapping)| {
            // Without the first of them GUP-fast, which uses all that it takes, takes none.
            t.touch_pinnable(mapping, pages(1..2)).unwrap();
            t.lru_add_drain();
            t.m.page(frame(mapping, 1)).clear(flag::REFERENCED);
            let mut pin = pin((t, mapping), caller, "linux-7.2", 0..2).unwrap();
            assert_eq!(t.m.page(frame(mapping, 1)).flags() & flag::REFERENCED, used, "{caller:?}");
            t.unpin_longterm(&mut pin);
            t.lru_add_drain();
        });
    }
}

/// `memfd_pin_folios`: a look-up has 31 folios, and the first that is let go of drains this CPU.
#[test]
fn a_memfd_is_pinned_a_look_up_at_a_time_and_the_first_drains() {
    // A batch that has 31 is full, and drained for that.
    for (len, queued) in [(5, 0), (31, 0), (40, 9), (70, 8)] {
        with(&[], Kind::Shmem, len, move |(t, mapping)| {
            let mut pin = pin((t, mapping), Caller::Udmabuf, "linux-7.2", 0..len).unwrap();
            let there = t.m.cpus[0].lock().entries().filter(|(batch, _)| *batch == Batch::LruAdd).count();
            assert_eq!(there, queued, "{len} pages");
            t.unpin_longterm(&mut pin);
            t.lru_add_drain();
        });
    }
}

#[test]
fn a_memfd_that_lies_where_it_must_not_is_pinned_before_it_is_moved_unless_the_policy_looks_first() {
    for (policy, acquired) in [("linux-7.2", 6), ("look", 3)] {
        let totals = with(&[], Kind::Shmem, 3, move |(t, mapping)| {
            t.touch(mapping, pages(0..3)).unwrap();
            let mut pin = pin((t, mapping), Caller::Udmabuf, policy, 0..3).unwrap();
            t.unpin_longterm(&mut pin);
            t.lru_add_drain();
        });
        let counted = [Event::Acquired, Event::Released, Event::Migrated].map(|event| totals.get(event));
        assert_eq!(counted, [acquired, acquired, 3], "{policy}");
    }
}

#[test]
fn who_waits_for_another_s_migration_has_no_pins_meanwhile_where_the_policy_says_so() {
    // The page that is on its way, and whether the one before it is pinned meanwhile.
    for (policy, at, pinned) in [
        ("linux-7.2", 1, true),
        ("cooperative", 1, false),
        ("linux-7.2", 0, false),
        ("cooperative", 0, false),
    ] {
        let m = machine("linux-7.2.13", &[], &LAYOUT);
        let id = m.map(Kind::Anon, 3).id;
        let fill = body(id, |(t, mapping)| {
            t.touch_pinnable(mapping, pages(0..3)).unwrap();
            t.lru_add_drain();
        });
        play(&m, vec![fill]);
        let mover = body(id, move |(t, mapping)| {
            let (page, index) = (frame(mapping, at), PageIndex(at));
            assert!(t.lock(page));
            let pte = mapping.vma.pte(index);
            mapping.vma.lock(index).clear_flush(index, pte.to_migration(true));
            t.d.sleep(10 * MS);
            let first = t.m.page(frame(mapping, 0));
            assert_eq!(first.refcount() >= t.m.rules.pin_bias as i32, pinned, "{policy}, page {at}");
            mapping.vma.lock(index).set(index, pte);
            t.unlock(page);
        });
        let pinner = body(id, move |(t, mapping)| {
            t.d.sleep(MS);
            let mut pin = pin((t, mapping), Caller::GupSlow, policy, 0..3).unwrap();
            assert!(t.d.now() >= 10 * MS, "{policy}, page {at}");
            t.unpin_longterm(&mut pin);
        });
        play(&m, vec![mover, pinner]);
    }
}

#[test]
fn a_policy_that_waits_for_who_moves_a_page_faults_in_what_nobody_has() {
    for policy in ["linux-7.2", "look", "cooperative"] {
        let totals = with(&[], Kind::Anon, 3, move |(t, mapping)| {
            let mut pin = pin((t, mapping), Caller::GupSlow, policy, 0..3).unwrap();
            t.unpin_longterm(&mut pin);
            t.lru_add_drain();
        });
        let counted = [Event::Acquired, Event::Faults, Event::OwnerWaits].map(|event| totals.get(event));
        assert_eq!(counted, [3, 3, 0], "{policy}");
    }
}
