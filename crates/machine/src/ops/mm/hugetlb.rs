//! hugetlb: huge pages of a pool of their own, mapped by PMDs that are never split.

use crate::drive::{Driver, Step};
use crate::machine::payload::{Fresh, pattern};
use crate::machine::{Frame, Gfp, Mapping, PTES_PER_TABLE, PageIndex, Pte, Vma, flag};
use crate::ops::floor::Mm;
use crate::policy::Errno;

impl<'a, D: Driver> Mm<'a, D> {
    /// `hugetlb_fault` of a private mapping, under the mutex of its place.
    pub(super) fn hugetlb_fault(
        &self,
        mapping: &Mapping,
        vma: &Vma,
        index: PageIndex,
        write: bool,
    ) -> Result<(), Errno> {
        let first = index.first_of(PTES_PER_TABLE);
        let old = vma.lock(first).pmd(first);
        match old {
            Some(pmd) if pmd.is_present() => self.hugetlb_wp(mapping, vma, first, pmd, write),
            Some(_) => Ok(()),
            None => {
                // Of the pool or not at all: the signal is SIGBUS.
                let own = std::ptr::eq(vma, &raw const *mapping.vma);
                let fresh = self.hugetlb_page(mapping, first, own).ok_or(Errno::EFAULT)?;
                self.map_hugetlb(vma, first, None, fresh, write);
                Ok(())
            }
        }
    }

    /// A page of the pool, filled as the mapping's own; `None` without one where it may be pinned.
    /// `own`: whether it is the owner's, who may have a reservation.
    fn hugetlb_page(&self, mapping: &Mapping, first: PageIndex, own: bool) -> Option<Fresh<'a>> {
        let page = own.then_some((mapping.id, first));
        let fresh = self.m.take_hugetlb(self.cpu(), self.alloc_gfp(), page)?;
        self.made_hugetlb(mapping, first, &fresh);
        Some(fresh)
    }

    pub(super) fn made_hugetlb(&self, mapping: &Mapping, first: PageIndex, fresh: &Fresh<'_>) {
        fresh.fill(|nth| pattern(mapping.id, first + nth));
        let folio = self.page(fresh.frame());
        folio.set_mapping(Some(mapping.id), first);
        folio.set(flag::MIGRATABLE);
        if mapping.kind.is_private() {
            folio.set(flag::ANON | flag::ANON_EXCLUSIVE);
        }
    }

    /// Maps a page where `old` is still mapped.
    fn map_hugetlb(&self, vma: &Vma, first: PageIndex, old: Option<Pte>, fresh: Fresh<'_>, write: bool) {
        self.step(Step::FaultAlloc, fresh.frame());
        let locked = vma.lock(first);
        let head = fresh.publish();
        if locked.pmd(first) != old {
            drop(locked);
            self.discard(head);
            return;
        }
        self.add_rmap_pmd(head, vma, first);
        locked.replace(first, true, Pte::present(head, write, write));
        if let Some(old) = old {
            self.remove_rmap_pmd(old.frame(), vma, first);
        }
        drop(locked);
        if let Some(old) = old {
            self.put_folio(self.folio_at(old.frame()), 1);
        }
        self.step(Step::FaultMapped, head);
    }

    /// `hugetlb_wp`: reuses a page that is mapped once, else copies; the owner of a mapping whose
    /// pool has nothing for that takes the page from its children (`unmap_ref_private`).
    fn hugetlb_wp(
        &self,
        mapping: &Mapping,
        vma: &Vma,
        first: PageIndex,
        old: Pte,
        write: bool,
    ) -> Result<(), Errno> {
        let head = old.frame();
        if self.hugetlb_reuse(vma, first, old, write) {
            return Ok(());
        }
        if let Some(fresh) = self.hugetlb_page(mapping, first, false) {
            self.map_hugetlb(vma, first, Some(old), fresh, write);
            return Ok(());
        }
        if !std::ptr::eq(vma, &raw const *mapping.vma) {
            return Err(Errno::EFAULT);
        }
        mapping.for_each_child(|child| self.unmap_hugetlb(child, first, head));
        if self.m.rules.zap_drains {
            self.lru_add_drain();
        }
        // In the same fault.
        self.hugetlb_reuse(vma, first, old, write);
        Ok(())
    }

    /// Makes a page that is mapped nowhere else the mapping's own; false if it must be copied. There is
    /// nothing to do where `old` is mapped no more.
    fn hugetlb_reuse(&self, vma: &Vma, first: PageIndex, old: Pte, write: bool) -> bool {
        let locked = vma.lock(first);
        if locked.pmd(first) != Some(old) {
            return true;
        }
        let folio = self.page(old.frame());
        let alone = folio.folio_mapcount() == 1;
        if alone {
            folio.set(flag::ANON_EXCLUSIVE);
            if write {
                locked.set_pmd(first, old.made_writable());
            }
        }
        alone
    }

    fn unmap_hugetlb(&self, vma: &Vma, first: PageIndex, head: Frame) {
        let locked = vma.lock(first);
        if locked.pmd(first).is_some_and(|pmd| pmd.is_present() && pmd.frame() == head) {
            locked.replace(first, true, Pte::NONE);
            self.remove_rmap_pmd(head, vma, first);
            drop(locked);
            self.put_folio(self.folio_at(head), 1);
        }
    }

    /// A forked child's own copy of a page that may be pinned.
    pub(super) fn copy_hugetlb(&self, mapping: &Mapping, child: &Vma, index: PageIndex) -> Result<(), Errno> {
        let first = index.first_of(PTES_PER_TABLE);
        let fresh = self.m.take_hugetlb(self.cpu(), Gfp::Movable, None).ok_or(Errno::ENOMEM)?;
        self.made_hugetlb(mapping, first, &fresh);
        self.map_hugetlb(child, first, None, fresh, true);
        Ok(())
    }
}
