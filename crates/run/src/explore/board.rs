//! The batches of a search: who does which, and what they come to together.

use super::bounded::Bounded;
use super::hunt::{Finding, Hunt, Hunted, Met, Progress, Search, Stopped};
use super::pct::Pct;
use super::runner::Runner;
use super::schedule::{Recorder, Replay};
use super::subject::{Kind, Outcome, Seen};
use crate::drive::{Pick, Uniform};
use crate::error::{Error, Result};
use crate::sync::{AtomicBool, AtomicU64, Mutex, Ordering};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::time::Duration;

/// Schedules of a batch of a random strategy.
const BATCH: u64 = 64;
/// Findings kept of a batch, and of a search.
const MOST_FINDINGS: usize = 100;

/// What one batch came to, which its number tells: whoever runs it, and whatever was run before.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Batch {
    schedules: u64,
    steps: u64,
    cut: u64,
    reached: u64,
    states: HashSet<u64>,
    findings: Vec<Finding>,
    /// Which of the findings a schedule comes to once more.
    #[serde(skip)]
    again: HashMap<(Kind, u64), usize>,
    met: Vec<Met>,
    /// The step of a scenario that could not be done.
    failed: Option<String>,
    done: bool,
}

/// Batches of a search that were done by themselves. Those of several parts are put together in
/// any order: each batch is in one of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Part {
    batches: BTreeMap<u64, Batch>,
    /// Whether none that come after it are of the search.
    pub over: bool,
    /// Why it is not whole, if it is not.
    pub stopped: Option<Stopped>,
}

/// Who has done which batches of a search.
pub(super) struct Board<'h> {
    hunt: &'h Hunt,
    parts: Vec<Bounded>,
    length: usize,
    tasks: usize,
    next: AtomicU64,
    /// Behind those that are to be done.
    end: u64,
    /// The first batch in which something was found that ends the search.
    last: AtomicU64,
    cancelled: AtomicBool,
    schedules: AtomicU64,
    found: AtomicU64,
    done: Mutex<Done>,
}

/// Batches that are done, and how far there is none missing.
#[derive(Default)]
struct Done {
    batches: BTreeMap<u64, Batch>,
    next: u64,
    /// Schedules of those before `next`.
    schedules: u64,
}

