//! Nouns: the passive state of a kernel's memory management.
//!
//! A [`Machine`] is frames ([`page`], [`memory`], [`payload`]), LRU lists
//! ([`lruvec`]), CPUs with their batches ([`cpu`]), mappings and page tables
//! ([`space`]), under the [`Rules`] of one kernel version. Nothing here acts by
//! itself; the verbs are in [`ops`](crate::ops).
//!
//! # Lock order
//!
//! page-table lock → local lock → lruvec lock → page cache of free frames →
//! zone lock; under any other nothing more is taken. Debug builds check it
//! ([`Rank`](crate::sync::Rank)). None of them is held across a step:
//! what the kernel sleeps on (page lock, writeback, migration entry, drain
//! work, the drain mutex) is machine state waited for through the driver.

mod accounts;
mod area;
mod buddy;
mod build;
pub mod cpu;
mod digest;
mod folio;
mod hugetlb;
mod ids;
mod kind;
pub mod lruvec;
pub mod memory;
mod mutex;
mod obstacle;
mod oom;
pub mod page;
pub mod payload;
mod pte;
mod refs;
pub mod space;
mod sparse;
mod turns;
mod validate;

pub use accounts::{Accounts, Bill, DMA_ENTRY_LIMIT};
pub use area::{Area, vm};
pub use build::{GoOn, Unbuilt};
pub use cpu::{Batch, Cpu};
pub use digest::Digest;
pub(crate) use folio::{Folio, Found};
use hugetlb::fault_mutexes;
pub use hugetlb::{Pool, PoolState};
pub use ids::{
    CpuId, Frame, Frames, MappingId, NO_FRAME, PTES_PER_TABLE, PageIndex, PageRange, ProcessId, ZERO_FRAME,
    pages,
};
pub use kind::{Backing, Kind};
pub use lruvec::{Lru, Lruvec};
pub use memory::{Gfp, Layout, Memory, PAGEBLOCK, ZoneKind};
pub use mutex::SleepMutex;
pub use obstacle::{Breakdown, Cause, Hindrance, Obstacle, PageState, Test};
pub use oom::{Kill, OOM_SCORE_ADJ_MAX, OOM_SCORE_ADJ_MIN, OutOfMemory, PROGRAM, Processes};
pub use page::{MAX_ORDER, Page, flag};
pub use pte::Pte;
pub(crate) use refs::Grab;
pub use space::{Mapping, Vma};
pub use turns::Turns;
pub use validate::{Broken, Known, Recount};

use crate::policy::Rules;
use crate::sync::{AtomicU32, Gauge, Mutex, Ordering};
use crossbeam_utils::CachePadded;
use ids::AtomicFrame;

/// The whole machine. Shared by reference between the threads of a run.
#[derive(Debug)]
pub struct Machine {
    /// What it does as which kernel.
    pub rules: Rules,
    /// Frames.
    pub memory: Memory,
    /// The node's LRU lists.
    pub lruvec: CachePadded<Lruvec>,
    /// CPUs.
    pub cpus: Box<[CachePadded<Cpu>]>,
    mappings: boxcar::Vec<Mapping>,
    /// Generation of `lru_add_drain_all` (see [`cpu`]).
    pub(crate) drain_gen: CachePadded<AtomicU32>,
    /// The mutex of `lru_add_drain_all`.
    pub(crate) drain_mutex: SleepMutex,
    /// The queue of calls whose policy has one.
    pub turns: Turns,
    /// Sweeps of the long-term loop that hold pins (model's truth).
    pub passing: CachePadded<Gauge>,
    /// `lru_disable_count`.
    cache_disabled: AtomicU32,
    /// The first frame of the huge zero page, once there is one.
    huge_zero: AtomicFrame,
    hugetlb: Mutex<Pool>,
    /// `hugetlb_fault_mutex_table`: who faults in a page of the pool has that of its place.
    hugetlb_faults: Box<[SleepMutex]>,
    /// Pages by pins that were lost: nobody has them to give them back.
    leaked: Mutex<Vec<Frame>>,
    /// What callers are charged.
    pub accounts: Accounts,
    /// Whom the OOM killer may choose.
    pub processes: Processes,
}

impl Machine {
    /// An empty machine, however large.
    ///
    /// # Panics
    /// If the host has no memory for it.
    pub fn new(rules: Rules, layout: &Layout, cpus: usize) -> Self {
        Self::build(rules, layout, cpus).unwrap_or_else(|unbuilt| panic!("{unbuilt}"))
    }

    /// An empty machine, however large: what of it is never used takes no memory.
    ///
    /// # Errors
    /// [`Unbuilt`]: no memory.
    pub fn build(rules: Rules, layout: &Layout, cpus: usize) -> Result<Self, Unbuilt> {
        Ok(Self {
            memory: Memory::build(layout, cpus)?,
            lruvec: CachePadded::new(Lruvec::new()),
            cpus: (0..cpus).map(|_| CachePadded::new(Cpu::new(rules.batch_size as usize))).collect(),
            mappings: boxcar::Vec::new(),
            drain_gen: CachePadded::new(AtomicU32::new(0)),
            drain_mutex: SleepMutex::default(),
            turns: Turns::default(),
            passing: CachePadded::default(),
            cache_disabled: AtomicU32::new(0),
            huge_zero: AtomicFrame::default(),
            hugetlb: Mutex::new(Pool::default()),
            hugetlb_faults: (0..fault_mutexes(cpus)).map(|_| SleepMutex::default()).collect(),
            leaked: Mutex::new(Vec::new()),
            accounts: Accounts::default(),
            processes: Processes::default(),
            rules,
        })
    }

