//! A machine's scheduler: CPUs in parallel, each with a fair run queue of its own.
//!
//! # One CPU
//!
//! Tasks share it as under the kernel's EEVDF (Stoica, Abdel-Wahab 1995; `kernel/sched/fair.c`
//! since 6.6), all of one weight:
//!
//! - A task's *virtual runtime* is the time that it has had; `V` is the mean over the runnable
//!   ones. Who has had no more than that is *eligible*.
//! - A *request* is a slice long, and its deadline the virtual runtime at which it is served. Of
//!   the eligible tasks the one with the earliest deadline runs, until its request is served or
//!   it sleeps (`RUN_TO_PARITY`): a wake-up preempts nobody.
//! - That a request is served is noticed at the CPU's next tick, or as somebody joins its queue
//!   (`update_curr`), whichever is first.
//! - Who sleeps keeps its *lag*, `V` less its virtual runtime, up to a slice either way, and has
//!   it back when it wakes: neither a long sleep nor a short one makes it first.
//!
//! So a kworker or waiter that was woken waits for about half of those that can run, a slice
//! each. It can run `wakeup` after it was woken at the earliest, and a CPU that goes on with
//! another task than the last loses `switch`.
//!
//! # Its host
//!
//! A virtual CPU does not run all the time ([`Host`]): its host may run several of them in turns,
//! and others of its guests may take a share of it away. Whoever waits for the task that is on it
//! waits longer by that; as on a guest without a steal clock the time counts as the task's own.
//!
//! # Cost
//!
//! A tournament tree over the host's CPUs knows whose next step is the earliest. So a choice costs
//! the logarithm of the runnable tasks of one CPU and of the CPUs, however many sleep.

use super::choice::{Pending, Strategy, Streams, TaskId};
use super::host::{Host, Steal, Turns};
use crate::machine::CpuId;
use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A heap whose first is the least.
type Least<T> = BinaryHeap<Reverse<T>>;

/// Nobody on this CPU can go on.
const NEVER: u64 = u64::MAX;

/// How a machine's CPUs are shared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sched {
    /// Length of a request: what a task runs for where others could, nanoseconds.
    pub slice_ns: u64,
    /// Period of the timer tick, at which a served request is noticed; 0: it is at once.
    pub tick_ns: u64,
    /// From a wake-up until the woken task can run.
    pub wakeup_ns: u64,
    /// What a CPU loses where it goes on with another task.
    pub switch_ns: u64,
    /// Time that the host takes away.
    pub host: Host,
}

impl Sched {
    /// One that loses nothing, with slices of this length.
    pub fn ideal(slice_ns: u64) -> Self {
        Self { slice_ns, tick_ns: 0, wakeup_ns: 0, switch_ns: 0, host: Host::default() }
    }

    /// A slice as a difference of virtual runtimes: at most a century, lest sums of them overflow.
    fn slice(&self) -> i64 {
        self.slice_ns.min(1 << 61) as i64
    }
}

/// Somebody who could run on a CPU: virtual runtime or deadline, and who. Never void: a task
/// that is runnable leaves its queue only by being chosen.
type Runnable = (i64, TaskId);

/// Somebody who could run on a CPU later on: when, who, and of which time that it was queued.
type Later = (u64, TaskId, u32);

/// The run queue of one CPU.
#[derive(Debug, Default)]
struct RunQueue {
    /// Busy until then.
    clock: u64,
    /// Runnable, and not known to be eligible; by virtual runtime.
    ahead: Least<Runnable>,
    /// Runnable and eligible; by deadline. Who has become so stays so until it runs.
    eligible: Least<Runnable>,
    /// Sleeping until a time, or woken for a time that `clock` has not come to.
    later: Least<Later>,
    /// Who has the CPU: it is runnable, and in no heap.
    current: Option<TaskId>,
    /// When it can go on, once it has been queued; otherwise it runs, or has gone to sleep.
    goes_on: Option<u64>,
    /// Who ran last.
    last: Option<TaskId>,
    /// Up to when its time has been counted.
    counted: u64,
    /// Since when the current task's request has been served, and nobody has noticed.
    served: Option<u64>,
    /// Runnable tasks, the current one included.
    runnable: u32,
    /// Sum of their virtual runtimes.
    sum: i128,
    /// `V` when there was last anybody.
    v: i64,
    /// Whether its leaf of the tree has yet to be worked out.
    dirty: bool,
}

