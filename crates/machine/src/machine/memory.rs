//! Frames in zones, their free blocks and the per-CPU page caches.
//!
//! A frame is at every moment in exactly one place: in use, in a free block of
//! its zone, set aside in an isolated block, or in one CPU's page cache, which has frames of
//! order 0 only. The blocks of a zone share one lock; a page cache has its
//! own. Neither is held across a step.

use super::buddy::{Blocks, Buddy, Pages};
use super::build::Unbuilt;
use super::folio::Folio;
use super::ids::{CpuId, Frame, Frames, ZERO_FRAME};
use super::page::{Page, flag};
use super::payload::{Fresh, Frozen, Payload};
use crate::sync::{AtomicBool, Mutex, Ordering, Rank};
use crate::table;
use crossbeam_utils::CachePadded;

table! {
    /// How much memory there is and where.
    pub struct Layout {
        /// Frames in ZONE_NORMAL.
        key normal: u32,
        /// Frames in ZONE_MOVABLE.
        key movable: u32 = 1..=u32::MAX,
        /// Frames in CMA pageblocks.
        key cma: u32,
        /// Bytes of real contents in a frame, a multiple of 64; 0: nobody looks at what is in them.
        key page_bytes: u32 = 0..=262_144,
    } => layout_keys
}

/// Frames in a pageblock: what offlining takes at a time.
pub const PAGEBLOCK: u32 = 64;

/// Frames moved between a zone and a page cache at a time.
const PCP_BATCH: usize = 31;

/// How often an allocation looks again before there is no memory.
const MAX_RECLAIM_RETRIES: usize = 16;

/// Which part of memory a frame lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ZoneKind {
    /// `ZONE_MOVABLE`.
    Movable,
    /// A CMA pageblock.
    Cma,
    /// `ZONE_NORMAL`, unmovable allocations allowed.
    Normal,
}

impl ZoneKind {
    /// All zones in the order in which a movable allocation prefers them, and in which tables have them.
    pub const ALL: [Self; 3] = [Self::Movable, Self::Cma, Self::Normal];

    /// The zone that page flags name.
    #[inline]
    pub fn of(flags: u32) -> Self {
        if flags & flag::ZONE_MOVABLE != 0 {
            Self::Movable
        } else if flags & flag::CMA != 0 {
            Self::Cma
        } else {
            Self::Normal
        }
    }

    fn place(self) -> u32 {
        match self {
            Self::Normal => 0,
            Self::Movable => flag::ZONE_MOVABLE,
            Self::Cma => flag::CMA,
        }
    }
}

/// Where an allocation may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gfp {
    /// `GFP_HIGHUSER_MOVABLE`: Movable first, then CMA where it is more than half of what the
    /// zone has free, then Normal, then CMA ([`Memory::cma_first`]).
    Movable,
    /// The same without CMA: `memalloc_nocma` (5.7 to 5.12).
    NoCma,
    /// Outside Movable and CMA: `memalloc_pin`, and targets of a pin's migration.
    Pin,
    /// The same, that fails rather than have somebody killed: `__GFP_RETRY_MAYFAIL`.
    PinMayFail,
    /// Within Movable only: compaction and offlining.
    WithinMovable,
    /// Within CMA only: a driver's own pages.
    WithinCma,
}

impl Gfp {
    /// Whether it is for a pin: outside of what must stay movable.
    pub fn is_pin(self) -> bool {
        matches!(self, Self::Pin | Self::PinMayFail)
    }

    /// Whether an allocation of a page has somebody killed before it fails: what may fail instead
    /// asks for that.
    pub(crate) fn may_kill(self) -> bool {
        matches!(self, Self::Movable | Self::NoCma | Self::Pin)
    }

    /// Whether an allocation can use a free page of a zone.
    pub(super) fn looks_into(self, zone: ZoneKind) -> bool {
        self.zones().contains(&zone)
    }

    fn zones(self) -> &'static [ZoneKind] {
        match self {
            Self::Movable => &ZoneKind::ALL,
            Self::NoCma => &[ZoneKind::Movable, ZoneKind::Normal],
            Self::Pin | Self::PinMayFail => &[ZoneKind::Normal],
            Self::WithinMovable => &[ZoneKind::Movable],
            Self::WithinCma => &[ZoneKind::Cma],
        }
    }
}

