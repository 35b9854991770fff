//! The long-term pin: `pin_user_pages(FOLL_LONGTERM)` under a retry policy.
//!
//! What comes next is for the policy's loop to say ([`decide`](crate::policy::decide));
//! here it is done, and what was seen is said back.

use super::busted::Hooks;
use super::collect::Cursor;
use super::gup::Stopped;
use super::refused::Refused;
use super::{Errno, MigrateMode, Task};
use crate::drive::{Driver, Step, Wait, Waited};
use crate::machine::{Frame, Gfp, Hindrance, Mapping, Obstacle, Pte, Test};
use crate::observe::Event;
use crate::policy::decide::{Cpus, Do, Loop, Over, Pause, Seen, Until, Walk};
use crate::policy::{Entry, Policy};
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

impl<D: Driver> Task<'_, D> {
    /// Long-term pins the range as `io_uring` does with its registered buffers:
    /// through the kernel's entry point, all of it or nothing.
    ///
    /// # Errors
    /// What the policy makes of failures; `EFAULT` where only part of the
    /// range could be pinned (it is given back), `EINTR` if killed.
    #[expect(clippy::inline_always, reason = "the whole fast path is as long as a call of it")]
    #[inline(always)]
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
        let mut policy = Loop::new(request.policy);
        let mut call = Call {
            t: self,
            request,
            touch,
            base: pin.pages.len(),
            pin,
            busted: Hooks::of(request.policy.defect),
            cursor: Cursor::new(Over::Pinned),
            isolated: Vec::new(),
            missed: Vec::new(),
            refused: Refused::default(),
            stopped_at: request.range.start,
            ticket: 0,
        };
        let mut what = policy.begin();
        loop {
            what = policy.next(match what {
                Do::Accept => return Ok(()),
                Do::Fail(errno) => return Err(errno),
                Do::Sweep => call.sweep(),
                Do::Clock => Seen::Now(self.d.now()),
                Do::TakeTurn => call.take_turn(),
                Do::GiveTurn => call.give_turn(),
                Do::Pin(walk) => call.pin(walk),
                Do::AwaitMigration => call.await_migration(),
                Do::Collect(over) => call.collect(over),
                Do::Next => call.next(),
                Do::Look => call.look(),
                Do::Drain(cpus) => call.drain(cpus),
                Do::Isolate => call.isolate(),
                Do::Unpin => call.unpin(),
                Do::Migrate => call.migrate(),
                Do::PutBack => call.put_back(),
                Do::Wait(until, pause) => call.wait(until, pause),
            });
        }
    }
}

impl<D: Driver> Task<'_, D> {
    /// A page that no walk could reach: it is poisoned, or without memory there is none yet.
    #[cold]
    pub(super) fn unreachable_page(&self, errno: Errno, pte: Pte) {
        if pte.is_poison() {
            let by = self.m.hindrance(pte.frame(), Test::Isolation, self.d.id(), 0);
            self.d.hindered(Step::Fault, by);
        } else if errno == Errno::ENOMEM {
            self.d.hindered(Step::Fault, Hindrance { obstacle: Obstacle::NoMemory, page: None });
        }
    }
}

/// A call under way: what the loop's words are about.
pub(super) struct Call<'c, 'r, D> {
    pub(super) t: &'c Task<'c, D>,
    pub(super) request: &'c PinRequest<'r>,
    touch: bool,
    pub(super) pin: &'c mut Pin,
    /// Pins before this one in `pin` are the caller's.
    pub(super) base: usize,
    pub(super) busted: Hooks<D>,
    pub(super) cursor: Cursor,
    /// Pages isolated, each with a reference.
    pub(super) isolated: Vec<Frame>,
    /// Pages of the sweep that must move and could not be isolated, and where they are mapped.
    pub(super) missed: Vec<(u32, Frame)>,
    /// Why pages could not be isolated.
    pub(super) refused: Refused,
    /// The page under migration at which the walk stopped.
    stopped_at: u32,
    ticket: u32,
}

impl<D: Driver> Call<'_, '_, D> {
    fn sweep(&mut self) -> Seen {
        self.pin.sweeps += 1;
        self.t.event(Event::Sweeps);
        self.t.step_at(Step::Sweep);
        if self.t.d.killed() { Seen::Killed } else { Seen::Done }
    }

    fn take_turn(&mut self) -> Seen {
        let (turns, ticket) = (&self.t.m.turns, self.t.m.turns.join(self.t.d.id()));
        self.ticket = ticket;
        if !turns.is_served(ticket) {
            self.t.step_at(Step::WaitTurn);
            if !self.t.d.wait(Wait::Turn(ticket), &|| turns.is_served(ticket)) {
                self.give_turn();
                return Seen::Killed;
            }
        }
        Seen::Done
    }

    fn give_turn(&mut self) -> Seen {
        if let Some(next) = self.t.m.turns.leave(self.ticket) {
            self.t.d.wake(Wait::Turn(next));
        }
        Seen::Done
    }

