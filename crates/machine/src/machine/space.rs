//! Mappings, the areas that map them, and their page tables.
//!
//! A [`Mapping`] is what a page belongs to (an `anon_vma` or an
//! `address_space`): it holds the page cache of shmem and knows every area
//! that may map its pages, which is what the reverse map walks. A [`Vma`] is
//! one address space's view of it: a page table and the mlock state.
//!
//! # Page-table entries
//!
//! A PTE is one atomic word. It is changed only under the page-table lock
//! (one for every 512 entries, as a page-table page has), and read without it
//! by GUP-fast. Clearing a PTE and then looking at the refcount must not be
//! reordered against GUP-fast, which takes a reference and then reads the PTE
//! again: [`PtLocked::clear_flush`] and every read without the lock are `SeqCst`.
//! All other changes only publish what they map, and release.
//!
//! A PMD maps a folio of 512 pages by one entry, in place of a page table's; it is changed under
//! the same lock. What a page table *shows* of a page, [`Vma::pte`], is its PTE or, where that is
//! empty, the PMD's entry at its place: a PMD is set only while all of its PTEs are empty, and
//! taken away after they have been written. A reader that finds neither looks at the PTE again,
//! for a PMD may have been split meanwhile; so it finds what was there at some moment, and one
//! that finds a PTE has looked at nothing else.

use super::area::{Area, Areas, vm};
use super::ids::{
    AtomicFrame, Frame, MappingId, NO_FRAME, PTES_PER_TABLE, PageIndex, PageRange, ProcessId, pages,
};
use super::kind::{Backing, Kind};
use super::oom::PROGRAM;
use super::pte::Pte;
use super::sparse::zeros;
use crate::sync::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, Rank,
};
use std::sync::Arc;

/// One address space's view of a mapping.
#[derive(Debug)]
pub struct Vma {
    /// The mapping's id.
    pub mapping: MappingId,
    /// What it is made of.
    pub kind: Kind,
    /// Whether it is a second mapping of the same address space, not a child's.
    pub is_alias: bool,
    ptes: Box<[AtomicU64]>,
    /// One for every 512 pages; zero where PTEs say what is mapped.
    pmds: Box<[AtomicU64]>,
    /// Whether those pages have a page table, so that no PMD can map them.
    tables: Box<[AtomicBool]>,
    ptls: Box<[Mutex<()>]>,
    /// Flags of [`vm`] by page, as faults ask for them; what [`Areas`] say.
    flags: Box<[AtomicU8]>,
    /// What `mlock` and its like have made of the mapping. Never held across a step.
    areas: Mutex<Areas>,
    /// Whether every area has an `anon_vma`.
    prepared: AtomicBool,
    /// A bit a page of private memory that is made of larger folios: whether the program has stored to
    /// it since its folio was made. What it has not holds zeros.
    stored: Box<[AtomicU64]>,
    /// Whether it has been unmapped for good.
    gone: AtomicBool,
    /// The child whose it is; [`PROGRAM`]: nobody's that was forked.
    child: AtomicU32,
}

/// What maps a page: its PTE, or the PMD over it and its neighbours, whose frame is the first one's.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its value.
    pub pte: Pte,
    /// Whether it is a PMD.
    pub huge: bool,
}

impl Entry {
    /// How many pages it maps.
    #[inline]
    pub fn pages(self) -> u32 {
        if self.huge { PTES_PER_TABLE } else { 1 }
    }
}

/// Where the PTE of a page is.
#[derive(Debug, Clone, Copy)]
pub struct PteSlot<'v> {
    pte: &'v AtomicU64,
    /// As its mapping has it, which is at hand where few ask for more than the PTE.
    vma: &'v Arc<Vma>,
    index: PageIndex,
}

/// The page-table lock, held; the only way to change a PTE.
#[derive(Debug)]
pub struct PtLocked<'a> {
    vma: &'a Vma,
    _guard: MutexGuard<'a, ()>,
}

