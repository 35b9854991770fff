//! The long-term pin: `pin_user_pages(FOLL_LONGTERM)` under a retry policy.
//!
//! One sweep: pin the range (`gup`) · find the pages that must move; none:
//! done · drain by rule · isolate what can be isolated · unpin the whole range
//! · migrate what was isolated · next sweep. The policy decides what each
//! failure on the way means.

use super::{Errno, MigrateMode, Task};
use crate::drive::{Driver, Step};
use crate::machine::{Frame, Gfp, Mapping, flag};
use crate::observe::Event;
use crate::policy::{
    DrainRule, Empty, Entry, FailedErrno, IsolationFailure, MigrationFailure, Policy, SweepOrder,
};
use std::ops::Range;

/// What is to be pinned, and how.
#[derive(Debug, Clone)]
pub struct PinRequest<'a> {
    /// Retry policy.
    pub policy: &'a Policy,
    /// Mapping whose pages are pinned.
    pub mapping: &'a Mapping,
    /// Pages of it.
    pub range: Range<u32>,
    /// `FOLL_WRITE`.
    pub write: bool,
}

/// A pin under way or taken. Reused from call to call.
#[derive(Debug, Default)]
pub struct Pin {
    /// The frames pinned, in the order of the range; empty after a failure.
    pub pages: Vec<Frame>,
    /// Sweeps that the call took.
    pub sweeps: u32,
    /// Whether it needed more than one sweep, met a busy isolation, or waited
    /// for a lock, a migration, a drain or another pinner.
    pub contended: bool,
}

/// How far the batches have been drained in this sweep.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Drained {
    No,
    Local,
    All,
}

/// What one sweep's collection found.
#[derive(Default)]
struct Collected {
    isolated: Vec<Frame>,
    /// Pages that must move and could not be isolated.
    missed: Vec<(u32, Frame)>,
}

/// Failures so far, against what the policy allows.
struct Tries {
    isolation: u32,
    migration: u32,
    passing: u32,
    started: u64,
}

