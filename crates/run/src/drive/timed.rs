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
//! With [`Preemption::Slices`] that is all. Otherwise, as since 6.12:
//!
//! - Whoever wakes up preempts the current task if that is not eligible any more, and it is itself
//!   the eligible one with the earliest deadline (`check_preempt_wakeup_fair`).
//! - Who sleeps behind what it was owed stays in the queue until `V` comes to it (`DELAY_DEQUEUE`),
//!   and comes back with what is left of that; lag goes up to two slices, or a tick.
//! - With [`Preemption::Voluntary`] the CPU is given up where the kernel looks
//!   ([`Step::may_resched`]), and not between.
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
//! A tournament of the host's CPUs knows whose next step is the earliest. So a choice costs
//! the logarithm of the runnable tasks of one CPU and of the CPUs, however many sleep.

use super::choice::{Pending, Strategy, Streams, TaskId};
use super::host::{Host, Steal, Turns};
use super::queue::{Known, NEVER, RunQueue, Tasks};
use super::tournament::Tournament;
use crate::config::words;
use crate::machine::CpuId;
use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

words! {
    /// What takes a CPU from the task that has it.
    pub enum Preemption {
        /// The end of its slice alone, wherever it stands.
        Slices = "slices",
        /// A wake-up too, as under EEVDF since 6.12; in the kernel not before it looks (`cond_resched`).
        Voluntary = "voluntary",
        /// The same wherever it stands.
        Full = "full",
    }
}

/// How a machine's CPUs are shared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sched {
    /// Length of a request: what a task runs for where others could, nanoseconds.
    pub slice_ns: u64,
    /// Period of the timer tick, at which a served request is noticed; 0: it is at once.
    pub tick_ns: u64,
    /// What takes a CPU from the task that has it.
    pub preemption: Preemption,
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
        let preemption = Preemption::Slices;
        Self { slice_ns, tick_ns: 0, preemption, wakeup_ns: 0, switch_ns: 0, host: Host::default() }
    }

    /// A slice as a difference of virtual runtimes: at most a century, lest sums of them overflow.
    pub(super) fn slice(&self) -> i64 {
        self.slice_ns.min(1 << 61) as i64
    }

    /// Most lag that a task keeps.
    pub(super) fn most_lag(&self) -> i64 {
        match self.preemption {
            Preemption::Slices => self.slice(),
            Preemption::Voluntary | Preemption::Full => {
                (2 * self.slice()).max(self.tick_ns.min(1 << 61) as i64)
            }
        }
    }
}

