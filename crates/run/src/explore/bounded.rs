//! Every schedule with at most so many preemptions, depth first.
//!
//! Iterative context bounding (Musuvathi, Qadeer, PLDI 2007): most races need
//! few preemptions. A switch where the running task waits, or gives way at the
//! end of a sweep or between calls, is free. Tasks yield after a sweep or a few, so
//! every schedule is fair, and a retry loop that waits for another is finite.
//!
//! The search is a stack of choice points, each with the tasks that have yet
//! to be tried there. A run follows the stack, decides nothing beyond it, and
//! pushes what it meets; then the last point with something untried is the next to turn.

use super::schedule::{Schedule, preempted, unbidden};
use crate::drive::{Pending, Pick, TaskId};

/// One point at which more than one task could go on.
#[derive(Debug, Clone, Copy)]
struct Point {
    chosen: u16,
    /// Tasks, by bit, that have yet to go on here.
    untried: u64,
    /// Of those that could, the ones that would preempt.
    preempting: u64,
    /// Preemptions before this point.
    spent: u32,
}

/// A depth-first search below a fixed beginning.
#[derive(Debug, Clone)]
pub struct Bounded {
    preemptions: u32,
    yield_every: u32,
    points: Vec<Point>,
    /// Points of the stack that are given and never turned.
    fixed: usize,
    at: usize,
    /// Whether a run met other choices than the same ones before led to: not a search but a bug.
    pub strayed: bool,
}

impl Bounded {
    /// All schedules with at most `preemptions`, in which tasks yield every so many sweeps.
    pub fn new(preemptions: u32, yield_every: u32) -> Self {
        Self { preemptions, yield_every, points: Vec::new(), fixed: 0, at: 0, strayed: false }
    }

    /// Turns to the next schedule; false if there is none.
    pub fn turn(&mut self) -> bool {
        while self.points.len() > self.fixed {
            let Some(point) = self.points.last_mut() else { break };
            if point.untried != 0 {
                let task = point.untried.trailing_zeros();
                point.untried &= point.untried - 1;
                point.chosen = task as u16;
                return true;
            }
            self.points.pop();
        }
        false
    }

    /// The searches that together, in order, cover what is left of this one after its first
    /// run: below each alternative of each of its points, the latest first.
    pub fn split(&self) -> Vec<Self> {
        let mut parts = Vec::new();
        for depth in (self.fixed..self.points.len()).rev() {
            let mut untried = self.points[depth].untried;
            while untried != 0 {
                let task = untried.trailing_zeros();
                untried &= untried - 1;
                let mut points = self.points[..=depth].to_vec();
                points[depth].chosen = task as u16;
                parts.push(Self { points, fixed: depth + 1, ..self.clone() });
            }
        }
        parts
    }

    /// The choices of the latest run.
    pub fn schedule(&self) -> Schedule {
        Schedule(self.points.iter().map(|point| point.chosen).collect())
    }

    /// Choices of the latest run.
    pub fn depth(&self) -> usize {
        self.points.len()
    }
}

impl Pick for Bounded {
    fn begin(&mut self) {
        self.at = 0;
    }

    fn pick(&mut self, current: Option<TaskId>, pending: &[Pending]) -> usize {
        let at = self.at;
        self.at += 1;
        if let Some(point) = self.points.get(at) {
            let found = pending.iter().position(|p| p.task == usize::from(point.chosen));
            self.strayed |= found.is_none();
            return found.unwrap_or(0);
        }
        let spent = self
            .points
            .last()
            .map_or(0, |last| last.spent + u32::from(last.preempting >> last.chosen & 1 == 1));
        let picked = unbidden(current, pending);
        let kept = preempted(current, pending);
        let mut point = Point { chosen: pending[picked].task as u16, untried: 0, preempting: 0, spent };
        for (i, p) in pending.iter().enumerate() {
            let preempting = kept.is_some_and(|kept| kept != p.task);
            point.preempting |= u64::from(preempting) << p.task;
            if i != picked && (!preempting || spent < self.preemptions) {
                point.untried |= 1 << p.task;
            }
        }
        self.points.push(point);
        picked
    }

    fn yield_every(&self) -> u32 {
        self.yield_every
    }
}
