//! Allocations that do not fail, and what is done for them: the OOM killer.
//!
//! An allocation of a single page finds one, or has processes killed until it does, one after the
//! other: it waits for a victim to give back what it had, looks again, and asks for the next. It
//! fails only for who is killed meanwhile. A larger one, or one that asks to fail
//! (`__GFP_RETRY_MAYFAIL`), kills nobody.

use super::floor::Refs;
use crate::drive::{Driver, Wait};
use crate::machine::payload::Fresh;
use crate::machine::{Gfp, OutOfMemory, PROGRAM, ProcessId};
use crate::observe::Event;

impl<'a, D: Driver> Refs<'a, D> {
    /// `fatal_signal_pending`: the run ends, or the OOM killer has chosen this process.
    #[inline]
    pub fn killed(&self) -> bool {
        self.d.killed() || self.m.processes.is_killed()
    }

    /// `alloc_pages`: from the first zone of `gfp` that has a block of the order.
    #[inline]
    pub(super) fn alloc(&self, gfp: Gfp, order: u32) -> Option<Fresh<'a>> {
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
                OutOfMemory::Dying(process) => process,
                OutOfMemory::Panicked => {
                    // Nobody does anything any more.
                    self.d.wait(Wait::Panic, &|| false);
                    return None;
                }
            };
            if process != PROGRAM {
                self.d.wait(Wait::Exit(process), &|| self.m.processes.is_gone(process));
            }
        }
        None
    }

    /// The life of a process that wants nothing: waits for its fatal signal; false if the run ends first.
    pub fn await_signal(&self, process: ProcessId) -> bool {
        self.d.wait(Wait::Signal(process), &|| self.m.processes.has_signal(process))
    }

    /// A process has given back what it had.
    pub fn exited(&self, process: ProcessId) {
        self.m.processes.has_exited(process);
        self.d.wake(Wait::Exit(process));
    }
}
