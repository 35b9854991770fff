//! After a collection: migrating what was isolated, and what the policy makes of failures.

use super::collect::Collected;
use super::longterm::PinRequest;
use super::{Errno, MigrateMode, Task};
use crate::drive::{Driver, Step, Wait, Waited};
use crate::machine::{Frame, Gfp, flag};
use crate::observe::Event;
use crate::policy::{
    Defect, Empty, FailedErrno, IsolationFailure, MigrationFailure, OtherPinner, Permanent, Policy,
};

/// How the loop goes on.
pub(super) enum Sweep {
    /// Pin again and look again.
    Again,
    /// Pin again and take it as it is.
    Accept,
}

/// Failures so far, against what the policy allows.
pub(super) struct Tries {
    isolation: u32,
    migration: u32,
    passing: u32,
    started: u64,
    /// Whether pages in another's hands were last waited for in vain: they may
    /// sit in another CPU's batch.
    pub(super) overdue: bool,
}

impl Tries {
    /// None yet.
    pub(super) fn new(now: u64) -> Self {
        Self { isolation: 0, migration: 0, passing: 0, started: now, overdue: false }
    }
}

impl<D: Driver> Task<'_, D> {
    /// `migrate_longterm_unpinnable_folios`, and what the policy makes of its outcome.
    pub(super) fn settle(
        &self,
        request: &PinRequest<'_>,
        collected: Collected,
        tries: &mut Tries,
    ) -> Result<Sweep, Errno> {
        let policy = request.policy;
        let Collected { isolated, missed, permanent } = collected;
        if let Some(errno) = permanent {
            self.putback_movable(isolated);
            return Err(errno);
        }
        let nothing = isolated.is_empty();
        let failed = match self.migrate_by(policy, isolated, tries)? {
            Some(_) if policy.migration_failure == MigrationFailure::Accept => return Ok(Sweep::Accept),
            failed => failed,
        };
        let counts = policy.isolation_failure == IsolationFailure::Count && !missed.is_empty();
        if counts || (nothing && policy.empty == Empty::IsolationFailure) {
            tries.isolation += 1;
            if policy.isolate_retries.exceeded_by(tries.isolation) {
                return Err(Errno::EBUSY);
            }
        }
        if let Some(errno) = failed {
            self.pause(policy, errno, tries)?;
        } else if !missed.is_empty() && policy.other_pinner == OtherPinner::Wait {
            self.wait_for_return(request, &missed, tries)?;
        } else if !missed.is_empty() {
            self.pause(policy, Errno::EBUSY, tries)?;
        }
        Ok(Sweep::Again)
    }

    /// Migrates; `Some` errno of a failure that the policy lets pass.
    ///
    /// Where it waits for other pinners, pages stay isolated between tries: so
    /// nobody else begins to fight for them, and passing pins on them go away.
    fn migrate_by(
        &self,
        policy: &Policy,
        mut isolated: Vec<Frame>,
        tries: &mut Tries,
    ) -> Result<Option<Errno>, Errno> {
        while !isolated.is_empty() {
            let result = self.migrate_pages(&isolated, Gfp::Pin, MigrateMode::Sync);
            if result.is_complete() {
                break;
            }
            let own = result.error.unwrap_or(Errno::EBUSY);
            let errno = match policy.migrate_errno {
                FailedErrno::Enomem => Errno::ENOMEM,
                FailedErrno::Own => own,
            };
            tries.migration += 1;
            isolated = result.left;
            self.hindered(result.refused);
            if policy.defect == Defect::LosePage {
                isolated.pop();
            }
            let accepted = policy.migration_failure == MigrationFailure::Accept;
            let final_one = policy.permanent == Permanent::Report && result.error == Some(Errno::ENOMEM);
            if !accepted && (final_one || policy.migrate_retries.exceeded_by(tries.migration)) {
                self.putback_movable(isolated);
                return Err(errno);
            }
            if accepted || policy.other_pinner != OtherPinner::Wait {
                self.putback_movable(isolated);
                return Ok(Some(errno));
            }
            if let Err(errno) = self.wait_for_pins(policy, errno, &isolated, tries) {
                self.putback_movable(isolated);
                return Err(errno);
            }
            self.drain_for_isolated(policy, &isolated);
        }
        Ok(None)
    }

    /// Pauses until no page may be pinned any more: to try a migration before
    /// would only burn its passes. Where the policy has no pauses, for as short as can be:
    /// whoever pins them needs the processor.
    fn wait_for_pins(
        &self,
        policy: &Policy,
        errno: Errno,
        isolated: &[Frame],
        tries: &mut Tries,
    ) -> Result<(), Errno> {
        loop {
            let length = self.next_pause(policy, errno, tries)?;
            self.pause_for(length.max(1))?;
            if !isolated.iter().any(|&frame| self.m.maybe_dma_pinned(self.page(frame))) {
                return Ok(());
            }
        }
    }

    /// Waits, holding nothing, until each missed page is on the LRU again or
    /// has left the range; at most for one pause, as it may sit in a batch.
    fn wait_for_return(
        &self,
        request: &PinRequest<'_>,
        missed: &[(u32, Frame)],
        tries: &mut Tries,
    ) -> Result<(), Errno> {
        let length = self.next_pause(request.policy, Errno::EBUSY, tries)?;
        let until = self.d.now().saturating_add(length);
        tries.overdue = false;
        // Migration goes through a range in order: with the last page back, so are mostly all.
        for &(index, frame) in missed.iter().rev() {
            let (page, vma) = (self.page(frame), &request.mapping.vma);
            let returned = || page.has(flag::LRU) || vma.pte(index).frame() != frame;
            if returned() {
                continue;
            }
            self.event(Event::OwnerWaits);
            self.step(Step::WaitOwner, frame);
            match self.d.wait_until(Wait::Returned(frame), until, &returned) {
                Waited::Killed => return Err(Errno::EINTR),
                Waited::TimedOut => {
                    tries.overdue = true;
                    break;
                }
                Waited::Ready => {}
            }
        }
        Ok(())
    }

    /// What the policy does between sweeps after a failure that may pass:
    /// gives up at its deadline, otherwise backs off.
    fn pause(&self, policy: &Policy, errno: Errno, tries: &mut Tries) -> Result<(), Errno> {
        match self.next_pause(policy, errno, tries)? {
            0 => Ok(()),
            length => self.pause_for(length),
        }
    }

    fn pause_for(&self, length: u64) -> Result<(), Errno> {
        self.event(Event::Backoffs);
        self.step_at(Step::Backoff);
        if self.d.sleep(length) { Ok(()) } else { Err(Errno::EINTR) }
    }

    /// The length of the next pause; `errno` once the deadline has passed.
    fn next_pause(&self, policy: &Policy, errno: Errno, tries: &mut Tries) -> Result<u64, Errno> {
        if self.d.killed() {
            return Err(Errno::EINTR);
        }
        let deadline = policy.deadline.0;
        let spent = self.d.now() - tries.started;
        if deadline != 0 && spent >= deadline {
            return Err(errno);
        }
        // Doubles each time up to the maximum; 62 doublings are beyond any.
        let full = policy.backoff_min.0.saturating_mul(1 << tries.passing.min(62)).min(policy.backoff_max.0);
        tries.passing += 1;
        let random = (full as f64 * policy.backoff_jitter.0) as u64;
        let length = full - random + if random == 0 { 0 } else { self.d.below(random + 1) };
        Ok(if deadline == 0 { length } else { length.min(deadline - spent) })
    }
}
