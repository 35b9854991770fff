//! What is counted.

pub mod counters;

pub use counters::{Counters, Event, Totals};
