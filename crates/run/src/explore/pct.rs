//! Priorities that change at a few random points.
//!
//! Probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi,
//! Nagarakatte, ASPLOS 2010): every task has a random priority, the highest that
//! can go on does; at d − 1 random points the task that runs falls below all
//! others. A finding that needs d orderings among n tasks and k choices is met
//! by one schedule with a chance of at least 1/(n·k^(d−1)).
//!
//! Retry loops are endless under fixed priorities. So tasks yield after a
//! sweep or a few, and after a few times the expected length picks are uniform: what
//! does not end then is no artefact of the priorities.

use crate::drive::{Pending, Pick, TaskId, Uniform};

/// Lengths after which picks are uniform.
const TAIL_AFTER: usize = 4;

/// One schedule's priorities.
#[derive(Debug)]
pub struct Pct {
    draw: Uniform,
    yield_every: u32,
    /// Of each task; higher goes first. 0: not seen yet.
    priorities: Vec<u64>,
    /// Choices at which the running task falls, ascending.
    changes: Vec<usize>,
    next_change: usize,
    picked: usize,
    length: usize,
}

impl Pct {
    /// Priorities of one schedule of about `length` choices, with `depth` − 1 changes, in which
    /// tasks yield every so many sweeps.
    pub fn new(seed: u64, depth: u32, length: usize, yield_every: u32) -> Self {
        let mut draw = Uniform::new(seed);
        let length = length.max(1);
        let mut changes: Vec<usize> = (1..depth).map(|_| draw.below(length)).collect();
        changes.sort_unstable();
        Self { draw, yield_every, priorities: Vec::new(), changes, next_change: 0, picked: 0, length }
    }

    /// The most that may be said of the chance of having missed a finding of this
    /// depth in so many schedules.
    pub fn missed(schedules: u64, tasks: usize, length: usize, depth: u32) -> f64 {
        let hit = 1.0 / (tasks.max(1) as f64 * (length.max(1) as f64).powi(depth.saturating_sub(1) as i32));
        (schedules as f64 * (-hit).ln_1p()).exp()
    }

    /// Whether picks are uniform by now.
    pub fn in_tail(&self) -> bool {
        self.picked > TAIL_AFTER * self.length
    }

    fn priority(&mut self, task: TaskId) -> u64 {
        if self.priorities.len() <= task {
            self.priorities.resize(task + 1, 0);
        }
        if self.priorities[task] == 0 {
            // Above all that have fallen.
            self.priorities[task] = (1 << 32) + self.draw.below(1 << 31) as u64;
        }
        self.priorities[task]
    }
}

impl Pick for Pct {
    fn pick(&mut self, current: Option<TaskId>, pending: &[Pending]) -> usize {
        self.picked += 1;
        if self.in_tail() {
            return self.draw.below(pending.len());
        }
        while self.changes.get(self.next_change).is_some_and(|&at| at < self.picked) {
            self.next_change += 1;
            if let Some(current) = current {
                self.priority(current);
                self.priorities[current] = (self.changes.len() + 1 - self.next_change) as u64;
            }
        }
        let mut best = (0, 0);
        for (at, task) in pending.iter().enumerate() {
            let priority = self.priority(task.task);
            if priority > best.0 {
                best = (priority, at);
            }
        }
        best.1
    }

    fn yield_every(&self) -> u32 {
        self.yield_every
    }
}
