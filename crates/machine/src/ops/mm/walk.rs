//! Walking a range's page table, with a passing reference on each page.

use crate::drive::{Driver, Step};
use crate::machine::{Frame, Mapping, PageIndex, PageRange, Vma};
use crate::ops::floor::Mm;

impl<D: Driver> Mm<'_, D> {
    /// Takes a reference on the page that a PTE maps, if it is one of its own.
    pub(in crate::ops) fn get_mapped(&self, vma: &Vma, index: PageIndex) -> Option<Frame> {
        self.get_mapped_if(vma, index, |_| true)
    }

    /// The same of one page; whether it is mapped there.
    pub(super) fn get_still_mapped(&self, vma: &Vma, index: PageIndex, frame: Frame) -> bool {
        self.get_mapped_if(vma, index, |now| now == frame).is_some()
    }

    fn get_mapped_if(&self, vma: &Vma, index: PageIndex, wanted: impl Fn(Frame) -> bool) -> Option<Frame> {
        let locked = vma.lock(index);
        let pte = locked.get(index);
        let frame = pte.frame();
        let found = pte.is_present() && !self.m.is_zero(frame) && wanted(frame);
        found.then(|| {
            self.folio(frame).get(1);
            frame
        })
    }

    /// Runs `body` with a plain reference held on a page, if one is present.
    pub fn with_short_ref(&self, mapping: &Mapping, index: PageIndex, body: impl FnOnce(Frame)) {
        if let Some(frame) = self.get_mapped(&mapping.vma, index) {
            body(frame);
            self.put(frame, 1);
        }
    }

    /// Calls `visit` with every present folio of the range but zero pages, with a reference held
    /// meanwhile, and passes a step after each. It may split the folio: its pages are then visited.
    pub(super) fn for_each_mapped(
        &self,
        mapping: &Mapping,
        range: PageRange,
        step: Step,
        visit: impl Fn(Visited) -> Visit,
    ) {
        let mut index = range.start;
        while index < range.end && !self.d.killed() {
            let Some(frame) = self.get_mapped(&mapping.vma, index) else {
                index += 1;
                continue;
            };
            let pages = self.run_of(&mapping.vma, index.to(range.end), frame);
            let whole = pages.len() == self.page(frame).nr_pages() as usize;
            let next = pages.end;
            let visited = visit(Visited { frame, pages, whole });
            self.put(frame, 1);
            self.step(step, frame);
            if visited == Visit::Done {
                index = next;
            }
        }
    }

    /// The pages of a range that map one folio, from its first on, which does or did: `folio_pte_batch`.
    fn run_of(&self, vma: &Vma, range: PageRange, frame: Frame) -> PageRange {
        let end = self.m.memory.frames_of(frame).end;
        let mapped = |&(index, frame): &(PageIndex, Frame)| {
            let pte = vma.pte(index);
            pte.is_present() && pte.frame() == frame
        };
        let more = range.clone().zip(frame.run(end - frame)).skip(1).take_while(mapped).count();
        range.start.run(1 + more as u32)
    }
}

/// What a walk has come to.
pub(super) struct Visited {
    /// The first page of a folio that is mapped in the range.
    pub frame: Frame,
    /// Where it and those that follow it are mapped.
    pub pages: PageRange,
    /// Whether that is all of the folio.
    pub whole: bool,
}

/// What has been done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Visit {
    /// All there is to do.
    Done,
    /// It was split: to be looked at again.
    Split,
}
