//! One folio's migration.

use crate::drive::{Driver, Step, Wait};
use crate::machine::payload::Fresh;
use crate::machine::{Frame, Gfp, Test, flag};
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
    pub src: Frame,
    dst: Fresh<'a>,
    was_mapped: bool,
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

impl<'a, D: Driver> Migrate<'a, D> {
    /// `migrate_folio_unmap`. `sleep`: whether locks and writeback may be slept on.
    pub(super) fn migrate_folio_unmap(
        &self,
        src: Frame,
        gfp: Gfp,
        mode: MigrateMode,
        sleep: bool,
    ) -> Result<Unmap<'a>, Refusal> {
        let page = self.folio(src);
        if page.refcount() == 1 {
            page.clear(flag::ACTIVE | flag::UNEVICTABLE);
            self.put(src, 1);
            return Ok(Unmap::Freed);
        }
        self.event(Event::TargetAllocs);
        let dst = if page.has(flag::HUGETLB) {
            self.m.hugetlb_target(self.cpu(), gfp)
        } else {
            self.m.memory.alloc(self.cpu(), gfp, page.order())
        };
        let Some(dst) = dst else {
            return Err(Refusal { errno: Errno::ENOMEM, at: Step::MigrateTarget, test: Test::Target });
        };
        self.step(Step::MigrateTarget, src);
        let ready = if self.lock_for_migration(src, sleep) {
            self.wait_writeback_for_migration(src, mode, sleep)
        } else {
            Err(Refusal { errno: Errno::EAGAIN, at: Step::MigrateLock, test: Test::Lock })
        };
        if let Err(refusal) = ready {
            self.put(dst.publish(), 1);
            return Err(refusal);
        }
        let was_mlocked = page.has(flag::MLOCKED);
        let was_mapped = page.folio_mapcount() > 0;
        self.step(Step::MigrateUnmap, src);
        self.set_locked(dst.frame());
        let kept = if was_mapped { self.try_to_migrate(src, OWN) } else { None };
        self.step(Step::MigrateUnmapped, src);
        let unmapped = Unmapped { src, dst, was_mapped, was_mlocked };
        if page.folio_mapcount() > 0 {
            self.migrate_undo(unmapped);
            // Mapped again meanwhile, where no PTE was kept: by a reference that is there now.
            let now = || Test::Refs { found: page.refcount(), expected: self.m.expected_refs(page) + OWN };
            let test = kept.unwrap_or_else(now);
            return Err(Refusal { errno: Errno::EAGAIN, at: Step::MigrateUnmap, test });
        }
        Ok(Unmap::Done(unmapped))
    }

    fn lock_for_migration(&self, src: Frame, sleep: bool) -> bool {
        self.step(Step::MigrateLock, src);
        self.trylock(src) || (sleep && self.lock(src))
    }

    /// The page is locked; on an error it is unlocked again.
    fn wait_writeback_for_migration(
        &self,
        src: Frame,
        mode: MigrateMode,
        sleep: bool,
    ) -> Result<(), Refusal> {
        if !self.folio(src).has(flag::WRITEBACK) {
            return Ok(());
        }
        let errno = if mode == MigrateMode::Async {
            Errno::EBUSY
        } else if sleep && self.wait_writeback(src) {
            return Ok(());
        } else {
            Errno::EAGAIN
        };
        self.unlock(src);
        Err(Refusal { errno, at: Step::MigrateWriteback, test: Test::Writeback })
    }

    /// `migrate_folio_move`; gives the page back where it has to be tried again.
    pub(super) fn migrate_folio_move(&self, unmapped: Unmapped<'a>) -> Result<(), (Unmapped<'a>, Refusal)> {
        let Unmapped { src, dst, was_mapped, was_mlocked } = unmapped;
        self.step(Step::MigrateFreeze, src);
        let dst = match self.move_to_new_folio(src, dst) {
            Ok(dst) => dst,
            Err((dst, found)) => {
                let test = Test::Refs { found, expected: OWN + self.m.cache_refs(self.folio(src)) };
                let refusal = Refusal { errno: Errno::EAGAIN, at: Step::MigrateFreeze, test };
                return Err((Unmapped { src, dst, was_mapped, was_mlocked }, refusal));
            }
        };
        self.step(Step::MigrateCopied, src);
        self.relist(dst);
        let hugetlb = self.page(dst).has(flag::HUGETLB);
        let drain = !hugetlb
            && match self.m.rules.drain_after_migrate {
                DrainAfterMigrate::Never => false,
                DrainAfterMigrate::Mapped => was_mapped,
                DrainAfterMigrate::Mlocked => was_mlocked,
            };
        if drain {
            self.lru_add_drain();
        }
        self.step(Step::MigrateRemap, dst);
        if was_mapped {
            self.remap(dst, src, dst);
        }
        self.unlock(dst);
        self.put(dst, 1);
        self.unlock(src);
        self.d.wake(Wait::Returned(src));
        self.put(src, 1);
        self.step(Step::MigrateDone, dst);
        Ok(())
    }

    /// `try_split_folio`: an isolated folio becomes isolated pages.
    pub(super) fn try_split_folio(&self, src: Frame, mode: MigrateMode) -> Result<Vec<Frame>, Errno> {
        if !(self.trylock(src) || mode == MigrateMode::Sync && self.lock(src)) {
            return Err(Errno::EAGAIN);
        }
        let pages = vec![0; self.page(src).nr_pages() as usize];
        let parts = self.split_folio(src, OWN, true, &pages);
        self.unlock(src);
        parts
    }

    /// `move_to_new_folio`: freezes the source, copies contents and state, and
    /// replaces it in the page cache. On an unexpected reference: how many there are.
    fn move_to_new_folio(&self, src: Frame, dst: Fresh<'a>) -> Result<Frame, (Fresh<'a>, i32)> {
        let (page, target) = (self.folio(src), self.folio(dst.frame()));
        let cached = self.m.cache_refs(page);
        let frozen = match self.m.memory.freeze(src, OWN + cached) {
            Ok(frozen) => frozen,
            Err(found) => return Err((dst, found)),
        };
        frozen.copy_to(&dst);
        for nth in 1..page.nr_pages() {
            if self.page(src + nth).clear(flag::ANON_EXCLUSIVE) & flag::ANON_EXCLUSIVE != 0 {
                self.page(dst.frame() + nth).set(flag::ANON_EXCLUSIVE);
            }
        }
        let (mapping, index) = (page.mapping(), page.index());
        target.set_mapping(mapping, index);
        let kept = flag::REFERENCED | flag::DIRTY | flag::SWAPBACKED | flag::ANON | flag::ANON_EXCLUSIVE;
        let gone = flag::ACTIVE | flag::UNEVICTABLE | flag::PARTLY_MAPPED | flag::ANON | flag::ANON_EXCLUSIVE;
        let moved = page.clear(gone);
        let deferred = moved & flag::PARTLY_MAPPED != 0;
        // Active and unevictable exclude each other.
        if page.has(flag::HUGETLB) && target.clear(flag::TEMPORARY) & flag::TEMPORARY != 0 {
            // `move_hugetlb_state`: the copy is the pool's now, and what it was a copy of goes.
            page.set(flag::TEMPORARY);
        }
        let list = if moved & flag::ACTIVE != 0 { flag::ACTIVE } else { moved & flag::UNEVICTABLE };
        target.set(moved & kept | list);
        let dst = dst.publish();
        if cached > 0
            && let Some(id) = mapping
        {
            target.get(cached);
            let pages = index..index + target.nr_pages();
            self.m.mapping(id).with_cache(pages, |slots| slots.set(Some(dst)));
        }
        // The mapping has moved on: a lock holder that was faster must not find it here.
        // Migration entries still name the frame; its number is all they need.
        page.set_mapping(None, 0);
        frozen.unfreeze(1);
        if deferred && self.m.rules.migrate_keeps_deferred {
            self.defer_split(dst);
        }
        Ok(dst)
    }

    /// Maps `new` again where entries name `old`; `named` knows where that is.
    fn remap(&self, named: Frame, old: Frame, new: Frame) {
        let folio = self.page(named);
        if let Some(id) = folio.mapping() {
            let pages = folio.index()..folio.index() + folio.nr_pages();
            self.remove_migration_ptes(id, pages, old, new);
        }
    }

    /// `migrate_folio_undo_src` and `_dst`: maps the page again and drops the target.
    pub(super) fn migrate_undo(&self, unmapped: Unmapped) {
        let Unmapped { src, dst, was_mapped, .. } = unmapped;
        if was_mapped {
            self.remap(src, src, src);
        }
        self.unlock(src);
        let dst = dst.publish();
        self.unlock(dst);
        self.put(dst, 1);
    }
}
