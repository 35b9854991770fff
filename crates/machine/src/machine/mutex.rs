//! A kernel mutex that is slept on, so state and not a lock.
//!
//! # Protocol (`kernel/locking/mutex.c`)
//!
//! 1. Whoever finds it free takes it, also past those who sleep.
//! 2. Whoever does not queues up, and sleeps until it is the first and the mutex free.
//! 3. An unlock wakes the first sleeper, and no other.
//! 4. If that one comes too late, another having taken it meanwhile, it asks for a hand-off: the
//!    next unlock makes it the owner, and nobody can come between.
//!
//! So a crowd of sleepers gets through one by one, each after it has been given a CPU.

use crate::sync::Mutex;
use std::collections::VecDeque;

#[derive(Debug, Default, Clone)]
struct State {
    owner: Option<u32>,
    /// Whether the next unlock is to hand it to the first sleeper.
    handoff: bool,
    /// Sleepers, first come first.
    sleepers: VecDeque<u32>,
    /// Whom an unlock has woken, until he has looked.
    woken: Option<u32>,
}

/// The mutex, by thread numbers.
#[derive(Debug, Default)]
pub struct SleepMutex {
    state: Mutex<State>,
}

impl SleepMutex {
    /// Takes it if it is free.
    pub fn try_lock(&self, thread: u32) -> bool {
        let mut state = self.state.lock();
        if state.owner.is_some() {
            return false;
        }
        state.owner = Some(thread);
        true
    }

    /// Takes it if it is free, or else queues up.
    pub fn lock_or_queue(&self, thread: u32) -> bool {
        let mut state = self.state.lock();
        if state.owner.is_none() {
            state.owner = Some(thread);
            return true;
        }
        state.sleepers.push_back(thread);
        false
    }

    /// Whether a sleeper is to go on: it owns the mutex, or may take it. Who was woken for it and
    /// may not has it handed over (`__mutex_trylock_or_handoff`).
    pub fn is_ready(&self, thread: u32) -> bool {
        let mut state = self.state.lock();
        let first = state.sleepers.front() == Some(&thread);
        let ready = state.owner == Some(thread) || state.owner.is_none() && first;
        state.handoff |= !ready && state.woken == Some(thread);
        ready
    }

    /// A sleeper that has woken takes it; false: it goes back to sleep, and has it handed over.
    pub fn take(&self, thread: u32) -> bool {
        let mut state = self.state.lock();
        if state.owner.is_some_and(|owner| owner != thread) {
            state.handoff |= state.sleepers.front() == Some(&thread);
            return false;
        }
        state.owner = Some(thread);
        state.woken = None;
        state.sleepers.retain(|&sleeper| sleeper != thread);
        true
    }

    /// Whoever owns it lets go; returns whom to wake.
    pub fn unlock(&self) -> Option<u32> {
        let mut state = self.state.lock();
        let first = state.sleepers.front().copied();
        state.owner = first.filter(|_| state.handoff);
        state.handoff = false;
        state.woken = first;
        first
    }

    /// A sleeper gives up; returns whom to wake, as it may have been its turn.
    pub fn give_up(&self, thread: u32) -> Option<u32> {
        let mut state = self.state.lock();
        state.sleepers.retain(|&sleeper| sleeper != thread);
        if state.owner == Some(thread) {
            state.owner = None;
        }
        if state.owner.is_some() {
            return None;
        }
        state.woken = state.sleepers.front().copied();
        state.woken
    }

    /// The thread that has it (model's truth).
    pub fn owner(&self) -> Option<u32> {
        self.state.lock().owner
    }
}

crate::restore!(SleepMutex { state });

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn who_comes_too_late_once_is_handed_the_mutex() {
        let mutex = SleepMutex::default();
        assert!(mutex.lock_or_queue(1));
        assert!(!mutex.lock_or_queue(2) && !mutex.lock_or_queue(3));
        assert!(!mutex.is_ready(2));
        assert_eq!(mutex.unlock(), Some(2));
        assert_eq!([2, 3].map(|thread| mutex.is_ready(thread)), [true, false], "the first alone");
        // Before it is there, somebody else is.
        assert!(mutex.try_lock(4));
        assert!(!mutex.take(2));
        assert_eq!(mutex.unlock(), Some(2));
        assert_eq!(mutex.owner(), Some(2));
        assert!(!mutex.try_lock(4), "handed over: nobody comes between");
        assert!(mutex.is_ready(2) && mutex.take(2));
        assert_eq!(mutex.unlock(), Some(3));
        assert_eq!(mutex.owner(), None);
        assert!(mutex.take(3));
        assert_eq!(mutex.unlock(), None);
    }

    #[test]
    fn who_finds_it_taken_as_it_wakes_is_handed_it_too() {
        let mutex = SleepMutex::default();
        assert!(mutex.lock_or_queue(1));
        assert!(!mutex.lock_or_queue(2) && !mutex.lock_or_queue(3));
        assert!(!mutex.is_ready(2) && !mutex.is_ready(2), "it goes to sleep, however often it looks before");
        assert_eq!(mutex.unlock(), Some(2));
        assert!(mutex.try_lock(4), "nobody had been woken for it in vain");
        assert!(!mutex.is_ready(3) && !mutex.is_ready(2));
        assert_eq!(mutex.unlock(), Some(2));
        assert_eq!(mutex.owner(), Some(2));
    }

    #[test]
    fn who_gives_up_keeps_nobody_waiting() {
        let mutex = SleepMutex::default();
        assert!(mutex.lock_or_queue(1));
        assert!((2..=4).all(|thread| !mutex.lock_or_queue(thread)));
        assert_eq!(mutex.give_up(3), None);
        assert_eq!(mutex.unlock(), Some(2));
        assert_eq!(mutex.give_up(2), Some(4), "it had been woken in vain");
        assert!(mutex.try_lock(5) && !mutex.take(4));
        assert_eq!(mutex.unlock(), Some(4));
        assert_eq!(mutex.give_up(4), None);
        assert_eq!(mutex.owner(), None, "handed over and given back");
    }
}