/// One zone: a contiguous range of frames.
#[derive(Debug)]
pub struct Zone {
    /// Which one.
    pub kind: ZoneKind,
    /// Its frames.
    pub frames: Frames,
    blocks: Mutex<Buddy>,
}

/// Per-CPU page caches, one list a zone.
#[derive(Debug, Default, Clone)]
pub struct PageCaches([Vec<Frame>; 3]);

/// All frames.
#[derive(Debug)]
pub struct Memory {
    pages: Pages,
    /// Contents.
    pub payload: Payload,
    zones: [Zone; 3],
    /// Pageblocks that are being offlined (`MIGRATE_ISOLATE`).
    isolated: Box<[AtomicBool]>,
    caches: Box<[CachePadded<Mutex<PageCaches>>]>,
    /// Whether movable allocations take CMA before Normal whatever is free, as where the rest of
    /// the zone is spoken for.
    pub cma_first: bool,
}

impl Memory {
    /// All frames free but the zero page.
    ///
    /// # Errors
    /// [`Unbuilt`], as the tables of a machine.
    pub fn build(layout: &Layout, cpus: usize) -> Result<Self, Unbuilt> {
        // The zero page comes on top, and lies in Movable: where it counts as movable.
        let movable = ZERO_FRAME.run(layout.movable + 1);
        let cma = movable.end.run(layout.cma);
        let normal = cma.end.run(layout.normal);
        let total = normal.end.0;
        let ranges = [
            (ZoneKind::Movable, movable, ZERO_FRAME + 1),
            (ZoneKind::Cma, cma.clone(), cma.start),
            (ZoneKind::Normal, normal.clone(), normal.start),
        ];
        let pages = Pages::build(total)?;
        let zones = ranges.map(|(kind, frames, first)| {
            let buddy = Buddy::new(&pages, &frames, first, kind.place());
            Zone { kind, frames, blocks: Mutex::ranked(Rank::Zone, buddy) }
        });
        let zero = pages.of(ZERO_FRAME);
        zero.first_ref();
        zero.set(flag::RESERVED);
        Ok(Self {
            pages,
            payload: Payload::build(total as usize, layout.page_bytes as usize)?,
            zones,
            isolated: (0..total.div_ceil(PAGEBLOCK)).map(|_| AtomicBool::new(false)).collect(),
            caches: (0..cpus)
                .map(|_| CachePadded::new(Mutex::ranked(Rank::PageCache, PageCaches::default())))
                .collect(),
            cma_first: false,
        })
    }

    /// The page of a frame.
    #[inline]
    pub fn page(&self, frame: Frame) -> &Page {
        self.pages.of(frame)
    }

    /// Number of frames.
    pub fn frames(&self) -> u32 {
        self.pages.frames()
    }

    /// Every frame.
    pub fn all(&self) -> Frames {
        ZERO_FRAME.run(self.frames())
    }

    /// The frames of a pageblock; the last one may be smaller.
    pub fn pageblock(&self, block: u32) -> Frames {
        let first = block * PAGEBLOCK;
        Frame(first).run(PAGEBLOCK.min(self.frames() - first))
    }

    /// A zone by kind.
    #[inline]
    pub fn zone(&self, kind: ZoneKind) -> &Zone {
        &self.zones[kind as usize]
    }

