//! Mappings: what faults, forks, walks and gives up the pages of a range.
//!
//! `walk` → `rmap` → `fault`, `zap`, `fork`, `advise` → `gup`: each calls only
//! those before it.

mod advise;
mod fault;
mod fork;
mod gup;
mod rmap;
mod walk;
mod zap;

pub use fault::Access;
pub use gup::PinRequest;
pub(super) use gup::{Stopped, place_of};
