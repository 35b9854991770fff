//! Scripted scenarios on the simulator, and the interactive machine they run on.
//!
//! A [`Session`] is a machine that does one thing at a time, deterministically;
//! a [`Scenario`] is a list of such things with the counts that real kernels
//! gave for its last pin.

mod scenario;
mod session;

pub use scenario::{Expectation, Scenario, StepError, litmus_names, show_litmus};
pub use session::{Outcome, SESSION_LAYOUT, Session, SessionError};
