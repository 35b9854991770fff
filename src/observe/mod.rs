//! What is measured: counters, histograms, traces and what results are made of.

pub mod counters;
pub mod trace;

pub use counters::{Counters, Event, Totals};
pub use trace::{Deed, Ring, Trace, Traced};
