//! The arithmetic of references: what a folio should have, what a pin adds, what is left over.
//!
//! Every question about a folio's references is answered here, for all orders alike.

use super::folio::Found;
use super::page::{self, flag};
use super::{Frame, Machine, Memory, Page, ZERO_FRAME};

/// What a folio has beyond what is expected: pins, and other references.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extra {
    /// Whole pins.
    pub pins: i32,
    /// What no whole number of pins makes up.
    pub rest: i32,
}

/// How a pin was taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grab {
    /// Whether it is counted apart from its one reference; otherwise it is as many as the rules say.
    counted: bool,
}

impl Grab {
    /// Whether the page that it was taken for is part of the folio that was found, and pins of that are
    /// kept so, now that it is held: it may have been split, or be another, since that was asked.
    #[inline]
    pub(crate) fn fits(self, memory: &Memory, found: Found<'_>) -> bool {
        found.is_still(memory, |folio| counts_apart(folio) == self.counted)
    }
}

/// Folios of this order and above count their pins apart (`folio_has_pincount`); a model's have two pages.
const PINCOUNT_ORDER: u32 = if cfg!(loom) { 1 } else { 2 };

#[inline]
fn counts_apart(folio: &Page) -> bool {
    counts_apart_in(folio.flags())
}

/// The same of a folio with these flags.
#[inline]
fn counts_apart_in(flags: u32) -> bool {
    page::is_at_least_in(flags, PINCOUNT_ORDER)
}

impl Machine {
    /// `folio_expected_ref_count`: mappings, and the page cache's one a page.
    #[inline]
    pub fn expected_refs(&self, folio: &Page) -> i32 {
        Self::expected_refs_in(folio, folio.flags())
    }

    /// The same of a folio that was found with these flags.
    #[inline]
    pub(crate) fn expected_refs_in(folio: &Page, flags: u32) -> i32 {
        let cached = folio.mapping().is_some() && flags & flag::ANON == 0;
        folio.folio_mapcount_in(flags) + if cached { 1 << page::order_in(flags) } else { 0 }
    }

    /// References that the page cache holds on a folio: one a page.
    #[inline]
    pub fn cache_refs(&self, folio: &Page) -> i32 {
        if self.in_page_cache(folio) { folio.nr_pages() as i32 } else { 0 }
    }

    /// Whether the page cache holds references on it.
    #[inline]
    pub fn in_page_cache(&self, folio: &Page) -> bool {
        folio.mapping().is_some() && !folio.has(flag::ANON)
    }

    /// References that a pin of one page adds to its folio.
    #[inline]
    pub fn pin_bias(&self, folio: &Page) -> i32 {
        self.pin_bias_in(folio.flags())
    }

    /// The same of a folio with these flags.
    #[inline]
    pub(crate) fn pin_bias_in(&self, flags: u32) -> i32 {
        self.refs_of(Grab { counted: counts_apart_in(flags) })
    }

    /// Whether a pin of a page is a reference at all: not on the zero page where it does not count.
    #[inline]
    pub fn pin_counts(&self, frame: Frame) -> bool {
        frame != ZERO_FRAME || self.rules.zero_page_counts
    }

    /// References that a pin of a page is.
    #[inline]
    pub fn pin_refs(&self, frame: Frame) -> i32 {
        if self.pin_counts(frame) { self.pin_bias(self.folio(frame)) } else { 0 }
    }

    /// The references that a pin is.
    #[inline]
    fn refs_of(&self, grab: Grab) -> i32 {
        if grab.counted { 1 } else { self.rules.pin_bias as i32 }
    }

    /// How a pin of one page is kept on the folio that was found.
    #[inline]
    fn grab_of(found: Found<'_>) -> Grab {
        Grab { counted: found.is_at_least(PINCOUNT_ORDER) }
    }

    /// `try_grab_folio`: a pin on a folio that may have no references. The caller looks then
    /// whether it [fits](Grab::fits).
    #[inline]
    pub(crate) fn try_pin(&self, found: Found<'_>) -> Option<Grab> {
        let grab = Self::grab_of(found);
        found.try_get(self.refs_of(grab)).then(|| {
            if grab.counted {
                found.add_pincount(1);
            }
            grab
        })
    }

    /// The same of one that the caller knows to have references.
    #[inline]
    pub(crate) fn pin(&self, found: Found<'_>) {
        let grab = Self::grab_of(found);
        found.get(self.refs_of(grab));
        if grab.counted {
            found.add_pincount(1);
        }
    }

    /// `gup_put_folio`: no pin any more; its references, the caller's to drop.
    #[inline]
    pub(crate) fn unpin(&self, found: Found<'_>) -> i32 {
        self.undo(Self::grab_of(found), &found)
    }

    /// Takes a pin back, on the folio as it may be by now; its references, the caller's to drop.
    #[inline]
    pub(crate) fn undo(&self, grab: Grab, folio: &Page) -> i32 {
        if grab.counted {
            folio.add_pincount(-1);
        }
        self.refs_of(grab)
    }

    /// `folio_maybe_dma_pinned`: at least one pin, or as many references as one.
    #[inline]
    pub fn maybe_dma_pinned(&self, folio: &Page) -> bool {
        if counts_apart(folio) {
            folio.pincount() > 0
        } else {
            folio.refcount() >= self.rules.pin_bias as i32
        }
    }

    /// What `extra` references of a folio are made of, `own` pins beside them being the asker's.
    pub fn extra(&self, folio: &Page, extra: i32, own: i32) -> Extra {
        let bias = self.rules.pin_bias as i32;
        if extra == 0 {
            Extra { pins: 0, rest: 0 }
        } else if counts_apart(folio) {
            let pins = (folio.pincount() - own).clamp(0, extra.max(0));
            Extra { pins, rest: extra - pins }
        } else if bias > 1 {
            Extra { pins: extra / bias, rest: extra % bias }
        } else {
            Extra { pins: 0, rest: extra }
        }
    }
}
