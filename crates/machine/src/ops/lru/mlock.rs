//! mlock and munlock of a page, batched since 5.18.
//!
//! Queueing sets or keeps `PG_mlocked` and takes a reference.

use crate::drive::Driver;
use crate::machine::cpu::Tag;
use crate::machine::{Batch, Frame, flag};
use crate::ops::floor::Lru;

impl<D: Driver> Lru<'_, D> {
    /// `mlock_folio`.
    pub(in crate::ops) fn mlock_folio(&self, frame: Frame) {
        let frame = self.head(frame);
        let was = self.page(frame).test_set(flag::MLOCKED);
        if self.m.rules.mlock_batched {
            self.queue_mlock(frame, Tag::Lru);
        } else if !was {
            self.relist_evictable(frame);
        }
    }

    /// `mlock_new_folio`: a fresh anonymous page in a locked area.
    pub(in crate::ops) fn mlock_new_folio(&self, frame: Frame) {
        let frame = self.head(frame);
        self.page(frame).set(flag::MLOCKED);
        if self.m.rules.mlock_batched {
            self.queue_mlock(frame, Tag::New);
        } else {
            self.add_lru(frame);
        }
    }

    /// `munlock_folio`.
    pub(in crate::ops) fn munlock_folio(&self, frame: Frame) {
        let frame = self.head(frame);
        if self.m.rules.mlock_batched {
            self.queue_mlock(frame, Tag::None);
        } else if self.page(frame).test_clear(flag::MLOCKED) {
            self.relist_evictable(frame);
        }
    }

    /// Before 5.18: isolate and put back, so that the flags choose a new list.
    fn relist_evictable(&self, frame: Frame) {
        let page = self.page(frame);
        if page.test_clear(flag::LRU) {
            page.set_isolator(Some(self.d.id()));
            let mut lists = self.m.lruvec.lock();
            lists.del(&self.m.memory, frame);
            drop(lists);
            self.add_lru(frame);
        }
    }

    fn queue_mlock(&self, frame: Frame, tag: Tag) {
        self.page(frame).get(1);
        self.queue(Batch::Mlock, frame, tag);
    }
}
