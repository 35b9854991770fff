//! Walking a range's page table, with a passing reference on each page.

use crate::drive::{Driver, Step};
use crate::machine::{Frame, Mapping, Vma, ZERO_FRAME};
use crate::ops::floor::Mm;
use std::ops::Range;

impl<D: Driver> Mm<'_, D> {
    /// Takes a reference on the page that a PTE maps, if it is one of its own.
    pub(super) fn get_mapped(&self, vma: &Vma, index: u32) -> Option<Frame> {
        let locked = vma.lock(index);
        let pte = locked.get(index);
        let ordinary = pte.is_present() && pte.frame() != ZERO_FRAME;
        ordinary.then(|| {
            self.folio(pte.frame()).get(1);
            pte.frame()
        })
    }

    /// Runs `body` with a plain reference held on a page, if one is present.
    pub fn with_short_ref(&self, mapping: &Mapping, index: u32, body: impl FnOnce(Frame)) {
        if let Some(frame) = self.get_mapped(&mapping.vma, index) {
            body(frame);
            self.put(frame, 1);
        }
    }

    /// Calls `visit` with every present page of the range but the zero page,
    /// with a reference held meanwhile, and passes a step after each.
    pub(super) fn for_each_mapped(
        &self,
        mapping: &Mapping,
        range: Range<u32>,
        step: Step,
        visit: impl Fn(Frame),
    ) {
        for index in range.take_while(|_| !self.d.killed()) {
            let Some(frame) = self.get_mapped(&mapping.vma, index) else { continue };
            visit(frame);
            self.put(frame, 1);
            self.step(step, frame);
        }
    }
}
