//! What a program says about a range of large folios, pages that others have too, and pages of a file:
//! of what of it that is so, and what of it is gone.
#![cfg(not(loom))]

mod lab;
mod mapped;

use gupstress_run::drive::Driver;
use gupstress_run::machine::{Backing, Batch, Kind, MAX_ORDER, Mapping, PageIndex, ZERO_FRAME, flag, pages};
use gupstress_run::observe::Event;
use mapped::{At, LAYOUT, MS, anon, body, frame, machine, play, with};
use std::ops::Range;

const HUGE: u32 = 1 << MAX_ORDER;

fn shmem(order: u32) -> Backing {
    Backing { kind: Kind::Shmem, order }
}

fn is_present(mapping: &Mapping, index: u32) -> bool {
    mapping.vma.pte(PageIndex(index)).is_present()
}

/// Which pages of a file are mapped, and which of them it has.
fn there(mapping: &Mapping) -> (Vec<bool>, Vec<bool>) {
    let all = || mapping.vma.pages();
    (
        all().map(|index| mapping.vma.pte(index).is_present()).collect(),
        all().map(|index| mapping.cached(index).is_some()).collect(),
    )
}

/// Pages `no` of so many are not there.
fn but(len: u32, no: Range<u32>) -> Vec<bool> {
    (0..len).map(|index| !no.contains(&index)).collect()
}

// ------------------------------------------------------------ MADV_COLD and MADV_FREE

#[test]
fn a_folio_of_which_a_page_is_mapped_by_two_is_not_cooled() {
    for (order, child, cooled) in [
        (0, 0..0, true),
        (0, 0..1, false),
        (2, 0..0, true),
        (2, 1..2, false),
        (MAX_ORDER, 0..0, true),
        (MAX_ORDER, 0..HUGE, false),
    ] {
        with(&[], anon(order), 1 << order, move |(t, mapping)| {
            t.touch(mapping, mapping.vma.pages()).unwrap();
            t.fork(mapping, pages(child.clone())).unwrap();
            t.lru_add_drain();
            let page = t.m.folio(frame(mapping, 0));
            page.set(flag::REFERENCED);
            t.madvise_cold(mapping, mapping.vma.pages()).unwrap();
            assert_eq!(page.has(flag::REFERENCED), !cooled, "order {order}, a child has {child:?}");
            t.lru_add_drain();
        });
    }
}

#[test]
fn a_page_is_given_up_lazily_unless_it_is_dirty_and_another_maps_or_locks_it() {
    // Whether it is dirty, shared and locked; whether it goes.
    for (dirty, shared, locked, goes) in [
        (false, false, false, true),
        (false, true, false, true),
        (false, false, true, true),
        (true, false, false, true),
        (true, true, false, false),
        (true, false, true, false),
    ] {
        with(&[], Kind::Anon, 1, move |(t, mapping)| {
            t.touch(mapping, pages(0..1)).unwrap();
            if shared {
                t.fork(mapping, pages(0..1)).unwrap();
            }
            t.lru_add_drain();
            let (frame, page) = (frame(mapping, 0), t.m.page(frame(mapping, 0)));
            page.clear(flag::DIRTY);
            page.set(if dirty { flag::DIRTY } else { 0 });
            assert!(!locked || t.lock(frame));
            t.madvise_free(mapping, pages(0..1)).unwrap();
            let row = format!("dirty {dirty}, shared {shared}, locked {locked}");
            let queued = t.m.cpus[0].lock().entries().any(|(batch, _)| batch == Batch::Lazyfree);
            assert_eq!((queued, !mapping.vma.pte(PageIndex(0)).is_dirty()), (goes, goes), "{row}");
            assert_eq!((page.has(flag::DIRTY), page.has(flag::LOCKED)), (dirty && !goes, locked), "{row}");
            if locked {
                t.unlock(frame);
            }
            t.lru_add_drain();
        });
    }
}

#[test]
fn of_a_folio_that_reaches_out_of_the_range_what_lies_in_it_is_given_up_where_it_can_be_split() {
    for held in [false, true] {
        with(&[], anon(2), 4, move |(t, mapping)| {
            t.touch(mapping, pages(0..4)).unwrap();
            t.lru_add_drain();
            let head = frame(mapping, 0);
            if held {
                t.m.folio(head).get(1);
            }
            t.madvise_free(mapping, pages(1..3)).unwrap();
            t.lru_add_drain();
            let dirty = [0, 1, 2, 3].map(|index| mapping.vma.pte(PageIndex(index)).is_dirty());
            assert_eq!(dirty, [true, held, held, true]);
            let kept = [0, 1, 2, 3].map(|index| t.m.folio(frame(mapping, index)).has(flag::SWAPBACKED));
            assert_eq!(kept, dirty);
            assert_eq!(t.m.folio(frame(mapping, 1)).order(), if held { 2 } else { 0 });
            if held {
                t.put(head, 1);
            }
        });
    }
}

// ------------------------------------------------------------ which pages are walked

