//! Page faults: `handle_mm_fault` for anonymous and shared memory.
//!
//! A fault allocates outside Movable and CMA while its task is inside a
//! long-term pin (`memalloc_pin`), otherwise wherever movable memory is.

use crate::drive::{Driver, Step, Wait};
use crate::machine::payload::{Fresh, pattern};
use crate::machine::{Frame, Gfp, Kind, Mapping, Pte, Vma, ZERO_FRAME, flag};
use crate::observe::Event;
use crate::ops::floor::Mm;
use crate::policy::Cold;
use crate::policy::Errno;
use std::ops::Range;

/// What a fault is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
    /// A page of the mapping's own, not to be stored to (`FAULT_FLAG_UNSHARE`).
    Unshare,
}

impl Access {
    /// A store or a load.
    pub fn of(write: bool) -> Self {
        if write { Self::Write } else { Self::Read }
    }
}

impl<'a, D: Driver> Mm<'a, D> {
    /// Writes each page of the range, as a user's stores do.
    ///
    /// # Errors
    /// `ENOMEM` without a free frame, `EFAULT` on a poisoned page and where nothing is mapped
    /// that may be accessed so, `EINTR` if killed.
    pub fn touch(&self, mapping: &Mapping, range: Range<u32>) -> Result<(), Errno> {
        range.into_iter().try_for_each(|index| self.write(mapping, &mapping.vma, index))
    }

    /// A store to one page through an area that maps it.
    pub(super) fn write(&self, mapping: &Mapping, vma: &Vma, index: u32) -> Result<(), Errno> {
        while !vma.pte(index).is_present() || !vma.pte(index).is_writable() {
            self.handle_mm_fault(mapping, vma, index, Access::Write)?;
        }
        Ok(())
    }

    /// Writes each page of the range through a second mapping of the same file.
    ///
    /// # Errors
    /// As [`touch`](Self::touch); `EINVAL` where there is no file.
    pub fn touch_alias(&self, mapping: &Mapping, range: Range<u32>) -> Result<(), Errno> {
        if !mapping.kind.is_cached() {
            return Err(Errno::EINVAL);
        }
        let second = mapping.alias();
        range.into_iter().try_for_each(|index| self.write(mapping, &second, index))
    }

    /// `pwrite` of each page of the range: in the page cache, whether it is mapped or not.
    ///
    /// # Errors
    /// As [`touch`](Self::touch); `EINVAL` where there is no file.
    pub fn pwrite(&self, mapping: &Mapping, range: Range<u32>) -> Result<(), Errno> {
        if !mapping.kind.is_cached() {
            return Err(Errno::EINVAL);
        }
        for index in range {
            let frame = loop {
                self.step_at(Step::Fault);
                if let Some(frame) = self.get_cached_folio(mapping, index)? {
                    break frame;
                }
            };
            self.folio(frame).set(flag::DIRTY);
            self.mark_accessed(frame);
            self.unlock(frame);
            self.put(frame, 1);
        }
        Ok(())
    }

    /// Writes each page of the range with memory that may be pinned where it is.
    ///
    /// # Errors
    /// As [`touch`](Self::touch).
    pub fn touch_pinnable(&self, mapping: &Mapping, range: Range<u32>) -> Result<(), Errno> {
        self.with_gfp(Gfp::Pin, || self.touch(mapping, range))
    }

    /// Reads each page of the range; an untouched anonymous one maps the zero page.
    ///
    /// # Errors
    /// As [`touch`](Self::touch).
    pub fn read(&self, mapping: &Mapping, range: Range<u32>) -> Result<(), Errno> {
        for index in range {
            while !mapping.vma.pte(index).is_present() {
                self.handle_mm_fault(mapping, &mapping.vma, index, Access::Read)?;
            }
        }
        Ok(())
    }

    /// Handles one fault; the access is tried again by the caller.
    ///
    /// # Errors
    /// As [`touch`](Self::touch).
    pub fn handle_mm_fault(
        &self,
        mapping: &Mapping,
        vma: &Vma,
        index: u32,
        access: Access,
    ) -> Result<(), Errno> {
        if vma.forbids(index, access == Access::Write) {
            // No area is found that allows it: there is no fault to handle.
            return Err(Errno::EFAULT);
        }
        self.event(Event::Faults);
        self.step_at(Step::Fault);
        if self.d.killed() {
            return Err(Errno::EINTR);
        }
        let pte = vma.pte(index);
        if pte.is_migration() {
            return self.migration_entry_wait(vma, index, pte);
        }
        if pte.is_poison() {
            // `VM_FAULT_HWPOISON`: a program's access is SIGBUS, a pin's -EFAULT.
            return Err(Errno::EFAULT);
        }
        match (mapping.kind, pte.is_present()) {
            (_, true) if access == Access::Read || pte.is_writable() => Ok(()),
            (Kind::Pfnmap, _) => self.pfnmap_fault(mapping, vma, index),
            (Kind::Anon, true) => self.do_wp_page(mapping, vma, index, pte, access),
            (Kind::Anon, false) if access == Access::Write => {
                self.do_anonymous_page(mapping, vma, index, Pte::NONE, access)
            }
            (Kind::Anon, false) => {
                let locked = vma.lock(index);
                if locked.get(index).is_none() {
                    locked.set(index, Pte::ZERO);
                }
                Ok(())
            }
            (Kind::File, true) => self.wp_page_shared(vma, index, pte),
            _ => self.do_shared_fault(mapping, vma, index, access),
        }
    }

