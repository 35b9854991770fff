//! Fork: a child's view of a mapping.

use super::advise::may_split;
use crate::drive::Driver;
use crate::machine::payload::pattern;
use crate::machine::{Gfp, Mapping, PTES_PER_TABLE, PageIndex, PageRange, ProcessId, Pte, Vma, flag, vm};
use crate::ops::floor::Mm;
use crate::policy::Errno;
use std::sync::Arc;

/// `dup_mmap`: the child's area, with the holes and the protection of the parent's.
fn new_child(mapping: &Mapping, process: ProcessId) -> Arc<Vma> {
    let child = mapping.fork(process);
    if mapping.order != 0 {
        child.stored_as(&mapping.vma);
    }
    for area in mapping.vma.areas(&mapping.vma.pages()) {
        let flags = area.flags & (vm::HOLE | vm::RDONLY);
        while child.fix(&area.pages, vm::HOLE | vm::RDONLY, flags, false).is_some() {}
    }
    child
}

impl<D: Driver> Mm<'_, D> {
    /// Forks a child that keeps a range shared copy-on-write (`copy_page_range`);
    /// the rest of the mapping is not the child's, as with `MADV_DONTFORK`.
    ///
    /// Anonymous pages get one more mapping each and become read-only on both
    /// sides; an exclusive one that may be pinned is copied for the child
    /// instead. What is being migrated is shared by its migration entry, which both wait for. PTEs of
    /// shared memory are not copied: a child faults them in.
    ///
    /// # Errors
    /// `ENOMEM` without a frame for a copy; there is no child then. `EINVAL` for a part of a huge page of
    /// the pool, whose rest nobody can keep from the child.
    pub fn fork(&self, mapping: &Mapping, range: PageRange) -> Result<(), Errno> {
        may_split(mapping, &range)?;
        self.fork_child(mapping, range, false).map(drop)
    }

    /// Forks a child that has all of the mapping, and writes a range of it before anything else happens;
    /// one that is killed meanwhile writes no more.
    ///
    /// # Errors
    /// As [`fork`](Self::fork), and as [`touch`](Self::touch) what the child writes.
    pub fn fork_writing(&self, mapping: &Mapping, range: PageRange) -> Result<(), Errno> {
        let child = self.fork_child(mapping, mapping.vma.pages(), true)?;
        self.act_for(&child, || range.into_iter().try_for_each(|index| self.write(mapping, &child, index)))
    }

    /// Does what a child does that was forked to be busy; it sleeps then, or has been killed and ends.
    fn act_for(&self, child: &Vma, body: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
        let Some(process) = child.child() else { return body() };
        let own = self.process.replace(process);
        let done = body();
        self.process.set(own);
        if self.m.processes.rests(process) || child.is_gone() {
            self.exit(child);
            return if self.killed() { done } else { Ok(()) };
        }
        done
    }

    /// All forked children exit (`exit_mmap`).
    pub fn children_exit(&self, mapping: &Mapping) {
        mapping.for_each_child(|child| {
            if !child.is_gone() {
                self.exit(child);
            }
        });
    }

    /// Forks a child that has the range while `body` runs, and then exits and is forgotten.
    ///
    /// # Errors
    /// As [`fork`](Self::fork).
    pub fn with_child(&self, mapping: &Mapping, range: PageRange, body: impl FnOnce()) -> Result<(), Errno> {
        let child = self.fork_child(mapping, range, false)?;
        body();
        self.reap(mapping, &child);
        Ok(())
    }

    /// A child that has the range of the parent's mapping, busy or asleep; none where something of it
    /// cannot be copied.
    fn fork_child(&self, mapping: &Mapping, range: PageRange, busy: bool) -> Result<Arc<Vma>, Errno> {
        let process = self.m.processes.fork(self.cpu());
        let child = new_child(mapping, process);
        if let Err(errno) = mapping.write_protecting(|| self.copy_page_range(mapping, &child, range)) {
            self.reap(mapping, &child);
            return Err(errno);
        }
        self.m.processes.born(process, busy);
        if child.is_gone() {
            // Its area was unmapped while it was being copied.
            self.exit(&child);
        }
        Ok(child)
    }

    /// A child exits, and nothing is left that knows of it.
    fn reap(&self, mapping: &Mapping, child: &Arc<Vma>) {
        self.exit(child);
        mapping.forget(child);
    }

    fn copy_page_range(&self, mapping: &Mapping, child: &Vma, range: PageRange) -> Result<(), Errno> {
        if !mapping.kind.is_private() {
            return Ok(());
        }
        self.split_pmds_across(&mapping.vma, &range);
        let mut index = range.start;
        while index < range.end {
            if self.copy_huge_pmd(mapping, child, index)? {
                index += PTES_PER_TABLE;
            } else {
                self.copy_pte(mapping, child, index)?;
                index += 1;
            }
        }
        Ok(())
    }

    /// Copies the PMD that maps a page, if one does; false also where it is split for the copy.
    fn copy_huge_pmd(&self, mapping: &Mapping, child: &Vma, index: PageIndex) -> Result<bool, Errno> {
        let locked = mapping.vma.lock(index);
        let Some(pmd) = locked.pmd(index) else {
            return Ok(false);
        };
        if pmd.is_migration() {
            locked.replace(index, true, pmd.made_shared());
            child.lock_nested(index).set_pmd(index, pmd.made_shared());
            return Ok(true);
        }
        let head = pmd.frame();
        let zero = self.m.is_zero(head);
        if !zero {
            let folio = self.page(head);
            if self.page(head).has(flag::ANON_EXCLUSIVE) && self.m.maybe_dma_pinned(folio) {
                if mapping.kind.is_hugetlb() {
                    drop(locked);
                    return self.copy_hugetlb(mapping, child, index).map(|()| true);
                }
                self.split_pmd_locked(&locked, &mapping.vma, index);
                return Ok(false);
            }
            folio.get(1);
            self.m.memory.add_entire_mapcount(head, 1);
            folio.clear(flag::ANON_EXCLUSIVE);
            locked.replace(index, true, pmd.write_protected());
        }
        child.lock_nested(index).set_pmd(index, pmd.write_protected());
        Ok(true)
    }

    fn copy_pte(&self, mapping: &Mapping, child: &Vma, index: PageIndex) -> Result<(), Errno> {
        let parent = &mapping.vma;
        let locked = parent.lock(index);
        let pte = locked.get(index);
        if pte.is_poison() {
            child.lock_nested(index).set(index, pte);
        }
        if pte.is_migration() {
            // `copy_nonpresent_pte`
            locked.set(index, pte.made_shared());
            child.lock_nested(index).set(index, pte.made_shared());
        }
        if !pte.is_present() {
            return Ok(());
        }
        let frame = pte.frame();
        let mine = child.lock_nested(index);
        if self.m.is_zero(frame) {
            mine.set(index, pte);
            return Ok(());
        }
        let page = self.folio(frame);
        if self.page(frame).has(flag::ANON_EXCLUSIVE) && self.m.maybe_dma_pinned(page) {
            let fresh = self.m.memory.alloc(self.cpu(), Gfp::Movable, 0).ok_or(Errno::ENOMEM)?;
            fresh.fill(|_| pattern(mapping.id, index));
            let copy = fresh.folio();
            copy.set_mapping(Some(mapping.id), index);
            copy.set(flag::ANON | flag::ANON_EXCLUSIVE | flag::SWAPBACKED);
            self.m.memory.add_mapcount(fresh.frame(), 1);
            let fresh = fresh.publish();
            // The child's area is not locked, whatever the parent's is.
            self.folio_add_lru(copy);
            mine.set(index, Pte::present(fresh, true, true));
            return Ok(());
        }
        page.get(1);
        self.m.memory.add_mapcount(frame, 1);
        self.page(frame).clear(flag::ANON_EXCLUSIVE);
        locked.set(index, pte.write_protected());
        mine.set(index, pte.write_protected());
        Ok(())
    }
}
