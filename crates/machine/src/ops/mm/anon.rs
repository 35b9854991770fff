//! Pages of anonymous memory: the first of a place, and the copy of one that others have too.

use crate::drive::{Driver, Step};
use crate::machine::{MAX_ORDER, Mapping, PageIndex, Pte, Vma, flag};
use crate::observe::Event;
use crate::ops::floor::Mm;
use crate::policy::{Cold, Errno};

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

impl<D: Driver> Mm<'_, D> {
    /// A fault where nothing of an anonymous mapping is: `create_huge_pmd`, `do_anonymous_page`.
    #[inline]
    pub(super) fn do_first_touch(
        &self,
        mapping: &Mapping,
        vma: &Vma,
        index: PageIndex,
        access: Access,
    ) -> Result<(), Errno> {
        let write = access == Access::Write;
        let order = order_for(mapping, vma, index);
        if order == MAX_ORDER && !write {
            if let Some(head) = self.m.huge_zero(self.cpu()) {
                let locked = vma.lock(index);
                if vma.takes_pmd(index) {
                    locked.set_pmd(index, Pte::present(head, false, false));
                }
                return Ok(());
            }
        } else if write {
            return self.do_anonymous_page(mapping, vma, index, order, Pte::NONE, access);
        }
        let locked = vma.lock(index);
        if locked.get(index).is_none() {
            locked.set(index, Pte::ZERO);
        }
        Ok(())
    }

    /// `do_anonymous_page`, and the copy of `do_wp_page`: a fresh folio in place of `old`. Without
    /// memory for one of `order`, it is a page.
    #[inline]
    pub(super) fn do_anonymous_page(
        &self,
        mapping: &Mapping,
        vma: &Vma,
        index: PageIndex,
        order: u32,
        old: Pte,
        access: Access,
    ) -> Result<(), Errno> {
        if order != 0 {
            return self.do_anonymous_folio(mapping, vma, index, order, old, access);
        }
        self.map_anonymous(mapping, vma, index, 0, old, access)
    }

    /// The same of more than one page.
    #[inline(never)]
    fn do_anonymous_folio(
        &self,
        mapping: &Mapping,
        vma: &Vma,
        index: PageIndex,
        order: u32,
        old: Pte,
        access: Access,
    ) -> Result<(), Errno> {
        self.map_anonymous(mapping, vma, index, order, old, access)
    }

    /// Both: in the one, all falls away that there is to do for many pages.
    #[expect(clippy::inline_always, reason = "it is called where the order is known, and where it is not")]
    #[inline(always)]
    fn map_anonymous(
        &self,
        mapping: &Mapping,
        vma: &Vma,
        index: PageIndex,
        order: u32,
        old: Pte,
        access: Access,
    ) -> Result<(), Errno> {
        vma.anon_vma_prepare(index);
        let first = index.align_down(order);
        let huge = order == MAX_ORDER;
        let fresh = match self.alloc_filled(mapping, first, order) {
            Err(Errno::ENOMEM) if order != 0 => {
                if huge {
                    self.event(Event::ThpFaultFallback);
                    let locked = vma.lock(index);
                    if locked.pmd(index).is_none() {
                        locked.set_table(index);
                    }
                }
                return self.do_anonymous_page(mapping, vma, index, 0, old, access);
            }
            fresh => fresh?,
        };
        let folio = fresh.folio();
        let referenced = if self.m.rules.cold == Cold::NotOldest { flag::REFERENCED } else { 0 };
        folio.set_fresh(flag::ANON | flag::SWAPBACKED | flag::ANON_EXCLUSIVE | referenced);
        // Where a PMD maps it, its head says it for all of them.
        let apart = if huge { 1 } else { 1 << order };
        (1..apart).for_each(|nth| self.page(fresh.frame() + nth).set_fresh(flag::ANON_EXCLUSIVE));
        self.step(Step::FaultAlloc, fresh.frame());
        let locked = vma.lock(index);
        let head = fresh.publish();
        let unchanged = if huge {
            let pmd = locked.pmd(index);
            pmd.map_or(vma.takes_pmd(index) && old.is_none(), |pmd| pmd.at(index - first) == old)
        } else {
            (0..1 << order).map(|nth| locked.entry(first + nth)).all(|entry| !entry.huge && entry.pte == old)
        };
        if !unchanged {
            drop(locked);
            self.discard(head);
            return Ok(());
        }
        if huge {
            self.event(Event::ThpFaultAlloc);
            self.m.memory.add_entire_mapcount(head, 1);
        } else {
            self.m.memory.map_fresh(folio, order);
            if order != 0 {
                folio.get((1 << order) - 1);
            }
        }
        // `folio_add_lru_vma`
        if vma.is_locked(index) {
            self.mlock_new_folio(folio);
        } else {
            self.folio_add_lru(folio);
        }
        let write = access == Access::Write;
        if order != 0 {
            vma.not_stored(first.run(1 << order));
        }
        if huge {
            locked.set_pmd(index, Pte::present(head, write, write));
        } else {
            (0..1 << order).for_each(|nth| locked.set(first + nth, Pte::present(head + nth, write, write)));
        }
        let replaced = old.is_present() && !self.m.is_zero(old.frame());
        if replaced {
            self.remove_rmap(old.frame(), vma, index);
        }
        drop(locked);
        if replaced {
            self.put(old.frame(), 1);
        }
        self.step(Step::FaultMapped, head);
        Ok(())
    }
}

/// Order of the folio that a fault may make: `alloc_anon_folio`, `thp_vma_suitable_order`.
#[inline]
fn order_for(mapping: &Mapping, vma: &Vma, index: PageIndex) -> u32 {
    let order = mapping.order;
    if order == 0 || !fits(vma, index, order) { 0 } else { order }
}

fn fits(vma: &Vma, index: PageIndex, order: u32) -> bool {
    let pages = 1 << order;
    if order == MAX_ORDER {
        vma.takes_pmd(index)
    } else {
        vma.takes_folio(index, pages)
            && index.align_down(order).run(pages).all(|index| vma.pte(index).is_none())
    }
}
