//! One folio's migration.

use crate::drive::{Driver, Step, Wait};
use crate::machine::payload::Fresh;
use crate::machine::{Folio, Frame, Gfp, PageIndex, Test, flag};
use crate::observe::Event;
use crate::ops::floor::Migrate;
use crate::policy::{DrainAfterMigrate, Errno};

/// `enum migrate_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrateMode {
    /// Never sleeps: compaction.
    Async,
    /// Sleeps on page locks and writeback.
    Sync,
}

/// A folio that has been unmapped, with its target; both locked.
pub(super) struct Unmapped<'a> {
    pub src: Folio<'a>,
    /// Until the folio has moved there.
    dst: Option<Fresh<'a>>,
    pub was_mapped: bool,
    was_mlocked: bool,
}

pub(super) enum Unmap<'a> {
    /// Ready to move.
    Done(Unmapped<'a>),
    /// Freed under us: as good as migrated.
    Freed,
}

/// Why a page could not be unmapped, or moved.
#[derive(Clone, Copy)]
pub(super) struct Refusal {
    pub errno: Errno,
    pub at: Step,
    pub test: Test,
}

/// References of the migration itself on each page: the isolation's.
pub(super) const OWN: i32 = 1;
const HAS_A_TARGET: &str = "a folio is moved once";

