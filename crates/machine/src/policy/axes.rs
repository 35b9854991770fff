//! The axes of a retry policy.

use crate::data::{Count, Ns, Share};
use crate::{table, words};

words! {
    /// Which pages must be moved out before they may be pinned.
    pub enum Scope {
        /// `ZONE_MOVABLE` and CMA (since 5.13).
        MovableAndCma = "movable+cma",
        /// CMA only (5.2 to 5.12).
        Cma = "cma",
    }
}

words! {
    /// When per-CPU batches are drained during collection, at most once each a sweep.
    pub enum DrainRule {
        /// Not at all.
        Never = "never",
        /// `lru_add_drain_all` once every sweep that found a page to move.
        All = "all",
        /// `lru_add_drain_all` if a page to move has `PG_lru` clear (5.2 to 6.16).
        AllIfOffLru = "all-if-off-lru",
        /// This CPU, then all, if refcount ≠ expected + 1; the caller's own pin
        /// counts as extra, so this is always so (6.17).
        ExtraRefsNaive = "extra-refs-naive",
        /// This CPU, then all, if refcount ≠ expected + the caller's own pin (7.2).
        ExtraRefs = "extra-refs",
        /// As `extra-refs`, but only for an extra reference that a batch can
        /// hold; for a page off the LRU all only after it was waited for in vain.
        WhereBatched = "where-batched",
    }
}

words! {
    /// Whether the range stays pinned while its pages are isolated.
    pub enum SweepOrder {
        /// Isolate first, then drop the pins (5.13 on).
        IsolateWhilePinned = "isolate-while-pinned",
        /// Drop the pins of the range, then isolate (v4 of December 2020).
        UnpinFirst = "unpin-first",
    }
}

words! {
    /// What one page's failed isolation does to the sweep.
    pub enum IsolationFailure {
        /// Skipped; the next sweep sees the page again (5.13 on).
        Skip = "skip",
        /// Counts towards `isolate_retries`, once a sweep.
        Count = "count",
    }
}

words! {
    /// What a sweep means that found pages to move but isolated none of them.
    pub enum Empty {
        /// Start over.
        Retry = "retry",
        /// Success: the pages stay pinned where they are (5.2 to 5.12, 6.14).
        Success = "success",
        /// An isolation failure like any other.
        IsolationFailure = "isolation-failure",
    }
}

words! {
    /// What a migration failure means.
    pub enum MigrationFailure {
        /// Counts towards `migrate_retries`; beyond it the call fails.
        Count = "count",
        /// Pin the range as it is and return success (5.2 to 5.12).
        Accept = "accept",
    }
}

words! {
    /// Which errno a failed migration becomes.
    pub enum FailedErrno {
        /// `-ENOMEM` always (5.13 on).
        Enomem = "ENOMEM",
        /// Its own; a number of pages left over becomes `-EBUSY`.
        Own = "own",
    }
}

words! {
    /// How the zero page counts.
    pub enum ZeroPage {
        /// It may be pinned where it is (5.13 on).
        Pinnable = "pinnable",
        /// It must be migrated like any page, which cannot be done.
        MustMove = "must-move",
        /// A write fault replaces it before anything is pinned (v4).
        WriteFault = "write-fault",
    }
}

words! {
    /// What an obstacle does that the kernel can see to be permanent.
    pub enum Permanent {
        /// Nothing special.
        Retry = "retry",
        /// The call fails at once with the obstacle's own errno.
        Report = "report",
    }
}

words! {
    /// What to do about a page that someone else has isolated or is migrating.
    pub enum OtherPinner {
        /// Start the next sweep at once and pin it again.
        Contend = "contend",
        /// Wait, without a pin on the page, until it is back.
        Wait = "wait",
    }
}

words! {
    /// When all CPUs are drained, where the rule wants it.
    pub enum DrainWhen {
        /// During collection, with the range pinned if `order` has it so (every kernel).
        Pinned = "pinned",
        /// After the range was unpinned: nobody meets passing pins for as long as a drain takes.
        Unpinned = "unpinned",
    }
}

