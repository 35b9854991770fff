//! Taking pages out of a mapping.

use crate::drive::{Driver, Step};
use crate::machine::{Area, Frame, Kind, Mapping, Pte, Vma, ZERO_FRAME};
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
            let gone = match mapping.kind {
                Kind::Anon => self.zap_pte(&mapping.vma, index, spare_pinned),
                Kind::Shmem => self.truncate(mapping, index, spare_pinned),
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
    /// `EINVAL` at a locked area; what comes before it has been zapped.
    pub fn madvise_dontneed(&self, mapping: &Mapping, range: Range<u32>) -> Result<(), Errno> {
        for Area { pages, locked, .. } in mapping.vma.areas(&range) {
            if locked {
                return Err(Errno::EINVAL);
            }
            self.lru_add_drain();
            for index in pages {
                if self.zap_pte(&mapping.vma, index, false) {
                    self.event(Event::Zapped);
                }
                self.step_at(Step::Zap);
            }
        }
        Ok(())
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
        self.lru_add_drain();
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
