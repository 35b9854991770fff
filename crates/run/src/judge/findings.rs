//! What is found while a run goes on, call by call.

use super::class::Class;
use crate::machine::{Breakdown, Cause, Obstacle, PageState};
use crate::ops::Errno;
use serde::Serialize;

/// Findings kept of a kind; counts go on beyond.
pub const MAX_FINDINGS: usize = 100;

/// A failed call, judged.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    /// Which pinner.
    pub thread: usize,
    /// Justified or spurious.
    pub class: Class,
    /// What it failed with.
    pub errno: Errno,
    /// The step at which it failed to get on.
    pub step: &'static str,
    /// Sweeps it took.
    pub sweeps: u32,
    /// What made it fail.
    pub obstacle: Option<Obstacle>,
    /// Whether that is permanent.
    pub permanent: bool,
    /// Who had what of the page that it failed over, at that moment.
    pub found: Option<Breakdown>,
    /// That page, as the call left it.
    pub page: Option<PageState>,
}

/// A pin of a page that must stay movable.
#[derive(Debug, Clone, Serialize)]
pub struct UnsafePin {
    /// Which pinner.
    pub thread: usize,
    /// Sweeps it took.
    pub sweeps: u32,
    /// The page.
    pub page: PageState,
}

/// Findings as they are made.
#[derive(Debug, Default, Clone)]
pub struct Findings {
    /// Failed calls.
    pub failures: Vec<Failure>,
    /// Pins of pages that must stay movable.
    pub unsafe_pins: Vec<UnsafePin>,
}

/// Failed calls by what made them fail; the sum is all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Causes([u64; Cause::WORDS.len()]);

impl Causes {
    /// One more.
    pub fn add(&mut self, cause: Cause) {
        self.0[cause as usize] += 1;
    }

    /// How many of one.
    pub fn get(&self, cause: Cause) -> u64 {
        self.0[cause as usize]
    }

    /// All of them.
    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Another's on top.
    pub fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine += theirs);
    }
}

impl Serialize for Causes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Cause::WORDS.iter().map(|&(word, cause)| (word, self.get(cause))))
    }
}
