//! What is explored: a machine, set up once, and threads that run on it again and again.

use crate::drive::sim::{Kworkers, SimEnd, SimTask};
use crate::drive::{Costs, TaskId};
use crate::machine::Machine;
use crate::observe::Totals;
use serde::{Deserialize, Serialize};

/// What a search can find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An invariant of the machine is broken: a bug of ours, not of a policy.
    Broken,
    /// A success that pinned a page which must stay movable.
    Unsafe,
    /// A call that never ends.
    Stuck,
    /// A failure though no page had a permanent obstacle.
    Spurious,
    /// An outcome that a scenario forbids, or one that it says exists.
    Outcome,
}

impl Kind {
    /// All of them, worst first.
    pub const ALL: [Self; 5] = [Self::Broken, Self::Unsafe, Self::Stuck, Self::Spurious, Self::Outcome];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Unsafe => "unsafe",
            Self::Stuck => "stuck",
            Self::Spurious => "spurious",
            Self::Outcome => "outcome",
        }
    }

    pub(super) fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// What one run came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// What there is to find in it.
    pub found: Vec<Kind>,
    /// How each thread's calls ended, in words, in the order of the threads.
    pub threads: Vec<Vec<String>>,
    /// What is broken, if anything is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub broken: Option<String>,
}

/// The end of one run, as far as a search looks at it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// What was found, by [`Kind::bit`].
    pub found: u8,
    /// The outcome and the state of every page, as one number.
    pub state: u64,
}

/// Gives the state of a page.
pub type Look = std::sync::Arc<dyn Fn(crate::machine::Frame) -> crate::machine::PageState + Send + Sync>;

/// Something to explore.
pub trait Subject {
    /// The machine.
    fn machine(&self) -> &Machine;

    /// What each task is called: threads, daemons, then a kworker for each CPU.
    fn names(&self) -> Vec<String>;

    /// Tasks that are no daemons; the first ones.
    fn threads(&self) -> usize;

    /// Puts everything back to where it was after the set-up.
    fn restore(&self);

    /// The tasks of another run.
    fn tasks(&self) -> Vec<SimTask>;

    /// Who drains.
    fn kworkers(&self) -> &Kworkers;

    /// What steps cost.
    fn costs(&self) -> &Costs;

    /// Sweeps of the call that a thread is in, if it is in one.
    fn sweeps(&self, thread: TaskId) -> Option<u64>;

    /// Sweeps that a call may take before it never ends.
    fn sweep_limit(&self) -> u64;

    /// Looks at the end of a run. `endless`: a call had not ended where it should have.
    /// `known` says whether a state was found valid before.
    fn see(&self, end: &SimEnd, endless: bool, known: &mut dyn FnMut(u64) -> bool) -> Seen;

    /// The end of a run in full.
    fn outcome(&self, end: &SimEnd, endless: bool) -> Outcome;

    /// What stood in the way where a thread's call last failed to get on, in words.
    fn hindrance(&self, thread: TaskId) -> Option<String>;

    /// The state of a page, as it is now, whoever runs: for a story.
    fn look(&self) -> Look;

    /// The pages that the threads work on, as they are now.
    fn frames(&self) -> Vec<crate::machine::Frame>;

    /// What all threads counted.
    fn counters(&self) -> Totals;
}
