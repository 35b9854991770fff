//! Pinning pages of a file by its page cache: `memfd_pin_folios`.
//!
//! No page table is looked at, so a page under migration is found and pinned like any other, where
//! a walk would wait for it: the pin is one reference too many for the migration.

use super::gup::{PinRequest, Stopped};
use crate::drive::{Driver, Step};
use crate::machine::{Frame, Mapping, PageIndex};
use crate::observe::Event;
use crate::ops::floor::Mm;
use crate::policy::Errno;
use crate::policy::decide::Walk;

/// Folios that one look-up returns (`PAGEVEC_SIZE`).
const LOOKED_UP: usize = 31;

impl<D: Driver> Mm<'_, D> {
    /// Pins every folio of the range, making what the file has not got yet. What was pinned before it
    /// stopped stays in `pages`.
    ///
    /// `must_move`: whether a page may not be pinned where it is.
    pub(in crate::ops) fn pin_cached(
        &self,
        request: &PinRequest<'_>,
        walk: Walk,
        must_move: impl Fn(Frame) -> bool,
        pages: &mut Vec<Frame>,
    ) -> Result<(), Stopped> {
        let mut last = None;
        let mut batch = LookedUp { frames: Vec::with_capacity(LOOKED_UP), drained: false };
        let result = request.range.clone().try_for_each(|index| {
            self.step_at(Step::GupWalk);
            let frame = self.find_cached(request.mapping, index).map_err(Stopped::Failed)?;
            if last.replace(self.head(frame)) == Some(self.head(frame)) {
                // Its folio has been looked up and pinned.
                self.put(frame, 1);
                pages.push(frame);
                return Ok(());
            }
            batch.frames.push(frame);
            if walk.refuse && must_move(frame) {
                return Err(Stopped::Refused);
            }
            self.m.pin(self.find(frame));
            self.event(Event::Acquired);
            pages.push(frame);
            if batch.frames.len() == LOOKED_UP {
                self.folio_batch_release(&mut batch);
            }
            Ok(())
        });
        self.folio_batch_release(&mut batch);
        result
    }

    /// The page of the file at `index`, with a reference; made outside Movable where there is none.
    pub(in crate::ops) fn find_cached(&self, mapping: &Mapping, index: PageIndex) -> Result<Frame, Errno> {
        loop {
            if self.killed() {
                return Err(Errno::EINTR);
            }
            let Some(frame) = mapping.cached(index) else {
                if let Some(frame) = self.memfd_alloc_folio(mapping, index)? {
                    self.unlock(frame);
                    self.put(frame, 1);
                }
                continue;
            };
            if self.try_get_cached(mapping, index, frame).is_some() {
                return Ok(frame);
            }
            // Frozen by a migration, or gone: the slot is about to change.
            self.step(Step::GupWalk, frame);
        }
    }

    /// `memfd_alloc_folio`: a page that the file had not got, locked and with a reference; `None` if
    /// another was faster.
    fn memfd_alloc_folio(&self, mapping: &Mapping, index: PageIndex) -> Result<Option<Frame>, Errno> {
        let apart = mapping.kind.is_hugetlb() && self.m.rules.memfd_adds_as_faults;
        self.get_cached_folio_under(mapping, index, 0, |add| {
            if apart { self.under_fault_mutex(mapping, index, add) } else { Some(add()) }
        })
    }

    /// `folio_batch_release`: the first of a sweep drains this CPU, then the look-up's references go.
    fn folio_batch_release(&self, batch: &mut LookedUp) {
        if batch.frames.is_empty() {
            return;
        }
        if !std::mem::replace(&mut batch.drained, true) {
            self.lru_add_drain_inlined();
        }
        batch.frames.drain(..).for_each(|frame| self.put(frame, 1));
    }
}

/// Folios of one look-up after the other: `struct folio_batch`.
struct LookedUp {
    frames: Vec<Frame>,
    /// `percpu_pvec_drained`
    drained: bool,
}
