//! A search over many schedules, on all cores.
//!
//! The work is cut into batches that do not depend on each other, and results
//! are put together in the order of the batches: what is found is the same
//! however many workers there are. For random strategies a batch is a range of
//! schedule numbers; for the bounded search it is one part of the tree.

use super::board::{Board, Part};
use super::schedule::Schedule;
use super::settings::Settings;
use super::subject::{Kind, Outcome};
use crate::error::{Error, Result};
use crate::sync::thread;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::time::{Duration, Instant};

/// How schedules are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "strategy", rename_all = "lowercase")]
pub enum Search {
    /// Uniform over what is runnable.
    Random,
    /// Priorities with `depth` − 1 changes.
    Pct {
        /// Orderings that a finding may need.
        depth: u32,
    },
    /// All with at most so many preemptions.
    Bounded {
        /// Preemptions.
        preemptions: u32,
    },
}

/// What to look for, and how long.
#[derive(Debug, Clone)]
pub struct Hunt {
    /// What is explored.
    pub settings: Settings,
    /// How.
    pub search: Search,
    /// Of how many sweeps of a task it yields after one, but where picks are uniform; at least 1.
    pub yield_every: u32,
    /// Most schedules; none: as many as there are, for the bounded search.
    pub schedules: Option<u64>,
    /// Longest search.
    pub timeout: Duration,
    /// Kinds that are findings.
    pub find: Vec<Kind>,
    /// Whether it goes on after the first finding.
    pub keep_going: bool,
    /// Of everything that is drawn.
    pub seed: u64,
    /// Threads that search.
    pub workers: usize,
}

/// Something that was found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Finding {
    /// The worst of what it is.
    pub kind: Kind,
    /// Which schedule it was, from 0, in the order of the search.
    pub number: u64,
    /// Schedules that came to the same.
    pub times: u64,
    /// Seed of its run.
    pub seed: u64,
    /// Who went on.
    pub schedule: Schedule,
    /// Of how many sweeps of a task it yielded after one; 0: it never did.
    pub yield_every: u32,
    /// Switches away from a task that could have gone on.
    pub preemptions: u32,
    /// What it came to.
    pub outcome: Outcome,
}

/// What a search came to.
#[derive(Debug, Clone)]
pub struct Hunted {
    /// Schedules run.
    pub schedules: u64,
    /// Steps taken in them.
    pub steps: u64,
    /// Runs that were cut after too many steps, and judged neither way.
    pub cut: u64,
    /// Different ends: outcome and state of every mapped page.
    pub states: u64,
    /// Steps of the model that were come to, by bit.
    pub reached: u64,
    /// For the bounded search: whether it has covered all.
    pub complete: Option<bool>,
    /// Parts of the tree that were covered, of all there are below the first schedule.
    pub parts: Option<(u64, u64)>,
    /// Choices of an undisturbed schedule.
    pub length: usize,
    /// Tasks between which there was a choice at most.
    pub tasks: usize,
    /// What was found, in the order of the search.
    pub findings: Vec<Finding>,
    /// Of each condition of a scenario: schedules that met it, and the first that did.
    pub met: Vec<Met>,
    /// Whether it was interrupted, or its time was up.
    pub stopped: Option<Stopped>,
    /// Wall time.
    pub elapsed: Duration,
}

/// How often a condition was met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Met {
    /// Schedules that met it.
    pub times: u64,
    /// Number of the first of them; none: no schedule did.
    pub first: Option<u64>,
}

impl Met {
    /// Another's, whose schedules come after so many.
    pub(super) fn add(&mut self, other: Self, before: u64) {
        self.times += other.times;
        self.first = self.first.or(other.first.map(|first| before + first));
    }
}

/// Why a search ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stopped {
    /// By its user.
    Interrupted,
    /// By its timeout.
    Timeout,
}

/// How far a search is.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Progress {
    /// Schedules run.
    pub schedules: u64,
    /// Findings so far.
    pub findings: u64,
    /// Wall seconds.
    pub elapsed_s: f64,
}

impl Hunt {
    /// Searches; `look` is asked every 20 ms and answers whether to go on.
    pub fn run(&self, look: &mut dyn FnMut(Progress) -> bool) -> Result<Hunted> {
        let began = Instant::now();
        let board = Board::new(self, 0..u64::MAX)?;
        let stopped = self.work(&board, began, look)?;
        board.put_together(stopped, began.elapsed())
    }

    /// How many batches it is cut into.
    pub fn batches(&self) -> Result<u64> {
        Ok(Board::new(self, 0..0)?.batches())
    }

    /// Does some of its batches and no more, for [`Hunt::gather`].
    pub fn part(&self, wanted: Range<u64>, look: &mut dyn FnMut(Progress) -> bool) -> Result<Part> {
        let board = Board::new(self, wanted)?;
        let stopped = self.work(&board, Instant::now(), look)?;
        Ok(board.into_part(stopped))
    }

    /// Puts parts together: the same, whoever did which.
    pub fn gather(
        &self,
        parts: impl IntoIterator<Item = Part>,
        stopped: Option<Stopped>,
        elapsed: Duration,
    ) -> Result<Hunted> {
        let board = Board::new(self, 0..0)?;
        parts.into_iter().for_each(|part| board.take(part));
        board.put_together(stopped, elapsed)
    }

    /// Has workers do the batches of a board; returns why they were stopped, if they were.
    fn work(
        &self,
        board: &Board<'_>,
        began: Instant,
        look: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Option<Stopped>> {
        let mut stopped = None;
        thread::scope(|scope| {
            let workers: Vec<_> = (0..self.workers.max(1)).map(|_| scope.spawn(|| board.work())).collect();
            while workers.iter().any(|worker| !worker.is_finished()) {
                thread::sleep(Duration::from_millis(if began.elapsed().as_millis() < 20 { 1 } else { 10 }));
                if stopped.is_none() && !look(board.progress(began.elapsed())) {
                    stopped = Some(Stopped::Interrupted);
                }
                if stopped.is_none() && began.elapsed() >= self.timeout {
                    stopped = Some(Stopped::Timeout);
                }
                if stopped.is_some() {
                    board.cancel();
                }
            }
            workers.into_iter().try_for_each(|worker| match worker.join() {
                Ok(result) => result,
                Err(_) => Err(Error::Internal("a search thread panicked".into())),
            })
        })?;
        Ok(stopped)
    }

    pub(super) fn bound(&self) -> u32 {
        if let Search::Bounded { preemptions } = self.search { preemptions } else { 0 }
    }

    /// Kinds that are findings, by [`Kind::bit`].
    pub(super) fn mask(&self) -> u8 {
        self.find.iter().fold(0, |mask, kind| mask | kind.bit())
    }
}
