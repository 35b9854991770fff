//! Who runs the machine: real threads ([`os`]) or coroutines ([`sim`]).
//!
//! What operations ask of a driver is the machine's own [`Driver`].

#[cfg(not(loom))]
mod choice;
mod control;
#[cfg(not(loom))]
mod host;
#[cfg(not(loom))]
mod least;
#[cfg(not(loom))]
mod listed;
#[cfg(not(loom))]
pub mod os;
#[cfg(not(loom))]
mod place;
#[cfg(not(loom))]
mod queue;
#[cfg(not(loom))]
pub mod sim;
#[cfg(not(loom))]
mod timed;
#[cfg(not(loom))]
mod tournament;
#[cfg(not(loom))]
mod world;

#[cfg(not(loom))]
pub use choice::{Pending, Strategy, Streams, TaskId};
pub use control::{Control, Decision};
pub use gupstress_machine::drive::{CostSet, Costs, Deed, Driver, STEPS, Step, Wait, Waited};
#[cfg(not(loom))]
pub use host::Host;
#[cfg(not(loom))]
pub use listed::{Listed, Pick, Uniform};
#[cfg(not(loom))]
pub use place::{Place, Waiting};
#[cfg(not(loom))]
pub use timed::{Preemption, Sched, Timed};
