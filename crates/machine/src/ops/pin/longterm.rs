//! The entry: what GUP-fast can pin, and the loop for the rest.

use super::call::Pin;
use crate::drive::Driver;
use crate::observe::Event;
use crate::ops::floor::Task;
use crate::ops::mm::PinRequest;
use crate::policy::{Entry, Errno};

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
}
