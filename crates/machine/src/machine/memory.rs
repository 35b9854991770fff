//! Frames in zones, their free lists and the per-CPU page caches.
//!
//! A frame is at every moment in exactly one place: in use, on its zone's free
//! list, set aside in an isolated block, or in one CPU's page cache. The free
//! list and the set-aside frames of a zone share one lock; a page cache has its
//! own. Neither is held across a step.

use super::build::{GoOn, Unbuilt, table};
use super::page::{Frame, Page, ZERO_FRAME, flag};
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
        /// Bytes of real contents in a frame, a multiple of 64.
        key page_bytes: u32 = 64..=262_144,
    } => layout_keys
}

/// Frames in a pageblock: what offlining takes at a time.
pub const PAGEBLOCK: u32 = 64;

/// Frames moved between a zone and a page cache at a time.
const PCP_BATCH: usize = 31;

/// Which part of memory a frame lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ZoneKind {
    /// `ZONE_NORMAL`, unmovable allocations allowed.
    Normal,
    /// `ZONE_MOVABLE`.
    Movable,
    /// A CMA pageblock.
    Cma,
}

impl ZoneKind {
    /// All zones in the order in which a movable allocation prefers them.
    pub const ALL: [Self; 3] = [Self::Movable, Self::Cma, Self::Normal];

    /// The zone that page flags name.
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
    /// `GFP_HIGHUSER_MOVABLE`: Movable first, then CMA, then Normal.
    Movable,
    /// The same without CMA: `memalloc_nocma` (5.7 to 5.12).
    NoCma,
    /// Outside Movable and CMA: `memalloc_pin`, and targets of a pin's migration.
    Pin,
    /// Within Movable only: compaction and offlining.
    WithinMovable,
    /// Within CMA only: a driver's own pages.
    WithinCma,
}

impl Gfp {
    fn zones(self) -> &'static [ZoneKind] {
        match self {
            Self::Movable => &ZoneKind::ALL,
            Self::NoCma => &[ZoneKind::Movable, ZoneKind::Normal],
            Self::Pin => &[ZoneKind::Normal],
            Self::WithinMovable => &[ZoneKind::Movable],
            Self::WithinCma => &[ZoneKind::Cma],
        }
    }
}

#[derive(Debug, Default, Clone)]
struct FreeLists {
    free: Vec<Frame>,
    /// Free frames of blocks that are being offlined.
    set_aside: Vec<Frame>,
}

/// One zone: a contiguous range of frames.
#[derive(Debug)]
pub struct Zone {
    /// Which one.
    pub kind: ZoneKind,
    /// Its frames.
    pub frames: std::ops::Range<Frame>,
    lists: Mutex<FreeLists>,
}

/// Per-CPU page caches, one list a zone.
#[derive(Debug, Default, Clone)]
pub struct PageCaches([Vec<Frame>; 3]);

/// All frames.
#[derive(Debug)]
pub struct Memory {
    pages: Box<[Page]>,
    /// Contents.
    pub payload: Payload,
    zones: [Zone; 3],
    /// Pageblocks that are being offlined (`MIGRATE_ISOLATE`).
    isolated: Box<[AtomicBool]>,
    caches: Box<[CachePadded<Mutex<PageCaches>>]>,
}

impl Memory {
    /// All frames free but the zero page.
    ///
    /// # Errors
    /// [`Unbuilt`], as the tables of a machine.
    pub fn build(layout: &Layout, cpus: usize, go_on: &mut GoOn<'_>) -> Result<Self, Unbuilt> {
        // The zero page comes on top, and lies in Movable: where it counts as movable.
        let movable = 0..layout.movable + 1;
        let cma = movable.end..movable.end + layout.cma;
        let normal = cma.end..cma.end + layout.normal;
        let total = normal.end as usize;
        let mut zone = |kind: ZoneKind, frames: std::ops::Range<Frame>| {
            let first = frames.start.max(ZERO_FRAME + 1);
            // Low frames first, as a fresh buddy allocator hands them out.
            let high_to_low = |n: usize| frames.end - 1 - n as Frame;
            let free = table(frames.end.saturating_sub(first) as usize, go_on, high_to_low)?;
            let lists = Mutex::ranked(Rank::Zone, FreeLists { free, set_aside: Vec::new() });
            Ok(Zone { kind, frames, lists })
        };
        let zones =
            [zone(ZoneKind::Movable, movable)?, zone(ZoneKind::Cma, cma)?, zone(ZoneKind::Normal, normal)?];
        let kind = |frame: usize| zones.iter().find(|zone| zone.frames.contains(&(frame as Frame)));
        let place = |frame: usize| kind(frame).map_or(0, |zone| zone.kind.place());
        let pages: Box<[Page]> = table(total, go_on, |frame| Page::new(place(frame)))?.into();
        let zero = &pages[ZERO_FRAME as usize];
        zero.first_ref();
        zero.set(flag::RESERVED);
        Ok(Self {
            pages,
            payload: Payload::build(total, layout.page_bytes as usize, go_on)?,
            zones,
            isolated: (0..total.div_ceil(PAGEBLOCK as usize)).map(|_| AtomicBool::new(false)).collect(),
            caches: (0..cpus)
                .map(|_| CachePadded::new(Mutex::ranked(Rank::PageCache, PageCaches::default())))
                .collect(),
        })
    }

    /// The page of a frame.
    #[inline]
    pub fn page(&self, frame: Frame) -> &Page {
        &self.pages[frame as usize]
    }

