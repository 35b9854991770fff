//! Offlining a block, as memory hot-unplug and contiguous allocation do.

use crate::drive::{Driver, Step};
use crate::machine::{Frame, Frames, Gfp, ZoneKind};
use crate::observe::Event;
use crate::ops::floor::Task;
use crate::ops::migrate::MigrateMode;
use crate::policy::Errno;

/// Rounds in which `alloc_contig_range` tries to empty its range before it gives up.
pub const CONTIG_TRIES: u32 = 5;

impl<D: Driver> Task<'_, D> {
    /// `alloc_contig_range` of one pageblock of Movable or CMA, given back at once: a few rounds
    /// of isolating and migrating, then `EBUSY`. `look` sees what is in use after a round in vain.
    ///
    /// # Errors
    /// `EBUSY`: some page of the block could not be moved.
    pub fn alloc_contig_range(&self, block: u32, look: impl FnMut(&[Frame])) -> Result<(), Errno> {
        if self.take_block(block, CONTIG_TRIES, look) { Ok(()) } else { Err(Errno::EBUSY) }
    }

    /// `offline_pages` of one pageblock of Movable, brought online again at once: rounds without
    /// an end, until it is empty or a signal ends it. `look` sees what is in use after a round in vain.
    ///
    /// # Errors
    /// `EINTR`: killed.
    pub fn offline_pages(&self, block: u32, look: impl FnMut(&[Frame])) -> Result<(), Errno> {
        if self.take_block(block, u32::MAX, look) { Ok(()) } else { Err(Errno::EINTR) }
    }

    /// Tries to empty one pageblock, up to `tries` rounds; then gives it back. Returns whether it
    /// was empty.
    pub fn offline(&self, block: u32, tries: u32) -> bool {
        self.take_block(block, tries, |_| {})
    }

    fn take_block(&self, block: u32, tries: u32, mut look: impl FnMut(&[Frame])) -> bool {
        let frames = self.m.memory.pageblock(block);
        self.m.memory.isolate_block(block);
        self.lru_cache_disable();
        self.step_at(Step::Offline);
        let mut empty = false;
        for _ in 0..tries {
            self.empty_block(&frames);
            // What was just freed may have gone to a page cache before the block was isolated.
            self.m.memory.isolate_block(block);
            empty = self.m.memory.set_aside_in(block) == frames.len();
            if empty || self.d.killed() {
                break;
            }
            let in_use = |frame: &Frame| self.folio(*frame).refcount() != 0;
            look(&frames.clone().filter(in_use).collect::<Vec<_>>());
            // `cond_resched`: whoever is in the way needs the processor.
            self.d.sleep(1);
        }
        self.lru_cache_enable();
        self.m.memory.undo_isolate_block(block);
        self.event(if empty { Event::Offlined } else { Event::OfflineFailed });
        empty
    }

    fn empty_block(&self, frames: &Frames) {
        let gfp = match ZoneKind::of(self.folio(frames.start).flags()) {
            ZoneKind::Movable => Gfp::WithinMovable,
            _ => Gfp::PinMayFail,
        };
        let taken = self.isolate_migratepages(frames, frames.len(), true);
        if !taken.is_empty() {
            let result = self.migrate_pages(&taken, gfp, MigrateMode::Sync);
            self.putback_movable(result.left);
        }
        self.step_at(Step::Offline);
    }
}
