//! What becomes of an entry when its batch is drained.
//!
//! Up to 6.10 and from 6.17 a queued page keeps `PG_lru` until the drain
//! test-and-clears it; from 6.11 to 6.16 queueing itself cleared it
//! (`queueing_clears_lru`). An entry of the mlock batch leaves `PG_lru` alone
//! until then: such a page looks isolatable and cannot be migrated. At the
//! drain a page that is off the LRU is passed over.

use crate::drive::Driver;
use crate::machine::cpu::{Entry, Tag};
use crate::machine::lruvec;
use crate::machine::{Batch, Folio, Page, flag};
use crate::ops::floor::Lists;
use crate::policy::{Cold, Rules};
use crate::sync::Ordering;

/// Which end of its list a page goes to.
enum End {
    Head,
    Tail,
}

/// What a page's flags become, by the kernel's rules, and where it goes.
type Relist = fn(&Rules, &Page, u32) -> End;

impl<D: Driver> Lists<'_, D> {
    /// The entries of a batch, one after the other: `folio_batch_move_lru`, `mlock_folio_batch`.
    pub(super) fn apply(&self, batch: Batch, entries: &[Entry]) {
        let mut lists = self.m.lruvec.lock();
        for entry in entries {
            let folio = self.folio_at(entry.frame);
            match batch {
                Batch::LruAdd => self.lru_add(&mut lists, folio),
                Batch::MoveTail => self.relist(&mut lists, folio, move_tail),
                Batch::DeactivateFile => self.relist(&mut lists, folio, deactivate_file),
                Batch::Deactivate => self.relist(&mut lists, folio, deactivate),
                Batch::Lazyfree => self.relist(&mut lists, folio, lazyfree),
                Batch::Activate => self.relist(&mut lists, folio, activate),
                Batch::Mlock => match entry.tag {
                    Tag::Lru => self.mlock(&mut lists, folio),
                    Tag::New => self.mlock_new(&mut lists, folio),
                    Tag::None => self.munlock(&mut lists, folio),
                },
            }
        }
        drop(lists);
        for entry in entries {
            self.put_folio(self.folio_at(entry.frame), 1);
        }
    }

    /// `lru_add`: a new page joins the list that its flags choose.
    fn lru_add(&self, lists: &mut lruvec::Lists, page: Folio<'_>) {
        if self.m.rules.free_at_drain
            && let Ok(frozen) = self.m.memory.freeze_folio(page, 1)
        {
            // Nobody but the batch refers to it: the batch's put frees it.
            frozen.unfreeze(1);
            return;
        }
        page.clear(flag::UNEVICTABLE);
        if page.has(flag::MLOCKED) || self.m.is_in_unevictable_mapping(&page) {
            page.clear(flag::ACTIVE);
            page.set(flag::UNEVICTABLE);
            page.mlock_count.store(0, Ordering::Relaxed);
        }
        lists.add(&self.m.memory, page);
        page.set(flag::LRU);
    }

    /// A listed page goes to another list or end, if it is still listed.
    fn relist(&self, lists: &mut lruvec::Lists, page: Folio<'_>, relist: Relist) {
        let memory = &self.m.memory;
        if !self.m.rules.queueing_clears_lru && !page.test_clear(flag::LRU) {
            return;
        }
        lists.del(memory, page);
        let flags = page.flags();
        let end =
            if flags & flag::UNEVICTABLE == 0 { relist(&self.m.rules, &page, flags) } else { End::Head };
        match end {
            End::Head => lists.add(memory, page),
            End::Tail => lists.add_tail(memory, page),
        }
        page.set(flag::LRU);
    }

    /// `__mlock_folio`.
    fn mlock(&self, lists: &mut lruvec::Lists, page: Folio<'_>) {
        let memory = &self.m.memory;
        if !page.test_clear(flag::LRU) {
            return;
        }
        if !page.has(flag::MLOCKED) {
            // munlocked meanwhile, by another CPU.
            if page.has(flag::UNEVICTABLE) {
                lists.del(memory, page);
                page.clear(flag::UNEVICTABLE);
                lists.add(memory, page);
            }
        } else if page.has(flag::UNEVICTABLE) {
            page.mlock_count.fetch_add(1, Ordering::Relaxed);
        } else {
            lists.del(memory, page);
            page.clear(flag::ACTIVE);
            page.set(flag::UNEVICTABLE);
            page.mlock_count.store(1, Ordering::Relaxed);
            lists.add(memory, page);
        }
        page.set(flag::LRU);
    }

    /// `__mlock_new_folio`.
    fn mlock_new(&self, lists: &mut lruvec::Lists, page: Folio<'_>) {
        if page.has(flag::MLOCKED) {
            page.set(flag::UNEVICTABLE);
            page.mlock_count.store(1, Ordering::Relaxed);
        }
        lists.add(&self.m.memory, page);
        page.set(flag::LRU);
    }

    /// `__munlock_folio`.
    fn munlock(&self, lists: &mut lruvec::Lists, page: Folio<'_>) {
        let listed = page.test_clear(flag::LRU);
        if listed && page.has(flag::UNEVICTABLE) {
            let count = page.mlock_count.load(Ordering::Relaxed).saturating_sub(1);
            page.mlock_count.store(count, Ordering::Relaxed);
            if count != 0 {
                page.set(flag::LRU);
                return;
            }
        }
        page.clear(flag::MLOCKED);
        if listed {
            if page.has(flag::UNEVICTABLE) {
                lists.del(&self.m.memory, page);
                page.clear(flag::UNEVICTABLE);
                lists.add(&self.m.memory, page);
            }
            page.set(flag::LRU);
        }
    }
}

/// `lru_move_tail`.
fn move_tail(_: &Rules, page: &Page, _: u32) -> End {
    page.clear(flag::ACTIVE);
    End::Tail
}

/// `lru_deactivate_file`: clean pages go straight to reclaim's end.
fn deactivate_file(_: &Rules, page: &Page, flags: u32) -> End {
    page.clear(flag::ACTIVE | flag::REFERENCED);
    if flags & (flag::DIRTY | flag::WRITEBACK) == 0 { End::Tail } else { End::Head }
}

/// `lru_deactivate`.
fn deactivate(rules: &Rules, page: &Page, flags: u32) -> End {
    if flags & flag::ACTIVE != 0 || rules.mglru {
        page.clear(flag::ACTIVE | flag::REFERENCED);
    }
    End::Head
}

/// `lru_lazyfree`.
fn lazyfree(rules: &Rules, page: &Page, flags: u32) -> End {
    if flags & flag::ANON != 0 && flags & flag::SWAPBACKED != 0 {
        page.clear(flag::ACTIVE | flag::SWAPBACKED);
        if rules.cold != Cold::NotOldest {
            page.clear(flag::REFERENCED);
        }
    }
    End::Head
}

/// `lru_activate`.
fn activate(_: &Rules, page: &Page, _: u32) -> End {
    page.set(flag::ACTIVE);
    End::Head
}