    /// Takes a folio from the first zone of `gfp` that has one; its refcount becomes 1.
    #[inline]
    pub fn alloc(&self, cpu: CpuId, gfp: Gfp, order: u32) -> Option<Fresh<'_>> {
        let frame = self
            .get_page_from_freelist(cpu, gfp, order)
            .or_else(|| self.alloc_pages_slowpath(cpu, gfp, order))?;
        Some(self.fresh(frame, order))
    }

    /// From this CPU's page caches and the blocks.
    #[inline]
    fn get_page_from_freelist(&self, cpu: CpuId, gfp: Gfp, order: u32) -> Option<Frame> {
        // Mostly it is the first zone.
        self.rmqueue(cpu, gfp.zones()[0], order).or_else(|| self.fall_back(cpu, gfp, order))
    }

    /// From those of its other zones.
    #[inline(never)]
    fn fall_back(&self, cpu: CpuId, gfp: Gfp, order: u32) -> Option<Frame> {
        self.other_zones_for(gfp).find_map(|kind| self.rmqueue(cpu, kind, order))
    }

    #[inline]
    fn rmqueue(&self, cpu: CpuId, kind: ZoneKind, order: u32) -> Option<Frame> {
        if order != 0 {
            return self.zone(kind).blocks.lock().take(&self.pages, order);
        }
        let mut caches = self.caches[cpu.at()].lock();
        let cache = &mut caches.0[kind as usize];
        cache.pop().or_else(|| self.rmqueue_bulk(kind, cache))
    }

    /// Fills an empty page cache, and takes a frame from it.
    #[inline(never)]
    fn rmqueue_bulk(&self, kind: ZoneKind, cache: &mut Vec<Frame>) -> Option<Frame> {
        self.zone(kind).blocks.lock().take_pages(&self.pages, PCP_BATCH, cache);
        // The first to be taken is the first to be handed out.
        cache.reverse();
        cache.pop()
    }

    /// What is left may sit in other CPUs' caches. A frame may go, while they are gone through,
    /// from one that is yet to come to one that is done: once proves nothing.
    #[cold]
    fn alloc_pages_slowpath(&self, cpu: CpuId, gfp: Gfp, order: u32) -> Option<Frame> {
        (0..MAX_RECLAIM_RETRIES).find_map(|_| {
            gfp.zones().iter().for_each(|&kind| self.drain_page_caches(kind));
            self.get_page_from_freelist(cpu, gfp, order)
        })
    }

    /// The zones that an allocation looks into after the first, in order; how much CMA is free is
    /// asked only of who comes to it.
    fn other_zones_for(&self, gfp: Gfp) -> impl Iterator<Item = ZoneKind> + '_ {
        let zones = gfp.zones();
        let mut last = ZoneKind::Movable;
        (1..zones.len()).map(move |at| {
            // `__rmqueue`, 5.8 on: of the zone's free pages, more than half are CMA's.
            let by_share = gfp == Gfp::Movable && !self.cma_first;
            if by_share && at == 1 {
                let free = |kind| self.zone(kind).blocks.lock().frames();
                last = if free(ZoneKind::Cma) > free(ZoneKind::Normal) {
                    ZoneKind::Normal
                } else {
                    ZoneKind::Cma
                };
            }
            match at {
                1 if by_share && last == ZoneKind::Cma => ZoneKind::Normal,
                2 if by_share => last,
                _ => zones[at],
            }
        })
    }

    /// `drain_all_pages`, of one zone.
    fn drain_page_caches(&self, kind: ZoneKind) {
        for cache in &self.caches {
            let cache = &mut cache.lock().0[kind as usize];
            self.zone(kind).blocks.lock().put_pages(&self.blocks(), cache);
            cache.clear();
        }
    }

    /// A folio with one reference that nobody else can find, as fresh from the allocator.
    pub(super) fn adopt(&self, head: Frame) -> Fresh<'_> {
        let folio = self.folio_at(head);
        debug_assert_eq!(folio.refcount(), 1);
        Fresh::new(self, folio)
    }

    /// Makes a folio whose last reference is gone as it was when it was allocated.
    pub(super) fn renew(&self, head: Frame) {
        let page = self.page(head);
        let (order, place) = (page.order(), page.flags() & flag::PLACE);
        page.reset();
        head.run(1 << order).skip(1).for_each(|frame| self.page(frame).reset_tail());
        head.run(1 << order).for_each(|frame| self.page(frame).set_order(order, place));
        page.first_ref();
    }

    fn blocks(&self) -> Blocks<'_, impl Fn(Frame) -> bool> {
        Blocks { pages: &self.pages, is_isolated: |frame| self.is_isolated(frame) }
    }

    #[inline]
    fn fresh(&self, frame: Frame, order: u32) -> Fresh<'_> {
        if order != 0 {
            // Before the first reference: who finds one finds the head that has it.
            let place = self.page(frame).flags() & flag::PLACE;
            frame.run(1 << order).for_each(|frame| self.page(frame).set_order(order, place));
        }
        let folio = self.folio_at(frame);
        folio.first_ref();
        Fresh::new(self, folio)
    }

    /// `folio_ref_freeze`: from exactly `expected` references, at least one, to
    /// none, so that nobody gets a new one.
    ///
    /// # Errors
    /// The count that was found instead.
    #[inline]
    pub fn freeze(&self, frame: Frame, expected: i32) -> Result<Frozen<'_>, i32> {
        self.freeze_folio(self.folio_at(frame), expected)
    }

    /// The same of a folio in hand.
    #[inline]
    pub(crate) fn freeze_folio<'m>(&'m self, folio: Folio<'m>, expected: i32) -> Result<Frozen<'m>, i32> {
        folio.freeze(expected).map(|()| Frozen::new(self, folio))
    }

    /// Ends the freeze of a part of a split folio.
    pub(crate) fn unfreeze(&self, head: Frame, refs: i32) {
        self.page(head).unfreeze(refs);
    }

    /// Gives back a folio whose refcount is zero and that nothing refers to.
    pub fn free(&self, cpu: CpuId, head: Frame) {
        self.free_folio(cpu, self.folio_at(head));
    }

    /// The same of a folio in hand.
    pub(crate) fn free_folio(&self, cpu: CpuId, folio: Folio<'_>) {
        let head = folio.head;
        debug_assert_eq!(folio.refcount(), 0);
        debug_assert_eq!((folio.folio_mapcount(), folio.pincount()), (0, 0), "of folio {head}");
        let kind = ZoneKind::of(folio.flags());
        let order = folio.order();
        folio.reset();
        if order != 0 || self.is_isolated(head) {
            (1..1 << order).for_each(|nth| self.page(head + nth).reset_tail());
            self.zone(kind).blocks.lock().put(&self.blocks(), head, order);
            return;
        }
        let mut caches = self.caches[cpu.at()].lock();
        let cache = &mut caches.0[kind as usize];
        cache.push(head);
        if cache.len() > 2 * PCP_BATCH {
            self.free_pcppages_bulk(kind, cache);
        }
    }

    /// Gives back what is too much for a page cache.
    #[inline(never)]
    fn free_pcppages_bulk(&self, kind: ZoneKind, cache: &mut Vec<Frame>) {
        self.zone(kind).blocks.lock().put_pages(&self.blocks(), &cache[..PCP_BATCH]);
        cache.drain(..PCP_BATCH);
    }

    /// Whether the frame's block is being offlined.
    #[inline]
    pub fn is_isolated(&self, frame: Frame) -> bool {
        self.isolated[(frame.0 / PAGEBLOCK) as usize].load(Ordering::Relaxed)
    }

    /// `start_isolate_page_range`: from now on no frame of the block is handed
    /// out, and those freed are set aside.
    pub fn isolate_block(&self, block: u32) {
        self.set_isolated(block, true);
    }

    /// `undo_isolate_page_range`: the block's frames are ordinary again.
    pub fn undo_isolate_block(&self, block: u32) {
        self.set_isolated(block, false);
    }

    /// Marks a block under the lock of each zone that has part of it: no free block that
    /// lies in it is without the mark then.
    fn set_isolated(&self, block: u32, isolated: bool) {
        for zone in &self.zones {
            self.drain_page_caches(zone.kind);
            let frames = self.pageblock(block);
            if frames.start < zone.frames.end && zone.frames.start < frames.end {
                let mark = || self.isolated[block as usize].store(isolated, Ordering::Relaxed);
                zone.blocks.lock().isolate(&self.blocks(), block, mark);
            }
        }
    }

    /// The pageblocks that lie wholly in a zone. The zero page's is none that could be emptied.
    pub fn whole_blocks(&self, kind: ZoneKind) -> std::ops::Range<u32> {
        let frames = &self.zone(kind).frames;
        let first = if frames.contains(ZERO_FRAME) { ZERO_FRAME + 1 } else { frames.start };
        first.0.div_ceil(PAGEBLOCK)..frames.end.0 / PAGEBLOCK
    }

    /// Free frames of `block` that have been set aside.
    pub fn set_aside_in(&self, block: u32) -> usize {
        let Frames { start, end } = self.pageblock(block);
        let kind = ZoneKind::of(self.folio(start).flags());
        let mut count = 0;
        self.zone(kind).blocks.lock().each(&self.pages, |frame, order, aside| {
            let within = Frames { start: frame.max(start), end: (frame + (1 << order)).min(end) };
            count += if aside { within.len() } else { 0 };
        });
        count
    }

    /// Every free block, by its first frame and order, as often as it is found; quiescent machines
    /// only.
    pub fn each_free(&self, mut seen: impl FnMut(Frame, u32)) {
        for zone in &self.zones {
            zone.blocks.lock().each(&self.pages, |frame, order, _| seen(frame, order));
        }
        for cache in &self.caches {
            cache.lock().0.iter().flatten().for_each(|&frame| seen(frame, 0));
        }
    }

    /// Free frames of one zone, page caches included.
    pub fn free_in(&self, kind: ZoneKind) -> usize {
        let cached: usize = self.caches.iter().map(|cache| cache.lock().0[kind as usize].len()).sum();
        cached + self.zone(kind).blocks.lock().frames()
    }

    /// Whether a zone has a free block of this order.
    pub fn has_block(&self, kind: ZoneKind, order: u32) -> bool {
        self.zone(kind).blocks.lock().has(order)
    }
}

