//! Putting state back to what another of the same shape has.
//!
//! A search runs the same machine tens of thousands of times a second; to build
//! it anew would take longer than to run it. So a machine that has been set up
//! is kept, and the one that runs is made equal to it before each run. Whoever
//! restores is alone with both: nothing here is ordered.

use crate::sync::{
    AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Mutex, Ordering, Tally,
};
use std::sync::Arc;

/// What can be made equal to another of its kind.
pub trait Restore {
    /// Makes it what `from` is.
    fn restore(&self, from: &Self);
}

macro_rules! atomics {
    ($($Atomic:ty),*) => { $(
        impl Restore for $Atomic {
            #[inline]
            fn restore(&self, from: &Self) {
                self.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
    )* };
}
atomics!(AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, AtomicUsize);

impl Restore for Tally {
    #[inline]
    fn restore(&self, from: &Self) {
        self.add(from.get().wrapping_sub(self.get()));
    }
}

impl<T: Clone> Restore for Mutex<T> {
    fn restore(&self, from: &Self) {
        // One after the other: locks of a kind are not nested.
        let value = from.lock().clone();
        *self.lock() = value;
    }
}

impl<T: Restore> Restore for [T] {
    fn restore(&self, from: &Self) {
        assert_eq!(self.len(), from.len(), "not of the same shape");
        self.iter().zip(from).for_each(|(one, from)| one.restore(from));
    }
}

impl<T: Restore, const N: usize> Restore for [T; N] {
    fn restore(&self, from: &Self) {
        self.as_slice().restore(from);
    }
}

impl<T: Restore + ?Sized> Restore for Box<T> {
    fn restore(&self, from: &Self) {
        (**self).restore(from);
    }
}

impl<T: Restore + ?Sized> Restore for Arc<T> {
    fn restore(&self, from: &Self) {
        (**self).restore(from);
    }
}

impl<T: Restore> Restore for crossbeam_utils::CachePadded<T> {
    fn restore(&self, from: &Self) {
        (**self).restore(from);
    }
}

/// Implements [`Restore`] field by field. Every field is named, those after `keep` as ones that
/// two of the same shape have in common: who adds a field says which it is.
#[macro_export]
macro_rules! restore {
    ($Type:ty { $($field:ident),* $(,)? } $(keep { $($kept:ident),* $(,)? })?) => {
        #[cfg(not(loom))]
        impl $crate::restore::Restore for $Type {
            fn restore(&self, from: &Self) {
                let Self { $($field,)* $($($kept: _,)*)? } = self;
                $( $crate::restore::Restore::restore($field, &from.$field); )*
            }
        }
    };
}
