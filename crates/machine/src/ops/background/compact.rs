//! Compaction: moves pages from one end of Movable to the other.

use crate::drive::{Driver, Step};
use crate::machine::{Frame, Frames, Gfp, ZoneKind, flag};
use crate::ops::floor::Task;
use crate::ops::migrate::MigrateMode;

impl<D: Driver> Task<'_, D> {
    /// `isolate_migratepages_block`: takes what is on the LRU among `frames`, at most `n` folios;
    /// `large`: also those of more than one page, which compaction leaves alone.
    pub(super) fn isolate_migratepages(&self, frames: &Frames, n: usize, large: bool) -> Vec<Frame> {
        let mut taken = Vec::new();
        let mut next = frames.start;
        while next < frames.end && taken.len() < n {
            let folio = self.m.memory.frames_of(next);
            let (frame, page) = (folio.start, self.folio_at(folio.start));
            next = folio.end;
            if page.is_large() && !large {
                continue;
            }
            if !page.has(flag::LRU) || !page.try_get(1) {
                continue;
            }
            if page.test_clear(flag::LRU) {
                page.set_isolator(Some(self.d.id()));
                self.m.lruvec.lock().del(&self.m.memory, page);
                taken.push(frame);
                self.step(Step::Compact, frame);
            } else {
                self.put(frame, 1);
            }
        }
        taken
    }

    /// Isolates up to `n` pages in a window of Movable that starts at a random
    /// frame, and migrates them within Movable.
    ///
    /// Returns the pages migrated.
    pub fn compact(&self, n: usize) -> usize {
        let zone = self.m.memory.zone(ZoneKind::Movable).frames.clone();
        let start = zone.start + self.d.below(u64::from(zone.end - zone.start)) as u32;
        let taken = self.isolate_migratepages(&start.run((8 * n as u32).min(zone.end - start)), n, false);
        if taken.is_empty() {
            return 0;
        }
        let result = self.migrate_pages(&taken, Gfp::WithinMovable, MigrateMode::Async);
        let moved = taken.len() - result.left.len();
        self.putback_movable(result.left);
        moved
    }
}
