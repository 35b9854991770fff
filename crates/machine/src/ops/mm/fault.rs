//! Page faults: `handle_mm_fault` for anonymous and shared memory.
//!
//! A fault allocates outside Movable and CMA while its task is inside a
//! long-term pin (`memalloc_pin`), otherwise wherever movable memory is.

use super::anon::Access;
use crate::drive::{Driver, Step, Wait};
use crate::machine::payload::{Fresh, pattern};
use crate::machine::space::PtLocked;
use crate::machine::{Frame, Gfp, Kind, MAX_ORDER, Mapping, PageIndex, PageRange, Pte, Vma, flag};
use crate::observe::Event;
use crate::ops::floor::Mm;
use crate::policy::Errno;

impl<'a, D: Driver> Mm<'a, D> {
    /// Writes each page of the range, as a user's stores do.
    ///
    /// # Errors
    /// `ENOMEM` without a free frame, `EFAULT` on a poisoned page and where nothing is mapped
    /// that may be accessed so, `EINTR` if killed.
    pub fn touch(&self, mapping: &Mapping, range: PageRange) -> Result<(), Errno> {
        range.into_iter().try_for_each(|index| self.write(mapping, &mapping.vma, index))
    }

    /// A store to one page through an area that maps it.
    #[inline]
    pub(super) fn write(&self, mapping: &Mapping, vma: &Vma, index: PageIndex) -> Result<(), Errno> {
        loop {
            let pte = vma.pte(index);
            if pte.is_present() && pte.is_writable() {
                if mapping.order != 0 && mapping.kind == Kind::Anon {
                    vma.store(index);
                }
                return Ok(());
            }
            self.handle_mm_fault(mapping, vma, index, Access::Write)?;
        }
    }

