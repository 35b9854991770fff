//! What is measured: counters, traces and what results are made of.

pub mod trace;

pub use gupstress_machine::drive::Deed;
pub use gupstress_machine::observe::{Counters, Event, Totals, counters};
pub use trace::{Ring, Trace, Traced};
