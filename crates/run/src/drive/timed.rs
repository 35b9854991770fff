//! CPUs in parallel, time slices on each: the task whose step comes first takes it.
//!
//! On one CPU a task keeps running until it blocks or its slice ends, then the
//! one that has waited longest follows; a task that was woken preempts.
//!
//! Each CPU has a run queue of its own, and a tournament tree over the CPUs
//! knows whose next step is the earliest. So a choice costs the logarithm of
//! the tasks on one CPU and of the CPUs, however many sleep.

use super::choice::{Pending, Strategy, Streams, TaskId};
use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// When and in which turn a task goes on: start, class, when it last ran, number; the lowest does.
///
/// Tasks that wait for the same CPU start when it is free, all at once: so turns decide among
/// them, and the earliest step among CPUs.
type Key = (u64, u8, u64, TaskId);

/// Nobody on this CPU can go on.
const NOBODY: Key = (u64::MAX, u8::MAX, u64::MAX, TaskId::MAX);

/// Class of a task that was woken, one within its slice, and any other.
const WOKEN: u8 = 0;
const WITHIN_SLICE: u8 = 1;
const OTHER: u8 = 2;

/// A place in a heap; void once its task has been queued or taken out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    key: Key,
    ticket: u32,
}

/// The run queue of one CPU.
#[derive(Debug, Default)]
struct RunQueue {
    /// Busy until then.
    clock: u64,
    /// Those that could go on at `clock`; the starts in their keys are void.
    now: BinaryHeap<Reverse<Entry>>,
    /// Those that could go on later.
    later: BinaryHeap<Reverse<Entry>>,
    /// Whose slice it is, and its end.
    slice: Option<(TaskId, u64)>,
    /// That task, if it is queued: it is in no heap.
    current: Option<(Pending, u32)>,
    /// Whether its leaf of the tree has yet to be worked out.
    dirty: bool,
}

/// What is known of a task.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    cpu: usize,
    /// Of its latest entry.
    ticket: u32,
    /// One after it last started, for turns.
    last_ran: u64,
}

/// The strategy of ordinary simulations.
#[derive(Debug)]
pub struct Timed {
    slice_ns: u64,
    cpus: Vec<RunQueue>,
    tasks: Vec<Known>,
    dirty: Vec<usize>,
    /// The best of each CPU, in order of CPUs.
    leaves: Vec<Key>,
    /// Inner nodes of the tournament, root at 1: the CPU that wins below.
    tree: Vec<usize>,
    streams: Streams,
    jitter: Xoshiro256PlusPlus,
}

impl Timed {
    /// With time slices of `slice_ns`.
    pub fn new(slice_ns: u64) -> Self {
        Self {
            slice_ns,
            cpus: Vec::new(),
            tasks: Vec::new(),
            dirty: Vec::new(),
            leaves: Vec::new(),
            tree: Vec::new(),
            streams: Streams::default(),
            jitter: Xoshiro256PlusPlus::seed_from_u64(0),
        }
    }

    fn queue(&mut self, cpu: usize) -> &mut RunQueue {
        if self.cpus.len() <= cpu {
            let size = (cpu + 1).next_power_of_two();
            self.cpus.resize_with(size, RunQueue::default);
            self.leaves.resize(size, NOBODY);
            self.tree = vec![0; size];
            (1..size).rev().for_each(|node| self.play(node));
        }
        let queue = &mut self.cpus[cpu];
        if !queue.dirty {
            queue.dirty = true;
            self.dirty.push(cpu);
        }
        queue
    }

    /// The winner of a node's two sides; leaves stand behind the inner nodes.
    fn play(&mut self, node: usize) {
        let size = self.leaves.len();
        let side = |child: usize| if child >= size { child - size } else { self.tree[child] };
        let (left, right) = (side(2 * node), side(2 * node + 1));
        self.tree[node] = if self.leaves[right] < self.leaves[left] { right } else { left };
    }

    /// Works out the best of every CPU that has changed.
    fn refresh(&mut self) {
        while let Some(cpu) = self.dirty.pop() {
            let best = self.cpus[cpu].refresh(&self.tasks);
            if self.leaves[cpu] == best {
                continue;
            }
            self.leaves[cpu] = best;
            // Its leaf stands behind the inner nodes; one CPU alone has none above it.
            let mut node = self.leaves.len() + cpu;
            while node > 1 {
                node /= 2;
                self.play(node);
            }
        }
    }

    fn best(&mut self) -> Option<(usize, Key)> {
        self.refresh();
        let cpu = if self.leaves.len() > 1 { self.tree[1] } else { 0 };
        self.leaves.get(cpu).filter(|&&key| key != NOBODY).map(|&key| (cpu, key))
    }
}