    /// Writes each page of the range through a second mapping of the same file.
    ///
    /// # Errors
    /// As [`touch`](Self::touch); `EINVAL` where there is no file.
    pub fn touch_alias(&self, mapping: &Mapping, range: PageRange) -> Result<(), Errno> {
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
    pub fn pwrite(&self, mapping: &Mapping, range: PageRange) -> Result<(), Errno> {
        if !mapping.kind.is_cached() {
            return Err(Errno::EINVAL);
        }
        for index in range {
            let frame = loop {
                self.step_at(Step::Fault);
                if let Some(frame) = self.get_cached_folio(mapping, index, 0)? {
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

    /// Writes each page of the range with memory that may be pinned where it is; nobody is killed
    /// for that.
    ///
    /// # Errors
    /// As [`touch`](Self::touch).
    pub fn touch_pinnable(&self, mapping: &Mapping, range: PageRange) -> Result<(), Errno> {
        self.with_gfp(Gfp::PinMayFail, || self.touch(mapping, range))
    }

    /// Reads each page of the range; an untouched anonymous one maps the zero page.
    ///
    /// # Errors
    /// As [`touch`](Self::touch).
    pub fn read(&self, mapping: &Mapping, range: PageRange) -> Result<(), Errno> {
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
        index: PageIndex,
        access: Access,
    ) -> Result<(), Errno> {
        if vma.forbids(index, access == Access::Write) {
            // No area is found that allows it: there is no fault to handle.
            return Err(Errno::EFAULT);
        }
        let hugetlb = mapping.kind.is_hugetlb();
        if !(hugetlb && self.m.rules.hugetlb_apart && self.gfp.get().is_pin()) {
            self.event(Event::Faults);
        }
        self.step_at(Step::Fault);
        if self.killed() {
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
            (Kind::Hugetlb | Kind::Hugeshm, _) => {
                let fault = || match mapping.kind {
                    Kind::Hugetlb => self.hugetlb_fault(mapping, vma, index, access == Access::Write),
                    _ => self.do_shared_fault(mapping, vma, index, access),
                };
                self.under_fault_mutex(mapping, index, fault).unwrap_or(Err(Errno::EINTR))
            }
            (Kind::Pfnmap, _) => self.pfnmap_fault(mapping, vma, index),
            (Kind::Anon, true) => self.do_wp_page(mapping, vma, index, pte, access),
            (Kind::Anon, false) => self.do_first_touch(mapping, vma, index, access),
            (Kind::File, true) => self.wp_page_shared(vma, index, pte),
            _ => self.do_shared_fault(mapping, vma, index, access),
        }
    }

    /// `migration_entry_wait`: sleeps on the lock of the page that is leaving.
    fn migration_entry_wait(&self, vma: &Vma, index: PageIndex, entry: Pte) -> Result<(), Errno> {
        self.event(Event::MigrationWaits);
        let frame = entry.frame();
        self.step(Step::MigrationEntry, frame);
        let frame = self.head(frame);
        let page = self.page(frame);
        // In this order: nothing holds the page here, and once the migration is over its lock may
        // be a stranger's. Who is then waited for has the lock after the entry is gone.
        let over = || page.is_clear_or_awaited(flag::LOCKED) || vma.pte(index) != entry;
        if self.d.wait(Wait::PageLock(frame), &over) { Ok(()) } else { Err(Errno::EINTR) }
    }

    /// A driver's fault handler (`vmf_insert_pfn`): a page of its own, on no list and in no cache.
    fn pfnmap_fault(&self, mapping: &Mapping, vma: &Vma, index: PageIndex) -> Result<(), Errno> {
        let fresh = self.alloc(Gfp::Pin, 0).ok_or(Errno::ENOMEM)?;
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

    /// `wp_page_shared`: the file system is told of the store (`page_mkwrite`), and allows it.
    fn wp_page_shared(&self, vma: &Vma, index: PageIndex, old: Pte) -> Result<(), Errno> {
        let frame = old.frame();
        if !self.get_still_mapped(vma, index, frame) {
            return Ok(());
        }
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
    fn do_shared_fault(
        &self,
        mapping: &Mapping,
        vma: &Vma,
        index: PageIndex,
        access: Access,
    ) -> Result<(), Errno> {
        if access == Access::Read && self.fault_around(mapping, vma, index) {
            return Ok(());
        }
        let found = self.get_cached_folio(mapping, index, self.cache_order(mapping));
        // Without a page of the pool that may be had, the signal is SIGBUS.
        let found = found.map_err(|errno| if mapping.kind.is_hugetlb() { Errno::EFAULT } else { errno });
        let Some(frame) = found? else { return Ok(()) };
        // The page is locked and has our reference.
        let (head, folio) = (self.head(frame), self.folio(frame));
        let locked = vma.lock(index);
        if locked.get(index).is_none() {
            // Where stores are noticed, one must be made to be allowed; where the area allows
            // none, there is none.
            let noticed = mapping.kind == Kind::File && access != Access::Write;
            let write = !noticed && !vma.forbids(index, true);
            if mapping.kind == Kind::File && write {
                folio.set(flag::DIRTY);
            }
            if folio.order() == MAX_ORDER && vma.takes_pmd(index) {
                // `do_set_pmd`
                folio.get(1);
                self.add_rmap_pmd(head, vma, index);
                locked.set_pmd(index, Pte::present(head, write, write));
            } else {
                let pages = self.mapped_by_fault(vma, &locked, index, frame);
                if pages.len() > 1 {
                    self.mapped_whole(head, vma, index);
                }
                for (index, frame) in pages {
                    folio.get(1);
                    self.map_cached(vma, &locked, (index, frame), write);
                }
            }
        }
        drop(locked);
        self.unlock(frame);
        self.put(frame, 1);
        self.step(Step::FaultMapped, frame);
        Ok(())
    }

    /// What `finish_fault` maps of a folio, page and place: all of it where nothing is yet, and
    /// the rules and its place allow that.
    fn mapped_by_fault(
        &self,
        vma: &Vma,
        locked: &PtLocked<'_>,
        index: PageIndex,
        frame: Frame,
    ) -> Vec<(PageIndex, Frame)> {
        let folio = self.folio(frame);
        let pages = folio.pages();
        let whole = folio.is_large()
            && self.m.rules.fault_maps_folio
            && vma.takes_folio(index, folio.nr_pages())
            && pages.clone().all(|index| locked.get(index).is_none());
        if whole { pages.zip(self.m.memory.frames_of(frame)).collect() } else { vec![(index, frame)] }
    }

    /// Order of the folios that a fault puts into a page cache.
    fn cache_order(&self, mapping: &Mapping) -> u32 {
        match mapping.kind {
            Kind::Tmpfs if self.m.rules.tmpfs_faults_huge => MAX_ORDER,
            Kind::Tmpfs => 0,
            _ => mapping.order,
        }
    }

    /// `shmem_get_folio`, `filemap_get_folio`: locked, with a reference, and of this order if it
    /// is made and fits in; `None` where the caller lost a race.
    pub(in crate::ops) fn get_cached_folio(
        &self,
        mapping: &Mapping,
        index: PageIndex,
        order: u32,
    ) -> Result<Option<Frame>, Errno> {
        self.get_cached_folio_under(mapping, index, order, |add| Some(add()))
    }

    /// The same, with `under` around what adds it to the cache; `None` of that: killed.
    #[inline]
    pub(super) fn get_cached_folio_under(
        &self,
        mapping: &Mapping,
        index: PageIndex,
        order: u32,
        under: impl FnOnce(&dyn Fn() -> bool) -> Option<bool>,
    ) -> Result<Option<Frame>, Errno> {
        if let Some(frame) = mapping.cached(index) {
            if self.page(frame).has(flag::HWPOISON) {
                return Err(Errno::EFAULT);
            }
            if self.try_get_cached(mapping, index, frame).is_none() {
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
        let fresh = match self.alloc_cached(mapping, index, order) {
            // Without memory for it it is a page.
            Err(_) if order != 0 && !mapping.kind.is_hugetlb() => self.alloc_cached(mapping, index, 0)?,
            fresh => fresh?,
        };
        let folio = fresh.folio();
        let pages = folio.pages();
        let head = fresh.publish();
        if mapping.kind.is_swapbacked() {
            folio.set_fresh(flag::SWAPBACKED);
        }
        self.set_locked(folio);
        self.step(Step::FaultAlloc, head);
        let added = under(&|| {
            mapping.with_cache(pages.clone(), |slots| {
                let free = slots.are_empty();
                if free {
                    folio.get(pages.len() as i32);
                    slots.set(Some(head));
                }
                free
            })
        });
        if added == Some(true) {
            self.relist(folio);
            return Ok(Some(head + (index - pages.start)));
        }
        self.unlock_folio(folio);
        self.discard(head);
        if added.is_some() { Ok(None) } else { Err(Errno::EINTR) }
    }

    /// A folio for a page that a cache had not; of `order` if there is a place for it. Whether another
    /// came first is for who adds it to see: here that would look like a lack of memory.
    fn alloc_cached(&self, mapping: &Mapping, index: PageIndex, order: u32) -> Result<Fresh<'a>, Errno> {
        let around = |order: u32| index.align_down(order).run(1 << order);
        if mapping.kind == Kind::Hugeshm {
            let pages = around(MAX_ORDER);
            if pages.end > mapping.vma.end() {
                return Err(Errno::ENOMEM);
            }
            let page = Some((mapping.id, pages.start));
            let fresh = self.m.take_hugetlb(self.cpu(), self.gfp.get(), page).ok_or(Errno::ENOMEM)?;
            self.made_hugetlb(mapping, pages.start, &fresh);
            return Ok(fresh);
        }
        let pages = around(order);
        let fits = pages.end <= mapping.vma.end() && mapping.has_none_of(pages);
        let order = if fits { order } else { 0 };
        let fill = || self.alloc_filled(mapping, around(order).start, order);
        // `GFP_HIGHUSER`: nobody may move what the kernel cannot read.
        if mapping.kind == Kind::Secret { self.with_gfp(Gfp::Pin, fill) } else { fill() }
    }
}
