//! Large folios and their parts: who splits them, maps them in part, and locks them.
#![cfg(not(loom))]

mod lab;
mod mapped;

use gupstress_run::machine::{Backing, Gfp, Kind, MAX_ORDER, Mapping, PageIndex, Pte, flag, pages};
use gupstress_run::observe::Event;
use gupstress_run::ops::MigrateMode;
use mapped::{At, anon, frame, with};

const HUGE: u32 = 1 << MAX_ORDER;

fn shmem(order: u32) -> Backing {
    Backing { kind: Kind::Shmem, order }
}

/// The orders of the folios that a mapping's pages are in, page by page.
fn orders((t, mapping): At<'_, '_>) -> Vec<u32> {
    mapping.vma.pages().map(|index| t.m.folio(mapping.vma.pte(index).frame()).order()).collect()
}

fn pmd(mapping: &Mapping) -> Option<Pte> {
    mapping.vma.lock(PageIndex(0)).pmd(PageIndex(0))
}

// ------------------------------------------------------------ splitting

#[test]
fn a_folio_is_split_into_pages_on_its_list_and_counted_if_it_is_a_huge_page() {
    for (backing, huge) in [(anon(MAX_ORDER), 1), (anon(4), 0), (shmem(4), 0), (shmem(MAX_ORDER), 1)] {
        let len = 1 << backing.order;
        let totals = with(&[], backing, len, move |(t, mapping)| {
            t.touch(mapping, mapping.vma.pages()).unwrap();
            let heads: Vec<_> = (0..len).map(|index| frame(mapping, index)).collect();
            t.split_folios(mapping, mapping.vma.pages());
            let parts = || heads.iter().map(|&frame| t.m.page(frame));
            assert!(parts().all(|part| part.order() == 0 && part.has(flag::LRU)), "{backing:?}");
            // A huge page of a file is unmapped for it, and mapped again by faults.
            t.touch(mapping, mapping.vma.pages()).unwrap();
            assert_eq!(heads, (0..len).map(|index| frame(mapping, index)).collect::<Vec<_>>());
        });
        let counted = [Event::SplitCalls, Event::ThpSplitPage, Event::ThpSplitPageFailed];
        assert_eq!(counted.map(|event| totals.get(event)), [1, huge, 0], "{backing:?}");
    }
}

#[test]
fn a_folio_that_somebody_holds_is_left_as_it_is() {
    for (backing, huge) in [(anon(MAX_ORDER), 1), (anon(4), 0), (shmem(4), 0)] {
        let len = 1 << backing.order;
        let totals = with(&[], backing, len, move |(t, mapping)| {
            t.touch(mapping, mapping.vma.pages()).unwrap();
            let head = frame(mapping, 0);
            t.m.folio(head).get(1);
            let ptes: Vec<_> = mapping.vma.pages().map(|index| mapping.vma.pte(index)).collect();
            t.split_folios(mapping, mapping.vma.pages());
            t.put(head, 1);
            assert_eq!(orders((t, mapping)), vec![backing.order; len as usize]);
            let now: Vec<_> = mapping.vma.pages().map(|index| mapping.vma.pte(index)).collect();
            assert_eq!(ptes, now, "{backing:?}: nobody has unmapped anything");
            assert_eq!(pmd(mapping).is_some(), huge == 1);
        });
        assert!(totals.get(Event::SplitCalls) > 0);
        let counted = [Event::ThpSplitPage, Event::ThpSplitPmd].map(|event| totals.get(event));
        assert_eq!(counted, [0, 0], "{backing:?}");
        assert_eq!(totals.get(Event::ThpSplitPageFailed), huge, "{backing:?}");
    }
}

#[test]
fn a_hole_leaves_the_rest_of_a_folio_in_parts_that_fit() {
    for (rule, rest) in [("true", 3), ("false", 0)] {
        with(&[("hole_splits_to_fit", rule)], shmem(4), 16, move |(t, mapping)| {
            t.touch(mapping, mapping.vma.pages()).unwrap();
            t.madvise_remove(mapping, pages(8..16)).unwrap();
            assert!((8..16).all(|index| mapping.cached(PageIndex(index)).is_none()));
            let order = |index| t.m.folio(mapping.cached(PageIndex(index)).unwrap()).order();
            assert_eq!((0..8).map(order).collect::<Vec<_>>(), [rest; 8]);
        });
    }
}

