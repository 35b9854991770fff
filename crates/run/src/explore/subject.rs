//! What is explored: a machine, set up once, and threads that run on it again and again.

use crate::drive::sim::{Kworkers, SimEnd, SimTask};
use crate::drive::{Costs, TaskId};
use crate::judge::Class;
use crate::machine::{Digest, Machine, Mapping, Recount};
use crate::observe::Totals;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

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
    /// Conditions of the scenario that it fulfils.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub conditions: Vec<String>,
}

/// The end of one run, as far as a search looks at it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// What was found, by [`Kind::bit`].
    pub found: u8,
    /// The outcome and the state of every page, as one number.
    pub state: u64,
    /// Conditions of a scenario that it fulfils, by bit.
    pub met: u64,
    /// Whether some step could not be done.
    pub failed: bool,
}

/// States that were recounted, and what came of it: most ends are like one before.
#[derive(Debug, Default)]
pub struct Known(HashMap<u64, bool>);

/// States that are remembered; beyond, states are recounted again.
const MOST_STATES: usize = 1 << 20;

impl Known {
    /// Whether a state is broken, recounted unless it was before.
    pub fn is_broken(&mut self, state: u64, recount: impl FnOnce() -> bool) -> bool {
        if let Some(&broken) = self.0.get(&state) {
            return broken;
        }
        let broken = recount();
        if self.0.len() < MOST_STATES {
            self.0.insert(state, broken);
        }
        broken
    }
}

/// Adds the pages of a mapping to a state: their references and flags.
pub(super) fn add_pages(m: &Machine, mapping: &Mapping, state: &mut Digest) {
    let vma = &mapping.vma;
    for pte in vma.pages().map(|index| vma.pte(index)).filter(|pte| pte.is_present()) {
        let page = m.page(pte.frame());
        state.add(u64::from(page.refcount() as u32) << 32 | u64::from(page.flags()));
    }
}

/// What there is to find in the calls of one thread, by [`Kind::bit`].
pub(super) fn of_classes(classes: &[u64; Class::COUNT]) -> u8 {
    let kinds = [(Class::PinnedUnsafe, Kind::Unsafe), (Class::FailedSpurious, Kind::Spurious)];
    let has = kinds.into_iter().filter(|(class, _)| classes[*class as usize] != 0);
    has.fold(0, |found, (_, kind)| found | kind.bit())
}

/// What there is to find in how a run ended, by [`Kind::bit`].
pub(super) fn of_end(end: &SimEnd, endless: bool) -> u8 {
    match end {
        SimEnd::Done if endless => Kind::Stuck.bit(),
        SimEnd::Done => 0,
        SimEnd::Deadlock(_) => Kind::Stuck.bit(),
        SimEnd::Panicked(..) | SimEnd::NoStack(_) => Kind::Broken.bit(),
    }
}

/// What is broken at the end of a run, if anything is; nothing can be told of one that never ends.
pub(super) fn broken(end: &SimEnd, endless: bool, recount: impl FnOnce() -> Recount) -> Option<String> {
    match end {
        SimEnd::Panicked(task, message) => Some(format!("thread {task} panicked: {message}")),
        SimEnd::NoStack(why) => Some(format!("no memory for a thread: {why}")),
        SimEnd::Done if !endless => {
            recount().broken.first().map(|broken| format!("{}: {}", broken.invariant, broken.found))
        }
        _ => None,
    }
}

/// How a thread's calls ended, in words. `open`: it is in one; `stuck`: how many it would have
/// made, had the run not been ended.
pub(super) fn words(classes: &[u64; Class::COUNT], open: bool, stuck: Option<u64>) -> Vec<String> {
    let ended = Class::WORDS.iter().zip(classes);
    let mut words: Vec<String> =
        ended.flat_map(|((class, _), &n)| (0..n).map(move |_| (*class).to_owned())).collect();
    if open || stuck.is_some_and(|calls| (words.len() as u64) < calls) {
        words.push(Class::Stuck.name().to_owned());
    }
    words
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
    /// `known` has the states of the runs before.
    fn see(&self, end: &SimEnd, endless: bool, known: &mut Known) -> Seen;

    /// The end of a run in full.
    fn outcome(&self, end: &SimEnd, endless: bool) -> Outcome;

    /// Which step could not be done, if one could not.
    fn failure(&self) -> Option<String> {
        None
    }

    /// What stood in the way where a thread's call last failed to get on, in words.
    fn hindrance(&self, thread: TaskId) -> Option<String>;

    /// The state of a page, as it is now, whoever runs: for a story.
    fn look(&self) -> Look;

    /// What all threads counted.
    fn counters(&self) -> Totals;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_was_broken_once_is_broken_again() {
        let mut known = Known::default();
        assert!(known.is_broken(7, || true));
        assert!(known.is_broken(7, || unreachable!("it is known")));
        assert!(!known.is_broken(8, || false));
        assert!(!known.is_broken(8, || unreachable!("it is known")));
    }
}
