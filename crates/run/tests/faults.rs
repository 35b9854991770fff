//! What a fault maps, and what it leaves alone.
#![cfg(not(loom))]

mod lab;
mod mapped;

use gupstress_run::machine::{Backing, CpuId, Kind, MAX_ORDER, PageIndex, flag, pages};
use gupstress_run::ops::{Access, Errno};
use mapped::{LAYOUT, anon, body, frame, machine, play, with};

const HUGE: u32 = 1 << MAX_ORDER;

/// With `huge=always`.
#[test]
fn a_fault_in_a_tmpfs_makes_a_huge_page_that_a_pmd_maps_where_the_kernel_does_and_a_page_elsewhere() {
    for (rule, order) in [("true", MAX_ORDER), ("false", 0)] {
        for backing in [Backing::from(Kind::Tmpfs), Backing { kind: Kind::Tmpfs, order: 4 }] {
            with(&[("tmpfs_faults_huge", rule)], backing, HUGE + 3, move |(t, mapping)| {
                t.touch(mapping, pages(7..8)).unwrap();
                let folio = t.m.folio(frame(mapping, 7));
                let by_pmd = mapping.vma.lock(PageIndex(7)).pmd(PageIndex(7)).is_some();
                assert_eq!((folio.order(), by_pmd), (order, order == MAX_ORDER), "{rule} {backing:?}");
                // A huge page would reach out of the file.
                t.touch(mapping, pages(HUGE..HUGE + 1)).unwrap();
                assert_eq!(t.m.folio(frame(mapping, HUGE)).order(), 0);
                t.lru_add_drain();
            });
        }
    }
}

/// A page table is there for PTEs alone, and none has been made.
#[test]
fn a_huge_page_of_a_file_of_which_a_part_is_given_up_is_mapped_by_a_pmd_again() {
    let shmem = Backing { kind: Kind::Shmem, order: MAX_ORDER };
    with(&[], shmem, HUGE, |(t, mapping)| {
        let by_pmd = || mapping.vma.lock(PageIndex(3)).pmd(PageIndex(3)).is_some();
        t.touch(mapping, pages(3..4)).unwrap();
        assert!(by_pmd());
        t.madvise_dontneed(mapping, pages(0..1)).unwrap();
        assert!(!by_pmd() && mapping.vma.pte(PageIndex(3)).is_none());
        t.touch(mapping, pages(3..4)).unwrap();
        assert!(by_pmd());
    });
}

#[test]
fn a_folio_of_which_a_fault_maps_one_page_in_a_locked_area_is_not_locked() {
    let sets = [("fault_maps_folio", "false"), ("mlock_large", "whole")];
    with(&sets, Backing { kind: Kind::Shmem, order: 2 }, 4, |(t, mapping)| {
        t.mlock(mapping, mapping.vma.pages()).unwrap();
        t.touch(mapping, pages(2..3)).unwrap();
        t.lru_add_drain();
        assert!(!t.m.folio(frame(mapping, 2)).has(flag::MLOCKED));
        t.munlock(mapping, mapping.vma.pages()).unwrap();
    });
}

/// Another thread has handled it meanwhile.
#[test]
fn a_fault_where_the_access_is_allowed_by_then_changes_nothing() {
    with(&[], anon(0), 2, |(t, mapping)| {
        t.touch(mapping, pages(0..2)).unwrap();
        t.fork(mapping, pages(0..1)).unwrap();
        t.lru_add_drain();
        for (index, access, writable) in
            [(0, Access::Read, false), (1, Access::Read, true), (1, Access::Write, true)]
        {
            let before = mapping.vma.pte(PageIndex(index));
            assert_eq!(before.is_writable(), writable);
            assert_eq!(t.handle_mm_fault(mapping, &mapping.vma, PageIndex(index), access), Ok(()));
            assert_eq!(mapping.vma.pte(PageIndex(index)), before, "{access:?} of page {index}");
        }
        // A store to what both have is another's.
        let before = frame(mapping, 0);
        assert_eq!(t.handle_mm_fault(mapping, &mapping.vma, PageIndex(0), Access::Write), Ok(()));
        assert!(frame(mapping, 0) != before);
    });
}

#[test]
fn a_file_of_huge_pages_ends_where_a_whole_one_does() {
    let m = machine("linux-7.2.13", &[], &LAYOUT);
    m.set_hugetlb_pool(CpuId(0), 2);
    let id = m.map(Kind::Hugeshm, HUGE + 3).id;
    let acts = body(id, |(t, mapping)| {
        t.touch(mapping, pages(0..HUGE)).unwrap();
        assert_eq!(t.touch(mapping, pages(HUGE..HUGE + 1)), Err(Errno::EFAULT));
        assert_eq!(t.m.hugetlb_pool().free, 1);
        t.unmap(mapping);
    });
    play(&m, vec![acts]);
}