#[test]
fn parts_of_what_is_on_no_list_are_on_none() {
    with(&[], anon(2), 4, |(t, mapping)| {
        t.touch(mapping, mapping.vma.pages()).unwrap();
        let frames = [0, 1, 2, 3].map(|index| frame(mapping, index));
        // Off its list, without the reference of whoever has taken it.
        assert!(t.isolate_lru(frames[0]));
        t.put(frames[0], 1);
        t.split_folios(mapping, mapping.vma.pages());
        assert_eq!(orders((t, mapping)), [0; 4]);
        assert!(frames.iter().all(|&frame| !t.m.page(frame).has(flag::LRU)));
        frames.iter().for_each(|&frame| t.add_lru(frame));
        t.lru_add_drain();
        assert!(frames.iter().all(|&frame| t.m.page(frame).has(flag::LRU)));
    });
}

/// What is unmapped as one by its PMD is said to be in the queue of the partly mapped, on kernels
/// that unmap it for that; what is mapped by PTEs gets there by itself.
#[test]
fn a_huge_page_that_is_unmapped_to_be_split_counts_as_partly_mapped_by_rule() {
    for (rule, by_pmd, deferred) in
        [("true", true, 1), ("false", true, 0), ("true", false, 1), ("false", false, 1)]
    {
        let totals = with(&[("split_unmaps_pages", rule)], anon(MAX_ORDER), HUGE, move |(t, mapping)| {
            t.touch(mapping, mapping.vma.pages()).unwrap();
            if !by_pmd {
                t.mprotect_and_back(mapping, pages(5..6));
            }
            assert_eq!(pmd(mapping).is_some(), by_pmd);
            t.split_folios(mapping, mapping.vma.pages());
        });
        let counted = [Event::ThpSplitPage, Event::ThpDeferredSplit].map(|event| totals.get(event));
        assert_eq!(counted, [1, deferred], "{rule} {by_pmd}");
    }
    // The last page of one that has been forgotten to be partly mapped is no part that is unmapped.
    let sets = [
        ("split_unmaps_pages", "true"),
        ("splits_partly_mapped", "false"),
        ("migrate_keeps_deferred", "false"),
    ];
    let totals = with(&sets, anon(MAX_ORDER), HUGE, |(t, mapping)| {
        t.touch(mapping, mapping.vma.pages()).unwrap();
        t.madvise_dontneed(mapping, pages(1..HUGE)).unwrap();
        let head = frame(mapping, 0);
        assert!(t.isolate_lru(head));
        assert!(t.migrate_pages(&[head], Gfp::Pin, MigrateMode::Sync).is_complete());
        assert!(!t.m.page(frame(mapping, 0)).has(flag::PARTLY_MAPPED));
        // As whoever frees memory does it: of what is mapped in part no walk makes more.
        t.split_folios(mapping, pages(0..1));
        assert_eq!(t.m.folio(frame(mapping, 0)).order(), 0);
    });
    assert_eq!(totals.get(Event::ThpDeferredSplit), 1);
}

#[test]
fn ptes_in_place_of_a_pmd_say_that_they_are_dirty_or_leave_that_to_the_page_by_rule() {
    for (rule, dirty, page_is, ptes_are) in [
        ("exclusive", true, false, true),
        ("exclusive", false, false, false),
        ("dirty", true, true, false),
        ("dirty", false, false, false),
        ("never", true, true, false),
    ] {
        let totals = with(&[("mprotect_writable", rule)], anon(MAX_ORDER), HUGE, move |(t, mapping)| {
            t.touch(mapping, mapping.vma.pages()).unwrap();
            let head = frame(mapping, 0);
            t.m.page(head).clear(flag::DIRTY);
            if !dirty {
                let cleaned = pmd(mapping).unwrap().cleaned();
                mapping.vma.lock(PageIndex(0)).set_pmd(PageIndex(0), cleaned);
            }
            t.mprotect_and_back(mapping, pages(5..6));
            assert!(pmd(mapping).is_none());
            assert_eq!(t.m.page(head).has(flag::DIRTY), page_is, "{rule} {dirty}");
            assert!((0..HUGE).all(|index| mapping.vma.pte(PageIndex(index)).is_dirty() == ptes_are));
            assert_eq!(t.m.page(head).folio_mapcount(), HUGE as i32);
        });
        assert_eq!(totals.get(Event::ThpSplitPmd), 1);
    }
}

// ------------------------------------------------------------ partly mapped

#[test]
fn a_huge_page_is_queued_once_when_a_page_of_it_is_unmapped_and_a_smaller_folio_only_marked() {
    for (order, deferred) in [(MAX_ORDER, 1), (4, 0)] {
        let totals = with(&[], anon(order), 1 << order, move |(t, mapping)| {
            t.touch(mapping, mapping.vma.pages()).unwrap();
            let marked = || t.m.folio(frame(mapping, 0)).has(flag::PARTLY_MAPPED);
            assert!(!marked());
            for index in [3, 7] {
                t.madvise_dontneed(mapping, PageIndex(index).run(1)).unwrap();
                assert!(marked(), "order {order}");
            }
        });
        assert_eq!(totals.get(Event::ThpDeferredSplit), deferred, "order {order}");
    }
}