    /// Pages whose pins were lost, once for each pin: nobody has them to give them back.
    pub fn leaked(&self) -> Vec<Frame> {
        self.leaked.lock().clone()
    }

    /// Pins of these pages are nobody's from here on.
    pub(crate) fn leak(&self, pages: impl Iterator<Item = Frame>) {
        self.leaked.lock().extend(pages);
    }

    /// A CPU by number.
    #[inline]
    pub fn cpu(&self, id: CpuId) -> &Cpu {
        &self.cpus[id.at()]
    }

    /// Every CPU with its number.
    pub fn each_cpu(&self) -> impl Iterator<Item = (CpuId, &Cpu)> {
        CpuId::all(self.cpus.len()).zip(self.cpus.iter().map(|cpu| &**cpu))
    }

    /// The page of a frame.
    #[inline]
    pub fn page(&self, frame: Frame) -> &Page {
        self.memory.page(frame)
    }

    /// The line that has the state of the folio that a frame is part of.
    #[inline]
    pub fn folio(&self, frame: Frame) -> &Page {
        self.memory.folio(frame)
    }

    /// Makes a mapping of `pages` pages, none present.
    pub fn map(&self, backing: impl Into<Backing>, pages: u32) -> &Mapping {
        let backing = backing.into();
        let at = self.mappings.push_with(|id| Mapping::new(MappingId(id as u32), backing, pages));
        &self.mappings[at]
    }

    /// A mapping by id.
    #[inline]
    pub fn mapping(&self, id: MappingId) -> &Mapping {
        &self.mappings[id.0 as usize]
    }

    /// Every mapping ever made.
    pub fn mappings(&self) -> impl Iterator<Item = &Mapping> {
        self.mappings.iter().map(|(_, mapping)| mapping)
    }

    /// Whether a page is the zero page, or one of the huge zero page.
    #[inline]
    pub fn is_zero(&self, frame: Frame) -> bool {
        frame == ZERO_FRAME || frame.align_down(MAX_ORDER) == self.huge_zero.load(Ordering::Relaxed)
    }

    /// `mm_get_huge_zero_folio`: made when it is first asked for, outside Movable; `None` without
    /// memory for it.
    pub(crate) fn huge_zero(&self, cpu: CpuId) -> Option<Frame> {
        let known = self.huge_zero.load(Ordering::Acquire);
        if known != NO_FRAME {
            return Some(known);
        }
        let fresh = self.memory.alloc(cpu, Gfp::Pin, MAX_ORDER)?.publish();
        self.page(fresh).set(flag::RESERVED);
        let won = self.huge_zero.set_first(fresh);
        if won.is_err() && self.page(fresh).put_testzero(1) {
            self.memory.free(cpu, fresh);
        }
        Some(won.err().unwrap_or(fresh))
    }

    /// `lru_cache_disabled`: whether batches flush at once.
    #[inline]
    pub fn lru_cache_disabled(&self) -> bool {
        self.cache_disabled.load(Ordering::Relaxed) != 0
    }

    /// Who holds the mutex of `lru_add_drain_all`, by thread number.
    pub fn drain_mutex_owner(&self) -> Option<u32> {
        self.drain_mutex.owner()
    }

    /// Counts one more reason to flush at once; whoever takes a local lock after the caller had
    /// it sees the count.
    pub(crate) fn disable_lru_cache(&self) {
        self.cache_disabled.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one reason back.
    pub(crate) fn enable_lru_cache(&self) {
        self.cache_disabled.fetch_sub(1, Ordering::Relaxed);
    }

    /// `mapping_unevictable`: whether reclaim must leave the pages of a file alone.
    #[inline]
    pub fn is_in_unevictable_mapping(&self, folio: &Page) -> bool {
        // Anonymous and shared memory, which is nearly all there is, need no look at the mapping.
        !folio.has(flag::ANON | flag::SWAPBACKED)
            && folio.mapping().is_some_and(|id| self.mapping(id).kind.is_unevictable())
    }
}

crate::restore!(Machine {
    memory, lruvec, cpus, mappings, drain_gen, drain_mutex, turns, cache_disabled, huge_zero, hugetlb,
    hugetlb_faults, leaked, accounts, processes,
} keep { rules, passing });

/// Mappings are made before anything runs: both machines have the same.
#[cfg(not(loom))]
impl crate::restore::Restore for boxcar::Vec<Mapping> {
    fn restore(&self, from: &Self) {
        assert_eq!(self.count(), from.count(), "not of the same shape");
        self.iter().zip(from.iter()).for_each(|((_, one), (_, from))| one.restore(from));
    }
}
