//! Taking pages out of a mapping.

use crate::drive::{Driver, Step};
use crate::machine::{Frame, Kind, Mapping, Pte, Vma, ZERO_FRAME, vm};
use crate::observe::Event;
use crate::ops::floor::Mm;
use crate::policy::Errno;
use std::ops::Range;

impl<D: Driver> Mm<'_, D> {
    /// Gives the range's pages up so that a next access gets fresh ones:
    /// `MADV_DONTNEED` for anonymous memory, `MADV_REMOVE` for shared memory.
    ///
    /// With `spare_pinned` a page that may be pinned stays, as a program that
    /// has DMA under way would have it. Returns the number zapped.
    pub fn zap(&self, mapping: &Mapping, range: Range<u32>, spare_pinned: bool) -> u32 {
        self.lru_add_drain();
        let mut zapped = 0;
        for index in range.take_while(|_| !self.d.killed()) {
            let gone = if mapping.kind.is_cached() {
                self.truncate(mapping, index, spare_pinned)
            } else {
                self.zap_pte(&mapping.vma, index, spare_pinned)
            };
            if gone {
                zapped += 1;
                self.event(Event::Zapped);
            }
            self.step_at(Step::Zap);
        }
        zapped
    }

    /// `MADV_DONTNEED`, area by area: clears the PTEs, and leaves the page cache alone.
    ///
    /// # Errors
    /// `EINVAL` at a locked area; what comes before it has been zapped. `ENOMEM` if there are holes.
    pub fn madvise_dontneed(&self, mapping: &Mapping, range: Range<u32>) -> Result<(), Errno> {
        if mapping.kind == Kind::Pfnmap {
            return Err(Errno::EINVAL);
        }
        self.madvise(mapping, range, |pages| self.zap_range(mapping, pages))
    }

    /// `MADV_REMOVE`: punches a hole into the file, in every area that maps it.
    ///
    /// # Errors
    /// `EINVAL` where there is no file, and at a locked area; what comes before it is gone.
    /// `ENOMEM` if there are holes.
    pub fn madvise_remove(&self, mapping: &Mapping, range: Range<u32>) -> Result<(), Errno> {
        if !mapping.kind.is_cached() {
            return Err(Errno::EINVAL);
        }
        self.madvise(mapping, range, |pages| {
            // `folio_batch_release` of what is truncated drains this CPU.
            self.lru_add_drain_inlined();
            for index in pages.take_while(|_| !self.d.killed()) {
                if self.truncate(mapping, index, false) {
                    self.event(Event::Zapped);
                }
                self.step_at(Step::Zap);
            }
        })
    }

    /// Clears a range's PTEs, pinned or not: the frames that were there live on by other references.
    fn zap_range(&self, mapping: &Mapping, pages: Range<u32>) {
        if self.m.rules.zap_drains {
            self.lru_add_drain();
        }
        for index in pages.take_while(|_| !self.d.killed()) {
            if self.zap_pte(&mapping.vma, index, false) {
                self.event(Event::Zapped);
            }
            self.step_at(Step::Zap);
        }
    }

    /// `munmap` of a part: nothing is mapped there any more. What is pinned stays with its device alone.
    pub fn munmap(&self, mapping: &Mapping, range: Range<u32>) {
        let into_unfaulted = self.m.rules.merge_into_unfaulted;
        // Nobody finds the area any more; what it was still says how its pages are unmapped.
        while mapping.vma.fix(&range, vm::HOLE, vm::HOLE, into_unfaulted).is_some() {}
        self.zap_range(mapping, range);
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

    /// Clears one PTE; false if there was no page or it was spared.
    fn zap_pte(&self, vma: &Vma, index: u32, spare_pinned: bool) -> bool {
        let locked = vma.lock(index);
        let pte = locked.get(index);
        if pte.is_none() {
            return false;
        }
        if pte.is_migration() && spare_pinned {
            // It may be on its way to being pinned.
            return false;
        }
        // Cleared first, then the refcount is read (see `rmap`).
        locked.clear_flush(index, Pte::NONE);
        let frame = pte.frame();
        if !pte.is_present() || frame == ZERO_FRAME {
            return true;
        }
        if spare_pinned && self.m.maybe_dma_pinned(self.folio(frame)) {
            locked.set(index, pte);
            return false;
        }
        self.remove_rmap(frame, vma, index);
        drop(locked);
        self.put(frame, 1);
        true
    }

    /// Removes one page from the page cache and every PTE.
    fn truncate(&self, mapping: &Mapping, index: u32, spare_pinned: bool) -> bool {
        let Some(frame) = mapping.cached(index) else { return false };
        if !self.folio(frame).try_get(1) {
            return false;
        }
        let removed = self.trylock(frame) && {
            let removed = mapping.cached(index) == Some(frame)
                && self.truncate_locked(mapping, index, frame, spare_pinned);
            self.unlock(frame);
            removed
        };
        self.put(frame, 1);
        removed
    }

    fn truncate_locked(&self, mapping: &Mapping, index: u32, frame: Frame, spare_pinned: bool) -> bool {
        let mut unmapped = true;
        mapping.for_each_vma(|vma| {
            unmapped &= vma.pte(index).is_none() || self.zap_pte(vma, index, spare_pinned);
        });
        if !unmapped {
            return false;
        }
        mapping.with_cache(index, |slot| slot.set(None));
        self.folio(frame).set_mapping(None, 0);
        self.put(frame, 1);
        true
    }

    /// Zaps everything that an area maps, for good.
    pub(super) fn exit(&self, vma: &Vma) {
        if self.m.rules.zap_drains {
            self.lru_add_drain();
        }
        for index in 0..vma.len() {
            self.zap_pte(vma, index, false);
        }
        vma.set_gone();
    }

    /// `munmap`: zaps everything, in the children too, for good.
    pub fn unmap(&self, mapping: &Mapping) {
        mapping.for_each_vma(|vma| self.exit(vma));
        for index in 0..mapping.vma.len() {
            self.truncate(mapping, index, false);
        }
    }
}