/// What is known of a task.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    cpu: CpuId,
    /// Of its latest entry among those that go on later.
    ticket: u32,
    /// Whether it counts as runnable on its CPU.
    is_runnable: bool,
    /// Virtual runtime, while it is runnable.
    vruntime: i64,
    /// Virtual runtime at which its request is served.
    deadline: i64,
    /// `V` less its virtual runtime when it was last runnable.
    lag: i64,
}

/// The strategy of ordinary simulations.
#[derive(Debug)]
pub struct Timed {
    sched: Sched,
    cpus: Vec<RunQueue>,
    tasks: Vec<Known>,
    dirty: Vec<CpuId>,
    turns: Turns,
    /// When the next step of each of the host's CPUs starts.
    leaves: Vec<u64>,
    /// Inner nodes of the tournament, root at 1: the CPU that wins below.
    tree: Vec<u32>,
    steal: Steal,
    streams: Streams,
    jitter: Xoshiro256PlusPlus,
}

impl Timed {
    /// With time slices of `slice_ns`, and nothing lost in between.
    pub fn new(slice_ns: u64) -> Self {
        Self::on(Sched::ideal(slice_ns))
    }

    /// On a machine's CPUs.
    pub fn on(sched: Sched) -> Self {
        Self {
            sched,
            cpus: Vec::new(),
            tasks: Vec::new(),
            dirty: Vec::new(),
            turns: Turns::new(sched.host),
            leaves: Vec::new(),
            tree: Vec::new(),
            steal: Steal::new(sched.host),
            streams: Streams::default(),
            jitter: Xoshiro256PlusPlus::seed_from_u64(0),
        }
    }

    /// Marks a CPU whose queue has changed.
    #[inline]
    fn touch(&mut self, cpu: CpuId) -> &mut RunQueue {
        if self.cpus.len() <= cpu.at() {
            self.grow(cpu);
        }
        let queue = &mut self.cpus[cpu.at()];
        if !queue.dirty {
            queue.dirty = true;
            self.dirty.push(cpu);
        }
        queue
    }

    /// Makes room for a CPU that has not been seen before.
    #[cold]
    fn grow(&mut self, cpu: CpuId) {
        let size = (cpu.at() + 1).next_power_of_two();
        self.cpus.resize_with(size, RunQueue::default);
        self.turns.resize(size);
        self.leaves.resize(size, NEVER);
        self.tree = vec![0; size];
        (1..size).rev().for_each(|node| {
            self.play(node);
        });
    }

    /// Who wins at a node; whether that is somebody else than before.
    fn play(&mut self, node: usize) -> bool {
        let size = self.leaves.len();
        let side = |child: usize| if child >= size { (child - size) as u32 } else { self.tree[child] };
        let (left, right) = (side(2 * node), side(2 * node + 1));
        // The lower number of two at the same time.
        let wins = if self.leaves[right as usize] < self.leaves[left as usize] { right } else { left };
        std::mem::replace(&mut self.tree[node], wins) != wins
    }

    /// Works out when every CPU that has changed goes on.
    #[inline(never)]
    fn refresh(&mut self) {
        while let Some(cpu) = self.dirty.pop() {
            let (ready, start) = self.cpus[cpu.at()].refresh(&mut self.tasks, &self.sched);
            let (leaf, start) = self.turns.goes_on(cpu, ready, start);
            if std::mem::replace(&mut self.leaves[leaf], start) == start {
                continue;
            }
            // Its leaf stands behind the inner nodes; one CPU alone has none above it.
            let mut node = self.leaves.len() + leaf;
            while node > 1 {
                node /= 2;
                // Where another wins as before, nothing is different further up.
                if !self.play(node) && self.tree[node] as usize != leaf {
                    break;
                }
            }
        }
    }

