//! Queueing entries in this CPU's batches, each with a reference of its own.

use crate::drive::Driver;
use crate::machine::cpu::{self, Entry, Tag};
use crate::machine::{Batch, Folio, Frame, flag};
use crate::ops::floor::Batches;

impl<D: Driver> Batches<'_, D> {
    /// Puts a page's folio into this CPU's batch, with a reference of its own.
    pub fn add_lru(&self, frame: Frame) {
        self.folio_add_lru(self.page_folio(frame));
    }

    /// `folio_add_lru`: the same of a folio in hand.
    pub(in crate::ops) fn folio_add_lru(&self, folio: Folio<'_>) {
        folio.get(1);
        self.queue(Batch::LruAdd, folio, Tag::None);
    }

    /// Queues a page that is on a list, with a reference of its own.
    pub(super) fn queue_listed(&self, batch: Batch, head: Frame) {
        let folio = self.folio_at(head);
        folio.get(1);
        if self.m.rules.queueing_clears_lru && !folio.test_clear(flag::LRU) {
            self.put_folio(folio, 1);
            return;
        }
        self.queue(batch, folio, Tag::None);
    }

    /// Puts a folio into a batch; its reference is the caller's gift.
    pub(super) fn queue(&self, batch: Batch, folio: Folio<'_>, tag: Tag) {
        let mut batches = self.local().lock();
        let queued = batches.push(batch, Entry { frame: folio.head, tag });
        let full = queued >= self.m.rules.batch_size as usize;
        // A large folio does not wait, nor does what was queued before it.
        if full || folio.is_large() || self.m.lru_cache_disabled() {
            self.flush(&mut batches, batch);
        }
    }

    /// Empties one batch under its local lock.
    pub(super) fn flush(&self, batches: &mut cpu::Batches, batch: Batch) {
        batches.drain(batch, |entries| self.apply(batch, entries));
    }
}
