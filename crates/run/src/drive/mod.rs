//! Who runs the machine: real threads ([`os`]) or coroutines ([`sim`]).
//!
//! What operations ask of a driver is the machine's own [`Driver`].

#[cfg(not(loom))]
pub mod os;
mod sched;
#[cfg(not(loom))]
pub mod sim;

pub use gupstress_machine::drive::{Costs, Deed, Driver, STEPS, Step, Wait, Waited};
#[cfg(not(loom))]
pub use os::{Place, Waiting};
pub use sched::{Candidate, Random, Scheduler, TaskId, Timed};