    /// The host's CPU with the earliest step, and when.
    #[inline]
    fn best(&mut self) -> Option<(usize, u64)> {
        if !self.dirty.is_empty() {
            self.refresh();
        }
        let leaf = if self.leaves.len() > 1 { self.tree[1] as usize } else { 0 };
        self.leaves.get(leaf).filter(|&&start| start != NEVER).map(|&start| (leaf, start))
    }
}

impl RunQueue {
    /// The mean virtual runtime of those who can run.
    fn v(&self) -> i64 {
        if self.runnable == 0 { self.v } else { (self.sum / i128::from(self.runnable)) as i64 }
    }

    /// A task becomes runnable, with the lag that it had.
    fn join(&mut self, task: &mut Known, sched: &Sched) {
        let others = i64::from(self.runnable);
        // It moves V as it comes: so much larger, its lag is what it was behind that.
        let lag = if others == 0 { 0 } else { task.lag + task.lag / others };
        task.vruntime = self.v() - lag;
        task.deadline = task.vruntime + sched.slice();
        self.runnable += 1;
        self.sum += i128::from(task.vruntime);
        task.is_runnable = true;
    }

    /// A task sleeps, ends or goes elsewhere.
    fn leave(&mut self, task: &mut Known, sched: &Sched) {
        self.v = self.v();
        task.lag = (self.v - task.vruntime).clamp(-sched.slice(), sched.slice());
        self.runnable -= 1;
        self.sum -= i128::from(task.vruntime);
        task.is_runnable = false;
    }

    /// The task that has the CPU gives it up.
    fn vacate(&mut self) {
        self.current = None;
        self.served = None;
        self.goes_on = None;
    }

    /// Whether it is noticed that the current task's request has been served, if it has.
    fn is_noticed(&mut self, current: &Known, joined: bool, sched: &Sched) -> bool {
        if current.vruntime < current.deadline {
            return false;
        }
        let since = *self.served.get_or_insert(self.clock);
        sched.tick_ns == 0 || joined || self.clock / sched.tick_ns > since / sched.tick_ns
    }

    /// When whoever goes on here could, and does, which is later by a switch; it is the current
    /// task, or else the first eligible one, or else the first that goes on later.
    fn refresh(&mut self, tasks: &mut [Known], sched: &Sched) -> (u64, u64) {
        self.dirty = false;
        let mut joined = false;
        while let Some(&Reverse((start, task, ticket))) = self.later.peek() {
            let is_void = tasks[task].ticket != ticket;
            if !is_void && start > self.clock {
                break;
            }
            self.later.pop();
            if !is_void {
                self.join(&mut tasks[task], sched);
                self.ahead.push(Reverse((tasks[task].vruntime, task)));
                joined = true;
            }
        }
        if let Some(task) = self.current {
            let known = &mut tasks[task];
            let goes_on = self.goes_on;
            match goes_on {
                Some(at) if !self.is_noticed(known, joined, sched) => {
                    let at = at.max(self.clock);
                    return (at, at);
                }
                Some(_) => {
                    // Its request is served: the next one queues like the others'.
                    known.deadline = known.vruntime + sched.slice();
                    self.ahead.push(Reverse((known.vruntime, task)));
                }
                // Who can go on has been queued again by now.
                None => self.leave(known, sched),
            }
            self.vacate();
        }
        let v = self.v();
        while let Some(&Reverse((vruntime, task))) = self.ahead.peek() {
            // V is rounded down: one of them is never ahead of it.
            if vruntime > v && !self.eligible.is_empty() {
                break;
            }
            self.ahead.pop();
            self.eligible.push(Reverse((tasks[task].deadline, task)));
        }
        let (start, task) = match (self.eligible.peek(), self.later.peek()) {
            (Some(&Reverse((_, task))), _) => (self.clock, task),
            (None, Some(&Reverse((start, task, _)))) => (start, task),
            (None, None) => return (NEVER, NEVER),
        };
        (start, start.saturating_add(if self.last == Some(task) { 0 } else { sched.switch_ns }))
    }

