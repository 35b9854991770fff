//! Taking pages out of a mapping.

use super::advise::{madvise_walk_vmas, may_split};
use super::split::around;
use crate::drive::{Driver, Step};
use crate::machine::space::Entry;
use crate::machine::{Frame, Kind, Mapping, PTES_PER_TABLE, PageIndex, PageRange, Pte, Vma, vm};
use crate::observe::Event;
use crate::ops::floor::Mm;
use crate::policy::Errno;

impl<D: Driver> Mm<'_, D> {
    /// Gives the range's pages up so that a next access gets fresh ones:
    /// `MADV_DONTNEED` for anonymous memory, `MADV_REMOVE` for shared memory.
    ///
    /// With `spare_pinned` a page that may be pinned stays, as a program that
    /// has DMA under way would have it. Returns the number zapped.
    pub fn zap(&self, mapping: &Mapping, range: PageRange, spare_pinned: bool) -> u32 {
        self.lru_add_drain();
        let mut zapped = 0;
        let mut rest = range;
        while !rest.is_empty() && !self.d.killed() {
            let gone = if mapping.kind.is_cached() {
                self.truncate(mapping, &mut rest, spare_pinned)
            } else {
                self.zap_next(&mapping.vma, &mut rest, spare_pinned)
            };
            zapped += gone;
            self.count.add(Event::Zapped, gone.into());
            self.step_at(Step::Zap);
        }
        if zapped != 0 {
            // `tlb_finish_mmu`.
            self.d.interrupt_others();
        }
        zapped
    }

    /// `MADV_DONTNEED`, area by area: clears the PTEs, and leaves the page cache alone. Of huge pages of
    /// the pool those that lie in the range as a whole.
    ///
    /// # Errors
    /// `EINVAL` at a locked area; what comes before it has been zapped. `ENOMEM` if there are holes. `EINVAL`
    /// too for what a kernel does not give up so.
    pub fn madvise_dontneed(&self, mapping: &Mapping, mut range: PageRange) -> Result<(), Errno> {
        let refused = mapping.kind.is_hugetlb() && !self.m.rules.hugetlb_dontneed;
        if mapping.kind == Kind::Pfnmap || refused {
            return Err(Errno::EINVAL);
        }
        if mapping.kind.is_hugetlb() {
            // `madvise_dontneed_free_valid_vma`: a program may not know of their size.
            range.end = range.end.first_of(PTES_PER_TABLE);
            may_split(mapping, &range)?;
            if range.end <= range.start {
                return Ok(());
            }
        }
        madvise_walk_vmas(mapping, range, |pages| self.zap_range(mapping, pages))
    }

    /// `MADV_REMOVE`: punches a hole into the file, in every area that maps it.
    ///
    /// # Errors
    /// `EINVAL` where there is no file, and at a locked area; what comes before it is gone.
    /// `ENOMEM` if there are holes.
    pub fn madvise_remove(&self, mapping: &Mapping, range: PageRange) -> Result<(), Errno> {
        if !mapping.kind.is_cached() {
            return Err(Errno::EINVAL);
        }
        madvise_walk_vmas(mapping, range, |pages| {
            // `unmap_mapping_range`, whatever becomes of what was mapped there; of hugetlb only whole pages go.
            if !mapping.kind.is_hugetlb() {
                mapping.for_each_vma(|vma| {
                    let mut rest = pages.clone();
                    while !rest.is_empty() {
                        self.zap_next(vma, &mut rest, false);
                    }
                });
            }
            // `folio_batch_release` of what is truncated drains this CPU.
            self.lru_add_drain_inlined();
            let mut rest = pages.clone();
            while !rest.is_empty() && !self.d.killed() {
                self.count.add(Event::Zapped, self.truncate(mapping, &mut rest, false).into());
                self.step_at(Step::Zap);
            }
            self.unreserve(mapping, pages);
        })
    }

    /// Clears a range's PTEs, pinned or not: the frames that were there live on by other references.
    fn zap_range(&self, mapping: &Mapping, pages: PageRange) {
        if self.m.rules.zap_drains {
            self.lru_add_drain();
        }
        let mut rest = pages;
        while !rest.is_empty() && !self.d.killed() {
            self.count.add(Event::Zapped, self.zap_next(&mapping.vma, &mut rest, false).into());
            self.step_at(Step::Zap);
        }
        self.d.interrupt_others();
    }

    /// `munmap` of a part: nothing is mapped there any more. What is pinned stays with its device alone.
    ///
    /// # Errors
    /// `EINVAL` for a part of a huge page of the pool.
    pub fn munmap(&self, mapping: &Mapping, range: PageRange) -> Result<(), Errno> {
        may_split(mapping, &range)?;
        let into_unfaulted = self.m.rules.merge_into_unfaulted;
        // Nobody finds the area any more; what it was still says how its pages are unmapped.
        while mapping.vma.fix(&range, vm::HOLE, vm::HOLE, into_unfaulted).is_some() {}
        self.split_pmds_across(&mapping.vma, &range);
        self.zap_range(mapping, range.clone());
        if mapping.kind.is_private() {
            // What was reserved of a file stays the file's.
            self.unreserve(mapping, range);
        }
        Ok(())
    }

    fn unreserve(&self, mapping: &Mapping, range: PageRange) {
        if mapping.kind.is_hugetlb() {
            self.m.unreserve_hugetlb(self.cpu(), mapping.id, range);
        }
    }

    /// `mremap` to another address: the page table moves, pages and pins stay what they are, and
    /// the old range is unmapped with nothing in it.
    pub fn mremap(&self, mapping: &Mapping) {
        debug_assert!(!mapping.vma.is_gone());
        // Pages are named by their place in the mapping, which has not changed: what is left to
        // do is `munmap` of the old range.
        if self.m.rules.zap_drains {
            self.lru_add_drain();
        }
    }

    /// Clears the first PTE of a range, or the PMD that maps so much of it, and takes its pages
    /// off the range. How many pages that were: none where nothing was, or it was spared.
    fn zap_next(&self, vma: &Vma, rest: &mut PageRange, spare_pinned: bool) -> u32 {
        let index = rest.start;
        let locked = vma.lock(index);
        let entry @ Entry { pte, huge } = locked.entry(index);
        let pages = entry.pages();
        let end = index.first_of(pages) + pages;
        let partly = !index.is_multiple_of(pages) || end > rest.end;
        if partly && !vma.kind.is_hugetlb() {
            self.split_pmd_locked(&locked, vma, index);
            return 0;
        }
        rest.start = end.min(rest.end);
        // What is being migrated may be on its way to being pinned.
        if pte.is_none() || pte.is_migration() && spare_pinned {
            return 0;
        }
        // Cleared first, then the refcount is read (see `rmap`).
        locked.replace(index, huge, Pte::NONE);
        let frame = pte.frame();
        if !pte.is_present() || self.m.is_zero(frame) {
            return pages;
        }
        let page = self.page(frame);
        let folio = self.m.memory.folio_of(page, frame);
        if spare_pinned && self.m.maybe_dma_pinned(&folio) {
            locked.replace(index, huge, pte);
            return 0;
        }
        if huge {
            self.remove_rmap_pmd(frame, vma, index);
        } else {
            self.remove_rmap_of(page, frame, vma, index);
        }
        drop(locked);
        self.put_folio(folio, 1);
        pages
    }

    /// Removes the folio of a range's first page from the page cache and every page table, and
    /// takes its pages off the range. How many they were: none where nothing was, or it was
    /// spared. A folio that reaches out of the range is split, and its parts are next.
    fn truncate(&self, mapping: &Mapping, rest: &mut PageRange, spare_pinned: bool) -> u32 {
        let index = rest.start;
        rest.start += 1;
        let Some(frame) = mapping.cached(index) else { return 0 };
        if !mapping.kind.is_hugetlb() {
            return self.truncate_cached(mapping, (index, frame), rest, spare_pinned);
        }
        // `remove_inode_hugepages`
        let removed = self.under_fault_mutex(mapping, index, || {
            self.truncate_cached(mapping, (index, frame), rest, spare_pinned)
        });
        removed.unwrap_or_default()
    }

    fn truncate_cached(
        &self,
        mapping: &Mapping,
        (index, frame): (PageIndex, Frame),
        rest: &mut PageRange,
        spare_pinned: bool,
    ) -> u32 {
        let Some(folio) = self.try_get_cached(mapping, index, frame) else {
            // It is frozen or has been moved: whatever is there now is to go (`find_get_entries`).
            rest.start = index;
            return 0;
        };
        let head = folio.head;
        let mut removed = 0;
        // What a first pass over the range finds locked is waited for in a second one (`folio_lock` in
        // `truncate_inode_pages_range`).
        if self.lock(head) {
            if mapping.cached(index) == Some(frame) {
                removed = self.truncate_locked(mapping, index, head, rest, spare_pinned);
            }
            self.unlock(head);
        }
        self.put_folio(self.folio_at(head), 1);
        removed
    }

    fn truncate_locked(
        &self,
        mapping: &Mapping,
        index: PageIndex,
        head: Frame,
        rest: &mut PageRange,
        spare_pinned: bool,
    ) -> u32 {
        let folio = self.folio_at(head);
        let pages = folio.pages();
        let hole = index.to(pages.end.min(rest.end));
        if hole.len() < pages.len() && mapping.kind.is_hugetlb() {
            // Only whole pages are taken out of the file.
            rest.start = hole.end;
            return 0;
        }
        if hole.len() < pages.len() {
            // `truncate_inode_partial_folio`
            let order = folio.order();
            let within = hole.start - pages.start..hole.end - pages.start;
            let orders =
                if self.m.rules.hole_splits_to_fit { around(order, &within) } else { vec![0; pages.len()] };
            match self.split_folio((head, head), 1, false, &orders) {
                Ok(_) => rest.start = index,
                // It stays whole, with nothing in the hole.
                Err(_) => rest.start = hole.end,
            }
            return 0;
        }
        rest.start = pages.end;
        let mut unmapped = true;
        mapping.for_each_vma(|vma| {
            let mut left = pages.clone();
            while !left.is_empty() {
                let index = left.start;
                self.zap_next(vma, &mut left, spare_pinned);
                unmapped &= vma.pte(index).is_none();
            }
        });
        if !unmapped {
            return 0;
        }
        mapping.with_cache(pages.clone(), |slots| slots.set(None));
        folio.set_mapping(None, PageIndex(0));
        self.put_folio(folio, pages.len() as i32);
        pages.len() as u32
    }

    /// Zaps everything that an area maps, for good; a child ends with its area, on its own CPU
    /// (`exit_mmap`).
    pub(super) fn exit(&self, vma: &Vma) {
        let child = vma.child();
        self.on_cpu(child.and_then(|child| self.m.processes.cpu_of(child)), || {
            // Before it is zapped: what somebody maps there meanwhile he sees to be for him to zap.
            let ends = vma.set_gone();
            if self.m.rules.zap_drains {
                self.lru_add_drain();
            }
            let mut rest = vma.pages();
            while !rest.is_empty() {
                self.zap_next(vma, &mut rest, false);
            }
            if ends && let Some(process) = child {
                self.exited(process);
            }
        });
    }

    /// `munmap`: zaps everything, in the children too, for good.
    pub fn unmap(&self, mapping: &Mapping) {
        mapping.for_each_vma(|vma| self.exit(vma));
        let all = mapping.vma.pages();
        let mut rest = all.clone();
        while !rest.is_empty() {
            self.truncate(mapping, &mut rest, false);
        }
        self.unreserve(mapping, all);
    }
}
