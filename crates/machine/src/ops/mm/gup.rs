//! Pinning pages of a range: `pin_user_pages`, fast and slow, and unpinning.

use super::anon::Access;
use crate::drive::{Driver, Step};
use crate::machine::{Folio, Frame, Grab, Kind, Machine, Mapping, PageIndex, PageRange, ZERO_FRAME, flag};
use crate::observe::Event;
use crate::ops::floor::Mm;
use crate::policy::decide::{PlaceSeen, Walk};
use crate::policy::{Caller, Entrance, Errno, Policy, Rules, Unshare, ZeroPage};

/// What is to be pinned, and how.
#[derive(Debug, Clone)]
pub struct PinRequest<'a> {
    /// Retry policy.
    pub policy: &'a Policy,
    /// Mapping whose pages are pinned.
    pub mapping: &'a Mapping,
    /// Pages of it.
    pub range: PageRange,
    /// `FOLL_WRITE`.
    pub write: bool,
    /// Where its pages are looked up.
    pub by: Lookup,
}

/// Where a pin looks its pages up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lookup {
    /// In the page table of the caller's address space (`pin_user_pages`): a pin a page.
    #[default]
    PageTable,
    /// In the page cache of a memfd, whoever maps it (`memfd_pin_folios`): a pin a folio.
    PageCache,
}

impl Lookup {
    /// Of the pages of a pinned range, those for which their folios have a pin.
    pub fn pinned(self, m: &Machine, pages: &[Frame]) -> impl Iterator<Item = Frame> {
        let mut last = None;
        let pages = pages.iter().copied();
        pages.filter(move |&frame| {
            self == Self::PageTable || last.replace(m.memory.head(frame)) != Some(m.memory.head(frame))
        })
    }
}

/// Why a walk did not reach the end of its range.
pub(in crate::ops) enum Stopped {
    /// At a page that must move.
    Refused,
    /// At this page, which is under migration.
    Migrating(PageIndex),
    /// At a page that could not be faulted in.
    Failed(Errno),
}

/// What decides whether a page may be pinned where it is.
#[inline]
pub(in crate::ops) fn place_of(frame: Frame, flags: u32) -> PlaceSeen {
    PlaceSeen {
        zero: frame == ZERO_FRAME,
        movable: flags & flag::ZONE_MOVABLE != 0,
        cma: flags & flag::CMA != 0,
    }
}

impl<'a> PinRequest<'a> {
    /// Pages of a range, by the page table.
    pub fn new(policy: &'a Policy, mapping: &'a Mapping, range: PageRange, write: bool) -> Self {
        Self { policy, mapping, range, write, by: Lookup::PageTable }
    }

    /// The same by the way on which a caller looks pages up.
    #[must_use]
    pub fn by(&self, caller: Caller) -> Self {
        let cached = caller.habit().entrance == Entrance::PageCache;
        Self { by: if cached { Lookup::PageCache } else { Lookup::PageTable }, ..self.clone() }
    }

    /// Whether the mapping is none that may be pinned so, wherever its pages lie: `check_vma_flags`.
    #[inline]
    pub fn is_refused(&self, rules: &Rules) -> bool {
        let kind = self.mapping.kind;
        let tracked = kind == Kind::File && self.write && rules.refuses_tracked_writes;
        kind.is_unpinnable() || tracked
    }

    /// Whether some page of the range is none that may be pinned so, whatever becomes of the others.
    pub fn is_bad_address(&self, rules: &Rules) -> bool {
        let forbidden = |index| self.by == Lookup::PageTable && self.mapping.vma.forbids(index, self.write);
        self.is_refused(rules) || self.range.clone().any(forbidden)
    }

    /// The frame that is named at an index, present or under migration.
    #[inline]
    pub fn named(&self, index: PageIndex) -> Option<Frame> {
        match self.by {
            Lookup::PageTable => {
                let pte = self.mapping.vma.pte(index);
                (!pte.is_none()).then(|| pte.frame())
            }
            Lookup::PageCache => self.mapping.cached(index),
        }
    }
}

