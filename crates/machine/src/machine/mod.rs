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

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::cpu::{Entry, Tag};
    use super::payload::pattern;
    use super::*;
    use crate::policy::Account;
    use std::collections::HashSet;

    const CPU: CpuId = CpuId(0);

    fn machine(rules: Rules) -> Machine {
        let layout = Layout { normal: 1536, movable: 511, cma: 0, page_bytes: 64 };
        Machine::new(rules, &layout, 2)
    }

    #[test]
    fn each_kind_is_what_it_is() {
        use Kind::{Anon, File, Hugeshm, Hugetlb, Pfnmap, Ramfs, Secret, Shmem, Tmpfs};
        let those = |is: fn(Kind) -> bool| Kind::ALL.into_iter().filter(|&kind| is(kind)).collect::<Vec<_>>();
        assert_eq!(those(Kind::is_cached), [Shmem, Tmpfs, Hugeshm, Ramfs, File, Secret]);
        assert_eq!(those(Kind::is_swapbacked), [Anon, Shmem, Tmpfs]);
        assert_eq!(those(Kind::faults_around), [Shmem, Tmpfs, Ramfs, File]);
        assert_eq!(those(Kind::is_memfd), [Shmem, Hugeshm]);
        assert_eq!(those(Kind::is_hugetlb), [Hugetlb, Hugeshm]);
        assert_eq!(those(Kind::is_private), [Anon, Hugetlb]);
        assert_eq!(those(Kind::is_unevictable), [Ramfs, Secret]);
        assert_eq!(those(Kind::is_unpinnable), [Secret, Pfnmap]);
    }

    #[test]
    fn pages_are_told_apart_by_what_they_hold() {
        let places = (0..16).flat_map(|id| (0..64).map(move |index| (MappingId(id), PageIndex(index))));
        let all: HashSet<u64> = places.map(|(id, index)| pattern(id, index)).collect();
        assert_eq!(all.len(), 16 * 64);
    }

    #[test]
    fn faults_of_a_pool_are_spread_over_as_many_mutexes_as_there_are_for_the_cpus() {
        assert_eq!([1, 3, 64].map(fault_mutexes), [8, 32, 512]);
        let m = machine(Rules::blank());
        let numbers = |of: &dyn Fn(u32) -> (u32, u32)| -> HashSet<u32> {
            let hashes = (0..64).map(of).map(|(id, table)| {
                m.hugetlb_fault_mutex_hash(MappingId(id), PageIndex(table * PTES_PER_TABLE))
            });
            hashes.collect()
        };
        for found in [numbers(&|n| (n, 0)), numbers(&|n| (0, n)), numbers(&|n| (3, n))] {
            assert!(found.len() > 8 && found.iter().all(|&number| number < 16), "{found:?}");
        }
    }

    #[test]
    fn a_limit_admits_as_much_as_it_is() {
        let accounts = Accounts::default();
        assert!(accounts.admits(Account::MmPinned, u64::MAX));
        accounts.set_memlock(4);
        assert!(accounts.admits(Account::MmPinned, 4) && !accounts.admits(Account::MmPinned, 5));
    }

    #[test]
    fn references_are_expected_of_mappings_and_the_page_cache() {
        let m = machine(Rules::blank());
        let id = m.map(Kind::Shmem, 4).id;
        let head = m.memory.alloc(CPU, Gfp::Movable, 2).unwrap().publish();
        let page = m.page(head);
        assert_eq!((m.expected_refs(page), m.maybe_dma_pinned(page)), (0, false));
        page.set_mapping(Some(id), PageIndex(0));
        m.memory.add_mapcount(head + 1, 1);
        assert_eq!(m.expected_refs(page), 1 + 4);
        page.add_pincount(1);
        assert!(m.maybe_dma_pinned(page));
        let like = machine(Rules { pin_bias: 1, ..Rules::blank() });
        let page = like.page(Frame(1));
        page.set_order(0, 0);
        assert_eq!(
            like.extra(page, 5, 0),
            refs::Extra { pins: 0, rest: 5 },
            "no pin is told from a reference"
        );
    }

    #[test]
    fn batches_are_looked_for_by_what_they_hold() {
        let m = machine(Rules::blank());
        let cpu = m.cpu(CPU);
        let push = |batch| cpu.lock().push(batch, Entry { frame: Frame(1), tag: Tag::None });
        assert_eq!((push(Batch::LruAdd), push(Batch::LruAdd)), (1, 2));
        assert!(cpu.needs_drain() && !cpu.needs_mlock_drain());
        push(Batch::Mlock);
        assert!(cpu.needs_mlock_drain());
        assert_eq!(
            [Batch::LruAdd, Batch::Mlock, Batch::Activate].map(|of| cpu.lock().list(of).len()),
            [2, 1, 0]
        );
    }

    #[test]
    fn who_holds_what_a_drain_takes_and_whether_batches_flush_at_once_is_told() {
        let m = machine(Rules::blank());
        assert_eq!(m.drain_mutex_owner(), None);
        assert!(m.drain_mutex.try_lock(5));
        assert_eq!(m.drain_mutex_owner(), Some(5));
        m.disable_lru_cache();
        m.disable_lru_cache();
        m.enable_lru_cache();
        assert!(m.lru_cache_disabled(), "one of two has ended");
        m.enable_lru_cache();
        assert!(!m.lru_cache_disabled());
    }

    #[test]
    fn there_is_one_huge_zero_page() {
        let m = machine(Rules::blank());
        assert!(m.is_zero(ZERO_FRAME) && !m.is_zero(Frame(512)));
        let huge = m.huge_zero(CPU).unwrap();
        assert_eq!(m.huge_zero(CPU), Some(huge));
        assert!(m.is_zero(huge + 511) && !m.is_zero(huge + 512) && m.page(huge).has(flag::RESERVED));
        assert_eq!(m.memory.free_in(ZoneKind::Normal), 1024, "nothing was made twice");
    }

    #[test]
    fn only_pages_of_some_files_are_unevictable() {
        let m = machine(Rules::blank());
        for (kind, flags, wanted) in [
            (Kind::Ramfs, 0, true),
            (Kind::Ramfs, flag::SWAPBACKED, false),
            (Kind::File, 0, false),
            (Kind::Anon, flag::ANON, false),
        ] {
            let id = m.map(kind, 1).id;
            let page = m.page(m.memory.alloc(CPU, Gfp::Movable, 0).unwrap().publish());
            page.set(flags);
            assert!(!m.is_in_unevictable_mapping(page), "it is no mapping's");
            page.set_mapping(Some(id), PageIndex(0));
            assert_eq!(m.is_in_unevictable_mapping(page), wanted, "{kind:?}");
        }
    }

    #[test]
    fn a_machine_that_is_put_back_is_what_the_other_is() {
        use crate::restore::Restore;
        let [one, other] = [(); 2].map(|()| machine(Rules::blank()));
        let [_, id] = [&one, &other].map(|m| m.map(Kind::Anon, 2).id);
        for index in [0, 1].map(PageIndex) {
            let folio = other.memory.alloc(CPU, Gfp::Movable, 0).unwrap().publish_folio();
            folio.set(flag::LRU);
            other.lruvec.lock().add(&other.memory, folio);
            other.mapping(id).vma.lock(index).set(index, Pte::present(folio.head, true, true));
        }
        assert!(other.huge_zero(CPU).is_some());
        assert_ne!(one.digest(), other.digest());
        one.restore(&other);
        assert_eq!(one.digest(), other.digest());
        assert_eq!(one.huge_zero(CPU), other.huge_zero(CPU));
    }

    #[test]
    fn a_pin_fits_a_folio_until_that_is_split() {
        let m = machine(Rules::blank());
        let head = m.memory.alloc(CPU, Gfp::Movable, 2).unwrap().publish();
        let found = m.memory.find(head + 1);
        let grab = m.try_pin(found).unwrap();
        assert!(grab.fits(&m.memory, found));
        for (part, refs) in m.memory.freeze(head, 2).unwrap().split(&[0; 4], |_| 1) {
            m.memory.unfreeze(part, refs);
        }
        assert!(!grab.fits(&m.memory, found), "the page is its own folio now");
    }

    #[test]
    fn a_folio_is_split_into_what_its_pages_were() {
        let m = machine(Rules::blank());
        let head = m.memory.alloc(CPU, Gfp::Movable, 2).unwrap().publish();
        m.page(head).set_mapping(Some(MappingId(3)), PageIndex(8));
        m.page(head).set(flag::DIRTY | flag::LRU | flag::PARTLY_MAPPED);
        let parts = m.memory.freeze(head, 1).unwrap().split(&[1, 0, 0], |order| 1 + order as i32);
        assert_eq!(parts, [(head, 2), (head + 2, 1), (head + 3, 1)]);
        for (part, refs) in parts {
            m.memory.unfreeze(part, refs);
            let page = m.page(part);
            assert_eq!((page.mapping(), page.index()), (Some(MappingId(3)), PageIndex(8) + (part - head)));
            let kept = if part == head { flag::LRU } else { 0 };
            assert_eq!(page.flags() & !flag::ORDERS, flag::DIRTY | flag::ZONE_MOVABLE | kept);
        }
        assert_eq!([0, 1, 2, 3].map(|nth| m.page(head + nth).order()), [1, 1, 0, 0]);
    }
}
