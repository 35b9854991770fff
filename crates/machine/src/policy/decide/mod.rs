//! The loop of a long-term pin, as decisions only.
//!
//! [`Loop`] is told what was [`Seen`] and says what to [`Do`] next. It is the
//! one place where a [`Policy`]'s axes are read: whoever carries out what it
//! says (`ops`) decides nothing. It touches no machine, no clock and no random
//! numbers, so every combination of axes can be tried without any.
//!
//! # One sweep
//!
//! `look = after-pin`, as every kernel has it:
//!
//! 1. [`Do::Sweep`], and the call's turn where waiters have an order.
//! 2. [`Do::Pin`] the whole range. None of it must move: [`Do::Accept`].
//! 3. [`Do::Collect`]: for each page that must move, [`Do::Drain`] by rule and
//!    [`Do::Isolate`]; before or after [`Do::Unpin`] by `order`.
//! 4. [`Do::Unpin`]; a drain of all CPUs that was put off (`drain_when`).
//! 5. [`Do::Migrate`] what was isolated; what that means, by the axes of failure.
//! 6. [`Do::Wait`] if it failed for a reason that may pass; the next sweep.
//!
//! `look = before-pin` goes through 3 and 5 first, without any pin, and pins
//! only when nothing must move: a page that must meanwhile ends the sweep.
//!
//! # What holds at every [`Do`]
//!
//! - [`Do::Wait`] and [`Do::TakeTurn`] come without pins. Isolated pages are kept only
//!   while their own pins are waited for ([`Until::Unpinned`]), and a turn only with them.
//! - [`Do::Fail`] comes with nothing held, [`Do::Accept`] with pins only.
//! - With a deadline, no loop outlasts it by more than the sweep under way.
//! - `EAGAIN` is never a reason to fail: a migration in the way is waited for.

use super::{Look, OtherPinner, Policy, Scope, SweepOrder, Waiters, ZeroPage};
use crate::policy::Errno;

mod collect;
mod settle;
mod words;

pub use words::{Cpus, Do, Over, PageSeen, Pause, PlaceSeen, Seen, Until, Walk};

impl Policy {
    /// Whether a page may not be pinned where it is: `!folio_is_longterm_pinnable`.
    #[inline]
    pub fn must_move(&self, place: PlaceSeen) -> bool {
        if place.zero {
            return self.zero_page != ZeroPage::Pinnable;
        }
        // Most pages lie where any may be pinned.
        (place.movable | place.cma) && (place.cma || self.scope == Scope::MovableAndCma)
    }
}

/// How far the batches have been drained in this sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drained {
    No,
    Local,
    All,
}

/// What the loop waits to be told about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Begin,
    Sweep,
    SweepClock,
    Turn,
    Pin,
    AwaitMigration,
    Collect(Over),
    Unpinned,
    DrainedUnpinned,
    Migrate,
    PauseClock(Until, Errno),
    Wait(Until, Errno),
    LettingGo(Then),
    Over,
}

/// What comes when all has been let go of that it must not find held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Sweep,
    PinAsItIs,
    AwaitMigration,
    Settle(Option<Errno>),
    Pause(Until, Errno),
    Accept,
    Fail(Errno),
}

/// What one sweep has come to so far.
#[derive(Debug, Clone, Copy)]
struct Sweep {
    /// It began after the deadline: if it does not end the call, nothing will.
    late: bool,
    drained: Drained,
    /// All CPUs are to be drained once the range is unpinned.
    put_off: bool,
    /// Some page was isolated; some could not be.
    found: bool,
    missed: bool,
    permanent: Option<Errno>,
}

impl Sweep {
    const NEW: Self = Self {
        late: false,
        drained: Drained::No,
        put_off: false,
        found: false,
        missed: false,
        permanent: None,
    };
}

/// One call's way through its policy.
#[derive(Debug, Clone)]
pub struct Loop<'p> {
    policy: &'p Policy,
    at: At,
    // What the call holds.
    pins: bool,
    isolated: bool,
    turn: bool,
    started: u64,
    isolation_failures: u32,
    migration_failures: u32,
    pauses: u32,
    /// Pages in another's hands were last waited for in vain: they may sit in another CPU's batch.
    overdue: bool,
    /// The policy takes the range as it is from here on.
    accepting: bool,
    sweep: Sweep,
}

impl<'p> Loop<'p> {
    /// A call that has yet to begin.
    pub fn new(policy: &'p Policy) -> Self {
        Self {
            policy,
            at: At::Begin,
            pins: false,
            isolated: false,
            turn: false,
            started: 0,
            isolation_failures: 0,
            migration_failures: 0,
            pauses: 0,
            overdue: false,
            accepting: false,
            sweep: Sweep::NEW,
        }
    }

    /// The first thing to do.
    pub fn begin(&mut self) -> Do {
        debug_assert_eq!(self.at, At::Begin, "a call begins once");
        if self.has_deadline() { Do::Clock } else { self.sweep() }
    }

