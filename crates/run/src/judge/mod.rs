//! Judging: what a call came to, what a run found, and how it is called.
//!
//! [`class`] judges one call by the truth about its pages; [`findings`] is what is
//! kept of calls that failed or pinned what they must not; [`liveness`] of those
//! that did not end; [`oom`] who was killed for memory; [`result`] all that a run found; [`verdict`] the one word for
//! it, and for several runs in a matrix; [`victims`] judges who wants memory back.

pub mod class;
pub mod findings;
pub mod liveness;
pub mod oom;
pub mod result;
pub mod verdict;
pub mod victims;

pub use class::Class;
pub use findings::{Causes, Failure, Findings, MAX_FINDINGS, UnsafePin};
pub use liveness::{Liveness, LivenessVerdict, Sample, Stall};
pub use oom::Oom;
pub use result::{Calls, RunResult, Status};
pub use verdict::Verdict;
pub use victims::{Attempt, Attempts, UnsafePins, Victims};
