//! The entry: what GUP-fast can pin, and the loop for the rest.

use super::call::Pin;
use crate::drive::Driver;
use crate::observe::Event;
use crate::ops::floor::Task;
use crate::ops::mm::PinRequest;
use crate::policy::{Entry, Errno};

/// Who pins: by which entry, and how much at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// A registered buffer of `io_uring`: by the kernel's entry, all at once.
    IoUring,
    /// VFIO type 1: `pin_user_pages_remote`, which has no fast path, 512 pages at a time
    /// (`VFIO_BATCH_MAX_CAPACITY`), each with sweeps of its own.
    Vfio,
}

impl Caller {
    const VFIO_CHUNK: u32 = 512;
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

    /// The same by another caller: by his entry, and in his chunks.
    ///
    /// # Errors
    /// As [`pin_longterm`](Self::pin_longterm); what earlier chunks have pinned is given back.
    pub fn pin_longterm_by(
        &self,
        caller: Caller,
        request: &PinRequest<'_>,
        pin: &mut Pin,
    ) -> Result<(), Errno> {
        if caller == Caller::IoUring {
            return self.pin_longterm(request, pin);
        }
        let mut pages = Vec::with_capacity(request.range.len());
        let (mut sweeps, mut contended) = (0, false);
        let mut begin = request.range.start;
        while begin < request.range.end {
            let end = request.range.end.min(begin + Caller::VFIO_CHUNK);
            let chunk = PinRequest { range: begin..end, ..request.clone() };
            (pin.sweeps, pin.contended) = (0, false);
            pin.pages.clear();
            // `pin_user_pages_remote` marks pages accessed, as the fast entry does.
            let result = self.pin_rest(&chunk, true, pin);
            sweeps += pin.sweeps;
            contended |= pin.contended;
            if let Err(errno) = result {
                self.unpin_user_pages(&pages);
                (pin.sweeps, pin.contended) = (sweeps, contended);
                return Err(errno);
            }
            pages.append(&mut pin.pages);
            begin = end;
        }
        *pin = Pin { pages, sweeps, contended };
        Ok(())
    }

    /// Long-term pins what GUP-fast has left of the range. Out of line, so that
    /// the way of a pin that needs none of this stays short.
    #[inline(never)]
    fn pin_rest(&self, request: &PinRequest<'_>, touch: bool, pin: &mut Pin) -> Result<(), Errno> {
        let range = &request.range;
        let waits = self.waits();
        let already = pin.pages.len();
        self.event(Event::SlowEntries);
        let rest = PinRequest { range: range.start + already as u32..range.end, ..request.clone() };
        let result = self.memalloc_pin(|| self.gup_longterm_locked(&rest, touch, pin));
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
