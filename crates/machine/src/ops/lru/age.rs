//! What use and disuse do to a page's place on its list.

use crate::drive::Driver;
use crate::machine::{Batch, Folio, Frame, flag};
use crate::ops::floor::Lru;
use crate::policy::Cold;

impl<D: Driver> Lru<'_, D> {
    /// `mark_page_accessed`.
    pub fn mark_accessed(&self, frame: Frame) {
        self.folio_mark_accessed(self.page_folio(frame));
    }

    /// `folio_mark_accessed`. Under multi-gen LRU only a flag, no batch.
    pub(in crate::ops) fn folio_mark_accessed(&self, page: Folio<'_>) {
        let flags = page.flags();
        if self.m.rules.mglru || flags & flag::REFERENCED == 0 {
            if flags & flag::REFERENCED == 0 {
                page.set(flag::REFERENCED);
            }
        } else if flags & (flag::UNEVICTABLE | flag::ACTIVE) == 0 {
            if flags & flag::LRU != 0 {
                self.queue_listed(Batch::Activate, page.head);
            } else if self.local().lock().list(Batch::LruAdd).iter().any(|entry| entry.frame == page.head) {
                // `__lru_cache_activate_folio`: it will join the active list.
                page.set(flag::ACTIVE);
            }
            page.clear(flag::REFERENCED);
        }
    }

    /// `folio_rotate_reclaimable`: to the tail of the inactive list after writeback.
    pub fn rotate_reclaimable(&self, frame: Frame) {
        let frame = self.head(frame);
        let blocked = flag::LOCKED | flag::DIRTY | flag::UNEVICTABLE | flag::ACTIVE;
        if self.page(frame).flags() & (blocked | flag::LRU) == flag::LRU {
            self.queue_listed(Batch::MoveTail, frame);
        }
    }

    /// `deactivate_file_folio`, as invalidation does.
    pub(in crate::ops) fn deactivate_file(&self, frame: Frame) {
        let frame = self.head(frame);
        let flags = self.page(frame).flags();
        if flags & flag::SWAPBACKED == 0 && flags & flag::UNEVICTABLE == 0 && flags & flag::LRU != 0 {
            self.queue_listed(Batch::DeactivateFile, frame);
        }
    }

    /// `folio_deactivate`, of a folio with these flags.
    pub(in crate::ops) fn deactivate(&self, frame: Frame, flags: u32) {
        if flags & flag::UNEVICTABLE == 0 && self.may_cool(flags) {
            self.queue_listed(Batch::Deactivate, frame);
        }
    }

    /// `folio_mark_lazyfree`, of a folio with these flags.
    pub(in crate::ops) fn mark_lazyfree(&self, frame: Frame, flags: u32) {
        let wanted = flag::LRU | flag::ANON | flag::SWAPBACKED;
        if flags & (wanted | flag::UNEVICTABLE) == wanted {
            self.queue_listed(Batch::Lazyfree, frame);
        }
    }

    /// Whether `folio_deactivate` queues an evictable page with these flags.
    fn may_cool(&self, flags: u32) -> bool {
        match self.m.rules.cold {
            _ if !self.m.rules.mglru => flags & flag::ACTIVE != 0,
            Cold::Any => true,
            Cold::Swapbacked => flags & flag::SWAPBACKED != 0,
            Cold::NotOldest => flags & flag::OLDEST == 0,
        }
    }
}
