//! A schedule: who went on, at each point where more than one could.
//!
//! Everything else of a run follows from its settings and seed, so a schedule
//! replays it. It is written in runs, `[task, times]`: most of a schedule is
//! one task going on.

use crate::drive::{Pending, Pick, TaskId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Who went on, choice by choice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Schedule(pub Vec<u16>);

impl Schedule {
    /// The choices as runs of one task.
    pub fn runs(&self) -> impl Iterator<Item = (u16, usize)> + '_ {
        self.0.chunk_by(|a, b| a == b).map(|run| (run[0], run.len()))
    }
}

impl Serialize for Schedule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.runs())
    }
}

/// Most choices that a schedule is read with: far beyond any that a search makes.
const MOST_CHOICES: usize = 10_000_000;

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut choices = Vec::new();
        for (task, times) in Vec::<(u16, usize)>::deserialize(deserializer)? {
            if times == 0 || choices.len().saturating_add(times) > MOST_CHOICES {
                let reason = format!("choices: a run of {times}; nearest: 1");
                return Err(serde::de::Error::custom(reason));
            }
            choices.resize(choices.len() + times, task);
        }
        Ok(Self(choices))
    }
}

/// Whether a task that stands there gives way for nothing: between calls, at the end of a sweep.
pub fn gives_way(pending: &Pending) -> bool {
    use crate::drive::Step;
    let step = pending.step;
    step.holds_nothing() || matches!(step, Step::Backoff | Step::WaitOwner | Step::WaitTurn)
}

/// Whom it is a preemption to let any other task go on than.
pub fn preempted(current: Option<TaskId>, pending: &[Pending]) -> Option<TaskId> {
    let current = current?;
    pending.iter().any(|p| p.task == current && !gives_way(p)).then_some(current)
}

/// Who goes on if nothing is to be decided: the current one, else the first.
pub fn unbidden(current: Option<TaskId>, pending: &[Pending]) -> usize {
    current.and_then(|current| pending.iter().position(|p| p.task == current)).unwrap_or(0)
}

/// Writes down what another picks.
#[derive(Debug, Default)]
pub struct Recorder<P> {
    /// Who picks.
    pub pick: P,
    /// What it picked in this run.
    pub schedule: Schedule,
    /// Preemptions among it.
    pub preemptions: u32,
}

impl<P: Pick> Recorder<P> {
    /// Records `pick`.
    pub fn new(pick: P) -> Self {
        Self { pick, schedule: Schedule::default(), preemptions: 0 }
    }
}

impl<P: Pick> Pick for Recorder<P> {
    fn begin(&mut self) {
        self.schedule.0.clear();
        self.preemptions = 0;
        self.pick.begin();
    }
    fn pick(&mut self, current: Option<TaskId>, pending: &[Pending]) -> usize {
        let picked = self.pick.pick(current, pending);
        let task = pending[picked].task;
        self.schedule.0.push(task as u16);
        self.preemptions += u32::from(preempted(current, pending).is_some_and(|current| current != task));
        picked
    }
    fn yield_every(&self) -> u32 {
        self.pick.yield_every()
    }
    fn end(&mut self) {
        self.pick.end();
    }
}

/// Where a replay could not follow its schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Divergence {
    /// Which choice, from 1.
    pub at: usize,
    /// Whom the schedule names there; none if it has ended.
    pub expected: Option<u16>,
    /// Who could go on.
    pub runnable: Vec<TaskId>,
}

/// Picks as a schedule says.
#[derive(Debug)]
pub struct Replay {
    schedule: Schedule,
    yield_every: u32,
    next: usize,
    /// The first point at which that was not possible; from there on nothing is decided.
    pub diverged: Option<Divergence>,
}

impl Replay {
    /// Follows `schedule`, made by a search in which tasks yielded every so many sweeps.
    pub fn new(schedule: Schedule, yield_every: u32) -> Self {
        Self { schedule, yield_every, next: 0, diverged: None }
    }

    /// Choices of the schedule that did not come up.
    pub fn left(&self) -> usize {
        self.schedule.0.len() - self.next.min(self.schedule.0.len())
    }
}

impl Pick for Replay {
    fn begin(&mut self) {
        self.next = 0;
        self.diverged = None;
    }
    fn pick(&mut self, current: Option<TaskId>, pending: &[Pending]) -> usize {
        let expected = self.schedule.0.get(self.next).copied();
        self.next += 1;
        let found = pending.iter().position(|p| expected.is_some_and(|task| p.task == usize::from(task)));
        if found.is_none() && self.diverged.is_none() {
            let runnable = pending.iter().map(|p| p.task).collect();
            self.diverged = Some(Divergence { at: self.next, expected, runnable });
        }
        match (&self.diverged, found) {
            (None, Some(found)) => found,
            _ => unbidden(current, pending),
        }
    }
    fn yield_every(&self) -> u32 {
        self.yield_every
    }
}
