//! The entry: what GUP-fast can pin, and the loop for the rest.

use super::call::Pin;
use crate::drive::Driver;
use crate::observe::Event;
use crate::ops::floor::Task;
use crate::ops::mm::{Lookup, PinRequest};
use crate::policy::{Caller, Entrance, Entry, Errno, Habit, Short};
use std::ops::Range;

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
        pin.sweeps = 0;
        if self.m.rules.entry == Entry::Fast {
            self.gup_fast(request, &mut pin.pages);
            if pin.pages.len() == request.range.len() {
                pin.sweeps = 1;
                return Ok(());
            }
        }
        self.pin_rest(request, self.m.rules.entry == Entry::Fast, pin)
    }

    /// The same by another caller: by its entry, in its chunks, and with what it makes of half a
    /// range ([`Caller::habit`]).
    ///
    /// # Errors
    /// As [`pin_longterm`](Self::pin_longterm); what was pinned before is given back, and stays
    /// where it was moved to.
    pub fn pin_longterm_by(
        &self,
        caller: Caller,
        request: &PinRequest<'_>,
        pin: &mut Pin,
    ) -> Result<(), Errno> {
        if caller == Caller::IoUring {
            return self.pin_longterm(request, pin);
        }
        let Habit { entrance, chunk, short } = caller.habit();
        let request = request.by(caller);
        let Range { start, end } = request.range;
        let mut all =
            Pin { pages: Vec::with_capacity(request.range.len()), by: request.by, ..Pin::default() };
        let result = loop {
            let begin = start + all.pages.len() as u32;
            if begin == end {
                break Ok(());
            }
            let part = begin..chunk.map_or(end, |chunk| end.min(begin + chunk));
            let call = PinRequest { range: part, ..request.clone() };
            let result = self.pin_user_pages(entrance, &call, pin);
            all.sweeps += pin.sweeps;
            all.contended |= pin.contended;
            let complete = pin.pages.len() == call.range.len();
            all.pages.append(&mut pin.pages);
            match result {
                Ok(()) if complete || short == Short::GoesOn => {}
                Ok(()) => break Err(Errno::EFAULT),
                Err(errno) => break Err(errno),
            }
        };
        if result.is_err() {
            self.unpin(request.by, &all.pages);
            all.pages.clear();
        }
        *pin = all;
        result
    }

    /// One call by an entry: pins the range, or, with `Ok` too, the first part of it.
    fn pin_user_pages(
        &self,
        entrance: Entrance,
        request: &PinRequest<'_>,
        pin: &mut Pin,
    ) -> Result<(), Errno> {
        (pin.sweeps, pin.contended) = (0, false);
        pin.pages.clear();
        let fast = match entrance {
            Entrance::Kernel => self.m.rules.entry == Entry::Fast,
            Entrance::Fast => true,
            Entrance::Slow | Entrance::Remote | Entrance::PageCache => false,
        };
        if fast {
            self.gup_fast(request, &mut pin.pages);
            if pin.pages.len() == request.range.len() {
                pin.sweeps = 1;
                return Ok(());
            }
        }
        self.pin_further(request, fast || entrance == Entrance::Remote, pin)
    }

    /// Long-term pins what GUP-fast has left of the range, all of it or nothing. Out of line, so
    /// that the way of a pin that needs none of this stays short.
    #[inline(never)]
    fn pin_rest(&self, request: &PinRequest<'_>, touch: bool, pin: &mut Pin) -> Result<(), Errno> {
        let result = self.pin_further(request, touch, pin);
        if result.is_ok() && pin.pages.len() < request.range.len() {
            // Part of the range is pinned: the caller sees a short count.
            self.unpin(request.by, &pin.pages);
            pin.pages.clear();
            return Err(Errno::EFAULT);
        }
        result
    }

    /// Long-term pins what is left of the range, or the first part of it. On an error nothing is
    /// pinned, also not what GUP-fast had.
    fn pin_further(&self, request: &PinRequest<'_>, touch: bool, pin: &mut Pin) -> Result<(), Errno> {
        let range = &request.range;
        let waits = self.waits();
        let already = pin.pages.len();
        if request.by == Lookup::PageTable {
            self.event(Event::SlowEntries);
        }
        let rest = PinRequest { range: range.start + already as u32..range.end, ..request.clone() };
        let result = self.memalloc_pin(|| self.gup_longterm_locked(&rest, touch, pin));
        pin.contended = pin.sweeps > 1 || self.waits() != waits;
        match result {
            Err(errno) if already == 0 || errno == Errno::EINTR => {
                self.unpin(request.by, &pin.pages);
                pin.pages.clear();
                Err(errno)
            }
            _ => Ok(()),
        }
    }

    /// How often this task has met others so far.
    fn waits(&self) -> u64 {
        [
            Event::IsolateBusy,
            Event::LockWaits,
            Event::MigrationWaits,
            Event::DrainWaits,
            Event::OwnerWaits,
            Event::TurnWaits,
        ]
        .into_iter()
        .map(|event| self.count.get(event))
        .sum()
    }
}
