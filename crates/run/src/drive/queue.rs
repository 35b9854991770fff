//! The run queue of one CPU: who has it, and who has it next. The rules are those of [`super::timed`].

use super::Step;
use super::choice::TaskId;
use super::least::Least;
use super::timed::{Preemption, Sched};
use crate::machine::CpuId;
use std::ops::{Index, IndexMut};

/// Nobody on this CPU can go on.
pub(super) const NEVER: u64 = u64::MAX;

/// Somebody who could run on a CPU: virtual runtime or deadline, and who. Never void: a task
/// that is runnable leaves its queue only by being chosen.
type Runnable = (i64, TaskId);

/// Somebody who could run on a CPU later on: when, who, and of which time that it was queued.
pub(super) type Later = (u64, TaskId, u32);

/// The run queue of one CPU.
#[derive(Debug, Default)]
pub(super) struct RunQueue {
    /// Busy until then.
    pub clock: u64,
    /// Runnable, and not known to be eligible; by virtual runtime.
    ahead: Least<Runnable>,
    /// Runnable and eligible; by deadline. Who has become so stays so until it runs.
    eligible: Least<Runnable>,
    /// Sleeping until a time, or woken for a time that `clock` has not come to.
    pub later: Least<Later>,
    /// Those of them who sleep until a time, and perhaps others who did.
    pub timers: Least<Later>,
    /// Who has joined the current task since the last look.
    joined: Vec<TaskId>,
    /// Who has the CPU: it is runnable, and in no heap.
    pub current: Option<TaskId>,
    /// When it can go on, once it has been queued; otherwise it runs, or has gone to sleep.
    pub goes_on: Option<u64>,
    /// Who ran last.
    last: Option<TaskId>,
    /// Up to when its time has been counted.
    pub counted: u64,
    /// Since when the current task's request has been served, and nobody has noticed.
    served: Option<u64>,
    /// Whether somebody else is to have the CPU as soon as the kernel looks (`TIF_NEED_RESCHED`).
    resched: bool,
    /// Where the current task stands.
    pub stands_at: Option<Step>,
    /// CPUs that have yet to take an interrupt for which the current task spins.
    pub awaits: Vec<CpuId>,
    /// Runnable tasks, the current one included.
    pub runnable: u32,
    /// Sum of their virtual runtimes.
    pub sum: i128,
    /// `V` when there was last anybody.
    v: i64,
    /// Whether its leaf of the tree has yet to be worked out.
    pub dirty: bool,
}

/// What is known of a task.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Known {
    pub cpu: CpuId,
    /// Of its latest entry among those that go on later.
    pub ticket: u32,
    /// Whether it counts as runnable on its CPU.
    pub is_runnable: bool,
    /// Virtual runtime, while it is runnable.
    pub vruntime: i64,
    /// Virtual runtime at which its request is served.
    deadline: i64,
    /// `V` less its virtual runtime when it was last runnable.
    lag: i64,
    /// On which CPU that was.
    slept_on: CpuId,
}

/// What is known of every task, by number.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    known: Vec<Known>,
    /// How often somebody looked at one of them: what a choice costs.
    #[cfg(test)]
    pub looks: std::cell::Cell<u64>,
}

impl Tasks {
    /// How many have been seen.
    #[inline]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// One of them, if it has been seen.
    #[inline]
    pub fn get(&self, task: TaskId) -> Option<&Known> {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
        self.known.get(task)
    }

    /// Makes room for so many.
    pub fn grow(&mut self, len: usize) {
        self.known.resize(len, Known::default());
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.known.clear();
    }
}

impl Index<TaskId> for Tasks {
    type Output = Known;

    #[inline]
    fn index(&self, task: TaskId) -> &Known {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
        &self.known[task]
    }
}

impl IndexMut<TaskId> for Tasks {
    #[inline]
    fn index_mut(&mut self, task: TaskId) -> &mut Known {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
        &mut self.known[task]
    }
}

impl RunQueue {
    /// The mean virtual runtime of those who can run.
    fn v(&self) -> i64 {
        match self.runnable {
            0 => self.v,
            1 => self.sum as i64,
            more => (self.sum / i128::from(more)) as i64,
        }
    }