impl<'a, D: Driver> Migrate<'a, D> {
    /// `migrate_folio_unmap`. `sleep`: whether locks and writeback may be slept on; `flush_later`: TLBs
    /// are flushed by the caller.
    pub(super) fn migrate_folio_unmap(
        &self,
        folio: Folio<'a>,
        gfp: Gfp,
        mode: MigrateMode,
        sleep: bool,
        flush_later: bool,
    ) -> Result<Unmap<'a>, Refusal> {
        let src = folio.head;
        if folio.refcount() == 1 {
            folio.clear(flag::ACTIVE | flag::UNEVICTABLE);
            self.put_folio(folio, 1);
            return Ok(Unmap::Freed);
        }
        self.event(Event::TargetAllocs);
        let dst = if folio.has(flag::HUGETLB) {
            self.m.hugetlb_target(self.cpu(), gfp)
        } else {
            self.alloc(gfp, folio.order())
        };
        let Some(dst) = dst else {
            return Err(Refusal { errno: Errno::ENOMEM, at: Step::MigrateTarget, test: Test::Target });
        };
        self.step(Step::MigrateTarget, src);
        let ready = if self.lock_for_migration(folio, sleep) {
            self.wait_writeback_for_migration(folio, mode, sleep)
        } else {
            Err(Refusal { errno: Errno::EAGAIN, at: Step::MigrateLock, test: Test::Lock })
        };
        if let Err(refusal) = ready {
            self.put_folio(dst.publish_folio(), 1);
            return Err(refusal);
        }
        let was_mlocked = folio.has(flag::MLOCKED);
        let was_mapped = folio.folio_mapcount() > 0;
        self.step(Step::MigrateUnmap, src);
        self.set_locked(dst.folio());
        let kept = if was_mapped { self.try_to_migrate(src, OWN, !flush_later) } else { None };
        self.step(Step::MigrateUnmapped, src);
        let unmapped = Unmapped { src: folio, dst: Some(dst), was_mapped, was_mlocked };
        if folio.folio_mapcount() > 0 {
            self.migrate_undo(unmapped);
            // Mapped again meanwhile, where no PTE was kept: by a reference that is there now.
            let now = || Test::Refs { found: folio.refcount(), expected: self.m.expected_refs(&folio) + OWN };
            let test = kept.unwrap_or_else(now);
            return Err(Refusal { errno: Errno::EAGAIN, at: Step::MigrateUnmap, test });
        }
        Ok(Unmap::Done(unmapped))
    }

    fn lock_for_migration(&self, src: Folio<'_>, sleep: bool) -> bool {
        self.step(Step::MigrateLock, src.head);
        self.trylock_folio(src) || (sleep && self.lock(src.head))
    }

    /// The page is locked; on an error it is unlocked again.
    fn wait_writeback_for_migration(
        &self,
        src: Folio<'_>,
        mode: MigrateMode,
        sleep: bool,
    ) -> Result<(), Refusal> {
        if !src.has(flag::WRITEBACK) {
            return Ok(());
        }
        let errno = if mode == MigrateMode::Async {
            Errno::EBUSY
        } else if sleep && self.wait_writeback(src.head) {
            return Ok(());
        } else {
            Errno::EAGAIN
        };
        self.unlock_folio(src);
        Err(Refusal { errno, at: Step::MigrateWriteback, test: Test::Writeback })
    }

    /// `migrate_folio_move`; what is refused is as it was, to be tried again.
    pub(super) fn migrate_folio_move(&self, unmapped: &mut Unmapped<'a>) -> Result<(), Refusal> {
        let Unmapped { src, was_mapped, was_mlocked, .. } = *unmapped;
        self.step(Step::MigrateFreeze, src.head);
        let dst = self.move_to_new_folio(src, &mut unmapped.dst).map_err(|found| {
            let test = Test::Refs { found, expected: OWN + self.m.cache_refs(&src) };
            Refusal { errno: Errno::EAGAIN, at: Step::MigrateFreeze, test }
        })?;
        self.step(Step::MigrateCopied, src.head);
        self.relist(dst);
        let drain = match self.m.rules.drain_after_migrate {
            DrainAfterMigrate::Never => false,
            DrainAfterMigrate::Mapped => was_mapped,
            DrainAfterMigrate::Mlocked => was_mlocked,
        };
        if drain && !dst.has(flag::HUGETLB) {
            self.lru_add_drain();
        }
        self.step(Step::MigrateRemap, dst.head);
        if was_mapped {
            self.remap(dst, src.head, dst.head);
        }
        self.unlock_folio(dst);
        self.put_folio(dst, 1);
        self.unlock_folio(src);
        self.d.wake(Wait::Returned(src.head));
        self.put_folio(src, 1);
        self.step(Step::MigrateDone, dst.head);
        Ok(())
    }

    /// `try_split_folio`: an isolated folio becomes isolated pages.
    pub(super) fn try_split_folio(&self, src: Frame, mode: MigrateMode) -> Result<Vec<Frame>, Errno> {
        if !(self.trylock(src) || mode == MigrateMode::Sync && self.lock(src)) {
            return Err(Errno::EAGAIN);
        }
        let pages = vec![0; self.page(src).nr_pages() as usize];
        let parts = self.split_folio((src, src), OWN, true, &pages);
        self.unlock(src);
        parts
    }

    /// `move_to_new_folio`: freezes the source, copies contents and state, and
    /// replaces it in the page cache. On an unexpected reference: how many there are.
    fn move_to_new_folio(&self, src: Folio<'a>, dst: &mut Option<Fresh<'a>>) -> Result<Folio<'a>, i32> {
        let cached = self.m.cache_refs(&src);
        let frozen = self.m.memory.freeze_folio(src, OWN + cached)?;
        let dst = dst.take().expect(HAS_A_TARGET);
        frozen.copy_to(&dst);
        let target = dst.folio();
        let (mapping, index) = (src.mapping(), src.index());
        target.set_mapping(mapping, index);
        let kept = flag::REFERENCED | flag::DIRTY | flag::SWAPBACKED | flag::ANON;
        let gone = flag::ACTIVE | flag::UNEVICTABLE | flag::PARTLY_MAPPED | flag::ANON;
        let moved = src.clear(gone);
        // Active and unevictable exclude each other.
        if moved & flag::HUGETLB != 0 && target.clear(flag::TEMPORARY) & flag::TEMPORARY != 0 {
            // `move_hugetlb_state`: the copy is the pool's now, and what it was a copy of goes.
            src.set(flag::TEMPORARY);
        }
        let list = if moved & flag::ACTIVE != 0 { flag::ACTIVE } else { moved & flag::UNEVICTABLE };
        target.set_fresh(moved & kept | list);
        let dst = dst.publish_folio();
        if cached > 0
            && let Some(id) = mapping
        {
            dst.get(cached);
            let pages = index.run(dst.nr_pages());
            self.m.mapping(id).with_cache(pages, |slots| slots.set(Some(dst.head)));
        }
        // The mapping has moved on: a lock holder that was faster must not find it here.
        // Migration entries still name the frame; its number is all they need.
        src.set_mapping(None, PageIndex(0));
        frozen.unfreeze(1);
        if moved & flag::PARTLY_MAPPED != 0 && self.m.rules.migrate_keeps_deferred {
            self.defer_split(dst.head);
        }
        Ok(dst)
    }

    /// Maps `new` again where entries name `old`; `named` knows where that is.
    fn remap(&self, named: Folio<'_>, old: Frame, new: Frame) {
        if let Some(id) = named.mapping() {
            let pages = named.pages();
            self.remove_migration_ptes(id, pages, (old, new), false);
        }
    }

    /// `migrate_folio_undo_src` and `_dst`: maps the page again and drops the target.
    pub(super) fn migrate_undo(&self, unmapped: Unmapped) {
        let Unmapped { src, dst, was_mapped, .. } = unmapped;
        if was_mapped {
            self.remap(src, src.head, src.head);
        }
        self.unlock_folio(src);
        let dst = dst.expect(HAS_A_TARGET).publish_folio();
        self.unlock_folio(dst);
        self.put_folio(dst, 1);
    }
}