words! {
    /// When it is seen that a page must move.
    pub enum Look {
        /// When it is pinned (every kernel).
        AfterPin = "after-pin",
        /// Before anything is pinned: under the page-table lock, where it is isolated too.
        BeforePin = "before-pin",
    }
}

words! {
    /// In which order calls that cannot go the fast way take their sweeps.
    pub enum Waiters {
        /// None (every kernel).
        None = "none",
        /// First come, first served: one sweep at a time.
        Ticket = "ticket",
    }
}

words! {
    /// A deliberate fault in the loop, by which a detector is shown to fire.
    pub enum Defect {
        /// None.
        None = "none",
        /// Success is returned whatever the pages are.
        Accept = "accept",
        /// The first page of a range that is unpinned keeps its pin.
        LeakPin = "leak-pin",
        /// A page that was isolated is not put back when its migration failed.
        LosePage = "lose-page",
        /// A page's lock is taken and never released.
        HoldLock = "hold-lock",
        /// The locks of a range's first and last page are taken in an order that depends on the thread.
        WaitCycle = "wait-cycle",
    }
}

table! {
    /// A retry policy for `pin_user_pages(FOLL_LONGTERM)`.
    pub struct Policy {
        /// Name in tables and results.
        key name: String,
        /// What it is, one sentence.
        key summary: String,
        /// Where it comes from: commit, patch series or proposal.
        key source: String,
        /// Pages that must be moved before they are pinned.
        key scope: Scope,
        /// When batches are drained.
        key drain: DrainRule,
        /// When all CPUs are drained.
        key drain_when: DrainWhen,
        /// When it is seen that a page must move.
        key look: Look,
        /// Whether the range stays pinned while isolating.
        key order: SweepOrder,
        /// What a page's failed isolation does.
        key isolation_failure: IsolationFailure,
        /// Sweeps that may fail to isolate before the call fails with EBUSY.
        key isolate_retries: Count,
        /// What a sweep means that isolated nothing.
        key empty: Empty,
        /// What a failed migration does.
        key migration_failure: MigrationFailure,
        /// Migrations that may fail before the call fails.
        key migrate_retries: Count,
        /// The errno of a failed migration.
        key migrate_errno: FailedErrno,
        /// How the zero page counts.
        key zero_page: ZeroPage,
        /// What a visibly permanent obstacle does.
        key permanent: Permanent,
        /// What a page in another's hands does.
        key other_pinner: OtherPinner,
        /// In which order calls take their sweeps.
        key waiters: Waiters,
        /// First pause of who has to look again whether a passing reason is gone.
        key backoff_min: Ns,
        /// Longest such pause, each being twice the one before; and of a wait that somebody ends.
        key backoff_max: Ns,
        /// Share of each pause that is drawn at random.
        key backoff_jitter: Share,
        /// Time after which a passing reason is final; none: never.
        key deadline: Ns,
        /// A deliberate fault, for testing the tester.
        key defect: Defect,
    } => policy_keys
}

impl Policy {
    /// Stands for keys that no preset has given yet; every preset gives them all.
    pub fn blank() -> Self {
        Self {
            name: String::new(),
            summary: String::new(),
            source: String::new(),
            scope: Scope::MovableAndCma,
            drain: DrainRule::Never,
            drain_when: DrainWhen::Pinned,
            look: Look::AfterPin,
            order: SweepOrder::IsolateWhilePinned,
            isolation_failure: IsolationFailure::Skip,
            isolate_retries: Count::Unlimited,
            empty: Empty::Retry,
            migration_failure: MigrationFailure::Count,
            migrate_retries: Count::AtMost(0),
            migrate_errno: FailedErrno::Enomem,
            zero_page: ZeroPage::Pinnable,
            permanent: Permanent::Retry,
            other_pinner: OtherPinner::Contend,
            waiters: Waiters::None,
            backoff_min: Ns(0),
            backoff_max: Ns(0),
            backoff_jitter: Share(0.0),
            deadline: Ns(0),
            defect: Defect::None,
        }
    }
}
