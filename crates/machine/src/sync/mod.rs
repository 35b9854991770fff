//! The only door to atomics, locks and threads.
//!
//! Everything that shares memory between threads imports it from here, so that
//! one `--cfg loom` puts the machine's own orderings under the model checker.
//! `clippy.toml` refuses the ways round it.
//!
//! In debug builds every thread knows the internal locks it holds: they are
//! taken in ascending [`Rank`] only, which excludes a deadlock among them, and
//! [`assert_unlocked`] fails a step that is passed with one.

// The door itself.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]

mod atomic;

pub use atomic::{
    AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Gauge, Ordering, Tally, fence,
};

#[cfg(not(loom))]
pub use std::thread;

#[cfg(loom)]
pub use loom::thread;

use std::ops::{Deref, DerefMut};
use std::time::Instant;

#[cfg(all(debug_assertions, not(loom)))]
thread_local! {
    /// A bit for the rank of each lock that is held.
    static HELD: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// Where a lock stands in the lock order: taken only while those held stand before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Rank {
    /// What a run keeps beside its machine.
    Run,
    /// That of the OOM killer.
    Oom,
    /// A page-table lock.
    PageTable,
    /// A child's, while fork copies from the parent's (`SINGLE_DEPTH_NESTING`).
    NestedPageTable,
    /// A CPU's local lock.
    Local,
    /// An lruvec's.
    Lruvec,
    /// A page cache of free frames.
    PageCache,
    /// A zone's.
    Zone,
    /// Nothing is taken while it is held.
    #[default]
    Leaf,
}

#[inline]
#[track_caller]
fn check_order(rank: Rank) {
    #[cfg(all(debug_assertions, not(loom)))]
    HELD.with(|held| {
        let bit = 1 << rank as u32;
        // Who unwinds has been caught already, and cleans up with whatever it holds.
        let ordered = held.get() < bit || std::thread::panicking();
        assert!(ordered, "{rank:?} is taken out of order, with {:#b} held", held.get());
        held.set(held.get() | bit);
    });
    #[cfg(not(all(debug_assertions, not(loom))))]
    let _ = rank;
}

#[inline]
fn released(rank: Rank) {
    #[cfg(all(debug_assertions, not(loom)))]
    HELD.with(|held| held.set(held.get() & !(1 << rank as u32)));
    #[cfg(not(all(debug_assertions, not(loom))))]
    let _ = rank;
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
pub struct Mutex<T> {
    inner: inner::Mutex<T>,
    #[cfg(debug_assertions)]
    rank: Rank,
}

/// A held [`Mutex`].
#[derive(Debug)]
pub struct MutexGuard<'a, T> {
    inner: inner::MutexGuard<'a, T>,
    #[cfg(debug_assertions)]
    rank: Rank,
}

impl<T> Mutex<T> {
    /// An unlocked mutex under which nothing else is taken.
    pub fn new(value: T) -> Self {
        Self::ranked(Rank::Leaf, value)
    }

    /// An unlocked mutex with a place in the lock order.
    pub fn ranked(rank: Rank, value: T) -> Self {
        #[cfg(not(debug_assertions))]
        let _ = rank;
        Self {
            inner: inner::Mutex::new(value),
            #[cfg(debug_assertions)]
            rank,
        }
    }

    /// Locks it.
    ///
    /// # Panics
    /// In debug builds, if the thread holds one that does not stand before it.
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        #[cfg(debug_assertions)]
        return self.lock_as(self.rank);
        #[cfg(not(debug_assertions))]
        self.lock_as(Rank::Leaf)
    }

    /// Locks it at another place in the order: `spin_lock_nested`.
    ///
    /// # Panics
    /// As [`lock`](Self::lock).
    #[inline]
    #[track_caller]
    pub fn lock_as(&self, rank: Rank) -> MutexGuard<'_, T> {
        // Before it is slept on: a deadlock is reported instead of waited for.
        check_order(rank);
        MutexGuard {
            inner: inner::lock(&self.inner),
            #[cfg(debug_assertions)]
            rank,
        }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        #[cfg(debug_assertions)]
        released(self.rank);
        #[cfg(not(debug_assertions))]
        released(Rank::Leaf);
    }
}

/// A place to sleep until a condition holds that others make so.
///
/// All who sleep are woken at once, as from a wait queue of the kernel's. From a condition variable each
/// would go on to its mutex, and be let go by the one before once that has had a processor: a crowd of a
/// thousand set off one by one, the first a good part of a second before the last.
///
/// # Memory ordering
///
/// A sleeper announces itself in `sleepers`, passes a full barrier (A) and
/// looks at its condition; a waker makes the condition so, passes a full
/// barrier (B) and looks at `sleepers`. One of them sees the other: no wake-up
/// is lost. A sleeper reads the count of wake-ups before it looks, and goes to sleep only if that is
/// still the count; a waker adds to it before it lets go who sleeps. So none is slept through either.
#[derive(Debug, Default)]
pub struct Monitor {
    sleepers: AtomicUsize,
    wakes: AtomicU32,
    place: inner::Place,
}

