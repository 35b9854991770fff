//! What use, disuse and batches make of a page's flags and of its place on a list.
#![cfg(not(loom))]

mod lab;

use gupstress_run::drive::Timed;
use gupstress_run::drive::sim::SimThread;
use gupstress_run::machine::cpu::{Entry, Tag};
use gupstress_run::machine::lruvec::Lists;
use gupstress_run::machine::{
    Batch, Frame, Kind, Known, Layout, Lru, Machine, Mapping, MappingId, Page, PageIndex, flag, pages, vm,
};
use gupstress_run::observe::Event;
use gupstress_run::ops::Task;
use gupstress_run::policy::{Source, load_kernel};
use std::sync::Arc;

const MS: u64 = 1_000_000;

/// What is compared of a page's flags.
const FLAGS: u32 = flag::LRU
    | flag::ACTIVE
    | flag::REFERENCED
    | flag::UNEVICTABLE
    | flag::MLOCKED
    | flag::SWAPBACKED
    | flag::DIRTY
    | flag::WRITEBACK
    | flag::OLDEST;

/// A thread on a machine with a mapping.
type At<'a, 'b> = (&'a Task<'b, SimThread<'b>>, &'a Mapping);

/// Does something with a mapping of three pages that have been faulted in, and are in a batch yet.
fn with(sets: &[(&str, &str)], kind: Kind, act: impl FnOnce(At<'_, '_>) + 'static) {
    let sets: Vec<_> = sets.iter().map(|(key, word)| ((*key).to_owned(), (*word).to_owned())).collect();
    let rules = load_kernel(Source::Preset("linux-7.2.13"), &sets).unwrap();
    let layout = Layout { normal: 64, movable: 64, cma: 0, page_bytes: 64 };
    let m = Arc::new(Machine::new(rules, &layout, 1));
    let id: MappingId = m.map(kind, 3).id;
    let body = move |t: &Task<'_, SimThread<'_>>| {
        let mapping = t.m.mapping(id);
        t.touch(mapping, pages(0..3)).unwrap();
        act((t, mapping));
        // Nobody writes them back, or has locked them, when it is over.
        (0..3).for_each(|index| _ = page(t.m, mapping, index).clear(flag::WRITEBACK));
        t.lru_add_drain();
    };
    let ran = lab::run(&m, Box::new(Timed::new(MS)), 1, 1000 * MS, vec![(0, Box::new(body))]).unwrap();
    assert!(!ran.killed && ran.totals.get(Event::Faults) == 3);
    let recount = m.validate(&Known::default());
    assert!(recount.complete && recount.broken.is_empty(), "{:#?}", recount.broken);
}

fn frame(mapping: &Mapping, index: u32) -> Frame {
    mapping.vma.pte(PageIndex(index)).frame()
}

fn page<'m>(m: &'m Machine, mapping: &Mapping, index: u32) -> &'m Page {
    m.page(frame(mapping, index))
}

fn make(page: &Page, flags: u32) {
    page.clear(FLAGS & !flags);
    page.set(flags);
}

/// The pages of a list from its head.
fn listed(m: &Machine, lru: Lru) -> Vec<Frame> {
    let lists = m.lruvec.lock();
    let from_tail = std::iter::successors(lists.tail(lru), |&frame| Lists::before(&m.memory, frame));
    let mut all: Vec<Frame> = from_tail.collect();
    all.reverse();
    all
}

fn queued(m: &Machine) -> Vec<Batch> {
    m.cpus[0].lock().entries().map(|(batch, _)| batch).collect()
}

