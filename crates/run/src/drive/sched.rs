//! Who runs next in the simulator.

use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// A task of the simulator, by number.
pub type TaskId = usize;

/// What a scheduler may know of a task that could run.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// Which task.
    pub task: TaskId,
    /// The CPU it is on.
    pub cpu: usize,
    /// Virtual time at which it could go on, its CPU being free.
    pub start: u64,
    /// Whether it has been woken since it last ran.
    pub woken: bool,
}

/// Chooses, at every step, the task that takes it.
pub trait Scheduler {
    /// An index into `candidates`, which is never empty and in order of task number.
    fn pick(&mut self, candidates: &[Candidate], now: u64) -> usize;
}

/// CPUs in parallel, time slices on each: the runnable task whose step would
/// come first runs.
///
/// On one CPU a task keeps running until it blocks or its slice ends, then the
/// one that has waited longest follows; a task that was woken preempts.
#[derive(Debug)]
pub struct Timed {
    slice_ns: u64,
    /// Task, end of slice; one for each CPU.
    running: Vec<Option<(TaskId, u64)>>,
    /// When each task last ran, for turns.
    last_ran: Vec<u64>,
}

impl Timed {
    /// With time slices of `slice_ns`.
    pub fn new(slice_ns: u64) -> Self {
        Self { slice_ns, running: Vec::new(), last_ran: Vec::new() }
    }

    /// Lower goes first on its CPU: woken, then current, then longest waiting.
    fn turn(&self, candidate: &Candidate) -> (u8, u64) {
        let current = self.running.get(candidate.cpu).copied().flatten();
        let last = self.last_ran.get(candidate.task).copied().unwrap_or(0);
        match current {
            _ if candidate.woken => (0, last),
            Some((task, end)) if task == candidate.task && candidate.start < end => (1, last),
            _ => (2, last),
        }
    }
}

impl Scheduler for Timed {
    fn pick(&mut self, candidates: &[Candidate], _now: u64) -> usize {
        // Tasks that wait for the same CPU start when it is free, all at once:
        // so turns decide among them, and the earliest step among CPUs.
        let (chosen, candidate) = candidates
            .iter()
            .enumerate()
            .min_by(|(_, a), (_, b)| a.start.cmp(&b.start).then_with(|| self.turn(a).cmp(&self.turn(b))))
            .expect("never empty");
        let (cpu, start) = (candidate.cpu, candidate.start);
        if self.running.len() <= cpu {
            self.running.resize(cpu + 1, None);
        }
        if self.last_ran.len() <= candidate.task {
            self.last_ran.resize(candidate.task + 1, 0);
        }
        let keeps = matches!(self.running[cpu], Some((task, end)) if task == candidate.task && start < end);
        if !keeps {
            self.running[cpu] = Some((candidate.task, start + self.slice_ns));
        }
        self.last_ran[candidate.task] = start + 1;
        chosen
    }
}

/// Any runnable task with equal probability at every step.
#[derive(Debug)]
pub struct Random {
    rng: Xoshiro256PlusPlus,
}

impl Random {
    /// With a seeded generator.
    pub fn new(seed: u64) -> Self {
        Self { rng: Xoshiro256PlusPlus::seed_from_u64(seed) }
    }
}

impl Scheduler for Random {
    fn pick(&mut self, candidates: &[Candidate], now: u64) -> usize {
        // Sleepers are no candidates before their time, unless there is nobody else.
        let awake = candidates.iter().filter(|c| c.start <= now).count() as u64;
        if awake == 0 {
            let first = candidates.iter().enumerate().min_by_key(|(_, c)| (c.start, c.task));
            return first.expect("never empty").0;
        }
        let nth = ((u128::from(self.rng.next_u64()) * u128::from(awake)) >> 64) as usize;
        let mut ready = candidates.iter().enumerate().filter(|(_, c)| c.start <= now);
        ready.nth(nth).expect("counted").0
    }
}
