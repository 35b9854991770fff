//! References on pages, and where a thread of control is.

use super::floor::Refs;
use crate::drive::{Driver, Step};
use crate::machine::NO_FRAME;
use crate::machine::{Cpu, CpuId, Folio, Found, Frame, Mapping, Page, PageIndex, flag};
use crate::observe::Event;

impl<'a, D: Driver> Refs<'a, D> {
    /// The CPU it is on.
    #[inline]
    pub fn cpu(&self) -> CpuId {
        self.cpu.get()
    }

    /// Moves it to another CPU.
    pub fn move_to(&self, cpu: CpuId) {
        self.cpu.set(cpu);
        self.d.moved_to(cpu);
    }

    /// Does something on another CPU, if one is said, and comes back.
    pub(super) fn on_cpu(&self, cpu: Option<CpuId>, body: impl FnOnce()) {
        let here = self.cpu();
        let elsewhere = cpu.filter(|&cpu| cpu != here);
        elsewhere.into_iter().for_each(|cpu| self.move_to(cpu));
        body();
        if elsewhere.is_some() {
            self.move_to(here);
        }
    }

    #[inline]
    pub(super) fn local(&self) -> &'a Cpu {
        self.m.cpu(self.cpu.get())
    }

    /// The very page of a frame: what it has apart from its folio.
    #[inline]
    pub(super) fn page(&self, frame: Frame) -> &'a Page {
        self.m.page(frame)
    }

    /// The folio that a frame is part of.
    #[inline]
    pub(super) fn folio(&self, frame: Frame) -> &'a Page {
        self.m.folio(frame)
    }

    /// The first frame of that folio, which names it.
    #[inline]
    pub(super) fn head(&self, frame: Frame) -> Frame {
        self.m.memory.head(frame)
    }

    /// That folio, to be worked on.
    #[inline]
    pub(super) fn page_folio(&self, frame: Frame) -> Folio<'a> {
        self.m.memory.page_folio(frame)
    }

    /// The same by one look at its line.
    #[inline]
    pub(super) fn find(&self, frame: Frame) -> Found<'a> {
        self.m.memory.find(frame)
    }

    /// The folio that a frame is known to be the head of.
    #[inline]
    pub(super) fn folio_at(&self, head: Frame) -> Folio<'a> {
        self.m.memory.folio_at(head)
    }

    #[inline]
    pub(super) fn step(&self, at: Step, frame: Frame) {
        self.d.step(at, frame);
    }

    #[inline]
    pub(super) fn step_at(&self, at: Step) {
        self.d.step(at, NO_FRAME);
    }

    #[inline]
    pub(super) fn event(&self, event: Event) {
        self.count.add(event, 1);
    }

    /// `folio_try_get` and its like: a reference on the folio that a page is part of, unless it is frozen or free,
    /// or has been split just now.
    #[inline]
    pub(super) fn try_get_folio(&self, frame: Frame) -> Option<Folio<'a>> {
        let folio = self.page_folio(frame);
        if !folio.try_get(1) {
            // Most callers look again.
            self.d.relax();
            return None;
        }
        if self.head(frame) == folio.head {
            return Some(folio);
        }
        self.put_folio(folio, 1);
        None
    }

    /// The same of what a page cache was seen to have, if it has it still (`xas_reload`): the frame
    /// may have been freed and allocated anew in between, and no stranger's page is to be locked.
    #[inline]
    pub(super) fn try_get_cached(
        &self,
        mapping: &Mapping,
        index: PageIndex,
        frame: Frame,
    ) -> Option<Folio<'a>> {
        let folio = self.try_get_folio(frame)?;
        if mapping.cached(index) == Some(frame) {
            return Some(folio);
        }
        self.put_folio(folio, 1);
        None
    }

    /// Drops `n` references of a page's folio; the last one frees it: `folio_put_refs`.
    #[inline]
    pub fn put(&self, frame: Frame, n: i32) {
        self.put_folio(self.page_folio(frame), n);
    }

    /// The same of a folio in hand; also for references that were taken before it was known to be
    /// that of the page.
    #[inline]
    pub(super) fn put_folio(&self, folio: Folio<'_>, n: i32) {
        if folio.put_testzero(n) {
            self.free(folio);
        }
    }

    /// The same of a folio that was found: its first frame is asked for by few.
    #[inline]
    pub(super) fn put_found(&self, found: Found<'_>, n: i32) {
        if found.put_testzero(n) {
            self.free_last(found.folio());
        }
    }

    /// Mappings keep most of what is unpinned.
    #[cold]
    #[inline(never)]
    fn free_last(&self, folio: Folio<'_>) {
        self.free(folio);
    }

    /// `__folio_put`: the last reference is gone. Out of line: most puts are not the last.
    #[inline(never)]
    pub(super) fn free(&self, folio: Folio<'_>) {
        debug_assert_eq!(folio.folio_mapcount(), 0, "a mapped folio lost its last reference");
        if folio.test_clear(flag::LRU) {
            self.m.lruvec.lock().del(&self.m.memory, folio);
        }
        if folio.has(flag::HUGETLB) {
            self.m.free_hugetlb(self.cpu(), folio.head);
        } else {
            self.m.memory.free_folio(self.cpu(), folio);
        }
    }
}
