//! The only door to atomics, locks and threads.
//!
//! Everything that shares memory between threads imports it from here, so that
//! one `--cfg loom` puts the machine's own orderings under the model checker.
//! `clippy.toml` refuses the ways round it.
//!
//! In debug builds every thread counts the internal locks it holds, and
//! [`assert_unlocked`] fails a step that is passed with one.

// The door itself.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]

mod atomic;

pub use atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering, Tally, fence};

#[cfg(not(loom))]
pub use std::thread;

#[cfg(loom)]
pub use loom::thread;

use std::ops::{Deref, DerefMut};
use std::time::Instant;

#[cfg(all(debug_assertions, not(loom)))]
thread_local! {
    static HELD: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

#[inline]
fn count_held(change: i32) {
    #[cfg(all(debug_assertions, not(loom)))]
    HELD.with(|held| held.set(held.get().wrapping_add_signed(change)));
    #[cfg(not(all(debug_assertions, not(loom))))]
    let _ = change;
}

/// Panics in debug builds if the calling thread holds a [`Mutex`] of this module.
#[inline]
#[track_caller]
pub fn assert_unlocked() {
    #[cfg(all(debug_assertions, not(loom)))]
    HELD.with(|held| assert_eq!(held.get(), 0, "an internal lock is held across a step"));
}

/// A mutual exclusion lock that is held for a few instructions at a time.
#[derive(Debug, Default)]
pub struct Mutex<T>(inner::Mutex<T>);

/// A held [`Mutex`].
#[derive(Debug)]
pub struct MutexGuard<'a, T>(inner::MutexGuard<'a, T>);

impl<T> Mutex<T> {
    /// An unlocked mutex.
    pub fn new(value: T) -> Self {
        Self(inner::Mutex::new(value))
    }

    /// Locks it.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let guard = inner::lock(&self.0);
        count_held(1);
        MutexGuard(guard)
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        count_held(-1);
    }
}

/// A place to sleep until a condition holds that others make so.
///
/// # Memory ordering
///
/// A sleeper announces itself in `sleepers`, passes a full barrier (A) and
/// looks at its condition; a waker makes the condition so, passes a full
/// barrier (B) and looks at `sleepers`. One of them sees the other: no wake-up
/// is lost. The look and the sleep are one under the mutex, which a waker who
/// saw a sleeper takes before it notifies.
#[derive(Debug, Default)]
pub struct Monitor {
    sleepers: AtomicUsize,
    mutex: inner::Mutex<()>,
    condvar: inner::Condvar,
}

impl Monitor {
    /// Nobody sleeps here yet.
    pub fn new() -> Self {
        Self { sleepers: AtomicUsize::new(0), mutex: inner::Mutex::new(()), condvar: inner::Condvar::new() }
    }

    /// Sleeps until `done` says so or the deadline comes; false on the deadline.
    pub fn sleep_until(&self, deadline: Option<Instant>, done: &dyn Fn() -> bool) -> bool {
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst); // (A), pairs with (B)
        let mut guard = inner::lock(&self.mutex);
        let mut in_time = true;
        while !done() && in_time {
            (guard, in_time) = inner::wait(&self.condvar, guard, deadline);
        }
        let result = in_time || done();
        drop(guard);
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
        result
    }

    /// Wakes all sleepers to look again.
    #[inline]
    pub fn wake_all(&self) {
        fence(Ordering::SeqCst); // (B), pairs with (A)
        if self.sleepers.load(Ordering::Relaxed) != 0 {
            drop(inner::lock(&self.mutex));
            self.condvar.notify_all();
        }
    }
}

/// Marks memory that one party may hold exclusively (a frozen page's payload).
///
/// Under loom every shared and exclusive access is recorded and a race is an
/// error; otherwise it is nothing at all.
#[derive(Debug)]
pub struct Exclusive {
    #[cfg(loom)]
    cell: loom::cell::UnsafeCell<()>,
}

impl Exclusive {
    /// A fresh marker.
    pub fn new() -> Self {
        Self {
            #[cfg(loom)]
            cell: loom::cell::UnsafeCell::new(()),
        }
    }

    /// Runs `f` as one of any number of sharers.
    #[inline]
    pub fn shared<R>(&self, f: impl FnOnce() -> R) -> R {
        #[cfg(loom)]
        return self.cell.with(|_| f());
        #[cfg(not(loom))]
        f()
    }

    /// Runs `f` as the only one.
    #[inline]
    pub fn exclusive<R>(&self, f: impl FnOnce() -> R) -> R {
        #[cfg(loom)]
        return self.cell.with_mut(|_| f());
        #[cfg(not(loom))]
        f()
    }
}

impl Default for Exclusive {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(not(loom))]
mod inner {
    pub use parking_lot::{Condvar, Mutex, MutexGuard};
    use std::time::Instant;

    #[inline]
    pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock()
    }

    pub fn wait<'a>(
        condvar: &Condvar,
        mut guard: MutexGuard<'a, ()>,
        deadline: Option<Instant>,
    ) -> (MutexGuard<'a, ()>, bool) {
        let in_time = if let Some(deadline) = deadline {
            !condvar.wait_until(&mut guard, deadline).timed_out()
        } else {
            condvar.wait(&mut guard);
            true
        };
        (guard, in_time)
    }
}

#[cfg(loom)]
mod inner {
    pub use loom::sync::{Condvar, Mutex, MutexGuard};
    use std::time::Instant;

    pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().expect("never poisoned")
    }

    pub fn wait<'a>(
        condvar: &Condvar,
        guard: MutexGuard<'a, ()>,
        _deadline: Option<Instant>,
    ) -> (MutexGuard<'a, ()>, bool) {
        (condvar.wait(guard).expect("never poisoned"), true)
    }
}