    /// A task becomes runnable, with the lag that it had.
    fn join(&mut self, task: &mut Known, sched: &Sched) {
        let others = i64::from(self.runnable);
        if sched.preemption != Preemption::Slices && task.lag < 0 && task.slept_on == task.cpu {
            // It stayed in the queue until V came to it (`DELAY_DEQUEUE`).
            task.lag = (self.v() - task.vruntime).clamp(task.lag, 0);
        }
        // It moves V as it comes: so much larger, its lag is what it was behind that.
        let lag = if others == 0 { 0 } else { task.lag + task.lag / others };
        task.vruntime = self.v() - lag;
        task.deadline = task.vruntime + sched.slice();
        self.runnable += 1;
        self.sum += i128::from(task.vruntime);
        task.is_runnable = true;
    }

    /// A task sleeps, ends or goes elsewhere.
    pub fn leave(&mut self, task: &mut Known, sched: &Sched) {
        self.v = self.v();
        let most = sched.most_lag();
        task.lag = (self.v - task.vruntime).clamp(-most, most);
        task.slept_on = task.cpu;
        self.runnable -= 1;
        self.sum -= i128::from(task.vruntime);
        task.is_runnable = false;
    }

    /// The task that has the CPU gives it up.
    pub fn vacate(&mut self) {
        self.current = None;
        self.served = None;
        self.goes_on = None;
        self.resched = false;
    }

    /// Whether the CPU is, or will be, somebody's: all sleep otherwise.
    pub fn runs(&self) -> bool {
        self.runnable > u32::from(self.current.is_some() && self.goes_on.is_none())
    }

    /// Somebody who sleeps, or has been woken or begun: runnable `wakeup` after its time.
    #[inline(never)]
    pub fn goes_on_later(&mut self, (start, task, ticket): Later, wakeup: u64, asleep: bool) {
        if asleep {
            self.timers.push((start, task, ticket));
        }
        self.later.push((start.saturating_add(wakeup), task, ticket));
    }

    /// When its next timer is due after `now`.
    pub fn due(&mut self, now: u64, tasks: &Tasks) -> u64 {
        while let Some(&(at, task, ticket)) = self.timers.peek() {
            if at > now && tasks[task].ticket == ticket {
                return at;
            }
            self.timers.pop();
        }
        NEVER
    }

    /// Takes in whoever can run by now.
    fn take_in(&mut self, tasks: &mut Tasks, sched: &Sched) {
        self.joined.clear();
        while let Some(&(start, task, ticket)) = self.later.peek() {
            let is_void = tasks[task].ticket != ticket;
            if !is_void && start > self.clock {
                break;
            }
            self.later.pop();
            if !is_void {
                self.join(&mut tasks[task], sched);
                self.ahead.push((tasks[task].vruntime, task));
                if self.current.is_some() {
                    self.joined.push(task);
                }
            }
        }
    }

    /// Takes note of who has become eligible.
    fn find_eligible(&mut self, tasks: &Tasks) {
        let v = self.v();
        while let Some(&(vruntime, task)) = self.ahead.peek() {
            // V is rounded down: one of them is never ahead of it.
            if vruntime > v && !self.eligible.is_empty() {
                break;
            }
            self.ahead.pop();
            self.eligible.push((tasks[task].deadline, task));
        }
    }

    /// Whether somebody who has joined is to run instead of the current task, which is no longer eligible.
    fn is_preempted(&mut self, current: &Known, tasks: &Tasks, sched: &Sched) -> bool {
        if sched.preemption == Preemption::Slices || self.joined.is_empty() || current.vruntime <= self.v() {
            return false;
        }
        self.find_eligible(tasks);
        self.eligible.peek().is_some_and(|&(_, first)| self.joined.contains(&first))
    }

    /// Whether the current task goes on.
    fn keeps_the_cpu(&mut self, current: TaskId, tasks: &Tasks, sched: &Sched) -> bool {
        let current = &tasks[current];
        self.resched |= self.is_preempted(current, tasks, sched) || self.is_noticed(current, sched);
        !self.resched
            || sched.preemption == Preemption::Voluntary && !self.stands_at.is_some_and(Step::may_resched)
    }