    /// `migration_entry_wait`: sleeps on the lock of the page that is leaving.
    fn migration_entry_wait(&self, vma: &Vma, index: u32, entry: Pte) -> Result<(), Errno> {
        self.event(Event::MigrationWaits);
        let frame = entry.frame();
        self.step(Step::MigrationEntry, frame);
        let frame = self.head(frame);
        let page = self.page(frame);
        let over = || vma.pte(index) != entry || page.is_clear_or_awaited(flag::LOCKED);
        if self.d.wait(Wait::PageLock(frame), &over) { Ok(()) } else { Err(Errno::EINTR) }
    }

    /// A driver's fault handler (`vmf_insert_pfn`): a page of its own, on no list and in no cache.
    fn pfnmap_fault(&self, mapping: &Mapping, vma: &Vma, index: u32) -> Result<(), Errno> {
        let fresh = self.m.memory.alloc(self.cpu(), Gfp::Pin, 0).ok_or(Errno::ENOMEM)?;
        fresh.fill(|_| pattern(mapping.id, index));
        let locked = vma.lock(index);
        let frame = fresh.publish();
        let free = locked.get(index).is_none();
        if free {
            self.page(frame).set(flag::NEVER_LRU);
            self.m.memory.add_mapcount(frame, 1);
            locked.set(index, Pte::present(frame, true, true));
        }
        drop(locked);
        if !free {
            self.put(frame, 1);
        }
        Ok(())
    }