impl Vma {
    fn new(mapping: MappingId, kind: Kind, pages: usize, is_alias: bool, of: ProcessId) -> Self {
        let tables = pages.div_ceil(PTES_PER_TABLE as usize);
        Self {
            mapping,
            kind,
            is_alias,
            ptes: zeros(pages),
            pmds: zeros(tables),
            tables: zeros(tables),
            ptls: (0..tables).map(|_| Mutex::ranked(Rank::PageTable, ())).collect(),
            flags: zeros(pages),
            areas: Mutex::new(Areas::new(pages as u32)),
            prepared: AtomicBool::new(kind != Kind::Anon),
            stored: zeros(if kind == Kind::Anon { pages.div_ceil(64) } else { 0 }),
            gone: AtomicBool::new(false),
            child: AtomicU32::new(of.0),
        }
    }

    /// Pages in it.
    pub fn len(&self) -> u32 {
        self.ptes.len() as u32
    }

    /// Its pages.
    #[inline]
    pub fn pages(&self) -> PageRange {
        pages(0..self.len())
    }

    /// What follows the last of them.
    #[inline]
    pub fn end(&self) -> PageIndex {
        PageIndex(self.len())
    }

    /// Never: a mapping has at least one page.
    pub fn is_empty(&self) -> bool {
        self.ptes.is_empty()
    }

    /// Reads what is mapped at a page without the lock, as GUP-fast does.
    #[inline]
    pub fn pte(&self, index: PageIndex) -> Pte {
        let pte = self.own_pte(index);
        if pte.is_none() { self.pte_by_pmd(index) } else { pte }
    }

