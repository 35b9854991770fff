//! From a frame to its folio, and what a folio's pages say together.

use super::ids::{Frame, Frames};
use super::memory::Memory;
use super::page::{self, MAX_ORDER, Page, flag};
use std::ops::Deref;

/// A folio that is worked on: the frame that names it, and that frame's line, which is looked up once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Folio<'m> {
    /// Its first frame.
    pub head: Frame,
    line: &'m Page,
}

/// A folio as a look at one of its pages has found it. Whoever has no reference then may find another
/// there once he has one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'m> {
    /// The page that was looked at,
    frame: Frame,
    /// its flags, which say the order,
    said: u32,
    /// and the line of the folio that it is part of.
    line: &'m Page,
}

impl<'m> Found<'m> {
    /// That folio.
    #[inline]
    pub fn folio(self) -> Folio<'m> {
        Folio { head: page::head_in(self.said, self.frame), line: self.line }
    }

    /// Whether its order is no less than this one, which is above 0.
    #[inline]
    pub fn is_at_least(self, order: u32) -> bool {
        page::is_at_least_in(self.said, order)
    }

    /// The flags of the page itself, as it was found.
    #[inline]
    pub fn page_flags(self) -> u32 {
        self.said
    }

    /// Whether the folio has more than one page.
    #[inline]
    pub fn is_large(self) -> bool {
        page::is_large_in(self.said)
    }

    /// The folio's flags. A page alone has been asked already.
    #[inline]
    pub fn flags(self) -> u32 {
        if page::is_large_in(self.said) { self.line.flags() } else { self.said }
    }

    /// Whether the page is part of the same folio, or of one with the same first page that `fits` anew. The
    /// caller has a reference on what was found, and no order changes while there are any. All pages of a
    /// folio say the same order, so its first one is asked.
    #[inline]
    pub fn is_still(self, memory: &Memory, fits: impl FnOnce(&Page) -> bool) -> bool {
        if (self.line.flags() ^ self.said) & flag::ORDERS == 0 {
            return true;
        }
        memory.is_part_of(self.frame, self.folio().head) && fits(self.line)
    }
}

impl Deref for Found<'_> {
    type Target = Page;

    #[inline]
    fn deref(&self) -> &Page {
        self.line
    }
}

impl Deref for Folio<'_> {
    type Target = Page;

    #[inline]
    fn deref(&self) -> &Page {
        self.line
    }
}

impl Memory {
    /// The first frame of the folio that a frame is part of: `page_folio`.
    #[inline]
    pub fn head(&self, frame: Frame) -> Frame {
        self.page(frame).head_of(frame)
    }

    /// The line that has the state of the folio that a frame is part of.
    #[inline]
    pub fn folio(&self, frame: Frame) -> &Page {
        self.page_folio(frame).line
    }

