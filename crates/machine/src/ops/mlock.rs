//! mlock and munlock of pages, batched since 5.18.
//!
//! Queueing sets or keeps `PG_mlocked` and takes a reference, but leaves
//! `PG_lru` alone: such a page looks isolatable and cannot be migrated. At the
//! drain a page that is off the LRU is passed over.

use super::Task;
use crate::drive::{Driver, Step};
use crate::machine::cpu::MlockWhat;
use crate::machine::lruvec::Lists;
use crate::machine::{Batch, Frame, Mapping, Vma, flag};
use crate::sync::{MutexGuard, Ordering};
use std::ops::Range;

impl<D: Driver> Task<'_, D> {
    /// `mlock2(MLOCK_ONFAULT)`, area by area (`apply_vma_lock_flags`): marks it,
    /// drains this CPU, mlocks what is mapped, drains again. An area that is
    /// locked already: nothing.
    pub fn mlock(&self, mapping: &Mapping, range: Range<u32>) {
        self.mlock_range(mapping, range, true);
    }

    /// `munlock`: likewise.
    pub fn munlock(&self, mapping: &Mapping, range: Range<u32>) {
        self.mlock_range(mapping, range, false);
    }

    fn mlock_range(&self, mapping: &Mapping, range: Range<u32>, lock: bool) {
        let (vma, into_unfaulted) = (&mapping.vma, self.m.rules.merge_into_unfaulted);
        let mut rest = range;
        while let Some(pages) = vma.fix_locked(&rest, lock, into_unfaulted) {
            rest.start = pages.end;
            self.lru_add_drain();
            for index in pages {
                let Some(frame) = self.get_mapped(vma, index) else { continue };
                if lock {
                    self.mlock_folio(frame);
                } else {
                    self.munlock_folio(frame);
                }
                self.put(frame, 1);
                self.step(Step::Mlock, frame);
            }
            self.lru_add_drain();
        }
    }

    /// `mlock_folio`.
    pub(super) fn mlock_folio(&self, frame: Frame) {
        let was = self.page(frame).test_set(flag::MLOCKED);
        if self.m.rules.mlock_batched {
            self.queue_mlock(frame, MlockWhat::Lock);
        } else if !was {
            self.relist_evictable(frame);
        }
    }

    /// `mlock_new_folio`: a fresh anonymous page in a locked area.
    pub(super) fn mlock_new_folio(&self, frame: Frame) {
        self.page(frame).set(flag::MLOCKED);
        if self.m.rules.mlock_batched {
            self.queue_mlock(frame, MlockWhat::LockNew);
        } else {
            self.add_lru(frame);
        }
    }

    /// `munlock_folio`.
    pub(super) fn munlock_folio(&self, frame: Frame) {
        if self.m.rules.mlock_batched {
            self.queue_mlock(frame, MlockWhat::Unlock);
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

    fn queue_mlock(&self, frame: Frame, what: MlockWhat) {
        self.page(frame).get(1);
        let mut batches = self.local().lock();
        batches.mlock().push((frame, what));
        let len = batches.mlock().len();
        if self.must_flush(len) {
            self.flush(&mut batches, Batch::Mlock);
        }
    }

    /// `mlock_folio_batch`.
    pub(super) fn flush_mlock(&self, entries: &[(Frame, MlockWhat)]) {
        if entries.is_empty() {
            return;
        }
        let mut lists = self.m.lruvec.lock();
        for &(frame, what) in entries {
            match what {
                MlockWhat::Lock => self.mlock_listed(&mut lists, frame),
                MlockWhat::LockNew => self.mlock_new(&mut lists, frame),
                MlockWhat::Unlock => self.munlock_listed(&mut lists, frame),
            }
        }
        drop(lists);
        self.put_entries(entries.iter().map(|&(frame, _)| frame));
    }

    fn mlock_listed(&self, lists: &mut MutexGuard<'_, Lists>, frame: Frame) {
        let page = self.page(frame);
        if !page.test_clear(flag::LRU) {
            return;
        }
        let memory = &self.m.memory;
        if !page.has(flag::MLOCKED) {
            // munlocked meanwhile, by another CPU.
            if page.has(flag::UNEVICTABLE) {
                lists.del(memory, frame);
                page.clear(flag::UNEVICTABLE);
                lists.add(memory, frame);
            }
        } else if page.has(flag::UNEVICTABLE) {
            page.mlock_count.fetch_add(1, Ordering::Relaxed);
        } else {
            lists.del(memory, frame);
            page.clear(flag::ACTIVE);
            page.set(flag::UNEVICTABLE);
            page.mlock_count.store(1, Ordering::Relaxed);
            lists.add(memory, frame);
        }
        page.set(flag::LRU);
    }

    fn mlock_new(&self, lists: &mut MutexGuard<'_, Lists>, frame: Frame) {
        let page = self.page(frame);
        if page.has(flag::MLOCKED) {
            page.set(flag::UNEVICTABLE);
            page.mlock_count.store(1, Ordering::Relaxed);
        }
        lists.add(&self.m.memory, frame);
        page.set(flag::LRU);
    }

    fn munlock_listed(&self, lists: &mut MutexGuard<'_, Lists>, frame: Frame) {
        let page = self.page(frame);
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
                lists.del(&self.m.memory, frame);
                page.clear(flag::UNEVICTABLE);
                lists.add(&self.m.memory, frame);
            }
            page.set(flag::LRU);
        }
    }

    /// Takes a reference on the page that a PTE maps, if it is one of its own.
    pub(super) fn get_mapped(&self, vma: &Vma, index: u32) -> Option<Frame> {
        let locked = vma.lock(index);
        let pte = locked.get(index);
        let ordinary = pte.is_present() && pte.frame() != crate::machine::ZERO_FRAME;
        ordinary.then(|| {
            self.page(pte.frame()).get(1);
            pte.frame()
        })
    }
}
