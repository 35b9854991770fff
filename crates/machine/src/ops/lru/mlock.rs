//! mlock and munlock of a page, batched since 5.18.
//!
//! Queueing sets or keeps `PG_mlocked` and takes a reference.

use crate::drive::Driver;
use crate::machine::cpu::Tag;
use crate::machine::{Batch, Folio, Frame, flag};
use crate::ops::floor::Lru;

impl<D: Driver> Lru<'_, D> {
    /// `mlock_folio`.
    pub(in crate::ops) fn mlock_folio(&self, frame: Frame) {
        let folio = self.page_folio(frame);
        let was = folio.test_set(flag::MLOCKED);
        if self.m.rules.mlock_batched {
            self.queue_mlock(folio, Tag::Lru);
        } else if !was {
            self.relist_evictable(folio);
        }
    }

    /// `mlock_new_folio`: a fresh anonymous page in a locked area.
    pub(in crate::ops) fn mlock_new_folio(&self, folio: Folio<'_>) {
        folio.set(flag::MLOCKED);
        if self.m.rules.mlock_batched {
            self.queue_mlock(folio, Tag::New);
        } else {
            self.folio_add_lru(folio);
        }
    }

    /// `munlock_folio`.
    pub(in crate::ops) fn munlock_folio(&self, frame: Frame) {
        let folio = self.page_folio(frame);
        if self.m.rules.mlock_batched {
            self.queue_mlock(folio, Tag::None);
        } else if folio.test_clear(flag::MLOCKED) {
            self.relist_evictable(folio);
        }
    }

    /// Before 5.18: isolate and put back, so that the flags choose a new list.
    fn relist_evictable(&self, folio: Folio<'_>) {
        if folio.test_clear(flag::LRU) {
            folio.set_isolator(Some(self.d.id()));
            let mut lists = self.m.lruvec.lock();
            lists.del(&self.m.memory, folio);
            drop(lists);
            self.folio_add_lru(folio);
        }
    }

    fn queue_mlock(&self, folio: Folio<'_>, tag: Tag) {
        folio.get(1);
        self.queue(Batch::Mlock, folio, tag);
    }
}
