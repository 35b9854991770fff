//! The one point at which the simulator chooses.
//!
//! Everything that two runs with the same settings may differ in passes a
//! [`Strategy`]: who takes the next step, whose timeout fires, what a task
//! draws at random, how long a step takes. So a strategy is a scheduler, a
//! search, a recorder or a player, and the tasks cannot tell.
//!
//! It is shaped like a scheduler class of the kernel: tasks are put into its
//! queue and taken out, and it picks the next. A task is in the queue while it
//! could go on, or sleeps until a deadline, and does not run.
//!
//! What comes at every step, [`Strategy::advance`], is made of the others, so that the simulator
//! calls it once for all of them.

use super::Step;
use crate::machine::{CpuId, Frame};
use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::cell::RefCell;
use std::rc::Rc;

/// A task of the simulator, by number.
pub type TaskId = usize;

/// A task that could go on, and what may be known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// Which task.
    pub task: TaskId,
    /// The CPU it is on.
    pub cpu: CpuId,
    /// Virtual time from which it can go on, its CPU being free.
    pub start: u64,
    /// Whether it has been woken since it last ran.
    pub woken: bool,
    /// Whether it sleeps until `start`: its timeout.
    pub asleep: bool,
    /// The step at which it stands; it goes on behind it.
    pub step: Step,
    /// The page that the step is about, or `NO_FRAME`.
    pub frame: Frame,
}

/// Chooses.
pub trait Strategy {
    /// Another run begins, with an empty queue; `seed` is the run's.
    fn begin(&mut self, seed: u64);

    /// A task can go on, or sleeps until `pending.start`.
    fn enqueue(&mut self, pending: Pending);

    /// A sleeping task is taken out again: it has been woken.
    fn dequeue(&mut self, task: TaskId);

    /// A task runs on a CPU from a time on for what takes it `cost`; until when it is there.
    fn ran(&mut self, task: TaskId, cpu: CpuId, from: u64, cost: u64) -> u64;

    /// Virtual time of the next step, if anybody can take one.
    fn earliest(&mut self) -> Option<u64>;

    /// Takes the one that goes on out of the queue, if any does before a time (`u64::MAX`:
    /// whenever): the task and when. `current` took the last step, unless it cannot go on.
    fn choose(&mut self, current: Option<TaskId>, before: u64) -> Option<(TaskId, u64)>;

    /// A task that runs takes a step, which mostly takes it `cost`: what it does this time, and
    /// when the task is done.
    #[expect(clippy::inline_always, reason = "a part of what comes at every step")]
    #[inline(always)]
    fn take(&mut self, task: TaskId, cpu: CpuId, from: u64, cost: u64) -> (u64, u64) {
        // A quarter either way: costs are never quite the same twice. And something
        // always: what took no time at all would never come to a timeout.
        let spread = cost / 2;
        let varied = if spread == 0 { cost } else { (cost - spread / 2).saturating_add(self.jitter(spread)) };
        let cost = varied.max(1);
        (cost, self.ran(task, cpu, from, cost))
    }

    /// A task that runs takes a step from `pending.start` on, is queued behind it, and somebody is
    /// chosen: what the step took, when the task is done with it, and the choice.
    fn advance(&mut self, mut pending: Pending, cost: u64, before: u64) -> (u64, u64, Option<(TaskId, u64)>) {
        let (took, end) = self.take(pending.task, pending.cpu, pending.start, cost);
        pending.start = end;
        self.enqueue(pending);
        (took, end, self.choose(Some(pending.task), before))
    }

    /// A task, which runs, interrupts all other CPUs and spins until they have taken that: whether
    /// it is to be queued, since it takes them time.
    fn interrupts(&mut self, _task: TaskId) -> bool {
        false
    }

    /// 64 random bits for a task.
    fn draw(&mut self, task: TaskId) -> u64;

    /// How much of `spread`, that a step's duration may vary by, it takes: 0 to `spread`.
    fn jitter(&mut self, spread: u64) -> u64 {
        spread / 2
    }

    /// The run is over.
    fn end(&mut self) {}
}

/// Kept by whoever wants to look at it after the run.
impl<S: Strategy + ?Sized> Strategy for Rc<RefCell<S>> {
    fn begin(&mut self, seed: u64) {
        self.borrow_mut().begin(seed);
    }
    fn enqueue(&mut self, pending: Pending) {
        self.borrow_mut().enqueue(pending);
    }
    fn dequeue(&mut self, task: TaskId) {
        self.borrow_mut().dequeue(task);
    }
    fn ran(&mut self, task: TaskId, cpu: CpuId, from: u64, cost: u64) -> u64 {
        self.borrow_mut().ran(task, cpu, from, cost)
    }
    fn earliest(&mut self) -> Option<u64> {
        self.borrow_mut().earliest()
    }
    fn choose(&mut self, current: Option<TaskId>, before: u64) -> Option<(TaskId, u64)> {
        self.borrow_mut().choose(current, before)
    }
    fn take(&mut self, task: TaskId, cpu: CpuId, from: u64, cost: u64) -> (u64, u64) {
        self.borrow_mut().take(task, cpu, from, cost)
    }
    fn advance(&mut self, pending: Pending, cost: u64, before: u64) -> (u64, u64, Option<(TaskId, u64)>) {
        self.borrow_mut().advance(pending, cost, before)
    }
    fn interrupts(&mut self, task: TaskId) -> bool {
        self.borrow_mut().interrupts(task)
    }
    fn draw(&mut self, task: TaskId) -> u64 {
        self.borrow_mut().draw(task)
    }
    fn jitter(&mut self, spread: u64) -> u64 {
        self.borrow_mut().jitter(spread)
    }
    fn end(&mut self) {
        self.borrow_mut().end();
    }
}

/// A random stream for each task: what one draws does not depend on the others.
#[derive(Debug, Default)]
pub struct Streams {
    seed: u64,
    tasks: Vec<Option<Xoshiro256PlusPlus>>,
}

impl Streams {
    /// Starts all of them afresh.
    pub fn begin(&mut self, seed: u64) {
        self.seed = seed;
        self.tasks.clear();
    }

    /// 64 random bits of a task's stream.
    pub fn draw(&mut self, task: TaskId) -> u64 {
        if self.tasks.len() <= task {
            self.tasks.resize(task + 1, None);
        }
        let seed = self.seed ^ (task as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.tasks[task].get_or_insert_with(|| Xoshiro256PlusPlus::seed_from_u64(seed)).next_u64()
    }
}
