//! Who keeps whom waiting, followed to the end.
//!
//! A thread that waits for a page lock waits for whoever holds it, for the drain mutex likewise,
//! for drain work for the kworker that does it, for the end of a migration entry for the one who
//! migrates (he holds the page's lock). That one may wait in turn. What counts is the one at the
//! end: he sleeps of his own will, or could run and is the host's to run, or is one of a circle.
//!
//! All of this is read while the threads go on. What is concluded from it is looked at again:
//! a wait has a number, and one that still has it has lasted from look to look.

use super::shared::Shared;
use crate::drive::Wait;
use crate::machine::flag;

/// One wait of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Who waits.
    pub thread: usize,
    /// For what.
    pub on: Wait,
    /// Which of the thread's waits it is.
    pub number: u32,
}

/// What a chain of waits leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// A circle of waits, none of which has an end.
    Circle(Vec<Link>),
    /// A thread that sleeps of its own will, until then; `u64::MAX`: for ever.
    Sleeps {
        /// Which one.
        thread: usize,
        /// Nanoseconds of the run's clock.
        until: u64,
    },
    /// A thread that could go on: whether it does is the host's to say.
    Runs(usize),
}

/// A thread's waits, its own first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Up to the one at the end, or around the circle.
    pub links: Vec<Link>,
    /// What they lead to.
    pub end: End,
}

/// Who has what a thread waits for.
enum Holder {
    Thread(usize),
    /// Nobody any more: the waiter has yet to see it.
    Nobody,
}

/// The thread that holds what is waited for.
pub fn holder(sh: &Shared, on: Wait) -> Option<usize> {
    match holds(sh, on) {
        Holder::Thread(thread) => Some(thread),
        Holder::Nobody => None,
    }
}

fn holds(sh: &Shared, on: Wait) -> Holder {
    let known = |thread: Option<u32>| match thread {
        Some(thread) if (thread as usize) < sh.slots.len() => Holder::Thread(thread as usize),
        _ => Holder::Nobody,
    };
    match on {
        Wait::PageLock(frame) if sh.m.page(frame).has(flag::LOCKED) => known(sh.m.page(frame).lock_owner()),
        Wait::Writeback(frame) if sh.m.page(frame).has(flag::WRITEBACK) => {
            known(sh.m.page(frame).writeback_owner())
        }
        Wait::DrainMutex(_) => known(sh.m.drain_mutex_owner()),
        Wait::HugetlbFault { mutex, .. } => known(sh.m.hugetlb_fault_mutex(mutex).owner()),
        Wait::DrainWork(cpu) if sh.m.cpu(cpu).drain_wanted().is_some() => {
            Holder::Thread(sh.slots.len() - sh.m.cpus.len() + cpu.at())
        }
        Wait::Exit(process) => sh.thread_of(process).map_or(Holder::Nobody, Holder::Thread),
        Wait::Turn(_) => known(sh.m.turns.holder()),
        _ => Holder::Nobody,
    }
}

/// Follows a thread's waits.
pub fn follow(sh: &Shared, thread: usize) -> Chain {
    let mut links: Vec<Link> = Vec::new();
    let mut next = thread;
    loop {
        if let Some(start) = links.iter().position(|link| link.thread == next) {
            return Chain { end: End::Circle(links[start..].to_vec()), links };
        }
        let place = &sh.slots[next].place;
        let Some(waiting) = place.waiting() else { return Chain { links, end: End::Runs(next) } };
        if place.is_at_rest() {
            // It holds nothing: what it held it has let go of since, and its waiter has yet to see;
            // but for a kworker, which has yet to begin with its work.
            let end = match links.last() {
                Some(Link { thread, on, .. }) if !matches!(on, Wait::DrainWork(_)) => *thread,
                _ => next,
            };
            return Chain { links, end: End::Runs(end) };
        }
        links.push(Link { thread: next, on: waiting.on, number: waiting.number });
        if waiting.on == Wait::Time || waiting.until != u64::MAX {
            return Chain { links, end: End::Sleeps { thread: next, until: waiting.until } };
        }
        match holds(sh, waiting.on) {
            Holder::Thread(thread) => next = thread,
            Holder::Nobody => return Chain { links, end: End::Runs(next) },
        }
    }
}