#[test]
fn a_walk_passes_over_the_zero_page_and_over_what_is_not_there() {
    with(&[], Kind::Anon, 3, |(t, mapping)| {
        t.touch(mapping, pages(0..1)).unwrap();
        t.read(mapping, pages(1..2)).unwrap();
        let page = t.m.page(frame(mapping, 0));
        page.clear(flag::REFERENCED);
        let zero = || (t.m.page(ZERO_FRAME).flags(), t.m.page(ZERO_FRAME).refcount());
        let before = zero();
        t.mark_range_accessed(mapping, pages(0..3));
        assert!(page.has(flag::REFERENCED));
        assert_eq!(zero(), before);
        t.lru_add_drain();
    });
}

#[test]
fn a_folio_is_locked_in_memory_where_all_of_it_is_mapped_in_its_place() {
    for (order, own, locked) in
        [(0, None, true), (2, None, true), (2, Some(3), false), (2, Some(1), false), (MAX_ORDER, None, true)]
    {
        with(&[], anon(order), 1 << order, move |(t, mapping)| {
            let all = mapping.vma.pages();
            t.touch(mapping, all.clone()).unwrap();
            let head = frame(mapping, 0);
            if let Some(own) = own {
                // Where a child has it too, a store makes a page of its own.
                t.fork(mapping, all.clone()).unwrap();
                t.touch(mapping, pages(own..own + 1)).unwrap();
                assert_ne!(t.m.memory.head(frame(mapping, own)), head);
            }
            t.mlock(mapping, all.clone()).unwrap();
            assert_eq!(t.m.folio(head).has(flag::MLOCKED), locked, "order {order}, of another {own:?}");
            if let Some(own) = own {
                assert!(t.m.folio(frame(mapping, own)).has(flag::MLOCKED));
            }
            t.munlock(mapping, all).unwrap();
        });
    }
}

// ------------------------------------------------------------ mprotect

#[test]
fn what_mprotect_makes_writable_again_is_as_the_rules_say() {
    for (rule, dirty, cleaned, huge) in
        [("never", false, false, false), ("dirty", true, false, false), ("exclusive", true, true, true)]
    {
        let writable = |(_, mapping): At<'_, '_>| {
            [0, 1, 2, 3].map(|index| mapping.vma.pte(PageIndex(index)).is_writable())
        };
        with(&[("mprotect_writable", rule)], Kind::Anon, 4, move |(t, mapping)| {
            t.touch(mapping, pages(0..2)).unwrap();
            t.read(mapping, pages(2..3)).unwrap();
            // It stays writable, and is clean.
            t.madvise_free(mapping, pages(1..2)).unwrap();
            t.mprotect_and_back(mapping, pages(0..4));
            assert_eq!(writable((t, mapping)), [dirty, cleaned, false, false], "{rule}");
            assert!([0, 1, 2].iter().all(|&index| is_present(mapping, index)));
            assert!(mapping.vma.pte(PageIndex(3)).is_none(), "{rule}");
            t.lru_add_drain();
        });
        with(&[("mprotect_writable", rule)], anon(MAX_ORDER), HUGE, move |(t, mapping)| {
            t.touch(mapping, pages(0..1)).unwrap();
            t.mprotect_and_back(mapping, mapping.vma.pages());
            assert_eq!(writable((t, mapping)), [huge; 4], "{rule}");
        });
        // What is on its way cannot be stored to without a fault, whatever the rules.
        with(&[("mprotect_writable", rule)], Kind::Anon, 1, move |(t, mapping)| {
            t.touch(mapping, pages(0..1)).unwrap();
            let (pte, index) = (mapping.vma.pte(PageIndex(0)), PageIndex(0));
            mapping.vma.lock(index).clear_flush(index, pte.to_migration(true));
            t.mprotect_and_back(mapping, pages(0..1));
            let entry = mapping.vma.pte(index);
            assert!(entry.is_migration() && entry.is_exclusive() && !entry.is_writable(), "{rule}");
            mapping.vma.lock(index).set(index, pte);
            t.lru_add_drain();
        });
        // Of a file nothing is lost.
        with(&[("mprotect_writable", rule)], Kind::Shmem, 1, move |(t, mapping)| {
            t.touch(mapping, pages(0..1)).unwrap();
            t.mprotect_and_back(mapping, pages(0..1));
            assert!(mapping.vma.pte(PageIndex(0)).is_writable(), "{rule}");
            t.lru_add_drain();
        });
    }
}

#[test]
fn a_pmd_is_split_where_a_range_begins_or_ends_within_what_it_maps() {
    let len = 2 * HUGE + 10;
    for (range, splits) in [
        (0..len, 0),
        (HUGE..len, 0),
        (0..HUGE, 0),
        (3..HUGE, 1),
        (0..HUGE + 1, 1),
        (5..9, 1),
        (HUGE - 1..HUGE + 1, 2),
        (7..2 * HUGE + 3, 1),
    ] {
        let totals = with(&[], anon(MAX_ORDER), len, {
            let range = range.clone();
            move |(t, mapping)| {
                t.touch(mapping, mapping.vma.pages()).unwrap();
                t.mprotect_and_back(mapping, pages(range));
                t.lru_add_drain();
            }
        });
        assert_eq!(totals.get(Event::ThpFaultAlloc), 2);
        assert_eq!(totals.get(Event::ThpSplitPmd), splits, "{range:?}");
    }
    // What lies beside it stays as it is.
    with(&[], anon(MAX_ORDER), HUGE, |(t, mapping)| {
        t.touch(mapping, pages(0..1)).unwrap();
        t.mprotect_readonly(mapping, pages(2..4)).unwrap();
        let writable = [1, 2, 3, 4].map(|index| mapping.vma.pte(PageIndex(index)).is_writable());
        assert_eq!(writable, [true, false, false, true]);
    });
}