    /// A folio of an order whose first page is page `index` of the mapping.
    fn alloc_filled(&self, mapping: &Mapping, index: u32, order: u32) -> Result<Fresh<'a>, Errno> {
        let gfp = self.gfp.get();
        let fresh = self.m.memory.alloc(self.cpu(), gfp, order).ok_or(Errno::ENOMEM)?;
        fresh.fill(|nth| pattern(mapping.id, index + nth));
        self.page(fresh.frame()).set_mapping(Some(mapping.id), index);
        Ok(fresh)
    }

    /// `do_anonymous_page`, and the copy of `do_wp_page`: a fresh page in place of `old`.
    fn do_anonymous_page(
        &self,
        mapping: &Mapping,
        vma: &Vma,
        index: u32,
        old: Pte,
        access: Access,
    ) -> Result<(), Errno> {
        vma.anon_vma_prepare(index);
        let fresh = self.alloc_filled(mapping, index, 0)?;
        self.folio(fresh.frame()).set(flag::ANON | flag::ANON_EXCLUSIVE | flag::SWAPBACKED);
        if self.m.rules.cold == Cold::NotOldest {
            self.folio(fresh.frame()).set(flag::REFERENCED);
        }
        self.step(Step::FaultAlloc, fresh.frame());
        let locked = vma.lock(index);
        let frame = fresh.publish();
        if locked.get(index) != old {
            drop(locked);
            self.discard(frame);
            return Ok(());
        }
        self.m.memory.add_mapcount(frame, 1);
        // `folio_add_lru_vma`
        if vma.is_locked(index) {
            self.mlock_new_folio(frame);
        } else {
            self.add_lru(frame);
        }
        let write = access == Access::Write;
        locked.set(index, Pte::present(frame, write, write));
        let replaced = old.is_present() && old.frame() != ZERO_FRAME;
        if replaced {
            self.remove_rmap(old.frame(), vma, index);
        }
        drop(locked);
        if replaced {
            self.put(old.frame(), 1);
        }
        self.step(Step::FaultMapped, frame);
        Ok(())
    }

    fn discard(&self, frame: Frame) {
        self.folio(frame).clear(flag::ANON | flag::ANON_EXCLUSIVE);
        self.put(frame, 1);
    }

    /// `do_wp_page`: reuses an anonymous page that is this mapping's alone, else copies.
    fn do_wp_page(
        &self,
        mapping: &Mapping,
        vma: &Vma,
        index: u32,
        old: Pte,
        access: Access,
    ) -> Result<(), Errno> {
        let frame = old.frame();
        if frame != ZERO_FRAME && self.wp_can_reuse(vma, index, old) {
            let locked = vma.lock(index);
            if locked.get(index) == old {
                self.page(frame).set(flag::ANON_EXCLUSIVE);
                if access == Access::Write {
                    locked.set(index, old.made_writable());
                }
            }
            return Ok(());
        }
        self.do_anonymous_page(mapping, vma, index, old, access)
    }

    /// `wp_can_reuse_anon_folio` (5.18 on) with its local drain.
    fn wp_can_reuse(&self, vma: &Vma, index: u32, old: Pte) -> bool {
        let frame = old.frame();
        // A reference of our own keeps the page in place; it is not counted below.
        if self.get_mapped(vma, index) != Some(frame) {
            return false;
        }
        let page = self.folio(frame);
        let others = || page.refcount() - 1;
        let reuse = self.page(frame).has(flag::ANON_EXCLUSIVE) || {
            let few = others() <= 3;
            let rules = &self.m.rules;
            let drains = rules.cow_drains && (rules.cow_drains_shared || page.folio_mapcount() == 1);
            if few && drains && !page.has(flag::LRU) {
                self.lru_add_drain();
            }
            few && others() == 1 && page.folio_mapcount() == 1
        };
        self.put(frame, 1);
        reuse
    }

    /// `wp_page_shared`: the file system is told of the store (`page_mkwrite`), and allows it.
    fn wp_page_shared(&self, vma: &Vma, index: u32, old: Pte) -> Result<(), Errno> {
        if self.get_mapped(vma, index) != Some(old.frame()) {
            return Ok(());
        }
        let frame = old.frame();
        if !self.lock(frame) {
            self.put(frame, 1);
            return Err(Errno::EINTR);
        }
        self.folio(frame).set(flag::DIRTY);
        let locked = vma.lock(index);
        if locked.get(index) == old {
            locked.set(index, old.made_writable());
        }
        drop(locked);
        self.unlock(frame);
        self.put(frame, 1);
        Ok(())
    }

    /// `shmem_fault`, `filemap_fault` and `finish_fault`: finds or allocates the cached page and maps it.
    fn do_shared_fault(&self, mapping: &Mapping, vma: &Vma, index: u32, access: Access) -> Result<(), Errno> {
        let Some(frame) = self.get_cached_folio(mapping, index)? else { return Ok(()) };
        // The page is locked and has our reference.
        let locked = vma.lock(index);
        if locked.get(index).is_none() {
            self.folio(frame).get(1);
            if self.m.rules.mlock_batched {
                self.add_rmap(frame, vma, index);
            } else {
                // Before 5.18 a fault on a file page left its mlock to reclaim.
                self.m.memory.add_mapcount(frame, 1);
            }
            // Where stores are noticed, one must be made to be allowed; where the area allows
            // none, there is none.
            let noticed = mapping.kind == Kind::File && access != Access::Write;
            let write = !noticed && !vma.forbids(index, true);
            if mapping.kind == Kind::File && write {
                self.folio(frame).set(flag::DIRTY);
            }
            locked.set(index, Pte::present(frame, write, write));
        }
        drop(locked);
        self.unlock(frame);
        self.put(frame, 1);
        self.step(Step::FaultMapped, frame);
        Ok(())
    }

    /// `shmem_get_folio`, `filemap_get_folio`: locked, with a reference; `None` where the caller
    /// lost a race.
    pub(in crate::ops) fn get_cached_folio(
        &self,
        mapping: &Mapping,
        index: u32,
    ) -> Result<Option<Frame>, Errno> {
        if let Some(frame) = mapping.cached(index) {
            if self.folio(frame).has(flag::HWPOISON) {
                return Err(Errno::EFAULT);
            }
            if !self.folio(frame).try_get(1) {
                return Ok(None);
            }
            if !self.lock(frame) {
                self.put(frame, 1);
                return Err(Errno::EINTR);
            }
            if mapping.cached(index) != Some(frame) {
                self.unlock(frame);
                self.put(frame, 1);
                return Ok(None);
            }
            return Ok(Some(frame));
        }
        let frame = match mapping.kind {
            // `GFP_HIGHUSER`: nobody may move what the kernel cannot read.
            Kind::Secret => self.with_gfp(Gfp::Pin, || self.alloc_filled(mapping, index, 0))?,
            _ => self.alloc_filled(mapping, index, 0)?,
        }
        .publish();
        if mapping.kind == Kind::Shmem {
            self.folio(frame).set(flag::SWAPBACKED);
        }
        self.set_locked(frame);
        self.step(Step::FaultAlloc, frame);
        let added = mapping.with_cache(index, |slot| {
            let free = slot.get().is_none();
            if free {
                self.folio(frame).get(1);
                slot.set(Some(frame));
            }
            free
        });
        if added {
            self.add_lru(frame);
            return Ok(Some(frame));
        }
        self.unlock(frame);
        self.discard(frame);
        Ok(None)
    }

    /// Runs `body` with faults allocating outside what a long-term pin must
    /// leave: `memalloc_pin_save` and `_restore`.
    pub(in crate::ops) fn memalloc_pin<R>(&self, body: impl FnOnce() -> R) -> R {
        let gfp = if self.m.rules.pin_alloc_avoids_movable { Gfp::Pin } else { Gfp::NoCma };
        self.with_gfp(gfp, body)
    }

    fn with_gfp<R>(&self, gfp: Gfp, body: impl FnOnce() -> R) -> R {
        let before = self.gfp.replace(gfp);
        let result = body();
        self.gfp.set(before);
        result
    }
}