/// The strategy of ordinary simulations.
#[derive(Debug)]
pub struct Timed {
    sched: Sched,
    cpus: Vec<RunQueue>,
    tasks: Tasks,
    dirty: Vec<CpuId>,
    turns: Turns,
    /// When the next step of each of the host's CPUs starts.
    places: Tournament,
    steal: Steal,
    /// CPUs that spin until others have taken an interrupt.
    spinning: usize,
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
            tasks: Tasks::default(),
            dirty: Vec::new(),
            turns: Turns::new(sched.host),
            places: Tournament::default(),
            steal: Steal::new(sched.host),
            spinning: 0,
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
        let Some(queue) = self.cpus.get_mut(cpu.at()) else { unreachable!("room has been made for it") };
        if !queue.dirty {
            queue.dirty = true;
            self.dirty.push(cpu);
        }
        queue
    }

    /// A task that is runnable on a CPU goes to sleep there, or elsewhere.
    #[inline(never)]
    fn leave(&mut self, task: TaskId, cpu: CpuId) {
        self.touch(cpu);
        let queue = &mut self.cpus[cpu.at()];
        queue.leave(&mut self.tasks[task], &self.sched);
        queue.vacate();
    }

    /// A task goes on later on a CPU, or comes to it from another.
    #[inline(never)]
    fn arrive(&mut self, task: TaskId, cpu: CpuId, start: u64, woken: bool, asleep: bool) {
        if self.tasks.len() <= task {
            self.tasks.grow(task + 1);
        }
        if self.tasks[task].is_runnable {
            self.leave(task, self.tasks[task].cpu);
        }
        self.touch(cpu);
        let (queue, known) = (&mut self.cpus[cpu.at()], &mut self.tasks[task]);
        known.cpu = cpu;
        known.ticket = known.ticket.wrapping_add(1);
        let wakeup = if woken || asleep { self.sched.wakeup_ns } else { 0 };
        queue.goes_on_later((start, task, known.ticket), wakeup, asleep);
    }

    /// Makes room for a CPU that has not been seen before.
    #[cold]
    fn grow(&mut self, cpu: CpuId) {
        let count = cpu.at() + 1;
        self.cpus.resize_with(count, RunQueue::default);
        self.turns.resize(count);
        self.places.grow(count);
    }

    /// Works out when every CPU that has changed goes on.
    #[inline]
    fn refresh(&mut self) {
        while let Some(cpu) = self.dirty.pop() {
            self.place(cpu);
        }
    }

    /// Works out when a CPU goes on.
    #[expect(clippy::inline_always, reason = "a part of what comes at every step")]
    #[inline(always)]
    fn place(&mut self, cpu: CpuId) {
        let (ready, start) = self.cpus[cpu.at()].refresh(&mut self.tasks, &self.sched);
        let (place, start) = self.turns.goes_on(cpu, ready, start);
        self.places.seat(place, start);
    }

    /// Which virtual CPU it is that goes on at a place of the host.
    #[inline(never)]
    fn turn(&mut self, place: usize, start: u64) -> CpuId {
        let (cpus, tasks, tick_ns) = (&mut self.cpus, &self.tasks, self.sched.tick_ns);
        self.turns.take(place, start, || {
            let tick = start.checked_div(tick_ns).map_or(NEVER, |ticks| (ticks + 1).saturating_mul(tick_ns));
            cpus.iter_mut().map(|queue| queue.due(start, tasks)).fold(tick, u64::min)
        })
    }

    /// A virtual CPU runs, and takes the interrupts that are pending.
    fn interrupted(&mut self, cpu: CpuId, at: u64) {
        for other in 0..self.cpus.len() {
            let queue = &mut self.cpus[other];
            if queue.awaits.is_empty() {
                continue;
            }
            queue.awaits.retain(|&awaited| awaited != cpu);
            if queue.awaits.is_empty() {
                queue.clock = queue.clock.max(at);
                self.spinning -= 1;
                self.touch(CpuId::nth(other));
            }
        }
    }

    /// The host's CPU with the earliest step, and when.
    #[expect(clippy::inline_always, reason = "a part of what comes at every step")]
    #[inline(always)]
    fn best(&mut self) -> Option<(usize, u64)> {
        if !self.dirty.is_empty() {
            self.refresh();
        }
        self.places.first()
    }
}

impl Strategy for Timed {
    fn begin(&mut self, seed: u64) {
        self.cpus.iter_mut().for_each(RunQueue::clear);
        self.tasks.clear();
        self.dirty.clear();
        self.places.clear();
        self.turns.clear();
        self.spinning = 0;
        self.steal.begin(seed);
        self.streams.begin(seed);
        self.jitter = Xoshiro256PlusPlus::seed_from_u64(seed);
    }

    #[expect(clippy::inline_always, reason = "a part of what comes at every step")]
    #[inline(always)]
    fn enqueue(&mut self, pending: Pending) {
        let Pending { task, cpu, start, woken, asleep, step, .. } = pending;
        let is_there = |known: &Known| known.is_runnable && !asleep && known.cpu == cpu;
        if !self.tasks.get(task).is_some_and(is_there) {
            return self.arrive(task, cpu, start, woken, asleep);
        }
        let queue = self.touch(cpu);
        // Otherwise its deadline had come: it waits for its turn already, and somebody else has the CPU.
        let has_the_cpu = queue.current == Some(task);
        if has_the_cpu {
            queue.goes_on = Some(start);
            queue.stands_at = Some(step);
        }
    }