    /// Where the PTE of a page is, for whoever reads it more than once without the lock.
    #[inline]
    pub fn slot(self: &Arc<Self>, index: PageIndex) -> PteSlot<'_> {
        PteSlot { pte: &self.ptes[index.at()], vma: self, index }
    }

    #[inline]
    fn own_pte(&self, index: PageIndex) -> Pte {
        read_pte(&self.ptes[index.at()])
    }

    /// What is mapped at a page whose PTE is empty. Out of line: mostly it is the PTE that was asked for.
    #[cold]
    #[inline(never)]
    fn pte_by_pmd(&self, index: PageIndex) -> Pte {
        match self.pmds[index.table()].load(Ordering::SeqCst) {
            0 => self.own_pte(index),
            pmd => Pte(pmd).at(index.in_table()),
        }
    }

    /// Whether a PMD may map the page and its neighbours: they are all there, in one area, and
    /// have no page table.
    pub fn takes_pmd(&self, index: PageIndex) -> bool {
        let table = index.table();
        self.takes_folio(index, PTES_PER_TABLE)
            && self.pmds[table].load(Ordering::Relaxed) == 0
            && !self.tables[table].load(Ordering::Relaxed)
    }

    /// Whether the naturally aligned run of `pages` pages around a page lies in one area.
    pub fn takes_folio(&self, index: PageIndex, pages: u32) -> bool {
        let first = index.first_of(pages);
        let range = first.to(first.saturating_add(pages));
        range.end <= self.end() && matches!(&self.areas(&range)[..], [area] if !area.has(vm::HOLE))
    }

    /// `pte_offset_map_lock`. Never held across a step.
    #[inline]
    pub fn lock(&self, index: PageIndex) -> PtLocked<'_> {
        PtLocked { vma: self, _guard: self.ptls[index.table()].lock() }
    }

    /// Calls `visit` with every entry that maps pages of a range, or would, under its lock.
    pub fn for_each_entry(&self, range: PageRange, mut visit: impl FnMut(PtLocked<'_>, PageIndex, Entry)) {
        let mut index = range.start;
        while index < range.end {
            let locked = self.lock(index);
            let entry = locked.entry(index);
            visit(locked, index, entry);
            index += entry.pages();
        }
    }

    /// The same of a child's page table, while the parent's is locked: `spin_lock_nested`.
    pub fn lock_nested(&self, index: PageIndex) -> PtLocked<'_> {
        let table = &self.ptls[index.table()];
        PtLocked { vma: self, _guard: table.lock_as(Rank::NestedPageTable) }
    }

    /// Whether the page's part of the area is `VM_LOCKED`.
    #[inline]
    pub fn is_locked(&self, index: PageIndex) -> bool {
        self.has(index, vm::LOCKED)
    }

    /// Whether the area that maps a page has any of these flags of [`vm`].
    #[inline]
    pub fn has(&self, index: PageIndex, flags: u8) -> bool {
        self.flags[index.at()].load(Ordering::Relaxed) & flags != 0
    }

    /// Whether an access to a page is a segmentation fault: nothing maps it, or not for that.
    #[inline]
    pub fn forbids(&self, index: PageIndex, write: bool) -> bool {
        self.has(index, if write { vm::HOLE | vm::RDONLY } else { vm::HOLE })
    }

    /// The parts of the range that lie in one area each.
    pub fn areas(&self, range: &PageRange) -> Vec<Area> {
        self.areas.lock().parts(range)
    }

    /// `mlock_fixup` and its like: sets the flags of `mask` as in `flags` in the first area in the
    /// range where they are otherwise, and returns its pages; an area of which only a part is
    /// meant is split.
    ///
    /// `into_unfaulted`: whether what has an `anon_vma` merges with a neighbour that has none.
    pub fn fix(&self, range: &PageRange, mask: u8, flags: u8, into_unfaulted: bool) -> Option<PageRange> {
        let mut areas = self.areas.lock();
        let pages = areas.fix(range, mask, flags, into_unfaulted)?;
        for page in &self.flags[pages.start.at()..pages.end.at()] {
            page.store(page.load(Ordering::Relaxed) & !mask | flags, Ordering::Relaxed);
        }
        Some(pages)
    }

    /// `anon_vma_prepare`, before a page of its own is mapped at `index`.
    #[inline]
    pub fn anon_vma_prepare(&self, index: PageIndex) {
        if !self.prepared.load(Ordering::Relaxed) {
            let prepared = self.areas.lock().anon_vma_prepare(index);
            self.prepared.store(prepared, Ordering::Relaxed);
        }
    }

    /// The program stores to a page.
    #[inline]
    pub(crate) fn store(&self, index: PageIndex) {
        let (word, bit) = (&self.stored[index.at() / 64], 1 << (index.at() % 64));
        if word.load(Ordering::Relaxed) & bit == 0 {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Whether it has.
    pub(crate) fn is_stored(&self, index: PageIndex) -> bool {
        self.stored[index.at() / 64].load(Ordering::Relaxed) >> (index.at() % 64) & 1 != 0
    }

    /// Pages are there that it has not stored to yet.
    pub(crate) fn not_stored(&self, pages: PageRange) {
        for index in pages {
            self.stored[index.at() / 64].fetch_and(!(1 << (index.at() % 64)), Ordering::Relaxed);
        }
    }

    /// What its parent has stored to is a child's too.
    pub(crate) fn stored_as(&self, parent: &Self) {
        for (to, from) in self.stored.iter().zip(&parent.stored) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Whether it has been unmapped for good.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Marks it unmapped for good; false if it was.
    pub fn set_gone(&self) -> bool {
        !self.gone.swap(true, Ordering::Relaxed)
    }

    /// The forked child whose area it is.
    pub fn child(&self) -> Option<ProcessId> {
        let process = ProcessId(self.child.load(Ordering::Relaxed));
        (process != PROGRAM).then_some(process)
    }
}

/// A PTE as it is read without the lock.
#[inline]
fn read_pte(pte: &AtomicU64) -> Pte {
    Pte(pte.load(Ordering::SeqCst))
}

impl PteSlot<'_> {
    /// What is mapped there, if it is for such an access; [`Pte::NONE`] otherwise.
    #[inline]
    pub fn for_access(self, write: bool) -> Pte {
        let own = self.own();
        if own.allows(write) {
            own
        } else {
            self.by_pmd(own).filter(|pmd| pmd.allows(write)).unwrap_or(Pte::NONE)
        }
    }

    /// Whether this is mapped there still.
    #[inline]
    pub fn shows(self, pte: Pte) -> bool {
        let own = self.own();
        own == pte || self.by_pmd(own) == Some(pte)
    }

    #[inline]
    fn own(self) -> Pte {
        read_pte(self.pte)
    }

    /// What is mapped there if the PTE is empty.
    #[inline]
    fn by_pmd(self, own: Pte) -> Option<Pte> {
        own.is_none().then(|| self.vma.pte_by_pmd(self.index))
    }
}

impl PtLocked<'_> {
    /// Reads what is mapped at a page.
    #[inline]
    pub fn get(&self, index: PageIndex) -> Pte {
        let Entry { pte, huge } = self.entry(index);
        if huge { pte.at(index.in_table()) } else { pte }
    }

    /// The entry that maps a page, or an empty PTE.
    #[inline]
    pub fn entry(&self, index: PageIndex) -> Entry {
        let pte = Pte(self.vma.ptes[index.at()].load(Ordering::Relaxed));
        let pmd = if pte.is_none() { self.pmd(index) } else { None };
        Entry { pte: pmd.unwrap_or(pte), huge: pmd.is_some() }
    }

    /// The PMD that maps a page and its neighbours, if one does; its frame is the first one's.
    #[inline]
    pub fn pmd(&self, index: PageIndex) -> Option<Pte> {
        let pmd = Pte(self.vma.pmds[index.table()].load(Ordering::Relaxed));
        (!pmd.is_none()).then_some(pmd)
    }

    /// `set_pmd_at`, over a page and its neighbours.
    pub fn set_pmd(&self, index: PageIndex, pmd: Pte) {
        self.vma.pmds[index.table()].store(pmd.0, Ordering::Release);
    }

    /// `pte_alloc`: no PMD may map a page and its neighbours from now on: there is a page table.
    #[inline]
    pub fn set_table(&self, index: PageIndex) {
        let table = &self.vma.tables[index.table()];
        if !table.load(Ordering::Relaxed) {
            table.store(true, Ordering::Relaxed);
        }
    }

    /// [`clear_flush`](Self::clear_flush) of the PMD or the PTE that maps a page.
    #[inline]
    pub fn replace(&self, index: PageIndex, huge: bool, instead: Pte) {
        if huge {
            self.vma.pmds[index.table()].store(instead.0, Ordering::SeqCst);
        } else {
            self.clear_flush(index, instead);
        }
    }

    /// Maps by PTEs what a PMD maps.
    pub fn split_pmd(&self, index: PageIndex, pte: impl Fn(u32) -> Pte) {
        let first = index.first_of(PTES_PER_TABLE);
        for nth in 0..PTES_PER_TABLE {
            self.vma.ptes[(first + nth).at()].store(pte(nth).0, Ordering::Release);
        }
        self.set_table(index);
        self.replace(index, true, Pte::NONE);
    }

    /// `set_pte_at`: whoever finds the PTE finds the page as it was made, and no PMD where it is.
    #[inline]
    pub fn set(&self, index: PageIndex, pte: Pte) {
        debug_assert!(self.pmd(index).is_none(), "a PTE is set under a PMD");
        self.set_table(index);
        self.vma.ptes[index.at()].store(pte.0, Ordering::Release);
    }

    /// `ptep_clear_flush`, and `instead` (nothing, or a migration entry) in its
    /// place: from here on GUP-fast either has its reference, for the caller to
    /// see, or finds the PTE changed.
    #[inline]
    pub fn clear_flush(&self, index: PageIndex, instead: Pte) {
        self.vma.ptes[index.at()].store(instead.0, Ordering::SeqCst);
    }
}

