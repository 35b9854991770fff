//! The LRU batches: adding, activating, deactivating, freeing lazily.
//!
//! Up to 6.10 and from 6.17 a queued page keeps `PG_lru` until the drain
//! test-and-clears it; from 6.11 to 6.16 queueing itself cleared it
//! (`queueing_clears_lru`).

use super::{Errno, Task};
use crate::drive::{Driver, Step};
use crate::machine::{Area, Batch, Frame, Kind, Mapping, flag};
use crate::policy::Cold;
use std::ops::Range;

impl<D: Driver> Task<'_, D> {
    /// `folio_add_lru`: into this CPU's batch with a reference of its own.
    pub fn add_lru(&self, frame: Frame) {
        self.page(frame).get(1);
        self.queue(Batch::LruAdd, frame);
    }

    fn queue(&self, batch: Batch, frame: Frame) {
        let mut batches = self.local().lock();
        let list = batches.list(batch);
        list.push(frame);
        if self.must_flush(list.len()) {
            self.flush(&mut batches, batch);
        }
    }

    /// Queues a page that is on a list; its reference is the batch's.
    fn queue_listed(&self, batch: Batch, frame: Frame) {
        let page = self.page(frame);
        page.get(1);
        if self.m.rules.queueing_clears_lru && !page.test_clear(flag::LRU) {
            self.put(frame, 1);
            return;
        }
        self.queue(batch, frame);
    }

    /// Moves the entries of an LRU batch to their lists: `folio_batch_move_lru`.
    pub(super) fn flush_lru(&self, batch: Batch, entries: &[Frame]) {
        if entries.is_empty() {
            return;
        }
        let memory = &self.m.memory;
        let mut lists = self.m.lruvec.lock();
        for &frame in entries {
            let page = self.page(frame);
            if batch == Batch::LruAdd {
                if self.m.rules.free_at_drain
                    && let Ok(frozen) = page.freeze(1)
                {
                    // Nobody but the batch refers to it: the batch's put frees it.
                    frozen.unfreeze(1);
                    continue;
                }
                self.lru_add(frame);
                lists.add(memory, frame);
                page.set(flag::LRU);
                continue;
            }
            if !self.m.rules.queueing_clears_lru && !page.test_clear(flag::LRU) {
                continue;
            }
            lists.del(memory, frame);
            let to_tail = self.relist(batch, frame);
            if to_tail {
                lists.add_tail(memory, frame);
            } else {
                lists.add(memory, frame);
            }
            page.set(flag::LRU);
        }
        drop(lists);
        self.put_entries(entries.iter().copied());
    }

    /// `lru_add`: what a new page's flags become before it joins a list.
    fn lru_add(&self, frame: Frame) {
        let page = self.page(frame);
        page.clear(flag::UNEVICTABLE);
        if page.has(flag::MLOCKED) {
            page.clear(flag::ACTIVE);
            page.set(flag::UNEVICTABLE);
            page.mlock_count.store(0, crate::sync::Ordering::Relaxed);
        }
    }

    /// What a page's flags become as its batch is drained; true if it goes to a tail.
    fn relist(&self, batch: Batch, frame: Frame) -> bool {
        let page = self.page(frame);
        let flags = page.flags();
        if flags & flag::UNEVICTABLE != 0 {
            return false;
        }
        match batch {
            Batch::MoveTail => {
                page.clear(flag::ACTIVE);
                return true;
            }
            Batch::DeactivateFile => {
                page.clear(flag::ACTIVE | flag::REFERENCED);
                // Clean pages go straight to reclaim's end.
                return flags & (flag::DIRTY | flag::WRITEBACK) == 0;
            }
            Batch::Deactivate => {
                if flags & flag::ACTIVE != 0 || self.m.rules.mglru {
                    page.clear(flag::ACTIVE | flag::REFERENCED);
                }
            }
            Batch::Lazyfree => {
                if flags & flag::ANON != 0 && flags & flag::SWAPBACKED != 0 {
                    page.clear(flag::ACTIVE | flag::SWAPBACKED);
                    if self.m.rules.cold != Cold::NotOldest {
                        page.clear(flag::REFERENCED);
                    }
                }
            }
            Batch::Activate => {
                page.set(flag::ACTIVE);
            }
            Batch::LruAdd | Batch::Mlock => unreachable!("not a batch of listed pages"),
        }
        false
    }

    /// `folio_mark_accessed`. Under multi-gen LRU only a flag, no batch.
    pub fn mark_accessed(&self, frame: Frame) {
        let page = self.page(frame);
        let flags = page.flags();
        if self.m.rules.mglru || flags & flag::REFERENCED == 0 {
            if flags & flag::REFERENCED == 0 {
                page.set(flag::REFERENCED);
            }
        } else if flags & (flag::UNEVICTABLE | flag::ACTIVE) == 0 {
            if flags & flag::LRU != 0 {
                self.queue_listed(Batch::Activate, frame);
            } else if self.local().lock().list(Batch::LruAdd).contains(&frame) {
                // `__lru_cache_activate_folio`: it will join the active list.
                page.set(flag::ACTIVE);
            }
            page.clear(flag::REFERENCED);
        }
    }

    /// `folio_rotate_reclaimable`: to the tail of the inactive list after writeback.
    pub fn rotate_reclaimable(&self, frame: Frame) {
        let blocked = flag::LOCKED | flag::DIRTY | flag::UNEVICTABLE | flag::ACTIVE;
        if self.page(frame).flags() & (blocked | flag::LRU) == flag::LRU {
            self.queue_listed(Batch::MoveTail, frame);
        }
    }

    /// `deactivate_file_folio`, as invalidation does.
    fn deactivate_file(&self, frame: Frame) {
        let flags = self.page(frame).flags();
        if flags & flag::SWAPBACKED == 0 && flags & flag::UNEVICTABLE == 0 && flags & flag::LRU != 0 {
            self.queue_listed(Batch::DeactivateFile, frame);
        }
    }

    /// `madvise_walk_vmas`: area by area, each after a drain of this CPU, to the first locked one,
    /// which is `EINVAL`.
    fn madvise(&self, mapping: &Mapping, range: Range<u32>, visit: impl Fn(Frame)) -> Result<(), Errno> {
        for Area { pages, locked, .. } in mapping.vma.areas(&range) {
            if locked {
                return Err(Errno::EINVAL);
            }
            self.lru_add_drain();
            self.for_each_mapped(mapping, pages, &visit);
        }
        Ok(())
    }

    /// `MADV_COLD`: drains this CPU, then queues what is mapped once and on a list.
    ///
    /// # Errors
    /// `EINVAL` at a locked area; what comes before it has been queued.
    pub fn madvise_cold(&self, mapping: &Mapping, range: Range<u32>) -> Result<(), Errno> {
        self.madvise(mapping, range, |frame| {
            let page = self.page(frame);
            let flags = page.flags();
            if flags & flag::LRU == 0 || page.mapcount() != 1 {
                return;
            }
            page.clear(flag::REFERENCED);
            if flags & flag::UNEVICTABLE == 0 && self.may_cool(flags) {
                self.queue_listed(Batch::Deactivate, frame);
            }
        })
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

    /// `MADV_FREE`: drains this CPU, cleans the PTEs and queues what is on a list.
    ///
    /// # Errors
    /// `EINVAL` for a mapping that is not anonymous, and at a locked area; what comes before
    /// that has been queued.
    pub fn madvise_free(&self, mapping: &Mapping, range: Range<u32>) -> Result<(), Errno> {
        if mapping.kind != Kind::Anon {
            return Err(Errno::EINVAL);
        }
        self.madvise(mapping, range, |frame| {
            let page = self.page(frame);
            let flags = page.flags();
            if flags & flag::DIRTY != 0 {
                if page.mapcount() != 1 || !self.trylock(frame) {
                    return;
                }
                page.clear(flag::DIRTY);
                self.unlock(frame);
            }
            let index = page.index();
            let locked = mapping.vma.lock(index);
            let pte = locked.get(index);
            if pte.is_present() && pte.frame() == frame {
                locked.set(index, pte.cleaned());
            }
            drop(locked);
            let wanted = flag::LRU | flag::ANON | flag::SWAPBACKED;
            if flags & (wanted | flag::UNEVICTABLE) == wanted {
                self.queue_listed(Batch::Lazyfree, frame);
            }
        })
    }

    /// `folio_mark_accessed` on every present page of the range, as reads of a file do.
    pub fn mark_range_accessed(&self, mapping: &Mapping, range: Range<u32>) {
        self.for_each_mapped(mapping, range, |frame| self.mark_accessed(frame));
    }

    /// `deactivate_file_folio` on every present page of the range, as invalidation does.
    pub fn invalidate(&self, mapping: &Mapping, range: Range<u32>) {
        self.for_each_mapped(mapping, range, |frame| self.deactivate_file(frame));
    }

    /// Runs `body` with a plain reference held on a page, if one is present.
    pub fn with_short_ref(&self, mapping: &Mapping, index: u32, body: impl FnOnce(Frame)) {
        if let Some(frame) = self.get_mapped(&mapping.vma, index) {
            body(frame);
            self.put(frame, 1);
        }
    }

    /// Calls `visit` with every present page of the range but the zero page,
    /// with a reference held meanwhile.
    fn for_each_mapped(&self, mapping: &Mapping, range: Range<u32>, visit: impl Fn(Frame)) {
        for index in range {
            let Some(frame) = self.get_mapped(&mapping.vma, index) else { continue };
            visit(frame);
            self.put(frame, 1);
            self.step(Step::Queue, frame);
        }
    }
}