    fn dequeue(&mut self, task: TaskId) {
        self.tasks[task].ticket = self.tasks[task].ticket.wrapping_add(1);
        self.touch(self.tasks[task].cpu);
    }

    #[expect(clippy::inline_always, reason = "a part of what comes at every step")]
    #[inline(always)]
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

    #[expect(clippy::inline_always, reason = "a part of what comes at every step")]
    #[inline(always)]
    fn choose(&mut self, _current: Option<TaskId>, before: u64) -> Option<(TaskId, u64)> {
        // No step begins at the end of time.
        let (place, start) = self.best().filter(|&(_, start)| start < before)?;
        let cpu = if self.turns.are_taken() { self.turn(place, start) } else { CpuId::nth(place) };
        if self.spinning > 0 {
            self.interrupted(cpu, start);
        }
        self.touch(cpu);
        Some((self.cpus[cpu.at()].take(start, &mut self.tasks, &self.sched), start))
    }

    fn interrupts(&mut self, task: TaskId) -> bool {
        if self.sched.host.cpus == 0 {
            return false;
        }
        let me = self.tasks[task].cpu;
        // Who spins takes it as it does.
        let takes_time =
            |&cpu: &CpuId| cpu != me && self.cpus[cpu.at()].runs() && self.cpus[cpu.at()].awaits.is_empty();
        let awaits: Vec<CpuId> = (0..self.cpus.len()).map(CpuId::nth).filter(takes_time).collect();
        let spins = !awaits.is_empty();
        self.touch(me).awaits = awaits;
        self.spinning += usize::from(spins);
        spins
    }

    fn draw(&mut self, task: TaskId) -> u64 {
        self.streams.draw(task)
    }

    #[inline]
    fn jitter(&mut self, spread: u64) -> u64 {
        self.jitter.next_u64() % (spread + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::Step;
    use crate::machine::NO_FRAME;

    /// How often a step looks at a task, where so many run in turns on so many CPUs, and as many sleep.
    fn looks(tasks: usize, cpus: usize, slice_ns: u64) -> f64 {
        let mut timed = Timed::new(slice_ns);
        timed.begin(1);
        let pending = |task, start, asleep| {
            let (cpu, step, frame) = (CpuId::nth(task % cpus), Step::GupWalk, NO_FRAME);
            Pending { task, cpu, start, woken: false, asleep, step, frame }
        };
        (0..tasks).for_each(|task| timed.enqueue(pending(task, 0, false)));
        (tasks..2 * tasks).for_each(|task| timed.enqueue(pending(task, 1 << 60, true)));
        let mut steps = |n: usize| {
            for _ in 0..n {
                let (task, start) = timed.choose(None, u64::MAX).expect("they run");
                let (_, until) = timed.take(task, CpuId::nth(task % cpus), start, 100);
                timed.enqueue(pending(task, until, false));
            }
            timed.tasks.looks.take()
        };
        // What is queued at first is taken in once.
        steps(2 * tasks);
        steps(10_000) as f64 / 10_000.0
    }

    #[test]
    fn a_step_looks_at_no_more_tasks_where_there_are_thousands() {
        for slice_ns in [50, 1_000_000] {
            for on_one in [true, false] {
                let looks = |tasks| looks(tasks, if on_one { 1 } else { tasks }, slice_ns);
                let (few, many) = (looks(64), looks(2048));
                println!("slices of {slice_ns} ns, on one CPU: {on_one}: {few} and {many} looks a step");
                assert!(many < few + 0.5, "{few} looks a step of 64 tasks, {many} of 2,048");
            }
        }
    }
}
