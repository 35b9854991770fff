//! Calls that did not end, and what is said of a run for them.

use crate::machine::{Breakdown, Obstacle, PageState};
use serde::Serialize;

/// Did every call end?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LivenessVerdict {
    /// Every call ended, or had time left to.
    Live,
    /// A call did not end while others did, and ended alone.
    Starved,
    /// A call does not end, alone or not.
    Livelocked,
    /// Nobody can go on.
    Deadlocked,
    /// Too little time to say: the host gave too little, or the timeout did.
    Inconclusive,
}

impl LivenessVerdict {
    /// Whether some call never ends.
    pub fn is_stuck(self) -> bool {
        matches!(self, Self::Starved | Self::Livelocked | Self::Deadlocked)
    }
}

/// A call that did not end.
#[derive(Debug, Clone, Serialize)]
pub struct Stall {
    /// Which pinner.
    pub thread: usize,
    /// The step it was at.
    pub step: &'static str,
    /// The page it was about.
    pub page: Option<PageState>,
    /// What stood in that page's way.
    pub obstacle: Option<Obstacle>,
    /// For one that sweeps: who had what of the page when it last failed to get on.
    pub found: Option<Breakdown>,
    /// Whether that is permanent.
    pub permanent: bool,
    /// Sweeps it had taken.
    pub sweeps: u64,
    /// How long it had lasted.
    pub waited_s: f64,
    /// What it did alone: `fails`, `passes`, or not tried.
    pub alone: Option<&'static str>,
    /// For a deadlock, what it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
}

/// The verdict with what it rests on.
#[derive(Debug, Clone, Serialize)]
pub struct Liveness {
    /// The verdict.
    pub verdict: LivenessVerdict,
    /// Calls that did not end.
    pub findings: Vec<Stall>,
}

/// Progress at one moment.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Sample {
    /// Seconds since the pinners set off.
    pub t_s: f64,
    /// Page pins so far.
    pub pages_pinned: u64,
    /// Calls ended so far.
    pub calls: u64,
}
