//! Offlining a block, as memory hot-unplug and contiguous allocation do.

use crate::drive::{Driver, Step};
use crate::machine::{Frame, Gfp, PAGEBLOCK, ZoneKind};
use crate::observe::Event;
use crate::ops::floor::Task;
use crate::ops::migrate::MigrateMode;

impl<D: Driver> Task<'_, D> {
    /// Tries to empty one pageblock of Movable or CMA (`offline_pages`,
    /// `alloc_contig_range`), up to `tries` rounds of isolating and migrating;
    /// then gives it back. Returns whether it was empty.
    pub fn offline(&self, block: u32, tries: u32) -> bool {
        let first = block * PAGEBLOCK;
        let frames = first..(first + PAGEBLOCK).min(self.m.memory.frames());
        self.m.memory.isolate_block(block);
        self.lru_cache_disable();
        self.step_at(Step::Offline);
        let mut empty = false;
        for _ in 0..tries {
            self.empty_block(frames.clone());
            // What was just freed may have gone to a page cache before the block was isolated.
            self.m.memory.isolate_block(block);
            empty = self.m.memory.set_aside_in(block) == frames.len();
            if empty || self.d.killed() {
                break;
            }
        }
        self.lru_cache_enable();
        self.m.memory.undo_isolate_block(block);
        self.event(if empty { Event::Offlined } else { Event::OfflineFailed });
        empty
    }

    fn empty_block(&self, frames: std::ops::Range<Frame>) {
        let gfp = match ZoneKind::of(self.folio(frames.start).flags()) {
            ZoneKind::Movable => Gfp::WithinMovable,
            _ => Gfp::Pin,
        };
        let taken = self.isolate_migratepages(frames.clone(), frames.len(), true);
        if !taken.is_empty() {
            let result = self.migrate_pages(&taken, gfp, MigrateMode::Sync);
            self.putback_movable(result.left);
        }
        self.step_at(Step::Offline);
    }
}
