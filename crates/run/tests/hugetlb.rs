//! The pool of hugetlb pages: who gets one, and where it goes when nobody has it any more.
#![cfg(not(loom))]

use gupstress_run::litmus::Session;
use gupstress_run::machine::{CpuId, Frame, Kind, Layout, MappingId, PageIndex, ZoneKind, pages};
use gupstress_run::observe::Event;
use gupstress_run::ops::{Caller, Errno};
use gupstress_run::policy::{Source, load_kernel, load_policy};
use gupstress_run::script::OpError;

/// Where things are done.
const CPU: CpuId = CpuId(0);
/// The pages of a huge one.
const HUGE: u32 = 512;

fn session(movable: u32) -> Session {
    on("linux-7.2.13", movable)
}

fn on(kernel: &str, movable: u32) -> Session {
    let rules = load_kernel(Source::Preset(kernel), &[]).unwrap();
    let policy = load_policy(Source::Preset(&rules.policy), &[]).unwrap();
    let layout = Layout { normal: 8 * HUGE, movable, cma: 0, page_bytes: 64 };
    Session::new(rules, policy, &layout, 2)
}

/// Pages of the pool, those of them that are free, and its surplus.
fn pool(s: &Session) -> (u32, u32, u32) {
    let pool = s.machine().hugetlb_pool();
    (pool.total, pool.free, pool.surplus)
}

fn frame(s: &Session, mapping: MappingId) -> Frame {
    s.page(mapping, PageIndex(0)).unwrap().unwrap().frame
}

fn free(s: &Session, zone: ZoneKind) -> i64 {
    s.machine().memory.free_in(zone) as i64
}

fn sound(s: &Session) {
    let recount = s.recount();
    assert!(recount.complete && recount.broken.is_empty(), "{:#?}", recount.broken);
}

/// A mapping of one huge page, written.
fn touched(s: &mut Session) -> MappingId {
    let mapping = s.map(Kind::Hugetlb, HUGE).unwrap();
    s.touch(CPU, mapping, pages(0..1)).unwrap();
    mapping
}

#[test]
fn a_pool_shrinks_as_far_as_its_pages_are_free_and_not_reserved() {
    let mut s = session(8 * HUGE);
    let before = free(&s, ZoneKind::Movable);
    assert_eq!(s.machine().set_hugetlb_pool(CPU, 4), 4);
    let a = s.map(Kind::Hugetlb, 2 * HUGE).unwrap();
    s.touch(CPU, a, pages(0..1)).unwrap();
    assert_eq!(s.machine().set_hugetlb_pool(CPU, 3), 3);
    assert_eq!(s.machine().set_hugetlb_pool(CPU, 0), 2, "one is in use and one reserved");
    s.unmap(CPU, a).unwrap();
    assert_eq!(pool(&s), (2, 2, 0));
    assert_eq!(s.machine().set_hugetlb_pool(CPU, 0), 0);
    assert_eq!(free(&s, ZoneKind::Movable), before);
    sound(&s);
}

#[test]
fn a_write_after_a_fork_copies_and_a_surplus_page_goes_back_to_the_buddy_allocator() {
    let mut s = session(8 * HUGE);
    s.hugepool(CPU, 1).unwrap();
    s.machine().set_hugetlb_overcommit(1);
    let a = touched(&mut s);
    let shared = frame(&s, a);
    s.share(CPU, a, pages(0..HUGE)).unwrap();
    let before = free(&s, ZoneKind::Movable);
    s.touch(CPU, a, pages(0..1)).unwrap();
    assert!(frame(&s, a) != shared, "the child has the page that both had");
    assert_eq!((pool(&s), before - free(&s, ZoneKind::Movable)), ((2, 0, 1), i64::from(HUGE)));
    sound(&s);
    // Whichever goes first is the surplus.
    s.children_exit(CPU).unwrap();
    assert_eq!((pool(&s), free(&s, ZoneKind::Movable)), ((1, 0, 0), before));
    s.unmap(CPU, a).unwrap();
    assert_eq!(pool(&s), (1, 1, 0));
    sound(&s);
}