    fn pin(&mut self, walk: Walk) -> Seen {
        let mut pages = std::mem::take(&mut self.pin.pages);
        let got =
            self.t.get_user_pages(self.request, self.touch, walk, |frame| self.must_move(frame), &mut pages);
        self.pin.pages = pages;
        if let Err(Stopped::Failed(errno)) = got {
            let index = self.request.range.start + (self.pin.pages.len() - self.base) as u32;
            self.t.unreachable_page(errno, self.request.mapping.vma.pte(index));
        }
        match got {
            Err(Stopped::Failed(Errno::EINTR)) => return Seen::Killed,
            Err(Stopped::Failed(errno)) if self.pin.pages.len() == self.base => return Seen::Failed(errno),
            Err(Stopped::Refused) => return Seen::Refused,
            Err(Stopped::Migrating(index)) => {
                self.stopped_at = index;
                return Seen::Migrating;
            }
            // What has been pinned counts: the caller sees a short count.
            Err(Stopped::Failed(_)) | Ok(()) => {}
        }
        self.t.step_at(Step::Pinned);
        let pages = &self.pin.pages[self.base..];
        (self.busted.after_pin)(self.t, pages);
        Seen::Pinned { must_move: pages.iter().any(|&frame| self.must_move(frame)) }
    }

    fn await_migration(&mut self) -> Seen {
        let (mapping, write) = (self.request.mapping, self.request.write);
        match self.t.handle_mm_fault(mapping, &mapping.vma, self.stopped_at, write) {
            Ok(()) => Seen::Done,
            Err(Errno::EINTR) => Seen::Killed,
            Err(errno) => Seen::Failed(errno),
        }
    }

    fn drain(&mut self, cpus: Cpus) -> Seen {
        let frame = self.cursor.frame();
        match cpus {
            Cpus::Local => {
                self.t.lru_add_drain();
                self.t.step(Step::CollectDrainLocal, frame);
            }
            Cpus::All => {
                self.t.lru_add_drain_all(false);
                self.t.step(Step::CollectDrainAll, frame);
            }
        }
        Seen::Done
    }

    fn unpin(&mut self) -> Seen {
        let kept = (self.busted.before_unpin)(self.pin.sweeps);
        let pages = &self.pin.pages[self.base..];
        self.t.unpin_user_pages(&pages[kept.min(pages.len())..]);
        self.pin.pages.truncate(self.base);
        self.t.step_at(Step::Unpinned);
        Seen::Done
    }

    fn migrate(&mut self) -> Seen {
        let result = self.t.migrate_pages(&self.isolated, Gfp::Pin, MigrateMode::Sync);
        let complete = result.is_complete();
        self.isolated = result.left;
        if complete {
            return Seen::Migrated;
        }
        self.t.hindered(result.refused);
        (self.busted.after_migrate)(&mut self.isolated);
        Seen::MigrateFailed { error: result.error, left: !self.isolated.is_empty() }
    }

    fn put_back(&mut self) -> Seen {
        self.t.putback_movable(self.isolated.drain(..));
        Seen::Done
    }

    fn wait(&mut self, until: Until, pause: Pause) -> Seen {
        if self.t.d.killed() {
            return Seen::Killed;
        }
        let drawn = if pause.random == 0 { 0 } else { self.t.d.below(pause.random + 1) };
        let length = pause.least.saturating_add(drawn).min(pause.most);
        match until {
            Until::Time if length == 0 => Seen::Waited { over: true },
            Until::Time => self.pause(length, |_| true),
            // Where the policy has no pauses, for as short as can be: whoever pins them needs
            // the processor.
            Until::Unpinned => self.pause(length.max(1), |call| {
                !call.isolated.iter().any(|&frame| call.t.m.maybe_dma_pinned(call.t.page(frame)))
            }),
            Until::Returned => self.wait_for_return(length),
        }
    }

    fn pause(&self, length: u64, over: impl FnOnce(&Self) -> bool) -> Seen {
        self.t.event(Event::Backoffs);
        self.t.step_at(Step::Backoff);
        if self.t.d.sleep(length) { Seen::Waited { over: over(self) } } else { Seen::Killed }
    }

    /// Until each missed page is on the LRU again or has left the range.
    fn wait_for_return(&self, length: u64) -> Seen {
        let until = self.t.d.now().saturating_add(length);
        // Migration goes through a range in order: with the last page back, so are mostly all.
        for &(index, frame) in self.missed.iter().rev() {
            let (page, vma) = (self.t.page(frame), &self.request.mapping.vma);
            let returned = || page.has(crate::machine::flag::LRU) || vma.pte(index).frame() != frame;
            if returned() {
                continue;
            }
            self.t.event(Event::OwnerWaits);
            self.t.step(Step::WaitOwner, frame);
            match self.t.d.wait_until(Wait::Returned(frame), until, &returned) {
                Waited::Killed => return Seen::Killed,
                Waited::TimedOut => return Seen::Waited { over: false },
                Waited::Ready => {}
            }
        }
        Seen::Waited { over: true }
    }
}
