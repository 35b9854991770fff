//! What a program says about a range: mlock, madvise, and what use of it says.

use crate::drive::{Driver, Step};
use crate::machine::{Area, Frame, Kind, Mapping, flag, vm};
use crate::ops::floor::Mm;
use crate::policy::Errno;
use std::ops::Range;

impl<D: Driver> Mm<'_, D> {
    /// `mlock2(MLOCK_ONFAULT)`, area by area (`apply_vma_lock_flags`): marks it,
    /// drains this CPU, mlocks what is mapped, drains again. An area that is
    /// locked already: nothing.
    ///
    /// # Errors
    /// `ENOMEM` at a hole; what comes before it has been locked.
    pub fn mlock(&self, mapping: &Mapping, range: Range<u32>) -> Result<(), Errno> {
        self.mlock_range(mapping, range, true)
    }

    /// `munlock`: likewise.
    ///
    /// # Errors
    /// As [`mlock`](Self::mlock).
    pub fn munlock(&self, mapping: &Mapping, range: Range<u32>) -> Result<(), Errno> {
        self.mlock_range(mapping, range, false)
    }

    fn mlock_range(&self, mapping: &Mapping, range: Range<u32>, lock: bool) -> Result<(), Errno> {
        let (vma, into_unfaulted) = (&mapping.vma, self.m.rules.merge_into_unfaulted);
        let hole = vma.areas(&range).into_iter().find(|area| area.has(vm::HOLE));
        let mut rest = range.start..hole.as_ref().map_or(range.end, |hole| hole.pages.start);
        let flags = if lock { vm::LOCKED } else { 0 };
        while !rest.is_empty()
            && let Some(pages) = vma.fix(&rest, vm::LOCKED, flags, into_unfaulted)
        {
            rest.start = pages.end;
            self.lru_add_drain();
            self.for_each_mapped(mapping, pages, Step::Mlock, |frame| {
                if lock {
                    self.mlock_folio(frame);
                } else {
                    self.munlock_folio(frame);
                }
            });
            self.lru_add_drain();
        }
        hole.map_or(Ok(()), |_| Err(Errno::ENOMEM))
    }

    /// `mprotect(PROT_READ)`: what is mapped loses write permission, area by area.
    ///
    /// # Errors
    /// `ENOMEM` at a hole; what comes before it is read-only.
    pub fn mprotect_readonly(&self, mapping: &Mapping, range: Range<u32>) -> Result<(), Errno> {
        let (vma, into_unfaulted) = (&mapping.vma, self.m.rules.merge_into_unfaulted);
        let hole = vma.areas(&range).into_iter().find(|area| area.has(vm::HOLE));
        let mut rest = range.start..hole.as_ref().map_or(range.end, |hole| hole.pages.start);
        while !rest.is_empty()
            && let Some(pages) = vma.fix(&rest, vm::RDONLY, vm::RDONLY, into_unfaulted)
        {
            rest.start = pages.end;
            for index in pages {
                let locked = vma.lock(index);
                let pte = locked.get(index);
                if !pte.is_none() && !pte.is_poison() {
                    locked.clear_flush(index, pte.write_protected());
                }
            }
        }
        hole.map_or(Ok(()), |_| Err(Errno::ENOMEM))
    }

    /// `madvise_walk_vmas`: area by area, each after a drain of this CPU, to the first locked one,
    /// which is `EINVAL`. Holes are passed over, and `ENOMEM` in the end.
    pub(super) fn madvise(
        &self,
        mapping: &Mapping,
        range: Range<u32>,
        visit: impl Fn(Range<u32>),
    ) -> Result<(), Errno> {
        let mut result = Ok(());
        for area in mapping.vma.areas(&range) {
            let Area { ref pages, .. } = area;
            if area.has(vm::HOLE) {
                result = Err(Errno::ENOMEM);
            } else if area.has(vm::LOCKED) {
                return Err(Errno::EINVAL);
            } else {
                visit(pages.clone());
            }
        }
        result
    }

    /// The same of each present page, after a drain of this CPU for each area.
    fn madvise_mapped(
        &self,
        mapping: &Mapping,
        range: Range<u32>,
        visit: impl Fn(Frame),
    ) -> Result<(), Errno> {
        self.madvise(mapping, range, |pages| {
            self.lru_add_drain();
            self.for_each_mapped(mapping, pages, Step::Queue, &visit);
        })
    }

    /// `MADV_COLD`: drains this CPU, then queues what is mapped once and on a list.
    ///
    /// # Errors
    /// `EINVAL` at a locked area; what comes before it has been queued. `ENOMEM` if there are holes.
    pub fn madvise_cold(&self, mapping: &Mapping, range: Range<u32>) -> Result<(), Errno> {
        self.madvise_mapped(mapping, range, |frame| {
            let page = self.folio(frame);
            let flags = page.flags();
            if flags & flag::LRU == 0 || page.folio_mapcount() != 1 {
                return;
            }
            page.clear(flag::REFERENCED);
            self.deactivate(frame, flags);
        })
    }

    /// `MADV_FREE`: drains this CPU, cleans the PTEs and queues what is on a list.
    ///
    /// # Errors
    /// `EINVAL` for a mapping that is not anonymous, and at a locked area; what comes before
    /// that has been queued.
    pub fn madvise_free(&self, mapping: &Mapping, range: Range<u32>) -> Result<(), Errno> {
        if mapping.kind != Kind::Anon {
            return Err(Errno::EINVAL);
        }
        self.madvise_mapped(mapping, range, |frame| {
            let page = self.folio(frame);
            let flags = page.flags();
            if flags & flag::DIRTY != 0 {
                if page.folio_mapcount() != 1 || !self.trylock(frame) {
                    return;
                }
                page.clear(flag::DIRTY);
                self.unlock(frame);
            }
            let index = self.m.memory.index(frame);
            let locked = mapping.vma.lock(index);
            let pte = locked.get(index);
            if pte.is_present() && pte.frame() == frame {
                locked.set(index, pte.cleaned());
            }
            drop(locked);
            self.mark_lazyfree(frame, flags);
        })
    }

    /// `folio_mark_accessed` on every present page of the range, as reads of a file do.
    pub fn mark_range_accessed(&self, mapping: &Mapping, range: Range<u32>) {
        self.for_each_mapped(mapping, range, Step::Queue, |frame| self.mark_accessed(frame));
    }

    /// `deactivate_file_folio` on every present page of the range, as invalidation does.
    pub fn invalidate(&self, mapping: &Mapping, range: Range<u32>) {
        self.for_each_mapped(mapping, range, Step::Queue, |frame| self.deactivate_file(frame));
    }
}
