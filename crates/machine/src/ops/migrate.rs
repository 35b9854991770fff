//! `migrate_pages`: moving isolated pages, in passes.
//!
//! One page's migration: allocate the target · lock the page · wait for its
//! writeback · unmap it to migration entries · freeze its refcount at exactly
//! what is expected · copy · put the copy into the `lru_add` batch · map the
//! copy · unlock · free the page. What finds an unexpected reference, a page
//! still mapped or a lock it may not sleep on is tried again in the next pass
//! (`EAGAIN`), at once and without any pause.
//!
//! To 6.2 each page goes through all of this before the next; from 6.3 all
//! pages are unmapped first, then all are moved, in asynchronous passes; what
//! is left is then tried one by one, synchronously.

use super::refused::Refused;
use super::{Errno, Task};
use crate::drive::{Driver, Step, Wait};
use crate::machine::payload::Fresh;
use crate::machine::{Frame, Gfp, Test, flag};
use crate::observe::Event;
use crate::policy::{DrainAfterMigrate, MigrateStyle};

/// `enum migrate_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrateMode {
    /// Never sleeps: compaction.
    Async,
    /// Sleeps on page locks and writeback.
    Sync,
}

/// What `migrate_pages` left behind.
#[derive(Debug, Default)]
pub struct Migrated {
    /// Pages not migrated, still isolated: the caller puts them back.
    pub left: Vec<Frame>,
    /// How many of them were tried: after an abort the others count neither way.
    failed: u64,
    /// Why the whole call was aborted, if it was.
    pub error: Option<Errno>,
    /// Why pages were given up.
    pub(super) refused: Refused,
}

impl Migrated {
    /// Whether every page was migrated (the call returned 0).
    pub fn is_complete(&self) -> bool {
        self.left.is_empty() && self.error.is_none()
    }
}

/// Most pages of one batch (`NR_MAX_BATCHED_MIGRATION`).
const MAX_BATCHED: usize = 512;
/// Last pass of the one-by-one style in which a lock is only tried.
const LAST_TRYLOCK_PASS: u32 = 2;

/// A page that has been unmapped, with its target; both locked.
struct Unmapped {
    src: Frame,
    dst: Fresh,
    was_mapped: bool,
    was_mlocked: bool,
}

enum Unmap {
    /// Ready to move.
    Done(Unmapped),
    /// Freed under us: as good as migrated.
    Freed,
}

/// Why a page could not be unmapped, or moved.
#[derive(Clone, Copy)]
struct Refusal {
    errno: Errno,
    at: Step,
    test: Test,
}

/// References of the migration itself on each page: the isolation's.
const OWN: i32 = 1;

