//! Collection: going through the pages that must move, and isolating them.
//!
//! A range that is pinned holds its pages by its pins. One that is not is
//! looked at under the page-table lock, and isolated under it: nothing of it is
//! held in between, also not while batches are drained.

use super::call::{Call, Cursor};
use crate::drive::{Driver, Step};
use crate::machine::NO_FRAME;
use crate::machine::{Frame, Machine, Page, PageIndex, Test, ZERO_FRAME, flag};
use crate::ops::floor::Task;
use crate::ops::mm::{Access, Lookup, place_of};
use crate::policy::Errno;
use crate::policy::decide::{Over, PageSeen, Seen, Walk};

impl<D: Driver> Task<'_, D> {
    /// What a kernel sees of a page on whose folio it holds references, as many as `own` says for its flags.
    fn see(&self, frame: Frame, own: impl FnOnce(u32) -> i32) -> PageSeen {
        let folio = self.find(frame);
        let flags = folio.flags();
        let own = own(flags);
        let extra = folio.refcount() - Machine::expected_refs_in(&folio, flags) - own;
        let permanent = if folio.page_flags() & flag::HWPOISON != 0 {
            Some(Errno::EHWPOISON)
        } else if flags & flag::RESERVED != 0 && !self.m.is_zero(frame) {
            Some(Errno::EFAULT)
        } else {
            None
        };
        PageSeen {
            on_lru: flags & flag::LRU != 0,
            large: folio.is_large(),
            extra,
            beyond_pins: self.m.extra(&folio, extra, 0).rest,
            own,
            permanent,
        }
    }
}

impl<D: Driver> Call<'_, '_, D> {
    /// Whether a page may not be pinned where it is.
    #[inline]
    pub(super) fn must_move(&self, frame: Frame) -> bool {
        self.folio_must_move(frame, self.t.folio(frame))
    }

    #[inline]
    fn folio_must_move(&self, frame: Frame, folio: &Page) -> bool {
        (self.busted.must_move)(self.request.policy.must_move(place_of(frame, folio.flags())))
    }

    /// The first page of `over` that must move.
    pub(super) fn collect(&mut self, over: Over) -> Seen {
        self.cursor = Cursor::new(over);
        if over != Over::Isolated {
            self.missed.clear();
        }
        self.come_to()
    }

    /// The next one.
    pub(super) fn next(&mut self) -> Seen {
        if self.cursor.untried {
            self.refused_here(Step::CollectCheck);
        }
        self.cursor.position += 1;
        self.come_to()
    }

    /// The same one as it is now, or the next one if it has left the range.
    pub(super) fn look(&mut self) -> Seen {
        self.see_current().map_or_else(|| self.next(), Seen::Page)
    }

    fn come_to(&mut self) -> Seen {
        self.cursor.untried = false;
        loop {
            let candidate = match self.cursor.over {
                Over::Pinned => self.pin.pages.get(self.base + self.cursor.position).copied(),
                Over::Isolated => self.isolated.get(self.cursor.position).copied(),
                Over::Mapped | Over::Faulted(_) if self.index() >= self.request.range.end => None,
                Over::Mapped => Some(self.mapped()),
                Over::Faulted(walk) => match self.faulted(walk) {
                    Ok(frame) => Some(frame),
                    Err(Errno::EINTR) => return Seen::Killed,
                    Err(errno) => {
                        self.unreachable_page(errno, self.index());
                        return Seen::Failed(errno);
                    }
                },
            };
            let Some(frame) = candidate else {
                self.t.hindered(std::mem::take(&mut self.refused));
                return Seen::NoMore;
            };
            self.cursor.frame = frame;
            if self.cursor.over == Over::Isolated {
                return Seen::Page(self.t.see(frame, |_| 1));
            }
            if frame != NO_FRAME {
                let folio = self.t.page_folio(frame);
                // Of pages in a row in one folio one is enough (`prev_folio`); one that may stay ends the row too.
                if self.cursor.previous.replace(folio.head) != Some(folio.head)
                    && self.folio_must_move(frame, &folio)
                {
                    self.t.step(Step::CollectCheck, frame);
                    if let Some(page) = self.see_current() {
                        self.cursor.untried = true;
                        return Seen::Page(page);
                    }
                }
            }
            self.cursor.position += 1;
        }
    }