crate::restore!(Zone { blocks } keep { kind, frames });
crate::restore!(Memory { pages, payload, zones, isolated, caches } keep { cma_first });

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::policy::Rules;

    #[test]
    fn a_page_cache_gives_back_what_is_too_much_for_it() {
        let layout = Layout { normal: 256, movable: 64, cma: 0, page_bytes: 64 };
        let memory = Memory::build(&layout, 1).unwrap();
        let frames: Vec<Frame> =
            (0..4 * PCP_BATCH).map(|_| memory.alloc(CpuId(0), Gfp::Pin, 0).unwrap().publish()).collect();
        let free = memory.zone(ZoneKind::Normal).blocks.lock().frames();
        for (n, frame) in (1..).zip(frames) {
            assert!(memory.page(frame).put_testzero(1));
            memory.free(CpuId(0), frame);
            // As much as fits, and as much as is moved at a time less when one more comes.
            let cached = memory.caches[0].lock().0[ZoneKind::Normal as usize].len();
            let most = 2 * PCP_BATCH;
            assert_eq!(cached, if n <= most { n } else { PCP_BATCH + 1 + (n - most - 1) % PCP_BATCH });
        }
        // Others find them in the zone: no more than twice what is moved at a time stays.
        let back = memory.zone(ZoneKind::Normal).blocks.lock().frames() - free;
        assert!(back >= 2 * PCP_BATCH, "{back} of {} are back", 4 * PCP_BATCH);
        assert!(memory.caches[0].lock().0[ZoneKind::Normal as usize].len() <= 2 * PCP_BATCH);
    }

    /// Frees a folio with its only reference.
    fn free(memory: &Memory, frame: Frame) {
        assert!(memory.page(frame).put_testzero(1));
        memory.free(CpuId(0), frame);
    }

    fn take(memory: &Memory, gfp: Gfp, order: u32) -> Option<Frame> {
        memory.alloc(CpuId(0), gfp, order).map(Fresh::publish)
    }

    /// From which zone the first frame comes that is not Movable, and how many come from each.
    fn zones_of(memory: &Memory, gfp: Gfp) -> (Option<ZoneKind>, [usize; 3]) {
        let all =
            std::iter::from_fn(|| take(memory, gfp, 0)).map(|frame| ZoneKind::of(memory.page(frame).flags()));
        let all: Vec<ZoneKind> = all.collect();
        let count = |kind| all.iter().filter(|&&zone| zone == kind).count();
        (all.iter().copied().find(|&zone| zone != ZoneKind::Movable), ZoneKind::ALL.map(count))
    }

    #[test]
    fn an_allocation_falls_back_as_what_it_is_for_says() {
        use ZoneKind::{Cma, Movable, Normal};
        let build = |normal, cma, cma_first| {
            let layout = Layout { normal, movable: 4, cma, page_bytes: 64 };
            Memory { cma_first, ..Memory::build(&layout, 2).unwrap() }
        };
        for (normal, cma, cma_first, gfp, wanted) in [
            (3, 2, false, Gfp::Movable, (Some(Normal), [4, 2, 3])),
            (3, 3, false, Gfp::Movable, (Some(Normal), [4, 3, 3])),
            (2, 3, false, Gfp::Movable, (Some(Cma), [4, 3, 2])),
            (3, 2, true, Gfp::Movable, (Some(Cma), [4, 2, 3])),
            (2, 3, false, Gfp::NoCma, (Some(Normal), [4, 0, 2])),
            (2, 3, false, Gfp::Pin, (Some(Normal), [0, 0, 2])),
            (2, 3, false, Gfp::PinMayFail, (Some(Normal), [0, 0, 2])),
            (2, 3, false, Gfp::WithinMovable, (None, [4, 0, 0])),
            (2, 3, false, Gfp::WithinCma, (Some(Cma), [0, 3, 0])),
        ] {
            let found = zones_of(&build(normal, cma, cma_first), gfp);
            assert_eq!(found, wanted, "{normal} {cma} {cma_first} {gfp:?}");
        }
        assert_eq!([Gfp::Pin, Gfp::PinMayFail, Gfp::Movable].map(Gfp::is_pin), [true, true, false]);
        assert!(Gfp::NoCma.looks_into(Movable) && !Gfp::NoCma.looks_into(Cma));
    }

    #[test]
    fn what_another_cpu_has_in_its_cache_is_had_before_there_is_no_memory() {
        let memory = Memory::build(&Layout { normal: 8, movable: 1, cma: 0, page_bytes: 64 }, 2).unwrap();
        let all: Vec<Frame> = std::iter::from_fn(|| take(&memory, Gfp::Pin, 0)).collect();
        assert_eq!((all.len(), memory.free_in(ZoneKind::Normal)), (8, 0));
        all.into_iter().for_each(|frame| free(&memory, frame));
        assert_eq!(memory.free_in(ZoneKind::Normal), 8);
        assert!(!memory.has_block(ZoneKind::Normal, 0), "all are in the first CPU's cache");
        let found = memory.alloc(CpuId(1), Gfp::Pin, 1).unwrap().publish();
        assert!(memory.zone(ZoneKind::Normal).frames.contains(found));
        assert!(memory.has_block(ZoneKind::Normal, 2) && !memory.has_block(ZoneKind::Normal, 3));
    }

    #[test]
    fn a_page_that_is_in_a_cache_twice_shows_in_the_digest() {
        let layout = Layout { normal: 64, movable: 64, cma: 0, page_bytes: 64 };
        let m = Machine::new(Rules::blank(), &layout, 1);
        let frames = [(); 2].map(|()| take(&m.memory, Gfp::Pin, 0).unwrap());
        frames.into_iter().for_each(|frame| free(&m.memory, frame));
        let sound = m.digest();
        let mut caches = m.memory.caches[0].lock();
        let cache = &mut caches.0[ZoneKind::Normal as usize];
        let nth = cache.iter().position(|&frame| frame == frames[0]).unwrap();
        cache[nth] = frames[1];
        drop(caches);
        assert_ne!(m.digest(), sound);
    }

    #[test]
    fn a_folio_that_is_freed_leaves_nothing_on_its_pages_and_all_on_others() {
        let memory = Memory::build(&Layout { normal: 64, movable: 64, cma: 0, page_bytes: 64 }, 1).unwrap();
        let [before, head] = [(); 2].map(|()| take(&memory, Gfp::Pin, 2).unwrap());
        for frame in before.run(8) {
            memory.page(frame).set(flag::ANON_EXCLUSIVE);
        }
        assert_eq!(head, before + 4);
        free(&memory, head);
        let marked = |frame: Frame| memory.page(frame).has(flag::ANON_EXCLUSIVE);
        assert!(before.run(4).all(marked) && !head.run(4).any(marked));
    }

    #[test]
    fn a_huge_page_that_goes_back_to_its_pool_is_as_it_was() {
        let memory = Memory::build(&Layout { normal: 512, movable: 511, cma: 0, page_bytes: 64 }, 1).unwrap();
        let head = take(&memory, Gfp::Pin, 9).unwrap();
        assert_eq!(head, Frame(512));
        memory.page(head).set(flag::DIRTY);
        memory.page(head + 511).set(flag::ANON_EXCLUSIVE);
        assert!(memory.page(head).put_testzero(1));
        memory.renew(head);
        assert_eq!((memory.page(head).refcount(), memory.page(head).order()), (1, 9));
        assert!(head.run(512).all(|frame| !memory.page(frame).has(flag::DIRTY | flag::ANON_EXCLUSIVE)));
    }

    #[test]
    fn the_last_pageblock_is_as_large_as_there_are_frames() {
        let memory = Memory::build(&Layout { normal: 10, movable: 127, cma: 0, page_bytes: 64 }, 1).unwrap();
        let blocks: Vec<_> = (0..3).map(|block| memory.pageblock(block)).collect();
        assert_eq!(blocks, [Frame(0).run(64), Frame(64).run(64), Frame(128).run(10)]);
        assert_eq!(memory.whole_blocks(ZoneKind::Movable), 1..2, "the zero page's is none");
        assert!(memory.whole_blocks(ZoneKind::Normal).is_empty());
    }
}
