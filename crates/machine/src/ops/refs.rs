//! References on pages, and where a thread of control is.

use super::floor::Refs;
use crate::drive::{Driver, Step};
use crate::machine::page::NO_FRAME;
use crate::machine::{Cpu, Frame, Page, flag};
use crate::observe::Event;

impl<'a, D: Driver> Refs<'a, D> {
    /// The CPU it is on.
    #[inline]
    pub fn cpu(&self) -> usize {
        self.cpu.get()
    }

    /// Moves it to another CPU.
    pub fn move_to(&self, cpu: usize) {
        self.cpu.set(cpu);
        self.d.moved_to(cpu);
    }

    #[inline]
    pub(super) fn local(&self) -> &'a Cpu {
        &self.m.cpus[self.cpu.get()]
    }

    #[inline]
    pub(super) fn page(&self, frame: Frame) -> &'a Page {
        self.m.page(frame)
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

    /// Drops `n` references of a page; the last one frees it: `folio_put_refs`.
    #[inline]
    pub fn put(&self, frame: Frame, n: i32) {
        if self.page(frame).put_testzero(n) {
            self.free(frame);
        }
    }

    /// `__folio_put`: the last reference is gone. Out of line: most puts are not the last.
    #[inline(never)]
    fn free(&self, frame: Frame) {
        let page = self.page(frame);
        debug_assert_eq!(page.mapcount(), 0, "a mapped page lost its last reference");
        if page.test_clear(flag::LRU) {
            self.m.lruvec.lock().del(&self.m.memory, frame);
        }
        self.m.memory.free(self.cpu(), frame);
    }
}
