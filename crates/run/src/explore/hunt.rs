//! A search over many schedules, on all cores.
//!
//! The work is cut into batches that do not depend on each other, and results
//! are put together in the order of the batches: what is found is the same
//! however many workers there are. For random strategies a batch is a range of
//! schedule numbers; for the bounded search it is one part of the tree.

use super::bounded::Bounded;
use super::pct::Pct;
use super::runner::Runner;
use super::schedule::{Recorder, Schedule};
use super::settings::Settings;
use super::subject::{Kind, Outcome};
use crate::drive::{Pick, Uniform};
use crate::error::Result;
use crate::sync::{AtomicBool, AtomicU64, Mutex, Ordering, thread};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
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
#[derive(Debug, Clone)]
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
    /// Whether tasks yielded after a sweep.
    pub fair: bool,
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
    /// Whether it was interrupted, or its time was up.
    pub stopped: Option<Stopped>,
    /// Wall time.
    pub elapsed: Duration,
}

/// Why a search ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
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

/// Schedules of a batch of a random strategy.
const BATCH: u64 = 64;
/// Findings kept of a batch, and of a search.
const MOST_FINDINGS: usize = 100;

#[derive(Default)]
struct Batch {
    schedules: u64,
    steps: u64,
    cut: u64,
    reached: u64,
    states: HashSet<u64>,
    findings: Vec<Finding>,
    /// Those that came to the same as one of this batch.
    again: HashMap<(Kind, u64), (usize, u64)>,
    done: bool,
}

struct Board<'h> {
    hunt: &'h Hunt,
    parts: Vec<Bounded>,
    length: usize,
    next: AtomicU64,
    /// The first batch in which something was found that ends the search.
    last: AtomicU64,
    cancelled: AtomicBool,
    schedules: AtomicU64,
    found: AtomicU64,
    batches: Mutex<BTreeMap<u64, Batch>>,
}

