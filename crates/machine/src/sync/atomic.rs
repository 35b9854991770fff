//! Atomics: those of `std`, or under loom the model checker's.
//!
//! # `SeqCst` in models
//!
//! loom takes a `SeqCst` access for an `AcqRel` one, so by itself it would
//! report store-buffer outcomes that cannot happen. What hardware and C++ give
//! is: of two threads that each write one place and then read the other's, all
//! four accesses `SeqCst`, one sees the other. In a model this is a full fence
//! between the two accesses of a thread, and it is keyed on the orderings that
//! the code names: a `SeqCst` write owes the thread a fence, the next `SeqCst`
//! read pays it. Weaken either and the fence is gone, so the model that needs
//! it fails.

pub use imp::Ordering;

#[cfg(not(loom))]
mod imp {
    pub use std::sync::atomic::{
        AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };

    #[inline]
    pub fn wrote(_: Ordering) {}

    #[inline]
    pub fn reads(_: Ordering) {}
}

#[cfg(loom)]
mod imp {
    pub use loom::sync::atomic::{
        AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
    use std::cell::Cell;

    loom::thread_local! {
        /// Whether the thread made a `SeqCst` write that no `SeqCst` read has followed yet.
        static OWED: Cell<bool> = Cell::new(false);
    }

    pub fn wrote(order: Ordering) {
        if order == Ordering::SeqCst {
            OWED.with(|owed| owed.set(true));
        }
    }

    pub fn reads(order: Ordering) {
        if order == Ordering::SeqCst && OWED.with(|owed| owed.replace(false)) {
            fence(Ordering::SeqCst);
        }
    }
}

/// An atomic fence.
#[inline]
pub fn fence(order: Ordering) {
    imp::fence(order);
}

macro_rules! atomic {
    ($Name:ident, $T:ty) => {
        #[doc = concat!("An atomic `", stringify!($T), "`.")]
        #[derive(Debug)]
        #[cfg_attr(not(loom), derive(bytemuck::Zeroable))]
        #[repr(transparent)]
        pub struct $Name(imp::$Name);

        impl $Name {
            /// With a first value.
            #[inline]
            pub fn new(value: $T) -> Self {
                Self(imp::$Name::new(value))
            }

            /// Its value.
            #[inline]
            #[track_caller]
            pub fn load(&self, order: Ordering) -> $T {
                imp::reads(order);
                self.0.load(order)
            }

            /// Sets it.
            #[inline]
            #[track_caller]
            pub fn store(&self, value: $T, order: Ordering) {
                self.0.store(value, order);
                imp::wrote(order);
            }

            atomic!(@modify $T: swap compare_exchange compare_exchange_weak);
        }

        impl Default for $Name {
            fn default() -> Self {
                Self::new(Default::default())
            }
        }
    };
    (number $Name:ident, $T:ty) => {
        atomic!($Name, $T);

        impl $Name {
            atomic!(@fetch $T: fetch_add fetch_sub fetch_and fetch_or);
        }
    };
    (@modify $T:ty: $swap:ident $($exchange:ident)*) => {
        /// Sets it; returns what it was.
        #[inline]
        #[track_caller]
        pub fn $swap(&self, value: $T, order: Ordering) -> $T {
            imp::reads(order);
            let before = self.0.$swap(value, order);
            imp::wrote(order);
            before
        }

        $(
            /// Sets it if it is `current`; returns what it was, `Err` if it was not set.
            #[inline]
            #[track_caller]
            pub fn $exchange(&self, current: $T, new: $T, ok: Ordering, err: Ordering) -> Result<$T, $T> {
                imp::reads(ok);
                let result = self.0.$exchange(current, new, ok, err);
                if result.is_ok() {
                    imp::wrote(ok);
                }
                result
            }
        )*
    };
    (@fetch $T:ty: $($fetch:ident)*) => {
        $(
            /// Changes it; returns what it was.
            #[inline]
            #[track_caller]
            pub fn $fetch(&self, value: $T, order: Ordering) -> $T {
                imp::reads(order);
                let before = self.0.$fetch(value, order);
                imp::wrote(order);
                before
            }
        )*
    };
}

atomic!(AtomicBool, bool);
atomic!(AtomicU8, u8);
atomic!(number AtomicI32, i32);
atomic!(number AtomicU32, u32);
atomic!(number AtomicU64, u64);
atomic!(number AtomicUsize, usize);

/// A tally that orders nothing and that one thread writes; no part of any model.
#[derive(Debug, Default)]
pub struct Tally(std::sync::atomic::AtomicU64);

impl Tally {
    /// With a first value.
    pub fn new(value: u64) -> Self {
        Self(value.into())
    }

    /// Adds; by its one writer only, so no read-modify-write is needed.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.get().wrapping_add(n), std::sync::atomic::Ordering::Relaxed);
    }

    /// Its value.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// How many there are of something now, and the most there ever were; orders nothing, no part of any model.
#[derive(Debug, Default)]
pub struct Gauge {
    now: std::sync::atomic::AtomicU32,
    most: std::sync::atomic::AtomicU32,
}

impl Gauge {
    /// One more.
    pub fn enter(&self) {
        let now = 1 + self.now.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // Mostly there have been as many: that takes a look and no write.
        if now > self.most() {
            self.most.fetch_max(now, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// One less.
    pub fn leave(&self) {
        self.now.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }

    /// The most there ever were at once.
    pub fn most(&self) -> u32 {
        self.most.load(std::sync::atomic::Ordering::Relaxed)
    }
}
