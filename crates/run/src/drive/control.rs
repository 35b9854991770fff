//! What whoever watches a run may do to its threads, under any driver.

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Go on, and ask again at this time.
    Continue(u64),
    /// End the run.
    Kill,
}

/// What a watchdog may see of the threads it watches, and do to them.
pub trait Control {
    /// CPU time that a thread has had, in nanoseconds; `None` where the host does not say.
    fn cpu_time(&self, thread: usize) -> Option<u64>;
    /// Pauses every thread but one, each where it holds nothing.
    fn pause_all_but(&self, thread: usize);
    /// Ends the pause.
    fn resume(&self);
}
