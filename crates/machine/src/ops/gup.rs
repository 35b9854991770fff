//! Pinning pages of a range: `pin_user_pages`, fast and slow, and unpinning.

use super::{Errno, PinRequest, Task};
use crate::drive::{Driver, Step};
use crate::machine::{Frame, Mapping, ZERO_FRAME, flag};
use crate::observe::Event;
use crate::policy::decide::Walk;
use std::ops::Range;

/// Why a walk did not reach the end of its range.
pub(super) enum Stopped {
    /// At a page that must move.
    Refused,
    /// At this page, which is under migration.
    Migrating(u32),
    /// At a page that could not be faulted in.
    Failed(Errno),
}

impl<D: Driver> Task<'_, D> {
    /// `gup_fast`: pins the leading run of pages that are present, writable
    /// where wanted, and fine where they are. Appends to `pages`.
    #[expect(clippy::inline_always, reason = "see `pin_longterm`")]
    #[inline(always)]
    pub(super) fn gup_fast(&self, request: &PinRequest<'_>, pages: &mut Vec<Frame>) {
        let before = pages.len();
        // Room for all at once: growth inside the loop would cost more than the pins.
        pages.reserve(request.range.len());
        for index in request.range.clone() {
            let Some(frame) = self.gup_fast_pte(request, index) else { break };
            pages.push(frame);
        }
        let pinned = (pages.len() - before) as u64;
        self.count.add(Event::Acquired, pinned);
        self.count.add(Event::GupFast, pinned);
    }

    /// The page was unmapped meanwhile: its pin counts, and is given back.
    #[cold]
    #[inline(never)]
    fn pinned_in_vain(&self, frame: Frame) {
        self.event(Event::Acquired);
        self.unpin_page(frame);
    }

    /// `gup_fast_pte_range`, of one PTE.
    #[expect(clippy::inline_always, reason = "see `pin_longterm`")]
    #[inline(always)]
    fn gup_fast_pte(&self, request: &PinRequest<'_>, index: u32) -> Option<Frame> {
        let vma = &request.mapping.vma;
        let pte = vma.pte(index);
        if !pte.is_present() || (request.write && !pte.is_writable()) {
            return None;
        }
        let frame = pte.frame();
        let page = self.page(frame);
        let place = Self::place_of(frame, page.flags());
        if request.policy.must_move(place) || !page.try_get(self.m.rules.pin_bias as i32) {
            return None;
        }
        self.step(Step::GupFast, frame);
        // The reference first, then the PTE again: see `rmap`.
        if vma.pte(index) != pte {
            self.pinned_in_vain(frame);
            return None;
        }
        if !page.has(flag::REFERENCED) {
            page.set(flag::REFERENCED);
        }
        Some(frame)
    }

    /// `__get_user_pages`: pins every page of the range, faulting in what is
    /// missing. What was pinned before it stopped stays in `pages`.
    ///
    /// `must_move`: whether a page may not be pinned where it is.
    pub(super) fn get_user_pages(
        &self,
        request: &PinRequest<'_>,
        touch: bool,
        walk: Walk,
        must_move: impl Fn(Frame) -> bool,
        pages: &mut Vec<Frame>,
    ) -> Result<(), Stopped> {
        let PinRequest { mapping, ref range, write, .. } = *request;
        let vma = &mapping.vma;
        let first = range.start;
        for index in range.clone() {
            self.step_at(Step::GupWalk);
            let (frame, clean) = loop {
                let locked = vma.lock(index);
                let pte = locked.get(index);
                let replaced = walk.replace_zero && pte.frame() == ZERO_FRAME;
                if pte.is_present() && (!write || pte.is_writable()) && !replaced {
                    let frame = pte.frame();
                    if walk.refuse && must_move(frame) {
                        return Err(Stopped::Refused);
                    }
                    self.page(frame).get(self.m.rules.pin_bias as i32);
                    break (frame, !pte.is_dirty());
                }
                drop(locked);
                if walk.stop_at_migration && pte.is_migration() && index != first {
                    return Err(Stopped::Migrating(index));
                }
                self.handle_mm_fault(mapping, vma, index, write || replaced).map_err(Stopped::Failed)?;
            };
            self.event(Event::Acquired);
            pages.push(frame);
            if touch && frame != ZERO_FRAME {
                if write && clean {
                    // Who pins it to write may do so behind the page table's back.
                    self.page(frame).set(flag::DIRTY);
                }
                self.mark_accessed(frame);
            }
        }
        Ok(())
    }

    /// Another holder takes a plain reference on each page and never lets go
    /// by itself (a pipe). Faults in what is missing, for reading. All of them
    /// or, on an error, none.
    ///
    /// # Errors
    /// As [`touch`](Self::touch).
    pub fn hold(&self, mapping: &Mapping, range: Range<u32>) -> Result<Vec<Frame>, Errno> {
        let mut held = Vec::with_capacity(range.len());
        for index in range {
            if let Err(errno) = self.read(mapping, index..index + 1) {
                held.iter().for_each(|&frame| self.release(frame));
                return Err(errno);
            }
            let locked = mapping.vma.lock(index);
            let frame = locked.get(index).frame();
            self.page(frame).get(1);
            if frame != ZERO_FRAME {
                // As GUP-fast does, through which a pipe gets its pages.
                self.page(frame).set(flag::REFERENCED);
            }
            self.page(frame).add_lasting(1);
            held.push(frame);
        }
        Ok(held)
    }

    /// That holder lets go after all.
    pub fn release(&self, frame: Frame) {
        self.page(frame).add_lasting(-1);
        self.put(frame, 1);
    }

    /// `unpin_user_page`.
    #[inline]
    pub(super) fn unpin_page(&self, frame: Frame) {
        self.event(Event::Released);
        self.put(frame, self.m.rules.pin_bias as i32);
    }

    /// `unpin_user_pages`.
    pub fn unpin_user_pages(&self, pages: &[Frame]) {
        self.count.add(Event::Released, pages.len() as u64);
        let bias = self.m.rules.pin_bias as i32;
        for &frame in pages {
            self.put(frame, bias);
        }
    }
}
