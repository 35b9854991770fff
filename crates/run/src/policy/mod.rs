//! Policies and kernel rules by name or from files.
//!
//! What they say is the machine's: a [`Policy`] is a point on the axes on which
//! the kernel's retry loops have differed since 2020, [`Rules`] are the facts of
//! one kernel version. Presets are TOML files in `data/`; a file may name a
//! `base` and change only some keys.

mod presets;

pub use gupstress_machine::policy::*;
pub use presets::{
    DEFAULT_KERNEL, Source, kernel_names, load_kernel, load_policy, policy_names, show_kernel, show_policy,
};
#[cfg(not(loom))]
pub(crate) use presets::{load, names, preset_text, presets};
