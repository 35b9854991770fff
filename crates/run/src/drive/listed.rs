//! Any order of steps, whatever they take: what explorations choose from.
//!
//! Virtual time goes on with the steps, and a timeout fires once it has come
//! to it; nobody is hurried by another's deadline. Where everybody sleeps, the
//! first to wake goes on.
//!
//! # Fairness
//!
//! A task at the start of a sweep yields, where that is wanted: it is not
//! chosen again while another could go on that has not run since. So nobody
//! sweeps and sweeps while the one it waits for is not let go on (Musuvathi,
//! Qadeer: Fair Stateless Model Checking, PLDI 2008).

use super::Step;
use super::choice::{Pending, Strategy, Streams, TaskId};
use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Picks among tasks that could all take the next step.
pub trait Pick {
    /// Another run begins.
    fn begin(&mut self) {}

    /// An index into `pending`, which holds at least two tasks in the order of their numbers.
    /// `current` took the last step, unless it cannot go on.
    fn pick(&mut self, current: Option<TaskId>, pending: &[Pending]) -> usize;

    /// Whether tasks yield at the start of a sweep.
    fn is_fair(&self) -> bool {
        false
    }

    /// Whether what does not end from here on never does, as everybody gets turns.
    fn is_settled(&self) -> bool {
        true
    }

    /// The run is over.
    fn end(&mut self) {}
}

const _: () = assert!(crate::drive::STEPS <= 64, "a bit for each step");

/// A strategy of a flat list of tasks.
#[derive(Debug, Default)]
pub struct Listed<P> {
    /// Who picks.
    pub pick: P,
    /// Those that could go on or sleep, in the order of their numbers.
    queued: Vec<Pending>,
    /// Those of them that may be picked now.
    eligible: Vec<Pending>,
    now: u64,
    streams: Streams,
    /// Choices made, among how many soever; orders yields.
    turn: u64,
    /// By task: when it was last chosen, and when it last yielded.
    turns: Vec<(u64, u64)>,
    /// Steps that any task has come to in any run, by bit.
    pub reached: u64,
}

impl<P: Pick> Listed<P> {
    /// Nobody is queued yet.
    pub fn new(pick: P) -> Self {
        Self {
            pick,
            queued: Vec::new(),
            eligible: Vec::new(),
            now: 0,
            streams: Streams::default(),
            turn: 0,
            turns: Vec::new(),
            reached: 0,
        }
    }

    fn is_awake(&self, pending: &Pending) -> bool {
        !pending.asleep || pending.start <= self.now
    }

    /// Whether a task has yielded to another that could go on and has not run since.
    fn yields(&self, task: &Pending) -> bool {
        let (chosen, yielded) = self.turns[task.task];
        if yielded <= chosen {
            return false;
        }
        let waits = |other: &Pending| {
            other.task != task.task && self.is_awake(other) && self.turns[other.task].0 < yielded
        };
        self.queued.iter().any(waits)
    }

    fn take(&mut self, task: TaskId) -> (TaskId, u64) {
        let at = self.queued.binary_search_by_key(&task, |pending| pending.task).expect("it is queued");
        let pending = self.queued.remove(at);
        self.now = self.now.max(pending.start);
        self.turn += 1;
        self.turns[task].0 = self.turn;
        (task, if pending.asleep { self.now } else { pending.start })
    }
}

impl<P: Pick> Strategy for Listed<P> {
    fn begin(&mut self, seed: u64) {
        self.queued.clear();
        self.now = 0;
        self.turn = 0;
        self.turns.clear();
        self.streams.begin(seed);
        self.pick.begin();
    }

    fn enqueue(&mut self, pending: Pending) {
        if self.turns.len() <= pending.task {
            self.turns.resize(pending.task + 1, (0, 0));
        }
        self.reached |= 1 << pending.step as u32;
        // Who slept there has come to it before.
        if pending.step == Step::Sweep && !pending.woken && !pending.asleep {
            self.turn += 1;
            self.turns[pending.task].1 = self.turn;
        }
        let at = self.queued.partition_point(|queued| queued.task < pending.task);
        self.queued.insert(at, pending);
    }

    fn dequeue(&mut self, task: TaskId) {
        self.queued.retain(|pending| pending.task != task);
    }

    fn ran(&mut self, _task: TaskId, _cpu: usize, from: u64, cost: u64) -> u64 {
        let until = from.saturating_add(cost);
        self.now = self.now.max(until);
        until
    }

    fn earliest(&mut self) -> Option<u64> {
        if self.queued.iter().any(|pending| self.is_awake(pending)) {
            return Some(self.now);
        }
        self.queued.iter().map(|pending| pending.start).min()
    }

    fn choose(&mut self, current: Option<TaskId>) -> (TaskId, u64) {
        if let [only] = self.queued[..] {
            return self.take(only.task);
        }
        if !self.pick.is_fair() && self.queued.iter().all(|pending| self.is_awake(pending)) {
            let at = self.pick.pick(current, &self.queued);
            return self.take(self.queued[at].task);
        }
        let mut eligible = std::mem::take(&mut self.eligible);
        eligible.clear();
        eligible.extend(self.queued.iter().copied().filter(|pending| self.is_awake(pending)));
        if self.pick.is_fair() && eligible.len() > 1 {
            // Never all of them: of two that yielded, the later one ran after the other had.
            eligible.retain(|pending| !self.yields(pending));
        }
        let task = match eligible[..] {
            [] => {
                let first = self.queued.iter().min_by_key(|pending| (pending.start, pending.task));
                first.expect("somebody can go on").task
            }
            [only] => only.task,
            _ => eligible[self.pick.pick(current, &eligible)].task,
        };
        self.eligible = eligible;
        self.take(task)
    }

    fn draw(&mut self, task: TaskId) -> u64 {
        self.streams.draw(task)
    }

    fn end(&mut self) {
        self.pick.end();
    }
}

/// Any with equal probability.
#[derive(Debug)]
pub struct Uniform(Xoshiro256PlusPlus);

impl Uniform {
    /// With a seeded generator.
    pub fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.0.next_u64()) * n as u128) >> 64) as usize
    }
}

impl Pick for Uniform {
    fn pick(&mut self, _current: Option<TaskId>, pending: &[Pending]) -> usize {
        self.below(pending.len())
    }
}