    /// That folio, to be worked on.
    #[inline]
    pub(crate) fn page_folio(&self, frame: Frame) -> Folio<'_> {
        self.folio_of(self.page(frame), frame)
    }

    /// The same by the frame's own line: it is looked up once where it says itself that it is a head.
    #[inline]
    pub(crate) fn folio_of<'m>(&'m self, page: &'m Page, frame: Frame) -> Folio<'m> {
        let head = page.head_of(frame);
        Folio { head, line: if head == frame { page } else { self.page(head) } }
    }

    /// The folio that a frame is part of, found by one look at its line.
    #[inline]
    pub(crate) fn find(&self, frame: Frame) -> Found<'_> {
        let page = self.page(frame);
        let said = page.flags();
        let line = if page::is_large_in(said) { self.large_folio(said, frame) } else { page };
        Found { frame, said, line }
    }

    /// Whether a page is part of the folio with this first page.
    #[cold]
    #[inline(never)]
    fn is_part_of(&self, frame: Frame, head: Frame) -> bool {
        self.head(frame) == head
    }

    /// Out of line: most folios are single pages, and what needs no more than that is short.
    #[cold]
    #[inline(never)]
    fn large_folio(&self, said: u32, frame: Frame) -> &Page {
        self.page(page::head_in(said, frame))
    }

    /// The folio that a frame is known to be the head of.
    #[inline]
    pub(crate) fn folio_at(&self, head: Frame) -> Folio<'_> {
        Folio { head, line: self.page(head) }
    }

    /// The frames of the folio that a frame is part of.
    #[inline]
    pub fn frames_of(&self, frame: Frame) -> Frames {
        let page = self.page(frame);
        page.head_of(frame).run(page.nr_pages())
    }

    /// Counts `n` more PTEs that map a page; returns how many do. Under the page-table lock.
    #[inline]
    pub fn add_mapcount(&self, frame: Frame, n: i32) -> i32 {
        self.add_mapcount_of(self.page(frame), frame, n)
    }

    /// The same by the page's own line.
    #[inline]
    pub(crate) fn add_mapcount_of(&self, page: &Page, frame: Frame, n: i32) -> i32 {
        if page.is_large() {
            self.page(page.head_of(frame)).add_large_mapcount(n);
        }
        page.add_mapcount(n)
    }

    /// `folio_add_new_anon_rmap`: each page of a fresh folio of this order is mapped by a PTE. Under
    /// the page-table lock.
    #[inline]
    pub(crate) fn map_fresh(&self, folio: Folio<'_>, order: u32) {
        folio.first_mapping();
        if order != 0 {
            (1..1 << order).for_each(|nth| self.page(folio.head + nth).first_mapping());
            folio.first_large_mapping(1 << order);
        }
    }

    /// PMDs that map a folio of the largest order: `_entire_mapcount`, kept in its second page.
    #[inline]
    pub fn entire_mapcount(&self, head: Frame) -> i32 {
        if self.page(head).order() < MAX_ORDER { 0 } else { self.page(head + 1).large_mapcount() }
    }

    /// Counts `n` more PMDs that map a folio of the largest order. Under the page-table lock.
    pub(crate) fn add_entire_mapcount(&self, head: Frame, n: i32) {
        debug_assert_eq!(self.page(head).order(), MAX_ORDER);
        self.page(head).add_large_mapcount(n);
        self.page(head + 1).add_large_mapcount(n);
    }

    /// Whether a page is its mapping's alone (`PageAnonExclusive`): where a PMD maps its folio, the
    /// head says it for all of them.
    #[inline]
    pub fn is_anon_exclusive(&self, frame: Frame) -> bool {
        let head = self.head(frame);
        let says = if self.entire_mapcount(head) == 0 { frame } else { head };
        self.page(says).has(flag::ANON_EXCLUSIVE)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::machine::{CpuId, Gfp, Layout};

    fn memory() -> Memory {
        Memory::build(&Layout { normal: 1024, movable: 1024, cma: 0, page_bytes: 64 }, 1).unwrap()
    }

    fn published(memory: &Memory, order: u32) -> Frame {
        memory.alloc(CpuId(0), Gfp::Movable, order).unwrap().publish()
    }

    #[test]
    fn a_page_whose_neighbour_is_a_folio_that_is_mapped_is_mapped_by_no_pmd() {
        let memory = memory();
        let frozen = memory.freeze(published(&memory, 2), 1).unwrap();
        let parts = frozen.split(&[0, 0, 1], |_| 1);
        let [_, single, large] = [0, 1, 2].map(|nth: usize| parts[nth].0);
        parts.into_iter().for_each(|(part, refs)| memory.unfreeze(part, refs));
        memory.add_mapcount(large, 1);
        assert_eq!((single + 1, memory.folio(large).folio_mapcount()), (large, 1));
        assert_eq!(memory.entire_mapcount(single), 0);
    }

    #[test]
    fn what_was_found_is_still_that_until_it_is_split_and_then_what_its_first_page_is_if_that_fits() {
        let memory = memory();
        let head = published(&memory, 2);
        let [first, second] = [head, head + 1].map(|frame| memory.find(frame));
        memory.page(head).set(flag::DIRTY | flag::REFERENCED);
        assert!(first.is_still(&memory, |_| false) && second.is_still(&memory, |_| false));
        let parts = memory.freeze(head, 1).unwrap().split(&[0, 0, 1], |_| 1);
        parts.into_iter().for_each(|(part, refs)| memory.unfreeze(part, refs));
        assert_eq!([true, false].map(|fits| first.is_still(&memory, |_| fits)), [true, false]);
        assert!(first.is_still(&memory, |folio| !folio.is_large()) && !second.is_still(&memory, |_| true));
    }

    #[test]
    fn each_page_says_whether_it_is_exclusive_unless_a_pmd_maps_all() {
        let memory = memory();
        let head = published(&memory, MAX_ORDER);
        let exclusive = || [head, head + 1, head + 2].map(|frame| memory.is_anon_exclusive(frame));
        memory.page(head + 1).set(flag::ANON_EXCLUSIVE);
        assert_eq!(exclusive(), [false, true, false]);
        memory.page(head).set(flag::ANON_EXCLUSIVE);
        assert_eq!(exclusive(), [true, true, false]);
        memory.add_entire_mapcount(head, 1);
        assert_eq!(exclusive(), [true; 3]);
    }
}