/// What pages belong to.
#[derive(Debug)]
pub struct Mapping {
    /// Its number; pages name it.
    pub id: MappingId,
    /// Anonymous or shared memory.
    pub kind: Kind,
    /// Order of the folios that faults make where they can; 0: single pages.
    pub order: u32,
    /// The area it was made for.
    pub vma: Arc<Vma>,
    /// Areas of forked children, and second ones of its own address space.
    children: Mutex<Vec<Arc<Vma>>>,
    nr_children: AtomicUsize,
    /// `mm->write_protect_seq`: forks that are under way, and in the upper half how many began.
    write_protect_seq: AtomicU64,
    /// Page cache of shmem, [`NO_FRAME`] where empty; changed under `xa_lock`.
    cache: Box<[AtomicFrame]>,
    /// `i_pages.xa_lock`. Never held across a step.
    xa_lock: Mutex<()>,
}

/// What a fork that begins adds to `write_protect_seq`: one that began, and one under way.
const FORK_BEGINS: u64 = 1 << 32 | FORK_ENDS;
/// What it takes away in the end.
const FORK_ENDS: u64 = 1;

impl Mapping {
    /// A mapping of `pages` pages, none present.
    pub fn new(id: MappingId, backing: Backing, pages: u32) -> Self {
        let Backing { kind, order } = backing;
        let cached = if kind.is_cached() { pages as usize } else { 0 };
        Self {
            id,
            kind,
            order,
            vma: Arc::new(Vma::new(id, kind, pages as usize, false, PROGRAM)),
            children: Mutex::new(Vec::new()),
            nr_children: AtomicUsize::new(0),
            write_protect_seq: AtomicU64::new(0),
            cache: zeros(cached),
            xa_lock: Mutex::new(()),
        }
    }

