//! Reclaim: isolates a few pages from the tail, looks at them, puts them back.

use crate::drive::{Driver, Step, Wait};
use crate::machine::lruvec::Lists;
use crate::machine::{Frame, Lru, flag};
use crate::ops::floor::Task;

impl<D: Driver> Task<'_, D> {
    /// `shrink_inactive_list` without a page-out: up to `n` pages are off the
    /// LRU until the next step, then straight on their lists again
    /// (`move_folios_to_lru`). Returns how many it had.
    pub fn shrink_list(&self, lru: Lru, n: usize) -> usize {
        let taken = self.isolate_from_tail(lru, n);
        for &frame in &taken {
            self.step(Step::Reclaim, frame);
        }
        let mut lists = self.m.lruvec.lock();
        for &frame in &taken {
            let folio = self.folio_at(frame);
            lists.add(&self.m.memory, folio);
            folio.set(flag::LRU);
        }
        drop(lists);
        for &frame in &taken {
            self.d.wake(Wait::Returned(frame));
            self.put(frame, 1);
        }
        taken.len()
    }

    /// `isolate_lru_folios`.
    fn isolate_from_tail(&self, lru: Lru, n: usize) -> Vec<Frame> {
        let memory = &self.m.memory;
        let mut taken = Vec::with_capacity(n);
        let mut lists = self.m.lruvec.lock();
        let mut next = lists.tail(lru);
        for _ in 0..2 * n {
            let Some(frame) = next.filter(|_| taken.len() < n) else { break };
            next = Lists::before(memory, frame);
            let page = self.folio_at(frame);
            if !page.try_get(1) {
                continue;
            }
            if page.test_clear(flag::LRU) {
                page.set_isolator(Some(self.d.id()));
                lists.del(memory, page);
                taken.push(frame);
            } else {
                // Not the last reference: its owner is about to take it off the list.
                drop(lists);
                self.put(frame, 1);
                return taken;
            }
        }
        taken
    }
}
