//! Decisions: what a long-term pin does when a page cannot be moved, and what
//! kernel it runs on.
//!
//! Both are data. A [`Policy`] is a point on the axes on which the kernel's
//! retry loops have differed since 2020; [`Rules`] are the facts of one kernel
//! version that the machine follows. Presets are TOML files in `data/`; a file
//! may name a `base` and change only some keys.

mod axes;
pub mod decide;
mod errno;
mod kernel;
mod presets;

pub use axes::{
    Defect, DrainRule, DrainWhen, Empty, FailedErrno, IsolationFailure, Look, MigrationFailure, OtherPinner,
    Permanent, Policy, Scope, SweepOrder, Waiters, ZeroPage,
};
pub use errno::Errno;
pub use kernel::{Cold, DrainAfterMigrate, Entry, MigrateStyle, Rules};
pub use presets::{Source, kernel_names, load_kernel, load_policy, policy_names, show_kernel, show_policy};
#[cfg(not(loom))]
pub(crate) use presets::{load, names, preset_text, presets};
