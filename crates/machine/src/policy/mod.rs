//! Decisions: what a long-term pin does when a page cannot be moved, and what
//! kernel it runs on.
//!
//! Both are data. A [`Policy`] is a point on the axes on which the kernel's
//! retry loops have differed since 2020; [`Rules`] are the facts of one kernel
//! version that the machine follows.

mod axes;
mod caller;
pub mod decide;
mod errno;
mod kernel;

pub use axes::{
    Defect, DrainRule, DrainWhen, Empty, FailedErrno, IsolationFailure, Look, MigrationFailure, OtherPinner,
    Permanent, Policy, Scope, SweepOrder, Waiters, ZeroPage,
};
pub use caller::{Account, Caller, Entrance, Habit, Short};
pub use errno::Errno;
pub use kernel::{
    Coalesce, Cold, DrainAfterMigrate, Entry, MigrateStyle, MlockLarge, MprotectWritable, Rules, Unshare,
};