impl RunQueue {
    fn push(&mut self, pending: &Pending, ticket: u32, last_ran: u64) {
        let class = if pending.woken { WOKEN } else { OTHER };
        let entry = Entry { key: (pending.start, class, last_ran, pending.task), ticket };
        if pending.start <= self.clock {
            self.now.push(Reverse(Entry { key: (0, class, last_ran, pending.task), ticket }));
        } else {
            self.later.push(Reverse(entry));
        }
    }

    /// The key of the task whose slice it is.
    fn current_key(&self, tasks: &[Known]) -> Key {
        let Some((pending, _)) = self.current else { return NOBODY };
        let start = pending.start.max(self.clock);
        let class = match self.slice {
            _ if pending.woken => WOKEN,
            Some((_, end)) if start < end => WITHIN_SLICE,
            _ => OTHER,
        };
        (start, class, tasks[pending.task].last_ran, pending.task)
    }

    /// The key of whoever goes on first here.
    fn refresh(&mut self, tasks: &[Known]) -> Key {
        self.dirty = false;
        let void = |entry: &Entry| tasks[entry.key.3].ticket != entry.ticket;
        while let Some(&Reverse(entry)) = self.later.peek() {
            if void(&entry) {
                self.later.pop();
            } else if entry.key.0 <= self.clock {
                self.later.pop();
                self.now.push(Reverse(Entry { key: (0, entry.key.1, entry.key.2, entry.key.3), ..entry }));
            } else {
                break;
            }
        }
        while self.now.peek().is_some_and(|Reverse(entry)| void(entry)) {
            self.now.pop();
        }
        let now = self.now.peek().map_or(NOBODY, |Reverse(Entry { key: (_, class, last, task), .. })| {
            (self.clock, *class, *last, *task)
        });
        let later = self.later.peek().map_or(NOBODY, |Reverse(entry)| entry.key);
        now.min(later).min(self.current_key(tasks))
    }
}

impl Strategy for Timed {
    fn begin(&mut self, seed: u64) {
        for queue in &mut self.cpus {
            *queue = RunQueue {
                now: std::mem::take(&mut queue.now),
                later: std::mem::take(&mut queue.later),
                ..RunQueue::default()
            };
            queue.now.clear();
            queue.later.clear();
        }
        self.tasks.clear();
        self.dirty.clear();
        self.leaves.fill(NOBODY);
        self.streams.begin(seed);
        self.jitter = Xoshiro256PlusPlus::seed_from_u64(seed);
    }

    fn enqueue(&mut self, pending: Pending) {
        if self.tasks.len() <= pending.task {
            self.tasks.resize(pending.task + 1, Known::default());
        }
        let known = &mut self.tasks[pending.task];
        known.ticket = known.ticket.wrapping_add(1);
        known.cpu = pending.cpu;
        let Known { ticket, last_ran, .. } = *known;
        let queue = self.queue(pending.cpu);
        if queue.slice.is_some_and(|(task, _)| task == pending.task) {
            queue.current = Some((pending, ticket));
        } else {
            queue.push(&pending, ticket, last_ran);
        }
    }

    fn dequeue(&mut self, task: TaskId) {
        self.tasks[task].ticket = self.tasks[task].ticket.wrapping_add(1);
        let queue = self.queue(self.tasks[task].cpu);
        if queue.current.is_some_and(|(pending, _)| pending.task == task) {
            queue.current = None;
        }
    }

    fn ran(&mut self, cpu: usize, until: u64) {
        let queue = self.queue(cpu);
        queue.clock = queue.clock.max(until);
    }

    fn earliest(&mut self) -> Option<u64> {
        self.best().map(|(_, key)| key.0)
    }

    fn choose(&mut self, _current: Option<TaskId>) -> (TaskId, u64) {
        let (cpu, (start, _, _, task)) = self.best().expect("somebody can go on");
        let known = &mut self.tasks[task];
        known.ticket = known.ticket.wrapping_add(1);
        known.last_ran = start + 1;
        let slice_ns = self.slice_ns;
        let queue = self.queue(cpu);
        if queue.current.is_some_and(|(pending, _)| pending.task == task) {
            queue.current = None;
        }
        let keeps = queue.slice.is_some_and(|(owner, end)| owner == task && start < end);
        if !keeps {
            queue.slice = Some((task, start.saturating_add(slice_ns)));
            // Whose slice it was waits like the others from now on.
            if let Some((pending, ticket)) = queue.current.take() {
                let last_ran = self.tasks[pending.task].last_ran;
                self.cpus[cpu].push(&pending, ticket, last_ran);
            }
        }
        (task, start)
    }

    fn draw(&mut self, task: TaskId) -> u64 {
        self.streams.draw(task)
    }

    fn jitter(&mut self, spread: u64) -> u64 {
        self.jitter.next_u64() % (spread + 1)
    }
}
