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
//! Qadeer: Fair Stateless Model Checking, PLDI 2008). Where only every k-th
//! sweep yields, as there, a task may use up a budget of fewer tries meanwhile.

use super::Step;
use super::choice::{Pending, Strategy, Streams, TaskId};
use crate::machine::CpuId;
use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Picks among tasks that could all take the next step.
pub trait Pick {
    /// Another run begins.
    fn begin(&mut self) {}

    /// An index into `pending`, which holds at least two tasks in the order of their numbers.
    /// `current` took the last step, unless it cannot go on.
    fn pick(&mut self, current: Option<TaskId>, pending: &[Pending]) -> usize;

    /// Of how many sweeps of a task it yields at the start of one; 0: it never does.
    fn yield_every(&self) -> u32 {
        0
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
    /// Those that could go on or sleep, in the order of their numbers, and `running`.
    queued: Vec<Pending>,
    /// Who was chosen and has not been queued again. Most who take a step are, at once: its place
    /// in `queued` is kept until it is known to have gone.
    running: Option<TaskId>,
    /// Those of them that may be picked now.
    eligible: Vec<Pending>,
    now: u64,
    streams: Streams,
    /// Choices made, among how many soever; orders yields.
    turn: u64,
    turns: Vec<Turns>,
    /// Steps that any task has come to in any run, by bit.
    pub reached: u64,
}

/// When a task was last chosen, when it last yielded, and sweeps since then.
#[derive(Debug, Clone, Copy, Default)]
struct Turns {
    chosen: u64,
    yielded: u64,
    sweeps: u32,
}

impl<P: Pick> Listed<P> {
    /// Nobody is queued yet.
    pub fn new(pick: P) -> Self {
        Self {
            pick,
            queued: Vec::new(),
            running: None,
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
        let Turns { chosen, yielded, .. } = self.turns[task.task];
        if yielded <= chosen {
            return false;
        }
        let waits = |other: &Pending| {
            other.task != task.task && self.is_awake(other) && self.turns[other.task].chosen < yielded
        };
        self.queued.iter().any(waits)
    }

    fn at(&self, task: TaskId) -> Option<usize> {
        self.queued.iter().position(|pending| pending.task == task)
    }

    /// Takes out who has run and is not queued again.
    fn settle(&mut self) {
        if let Some(task) = self.running.take() {
            self.dequeue(task);
        }
    }

    fn go(&mut self, task: TaskId) -> (TaskId, u64) {
        let pending = self.queued[self.at(task).expect("it is queued")];
        self.running = Some(task);
        self.now = self.now.max(pending.start);
        self.turn += 1;
        self.turns[task].chosen = self.turn;
        (task, if pending.asleep { self.now } else { pending.start })
    }
}

impl<P: Pick> Strategy for Listed<P> {
    fn begin(&mut self, seed: u64) {
        self.queued.clear();
        self.running = None;
        self.now = 0;
        self.turn = 0;
        self.turns.clear();
        self.streams.begin(seed);
        self.pick.begin();
    }

    fn enqueue(&mut self, pending: Pending) {
        if self.turns.len() <= pending.task {
            self.turns.resize(pending.task + 1, Turns::default());
        }
        self.reached |= 1 << pending.step as u32;
        // Who slept there has come to it before.
        if pending.step == Step::Sweep && !pending.woken && !pending.asleep {
            let turns = &mut self.turns[pending.task];
            turns.sweeps += 1;
            if turns.sweeps == self.pick.yield_every() {
                self.turn += 1;
                (turns.yielded, turns.sweeps) = (self.turn, 0);
            }
        }
        if self.running == Some(pending.task) {
            self.running = None;
            let at = self.at(pending.task).expect("its place is kept");
            self.queued[at] = pending;
            return;
        }
        let at = self.queued.partition_point(|queued| queued.task < pending.task);
        self.queued.insert(at, pending);
    }

    fn dequeue(&mut self, task: TaskId) {
        if let Some(at) = self.at(task) {
            self.queued.remove(at);
        }
    }

    fn ran(&mut self, _task: TaskId, _cpu: CpuId, from: u64, cost: u64) -> u64 {
        let until = from.saturating_add(cost);
        self.now = self.now.max(until);
        until
    }

    fn earliest(&mut self) -> Option<u64> {
        self.settle();
        if self.queued.iter().any(|pending| self.is_awake(pending)) {
            return Some(self.now);
        }
        self.queued.iter().map(|pending| pending.start).min()
    }

    fn choose(&mut self, current: Option<TaskId>, before: u64) -> Option<(TaskId, u64)> {
        let earliest = self.earliest()?;
        if before != u64::MAX && earliest >= before {
            return None;
        }
        if let [only] = &self.queued[..] {
            return Some(self.go(only.task));
        }
        // Of whom none has yielded, all may be picked as they stand there.
        if self.queued.iter().all(|pending| self.is_awake(pending) && !self.yields(pending)) {
            let at = self.pick.pick(current, &self.queued);
            return Some(self.go(self.queued[at].task));
        }
        let mut eligible = std::mem::take(&mut self.eligible);
        eligible.clear();
        eligible.extend(self.queued.iter().copied().filter(|pending| self.is_awake(pending)));
        if eligible.len() > 1 {
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
        Some(self.go(task))
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
