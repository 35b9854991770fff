//! The passes of `migrate_pages` over its folios, by kernel.
//!
//! A kernel's passes are few and it looks at no signal between them; here they may be as many as
//! somebody likes, and the run's end is looked for before each.
//!
//! A folio that cannot be moved as one, because there is no target of its order or because part
//! of it is mapped no more, is split: it counts as one that failed, and its pages are moved by
//! themselves when the others are done.

use super::page::{MigrateMode, OWN, Refusal, Unmap};
use crate::drive::{Driver, Step};
use crate::machine::{Frame, Gfp, MAX_ORDER, Page, flag};
use crate::observe::Event;
use crate::ops::floor::Migrate;
use crate::ops::refused::Refused;
use crate::policy::{Errno, MigrateStyle};

/// What `migrate_pages` left behind.
#[derive(Debug, Default)]
pub struct Migrated {
    /// Folios not migrated, still isolated: the caller puts them back.
    pub left: Vec<Frame>,
    /// What did not go.
    failed: Failed,
    /// Pages of folios that were split on the way, still to be moved.
    parts: Vec<Frame>,
    /// Why the whole call was aborted, if it was.
    pub error: Option<Errno>,
    /// Why pages were given up.
    pub(in crate::ops) refused: Refused,
}

/// What was tried and failed: after an abort, what was not tried counts neither way.
#[derive(Debug, Default, Clone, Copy)]
struct Failed {
    pages: u64,
    /// Huge pages, those among them that were split.
    thps: u64,
    split_thps: u64,
}

impl Failed {
    /// A folio, should it fail.
    #[inline]
    fn of(folio: &Page) -> Self {
        if folio.is_large() { Self::of_large(folio) } else { Self { pages: 1, ..Self::default() } }
    }

    #[inline(never)]
    fn of_large(folio: &Page) -> Self {
        Self { pages: folio.nr_pages().into(), thps: u64::from(is_thp(folio)), split_thps: 0 }
    }

    fn add(&mut self, other: Self) {
        self.pages += other.pages;
        self.thps += other.thps;
        self.split_thps += other.split_thps;
    }
}

impl Migrated {
    /// Whether every page was migrated (the call returned 0).
    pub fn is_complete(&self) -> bool {
        self.left.is_empty() && self.error.is_none()
    }

    /// Takes over what another attempt left and met.
    fn take(&mut self, other: Self) {
        let Self { left, failed, parts, error, refused } = other;
        self.left.extend(left);
        self.failed.add(failed);
        self.parts.extend(parts);
        self.error = self.error.or(error);
        self.refused.or(refused);
    }
}

/// Most pages of one batch (`NR_MAX_BATCHED_MIGRATION`).
const MAX_BATCHED: u32 = 512;
/// Last pass of the one-by-one style in which a lock is only tried.
const LAST_TRYLOCK_PASS: u32 = 2;