#[test]
fn without_a_page_for_the_copy_its_owner_takes_it_from_its_children() {
    let mut s = session(8 * HUGE);
    s.hugepool(CPU, 1).unwrap();
    let a = touched(&mut s);
    let shared = frame(&s, a);
    s.share(CPU, a, pages(0..HUGE)).unwrap();
    s.touch(CPU, a, pages(0..1)).unwrap();
    assert_eq!((frame(&s, a), pool(&s)), (shared, (1, 0, 0)));
    assert_eq!(s.machine().folio(shared).folio_mapcount(), 1);
    sound(&s);
}

/// Pins one huge page of a pool of so many, which has `reserved` of them for another mapping; what
/// of Normal and Movable is free less, or more, for it, in huge pages.
fn pinned(movable: u32, size: u32, reserved: u32) -> (i64, i64) {
    let mut s = session(movable);
    s.hugepool(CPU, size).unwrap();
    let a = touched(&mut s);
    if reserved > 0 {
        s.map(Kind::Hugetlb, reserved * HUGE).unwrap();
    }
    let zone = |s: &Session| ZoneKind::of(s.machine().page(frame(s, a)).flags());
    assert_eq!(zone(&s), ZoneKind::Movable);
    let free =
        |s: &Session| [ZoneKind::Normal, ZoneKind::Movable].map(|zone| free(s, zone) / i64::from(HUGE));
    let [normal, movable] = free(&s);
    let pin = s.pin(CPU, a, pages(0..HUGE), true).unwrap();
    assert!(pin.pin.is_some(), "{:?}", pin.error);
    assert_eq!(zone(&s), ZoneKind::Normal);
    assert_eq!(pool(&s), (size, size - 1, 0));
    sound(&s);
    let after = free(&s);
    (after[0] - normal, after[1] - movable)
}

#[test]
fn a_pin_moves_to_a_spare_page_of_the_pool_else_to_a_temporary_one_whose_place_is_given_back() {
    // Two in Movable, two in Normal.
    assert_eq!(pinned(2 * HUGE, 4, 0), (0, 0));
    assert_eq!(pinned(2 * HUGE, 4, 3), (-1, 1), "what is free is reserved");
    assert_eq!(pinned(2 * HUGE, 4, 2), (0, 0), "of three free ones");
    assert_eq!(pinned(4 * HUGE, 2, 0), (-1, 1), "all of the pool is in Movable");
}

#[test]
fn what_is_taken_from_children_is_had_in_the_same_fault() {
    for kernel in ["linux-6.1.192", "linux-6.12.117", "linux-7.3.4"] {
        let mut s = on(kernel, 8 * HUGE);
        s.hugepool(CPU, 2).unwrap();
        let a = s.map(Kind::Hugetlb, 2 * HUGE).unwrap();
        s.touch(CPU, a, pages(0..2 * HUGE)).unwrap();
        s.share(CPU, a, pages(0..2 * HUGE)).unwrap();
        // Where faults of a pin are counted as others are, and what lies in Movable may be moved.
        let pin = s.pin(CPU, a, pages(0..2 * HUGE), true).unwrap();
        let counted = [Event::Faults, Event::Acquired, Event::Migrated].map(|event| pin.counters.get(event));
        let (error, wanted) = match kernel {
            "linux-6.1.192" => (Some(Errno::ENOMEM), [0, 0, 0]),
            _ => (None, [2, u64::from(4 * HUGE), u64::from(2 * HUGE)]),
        };
        assert_eq!((pin.error, counted), (error, wanted), "{kernel}");
        sound(&s);
    }
}

#[test]
fn a_memfd_of_which_a_page_cannot_be_made_is_pinned_nowhere_and_moved_nowhere() {
    let mut s = on("linux-7.3.4", 8 * HUGE);
    s.hugepool(CPU, 2).unwrap();
    let a = s.map(Kind::Hugeshm, 2 * HUGE).unwrap();
    s.touch(CPU, a, pages(0..1)).unwrap();
    let pin = s.pin_by(Caller::Udmabuf, CPU, a, pages(0..2 * HUGE), true).unwrap();
    let counted = [Event::Acquired, Event::Released, Event::Migrated].map(|event| pin.counters.get(event));
    assert_eq!((pin.error, counted), (Some(Errno::ENOMEM), [1, 1, 0]));
    sound(&s);
}