    /// Whether it is noticed that the current task's request has been served, if it has.
    fn is_noticed(&mut self, current: &Known, sched: &Sched) -> bool {
        if current.vruntime < current.deadline {
            return false;
        }
        let since = *self.served.get_or_insert(self.clock);
        sched.tick_ns == 0 || !self.joined.is_empty() || self.clock / sched.tick_ns > since / sched.tick_ns
    }

    /// When whoever goes on here could, and does, which is later by a switch; it is the current
    /// task, or else the first eligible one, or else the first that goes on later.
    #[inline]
    pub fn refresh(&mut self, tasks: &mut Tasks, sched: &Sched) -> (u64, u64) {
        self.dirty = false;
        if let Some(at) = self.goes_on_alone(tasks) { (at, at) } else { self.look_around(tasks, sched) }
    }

    /// When the current task goes on, where nothing has changed for it: nobody joins it, and
    /// its request is not served yet.
    #[inline]
    fn goes_on_alone(&self, tasks: &Tasks) -> Option<u64> {
        let current = &tasks[self.current?];
        let at = self.goes_on?.max(self.clock);
        let joins = self.later.peek().is_some_and(|&(start, ..)| start <= self.clock);
        let alone = !joins && !self.resched && current.vruntime < current.deadline && self.awaits.is_empty();
        alone.then_some(at)
    }

    /// The same by all who are there.
    #[inline(never)]
    fn look_around(&mut self, tasks: &mut Tasks, sched: &Sched) -> (u64, u64) {
        if !self.awaits.is_empty() {
            return (NEVER, NEVER);
        }
        self.take_in(tasks, sched);
        if let Some(task) = self.current {
            let goes_on = self.goes_on;
            match goes_on {
                Some(at) if self.keeps_the_cpu(task, tasks, sched) => {
                    let at = at.max(self.clock);
                    return (at, at);
                }
                Some(_) => {
                    let known = &mut tasks[task];
                    if known.vruntime >= known.deadline {
                        // Its request is served: the next one queues like the others'.
                        known.deadline = known.vruntime + sched.slice();
                    }
                    self.ahead.push((known.vruntime, task));
                }
                // Who can go on has been queued again by now.
                None => self.leave(&mut tasks[task], sched),
            }
            self.vacate();
        }
        self.find_eligible(tasks);
        let (start, task) = match (self.eligible.peek(), self.later.peek()) {
            (Some(&(_, task)), _) => (self.clock, task),
            (None, Some(&(start, task, _))) => (start, task),
            (None, None) => return (NEVER, NEVER),
        };
        (start, start.saturating_add(if self.last == Some(task) { 0 } else { sched.switch_ns }))
    }

    /// Takes whoever goes on, as `refresh` found it.
    #[inline]
    pub fn take(&mut self, start: u64, tasks: &mut Tasks, sched: &Sched) -> TaskId {
        self.goes_on = None;
        self.current.unwrap_or_else(|| self.begin(start, tasks, sched))
    }

    /// Somebody else has the CPU from now on.
    #[inline(never)]
    fn begin(&mut self, start: u64, tasks: &mut Tasks, sched: &Sched) -> TaskId {
        self.counted = start;
        let task = if let Some((_, task)) = self.eligible.pop() {
            task
        } else {
            let (_, task, _) = self.later.pop().expect("somebody goes on here");
            self.join(&mut tasks[task], sched);
            task
        };
        // Its timer, if it had one, is not due any more.
        tasks[task].ticket = tasks[task].ticket.wrapping_add(1);
        self.current = Some(task);
        self.last = Some(task);
        task
    }

    /// Empty, with the memory that it has.
    pub fn clear(&mut self) {
        let [mut ahead, mut eligible] = [&mut self.ahead, &mut self.eligible].map(std::mem::take);
        let [mut later, mut timers] = [&mut self.later, &mut self.timers].map(std::mem::take);
        ahead.clear();
        eligible.clear();
        later.clear();
        timers.clear();
        *self = Self { ahead, eligible, later, timers, ..Self::default() };
    }
}