impl<D: Driver> Task<'_, D> {
    /// Long-term pins the range as `io_uring` does with its registered buffers:
    /// through the kernel's entry point, all of it or nothing.
    ///
    /// # Errors
    /// What the policy makes of failures; `EFAULT` where only part of the
    /// range could be pinned (it is given back), `EINTR` if killed.
    #[inline]
    pub fn pin_longterm(&self, request: &PinRequest<'_>, pin: &mut Pin) -> Result<(), Errno> {
        pin.pages.clear();
        pin.contended = false;
        if self.m.rules.entry == Entry::Fast {
            self.gup_fast(request, &mut pin.pages);
            if pin.pages.len() == request.range.len() {
                pin.sweeps = 1;
                return Ok(());
            }
        }
        self.pin_rest(request, pin)
    }

    /// Long-term pins what GUP-fast has left of the range. Out of line, so that
    /// the way of a pin that needs none of this stays short.
    #[inline(never)]
    fn pin_rest(&self, request: &PinRequest<'_>, pin: &mut Pin) -> Result<(), Errno> {
        pin.sweeps = 0;
        let range = &request.range;
        let fast = self.m.rules.entry == Entry::Fast;
        let waits = self.waits();
        let already = pin.pages.len();
        let rest = PinRequest { range: range.start + already as u32..range.end, ..request.clone() };
        let result = self.memalloc_pin(|| self.gup_longterm_locked(&rest, fast, pin));
        pin.contended = pin.sweeps > 1 || self.waits() != waits;
        let result = match result {
            Ok(()) if pin.pages.len() == range.len() => return Ok(()),
            Err(errno) if already == 0 || errno == Errno::EINTR => Err(errno),
            // Part of the range is pinned: the caller sees a short count.
            _ => Err(Errno::EFAULT),
        };
        self.unpin_user_pages(&pin.pages);
        pin.pages.clear();
        result
    }

    /// How often this task has met others so far.
    fn waits(&self) -> u64 {
        [Event::IsolateBusy, Event::LockWaits, Event::MigrationWaits, Event::DrainWaits, Event::OwnerWaits]
            .into_iter()
            .map(|event| self.count.get(event))
            .sum()
    }

    /// `__gup_longterm_locked`: sweeps until nothing must move or the policy
    /// gives up. Pages are appended to `pin`; on an error none of them stays.
    fn gup_longterm_locked(&self, request: &PinRequest<'_>, touch: bool, pin: &mut Pin) -> Result<(), Errno> {
        let PinRequest { policy, mapping, ref range, write } = *request;
        let base = pin.pages.len();
        let mut tries = Tries { isolation: 0, migration: 0, passing: 0, started: self.d.now() };
        loop {
            pin.sweeps += 1;
            self.event(Event::Sweeps);
            self.step_at(Step::Sweep);
            if self.d.killed() {
                return Err(Errno::EINTR);
            }
            let got = self.get_user_pages(policy, mapping, range.clone(), write, touch, &mut pin.pages);
            if let Err(errno) = got
                && (pin.pages.len() == base || errno == Errno::EINTR)
            {
                self.unpin_from(base, pin);
                return Err(errno);
            }
            self.step_at(Step::Pinned);
            if !pin.pages[base..].iter().any(|&frame| self.must_move(policy, frame)) {
                return Ok(());
            }
            let collected = match policy.order {
                SweepOrder::IsolateWhilePinned => {
                    let collected = self.collect_pinned(policy, range.start, &pin.pages[base..]);
                    if collected.isolated.is_empty() && policy.empty == Empty::Success {
                        return Ok(());
                    }
                    self.unpin_from(base, pin);
                    collected
                }
                SweepOrder::UnpinFirst => {
                    self.unpin_from(base, pin);
                    self.collect_unpinned(policy, mapping, range.clone())
                }
            };
            self.step_at(Step::Unpinned);
            match self.move_collected(policy, collected, &mut tries) {
                Ok(Sweep::Again) => {}
                Ok(Sweep::Accept) => {
                    return self.get_user_pages(policy, mapping, range.clone(), write, touch, &mut pin.pages);
                }
                Err(errno) => return Err(errno),
            }
        }
    }

    fn unpin_from(&self, base: usize, pin: &mut Pin) {
        self.unpin_user_pages(&pin.pages[base..]);
        pin.pages.truncate(base);
    }

    /// `collect_longterm_unpinnable_folios`: isolates while the range is pinned.
    fn collect_pinned(&self, policy: &Policy, first: u32, pages: &[Frame]) -> Collected {
        let own = self.m.rules.pin_bias as i32;
        let mut collected = Collected::default();
        let mut drained = Drained::No;
        let mut previous = None;
        for (index, &frame) in (first..).zip(pages) {
            if !self.must_move(policy, frame) || previous == Some(frame) {
                continue;
            }
            previous = Some(frame);
            self.collect(policy, index, frame, own, &mut drained, &mut collected);
        }
        collected
    }

    /// Isolates after the range was unpinned: each page is looked up again.
    fn collect_unpinned(&self, policy: &Policy, mapping: &Mapping, range: Range<u32>) -> Collected {
        let mut collected = Collected::default();
        let mut drained = Drained::No;
        for index in range {
            let Some(frame) = self.get_mapped(&mapping.vma, index) else { continue };
            if self.must_move(policy, frame) {
                self.collect(policy, index, frame, 1, &mut drained, &mut collected);
            }
            self.put(frame, 1);
        }
        collected
    }

    /// Drains by rule, then tries to isolate one page on which we hold `own` references.
    fn collect(
        &self,
        policy: &Policy,
        index: u32,
        frame: Frame,
        own: i32,
        drained: &mut Drained,
        collected: &mut Collected,
    ) {
        self.step(Step::CollectCheck, frame);
        self.drain_for(policy.drain, frame, own, drained);
        self.step(Step::CollectIsolate, frame);
        if self.isolate_lru(frame) {
            collected.isolated.push(frame);
        } else {
            collected.missed.push((index, frame));
        }
        self.step(Step::CollectIsolated, frame);
    }

    fn drain_for(&self, rule: DrainRule, frame: Frame, own: i32, drained: &mut Drained) {
        let page = self.page(frame);
        let beyond = |own: i32| page.refcount() - self.m.expected_refs(page) - own;
        let off_lru = || !page.has(flag::LRU);
        let wanted = |drained: Drained| match rule {
            DrainRule::Never => false,
            DrainRule::All => drained == Drained::No,
            DrainRule::AllIfOffLru => drained == Drained::No && off_lru(),
            DrainRule::ExtraRefsNaive => drained != Drained::All && beyond(1) != 0,
            DrainRule::ExtraRefs => drained != Drained::All && beyond(own) != 0,
            // A batch entry is one reference; others' pins are whole multiples of the bias.
            DrainRule::WhereBatched => {
                drained != Drained::All && beyond(own) % self.m.rules.pin_bias as i32 != 0
            }
        };
        let local_first = !matches!(rule, DrainRule::All | DrainRule::AllIfOffLru);
        if local_first && *drained == Drained::No && wanted(Drained::No) {
            self.lru_add_drain();
            *drained = Drained::Local;
            self.step(Step::CollectDrainLocal, frame);
        }
        if (*drained == Drained::Local || !local_first) && wanted(*drained) {
            self.lru_add_drain_all(false);
            *drained = Drained::All;
            self.step(Step::CollectDrainAll, frame);
        }
    }

    /// `migrate_longterm_unpinnable_folios`, and what the policy makes of its outcome.
    fn move_collected(&self, policy: &Policy, collected: Collected, tries: &mut Tries) -> Result<Sweep, Errno> {
        let Collected { isolated, missed } = collected;
        let mut passing = None;
        if !isolated.is_empty() {
            let result = self.migrate_pages(&isolated, Gfp::Pin, MigrateMode::Sync);
            if !result.is_complete() {
                let own = result.error.unwrap_or(Errno::EBUSY);
                self.putback_movable(result.left);
                if policy.migration_failure == MigrationFailure::Accept {
                    return Ok(Sweep::Accept);
                }
                let errno = match policy.migrate_errno {
                    FailedErrno::Enomem => Errno::ENOMEM,
                    FailedErrno::Own => own,
                };
                tries.migration += 1;
                if policy.migrate_retries.exceeded_by(tries.migration) {
                    return Err(errno);
                }
                passing = Some(errno);
            }
        }
        let nothing = isolated.is_empty() && policy.empty == Empty::IsolationFailure;
        if nothing || (policy.isolation_failure == IsolationFailure::Count && !missed.is_empty()) {
            tries.isolation += 1;
            if policy.isolate_retries.exceeded_by(tries.isolation) {
                return Err(Errno::EBUSY);
            }
        }
        if !missed.is_empty() {
            passing = passing.or(Some(Errno::EBUSY));
        }
        match passing {
            Some(errno) => self.pause(policy, errno, tries).map(|()| Sweep::Again),
            None => Ok(Sweep::Again),
        }
    }

    /// What the policy does between sweeps after a failure that may pass:
    /// gives up at its deadline, otherwise backs off.
    fn pause(&self, policy: &Policy, errno: Errno, tries: &mut Tries) -> Result<(), Errno> {
        let spent = self.d.now() - tries.started;
        if policy.deadline.0 != 0 && spent >= policy.deadline.0 {
            return Err(errno);
        }
        if policy.backoff_min.0 == 0 {
            return Ok(());
        }
        self.event(Event::Backoffs);
        self.step_at(Step::Backoff);
        // Doubles each time up to the maximum; 63 doublings are beyond any maximum.
        let full = policy.backoff_min.0.saturating_mul(1 << tries.passing.min(62)).min(policy.backoff_max.0);
        tries.passing += 1;
        let random = (full as f64 * policy.backoff_jitter.0) as u64;
        let mut length = full - random + if random == 0 { 0 } else { self.d.below(random + 1) };
        if policy.deadline.0 != 0 {
            length = length.min(policy.deadline.0 - spent);
        }
        if self.d.sleep(length) { Ok(()) } else { Err(Errno::EINTR) }
    }
}

/// How a sweep goes on.
enum Sweep {
    /// Pin again and look again.
    Again,
    /// Pin again and take it as it is.
    Accept,
}