#[test]
fn no_part_of_a_huge_page_is_unmapped_protected_or_given_up() {
    for kind in [Kind::Hugetlb, Kind::Hugeshm] {
        let mut s = session(8 * HUGE);
        s.hugepool(CPU, 4).unwrap();
        let a = s.map(kind, 3 * HUGE).unwrap();
        s.touch(CPU, a, pages(0..3 * HUGE)).unwrap();
        let there = |s: &Session| [0, 1, 2].map(|nth| s.page(a, PageIndex(nth * HUGE)).unwrap().is_some());
        let refused = |result: Result<(), OpError>| {
            let error = result.unwrap_err();
            assert!(matches!(error, OpError::Refused { errno: Errno::EINVAL, .. }), "{kind:?}: {error}");
        };
        for part in [0..1, 1..HUGE, 5..9, HUGE..2 * HUGE + 3] {
            refused(s.munmap(CPU, a, pages(part.clone())));
            refused(s.rdonly(CPU, a, pages(part.clone())));
            refused(s.share(CPU, a, pages(part)));
        }
        refused(s.dontneed(CPU, a, pages(1..HUGE)));
        s.dontneed(CPU, a, pages(0..HUGE - 1)).unwrap();
        assert_eq!(there(&s), [true; 3], "{kind:?}: it ends before a whole page does");
        s.dontneed(CPU, a, pages(0..HUGE + 1)).unwrap();
        assert_eq!(there(&s), [false, true, true], "{kind:?}");
        s.munmap(CPU, a, pages(2 * HUGE..3 * HUGE)).unwrap();
        assert_eq!(there(&s), [false, true, false], "{kind:?}");
        sound(&s);
    }
}

#[test]
fn what_a_child_has_made_its_own_is_not_taken_from_it() {
    let mut s = session(8 * HUGE);
    s.hugepool(CPU, 2).unwrap();
    let a = touched(&mut s);
    let shared = frame(&s, a);
    s.share(CPU, a, pages(0..HUGE)).unwrap();
    s.sharew(CPU, a, pages(0..1)).unwrap();
    assert_eq!(pool(&s), (2, 0, 0));
    s.touch(CPU, a, pages(0..1)).unwrap();
    assert_eq!(frame(&s, a), shared);
    let mut of_children = Vec::new();
    s.machine().mapping(a).for_each_child(|child| of_children.push(child.pte(PageIndex(0)).is_present()));
    of_children.sort_unstable();
    assert_eq!(of_children, [false, true], "one had the same page, one had stored to it");
    sound(&s);
}

#[test]
fn of_a_pinned_page_of_the_pool_a_child_gets_a_copy() {
    let mut s = session(8 * HUGE);
    s.hugepool(CPU, 4).unwrap();
    let a = touched(&mut s);
    s.pin(CPU, a, pages(0..HUGE), true).unwrap();
    let (own, (_, free, _)) = (frame(&s, a), pool(&s));
    s.share(CPU, a, pages(0..HUGE)).unwrap();
    assert_eq!((frame(&s, a), pool(&s).1), (own, free - 1));
    s.machine().mapping(a).for_each_child(|child| {
        let copy = child.pte(PageIndex(0));
        assert!(copy.is_present() && copy.is_writable() && copy.frame() != own);
    });
    sound(&s);
}

#[test]
fn huge_pages_of_the_pool_are_given_up_by_madvise_since_5_18() {
    for (kernel, gives_up) in [("linux-5.10", false), ("linux-5.13", false), ("linux-6.1.176", true)] {
        for kind in [Kind::Hugetlb, Kind::Hugeshm] {
            let mut s = on(kernel, 8 * HUGE);
            s.hugepool(CPU, 1).unwrap();
            let a = s.map(kind, HUGE).unwrap();
            s.touch(CPU, a, pages(0..1)).unwrap();
            let result = s.dontneed(CPU, a, pages(0..HUGE));
            let invalid = matches!(result, Err(OpError::Refused { errno: Errno::EINVAL, .. }));
            assert_eq!((result.is_ok(), invalid), (gives_up, !gives_up), "{kernel}, {kind:?}");
            assert_eq!(s.page(a, PageIndex(0)).unwrap().is_none(), gives_up, "{kernel}, {kind:?}");
            sound(&s);
        }
    }
}
