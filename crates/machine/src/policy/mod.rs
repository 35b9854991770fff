//! Decisions: what a long-term pin does when a page cannot be moved, and what
//! kernel it runs on.
//!
//! Both are data. A [`Policy`] is a point on the axes on which the kernel's
//! retry loops have differed since 2020; [`Rules`] are the facts of one kernel
//! version that the machine follows.

mod axes;
mod kernel;

pub use axes::{
    Defect, DrainRule, Empty, FailedErrno, IsolationFailure, MigrationFailure, OtherPinner, Permanent,
    Policy, Scope, SweepOrder, ZeroPage,
};
pub use kernel::{Cold, DrainAfterMigrate, Entry, MigrateStyle, Rules};
