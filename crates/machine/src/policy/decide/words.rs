//! What the loop says and is told.

use crate::policy::Errno;

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Do {
    /// Begin a sweep.
    Sweep,
    /// Read the clock: [`Seen::Now`].
    Clock,
    /// Queue behind the calls that came before, holding nothing, until it is this one's turn.
    TakeTurn,
    /// Let the next in the queue have its turn.
    GiveTurn,
    /// Pin every page of the range.
    Pin(Walk),
    /// Fault in, holding nothing, the page that [`Seen::Migrating`] was about: wait for its migration.
    AwaitMigration,
    /// Go to the first of these pages that must move.
    Collect(Over),
    /// Go to the next of them.
    Next,
    /// Look at the same page again.
    Look,
    /// Drain batches.
    Drain(Cpus),
    /// Isolate the page.
    Isolate,
    /// Drop the pins of the range.
    Unpin,
    /// Migrate what is isolated.
    Migrate,
    /// Put back what is isolated.
    PutBack,
    /// Wait.
    Wait(Until, Pause),
    /// The call succeeds with what is pinned.
    Accept,
    /// The call fails.
    Fail(Errno),
}

/// What was seen when it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It is done.
    Done,
    /// A fatal signal is pending.
    Killed,
    /// Nanoseconds on a clock that never goes back.
    Now(u64),
    /// The range is pinned, as far as it could be.
    Pinned {
        /// Whether some page of it must move.
        must_move: bool,
    },
    /// The walk stopped, with pins held, at a page that must move.
    Refused,
    /// The walk stopped, with pins held, at a page under migration.
    Migrating,
    /// Nothing could be pinned or looked at, for this reason.
    Failed(Errno),
    /// The page that collection has come to.
    Page(PageSeen),
    /// Collection has come to the end.
    NoMore,
    /// Whether the page was isolated.
    Isolated(bool),
    /// Every isolated page was migrated.
    Migrated,
    /// Some were not.
    MigrateFailed {
        /// Why the whole call was aborted, if it was.
        error: Option<Errno>,
        /// Whether any page is left isolated.
        left: bool,
    },
    /// The wait has ended.
    Waited {
        /// Whether what was waited for is so.
        over: bool,
    },
}

/// How a walk treats what it meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walk {
    /// A write fault replaces the zero page.
    pub replace_zero: bool,
    /// It stops at a page under migration rather than wait with pins held.
    pub stop_at_migration: bool,
    /// It stops at a page that must move rather than pin it.
    pub refuse: bool,
}

/// What collection goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// The range, which is pinned.
    Pinned,
    /// What the range maps now; nothing of it is held.
    Mapped,
    /// The same, and what is missing is faulted in first.
    Faulted(Walk),
    /// What is isolated.
    Isolated,
}

/// Whose batches to drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cpus {
    /// This CPU's.
    Local,
    /// All CPUs'.
    All,
}

/// What to wait for, a pause at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Nothing but the time.
    Time,
    /// Every page that could not be isolated is back, or has left the range.
    Returned,
    /// Nobody may pin what is isolated.
    Unpinned,
}

/// The length of a pause in nanoseconds: `least`, and up to `random` more, but not above `most`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// The share that is not drawn.
    pub least: u64,
    /// How much is drawn at random, at most.
    pub random: u64,
    /// What is left until the deadline.
    pub most: u64,
}

/// What a kernel can see of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSeen {
    /// `PG_lru`.
    pub on_lru: bool,
    /// Whether its folio has more than one page: such ones are in no batch.
    pub large: bool,
    /// References beyond the expected ones and those that this call holds.
    pub extra: i32,
    /// The part of them that no whole number of pins makes up.
    pub beyond_pins: i32,
    /// References that this call holds.
    pub own: i32,
    /// The errno for a page whose flags say that it can never be migrated.
    pub permanent: Option<Errno>,
}

/// What a kernel can see of where a page lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaceSeen {
    /// It is the zero page.
    pub zero: bool,
    /// In `ZONE_MOVABLE`.
    pub movable: bool,
    /// In a CMA pageblock.
    pub cma: bool,
}
