//! Allocations that do not fail, and what is done for them: the OOM killer.
//!
//! An allocation of a single page finds one, or has processes killed until it does, one after the
//! other: it waits for a victim to give back what it had, looks again, and asks for the next. It
//! fails only for who is killed meanwhile. A larger one, or one that asks to fail
//! (`__GFP_RETRY_MAYFAIL`), kills nobody.

use crate::drive::{Driver, Wait};
use crate::machine::payload::Fresh;
use crate::machine::{Gfp, OutOfMemory};
use crate::observe::Event;
use crate::ops::floor::Mm;

impl<'a, D: Driver> Mm<'a, D> {
    /// `alloc_pages`: from the first zone of `gfp` that has a block of the order.
    #[inline]
    pub(in crate::ops) fn alloc(&self, gfp: Gfp, order: u32) -> Option<Fresh<'a>> {
        self.m.memory.alloc(self.cpu(), gfp, order).or_else(|| self.alloc_pages_may_oom(gfp, order))
    }

    #[cold]
    fn alloc_pages_may_oom(&self, gfp: Gfp, order: u32) -> Option<Fresh<'a>> {
        if order != 0 || !gfp.may_kill() {
            return None;
        }
        while !self.killed() {
            let again = || self.m.memory.alloc(self.cpu(), gfp, order);
            let process = match self.m.out_of_memory(gfp, again) {
                OutOfMemory::Found(fresh) => return Some(fresh),
                OutOfMemory::Killed(process) => {
                    self.event(Event::OomKills);
                    self.d.wake(Wait::Signal(process));
                    process
                }
                OutOfMemory::ChildKilled(child) => {
                    self.event(Event::OomKills);
                    // It wakes up for nothing else than to exit.
                    self.exit(&child);
                    continue;
                }
                OutOfMemory::Dying(process) => process,
                OutOfMemory::Panicked => {
                    // Nobody does anything any more.
                    self.d.wait(Wait::Panic, &|| false);
                    return None;
                }
            };
            // Nobody waits for his own end.
            if !self.killed() {
                self.d.wait(Wait::Exit(process), &|| !self.m.processes.is_dying(process));
            }
        }
        None
    }
}