    /// The index in the mapping of the page it has come to.
    fn index(&self) -> PageIndex {
        self.request.range.start + self.cursor.position as u32
    }

    /// The frame that is mapped there, if any.
    fn mapped(&self) -> Frame {
        if self.request.by == Lookup::PageCache {
            return self.request.mapping.cached(self.index()).unwrap_or(NO_FRAME);
        }
        let pte = self.request.mapping.vma.pte(self.index());
        if pte.is_present() { pte.frame() } else { NO_FRAME }
    }

    /// The frame that is mapped there, once it is what a pin would find.
    fn faulted(&self, walk: Walk) -> Result<Frame, Errno> {
        let (mapping, write) = (self.request.mapping, self.request.write);
        self.t.step_at(Step::GupWalk);
        if self.request.by == Lookup::PageCache {
            let frame = self.t.find_cached(mapping, self.index())?;
            self.t.put(frame, 1);
            return Ok(frame);
        }
        loop {
            let pte = mapping.vma.pte(self.index());
            let replaced = walk.replace_zero && pte.is_present() && pte.frame() == ZERO_FRAME;
            let unshare = pte.is_present() && self.t.must_unshare(self.request, pte.frame());
            if pte.is_present() && (!write || pte.is_writable()) && !replaced && !unshare {
                return Ok(pte.frame());
            }
            let access = if unshare { Access::Unshare } else { Access::of(write || replaced) };
            self.t.handle_mm_fault(mapping, &mapping.vma, self.index(), access)?;
        }
    }

    /// Runs `body` on the page it has come to, under the page-table lock where nothing else
    /// holds it; `None` if it has left the range.
    #[inline]
    fn with_current<R>(&self, body: impl FnOnce(Frame) -> R) -> Option<R> {
        let frame = self.cursor.frame;
        match self.cursor.over {
            Over::Pinned | Over::Isolated => Some(body(frame)),
            Over::Mapped | Over::Faulted(_) if self.request.by == Lookup::PageCache => {
                let folio = self.t.try_get_cached(self.request.mapping, self.index(), frame)?;
                let result = body(frame);
                self.t.put_folio(folio, 1);
                Some(result)
            }
            Over::Mapped | Over::Faulted(_) => {
                let locked = self.request.mapping.vma.lock(self.index());
                let pte = locked.get(self.index());
                (pte.is_present() && pte.frame() == frame).then(|| body(frame))
            }
        }
    }

    /// References that are held there on its folio, which has these flags.
    #[inline]
    fn own(&self, flags: u32) -> i32 {
        match self.cursor.over {
            Over::Pinned => self.t.m.pin_bias_in(flags),
            Over::Isolated => 1,
            Over::Mapped | Over::Faulted(_) => i32::from(self.request.by == Lookup::PageCache),
        }
    }

    /// The page it has come to is not to be had; kept for whoever asks why the call failed.
    #[cold]
    fn refused_here(&mut self, at: Step) {
        let frame = self.cursor.frame;
        let (head, bias) = (self.t.head(frame), self.t.m.pin_bias(self.t.folio(frame)));
        let ours = self.request.by.pinned(self.t.m, &self.pin.pages[self.base..]);
        let ours = ours.filter(|&frame| self.t.head(frame) == head);
        let own = if self.cursor.over == Over::Pinned { bias * ours.count() as i32 } else { 0 };
        self.t.refused(&mut self.refused, at, frame, Test::Isolation, own);
    }

    fn see_current(&self) -> Option<PageSeen> {
        self.with_current(|frame| self.t.see(frame, |flags| self.own(flags)))
    }

    /// Isolates the page it has come to.
    pub(super) fn isolate(&mut self) -> Seen {
        let (index, frame) = (self.index(), self.cursor.frame);
        self.t.step(Step::CollectIsolate, frame);
        self.cursor.untried = false;
        let Some(isolated) = self.with_current(|frame| self.t.isolate_lru(frame)) else {
            return self.next();
        };
        if isolated {
            self.isolated.push(self.t.head(frame));
        } else {
            self.missed.push((index, frame));
            self.refused_here(Step::CollectIsolate);
        }
        self.t.step(Step::CollectIsolated, frame);
        Seen::Isolated(isolated)
    }
}