impl<D: Driver> Task<'_, D> {
    /// Migrates isolated pages to where `gfp` allows.
    pub fn migrate_pages(&self, frames: &[Frame], gfp: Gfp, mode: MigrateMode) -> Migrated {
        self.event(Event::MigrateCalls);
        match self.m.rules.migrate {
            MigrateStyle::OneByOne => self.migrate_one_by_one(frames.to_vec(), gfp, mode),
            MigrateStyle::Batched => self.migrate_batched(frames, gfp, mode),
        }
    }

    /// The loop to 6.2: passes over all pages, each unmapped and moved in turn.
    fn migrate_one_by_one(&self, mut from: Vec<Frame>, gfp: Gfp, mode: MigrateMode) -> Migrated {
        let mut result = Migrated::default();
        let passes = self.m.rules.migrate_passes;
        for pass in 0..passes {
            let force = pass > LAST_TRYLOCK_PASS && mode == MigrateMode::Sync;
            let mut again = Vec::new();
            let mut pages = from.into_iter();
            for frame in pages.by_ref() {
                let refusal = match self.unmap_and_move(frame, gfp, mode, force) {
                    Ok(()) => {
                        self.event(Event::Migrated);
                        continue;
                    }
                    Err(refusal) => refusal,
                };
                if refusal.errno != Errno::EAGAIN || pass + 1 == passes {
                    self.refused(&mut result.refused, refusal.at, frame, refusal.test, OWN);
                }
                match refusal.errno {
                    Errno::EAGAIN => again.push(frame),
                    Errno::ENOMEM => {
                        self.count.add(Event::MigrateFailed, 1 + (again.len() + result.left.len()) as u64);
                        result.error = Some(Errno::ENOMEM);
                        result.left.push(frame);
                        result.left.append(&mut again);
                        result.left.extend(pages);
                        return result;
                    }
                    _ => result.left.push(frame),
                }
            }
            from = again;
            if from.is_empty() {
                break;
            }
        }
        result.left.append(&mut from);
        self.count.add(Event::MigrateFailed, result.left.len() as u64);
        result
    }

    fn unmap_and_move(&self, frame: Frame, gfp: Gfp, mode: MigrateMode, force: bool) -> Result<(), Refusal> {
        match self.migrate_folio_unmap(frame, gfp, mode, force)? {
            Unmap::Freed => Ok(()),
            Unmap::Done(unmapped) => self.migrate_folio_move(unmapped).map_err(|(unmapped, refusal)| {
                self.migrate_undo(unmapped);
                refusal
            }),
        }
    }

    /// The loop from 6.3: an asynchronous batch, then one by one synchronously.
    fn migrate_batched(&self, frames: &[Frame], gfp: Gfp, mode: MigrateMode) -> Migrated {
        let rules = &self.m.rules;
        let mut result = Migrated::default();
        let mut chunks = frames.chunks(MAX_BATCHED);
        for chunk in chunks.by_ref() {
            if mode == MigrateMode::Async {
                let batch = self.migrate_batch(chunk.to_vec(), gfp, mode, rules.migrate_passes);
                self.count.add(Event::MigrateFailed, batch.failed);
                result.left.extend(batch.left);
                result.error = batch.error;
                result.refused.or(batch.refused);
            } else {
                self.migrate_sync(chunk, gfp, &mut result);
            }
            if result.error.is_some() {
                break;
            }
        }
        chunks.for_each(|rest| result.left.extend(rest));
        result
    }

    /// `migrate_pages_sync`.
    fn migrate_sync(&self, chunk: &[Frame], gfp: Gfp, result: &mut Migrated) {
        let rules = &self.m.rules;
        let first = self.migrate_batch(chunk.to_vec(), gfp, MigrateMode::Async, rules.migrate_async_passes);
        if first.error.is_some() {
            self.count.add(Event::MigrateFailed, first.failed);
            result.left.extend(first.left);
            result.error = first.error;
            result.refused.or(first.refused);
            return;
        }
        let mut rest = first.left.into_iter();
        for frame in rest.by_ref() {
            let one = self.migrate_batch(vec![frame], gfp, MigrateMode::Sync, rules.migrate_sync_passes);
            self.count.add(Event::MigrateFailed, one.failed);
            result.left.extend(one.left);
            result.refused.or(one.refused);
            if one.error.is_some() {
                result.error = one.error;
                break;
            }
        }
        result.left.extend(rest);
    }

    /// `migrate_pages_batch`: unmaps all in passes, then moves all in passes,
    /// then undoes what could not be moved.
    fn migrate_batch(&self, mut from: Vec<Frame>, gfp: Gfp, mode: MigrateMode, passes: u32) -> Migrated {
        let mut result = Migrated::default();
        let mut unmapped = Vec::with_capacity(from.len());
        let mut retried = 0;
        for pass in 1..=passes {
            let mut again = Vec::new();
            let mut pages = from.into_iter();
            for frame in pages.by_ref() {
                let refusal = match self.migrate_folio_unmap(frame, gfp, mode, mode == MigrateMode::Sync) {
                    Ok(Unmap::Freed) => {
                        self.event(Event::Migrated);
                        continue;
                    }
                    Ok(Unmap::Done(page)) => {
                        unmapped.push(page);
                        continue;
                    }
                    Err(refusal) => refusal,
                };
                if refusal.errno != Errno::EAGAIN || pass == passes {
                    self.refused(&mut result.refused, refusal.at, frame, refusal.test, OWN);
                }
                match refusal.errno {
                    Errno::EAGAIN => again.push(frame),
                    Errno::ENOMEM => {
                        // What has been unmapped is still moved.
                        result.error = Some(Errno::ENOMEM);
                        result.left.push(frame);
                        break;
                    }
                    _ => result.left.push(frame),
                }
            }
            retried = again.len();
            again.extend(pages);
            from = again;
            if from.is_empty() || result.error.is_some() {
                break;
            }
        }
        result.failed = (result.left.len() + retried) as u64;
        result.left.extend(from);
        for pass in 1..=passes {
            if unmapped.is_empty() {
                break;
            }
            let mut again = Vec::new();
            for page in unmapped {
                let Err((page, refusal)) = self.migrate_folio_move(page) else {
                    self.event(Event::Migrated);
                    continue;
                };
                if pass == passes {
                    self.refused(&mut result.refused, refusal.at, page.src, refusal.test, OWN);
                }
                again.push(page);
            }
            unmapped = again;
        }
        result.failed += unmapped.len() as u64;
        for page in unmapped {
            result.left.push(page.src);
            self.migrate_undo(page);
        }
        result
    }

    /// `migrate_folio_unmap`. `sleep`: whether locks and writeback may be slept on.
    fn migrate_folio_unmap(
        &self,
        src: Frame,
        gfp: Gfp,
        mode: MigrateMode,
        sleep: bool,
    ) -> Result<Unmap, Refusal> {
        let page = self.page(src);
        if page.refcount() == 1 {
            page.clear(flag::ACTIVE | flag::UNEVICTABLE);
            self.put(src, 1);
            return Ok(Unmap::Freed);
        }
        let Some(dst) = self.m.memory.alloc(self.cpu(), gfp) else {
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
        let was_mapped = page.mapcount() > 0;
        self.step(Step::MigrateUnmap, src);
        self.set_locked(dst.frame());
        let kept = if was_mapped { self.try_to_migrate(src, OWN) } else { None };
        self.step(Step::MigrateUnmapped, src);
        let unmapped = Unmapped { src, dst, was_mapped, was_mlocked };
        if page.mapcount() > 0 {
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
        if !self.page(src).has(flag::WRITEBACK) {
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
    fn migrate_folio_move(&self, unmapped: Unmapped) -> Result<(), (Unmapped, Refusal)> {
        let Unmapped { src, .. } = unmapped;
        self.step(Step::MigrateFreeze, src);
        if let Err(found) = self.move_to_new_folio(&unmapped) {
            let test = Test::Refs { found, expected: 1 + i32::from(self.m.in_page_cache(self.page(src))) };
            return Err((unmapped, Refusal { errno: Errno::EAGAIN, at: Step::MigrateFreeze, test }));
        }
        let Unmapped { dst, was_mapped, was_mlocked, .. } = unmapped;
        let dst = dst.publish();
        self.step(Step::MigrateCopied, src);
        self.add_lru(dst);
        let drain = match self.m.rules.drain_after_migrate {
            DrainAfterMigrate::Never => false,
            DrainAfterMigrate::Mapped => was_mapped,
            DrainAfterMigrate::Mlocked => was_mlocked,
        };
        if drain {
            self.lru_add_drain();
        }
        self.step(Step::MigrateRemap, dst);
        if was_mapped {
            self.remove_migration_ptes(src, dst);
        }
        self.unlock(dst);
        self.put(dst, 1);
        self.unlock(src);
        self.d.wake(Wait::Returned(src));
        self.put(src, 1);
        self.step(Step::MigrateDone, dst);
        Ok(())
    }

    /// `move_to_new_folio`: freezes the source, copies contents and state, and
    /// replaces it in the page cache. On an unexpected reference: how many there are.
    fn move_to_new_folio(&self, unmapped: &Unmapped) -> Result<(), i32> {
        let (page, target) = (self.page(unmapped.src), self.page(unmapped.dst.frame()));
        let cached = self.m.in_page_cache(page);
        let frozen = page.freeze(1 + i32::from(cached))?;
        self.m.memory.payload.copy(unmapped.src, &frozen, &unmapped.dst);
        let (mapping, index) = (page.mapping(), page.index());
        target.set_mapping(mapping, index);
        let kept = flag::REFERENCED | flag::DIRTY | flag::SWAPBACKED | flag::ANON | flag::ANON_EXCLUSIVE;
        let moved = page.clear(flag::ACTIVE | flag::UNEVICTABLE | flag::ANON | flag::ANON_EXCLUSIVE);
        // Active and unevictable exclude each other.
        let list = if moved & flag::ACTIVE != 0 { flag::ACTIVE } else { moved & flag::UNEVICTABLE };
        target.set(moved & kept | list);
        if cached && let Some(id) = mapping {
            target.get(1);
            self.m.mapping(id).with_cache(index, |slot| slot.set(Some(unmapped.dst.frame())));
        }
        // The mapping has moved on: a lock holder that was faster must not find it here.
        // Migration entries still name the frame; its number is all they need.
        page.set_mapping(None, 0);
        frozen.unfreeze(1);
        Ok(())
    }

    /// `migrate_folio_undo_src` and `_dst`: maps the page again and drops the target.
    fn migrate_undo(&self, unmapped: Unmapped) {
        let Unmapped { src, dst, was_mapped, .. } = unmapped;
        if was_mapped {
            self.remove_migration_ptes(src, src);
        }
        self.unlock(src);
        let dst = dst.publish();
        self.unlock(dst);
        self.put(dst, 1);
    }
}
