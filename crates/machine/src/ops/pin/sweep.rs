//! Carrying out what the policy's loop says.

use super::call::{Call, Pin};
use crate::drive::{Driver, Step, Wait, Waited};
use crate::machine::{Gfp, Hindrance, Obstacle, ZoneKind, flag};
use crate::observe::Event;
use crate::ops::floor::Task;
use crate::ops::migrate::MigrateMode;
use crate::ops::mm::{Access, Lookup, PinRequest, Stopped};
use crate::policy::decide::{Cpus, Do, Loop, Pause, Seen, Until, Walk};
use crate::policy::{Errno, Permanent};

impl<D: Driver> Task<'_, D> {
    /// `__gup_longterm_locked`: sweeps until nothing must move or the policy
    /// gives up. Pages are appended to `pin`; on an error none of them stays.
    pub(super) fn gup_longterm_locked(
        &self,
        request: &PinRequest<'_>,
        touch: bool,
        pin: &mut Pin,
    ) -> Result<(), Errno> {
        let mut policy = Loop::new(request.policy);
        let mut call = Call::new(self, request, touch, pin);
        let mut what = policy.begin();
        loop {
            what = policy.next(match what {
                Do::Accept => {
                    call.count_pinned();
                    return Ok(());
                }
                Do::Fail(errno) => return Err(errno),
                Do::Sweep => call.sweep(),
                Do::Clock => Seen::Now(self.d.now()),
                Do::TakeTurn => call.take_turn(),
                Do::GiveTurn => call.give_turn(),
                Do::Pin(walk) => {
                    let seen = call.pin(walk);
                    if matches!(seen, Seen::Pinned { .. }) && call.loses_its_pins() {
                        return Err(Errno::ENOMEM);
                    }
                    seen
                }
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

/// `PAGE_ALLOC_COSTLY_ORDER`: what is no larger is waited for, whatever it takes.
const COSTLY_ORDER: u32 = 3;

/// Order of an array of pointers to so many folios.
fn array_order(folios: usize) -> u32 {
    const IN_A_PAGE: usize = 4096 / size_of::<u64>();
    folios.div_ceil(IN_A_PAGE).next_power_of_two().trailing_zeros()
}

impl<D: Driver> Call<'_, '_, D> {
    fn sweep(&mut self) -> Seen {
        self.pin.sweeps += 1;
        self.t.event(Event::Sweeps);
        self.t.step_at(Step::Sweep);
        if self.t.killed() { Seen::Killed } else { Seen::Done }
    }

    fn take_turn(&mut self) -> Seen {
        let (turns, ticket) = (&self.t.m.turns, self.t.m.turns.join(self.t.d.id()));
        self.ticket = ticket;
        if !turns.is_served(ticket) {
            self.t.event(Event::TurnWaits);
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
        if self.pinning_since.replace(self.t.d.now()).is_none() {
            self.t.m.passing.enter();
        }
        let mut pages = std::mem::take(&mut self.pin.pages);
        let must_move = |frame| self.must_move(frame);
        let got = match self.request.by {
            Lookup::PageTable => self.t.get_user_pages(self.request, self.touch, walk, must_move, &mut pages),
            Lookup::PageCache => self.t.pin_cached(self.request, walk, must_move, &mut pages),
        };
        self.pin.pages = pages;
        if let Err(Stopped::Failed(errno)) = got {
            let index = self.request.range.start + (self.pin.pages.len() - self.base) as u32;
            self.unreachable_page(errno, index);
        }
        match got {
            Err(Stopped::Failed(Errno::EINTR)) => return Seen::Killed,
            // A part is none of `memfd_pin_folios`'s.
            Err(Stopped::Failed(errno))
                if self.pin.pages.len() == self.base || self.request.by == Lookup::PageCache =>
            {
                return Seen::Failed(errno);
            }
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

    /// 6.11 keeps a range's folios in an array of its own, and forgets the pins where there is no
    /// memory for that. An allocation that is not costly does not fail.
    fn loses_its_pins(&mut self) -> bool {
        let m = self.t.m;
        let pages = &self.pin.pages[self.base..];
        let order = array_order(pages.len());
        let lost =
            m.rules.folio_array_leaks && order > COSTLY_ORDER && !m.memory.has_block(ZoneKind::Normal, order);
        if lost {
            m.leak(self.request.by.pinned(m, pages));
            self.pin.pages.truncate(self.base);
            self.count_pinned();
            self.t.d.hindered(Step::Pinned, Hindrance { obstacle: Obstacle::NoMemory, page: None });
        }
        lost
    }

    fn await_migration(&mut self) -> Seen {
        let (mapping, write) = (self.request.mapping, self.request.write);
        match self.t.handle_mm_fault(mapping, &mapping.vma, self.stopped_at, Access::of(write)) {
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

    /// The time from the first pin of the sweep until now.
    fn count_pinned(&mut self) {
        if let Some(since) = self.pinning_since.take() {
            self.t.m.passing.leave();
            self.t.count.add(Event::PinnedNs, self.t.d.now() - since);
        }
    }

    fn unpin(&mut self) -> Seen {
        let kept = (self.busted.before_unpin)(self.pin.sweeps);
        let pages = &self.pin.pages[self.base..];
        self.t.unpin(self.request.by, &pages[kept.min(pages.len())..]);
        self.pin.pages.truncate(self.base);
        self.count_pinned();
        self.t.step_at(Step::Unpinned);
        Seen::Done
    }

    fn migrate(&mut self) -> Seen {
        // Who reports at once what lasts asks for a target that may fail.
        let report = self.request.policy.permanent == Permanent::Report;
        let gfp = if report { Gfp::PinMayFail } else { Gfp::Pin };
        let result = self.t.migrate_pages(&self.isolated, gfp, MigrateMode::Sync);
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
        if self.t.killed() {
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
                !call.isolated.iter().any(|&frame| call.t.m.maybe_dma_pinned(call.t.folio(frame)))
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
            let (page, request) = (self.t.folio(frame), self.request);
            let returned = || page.has(flag::LRU) || request.named(index) != Some(frame);
            if returned() {
                continue;
            }
            self.t.event(Event::OwnerWaits);
            self.t.step(Step::WaitOwner, frame);
            match self.t.d.wait_until(Wait::Returned(self.t.head(frame)), until, &returned) {
                Waited::Killed => return Seen::Killed,
                Waited::TimedOut => return Seen::Waited { over: false },
                Waited::Ready => {}
            }
        }
        Seen::Waited { over: true }
    }
}
