//! Processes: who is killed, who waits for that, and who has ended.

use super::floor::Refs;
use crate::drive::{Driver, Wait};
use crate::machine::{PROGRAM, ProcessId};

impl<D: Driver> Refs<'_, D> {
    /// `fatal_signal_pending`: the run ends, or the OOM killer has chosen this process.
    #[inline]
    pub fn killed(&self) -> bool {
        self.d.killed() || self.m.processes.is_killed() || self.child_is_killed()
    }

    /// Whether it has chosen the child for whom the thread acts.
    #[inline]
    fn child_is_killed(&self) -> bool {
        let process = self.process.get();
        process != PROGRAM && self.m.processes.has_signal(process)
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
