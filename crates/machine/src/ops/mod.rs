//! Verbs: what threads do to the machine, named as in the kernel.
//!
//! Every operation is a method of [`Task`], a thread of control on one CPU,
//! and generic over the [`Driver`] that runs it. The way of a page:
//!
//! 1. A **fault** (`fault`) allocates it and puts it into this CPU's `lru_add`
//!    batch: one more reference, `PG_lru` clear.
//! 2. A **drain** (`drain`) of that batch puts it on an LRU list and sets
//!    `PG_lru`; other batches (`lru`, `mlock`) move it between lists.
//! 3. A **long-term pin** (`longterm`) pins its range (`gup`), drains by its
//!    policy's rule, **isolates** (`isolate`) the pages that must move:
//!    test-and-clears `PG_lru`, takes a reference, takes it off its list.
//! 4. It drops its pins and **migrates** (`migrate`) what it isolated: locks
//!    the page, unmaps it to a migration entry (`rmap`), freezes its refcount,
//!    copies, maps the copy and puts that into the `lru_add` batch.
//! 5. It starts over with pinning, until nothing must move.
//!
//! Each of these may meet any other between two steps. A page is migrated only
//! with exactly its expected references plus the isolation's one; a batch
//! entry, a holder and a pin are unexpected ones, and that is what races.

mod busted;
mod collect;
mod compact;
mod dma;
mod drain;
mod fault;
mod fork;
mod gup;
mod isolate;
mod lock;
mod longterm;
mod lru;
mod migrate;
mod mlock;
mod offline;
mod reclaim;
mod refused;
mod rmap;
mod special;
mod zap;

pub use crate::policy::Errno;
pub use dma::{Dma, DmaError};
pub use longterm::{Pin, PinRequest};
pub use migrate::{MigrateMode, Migrated};

use crate::drive::{Driver, Step};
use crate::machine::page::NO_FRAME;
use crate::machine::{Cpu, Frame, Gfp, Machine, Page};
use crate::observe::{Counters, Event};
use std::cell::Cell;

/// A thread of control: on one CPU at a time, with counters of its own.
#[derive(Debug)]
pub struct Task<'a, D> {
    /// The machine it works on.
    pub m: &'a Machine,
    /// What runs it.
    pub d: &'a D,
    /// What it counts.
    pub count: &'a Counters,
    cpu: Cell<usize>,
    /// Where its faults allocate: `PF_MEMALLOC_PIN`.
    gfp: Cell<Gfp>,
}

impl<'a, D: Driver> Task<'a, D> {
    /// A task on `cpu`.
    pub fn new(m: &'a Machine, d: &'a D, count: &'a Counters, cpu: usize) -> Self {
        Self { m, d, count, cpu: Cell::new(cpu), gfp: Cell::new(Gfp::Movable) }
    }

    /// The CPU it is on.
    #[inline]
    pub fn cpu(&self) -> usize {
        self.cpu.get()
    }

    /// Moves it to another CPU.
    pub fn move_to(&self, cpu: usize) {
        self.cpu.set(cpu);
        self.d.moved_to(cpu);
    }

    #[inline]
    fn local(&self) -> &'a Cpu {
        &self.m.cpus[self.cpu.get()]
    }

    #[inline]
    fn page(&self, frame: Frame) -> &'a Page {
        self.m.page(frame)
    }

    #[inline]
    fn step(&self, at: Step, frame: Frame) {
        self.d.step(at, frame);
    }

    #[inline]
    fn step_at(&self, at: Step) {
        self.d.step(at, NO_FRAME);
    }

    #[inline]
    fn event(&self, event: Event) {
        self.count.add(event, 1);
    }

    /// Drops `n` references of a page; the last one frees it: `folio_put_refs`.
    #[inline]
    pub fn put(&self, frame: Frame, n: i32) {
        if self.page(frame).put_testzero(n) {
            self.free(frame);
        }
    }
}
