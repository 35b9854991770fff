//! The queue of calls that take their sweeps one after the other (`waiters = ticket`).
//!
//! A ticket's turn lasts from the moment it is at the head until it leaves.
//! `serving` repeats the head outside the lock: a waiter looks at it without
//! taking the lock that others join and leave under.

use crate::sync::{AtomicU32, Mutex, Ordering};
use std::collections::VecDeque;

#[derive(Debug, Default, Clone)]
struct Queue {
    next: u32,
    /// Tickets with their holders, first come first.
    waiting: VecDeque<(u32, u32)>,
}

/// First come, first served.
#[derive(Debug)]
pub struct Turns {
    queue: Mutex<Queue>,
    /// The ticket at the head; of no meaning while nobody waits.
    serving: AtomicU32,
}

impl Default for Turns {
    fn default() -> Self {
        Self { queue: Mutex::new(Queue::default()), serving: AtomicU32::new(0) }
    }
}

impl Turns {
    /// Joins the queue; returns the ticket. `holder` is the thread (model's truth).
    pub fn join(&self, holder: u32) -> u32 {
        let mut queue = self.queue.lock();
        let ticket = queue.next;
        queue.next = ticket.wrapping_add(1);
        queue.waiting.push_back((ticket, holder));
        if queue.waiting.len() == 1 {
            self.serving.store(ticket, Ordering::Release);
        }
        ticket
    }

    /// Whether it is this ticket's turn. What the turns before it wrote is seen then.
    pub fn is_served(&self, ticket: u32) -> bool {
        self.serving.load(Ordering::Acquire) == ticket
    }

    /// Leaves the queue, in turn or not; returns the ticket whose turn it is then.
    pub fn leave(&self, ticket: u32) -> Option<u32> {
        let mut queue = self.queue.lock();
        queue.waiting.retain(|&(waiting, _)| waiting != ticket);
        let head = queue.waiting.front().map(|&(head, _)| head);
        if let Some(head) = head {
            self.serving.store(head, Ordering::Release);
        }
        head
    }

    /// The thread whose turn it is, if anybody's (model's truth).
    pub fn holder(&self) -> Option<u32> {
        self.queue.lock().waiting.front().map(|&(_, holder)| holder)
    }
}

crate::restore!(Turns { queue, serving });

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn first_come_is_first_served_and_who_gives_up_is_passed_over() {
        let turns = Turns::default();
        assert_eq!(turns.holder(), None);
        let tickets = [7, 8, 9].map(|holder| turns.join(holder));
        assert_eq!(turns.holder(), Some(7));
        assert_eq!(tickets.map(|ticket| turns.is_served(ticket)), [true, false, false]);
        assert_eq!(turns.leave(tickets[1]), Some(tickets[0]), "it was not its turn");
        assert_eq!(turns.leave(tickets[0]), Some(tickets[2]));
        assert!(turns.is_served(tickets[2]));
        assert_eq!(turns.leave(tickets[2]), None);
        let next = turns.join(5);
        assert!(turns.is_served(next), "an empty queue makes nobody wait");
    }
}