impl Monitor {
    /// Nobody sleeps here yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sleeps until `done` says so or the deadline comes; false on the deadline.
    pub fn sleep_until(&self, deadline: Option<Instant>, done: &dyn Fn() -> bool) -> bool {
        self.sleepers.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst); // (A), pairs with (B)
        let result = loop {
            // Pairs with (B): whose wake-up is counted, his condition is seen.
            let wakes = self.wakes.load(Ordering::Acquire);
            if done() {
                break true;
            }
            if !inner::sleep(&self.place, &self.wakes, wakes, deadline) {
                break done();
            }
        };
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
        result
    }

    /// Wakes all sleepers to look again.
    #[inline]
    pub fn wake_all(&self) {
        fence(Ordering::SeqCst); // (B), pairs with (A)
        if self.sleepers.load(Ordering::Relaxed) != 0 {
            self.wakes.fetch_add(1, Ordering::Relaxed);
            inner::wake_all(&self.place, &self.wakes);
        }
    }
}

/// Marks memory that one party may hold exclusively (a frozen page's payload).
///
/// Under loom every shared and exclusive access is recorded and a race is an
/// error; otherwise it is nothing at all.
#[derive(Debug)]
#[cfg_attr(not(loom), derive(bytemuck::Zeroable))]
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
    use super::{AtomicU32, Ordering};
    pub use parking_lot::{Mutex, MutexGuard};
    use parking_lot_core::{DEFAULT_PARK_TOKEN, DEFAULT_UNPARK_TOKEN, ParkResult, park, unpark_all};
    use std::time::Instant;

    #[inline]
    pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock()
    }

    /// Where threads sleep. It takes no room: they are found by the address of what counts their wake-ups.
    #[derive(Debug, Default)]
    pub struct Place;

    /// Sleeps until it is woken or the deadline comes, which is false; not at all if there have been
    /// other wake-ups than had been `seen`.
    pub fn sleep(_: &Place, wakes: &AtomicU32, seen: u32, deadline: Option<Instant>) -> bool {
        let asleep = || wakes.load(Ordering::Relaxed) == seen;
        let (before, late) = (|| {}, |_, _| {});
        // SAFETY: the key is the address of an atomic that stays where it is while it is borrowed and
        // is nobody else's key; no closure panics or parks or wakes anybody.
        let result = unsafe { park(key(wakes), asleep, before, late, DEFAULT_PARK_TOKEN, deadline) };
        result != ParkResult::TimedOut
    }

    /// Wakes all who sleep there.
    pub fn wake_all(_: &Place, wakes: &AtomicU32) {
        // SAFETY: as above.
        unsafe { unpark_all(key(wakes), DEFAULT_UNPARK_TOKEN) };
    }

    fn key(wakes: &AtomicU32) -> usize {
        std::ptr::from_ref(wakes) as usize
    }
}

#[cfg(loom)]
mod inner {
    use super::{AtomicU32, Ordering};
    use loom::sync::Condvar;
    pub use loom::sync::{Mutex, MutexGuard};
    use std::time::Instant;

    pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().expect("never poisoned")
    }

    #[derive(Debug, Default)]
    pub struct Place(Mutex<()>, Condvar);

    pub fn sleep(place: &Place, wakes: &AtomicU32, seen: u32, _deadline: Option<Instant>) -> bool {
        let guard = lock(&place.0);
        if wakes.load(Ordering::Relaxed) == seen {
            drop(place.1.wait(guard).expect("never poisoned"));
        }
        true
    }

    pub fn wake_all(place: &Place, _wakes: &AtomicU32) {
        drop(lock(&place.0));
        place.1.notify_all();
    }
}

#[cfg(all(test, debug_assertions, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn who_is_woken_waits_for_nobody_who_is_woken_too() {
        let monitor = Monitor::new();
        let (so, looking) = (AtomicBool::new(false), AtomicU32::new(0));
        let limit = Instant::now() + std::time::Duration::from_secs(20);
        // Each looks for as long as it takes the other one to.
        let together = || {
            looking.fetch_add(1, Ordering::Relaxed);
            while looking.load(Ordering::Relaxed) < 2 && Instant::now() < limit {
                thread::yield_now();
            }
            looking.load(Ordering::Relaxed) == 2
        };
        let asleep = || {
            let met = std::cell::Cell::new(false);
            let in_time = monitor.sleep_until(Some(limit), &|| {
                let is_so = so.load(Ordering::Relaxed);
                met.set(is_so && together());
                is_so
            });
            in_time && met.get()
        };
        thread::scope(|scope| {
            let both = [scope.spawn(asleep), scope.spawn(asleep)];
            while monitor.sleepers.load(Ordering::Relaxed) < 2 {
                thread::yield_now();
            }
            so.store(true, Ordering::Relaxed);
            monitor.wake_all();
            assert!(both.map(|one| one.join().unwrap()).iter().all(|&met| met));
        });
    }

    #[test]
    fn locks_are_taken_in_order() {
        let (table, local, leaf) =
            (Mutex::ranked(Rank::PageTable, ()), Mutex::ranked(Rank::Local, ()), Mutex::new(()));
        let first = table.lock();
        let second = local.lock();
        drop(leaf.lock());
        // In any order they are released.
        drop(first);
        drop(second);
        assert_unlocked();
    }

    #[test]
    #[should_panic(expected = "PageTable is taken out of order")]
    fn a_lock_out_of_order_is_refused() {
        let (table, local) = (Mutex::ranked(Rank::PageTable, ()), Mutex::ranked(Rank::Local, ()));
        let _held = local.lock();
        drop(table.lock());
    }

    #[test]
    #[should_panic(expected = "PageTable is taken out of order")]
    fn a_second_page_table_lock_must_say_that_it_is_nested() {
        let (parent, child) = (Mutex::ranked(Rank::PageTable, ()), Mutex::ranked(Rank::PageTable, ()));
        let _held = parent.lock();
        drop(child.lock_as(Rank::NestedPageTable));
        drop(child.lock());
    }
}
