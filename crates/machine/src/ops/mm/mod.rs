//! Mappings: what faults, forks, walks and gives up the pages of a range.
//!
//! `walk` → `rmap` → `advise` → `zap` → `oom` → `fresh` → `anon` → `cow` → `fault` →
//! `fork` → `gup`, `memfd`: each calls only those before it.

mod advise;
mod anon;
mod around;
mod cow;
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

pub use anon::Access;
pub use gup::{Lookup, PinRequest};
pub(super) use gup::{Stopped, place_of};