    /// What it is made of, and in how large pieces.
    pub fn backing(&self) -> Backing {
        Backing { kind: self.kind, order: self.order }
    }

    /// Adds the area of a forked child, with nothing in it, and returns it.
    pub fn fork(&self, child: ProcessId) -> Arc<Vma> {
        self.add_vma(false, child)
    }

    /// Adds a second area of the same address space, with nothing in it, and returns it.
    pub fn alias(&self) -> Arc<Vma> {
        self.add_vma(true, PROGRAM)
    }

    fn add_vma(&self, is_alias: bool, of: ProcessId) -> Arc<Vma> {
        let child = Arc::new(Vma::new(self.id, self.kind, self.vma.len() as usize, is_alias, of));
        self.children.lock().push(Arc::clone(&child));
        self.nr_children.fetch_add(1, Ordering::Relaxed);
        child
    }

    /// Runs `body`, in which a fork shares pages that nobody has pinned. Who pins without the page-table
    /// lock meanwhile sees that it is under way, or the fork sees his pin.
    pub fn write_protecting<R>(&self, body: impl FnOnce() -> R) -> R {
        self.write_protect_seq.fetch_add(FORK_BEGINS, Ordering::SeqCst);
        let result = body();
        self.write_protect_seq.fetch_sub(FORK_ENDS, Ordering::Release);
        result
    }

    /// What says whether a fork has begun since, unless one is under way.
    #[inline]
    pub fn write_protect_seq(&self) -> Option<u64> {
        let seq = self.read_write_protect_seq();
        (seq as u32 == 0).then_some(seq)
    }

    /// Whether none has begun since that was said.
    #[inline]
    pub fn is_unforked_since(&self, seq: u64) -> bool {
        self.read_write_protect_seq() == seq
    }

    #[inline]
    fn read_write_protect_seq(&self) -> u64 {
        self.write_protect_seq.load(Ordering::SeqCst)
    }

    /// Drops the area of a child that has exited.
    pub fn forget(&self, child: &Arc<Vma>) {
        let mut children = self.children.lock();
        children.retain(|vma| !Arc::ptr_eq(vma, child));
        self.nr_children.store(children.len(), Ordering::Relaxed);
    }

    /// Calls `visit` with the area of every forked child.
    pub fn for_each_child(&self, visit: impl FnMut(&Arc<Vma>)) {
        let children = self.children.lock().clone();
        children.iter().filter(|vma| !vma.is_alias).for_each(visit);
    }

    /// Calls `visit` with every area that may map the pages: `rmap_walk`.
    #[inline]
    pub fn for_each_vma(&self, mut visit: impl FnMut(&Vma)) {
        let (mut vma, mut children) = (&self.vma, Vec::new());
        for nth in 0.. {
            visit(vma);
            // Who finds a PTE that fork has copied took the lock that fork held, and so sees the child.
            if nth == 0 && self.nr_children.load(Ordering::Relaxed) != 0 {
                children.clone_from(&self.children.lock());
            }
            let Some(next) = children.get(nth) else { break };
            vma = next;
        }
    }

    /// Whether a program that accesses a page gets this frame: it is mapped, or would be on the next fault.
    pub fn shows(&self, index: PageIndex, frame: Frame) -> bool {
        let unmapped = self.vma.is_gone() || self.vma.has(index, vm::HOLE);
        !unmapped && self.named(index, self.vma.pte(index)) == Some(frame)
    }

    /// The frame that an access gets through a PTE, now or once what it waits for is over. Of a
    /// file that is what the page cache has, which knows the target of a migration before the
    /// migration entry is gone.
    #[inline]
    pub fn named(&self, index: PageIndex, pte: Pte) -> Option<Frame> {
        if !pte.is_present() && self.kind.is_cached() {
            self.cached(index)
        } else {
            (!pte.is_none()).then(|| pte.frame())
        }
    }

