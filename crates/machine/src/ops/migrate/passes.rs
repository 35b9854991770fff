//! The passes of `migrate_pages` over its pages, by kernel.
//!
//! A kernel's passes are few and it looks at no signal between them; here they may be as many as
//! somebody likes, and the run's end is looked for before each.

use super::page::{MigrateMode, OWN, Refusal, Unmap};
use crate::drive::Driver;
use crate::machine::{Frame, Gfp};
use crate::observe::Event;
use crate::ops::floor::Migrate;
use crate::ops::refused::Refused;
use crate::policy::{Errno, MigrateStyle};

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
    pub(in crate::ops) refused: Refused,
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

impl<D: Driver> Migrate<'_, D> {
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
        for pass in (0..passes).take_while(|_| !self.d.killed()) {
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
        for pass in (1..=passes).take_while(|_| !self.d.killed()) {
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
        for pass in (1..=passes).take_while(|_| !self.d.killed()) {
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
}