#[test]
fn a_page_that_a_child_still_maps_is_mapped() {
    with(&[], anon(2), 4, |(t, mapping)| {
        t.touch(mapping, mapping.vma.pages()).unwrap();
        t.fork(mapping, mapping.vma.pages()).unwrap();
        t.madvise_dontneed(mapping, pages(3..4)).unwrap();
        let marked = || t.m.folio(frame(mapping, 0)).has(flag::PARTLY_MAPPED);
        assert!(!marked());
        t.children_exit(mapping);
        assert!(marked());
    });
}

#[test]
fn a_huge_page_is_partly_mapped_once_no_pmd_maps_it_and_some_page_has_no_pte() {
    for zapped in [false, true] {
        with(&[], anon(MAX_ORDER), HUGE, move |(t, mapping)| {
            t.touch(mapping, mapping.vma.pages()).unwrap();
            t.fork(mapping, mapping.vma.pages()).unwrap();
            // The child has its PMD, the parent PTEs.
            t.mprotect_and_back(mapping, pages(5..6));
            if zapped {
                t.madvise_dontneed(mapping, pages(3..4)).unwrap();
            }
            let marked = || t.m.folio(frame(mapping, 0)).has(flag::PARTLY_MAPPED);
            assert!(!marked());
            t.children_exit(mapping);
            assert_eq!(marked(), zapped);
        });
    }
}

// ------------------------------------------------------------ locked areas

#[test]
fn what_a_locked_area_mapped_is_locked_no_more_when_it_is_unmapped() {
    for batched in ["true", "false"] {
        with(&[("mlock_batched", batched)], Kind::Shmem, 2, |(t, mapping)| {
            t.touch(mapping, pages(0..2)).unwrap();
            t.lru_add_drain();
            t.mlock(mapping, pages(0..2)).unwrap();
            let locked = |index| {
                let page = t.m.page(mapping.cached(PageIndex(index)).unwrap());
                (page.has(flag::MLOCKED), page.has(flag::LRU))
            };
            t.lru_add_drain();
            assert_eq!([0, 1].map(locked), [(true, true); 2]);
            t.munmap(mapping, pages(0..1)).unwrap();
            t.lru_add_drain();
            assert_eq!([0, 1].map(locked), [(false, true), (true, true)]);
            t.munlock(mapping, pages(1..2)).unwrap();
        });
    }
}

#[test]
fn a_migration_drains_mlocks_where_a_locked_area_maps_a_page_by_its_pte() {
    // Once when it is unmapped, and once when it is mapped again.
    for (backing, locked, batched, drains) in [
        (anon(0), true, "true", 2),
        (anon(0), false, "true", 0),
        (anon(0), true, "false", 0),
        (anon(MAX_ORDER), true, "true", 0),
        (anon(MAX_ORDER), false, "true", 0),
    ] {
        let sets = [("mlock_batched", batched), ("drain_after_migrate", "never")];
        with(&sets, backing, 1 << backing.order, move |(t, mapping)| {
            t.touch(mapping, mapping.vma.pages()).unwrap();
            if locked {
                t.mlock(mapping, mapping.vma.pages()).unwrap();
            }
            t.lru_add_drain();
            let head = frame(mapping, 0);
            assert!(t.isolate_lru(head));
            let before = t.count.get(Event::MlockDrain);
            assert!(t.migrate_pages(&[head], Gfp::Pin, MigrateMode::Sync).is_complete());
            assert_eq!(t.count.get(Event::MlockDrain) - before, drains, "{backing:?} {locked} {batched}");
            t.lru_add_drain();
        });
    }
}

#[test]
fn the_copy_of_a_huge_page_in_a_locked_area_is_locked_as_the_rules_say() {
    for (rule, copied) in [("never", false), ("pmd", true), ("whole", true)] {
        with(&[("mlock_large", rule)], anon(MAX_ORDER), HUGE, move |(t, mapping)| {
            t.touch(mapping, mapping.vma.pages()).unwrap();
            t.mlock(mapping, mapping.vma.pages()).unwrap();
            t.lru_add_drain();
            let head = frame(mapping, 0);
            assert!(t.m.page(head).has(flag::MLOCKED) && t.isolate_lru(head));
            assert!(t.migrate_pages(&[head], Gfp::Pin, MigrateMode::Sync).is_complete());
            t.lru_add_drain();
            let after = frame(mapping, 0);
            assert_eq!((after == head, t.m.page(after).has(flag::MLOCKED)), (false, copied), "{rule}");
        });
    }
}