    /// The cached page, without the lock.
    pub fn cached(&self, index: PageIndex) -> Option<Frame> {
        let frame = self.cache.get(index.at())?.load(Ordering::Acquire);
        (frame != NO_FRAME).then_some(frame)
    }

    /// Takes `xa_lock` and runs `change` on the cache slots of a folio's pages.
    pub fn with_cache<R>(&self, pages: PageRange, change: impl FnOnce(CacheSlots<'_>) -> R) -> R {
        let _guard = self.xa_lock.lock();
        change(CacheSlots(&self.cache[pages.start.at()..pages.end.at()]))
    }

    /// Whether the cache has none of the pages; may be out of date at once.
    pub fn has_none_of(&self, pages: PageRange) -> bool {
        pages.into_iter().all(|index| self.cached(index).is_none())
    }
}

/// The page-cache slots of a folio's pages, under `xa_lock`.
#[derive(Debug)]
pub struct CacheSlots<'a>(&'a [AtomicFrame]);

impl CacheSlots<'_> {
    /// Whether nothing is in them.
    pub fn are_empty(&self) -> bool {
        self.0.iter().all(|slot| slot.load(Ordering::Relaxed) == NO_FRAME)
    }

    /// Puts the pages of a folio, by its first frame, or nothing into them.
    pub fn set(&self, head: Option<Frame>) {
        for (nth, slot) in (0..).zip(self.0) {
            slot.store(head.map_or(NO_FRAME, |head| head + nth), Ordering::Release);
        }
    }
}

