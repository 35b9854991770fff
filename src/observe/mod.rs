//! What is measured: counters, histograms and what results are made of.

pub mod counters;

pub use counters::{Counters, Event, Totals};