impl<D: Driver> Migrate<'_, D> {
    /// Migrates isolated folios to where `gfp` allows.
    pub fn migrate_pages(&self, frames: &[Frame], gfp: Gfp, mode: MigrateMode) -> Migrated {
        self.event(Event::MigrateCalls);
        let result = match self.m.rules.migrate {
            MigrateStyle::OneByOne => self.migrate_one_by_one(frames.to_vec(), gfp, mode),
            MigrateStyle::Batched => {
                let mut others = frames.to_vec();
                let is_hugetlb = |frame: &mut Frame| self.page(*frame).has(flag::HUGETLB);
                let hugetlbs: Vec<Frame> = others.extract_if(.., is_hugetlb).collect();
                let mut result = Migrated::default();
                if !hugetlbs.is_empty() {
                    // `migrate_hugetlbs`: first, and by itself.
                    result = self.one_by_one(hugetlbs, gfp, mode, self.m.rules.migrate_passes);
                }
                if result.error.is_some() {
                    result.left.extend(others);
                } else {
                    self.migrate_batched(others, gfp, mode, &mut result);
                }
                result
            }
        };
        self.count.add(Event::MigrateFailed, result.failed.pages);
        self.count.add(Event::ThpMigrationFail, result.failed.thps);
        self.count.add(Event::ThpMigrationSplit, result.failed.split_thps);
        result
    }

    /// The loop to 6.2: passes over all pages, each unmapped and moved in turn.
    fn migrate_one_by_one(&self, from: Vec<Frame>, gfp: Gfp, mode: MigrateMode) -> Migrated {
        let mut result = self.one_by_one(from, gfp, mode, self.m.rules.migrate_passes);
        let parts = std::mem::take(&mut result.parts);
        if result.error.is_some() {
            result.left.extend(parts);
        } else if !parts.is_empty() {
            result.take(self.one_by_one(parts, gfp, mode, 1));
        }
        result
    }

    fn one_by_one(&self, mut from: Vec<Frame>, gfp: Gfp, mode: MigrateMode, passes: u32) -> Migrated {
        let mut result = Migrated::default();
        for pass in (0..passes).take_while(|_| !self.d.killed()) {
            let force = pass > LAST_TRYLOCK_PASS && mode == MigrateMode::Sync;
            let mut again = Vec::new();
            let mut pages = from.into_iter();
            for frame in pages.by_ref() {
                let size = Failed::of(self.page(frame));
                let refusal = match self.unmap_and_move(frame, gfp, mode, force) {
                    Ok(()) => {
                        self.migrated(size);
                        continue;
                    }
                    Err(refusal) => refusal,
                };
                let Some(errno) = self.after_refusal(refusal, frame, gfp, mode, &mut result) else {
                    continue;
                };
                if errno != Errno::EAGAIN || pass + 1 == passes {
                    self.refused(&mut result.refused, refusal.at, frame, refusal.test, OWN);
                }
                match errno {
                    Errno::EAGAIN => again.push(frame),
                    Errno::ENOMEM => {
                        result.failed.add(size);
                        again.iter().for_each(|&frame| result.failed.add(Failed::of(self.page(frame))));
                        result.error = Some(Errno::ENOMEM);
                        result.left.push(frame);
                        result.left.append(&mut again);
                        result.left.extend(pages);
                        return result;
                    }
                    _ => {
                        result.failed.add(size);
                        result.left.push(frame);
                    }
                }
            }
            from = again;
            if from.is_empty() {
                break;
            }
        }
        from.iter().for_each(|&frame| result.failed.add(Failed::of(self.page(frame))));
        result.left.append(&mut from);
        result
    }

    /// A folio of this size has moved.
    #[inline]
    fn migrated(&self, size: Failed) {
        self.count.add(Event::Migrated, size.pages);
        if size.thps != 0 {
            self.count.add(Event::ThpMigrationSuccess, size.thps);
        }
    }

    /// What a refusal means: without a target, a large folio is split, and `None` comes of it.
    fn after_refusal(
        &self,
        refusal: Refusal,
        frame: Frame,
        gfp: Gfp,
        mode: MigrateMode,
        result: &mut Migrated,
    ) -> Option<Errno> {
        let folio = self.page(frame);
        if refusal.errno != Errno::ENOMEM || !folio.is_large() || folio.has(flag::HUGETLB) {
            return Some(refusal.errno);
        }
        if self.split(frame, mode, result) {
            return None;
        }
        // A long-term pin tries again to split it; for others the memory is out.
        Some(if gfp.is_pin() { Errno::EAGAIN } else { Errno::ENOMEM })
    }

    /// Whether a folio could be split; its pages are moved in the end.
    fn split(&self, frame: Frame, mode: MigrateMode, result: &mut Migrated) -> bool {
        let thps = u64::from(is_thp(self.page(frame)));
        let parts = self.try_split_folio(frame, mode);
        if let Ok(parts) = &parts {
            result.parts.extend(parts);
            result.failed.add(Failed { pages: 0, thps, split_thps: thps });
        }
        parts.is_ok()
    }

    fn unmap_and_move(&self, frame: Frame, gfp: Gfp, mode: MigrateMode, force: bool) -> Result<(), Refusal> {
        match self.migrate_folio_unmap(self.folio_at(frame), gfp, mode, force, false)? {
            Unmap::Freed => Ok(()),
            Unmap::Done(mut unmapped) => self.migrate_folio_move(&mut unmapped).inspect_err(|_| {
                self.migrate_undo(unmapped);
            }),
        }
    }

    /// The loop from 6.3: an asynchronous batch, then one by one synchronously.
    fn migrate_batched(&self, mut rest: Vec<Frame>, gfp: Gfp, mode: MigrateMode, result: &mut Migrated) {
        let rules = &self.m.rules;
        while !rest.is_empty() && result.error.is_none() {
            let after = rest.split_off(self.batch_of(&rest));
            let chunk = std::mem::replace(&mut rest, after);
            if mode == MigrateMode::Async {
                result.take(self.migrate_batch(chunk, gfp, mode, rules.migrate_passes));
            } else {
                self.migrate_sync(chunk, gfp, result);
            }
            let parts = std::mem::take(&mut result.parts);
            if result.error.is_some() {
                result.left.extend(parts);
            } else if !parts.is_empty() {
                // Once, and a failure of theirs is that of the folio they were.
                let mut parts = self.migrate_batch(parts, gfp, MigrateMode::Async, 1);
                parts.error = None;
                result.take(parts);
            }
        }
        result.left.extend(rest);
    }

    /// How many of the first folios make up a batch.
    fn batch_of(&self, frames: &[Frame]) -> usize {
        let mut pages = 0;
        let full = frames.iter().position(|&frame| {
            pages += self.page(frame).nr_pages();
            pages >= MAX_BATCHED
        });
        full.map_or(frames.len(), |last| last + 1)
    }

    /// `migrate_pages_sync`.
    fn migrate_sync(&self, chunk: Vec<Frame>, gfp: Gfp, result: &mut Migrated) {
        let rules = &self.m.rules;
        let mut first = self.migrate_batch(chunk, gfp, MigrateMode::Async, rules.migrate_async_passes);
        if first.error.is_some() {
            result.take(first);
            return;
        }
        // What is left is tried again: only folios that were split have failed by now.
        let Failed { split_thps, .. } = first.failed;
        first.failed = Failed { pages: 0, thps: split_thps, split_thps };
        let rest = std::mem::take(&mut first.left);
        first.refused = Refused::default();
        result.take(first);
        let mut rest = rest.into_iter();
        for frame in rest.by_ref() {
            result.take(self.migrate_batch(vec![frame], gfp, MigrateMode::Sync, rules.migrate_sync_passes));
            if result.error.is_some() {
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
        let mut flush = false;
        let mut retried = Failed::default();
        for pass in (1..=passes).take_while(|_| !self.d.killed()) {
            let mut again = Vec::new();
            let mut pages = from.into_iter();
            retried = Failed::default();
            for frame in pages.by_ref() {
                let folio = self.folio_at(frame);
                let large = folio.is_large();
                if large && self.wants_split(&folio) && self.split(frame, mode, &mut result) {
                    continue;
                }
                let size = Failed::of(&folio);
                // `TTU_BATCH_FLUSH`, which defers nothing for a PMD.
                let by_pmd = large && self.m.memory.entire_mapcount(frame) > 0;
                let flush_later = mode == MigrateMode::Async && !by_pmd;
                let sleep = mode == MigrateMode::Sync;
                let refusal = match self.migrate_folio_unmap(folio, gfp, mode, sleep, flush_later) {
                    Ok(Unmap::Freed) => {
                        self.migrated(size);
                        continue;
                    }
                    Ok(Unmap::Done(page)) => {
                        flush |= flush_later && page.was_mapped;
                        unmapped.push(page);
                        continue;
                    }
                    Err(refusal) => refusal,
                };
                flush |= flush_later && refusal.at == Step::MigrateUnmap;
                let Some(errno) = self.after_refusal(refusal, frame, gfp, mode, &mut result) else {
                    continue;
                };
                if errno != Errno::EAGAIN || pass == passes {
                    self.refused(&mut result.refused, refusal.at, frame, refusal.test, OWN);
                }
                match errno {
                    Errno::EAGAIN => {
                        retried.add(size);
                        again.push(frame);
                    }
                    Errno::ENOMEM => {
                        // What has been unmapped is still moved.
                        result.failed.add(size);
                        result.error = Some(Errno::ENOMEM);
                        result.left.push(frame);
                        break;
                    }
                    _ => {
                        result.failed.add(size);
                        result.left.push(frame);
                    }
                }
            }
            again.extend(pages);
            from = again;
            if from.is_empty() || result.error.is_some() {
                break;
            }
        }
        result.failed.add(retried);
        result.left.extend(from);
        if flush {
            // `try_to_unmap_flush`: one for the batch, also for what had to be mapped again.
            self.d.interrupt_others();
        }
        for pass in (1..=passes).take_while(|_| !self.d.killed()) {
            if unmapped.is_empty() {
                break;
            }
            unmapped.retain_mut(|page| {
                let size = Failed::of(&page.src);
                let refusal = self.migrate_folio_move(page).err();
                match refusal {
                    None => self.migrated(size),
                    Some(refusal) if pass == passes => {
                        self.refused(&mut result.refused, refusal.at, page.src.head, refusal.test, OWN);
                    }
                    Some(_) => {}
                }
                refusal.is_some()
            });
        }
        for page in unmapped {
            result.failed.add(Failed::of(&page.src));
            result.left.push(page.src.head);
            self.migrate_undo(page);
        }
        result
    }

    /// Whether a large folio is split before it is tried: part of it is mapped no more.
    fn wants_split(&self, folio: &Page) -> bool {
        self.m.rules.splits_partly_mapped && folio.has(flag::PARTLY_MAPPED)
    }
}

fn is_thp(folio: &Page) -> bool {
    folio.order() == MAX_ORDER && !folio.has(flag::HUGETLB)
}
