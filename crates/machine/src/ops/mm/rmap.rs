//! The reverse map: from a page to the PTEs that map it.
//!
//! # Unmapping against GUP-fast
//!
//! GUP-fast takes a reference, then reads the PTE again. Unmapping clears the
//! PTE, then looks at the refcount. Both accesses of both sides are `SeqCst`:
//! at least one of them sees the other. Either GUP-fast finds the PTE changed
//! and drops its reference, or the unmapper finds the page pinned and puts the
//! PTE back (`folio_try_share_anon_rmap_pte`), or, for shmem, the freeze fails.

use crate::drive::Driver;
use crate::machine::{Frame, Test, Vma, flag};
use crate::ops::floor::Mm;

impl<D: Driver> Mm<'_, D> {
    /// `folio_add_*_rmap_pte` for a page mapped again: counts it, and in a
    /// locked area mlocks it. Under the page-table lock.
    pub(in crate::ops) fn add_rmap(&self, frame: Frame, vma: &Vma, index: u32) {
        self.m.memory.add_mapcount(frame, 1);
        if vma.is_locked(index) {
            self.mlock_folio(frame);
        }
    }

    /// `folio_remove_rmap_pte`: counts it, and in a locked area munlocks it.
    /// Under the page-table lock.
    pub(in crate::ops) fn remove_rmap(&self, frame: Frame, vma: &Vma, index: u32) {
        self.m.memory.add_mapcount(frame, -1);
        if vma.is_locked(index) && self.m.rules.mlock_batched {
            self.munlock_folio(frame);
        } else if vma.is_locked(index) {
            self.folio(frame).clear(flag::MLOCKED);
        }
    }

    /// `try_to_migrate`: replaces every PTE of a locked page by a migration
    /// entry. PTEs stay where the page may be pinned and the rules respect that: the
    /// references that say so, `own` of them the caller's, are returned.
    pub(in crate::ops) fn try_to_migrate(&self, frame: Frame, own: i32) -> Option<Test> {
        let page = self.folio(frame);
        let id = page.mapping()?;
        let index = page.index();
        let mut kept = None;
        self.m.mapping(id).for_each_vma(|vma| {
            let locked = vma.lock(index);
            let pte = locked.get(index);
            if !pte.is_present() || pte.frame() != frame {
                return;
            }
            locked.clear_flush(index, pte.to_migration());
            if self.m.rules.unmap_respects_pins
                && self.page(frame).has(flag::ANON_EXCLUSIVE)
                && self.m.maybe_dma_pinned(page)
            {
                kept =
                    Some(Test::Refs { found: page.refcount(), expected: self.m.expected_refs(page) + own });
                locked.set(index, pte);
                return;
            }
            if pte.is_dirty() {
                page.set(flag::DIRTY);
            }
            self.remove_rmap(frame, vma, index);
            drop(locked);
            if vma.is_locked(index) && self.m.rules.mlock_batched {
                self.mlock_drain_local();
            }
            self.put(frame, 1);
        });
        kept
    }

    /// `remove_migration_ptes`: every migration entry of `old` maps `new` again
    /// (`new` = `old` where the migration failed).
    pub(in crate::ops) fn remove_migration_ptes(&self, old: Frame, new: Frame) {
        let page = self.folio(new);
        let Some(id) = page.mapping() else { return };
        let index = page.index();
        self.m.mapping(id).for_each_vma(|vma| {
            let locked = vma.lock(index);
            let pte = locked.get(index);
            if !pte.is_migration() || pte.frame() != old {
                return;
            }
            page.get(1);
            self.add_rmap(new, vma, index);
            locked.set(index, pte.from_migration(new));
            drop(locked);
            if vma.is_locked(index) && self.m.rules.mlock_batched {
                self.mlock_drain_local();
            }
        });
    }
}