    /// Number of frames.
    pub fn frames(&self) -> Frame {
        self.pages.len() as Frame
    }

    /// A zone by kind.
    pub fn zone(&self, kind: ZoneKind) -> &Zone {
        &self.zones[slot(kind)]
    }

    /// Takes a frame from the first zone of `gfp` that has one; its refcount becomes 1.
    pub fn alloc(&self, cpu: usize, gfp: Gfp) -> Option<Fresh<'_>> {
        for &kind in gfp.zones() {
            let mut caches = self.caches[cpu].lock();
            let cache = &mut caches.0[slot(kind)];
            if cache.is_empty() {
                let mut lists = self.zone(kind).lists.lock();
                let keep = lists.free.len().saturating_sub(PCP_BATCH);
                cache.extend(lists.free.drain(keep..));
            }
            if let Some(frame) = cache.pop() {
                drop(caches);
                return Some(self.fresh(frame));
            }
        }
        // `drain_all_pages`: what is left may sit in other CPUs' caches.
        for &kind in gfp.zones() {
            for cache in &self.caches {
                let frame = cache.lock().0[slot(kind)].pop();
                if let Some(frame) = frame {
                    return Some(self.fresh(frame));
                }
            }
        }
        None
    }

    fn fresh(&self, frame: Frame) -> Fresh<'_> {
        self.page(frame).first_ref();
        Fresh::new(self, frame)
    }

    /// `folio_ref_freeze`: from exactly `expected` references, at least one, to
    /// none, so that nobody gets a new one.
    ///
    /// # Errors
    /// The count that was found instead.
    #[inline]
    pub fn freeze(&self, frame: Frame, expected: i32) -> Result<Frozen<'_>, i32> {
        self.page(frame).freeze(expected).map(|()| Frozen::new(self, frame))
    }

    /// Gives back a frame whose refcount is zero and that nothing refers to.
    pub fn free(&self, cpu: usize, frame: Frame) {
        debug_assert_eq!(self.page(frame).refcount(), 0);
        let kind = ZoneKind::of(self.page(frame).flags());
        self.page(frame).reset();
        if self.is_isolated(frame) {
            self.zone(kind).lists.lock().set_aside.push(frame);
            return;
        }
        let mut caches = self.caches[cpu].lock();
        let cache = &mut caches.0[slot(kind)];
        cache.push(frame);
        if cache.len() > 2 * PCP_BATCH {
            let mut lists = self.zone(kind).lists.lock();
            for frame in cache.drain(..PCP_BATCH) {
                lists.put(frame, self.is_isolated(frame));
            }
        }
    }

    /// Whether the frame's block is being offlined.
    pub fn is_isolated(&self, frame: Frame) -> bool {
        self.isolated[(frame / PAGEBLOCK) as usize].load(Ordering::Relaxed)
    }

    /// `start_isolate_page_range`: from now on no frame of the block is handed
    /// out, and those freed are set aside.
    pub fn isolate_block(&self, block: u32) {
        self.isolated[block as usize].store(true, Ordering::Relaxed);
        self.sort_out();
    }

    /// `undo_isolate_page_range`: the block's frames are ordinary again.
    pub fn undo_isolate_block(&self, block: u32) {
        self.isolated[block as usize].store(false, Ordering::Relaxed);
        self.sort_out();
    }

    /// Brings every free frame to the list on which its block's state wants it.
    fn sort_out(&self) {
        for zone in &self.zones {
            let mut cached = Vec::new();
            for cache in &self.caches {
                cached.append(&mut cache.lock().0[slot(zone.kind)]);
            }
            let mut lists = zone.lists.lock();
            let all = std::mem::take(&mut *lists);
            for frame in all.free.into_iter().chain(all.set_aside).chain(cached) {
                lists.put(frame, self.is_isolated(frame));
            }
        }
    }

    /// Free frames of `block` that have been set aside.
    pub fn set_aside_in(&self, block: u32) -> usize {
        let first = block * PAGEBLOCK;
        let kind = ZoneKind::of(self.page(first.min(self.frames() - 1)).flags());
        let lists = self.zone(kind).lists.lock();
        lists.set_aside.iter().filter(|&&frame| frame / PAGEBLOCK == block).count()
    }

    /// Every free frame, with how often it was found; quiescent machines only.
    pub fn count_free(&self, mut seen: impl FnMut(Frame)) {
        for zone in &self.zones {
            let lists = zone.lists.lock();
            lists.free.iter().chain(&lists.set_aside).for_each(|&frame| seen(frame));
        }
        for cache in &self.caches {
            cache.lock().0.iter().flatten().for_each(|&frame| seen(frame));
        }
    }

    /// Free frames of one zone, page caches included.
    pub fn free_in(&self, kind: ZoneKind) -> usize {
        let cached: usize = self.caches.iter().map(|cache| cache.lock().0[slot(kind)].len()).sum();
        cached + self.zone(kind).lists.lock().free.len()
    }
}

impl FreeLists {
    fn put(&mut self, frame: Frame, isolated: bool) {
        if isolated { &mut self.set_aside } else { &mut self.free }.push(frame);
    }
}

fn slot(kind: ZoneKind) -> usize {
    match kind {
        ZoneKind::Movable => 0,
        ZoneKind::Cma => 1,
        ZoneKind::Normal => 2,
    }
}

crate::restore!(Zone { lists } keep { kind, frames });
crate::restore!(Memory { pages, payload, zones, isolated, caches });