impl<D: Driver> Mm<'_, D> {
    /// `gup_fast`: pins the leading run of pages that are present, writable
    /// where wanted, and fine where they are. Appends to `pages`; true if that was the whole range.
    #[expect(clippy::inline_always, reason = "see `pin_longterm`")]
    #[inline(always)]
    pub fn gup_fast(&self, request: &PinRequest<'_>, pages: &mut Vec<Frame>) -> bool {
        if request.is_refused(&self.m.rules) {
            return false;
        }
        let before = pages.len();
        // Room for all at once: growth inside the loop would cost more than the pins.
        pages.reserve(request.range.len());
        let Some(seq) = request.mapping.write_protect_seq() else { return false };
        let mut rest = request.range.clone();
        let is_whole = loop {
            let Some(index) = rest.next() else { break true };
            let Some(frame) = self.gup_fast_pte(request, index) else { break false };
            pages.push(frame);
        };
        let pinned = (pages.len() - before) as u64;
        self.count.add(Event::Acquired, pinned);
        if !request.mapping.is_unforked_since(seq) {
            self.forked_meanwhile(pages, before);
            return false;
        }
        self.count.add(Event::GupFast, pinned);
        is_whole
    }

    /// A fork may have shared pages before it saw their pins: all are given back.
    #[cold]
    #[inline(never)]
    fn forked_meanwhile(&self, pages: &mut Vec<Frame>, before: usize) {
        self.unpin_user_pages(&pages[before..]);
        pages.truncate(before);
    }

    /// The page was unmapped meanwhile: its pin counts, and is given back.
    #[cold]
    #[inline(never)]
    fn pinned_in_vain(&self, folio: Folio<'_>, grab: Grab) {
        self.event(Event::Acquired);
        self.event(Event::Released);
        self.put_folio(folio, self.m.undo(grab, &folio));
    }

    /// `gup_must_unshare`: whether a pin for reading must first get a page of its own. Held
    /// against a fork that makes the page shared by the reference, or the page-table lock.
    ///
    /// A policy that treats the zero page in its own way finds it.
    #[inline]
    pub(in crate::ops) fn must_unshare(&self, request: &PinRequest<'_>, frame: Frame) -> bool {
        !request.write && self.rules_unshare(request, frame)
    }

    /// Likewise, of a pin for reading.
    #[inline(never)]
    fn rules_unshare(&self, request: &PinRequest<'_>, frame: Frame) -> bool {
        if self.m.rules.unshare == Unshare::Never {
            return false;
        }
        if self.folio(frame).has(flag::ANON) {
            return !self.m.memory.is_anon_exclusive(frame);
        }
        self.m.is_zero(frame)
            && self.m.rules.unshare == Unshare::Cow
            && request.policy.zero_page == ZeroPage::Pinnable
    }

    /// `gup_fast_pte_range`, of one PTE.
    #[expect(clippy::inline_always, reason = "see `pin_longterm`")]
    #[inline(always)]
    fn gup_fast_pte(&self, request: &PinRequest<'_>, index: PageIndex) -> Option<Frame> {
        let slot = request.mapping.vma.slot(index);
        let pte = slot.for_access(request.write);
        if pte.is_none() {
            return None;
        }
        let frame = pte.frame();
        let found = self.find(frame);
        let place = place_of(frame, found.flags());
        // The zero page is special to the page table, and none of GUP-fast's.
        if place.zero || request.policy.must_move(place) {
            return None;
        }
        let grab = self.m.try_pin(found)?;
        self.step(Step::GupFast, frame);
        // The reference first, then the PTE again: see `rmap`. The folio may have been split
        // in between, and its PTEs be as they were.
        if !grab.fits(&self.m.memory, found) || !slot.shows(pte) || self.must_unshare(request, frame) {
            self.pinned_in_vain(found.folio(), grab);
            return None;
        }
        found.set(flag::REFERENCED);
        Some(frame)
    }

    /// `__get_user_pages`: pins every page of the range, faulting in what is
    /// missing. What was pinned before it stopped stays in `pages`.
    ///
    /// `must_move`: whether a page may not be pinned where it is.
    pub(in crate::ops) fn get_user_pages(
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
        if request.is_refused(&self.m.rules) {
            return Err(Stopped::Failed(Errno::EFAULT));
        }
        let apart = mapping.kind.is_hugetlb() && self.m.rules.hugetlb_apart;
        for index in range.clone() {
            self.step_at(Step::GupWalk);
            if self.killed() {
                return Err(Stopped::Failed(Errno::EINTR));
            }
            let (folio, frame, pte) = loop {
                let locked = vma.lock(index);
                let pte = locked.get(index);
                let replaced = walk.replace_zero && pte.frame() == ZERO_FRAME;
                let unshare = pte.is_present() && self.must_unshare(request, pte.frame());
                if pte.is_present() && (!write || pte.is_writable()) && !replaced && !unshare {
                    let frame = pte.frame();
                    if walk.refuse && must_move(frame) {
                        return Err(Stopped::Refused);
                    }
                    if apart && must_move(frame) {
                        return Err(Stopped::Failed(Errno::ENOMEM));
                    }
                    let found = self.find(frame);
                    if self.m.pin_counts(frame) {
                        self.m.pin(found);
                        self.event(Event::Acquired);
                    }
                    break (found.folio(), frame, pte);
                }
                drop(locked);
                if walk.stop_at_migration && pte.is_migration() && index != first {
                    return Err(Stopped::Migrating(index));
                }
                let access = if unshare { Access::Unshare } else { Access::of(write || replaced) };
                self.handle_mm_fault(mapping, vma, index, access).map_err(Stopped::Failed)?;
            };
            pages.push(frame);
            // What may be written to is no zero page.
            if touch && (pte.is_writable() || !self.m.is_zero(frame)) {
                if write && !pte.is_dirty() {
                    // Who pins it to write may do so behind the page table's back.
                    folio.set(flag::DIRTY);
                }
                self.folio_mark_accessed(folio);
            }
        }
        Ok(())
    }

    /// Gives back what a range was pinned by: `unpin_user_pages`, `unpin_folios`.
    pub fn unpin(&self, by: Lookup, pages: &[Frame]) {
        match by {
            Lookup::PageTable => self.unpin_user_pages(pages),
            Lookup::PageCache => {
                let folios: Vec<Frame> = by.pinned(self.m, pages).collect();
                self.unpin_user_pages(&folios);
            }
        }
    }

    /// `unpin_user_pages`.
    #[expect(clippy::inline_always, reason = "see `pin_longterm`")]
    #[inline(always)]
    pub fn unpin_user_pages(&self, pages: &[Frame]) {
        let mut released = pages.len() as u64;
        for &frame in pages {
            if self.m.pin_counts(frame) {
                let found = self.find(frame);
                self.put_found(found, self.m.unpin(found));
            } else {
                released -= 1;
            }
        }
        self.count.add(Event::Released, released);
    }
}
