//! What files of `/proc` and tracefs say. Nothing here reads a file: texts come in, so that
//! what other kernels say can be read too.

mod kprobe_profile;
mod pagemap;
mod vmstat;
mod zoneinfo;

pub use kprobe_profile::{Hits, kprobe_profile};
pub use pagemap::{Entry, PAGEMAP_ENTRY};
pub use vmstat::vmstat;
pub use zoneinfo::{Zone, zoneinfo};
