//! After collection: what failures mean, and how long to wait.

use super::{At, Do, Drained, Loop, Over, Pause, Seen, Sweep, Then, Until};
use crate::policy::Errno;
use crate::policy::{Empty, FailedErrno, IsolationFailure, MigrationFailure, OtherPinner, Permanent};

impl Loop<'_> {
    pub(super) fn migrate(&mut self) -> Do {
        if self.isolated { self.ask(At::Migrate, Do::Migrate) } else { self.settle(None) }
    }

    pub(super) fn migrated(&mut self, seen: Seen) -> Do {
        let policy = self.policy;
        let (error, left) = match seen {
            Seen::Migrated => {
                self.isolated = false;
                return self.settle(None);
            }
            Seen::MigrateFailed { error, left } => (error, left),
            seen => unreachable!("{seen:?} after a migration"),
        };
        self.isolated = left;
        self.migration_failures = self.migration_failures.saturating_add(1);
        if policy.migration_failure == MigrationFailure::Accept {
            self.accepting = true;
            return self.let_go(Then::PinAsItIs);
        }
        let errno = match policy.migrate_errno {
            FailedErrno::Enomem => Errno::ENOMEM,
            FailedErrno::Own => error.unwrap_or(Errno::EBUSY),
        };
        let permanent = policy.permanent == Permanent::Report && error == Some(Errno::ENOMEM);
        if permanent || policy.migrate_retries.exceeded_by(self.migration_failures) {
            self.fail(errno)
        } else if policy.other_pinner == OtherPinner::Wait && left {
            // The pages stay isolated: nobody else begins to fight for them, and passing
            // pins on them go away.
            self.pause(Until::Unpinned, errno)
        } else {
            self.let_go(Then::Settle(Some(errno)))
        }
    }

    /// The sweep is over, and `failed` to migrate: does the call go on?
    pub(super) fn settle(&mut self, failed: Option<Errno>) -> Do {
        let policy = self.policy;
        let Sweep { found, missed, .. } = self.sweep;
        let counts = missed && policy.isolation_failure == IsolationFailure::Count;
        if counts || (!found && policy.empty == Empty::IsolationFailure) {
            self.isolation_failures = self.isolation_failures.saturating_add(1);
            if policy.isolate_retries.exceeded_by(self.isolation_failures) {
                return self.fail(Errno::EBUSY);
            }
        }
        self.let_go(match failed {
            Some(errno) => Then::Pause(Until::Time, errno),
            None if missed && policy.other_pinner == OtherPinner::Wait => {
                Then::Pause(Until::Returned, Errno::EBUSY)
            }
            None if missed || !found => Then::Pause(Until::Time, Errno::EBUSY),
            None => Then::Sweep,
        })
    }

    pub(super) fn has_deadline(&self) -> bool {
        self.policy.deadline.0 != 0
    }

    /// Nanoseconds left until the deadline.
    pub(super) fn left(&self, now: u64) -> u64 {
        self.policy.deadline.0.saturating_sub(now.saturating_sub(self.started))
    }

    pub(super) fn pause(&mut self, until: Until, errno: Errno) -> Do {
        if self.has_deadline() {
            return self.ask(At::PauseClock(until, errno), Do::Clock);
        }
        self.wait(until, errno, u64::MAX)
    }

    pub(super) fn wait(&mut self, until: Until, errno: Errno, most: u64) -> Do {
        let policy = self.policy;
        let full = match until {
            // Off the LRU after a drain of all CPUs, a page is isolated, and whoever has it says when it is back.
            Until::Returned if self.sweep.drained == Drained::All => policy.backoff_max.0,
            Until::Time | Until::Returned | Until::Unpinned => self.backoff(),
        };
        let random = (full as f64 * policy.backoff_jitter.0) as u64;
        self.ask(At::Wait(until, errno), Do::Wait(until, Pause { least: full - random, random, most }))
    }

    /// The next pause of somebody who has to look again: twice the last one, up to the maximum.
    fn backoff(&mut self) -> u64 {
        // 62 doublings are beyond any.
        let doubled = self.policy.backoff_min.0.saturating_mul(1 << self.pauses.min(62));
        self.pauses = self.pauses.saturating_add(1);
        doubled.min(self.policy.backoff_max.0)
    }

    pub(super) fn waited(&mut self, until: Until, errno: Errno, over: bool) -> Do {
        match until {
            Until::Time => self.sweep(),
            Until::Returned => {
                self.overdue = !over;
                self.sweep()
            }
            // To try before would only burn the migration's passes.
            Until::Unpinned if !over => self.pause(until, errno),
            Until::Unpinned => {
                // They may have been put into a batch after collection looked at them.
                self.sweep.drained = Drained::No;
                self.go_through(Over::Isolated)
            }
        }
    }
}
