//! Mappings: what faults, forks, walks and gives up the pages of a range.
//!
//! `walk` → `rmap` → `advise` → `zap` → `oom` → `fresh` → `fault` → `fork` → `gup`, `memfd`: each calls
//! only those before it.

mod advise;
mod around;
mod fault;
mod fork;
mod fresh;
mod gup;
mod hugetlb;
mod memfd;
mod oom;
mod rmap;
mod split;
mod walk;
mod zap;

pub use fault::Access;
pub use gup::{Lookup, PinRequest};
pub(super) use gup::{Stopped, place_of};