/// A seed of its own for each schedule.
fn seed_of(seed: u64, number: u64) -> u64 {
    let mut z = seed ^ number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

impl Hunt {
    /// Searches; `look` is asked every 20 ms and answers whether to go on.
    pub fn run(&self, look: &mut dyn FnMut(Progress) -> bool) -> Result<Hunted> {
        let began = Instant::now();
        let mut first = Runner::new(self.settings.subject()?);
        // The schedule in which nothing is decided tells how long one is, and where it could turn.
        let ran = first.run(Recorder::new(Bounded::new(self.bound())), self.seed);
        let length = ran.pick.schedule.0.len();
        let tasks = first.subject.tasks().len() + first.subject.kworkers().len();
        let parts = if let Search::Bounded { .. } = self.search { ran.pick.pick.split() } else { Vec::new() };
        drop(first);
        let board = Board {
            hunt: self,
            parts,
            length,
            next: AtomicU64::new(0),
            last: AtomicU64::new(u64::MAX),
            cancelled: AtomicBool::new(false),
            schedules: AtomicU64::new(0),
            found: AtomicU64::new(0),
            batches: Mutex::new(BTreeMap::new()),
        };
        let mut stopped = None;
        thread::scope(|scope| {
            let workers: Vec<_> = (0..self.workers.max(1)).map(|_| scope.spawn(|| board.work())).collect();
            while workers.iter().any(|worker| !worker.is_finished()) {
                thread::sleep(Duration::from_millis(if began.elapsed().as_millis() < 20 { 1 } else { 10 }));
                let progress = Progress {
                    schedules: board.schedules.load(Ordering::Relaxed),
                    findings: board.found.load(Ordering::Relaxed),
                    elapsed_s: began.elapsed().as_secs_f64(),
                };
                if stopped.is_none() && !look(progress) {
                    stopped = Some(Stopped::Interrupted);
                }
                if stopped.is_none() && began.elapsed() >= self.timeout {
                    stopped = Some(Stopped::Timeout);
                }
                board.cancelled.store(stopped.is_some(), Ordering::Relaxed);
            }
            workers.into_iter().try_for_each(|worker| match worker.join() {
                Ok(result) => result,
                Err(_) => Err(crate::error::Error::Internal("a search thread panicked".into())),
            })
        })?;
        Ok(board.put_together(tasks, stopped, began.elapsed()))
    }

    fn bound(&self) -> u32 {
        if let Search::Bounded { preemptions } = self.search { preemptions } else { 0 }
    }

    fn batches(&self, parts: usize) -> u64 {
        match self.search {
            // The first schedule is a batch of its own.
            Search::Bounded { .. } => parts as u64 + 1,
            _ => self.schedules.unwrap_or(u64::MAX).div_ceil(BATCH),
        }
    }

    fn mask(&self) -> u8 {
        self.find.iter().fold(0, |mask, kind| mask | kind.bit())
    }
}

impl Board<'_> {
    fn work(&self) -> Result<()> {
        let mut runner = Runner::new(self.hunt.settings.subject()?);
        let batches = self.hunt.batches(self.parts.len());
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let over = number > self.last.load(Ordering::Relaxed) || self.cancelled.load(Ordering::Relaxed);
            if over || number >= batches {
                return Ok(());
            }
            let mut batch = Batch::default();
            let before = (runner.steps, runner.cut);
            runner.reached = 0;
            self.run_batch(&mut runner, number, &mut batch);
            (batch.steps, batch.cut) = (runner.steps - before.0, runner.cut - before.1);
            batch.reached = runner.reached;
            let mut batches = self.batches.lock();
            if !batch.findings.is_empty() && !self.hunt.keep_going {
                // Changed under the lock alone.
                let last = self.last.load(Ordering::Relaxed).min(number);
                self.last.store(last, Ordering::Relaxed);
            }
            batches.insert(number, batch);
        }
    }

    fn run_batch(&self, runner: &mut Runner, number: u64, batch: &mut Batch) {
        let Hunt { search, seed, schedules, .. } = *self.hunt;
        if let Search::Bounded { preemptions } = search {
            let mut pick = match number {
                0 => Bounded::new(preemptions),
                part => self.parts[part as usize - 1].clone(),
            };
            loop {
                if batch.schedules >= schedules.unwrap_or(u64::MAX) || self.is_stopped(number) {
                    return;
                }
                let ran = runner.run(pick, seed);
                pick = ran.pick;
                assert!(!pick.strayed, "a run of the same choices differs from the one before");
                let again = || (super::schedule::Replay::new(pick.schedule(), true), seed, true);
                if self.count(runner, batch, ran.seen, number, again) {
                    return;
                }
                if number == 0 || !pick.turn() {
                    batch.done = true;
                    return;
                }
            }
        }
        let end = (number + 1) * BATCH;
        for at in number * BATCH..end.min(schedules.unwrap_or(u64::MAX)) {
            if self.is_stopped(number) {
                return;
            }
            let seed = seed_of(seed, at);
            let over = if let Search::Pct { depth } = search {
                let pick = || Pct::new(seed, depth, self.length);
                let seen = runner.run(pick(), seed).seen;
                self.count(runner, batch, seen, number, || (pick(), seed, true))
            } else {
                let seen = runner.run(Uniform::new(seed), seed).seen;
                self.count(runner, batch, seen, number, || (Uniform::new(seed), seed, false))
            };
            if over {
                return;
            }
        }
        batch.done = true;
    }

    fn is_stopped(&self, number: u64) -> bool {
        self.cancelled.load(Ordering::Relaxed) || number > self.last.load(Ordering::Relaxed)
    }

    /// Counts a schedule; what it found is run `again` and written down. True if that ends the search.
    fn count<P: Pick + 'static>(
        &self,
        runner: &mut Runner,
        batch: &mut Batch,
        seen: super::subject::Seen,
        number: u64,
        again: impl FnOnce() -> (P, u64, bool),
    ) -> bool {
        let at = batch.schedules;
        batch.schedules += 1;
        self.schedules.fetch_add(1, Ordering::Relaxed);
        batch.states.insert(seen.state);
        let found = seen.found & self.hunt.mask();
        let Some(kind) = Kind::ALL.into_iter().find(|kind| found & kind.bit() != 0) else { return false };
        self.found.fetch_add(1, Ordering::Relaxed);
        if let Some((_, times)) = batch.again.get_mut(&(kind, seen.state)) {
            *times += 1;
            return false;
        }
        batch.again.insert((kind, seen.state), (batch.findings.len(), 1));
        if batch.findings.len() < MOST_FINDINGS {
            let (steps, cut) = (runner.steps, runner.cut);
            let (pick, seed, fair) = again();
            let ran = runner.run(Recorder::new(pick), seed);
            (runner.steps, runner.cut) = (steps, cut);
            let outcome = ran.outcome(runner);
            let Recorder { schedule, preemptions, .. } = ran.pick;
            // Numbers within the search are known once the batches before are.
            let number =
                if matches!(self.hunt.search, Search::Bounded { .. }) { at } else { number * BATCH + at };
            batch.findings.push(Finding {
                kind,
                number,
                times: 1,
                seed,
                schedule,
                fair,
                preemptions,
                outcome,
            });
        }
        !self.hunt.keep_going
    }

    fn put_together(&self, tasks: usize, stopped: Option<Stopped>, elapsed: Duration) -> Hunted {
        let hunt = self.hunt;
        let bounded = matches!(hunt.search, Search::Bounded { .. });
        let last = self.last.load(Ordering::Relaxed);
        let batches = std::mem::take(&mut *self.batches.lock());
        let all = hunt.batches(self.parts.len());
        let limit = hunt.schedules.unwrap_or(u64::MAX);
        let done = batches.values().filter(|batch| batch.done).count() as u64;
        let mut hunted = Hunted {
            schedules: 0,
            steps: 0,
            cut: 0,
            states: 0,
            reached: 0,
            complete: None,
            parts: bounded.then_some((done, all)),
            length: self.length,
            tasks,
            findings: Vec::new(),
            stopped,
            elapsed,
        };
        let mut states = HashSet::new();
        let mut same: HashMap<(Kind, Vec<Vec<String>>), usize> = HashMap::new();
        for batch in batches.into_iter().filter(|&(number, _)| number <= last).map(|(_, batch)| batch) {
            let before = hunted.schedules;
            for (at, mut finding) in batch.findings.into_iter().enumerate() {
                finding.number += if bounded { before } else { 0 };
                if finding.number >= limit {
                    continue;
                }
                let times = batch.again.values().find(|(nth, _)| *nth == at).map_or(1, |&(_, times)| times);
                match same.get(&(finding.kind, finding.outcome.threads.clone())) {
                    Some(&first) => hunted.findings[first].times += times,
                    None if hunted.findings.len() < MOST_FINDINGS => {
                        same.insert((finding.kind, finding.outcome.threads.clone()), hunted.findings.len());
                        hunted.findings.push(Finding { times, ..finding });
                    }
                    None => {}
                }
            }
            hunted.schedules = (before + batch.schedules).min(limit.max(before));
            hunted.steps += batch.steps;
            hunted.cut += batch.cut;
            hunted.reached |= batch.reached;
            states.extend(batch.states);
        }
        hunted.states = states.len() as u64;
        let ended_early = !hunt.keep_going && !hunted.findings.is_empty();
        hunted.complete =
            bounded.then_some(stopped.is_none() && !ended_early && done == all && hunted.schedules < limit);
        hunted
    }
}
