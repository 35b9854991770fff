//! The entry: what GUP-fast can pin, and the loop for the rest.

use super::call::Pin;
use crate::drive::{Driver, Step};
use crate::machine::{Frame, Hindrance, Obstacle, PageRange};
use crate::observe::Event;
use crate::ops::floor::Task;
use crate::ops::mm::{Lookup, PinRequest};
use crate::policy::{Account, Caller, Coalesce, Entrance, Entry, Errno, Habit, Short};

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
        if self.m.rules.entry == Entry::Fast && self.gup_fast(request, &mut pin.pages) {
            (pin.sweeps, pin.contended) = (1, false);
            return Ok(());
        }
        self.pin_rest(request, self.m.rules.entry == Entry::Fast, pin)
    }

    /// The same by another caller: by its entry, in its chunks, and with what it makes of half a
    /// range ([`Caller::habit`]).
    ///
    /// # Errors
    /// As [`pin_longterm`](Self::pin_longterm); `ENOMEM` and `ENOSPC` beyond a limit of the
    /// caller's. What was pinned before is given back, and stays where it was moved to.
    pub fn pin_longterm_by(
        &self,
        caller: Caller,
        request: &PinRequest<'_>,
        pin: &mut Pin,
    ) -> Result<(), Errno> {
        let result = if caller == Caller::IoUring {
            (pin.over_limit, pin.by) = (None, Lookup::PageTable);
            let pinned = self.pin_longterm(request, pin);
            if pin.pages.first().is_some_and(|&first| self.folio(first).is_large()) {
                self.coalesce(pin);
            }
            pinned.and_then(|()| self.account(caller, pin, 0))
        } else {
            self.pin_in_parts(caller, request, pin)
        };
        if result.is_err() {
            self.unpin_longterm(pin);
            if pin.over_limit.is_none() && self.is_beyond_limit(caller, request) {
                // Whatever came before that.
                pin.over_limit = Some(Obstacle::Memlock);
            }
        }
        result
    }

    /// `io_check_coalesce_buffer`, `io_coalesce_buffer`: of a registered buffer in large folios one pin a
    /// folio stays, if the rules have it so.
    fn coalesce(&self, pin: &mut Pin) {
        let folio = |frame| self.m.memory.head(frame);
        let size = |frame| self.m.folio(frame).nr_pages();
        let one = |pair: &[Frame]| pair[1] == pair[0] + 1 && folio(pair[0]) == folio(pair[1]);
        let next = |pair: &[Frame]| {
            let [before, after] = [pair[0], pair[1]];
            before + 1 == folio(before) + size(before) && after == folio(after) && size(after) == size(before)
        };
        let coalesces = match self.m.rules.coalesce {
            Coalesce::Never => false,
            Coalesce::One => pin.pages.windows(2).all(one),
            Coalesce::Several => pin.pages.windows(2).all(|pair| one(pair) || next(pair)),
        };
        if coalesces {
            let mut kept = Lookup::PageCache.pinned(self.m, &pin.pages).peekable();
            let others = pin.pages.iter().copied().filter(|&frame| kept.next_if_eq(&frame).is_none());
            self.unpin_user_pages(&others.collect::<Vec<_>>());
            pin.by = Lookup::PageCache;
        }
    }

    /// Whether a caller may not keep so many pages, though it has no others.
    fn is_beyond_limit(&self, caller: Caller, request: &PinRequest<'_>) -> bool {
        let Some(account) = caller.habit().account else { return false };
        let named: Vec<_> = request.range.clone().map(|index| request.named(index)).collect();
        // What is not there yet, and a zero page that a store replaces, are pages of their own.
        let own = named.iter().filter(|at| at.is_none_or(|at| request.write && self.m.is_zero(at))).count();
        let there = named.into_iter().flatten().filter(|&at| !(request.write && self.m.is_zero(at)));
        !self.m.accounts.admits(account, own as u64 + self.counted(account, there))
    }

    /// How many pages an account counts of some that are pinned.
    fn counted(&self, account: Account, frames: impl Iterator<Item = Frame>) -> u64 {
        match account {
            // Of a large folio a registered buffer counts every page, and each once.
            Account::UserLocked => {
                let mut heads: Vec<Frame> = frames.map(|frame| self.m.memory.head(frame)).collect();
                heads.sort_unstable();
                heads.dedup();
                heads.into_iter().map(|head| u64::from(self.m.page(head).nr_pages())).sum()
            }
            // A reserved page is nobody's.
            Account::MmLocked => frames.filter(|&frame| !self.m.is_zero(frame)).count() as u64,
            Account::MmPinned | Account::DmaEntries => frames.count() as u64,
        }
    }

    /// A caller gives back what it has pinned, and is charged for it no more.
    pub fn unpin_longterm(&self, pin: &mut Pin) {
        self.unpin(pin.by, &pin.pages);
        pin.pages.clear();
        self.m.accounts.refund(&mut pin.bill);
    }

    /// Calls by a caller's entry, each of as much as it takes, until all is pinned or one fails;
    /// what is pinned then is in `pin`.
    fn pin_in_parts(&self, caller: Caller, request: &PinRequest<'_>, pin: &mut Pin) -> Result<(), Errno> {
        let Habit { entrance, chunk, short, ahead, .. } = caller.habit();
        let request = request.by(caller);
        let PageRange { start, end } = request.range;
        *pin = Pin { pages: Vec::with_capacity(request.range.len()), by: request.by, ..Pin::default() };
        if let Some(account) = ahead {
            self.charge(pin, account, account.of_range(request.range.len() as u64))?;
        }
        let mut part = Pin::default();
        loop {
            let from = pin.pages.len();
            let begin = start + from as u32;
            if begin == end {
                return Ok(());
            }
            let range = begin.to(chunk.map_or(end, |chunk| end.min(begin + chunk)));
            let call = PinRequest { range, ..request.clone() };
            let result = self.pin_user_pages(entrance, &call, &mut part);
            pin.sweeps += part.sweeps;
            pin.contended |= part.contended;
            let complete = part.pages.len() == call.range.len();
            pin.pages.append(&mut part.pages);
            result?;
            if !complete && short == Short::Fails {
                return Err(Errno::EFAULT);
            }
            self.account(caller, pin, from)?;
        }
    }

    /// Charges a caller for what it has pinned from a position on, where that is counted once it
    /// is pinned.
    fn account(&self, caller: Caller, pin: &mut Pin, from: usize) -> Result<(), Errno> {
        let Some(account) = caller.habit().account.filter(|&of| self.m.accounts.is_limited(of)) else {
            return Ok(());
        };
        let pages = self.counted(account, pin.pages[from..].iter().copied());
        self.charge(pin, account, pages)
    }

    fn charge(&self, pin: &mut Pin, account: Account, n: u64) -> Result<(), Errno> {
        if self.m.accounts.charge(&mut pin.bill, account, n) {
            return Ok(());
        }
        let (obstacle, errno) = match account {
            Account::DmaEntries => (Obstacle::DmaEntries, Errno::ENOSPC),
            _ => (Obstacle::Memlock, Errno::ENOMEM),
        };
        pin.over_limit = Some(obstacle);
        self.d.hindered(Step::Pinned, Hindrance { obstacle, page: None });
        Err(errno)
    }

    /// One call by an entry: pins the range, or, with `Ok` too, the first part of it.
    fn pin_user_pages(
        &self,
        entrance: Entrance,
        request: &PinRequest<'_>,
        pin: &mut Pin,
    ) -> Result<(), Errno> {
        pin.pages.clear();
        let fast = match entrance {
            Entrance::Kernel => self.m.rules.entry == Entry::Fast,
            Entrance::Fast => true,
            Entrance::Slow | Entrance::Remote | Entrance::PageCache => false,
        };
        if fast && self.gup_fast(request, &mut pin.pages) {
            (pin.sweeps, pin.contended) = (1, false);
            return Ok(());
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
        pin.sweeps = 0;
        let waits = self.waits();
        let already = pin.pages.len();
        if request.by == Lookup::PageTable {
            self.event(Event::SlowEntries);
        }
        let rest = PinRequest { range: (range.start + already as u32).to(range.end), ..request.clone() };
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