/// A seed of its own for each schedule.
fn seed_of(seed: u64, number: u64) -> u64 {
    let mut z = seed ^ number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

impl<'h> Board<'h> {
    /// Of those batches of a search that are in `wanted`.
    pub fn new(hunt: &'h Hunt, wanted: Range<u64>) -> Result<Self> {
        let mut first = Runner::new(hunt.settings.subject()?);
        // The schedule in which nothing is decided tells how long one is, and where it could turn.
        let ran = first.run(Recorder::new(Bounded::new(hunt.bound(), hunt.yield_every)), hunt.seed);
        let bounded = matches!(hunt.search, Search::Bounded { .. });
        let mut board = Self {
            hunt,
            length: ran.pick.schedule.0.len(),
            tasks: first.subject.tasks().len() + first.subject.kworkers().len(),
            parts: if bounded { ran.pick.pick.split() } else { Vec::new() },
            next: AtomicU64::new(wanted.start),
            end: wanted.end,
            last: AtomicU64::new(u64::MAX),
            cancelled: AtomicBool::new(false),
            schedules: AtomicU64::new(0),
            found: AtomicU64::new(0),
            done: Mutex::new(Done { next: wanted.start, ..Done::default() }),
        };
        board.end = board.end.min(board.batches());
        Ok(board)
    }

    /// How far it is.
    pub fn progress(&self, elapsed: Duration) -> Progress {
        Progress {
            schedules: self.schedules.load(Ordering::Relaxed),
            findings: self.found.load(Ordering::Relaxed),
            elapsed_s: elapsed.as_secs_f64(),
        }
    }

    /// Ends it as soon as can be.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// How many batches the search has.
    pub fn batches(&self) -> u64 {
        match self.hunt.search {
            // The first schedule is a batch of its own.
            Search::Bounded { .. } => self.parts.len() as u64 + 1,
            _ => self.limit().div_ceil(BATCH),
        }
    }

    /// Does one batch after the other until there is none left.
    pub fn work(&self) -> Result<()> {
        let mut runner = Runner::new(self.hunt.settings.subject()?);
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let over = number > self.last.load(Ordering::Relaxed) || self.cancelled.load(Ordering::Relaxed);
            if over || number >= self.end {
                return Ok(());
            }
            let batch = self.run_batch(&mut runner, number, self.limit());
            self.put(number, batch);
        }
    }

    /// Takes what a batch came to.
    fn put(&self, number: u64, batch: Batch) {
        let mut done = self.done.lock();
        if batch.failed.is_some() || (!batch.findings.is_empty() && !self.hunt.keep_going) {
            self.end_with(number);
        }
        done.batches.insert(number, batch);
        while let Some(schedules) = done.batches.get(&done.next).map(|batch| batch.schedules) {
            done.schedules += schedules;
            if done.schedules >= self.limit() {
                self.end_with(done.next);
                break;
            }
            done.next += 1;
        }
    }

    /// No batch after this one is of the search. Called under the lock alone.
    fn end_with(&self, number: u64) {
        let last = self.last.load(Ordering::Relaxed).min(number);
        self.last.store(last, Ordering::Relaxed);
    }

    /// What was done, for another board to take.
    pub fn into_part(self, stopped: Option<Stopped>) -> Part {
        let over = self.last.load(Ordering::Relaxed) != u64::MAX;
        Part { batches: std::mem::take(&mut self.done.lock().batches), over, stopped }
    }

    /// Takes what others have done.
    pub fn take(&self, part: Part) {
        for (number, batch) in part.batches {
            self.schedules.fetch_add(batch.schedules, Ordering::Relaxed);
            self.put(number, batch);
        }
    }

    /// Most schedules of the search.
    fn limit(&self) -> u64 {
        self.hunt.schedules.unwrap_or(u64::MAX)
    }

    fn run_batch(&self, runner: &mut Runner, number: u64, most: u64) -> Batch {
        let mut batch = Batch::default();
        let before = (runner.steps, runner.cut);
        runner.reached = 0;
        self.fill_batch(runner, number, most, &mut batch);
        (batch.steps, batch.cut) = (runner.steps - before.0, runner.cut - before.1);
        batch.reached = runner.reached;
        batch
    }

    fn fill_batch(&self, runner: &mut Runner, number: u64, most: u64, batch: &mut Batch) {
        let Hunt { search, yield_every, seed, .. } = *self.hunt;
        if let Search::Bounded { preemptions } = search {
            let mut pick = match number {
                0 => Bounded::new(preemptions, yield_every),
                part => self.parts[part as usize - 1].clone(),
            };
            loop {
                if batch.schedules >= most || self.is_stopped(number) {
                    return;
                }
                let ran = runner.run(pick, seed);
                pick = ran.pick;
                assert!(!pick.strayed, "a run of the same choices differs from the one before");
                let again = || (Replay::new(pick.schedule(), yield_every), seed);
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
        for at in number * BATCH..end.min(most) {
            if self.is_stopped(number) {
                return;
            }
            let seed = seed_of(seed, at);
            let over = if let Search::Pct { depth } = search {
                let pick = || Pct::new(seed, depth, self.length, yield_every);
                let seen = runner.run(pick(), seed).seen;
                self.count(runner, batch, seen, number, || (pick(), seed))
            } else {
                let seen = runner.run(Uniform::new(seed), seed).seen;
                self.count(runner, batch, seen, number, || (Uniform::new(seed), seed))
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
        seen: Seen,
        number: u64,
        again: impl FnOnce() -> (P, u64),
    ) -> bool {
        let at = batch.schedules;
        batch.schedules += 1;
        self.schedules.fetch_add(1, Ordering::Relaxed);
        batch.states.insert(seen.state);
        let mut met = seen.met;
        while met != 0 {
            let condition = met.trailing_zeros() as usize;
            met &= met - 1;
            if batch.met.len() <= condition {
                batch.met.resize(condition + 1, Met::default());
            }
            batch.met[condition].add(Met { times: 1, first: Some(at) }, 0);
        }
        if seen.failed {
            batch.failed = runner.subject.failure();
            return true;
        }
        let found = seen.found & self.hunt.mask();
        let Some(kind) = Kind::ALL.into_iter().find(|kind| found & kind.bit() != 0) else { return false };
        self.found.fetch_add(1, Ordering::Relaxed);
        if let Some(&at) = batch.again.get(&(kind, seen.state)) {
            if let Some(finding) = batch.findings.get_mut(at) {
                finding.times += 1;
            }
            return false;
        }
        batch.again.insert((kind, seen.state), batch.findings.len());
        if batch.findings.len() < MOST_FINDINGS {
            let (steps, cut) = (runner.steps, runner.cut);
            let (pick, seed) = again();
            let yield_every = pick.yield_every();
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
                yield_every,
                preemptions,
                outcome,
            });
        }
        !self.hunt.keep_going
    }

    /// What all batches came to, in their order.
    pub fn put_together(&self, stopped: Option<Stopped>, elapsed: Duration) -> Result<Hunted> {
        let hunt = self.hunt;
        let bounded = matches!(hunt.search, Search::Bounded { .. });
        let last = self.last.load(Ordering::Relaxed);
        let batches = std::mem::take(&mut self.done.lock().batches);
        let all = self.batches();
        let mut done = 0;
        let mut hunted = Hunted {
            schedules: 0,
            steps: 0,
            cut: 0,
            states: 0,
            reached: 0,
            complete: None,
            parts: None,
            length: self.length,
            tasks: self.tasks,
            findings: Vec::new(),
            met: Vec::new(),
            stopped,
            elapsed,
        };
        let mut states = HashSet::new();
        let mut same: HashMap<_, usize> = HashMap::new();
        for (number, mut batch) in batches.into_iter().take_while(|&(number, _)| number <= last) {
            let before = hunted.schedules;
            let left = self.limit() - before;
            if bounded && batch.schedules > left {
                // Which of its schedules are too many is known only now.
                self.cancelled.store(false, Ordering::Relaxed);
                let mut runner = Runner::new(hunt.settings.subject()?);
                batch = self.run_batch(&mut runner, number, left);
            }
            done += u64::from(batch.done);
            if let Some(step) = batch.failed {
                return Err(Error::config("", step));
            }
            if hunted.met.len() < batch.met.len() {
                hunted.met.resize(batch.met.len(), Met::default());
            }
            hunted.met.iter_mut().zip(batch.met).for_each(|(all, met)| all.add(met, before));
            for mut finding in batch.findings {
                finding.number += if bounded { before } else { 0 };
                let Outcome { threads, conditions, .. } = finding.outcome.clone();
                let key = (finding.kind, threads, conditions);
                match same.get(&key) {
                    Some(&first) => hunted.findings[first].times += finding.times,
                    None if hunted.findings.len() < MOST_FINDINGS => {
                        same.insert(key, hunted.findings.len());
                        hunted.findings.push(finding);
                    }
                    None => {}
                }
            }
            hunted.schedules = before + batch.schedules;
            hunted.steps += batch.steps;
            hunted.cut += batch.cut;
            hunted.reached |= batch.reached;
            states.extend(batch.states);
        }
        hunted.states = states.len() as u64;
        hunted.parts = bounded.then_some((done, all));
        let ended_early = !hunt.keep_going && !hunted.findings.is_empty();
        hunted.complete =
            bounded.then_some(stopped.is_none() && !ended_early && done == all && hunted.cut == 0);
        Ok(hunted)
    }
}