    /// Takes whoever goes on, as `refresh` found it.
    fn take(&mut self, start: u64, tasks: &mut [Known], sched: &Sched) -> TaskId {
        let task = self.current.unwrap_or_else(|| {
            self.counted = start;
            if let Some(Reverse((_, task))) = self.eligible.pop() {
                return task;
            }
            let Reverse((_, task, _)) = self.later.pop().expect("somebody goes on here");
            self.join(&mut tasks[task], sched);
            task
        });
        tasks[task].ticket = tasks[task].ticket.wrapping_add(1);
        self.current = Some(task);
        self.goes_on = None;
        self.last = Some(task);
        task
    }

    /// Empty, with the memory that it has.
    fn clear(&mut self) {
        let [mut ahead, mut eligible] = [&mut self.ahead, &mut self.eligible].map(std::mem::take);
        let mut later = std::mem::take(&mut self.later);
        ahead.clear();
        eligible.clear();
        later.clear();
        *self = Self { ahead, eligible, later, ..Self::default() };
    }
}

impl Strategy for Timed {
    fn begin(&mut self, seed: u64) {
        self.cpus.iter_mut().for_each(RunQueue::clear);
        self.tasks.clear();
        self.dirty.clear();
        self.leaves.fill(NEVER);
        self.turns.clear();
        self.steal.begin(seed);
        self.streams.begin(seed);
        self.jitter = Xoshiro256PlusPlus::seed_from_u64(seed);
    }

    fn enqueue(&mut self, pending: Pending) {
        let Pending { task, cpu, start, woken, asleep, .. } = pending;
        if self.tasks.len() <= task {
            self.tasks.resize(task + 1, Known::default());
        }
        let Known { is_runnable, cpu: last, .. } = self.tasks[task];
        if is_runnable && (asleep || last != cpu) {
            self.touch(last);
            let queue = &mut self.cpus[last.at()];
            queue.leave(&mut self.tasks[task], &self.sched);
            queue.vacate();
        }
        self.touch(cpu);
        let (queue, known) = (&mut self.cpus[cpu.at()], &mut self.tasks[task]);
        known.cpu = cpu;
        known.ticket = known.ticket.wrapping_add(1);
        if known.is_runnable && queue.current != Some(task) {
            // Its deadline had come: it waits for its turn already, and somebody else has the CPU.
            return;
        }
        if known.is_runnable {
            queue.goes_on = Some(start);
            return;
        }
        let start = start.saturating_add(if woken || asleep { self.sched.wakeup_ns } else { 0 });
        queue.later.push(Reverse((start, task, known.ticket)));
    }

    fn dequeue(&mut self, task: TaskId) {
        self.tasks[task].ticket = self.tasks[task].ticket.wrapping_add(1);
        self.touch(self.tasks[task].cpu);
    }

    fn ran(&mut self, task: TaskId, cpu: CpuId, from: u64, cost: u64) -> u64 {
        let until = self.steal.lapse(cpu, from, cost);
        self.turns.ran(cpu, until);
        let queue = self.touch(cpu);
        queue.clock = queue.clock.max(until);
        if queue.current == Some(task) {
            let took = until - queue.counted;
            queue.counted = until;
            queue.sum += i128::from(took);
            let known = &mut self.tasks[task];
            known.vruntime = known.vruntime.saturating_add(took as i64);
        }
        until
    }

    fn earliest(&mut self) -> Option<u64> {
        self.best().map(|(_, start)| start)
    }

    fn choose(&mut self, _current: Option<TaskId>) -> (TaskId, u64) {
        let (leaf, start) = self.best().expect("somebody can go on");
        let cpu = self.turns.take(leaf, start);
        self.touch(cpu);
        (self.cpus[cpu.at()].take(start, &mut self.tasks, &self.sched), start)
    }

    fn draw(&mut self, task: TaskId) -> u64 {
        self.streams.draw(task)
    }

    fn jitter(&mut self, spread: u64) -> u64 {
        self.jitter.next_u64() % (spread + 1)
    }
}