#[test]
fn a_drain_makes_of_a_page_what_its_batch_is_for() {
    use flag::{ACTIVE, DIRTY, LRU, MLOCKED, OLDEST, REFERENCED, SWAPBACKED, UNEVICTABLE, WRITEBACK};
    const LOCKED: u32 = MLOCKED | UNEVICTABLE;
    type Row = (&'static [(&'static str, &'static str)], Kind, Batch, u32, u32, usize);
    const CLASSIC: &[(&str, &str)] = &[("mglru", "false")];
    const EARLIER: &[(&str, &str)] = &[("cold", "any")];
    const CLEARS: &[(&str, &str)] = &[("queueing_clears_lru", "true")];
    let (head, tail) = (0, 2);
    let rows: &[Row] = &[
        (&[], Kind::Shmem, Batch::Activate, SWAPBACKED, SWAPBACKED | ACTIVE, head),
        (&[], Kind::Shmem, Batch::Activate, SWAPBACKED | REFERENCED, SWAPBACKED | REFERENCED | ACTIVE, head),
        (&[], Kind::Shmem, Batch::Activate, SWAPBACKED | ACTIVE, SWAPBACKED | ACTIVE, head),
        (&[], Kind::File, Batch::Activate, 0, ACTIVE | OLDEST, head),
        (CLEARS, Kind::File, Batch::Activate, 0, ACTIVE | OLDEST, head),
        (&[], Kind::Shmem, Batch::Activate, SWAPBACKED | LOCKED, SWAPBACKED | LOCKED, head),
        (&[], Kind::Shmem, Batch::MoveTail, SWAPBACKED | ACTIVE, SWAPBACKED, tail),
        (&[], Kind::Shmem, Batch::MoveTail, SWAPBACKED | REFERENCED, SWAPBACKED | REFERENCED, tail),
        (&[], Kind::Shmem, Batch::MoveTail, SWAPBACKED | LOCKED, SWAPBACKED | LOCKED, head),
        (&[], Kind::File, Batch::DeactivateFile, ACTIVE | REFERENCED, OLDEST, tail),
        (&[], Kind::File, Batch::DeactivateFile, DIRTY | REFERENCED, DIRTY | OLDEST, head),
        (&[], Kind::File, Batch::DeactivateFile, WRITEBACK | ACTIVE, WRITEBACK | OLDEST, head),
        (&[], Kind::File, Batch::DeactivateFile, LOCKED, LOCKED | OLDEST, head),
        (&[], Kind::Shmem, Batch::Deactivate, SWAPBACKED | REFERENCED, SWAPBACKED, head),
        (&[], Kind::Shmem, Batch::Deactivate, SWAPBACKED | ACTIVE | REFERENCED, SWAPBACKED, head),
        (CLASSIC, Kind::Shmem, Batch::Deactivate, SWAPBACKED | ACTIVE | REFERENCED, SWAPBACKED, head),
        (CLASSIC, Kind::Shmem, Batch::Deactivate, SWAPBACKED | REFERENCED, SWAPBACKED | REFERENCED, head),
        (&[], Kind::Anon, Batch::Lazyfree, SWAPBACKED | ACTIVE | REFERENCED, REFERENCED, head),
        (EARLIER, Kind::Anon, Batch::Lazyfree, SWAPBACKED | ACTIVE | REFERENCED, OLDEST, head),
        (&[], Kind::Anon, Batch::Lazyfree, ACTIVE | REFERENCED, ACTIVE | REFERENCED, head),
        (&[], Kind::Shmem, Batch::Lazyfree, SWAPBACKED | ACTIVE, SWAPBACKED | ACTIVE, head),
    ];
    for &(sets, kind, batch, before, after, place) in rows {
        with(sets, kind, move |(t, mapping)| {
            // What it comes to lie between.
            [0, 2]
                .into_iter()
                .for_each(|index| make(page(t.m, mapping, index), after & !(UNEVICTABLE | OLDEST)));
            make(page(t.m, mapping, 1), before & !UNEVICTABLE);
            t.lru_add_drain();
            let (frame, page) = (frame(mapping, 1), page(t.m, mapping, 1));
            assert_eq!(page.flags() & FLAGS & !OLDEST, before | LRU);
            if t.m.rules.queueing_clears_lru {
                page.clear(LRU);
            }
            page.get(1);
            t.m.cpus[0].lock().push(batch, Entry { frame, tag: Tag::None });
            t.lru_add_drain();
            let row = format!("{sets:?} {kind:?} {batch:?} {before:#x}");
            assert_eq!(page.flags() & FLAGS, after | LRU, "{row}");
            let list = listed(t.m, Lru::of(after));
            assert_eq!((list.len(), list[place]), (3, frame), "{row}");
        });
    }
}

#[test]
fn a_page_that_has_left_its_list_is_passed_over_by_a_drain() {
    for batch in [Batch::Activate, Batch::MoveTail, Batch::Deactivate] {
        with(&[], Kind::Shmem, move |(t, mapping)| {
            t.lru_add_drain();
            let (frame, page) = (frame(mapping, 1), page(t.m, mapping, 1));
            page.get(1);
            t.m.cpus[0].lock().push(batch, Entry { frame, tag: Tag::None });
            assert!(t.isolate_lru(frame));
            let before = page.flags();
            t.lru_add_drain();
            assert_eq!((page.flags(), page.refcount()), (before, 3), "{batch:?}");
            t.putback_lru(frame);
        });
    }
}

/// `folio_mark_accessed`: twice is active, but by a generation where there are such.
#[test]
fn an_access_sets_a_flag_and_the_second_activates() {
    use flag::{ACTIVE, MLOCKED, REFERENCED, SWAPBACKED, UNEVICTABLE};
    // Multi-gen, flags before, whether it is on a list; flags after, and what is queued.
    let rows: &[(bool, u32, bool, u32, bool)] = &[
        (true, 0, true, REFERENCED, false),
        (true, REFERENCED, true, REFERENCED, false),
        (true, ACTIVE, true, ACTIVE | REFERENCED, false),
        (false, 0, true, REFERENCED, false),
        (false, ACTIVE, true, ACTIVE | REFERENCED, false),
        (false, REFERENCED, true, 0, true),
        (false, ACTIVE | REFERENCED, true, ACTIVE | REFERENCED, false),
        (false, MLOCKED | UNEVICTABLE | REFERENCED, true, MLOCKED | UNEVICTABLE | REFERENCED, false),
        (false, REFERENCED, false, ACTIVE, false),
        (true, REFERENCED, false, REFERENCED, false),
    ];
    for &(mglru, before, on_list, after, activates) in rows {
        let sets = [("mglru", if mglru { "true" } else { "false" })];
        with(&sets, Kind::Shmem, move |(t, mapping)| {
            let page = page(t.m, mapping, 1);
            make(page, SWAPBACKED | before & !UNEVICTABLE);
            if on_list {
                t.lru_add_drain();
            }
            t.mark_accessed(frame(mapping, 1));
            let row = format!("{mglru} {before:#x} {on_list}");
            assert_eq!(page.flags() & FLAGS & !flag::LRU, SWAPBACKED | after, "{row}");
            let added = if on_list { vec![] } else { vec![Batch::LruAdd; 3] };
            assert_eq!(queued(t.m), if activates { vec![Batch::Activate] } else { added }, "{row}");
        });
    }
    // Off the list, and not in the batch of those to be added: there is nothing to join.
    with(&[("mglru", "false")], Kind::Shmem, |(t, mapping)| {
        t.lru_add_drain();
        let (frame, page) = (frame(mapping, 1), page(t.m, mapping, 1));
        page.set(REFERENCED);
        assert!(t.isolate_lru(frame));
        // Another page is there.
        let other = self::frame(mapping, 0);
        assert!(t.isolate_lru(other));
        t.putback_lru(other);
        assert_eq!(queued(t.m), [Batch::LruAdd]);
        t.mark_accessed(frame);
        assert!(!page.has(ACTIVE | REFERENCED), "{:#x}", page.flags());
        t.putback_lru(frame);
    });
}

/// `MADV_COLD`, `MADV_FREE` and invalidation.
#[test]
fn advice_queues_what_it_is_for() {
    use flag::{ACTIVE, MLOCKED, REFERENCED, SWAPBACKED};
    type Advice = fn(At<'_, '_>);
    type Row = (Advice, &'static [(&'static str, &'static str)], Kind, u32, Option<Batch>);
    const COLD: Advice = |(t, mapping)| t.madvise_cold(mapping, pages(1..2)).unwrap();
    const FREE: Advice = |(t, mapping)| t.madvise_free(mapping, pages(1..2)).unwrap();
    const INVALIDATE: Advice = |(t, mapping)| t.invalidate(mapping, pages(1..2));
    const CLASSIC: &[(&str, &str)] = &[("mglru", "false")];
    const ANY: &[(&str, &str)] = &[("cold", "any")];
    const SWAPPED: &[(&str, &str)] = &[("cold", "swapbacked")];
    let cold = Some(Batch::Deactivate);
    let rows: &[Row] = &[
        (COLD, CLASSIC, Kind::Shmem, SWAPBACKED | ACTIVE | REFERENCED, cold),
        (COLD, CLASSIC, Kind::Shmem, SWAPBACKED | REFERENCED, None),
        (COLD, CLASSIC, Kind::Shmem, SWAPBACKED | MLOCKED, None),
        (COLD, ANY, Kind::File, 0, cold),
        (COLD, ANY, Kind::Shmem, SWAPBACKED | MLOCKED, None),
        (COLD, SWAPPED, Kind::Shmem, SWAPBACKED, cold),
        (COLD, SWAPPED, Kind::File, 0, None),
        (COLD, &[], Kind::Shmem, SWAPBACKED, cold),
        (COLD, &[], Kind::File, REFERENCED, cold),
        // Nobody has used it: it is in the oldest generation.
        (COLD, &[], Kind::File, 0, None),
        (FREE, &[], Kind::Anon, SWAPBACKED, Some(Batch::Lazyfree)),
        (FREE, &[], Kind::Anon, SWAPBACKED | ACTIVE, Some(Batch::Lazyfree)),
        (FREE, &[], Kind::Anon, 0, None),
        (FREE, &[], Kind::Anon, SWAPBACKED | MLOCKED, None),
        (INVALIDATE, &[], Kind::File, 0, Some(Batch::DeactivateFile)),
        (INVALIDATE, &[], Kind::File, ACTIVE, Some(Batch::DeactivateFile)),
        (INVALIDATE, &[], Kind::File, MLOCKED, None),
        (INVALIDATE, &[], Kind::Shmem, SWAPBACKED, None),
    ];
    for (nth, &(advise, sets, kind, flags, wanted)) in rows.iter().enumerate() {
        with(sets, kind, move |(t, mapping)| {
            let (frame, page) = (frame(mapping, 1), page(t.m, mapping, 1));
            make(page, flags);
            t.lru_add_drain();
            advise((t, mapping));
            assert_eq!(queued(t.m), Vec::from_iter(wanted), "row {nth}");
            if wanted == cold {
                assert!(!page.has(REFERENCED), "row {nth}");
            }
            t.lru_add_drain();
            // What is on no list is queued by nothing.
            assert!(t.isolate_lru(frame));
            advise((t, mapping));
            assert_eq!(queued(t.m), [], "row {nth}");
            t.putback_lru(frame);
        });
    }
}

#[test]
fn what_is_off_its_list_is_not_to_be_freed_lazily() {
    with(&[], Kind::Anon, |(t, mapping)| {
        t.lru_add_drain();
        let frame = frame(mapping, 1);
        assert!(t.isolate_lru(frame));
        t.madvise_free(mapping, pages(1..2)).unwrap();
        assert_eq!(queued(t.m), []);
        t.putback_lru(frame);
    });
}

// ------------------------------------------------------------ mlock

#[test]
fn a_page_changes_its_list_when_it_is_locked_and_when_it_is_unlocked() {
    for batched in ["true", "false"] {
        with(&[("mlock_batched", batched)], Kind::Shmem, move |(t, mapping)| {
            t.lru_add_drain();
            let frame = frame(mapping, 1);
            let place = || [Lru::InactiveAnon, Lru::Unevictable].map(|lru| listed(t.m, lru).contains(&frame));
            assert_eq!(place(), [true, false]);
            t.mlock(mapping, pages(1..2)).unwrap();
            t.lru_add_drain();
            assert_eq!(place(), [false, true], "batched: {batched}");
            t.munlock(mapping, pages(1..2)).unwrap();
            t.lru_add_drain();
            assert_eq!(place(), [true, false], "batched: {batched}");
        });
    }
}

/// Of what is off its list nobody can count who has locked it: it is taken for unlocked.
#[test]
fn a_page_that_two_areas_have_locked_and_a_third_has_isolated_is_unlocked_by_the_first() {
    with(&[], Kind::Shmem, |(t, mapping)| {
        t.lru_add_drain();
        let (frame, page) = (frame(mapping, 1), page(t.m, mapping, 1));
        t.mlock(mapping, pages(1..2)).unwrap();
        // As another area would: the flag of this one is taken back without a word to the page.
        assert!(mapping.vma.fix(&pages(1..2), vm::LOCKED, 0, true).is_some());
        t.mlock(mapping, pages(1..2)).unwrap();
        assert!(t.isolate_lru(frame));
        t.munlock(mapping, pages(1..2)).unwrap();
        assert_eq!(page.flags() & (flag::MLOCKED | flag::LRU), 0);
        t.putback_lru(frame);
    });
}

// ------------------------------------------------------------ reclaim

/// `shrink_inactive_list`: nothing is paged out.
#[test]
fn reclaim_takes_pages_from_the_tail_and_puts_them_back_at_the_head() {
    for (n, taken) in [(0, 0), (1, 1), (2, 2), (3, 3), (5, 3)] {
        with(&[], Kind::Shmem, move |(t, mapping)| {
            t.lru_add_drain();
            let before = listed(t.m, Lru::InactiveAnon);
            assert_eq!((before.len(), t.shrink_list(Lru::InactiveAnon, n)), (3, taken));
            // The one at the tail comes first, and the others before it.
            let (rest, tail) = before.split_at(3 - taken);
            assert_eq!(listed(t.m, Lru::InactiveAnon), [tail, rest].concat(), "{n}");
            assert!(before.iter().all(|&frame| t.m.page(frame).has(flag::LRU)));
            assert!((0..3).all(|index| page(t.m, mapping, index).refcount() == 2));
        });
    }
}

#[test]
fn reclaim_passes_over_what_is_being_freed_but_looks_at_no_more_than_twice_as_many() {
    for (n, frozen, taken) in [(1, 0, 1), (1, 1, 1), (1, 2, 0), (2, 1, 2), (2, 2, 1)] {
        with(&[], Kind::Shmem, move |(t, _)| {
            t.lru_add_drain();
            let before = listed(t.m, Lru::InactiveAnon);
            let frames = before.iter().rev().take(frozen);
            let frozen: Vec<_> = frames.map(|&frame| t.m.memory.freeze(frame, 2).unwrap()).collect();
            assert_eq!(t.shrink_list(Lru::InactiveAnon, n), taken, "{n} of 3, {} frozen", frozen.len());
            frozen.into_iter().for_each(|frozen| frozen.unfreeze(2));
        });
    }
}

#[test]
fn reclaim_ends_at_a_page_that_its_owner_is_about_to_take_off_the_list() {
    with(&[], Kind::Shmem, |(t, _)| {
        t.lru_add_drain();
        let before = listed(t.m, Lru::InactiveAnon);
        let owned = t.m.page(before[1]);
        assert!(owned.test_clear(flag::LRU));
        assert_eq!(t.shrink_list(Lru::InactiveAnon, 3), 1);
        owned.set(flag::LRU);
        assert_eq!(listed(t.m, Lru::InactiveAnon), [before[2], before[0], before[1]]);
    });
}