    /// What to do after what was seen.
    ///
    /// # Panics
    /// If that cannot be seen after what was last to be done.
    pub fn next(&mut self, seen: Seen) -> Do {
        match (self.at, seen) {
            (_, Seen::Killed) => self.fail(Errno::EINTR),
            (At::Begin, Seen::Now(now)) => {
                self.started = now;
                self.sweep()
            }
            (At::Sweep, Seen::Done) if self.has_deadline() => self.ask(At::SweepClock, Do::Clock),
            (At::Sweep, Seen::Done) => self.queue(),
            (At::SweepClock, Seen::Now(now)) => {
                self.sweep.late = self.left(now) == 0;
                self.queue()
            }
            (At::Turn, Seen::Done) => {
                self.turn = true;
                self.look_or_pin()
            }
            (At::Pin, seen) => self.pinned(seen),
            (At::AwaitMigration, Seen::Done) => self.sweep(),
            (At::AwaitMigration, Seen::Failed(errno)) => self.fail(errno),
            (At::Collect(over), seen) => self.collect(over, seen),
            (At::Unpinned, Seen::Done) => self.unpinned(),
            (At::DrainedUnpinned, Seen::Done) => self.migrate(),
            (At::Migrate, seen) => self.migrated(seen),
            (At::PauseClock(until, errno), Seen::Now(now)) => match self.left(now) {
                0 => self.fail(errno),
                left => self.wait(until, errno, left),
            },
            (At::Wait(until, errno), Seen::Waited { over }) => self.waited(until, errno, over),
            (At::LettingGo(then), Seen::Done) => self.let_go(then),
            (at, seen) => unreachable!("{seen:?} cannot be seen at {at:?}"),
        }
    }

    fn ask(&mut self, at: At, what: Do) -> Do {
        self.at = at;
        what
    }

    /// Lets go of what `then` must not find held, one thing at a time, and goes there.
    fn let_go(&mut self, then: Then) -> Do {
        self.at = At::LettingGo(then);
        if then != Then::Accept && std::mem::take(&mut self.pins) {
            return Do::Unpin;
        }
        if std::mem::take(&mut self.isolated) {
            return Do::PutBack;
        }
        let same_turn = matches!(then, Then::PinAsItIs | Then::Settle(_));
        if !same_turn && std::mem::take(&mut self.turn) {
            return Do::GiveTurn;
        }
        match then {
            Then::Sweep => self.sweep(),
            Then::PinAsItIs => self.pin(),
            Then::AwaitMigration => self.ask(At::AwaitMigration, Do::AwaitMigration),
            Then::Settle(failed) => self.settle(failed),
            Then::Pause(until, errno) => self.pause(until, errno),
            Then::Accept => self.ask(At::Over, Do::Accept),
            Then::Fail(errno) => self.ask(At::Over, Do::Fail(errno)),
        }
    }

    fn fail(&mut self, errno: Errno) -> Do {
        self.let_go(Then::Fail(errno))
    }

    // ------------------------------------------------------------ one sweep

    fn sweep(&mut self) -> Do {
        self.sweep = Sweep::NEW;
        self.ask(At::Sweep, Do::Sweep)
    }

    fn queue(&mut self) -> Do {
        match self.policy.waiters {
            Waiters::None => self.look_or_pin(),
            Waiters::Ticket => self.ask(At::Turn, Do::TakeTurn),
        }
    }

    fn look_or_pin(&mut self) -> Do {
        match self.policy.look {
            Look::BeforePin if !self.accepting => self.go_through(Over::Faulted(self.walk())),
            _ => self.pin(),
        }
    }

    fn walk(&self) -> Walk {
        Walk {
            replace_zero: self.policy.zero_page == ZeroPage::WriteFault,
            // Pins on the pages before it would hold up their migration.
            stop_at_migration: self.policy.other_pinner == OtherPinner::Wait,
            refuse: self.policy.look == Look::BeforePin && !self.accepting,
        }
    }

    fn pin(&mut self) -> Do {
        self.pins = true;
        self.ask(At::Pin, Do::Pin(self.walk()))
    }

    fn pinned(&mut self, seen: Seen) -> Do {
        match seen {
            Seen::Failed(errno) => {
                self.pins = false;
                self.fail(errno)
            }
            Seen::Pinned { must_move } if !must_move || self.accepting => self.let_go(Then::Accept),
            Seen::Pinned { .. } | Seen::Refused | Seen::Migrating if self.sweep.late => {
                self.fail(Errno::EBUSY)
            }
            Seen::Pinned { .. } => match self.policy.order {
                SweepOrder::IsolateWhilePinned => self.go_through(Over::Pinned),
                SweepOrder::UnpinFirst => self.unpin(),
            },
            Seen::Refused => self.let_go(Then::Sweep),
            Seen::Migrating => self.let_go(Then::AwaitMigration),
            seen => unreachable!("{seen:?} after a pin"),
        }
    }

    fn unpin(&mut self) -> Do {
        self.pins = false;
        self.ask(At::Unpinned, Do::Unpin)
    }

    fn unpinned(&mut self) -> Do {
        if self.policy.order == SweepOrder::UnpinFirst {
            self.go_through(Over::Mapped)
        } else if self.sweep.put_off {
            self.ask(At::DrainedUnpinned, Do::Drain(Cpus::All))
        } else {
            self.migrate()
        }
    }
}
