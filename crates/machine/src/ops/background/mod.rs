//! What else goes on in a machine: reclaim, compaction, offlining, devices, and
//! pages with an obstacle of their own.

mod busy;
mod compact;
mod dma;
mod offline;
mod reclaim;
mod special;

pub use dma::{Dma, DmaError};