// ------------------------------------------------------------ splitting

#[test]
fn a_folio_is_made_single_pages_unless_somebody_else_locks_or_holds_it() {
    for (from, locked, held) in
        [(0, false, false), (1, false, false), (3, false, false), (0, true, false), (2, false, true)]
    {
        with(&[], anon(2), 4, move |(t, mapping)| {
            t.touch(mapping, pages(0..4)).unwrap();
            t.lru_add_drain();
            let head = frame(mapping, 0);
            assert!(!locked || t.lock(head));
            if held {
                t.m.folio(head).get(1);
            }
            t.split_folios(mapping, pages(from..4));
            let order = if locked || held { 2 } else { 0 };
            let row = format!("from {from}, locked {locked}, held {held}");
            for index in 0..4 {
                let (frame, page) = (frame(mapping, index), t.m.folio(frame(mapping, index)));
                assert_eq!((page.order(), frame), (order, head + index), "{row}");
                assert_eq!(page.has(flag::LOCKED), locked, "{row}");
            }
            if locked {
                t.unlock(head);
            }
            if held {
                t.put(head, 1);
            }
        });
    }
}

// ------------------------------------------------------------ MADV_REMOVE

#[test]
fn a_hole_takes_pages_from_a_file_and_from_all_who_map_it() {
    for order in [0, 2] {
        let totals = with(&[], shmem(order), 10, move |(t, mapping)| {
            // Page 8 has never been there.
            t.touch(mapping, pages(0..8)).unwrap();
            t.touch_alias(mapping, pages(0..8)).unwrap();
            t.lru_add_drain();
            t.madvise_remove(mapping, pages(1..9)).unwrap();
            let gone = but(10, 1..10);
            assert_eq!(there(mapping).1, gone, "order {order}");
            mapping.for_each_vma(|vma| assert!((1..9).all(|index| vma.pte(PageIndex(index)).is_none())));
        });
        // A folio is split around the hole first.
        assert_eq!((totals.get(Event::Zapped), totals.get(Event::SplitCalls)), (7, u64::from(order != 0)));
    }
}

#[test]
fn what_a_hole_cannot_take_yet_or_at_all_is_unmapped_all_the_same() {
    // It waits for who has a page locked.
    let m = machine("linux-7.2.13", &[], &LAYOUT);
    let id = m.map(Kind::Shmem, 3).id;
    let holder = body(id, |(t, mapping)| {
        t.touch(mapping, pages(0..3)).unwrap();
        let frame = t.trylock_page(mapping, PageIndex(1)).unwrap();
        t.d.sleep(10 * MS);
        let (mapped, cached) = there(mapping);
        assert_eq!((mapped, cached[1]), (but(3, 0..3), true));
        t.unlock_page(frame);
    });
    let puncher = body(id, |(t, mapping)| {
        t.d.sleep(5 * MS);
        t.madvise_remove(mapping, pages(0..3)).unwrap();
        assert!(t.d.now() >= 10 * MS);
        assert_eq!(there(mapping).1, [false; 3]);
    });
    play(&m, vec![holder, puncher]);
    // A folio that somebody holds stays whole.
    with(&[], shmem(2), 4, |(t, mapping)| {
        t.touch(mapping, pages(0..4)).unwrap();
        t.lru_add_drain();
        let head = frame(mapping, 0);
        t.m.folio(head).get(1);
        t.madvise_remove(mapping, pages(1..3)).unwrap();
        assert_eq!(there(mapping).1, [true; 4]);
        assert_eq!([1, 2].map(|index| is_present(mapping, index)), [false; 2]);
        assert_eq!(t.m.folio(head).order(), 2);
        t.put(head, 1);
    });
}

#[test]
fn a_hole_takes_whole_huge_pages_of_the_pool_alone() {
    for (hole, no) in [(0..HUGE, 0..HUGE), (5..HUGE + 9, 0..0), (1..2 * HUGE, HUGE..2 * HUGE)] {
        with(&[], Kind::Hugeshm, 2 * HUGE, move |(t, mapping)| {
            assert_eq!(t.m.set_hugetlb_pool(t.cpu(), 2), 2);
            assert!(t.m.reserve_hugetlb(t.cpu(), mapping.id, 2));
            t.touch(mapping, mapping.vma.pages()).unwrap();
            t.madvise_remove(mapping, pages(hole.clone())).unwrap();
            let left = but(2 * HUGE, no.clone());
            assert!(there(mapping) == (left.clone(), left), "{hole:?}");
        });
    }
}
