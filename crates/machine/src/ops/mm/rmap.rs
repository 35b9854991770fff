//! The reverse map: from a folio to the PTEs and PMDs that map it.
//!
//! # Unmapping against GUP-fast
//!
//! GUP-fast takes a reference, then reads the PTE again. Unmapping clears the
//! PTE, then looks at the refcount. Both accesses of both sides are `SeqCst`:
//! at least one of them sees the other. Either GUP-fast finds the PTE changed
//! and drops its reference, or the unmapper finds the page pinned and puts the
//! PTE back (`folio_try_share_anon_rmap_pte`), or, for shmem, the freeze fails.

use crate::drive::Driver;
use crate::machine::space::{Entry, PtLocked};
use crate::machine::{Frame, Kind, MAX_ORDER, MappingId, Page, PageIndex, PageRange, Pte, Test, Vma, flag};
use crate::observe::Event;
use crate::ops::floor::Mm;
use crate::policy::{MlockLarge, MprotectWritable};

impl<D: Driver> Mm<'_, D> {
    /// `folio_add_*_rmap_pte` for a page mapped again: counts it, and in a
    /// locked area mlocks it, unless only reclaim can tell whether all of its folio is mapped
    /// there. Under the page-table lock.
    #[inline]
    pub(in crate::ops) fn add_rmap(&self, frame: Frame, vma: &Vma, index: PageIndex) {
        self.add_rmap_of(self.page(frame), frame, vma, index);
    }

    /// The same by the page's own line.
    #[inline]
    fn add_rmap_of(&self, page: &Page, frame: Frame, vma: &Vma, index: PageIndex) {
        self.m.memory.add_mapcount_of(page, frame, 1);
        if vma.is_locked(index) && !page.is_large() {
            self.mlock_folio(frame);
        }
    }

    /// `folio_add_*_rmap_pmd`: likewise of a whole folio.
    pub(in crate::ops) fn add_rmap_pmd(&self, head: Frame, vma: &Vma, index: PageIndex) {
        self.m.memory.add_entire_mapcount(head, 1);
        if self.m.rules.mlock_large != MlockLarge::Never && !vma.kind.is_hugetlb() {
            self.mlock_mapped(head, vma, index);
        }
    }

    /// A large folio is mapped whole, by PTEs that were set in one go.
    pub(in crate::ops) fn mapped_whole(&self, head: Frame, vma: &Vma, index: PageIndex) {
        if self.m.rules.mlock_large == MlockLarge::Whole {
            self.mlock_mapped(head, vma, index);
        }
    }

    fn mlock_mapped(&self, head: Frame, vma: &Vma, index: PageIndex) {
        if vma.is_locked(index) {
            self.mlock_folio(head);
        }
    }

    /// `folio_remove_rmap_pte`: counts it, and in a locked area munlocks it.
    /// Under the page-table lock.
    #[inline]
    pub(in crate::ops) fn remove_rmap(&self, frame: Frame, vma: &Vma, index: PageIndex) {
        self.remove_rmap_of(self.page(frame), frame, vma, index);
    }

    /// The same by the page's own line.
    #[inline]
    pub(super) fn remove_rmap_of(&self, page: &Page, frame: Frame, vma: &Vma, index: PageIndex) {
        let left = self.m.memory.add_mapcount_of(page, frame, -1);
        if page.is_large() && left == 0 {
            self.partly_unmapped(frame);
        }
        if vma.is_locked(index) {
            self.munlock_unmapped(frame, vma);
        }
    }

    /// `folio_remove_rmap_pmd`.
    pub(in crate::ops) fn remove_rmap_pmd(&self, head: Frame, vma: &Vma, index: PageIndex) {
        self.m.memory.add_entire_mapcount(head, -1);
        if self.m.memory.frames_of(head).any(|frame| self.page(frame).mapcount() == 0) {
            self.partly_unmapped(head);
        }
        if vma.is_locked(index) {
            self.munlock_unmapped(head, vma);
        }
    }

    /// What a locked area mapped is mapped there no more.
    #[inline(never)]
    fn munlock_unmapped(&self, frame: Frame, vma: &Vma) {
        if vma.kind.is_hugetlb() {
            return;
        }
        if self.m.rules.mlock_batched {
            self.munlock_folio(frame);
        } else {
            self.folio(frame).clear(flag::MLOCKED);
        }
    }

    /// Some page of a large folio is mapped no more, others may be.
    fn partly_unmapped(&self, frame: Frame) {
        let head = self.head(frame);
        let folio = self.page(head);
        let mapped = folio.folio_mapcount() > 0 && self.m.memory.entire_mapcount(head) == 0;
        if mapped && folio.has(flag::ANON) {
            self.defer_split(head);
        }
    }

    /// `deferred_split_folio`: a folio is partly mapped, and to be split when there is time.
    pub(in crate::ops) fn defer_split(&self, head: Frame) {
        let folio = self.page(head);
        if !folio.test_set(flag::PARTLY_MAPPED) && folio.order() == MAX_ORDER {
            self.event(Event::ThpDeferredSplit);
        }
    }

    /// `try_to_migrate`: replaces every PTE and PMD of a locked folio by a migration
    /// entry, which knows from then on whether its page is exclusive. Where a page may be pinned and the
    /// rules respect that, its PTE stays, with all that come after it: the references that say so, `own`
    /// of them the caller's, are returned. `flush`: whether each is flushed from TLBs as it is cleared
    /// (`ptep_clear_flush`).
    pub(in crate::ops) fn try_to_migrate(&self, head: Frame, own: i32, flush: bool) -> Option<Test> {
        let folio = self.folio_at(head);
        let id = folio.mapping()?;
        let pages = folio.pages();
        let mut kept = None;
        self.m.mapping(id).for_each_vma(|vma| {
            let there = pages.start.to(pages.end.min(vma.end()));
            vma.for_each_entry(there, |locked, here, Entry { pte, huge }| {
                let frame = head + (here - pages.start);
                if kept.is_some() || !pte.is_present() || pte.frame() != frame {
                    return;
                }
                let page = self.page(frame);
                let exclusive = page.has(flag::ANON_EXCLUSIVE);
                locked.replace(here, huge, pte.to_migration(exclusive));
                if self.m.rules.unmap_respects_pins && exclusive && self.m.maybe_dma_pinned(&folio) {
                    let (found, expected) = (folio.refcount(), self.m.expected_refs(&folio) + own);
                    kept = Some(Test::Refs { found, expected });
                    locked.replace(here, huge, pte);
                    drop(locked);
                    self.flush_if(flush);
                    return;
                }
                let dirty = if pte.is_dirty() { flag::DIRTY } else { 0 };
                page.hand_over(flag::ANON_EXCLUSIVE, &folio, dirty);
                if huge {
                    self.remove_rmap_pmd(head, vma, here);
                } else {
                    self.remove_rmap_of(page, frame, vma, here);
                }
                drop(locked);
                self.flush_if(flush);
                if !huge && vma.is_locked(here) && self.m.rules.mlock_batched {
                    self.mlock_drain_local();
                }
                self.put_folio(folio, 1);
            });
        });
        kept
    }

    /// `flush_tlb_page`
    #[inline]
    fn flush_if(&self, flush: bool) {
        if flush {
            self.d.interrupt_others();
        }
    }

    /// `remove_migration_ptes`: every migration entry of the pages from `old` on maps those from
    /// `new` on again (`new` = `old` where the migration failed, or the folio was split); `pages`
    /// are their places in mapping `id`. `split`: whether they are parts of a folio that was split.
    pub(in crate::ops) fn remove_migration_ptes(
        &self,
        id: MappingId,
        pages: PageRange,
        (old, new): (Frame, Frame),
        split: bool,
    ) {
        self.m.mapping(id).for_each_vma(|vma| {
            let there = pages.start.to(pages.end.min(vma.end()));
            vma.for_each_entry(there, |locked, here, Entry { pte, huge }| {
                let nth = here - pages.start;
                if !pte.is_migration() || pte.frame() != old + nth {
                    return;
                }
                let frame = new + nth;
                let page = self.page(frame);
                if split && self.is_unused(vma, here, page) {
                    locked.set(here, Pte::ZERO);
                    return;
                }
                self.m.memory.folio_of(page, frame).get(1);
                if pte.is_exclusive() {
                    page.set(flag::ANON_EXCLUSIVE);
                }
                if huge {
                    self.add_rmap_pmd(frame, vma, here);
                    locked.set_pmd(here, pte.from_migration(frame));
                    return;
                }
                self.add_rmap_of(page, frame, vma, here);
                locked.set(here, pte.from_migration(frame));
                drop(locked);
                if vma.is_locked(here) && self.m.rules.mlock_batched {
                    self.mlock_drain_local();
                }
            });
        });
    }

    /// `try_to_map_unused_to_zeropage`: whether a part of a split folio holds nothing but zeros, in whose
    /// place the zero page does.
    fn is_unused(&self, vma: &Vma, index: PageIndex, page: &Page) -> bool {
        let locked = vma.is_locked(index) || page.has(flag::MLOCKED);
        self.m.rules.split_maps_zero && page.has(flag::ANON) && !locked && !vma.is_stored(index)
    }

    /// `split_huge_pmd`: maps by PTEs what a PMD maps.
    pub(in crate::ops) fn split_pmd(&self, vma: &Vma, index: PageIndex) {
        self.split_pmd_locked(&vma.lock(index), vma, index);
    }

    /// The same under the page-table lock. What is not anonymous is unmapped: the next fault
    /// finds it in the page cache.
    pub(in crate::ops) fn split_pmd_locked(&self, locked: &PtLocked<'_>, vma: &Vma, index: PageIndex) {
        let Some(pmd) = locked.pmd(index) else { return };
        self.event(Event::ThpSplitPmd);
        let head = pmd.frame();
        if self.m.is_zero(head) {
            locked.split_pmd(index, |_| Pte::ZERO);
        } else if vma.kind != Kind::Anon {
            locked.replace(index, true, Pte::NONE);
            if pmd.is_present() {
                self.remove_rmap_pmd(head, vma, index);
                self.put_folio(self.folio_at(head), 1);
            }
        } else {
            let pages = self.m.memory.frames_of(head);
            if self.page(head).has(flag::ANON_EXCLUSIVE) {
                pages.clone().for_each(|frame| _ = self.page(frame).set(flag::ANON_EXCLUSIVE));
            }
            if pmd.is_present() {
                self.page(head).get(pages.len() as i32 - 1);
                pages.for_each(|frame| _ = self.m.memory.add_mapcount(frame, 1));
                self.m.memory.add_entire_mapcount(head, -1);
            }
            // Until a PTE was needed to be dirty to be writable again, the page's flag was enough.
            let kept = self.m.rules.mprotect_writable == MprotectWritable::Exclusive;
            if pmd.is_dirty() && !kept {
                self.page(head).set(flag::DIRTY);
            }
            let pmd = if kept { pmd } else { pmd.cleaned() };
            locked.split_pmd(index, |nth| pmd.at(nth));
        }
    }
}
