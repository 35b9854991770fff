//! What a program says about a range: mlock, madvise, and what use of it says.

use super::walk::{Visit, Visited};
use crate::drive::{Driver, Step};
use crate::machine::space::Entry;
use crate::machine::{Area, Frame, Kind, Mapping, PTES_PER_TABLE, PageIndex, PageRange, Vma, flag, vm};
use crate::ops::floor::Mm;
use crate::policy::{Errno, MprotectWritable};

/// `madvise_walk_vmas`: area by area, to the first locked one,
/// which is `EINVAL`. Holes are passed over, and `ENOMEM` in the end.
pub(super) fn madvise_walk_vmas(
    mapping: &Mapping,
    range: PageRange,
    visit: impl Fn(PageRange),
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

/// `hugetlb_vm_op_split`: an area of huge pages ends where one does.
///
/// # Errors
/// `EINVAL` where another end is asked for.
pub(super) fn may_split(mapping: &Mapping, range: &PageRange) -> Result<(), Errno> {
    let within = |index: PageIndex| !index.is_multiple_of(PTES_PER_TABLE);
    if mapping.kind.is_hugetlb() && (within(range.start) || within(range.end)) {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

impl<D: Driver> Mm<'_, D> {
    /// `mlock2(MLOCK_ONFAULT)`, area by area (`apply_vma_lock_flags`): marks it,
    /// drains this CPU, mlocks what is mapped, drains again. An area that is
    /// locked already: nothing.
    ///
    /// # Errors
    /// `ENOMEM` at a hole; what comes before it has been locked.
    pub fn mlock(&self, mapping: &Mapping, range: PageRange) -> Result<(), Errno> {
        self.mlock_range(mapping, range, true)
    }

    /// `munlock`: likewise.
    ///
    /// # Errors
    /// As [`mlock`](Self::mlock).
    pub fn munlock(&self, mapping: &Mapping, range: PageRange) -> Result<(), Errno> {
        self.mlock_range(mapping, range, false)
    }

    fn mlock_range(&self, mapping: &Mapping, range: PageRange, lock: bool) -> Result<(), Errno> {
        if mapping.kind.is_hugetlb() {
            // It is in memory for good; nothing is marked.
            return Ok(());
        }
        let (vma, into_unfaulted) = (&mapping.vma, self.m.rules.merge_into_unfaulted);
        let hole = vma.areas(&range).into_iter().find(|area| area.has(vm::HOLE));
        let mut rest = range.start.to(hole.as_ref().map_or(range.end, |hole| hole.pages.start));
        let flags = if lock { vm::LOCKED } else { 0 };
        while !rest.is_empty()
            && let Some(pages) = vma.fix(&rest, vm::LOCKED, flags, into_unfaulted)
        {
            rest.start = pages.end;
            self.split_pmds_across(vma, &pages);
            self.lru_add_drain();
            self.for_each_mapped(mapping, pages, Step::Mlock, |Visited { frame, whole, .. }| {
                if lock && whole {
                    self.mlock_folio(frame);
                } else if !lock {
                    self.munlock_folio(frame);
                }
                Visit::Done
            });
            self.lru_add_drain();
        }
        hole.map_or(Ok(()), |_| Err(Errno::ENOMEM))
    }

    /// `mprotect(PROT_READ)`: what is mapped loses write permission, area by area.
    ///
    /// # Errors
    /// `ENOMEM` at a hole; what comes before it is read-only.
    pub fn mprotect_readonly(&self, mapping: &Mapping, range: PageRange) -> Result<(), Errno> {
        may_split(mapping, &range)?;
        let (vma, into_unfaulted) = (&mapping.vma, self.m.rules.merge_into_unfaulted);
        let hole = vma.areas(&range).into_iter().find(|area| area.has(vm::HOLE));
        let mut rest = range.start.to(hole.as_ref().map_or(range.end, |hole| hole.pages.start));
        while !rest.is_empty()
            && let Some(pages) = vma.fix(&rest, vm::RDONLY, vm::RDONLY, into_unfaulted)
        {
            rest.start = pages.end;
            self.split_pmds_across(vma, &pages);
            vma.for_each_entry(pages, |locked, index, Entry { pte, huge }| {
                locked.replace(index, huge, pte.write_protected());
            });
        }
        hole.map_or(Ok(()), |_| Err(Errno::ENOMEM))
    }

    /// `mprotect(PROT_READ)` of a range, and back: the areas are one again, what was writable is
    /// so again as far as the rules make it, but no PMD maps pages on both sides of an edge.
    pub fn mprotect_and_back(&self, mapping: &Mapping, range: PageRange) {
        let vma = &mapping.vma;
        self.split_pmds_across(vma, &range);
        if mapping.kind != Kind::Anon {
            return;
        }
        vma.for_each_entry(range, |locked, index, Entry { pte, huge }| {
            let again = match self.m.rules.mprotect_writable {
                MprotectWritable::Never => false,
                MprotectWritable::Dirty => !huge && pte.is_dirty(),
                MprotectWritable::Exclusive => true,
            };
            // A migration entry is not made writable again.
            if !(pte.is_present() && again) {
                locked.replace(index, huge, pte.write_protected());
            }
        });
    }

    /// `madvise_walk_vmas` of each present page, after a drain of this CPU for each area.
    fn madvise_mapped(
        &self,
        mapping: &Mapping,
        range: PageRange,
        visit: impl Fn(Visited) -> Visit,
    ) -> Result<(), Errno> {
        madvise_walk_vmas(mapping, range, |pages| {
            self.lru_add_drain();
            self.for_each_mapped(mapping, pages, Step::Queue, &visit);
        })
    }

    /// `MADV_COLD`: drains this CPU, then queues what is mapped once and on a list.
    ///
    /// # Errors
    /// `EINVAL` for hugetlb and at a locked area; what comes before it has been queued. `ENOMEM` if
    /// there are holes.
    pub fn madvise_cold(&self, mapping: &Mapping, range: PageRange) -> Result<(), Errno> {
        if mapping.kind.is_hugetlb() {
            return Err(Errno::EINVAL);
        }
        self.madvise_mapped(mapping, range, |Visited { frame, whole, .. }| {
            if !whole && self.split_mapped(frame) {
                return Visit::Split;
            }
            let page = self.folio(frame);
            let flags = page.flags();
            if flags & flag::LRU != 0 && whole && self.is_mapped_once(frame) {
                page.clear(flag::REFERENCED);
                self.deactivate(self.head(frame), flags);
            }
            Visit::Done
        })
    }

    /// `MADV_FREE`: drains this CPU, cleans the PTEs and queues what is on a list.
    ///
    /// # Errors
    /// `EINVAL` for a mapping that is not anonymous, and at a locked area; what comes before
    /// that has been queued.
    pub fn madvise_free(&self, mapping: &Mapping, range: PageRange) -> Result<(), Errno> {
        if mapping.kind != Kind::Anon {
            return Err(Errno::EINVAL);
        }
        self.madvise_mapped(mapping, range, |Visited { frame, pages, whole }| {
            if !whole && self.split_mapped(frame) {
                return Visit::Split;
            }
            let page = self.folio(frame);
            let flags = page.flags();
            let dirty = flags & flag::DIRTY != 0;
            if !whole || dirty && !(self.is_mapped_once(frame) && self.trylock(frame)) {
                return Visit::Done;
            }
            if dirty {
                page.clear(flag::DIRTY);
                self.unlock(frame);
            }
            for (index, frame) in pages.zip(frame.on()) {
                let locked = mapping.vma.lock(index);
                let here = locked.get(index);
                if here.is_present() && here.frame() == frame {
                    let Entry { pte, huge } = locked.entry(index);
                    locked.replace(index, huge, pte.cleaned());
                }
            }
            self.mark_lazyfree(self.head(frame), flags);
            Visit::Done
        })
    }

    /// `folio_mark_accessed` on every present page of the range, as reads of a file do.
    pub fn mark_range_accessed(&self, mapping: &Mapping, range: PageRange) {
        self.for_each_mapped(mapping, range, Step::Queue, |Visited { frame, .. }| {
            self.mark_accessed(frame);
            Visit::Done
        });
    }

    /// `deactivate_file_folio` on every present page of the range, as invalidation does.
    pub fn invalidate(&self, mapping: &Mapping, range: PageRange) {
        self.for_each_mapped(mapping, range, Step::Queue, |Visited { frame, .. }| {
            self.deactivate_file(frame);
            Visit::Done
        });
    }

    /// Whether every page of the folio is mapped by one process at most.
    fn is_mapped_once(&self, frame: Frame) -> bool {
        let memory = &self.m.memory;
        let (head, order) = (memory.head(frame), self.folio(frame).order());
        if order == 0 {
            return self.page(head).mapcount() == 1;
        }
        let entire = memory.entire_mapcount(head);
        memory.frames_of(head).all(|frame| self.page(frame).mapcount() + entire <= 1)
    }

    /// Splits the PMDs that map pages on both sides of an edge of the range: `vma_adjust_trans_huge`.
    pub(super) fn split_pmds_across(&self, vma: &Vma, range: &PageRange) {
        if vma.kind.is_hugetlb() {
            return;
        }
        for edge in [range.start, range.end] {
            if !edge.is_multiple_of(PTES_PER_TABLE) && edge < vma.end() {
                self.split_pmd(vma, edge);
            }
        }
    }

    /// `split_folio` into pages, of one that the caller has a reference on; false if it cannot be.
    pub(super) fn split_mapped(&self, frame: Frame) -> bool {
        let head = self.head(frame);
        if self.page(head).has(flag::HUGETLB) || !self.trylock(head) {
            return false;
        }
        let pages = vec![0; self.page(head).nr_pages() as usize];
        let parts = self.split_folio((head, frame), 1, false, &pages);
        self.unlock(head);
        if parts.is_ok() && head != frame {
            self.put_folio(self.folio_at(head), 1);
        }
        parts.is_ok()
    }

    /// Makes single pages of every folio that is mapped in the range, where nobody else has
    /// references on it: `split_huge_pages` of debugfs.
    pub fn split_folios(&self, mapping: &Mapping, range: PageRange) {
        self.for_each_mapped(mapping, range, Step::Queue, |Visited { frame, .. }| {
            if self.page(frame).is_large() {
                self.split_mapped(frame);
            }
            Visit::Done
        });
    }
}
