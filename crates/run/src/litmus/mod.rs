//! Scripted scenarios on the simulator, and the interactive machine they run on.
//!
//! A [`Session`] is a machine that does one thing at a time, deterministically;
//! a [`Scenario`] is a program with the counts that real kernels gave for its last pin,
//! or with what may be found in the ends of its threads.

mod acts;
mod alone;
mod book;
mod give_up;
mod scenario;
mod session;
mod shipped;

pub use alone::{Alone, Limits, Taken};
pub(crate) use book::Book;
pub use scenario::{Expectation, Scenario, Wanted};
pub(crate) use session::Names;
pub use session::{MOST_SESSION_CPUS, Outcome, SESSION_LAYOUT, Session, Stage};
pub use shipped::{litmus_names, show_litmus};
