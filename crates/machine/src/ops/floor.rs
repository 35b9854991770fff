//! The floors of the house, and how the compiler keeps one from calling what stands above it.
//!
//! Each floor of operations is a type of its own that holds the floor below
//! and derefs to it. A method sees its own floor through `self`, and through
//! `Deref` all those below; a floor above is a type that it has no value of.
//! [`Task`] is the roof: it has every method.
//!
//! | floor | methods in |
//! |---|---|
//! | [`Refs`] | `refs`, `lock`, `life`, `refused` |
//! | [`Lists`] | `lru/lists` |
//! | [`Batches`] | `lru/batch` |
//! | [`Lru`] | `lru/drain`, `lru/isolate`, `lru/mlock`, `lru/age` |
//! | [`Mm`] | `mm/walk` → `mm/rmap` → `mm/advise` → `mm/zap` → `mm/oom` → `mm/fresh` → `mm/anon` → `mm/cow` → `mm/fault` → `mm/fork` → `mm/gup`, `mm/memfd` |
//! | [`Migrate`] | `migrate/page` → `migrate/passes` |
//! | [`Task`] | `pin`, `background` |

use crate::drive::Driver;
use crate::machine::{CpuId, Gfp, Machine, PROGRAM, ProcessId};
use crate::observe::Counters;
use std::cell::Cell;

/// A thread of control on one CPU at a time, with counters of its own: what
/// it does to references and page locks.
#[derive(Debug)]
pub struct Refs<'a, D> {
    /// The machine it works on.
    pub m: &'a Machine,
    /// What runs it.
    pub d: &'a D,
    /// What it counts.
    pub count: &'a Counters,
    pub(super) cpu: Cell<CpuId>,
    /// Whose doings these are: the program's, or a forked child's for whom it acts.
    pub(super) process: Cell<ProcessId>,
}

/// A floor over another.
macro_rules! floor {
    ($(#[$meta:meta])* $Floor:ident over $Below:ident) => {
        floor! { $(#[$meta])* $Floor over $Below with { } }
    };
    (
        $(#[$meta:meta])*
        $Floor:ident over $Below:ident with { $( $(#[$field:meta])* $name:ident: $Type:ty = $value:expr, )* }
    ) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub struct $Floor<'a, D> {
            below: $Below<'a, D>,
            $( $(#[$field])* pub(super) $name: $Type, )*
        }

        impl<'a, D: Driver> $Floor<'a, D> {
            fn over(below: Refs<'a, D>) -> Self {
                Self { below: $Below::over(below), $( $name: $value, )* }
            }
        }

        impl<'a, D> std::ops::Deref for $Floor<'a, D> {
            type Target = $Below<'a, D>;
            #[inline]
            fn deref(&self) -> &Self::Target {
                &self.below
            }
        }
    };
}

floor! {
    /// What may be done with the LRU lists themselves.
    Lists over Refs
}
floor! {
    /// What may be done with the per-CPU batches.
    Batches over Lists
}
floor! {
    /// What may be done with a page's place on the LRU.
    Lru over Batches
}
floor! {
    /// What may be done with mappings.
    Mm over Lru with {
        /// Where faults allocate: `PF_MEMALLOC_PIN`.
        gfp: Cell<Gfp> = Cell::new(Gfp::Movable),
    }
}
floor! {
    /// What moves pages.
    Migrate over Mm
}
floor! {
    /// A thread of control with everything it can do: the roof.
    Task over Migrate
}

impl<D: Driver> Refs<'_, D> {
    fn over(ground: Self) -> Self {
        ground
    }
}

impl<'a, D: Driver> Task<'a, D> {
    /// A task on `cpu`.
    pub fn new(m: &'a Machine, d: &'a D, count: &'a Counters, cpu: CpuId) -> Self {
        Self::over(Refs { m, d, count, cpu: Cell::new(cpu), process: Cell::new(PROGRAM) })
    }
}