crate::restore!(Vma { ptes, pmds, tables, flags, areas, prepared, stored, gone, child } keep { mapping, kind, is_alias, ptls });
#[cfg(not(loom))]
impl crate::restore::Restore for Mapping {
    fn restore(&self, from: &Self) {
        let Self {
            vma,
            children,
            nr_children,
            write_protect_seq,
            cache,
            id: _,
            kind: _,
            order: _,
            xa_lock: _,
        } = self;
        vma.restore(&from.vma);
        write_protect_seq.restore(&from.write_protect_seq);
        nr_children.restore(&from.nr_children);
        cache.restore(&from.cache);
        // Areas of children that were forked since are dropped, those that are lacking made.
        let from = from.children.lock().clone();
        let mut all = std::mem::take(&mut *children.lock());
        all.truncate(from.len());
        for (number, vma) in from.iter().enumerate() {
            if number == all.len() {
                all.push(Arc::new(Vma::new(vma.mapping, vma.kind, vma.ptes.len(), vma.is_alias, PROGRAM)));
            }
            all[number].restore(vma);
        }
        *children.lock() = all;
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::restore::Restore;

    const FIRST: PageIndex = PageIndex(0);

    fn mapping(kind: Kind) -> Mapping {
        Mapping::new(MappingId(0), Backing::from(kind), 8)
    }

    #[test]
    fn a_mapping_shows_the_frame_that_an_access_gets_and_no_other() {
        let anon = mapping(Kind::Anon);
        assert!(!anon.shows(FIRST, Frame(7)), "nothing is mapped");
        let pte = Pte::present(Frame(7), true, true);
        anon.vma.lock(FIRST).set(FIRST, pte);
        assert!(anon.shows(FIRST, Frame(7)) && !anon.shows(FIRST, Frame(8)));
        anon.vma.lock(FIRST).clear_flush(FIRST, pte.to_migration(true));
        assert!(anon.shows(FIRST, Frame(7)), "what is being migrated is still its page");
        let shmem = mapping(Kind::Shmem);
        shmem.with_cache(FIRST.run(1), |slots| slots.set(Some(Frame(9))));
        assert!(shmem.shows(FIRST, Frame(9)), "the next fault maps it");
        shmem.vma.lock(FIRST).clear_flush(FIRST, pte.to_migration(true));
        assert!(!shmem.shows(FIRST, Frame(7)), "the cache knows better than a migration entry");
        shmem.vma.lock(FIRST).clear_flush(FIRST, Pte::NONE);
        assert!(shmem.vma.fix(&FIRST.run(2), vm::HOLE, vm::HOLE, true).is_some());
        assert!(!shmem.shows(FIRST, Frame(9)), "nothing may be mapped there");
        assert!(anon.vma.set_gone() && !anon.vma.set_gone());
        assert!(!anon.shows(FIRST, Frame(7)), "the area is gone");
    }

    #[test]
    fn a_change_of_some_flags_leaves_the_others() {
        let vma = &mapping(Kind::Anon).vma;
        let all = FIRST.run(8);
        assert_eq!(vma.fix(&PageIndex(2).run(2), vm::LOCKED, vm::LOCKED, true), Some(PageIndex(2).run(2)));
        while vma.fix(&all, vm::RDONLY, vm::RDONLY, true).is_some() {}
        let seen = |index| [vm::LOCKED, vm::RDONLY, vm::HOLE].map(|flag| vma.has(PageIndex(index), flag));
        assert_eq!([1, 2, 4].map(seen), [[false, true, false], [true, true, false], [false, true, false]]);
        assert!(vma.forbids(FIRST, true) && !vma.forbids(FIRST, false));
        while vma.fix(&all, vm::RDONLY, 0, true).is_some() {}
        assert_eq!([1, 2].map(seen), [[false; 3], [true, false, false]]);
        assert!(!vma.forbids(FIRST, true));
    }

    #[test]
    fn an_area_that_was_faulted_does_not_merge_with_one_that_was_not() {
        for (faulted, areas) in [(false, 1), (true, 2)] {
            let vma = &mapping(Kind::Anon).vma;
            let half = FIRST.run(4);
            vma.fix(&half, vm::LOCKED, vm::LOCKED, false).unwrap();
            if faulted {
                vma.anon_vma_prepare(FIRST);
            }
            vma.fix(&half, vm::LOCKED, 0, false).unwrap();
            assert_eq!(vma.areas(&vma.pages()).len(), areas);
        }
    }

    #[test]
    fn a_fork_that_is_under_way_or_has_been_is_seen() {
        let anon = mapping(Kind::Anon);
        let before = anon.write_protect_seq();
        assert!(before.is_some() && before == anon.write_protect_seq());
        anon.write_protecting(|| assert_eq!(anon.write_protect_seq(), None));
        let after = anon.write_protect_seq();
        assert!(after.is_some() && after != before);
        anon.write_protecting(|| ());
        assert!(anon.write_protect_seq().is_some_and(|seq| Some(seq) != after && Some(seq) != before));
    }

    #[test]
    fn a_cache_is_empty_where_no_slot_has_a_page() {
        let shmem = mapping(Kind::Shmem);
        let all = FIRST.run(8);
        let empty = |pages: PageRange| {
            let slots = shmem.with_cache(pages.clone(), |slots| slots.are_empty());
            assert_eq!(slots, shmem.has_none_of(pages));
            slots
        };
        assert!(empty(all.clone()));
        shmem.with_cache(PageIndex(6).run(2), |slots| slots.set(Some(Frame(32))));
        assert!(!empty(all) && empty(FIRST.run(6)) && !empty(PageIndex(7).run(1)));
        assert_eq!(
            [5, 6, 7].map(|nth| shmem.cached(PageIndex(nth))),
            [None, Some(Frame(32)), Some(Frame(33))]
        );
        assert_eq!(mapping(Kind::Anon).cached(FIRST), None, "there is no cache");
    }

    #[test]
    fn a_mapping_that_is_put_back_has_the_children_that_it_had() {
        let count = |mapping: &Mapping| {
            let mut children = 0;
            mapping.for_each_child(|_| children += 1);
            children
        };
        let [with, without] = [(); 2].map(|()| mapping(Kind::Anon));
        let child = with.fork(ProcessId(1));
        child.lock(FIRST).set(FIRST, Pte::ZERO);
        with.alias();
        assert_eq!((count(&with), count(&without)), (1, 0), "an alias is no child");
        let other = mapping(Kind::Anon);
        other.restore(&with);
        assert_eq!(count(&other), 1);
        other.for_each_child(|child| assert_eq!(child.pte(FIRST), Pte::ZERO));
        let mut areas = 0;
        other.for_each_vma(|_| areas += 1);
        assert_eq!(areas, 3);
        other.restore(&without);
        assert_eq!(count(&other), 0);
    }
}
