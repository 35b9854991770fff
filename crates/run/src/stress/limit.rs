//! How long a run may take of the host's time, and who may end it before.
//!
//! Everything in a run whose length is a setting asks, in the end, this one place whether it may go
//! on: the machine while it is built and recounted, threads while they are started, the loop that
//! watches real threads, the simulator between steps. What a killed thread does asks its driver,
//! which was killed from here.

use super::run::Progress;
use std::time::{Duration, Instant};

/// What a run asks of whoever started it, every 20 ms of wall time.
pub trait Host {
    /// Shown how far the run is; false to interrupt it.
    fn look(&mut self, progress: &dyn Fn() -> Progress) -> bool;

    /// Asked instead where there is nothing to show yet, or any more.
    fn may_go_on(&mut self) -> bool {
        true
    }

    /// Given the trace of the run at its end, if one was wanted.
    fn trace(&mut self, _trace: crate::observe::Trace) {}
}

/// Nobody looks.
impl Host for () {
    fn look(&mut self, _progress: &dyn Fn() -> Progress) -> bool {
        true
    }
}

/// Why something did not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Its user has had enough.
    Interrupted,
    /// Its time was up.
    Time,
}

/// The host of a run with its time.
pub struct Limit<'h> {
    host: &'h mut dyn Host,
    until: Option<Instant>,
    cut: Option<Cut>,
    process: u32,
}

impl std::fmt::Debug for Limit<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limit").field("until", &self.until).field("cut", &self.cut).finish_non_exhaustive()
    }
}

impl<'h> Limit<'h> {
    /// So long from now on.
    pub fn new(host: &'h mut dyn Host, time: Duration) -> Self {
        Self { host, until: Instant::now().checked_add(time), cut: None, process: std::process::id() }
    }

    /// Gives so long from now on, whatever was given and used up before; an interrupt stays one.
    pub fn grant(&mut self, time: Duration) {
        self.until = Instant::now().checked_add(time);
        self.cut = self.cut.filter(|cut| *cut == Cut::Interrupted);
    }

    /// Shows the host how far the run is; whether it may go on.
    pub fn look(&mut self, progress: &dyn Fn() -> Progress) -> bool {
        self.ask(|host| host.look(progress))
    }

    fn ask(&mut self, goes_on: impl FnOnce(&mut dyn Host) -> bool) -> bool {
        if self.cut.is_none() {
            if !goes_on(self.host) {
                self.cut = Some(Cut::Interrupted);
            } else if self.is_over() {
                self.cut = Some(Cut::Time);
            }
            self.stay_out_of_a_child();
        }
        self.cut.is_none()
    }

    /// Whether it may go on, where there is nothing to show yet or any more.
    pub fn may_go_on(&mut self) -> bool {
        self.ask(|host| host.may_go_on())
    }

    /// Whether the time is up, whatever the host says.
    pub fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// Why it may not.
    pub fn cut(&self) -> Option<Cut> {
        self.cut
    }

    /// Gives the trace away.
    pub fn trace(&mut self, trace: crate::observe::Trace) {
        self.host.trace(trace);
    }

    /// Whoever looks may have forked: in the child there are none of the run's threads, and to wait
    /// for them would be to wait for ever.
    fn stay_out_of_a_child(&self) {
        if std::process::id() != self.process {
            // SAFETY: writes a text that lives for ever, then ends this process without running
            // anything of it, which is what is wanted: buffers and handlers are the parent's.
            // Neither takes a lock, which a thread that is not here could hold.
            unsafe {
                libc::write(2, FORKED.as_ptr().cast(), FORKED.len());
                libc::_exit(70)
            }
        }
    }
}

const FORKED: &str = "gupstress: forked while a run was on: the child has none of its threads and ends\n";

#[cfg(test)]
mod tests {
    use super::*;

    /// Says no at the third look.
    struct Thrice(u32);

    impl Host for Thrice {
        fn look(&mut self, _progress: &dyn Fn() -> Progress) -> bool {
            self.may_go_on()
        }

        fn may_go_on(&mut self) -> bool {
            self.0 += 1;
            self.0 < 3
        }
    }

    #[test]
    fn the_host_and_the_time_each_end_it_and_an_interrupt_stays_one() {
        let mut host = Thrice(0);
        let mut limit = Limit::new(&mut host, Duration::MAX);
        assert!(limit.may_go_on() && limit.may_go_on());
        assert!(!limit.may_go_on() && !limit.may_go_on());
        assert_eq!(limit.cut(), Some(Cut::Interrupted));
        limit.grant(Duration::MAX);
        assert!(!limit.may_go_on());

        let mut nobody = ();
        let mut limit = Limit::new(&mut nobody, Duration::ZERO);
        assert!(!limit.may_go_on());
        assert_eq!(limit.cut(), Some(Cut::Time));
        limit.grant(Duration::MAX);
        assert!(limit.may_go_on());
    }

    #[test]
    fn a_child_that_is_forked_ends_at_its_first_look_and_its_parent_goes_on() {
        let mut nobody = ();
        let mut limit = Limit::new(&mut nobody, Duration::MAX);
        // SAFETY: the child asks once and ends, and neither takes a lock.
        let child = unsafe { libc::fork() };
        if child == 0 {
            limit.may_go_on();
            // SAFETY: ends the child without running anything of the tests.
            unsafe { libc::_exit(0) }
        }
        let mut status = 0;
        // SAFETY: waits for the one child of this test.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(libc::WEXITSTATUS(status), 70);
        assert!(limit.may_go_on());
    }
}
