//! The long-term pin: `pin_user_pages(FOLL_LONGTERM)` under a retry policy.
//!
//! One sweep: pin the range (`gup`) · find the pages that must move; none:
//! done · drain by rule and isolate what can be isolated (`collect`) · unpin
//! the whole range · migrate what was isolated (`retry`) · next sweep. The
//! policy decides what each failure on the way means.

use super::retry::{Sweep, Tries};
use super::{Errno, Task};
use crate::drive::{Driver, Step, Wait};
use crate::machine::{Frame, Hindrance, Mapping, Obstacle, Pte, Test};
use crate::observe::Event;
use crate::policy::{Defect, Empty, Entry, Policy, SweepOrder};
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
        let PinRequest { policy, mapping, ref range, write } = *request;
        let base = pin.pages.len();
        let mut tries = Tries::new(self.d.now());
        loop {
            pin.sweeps += 1;
            self.event(Event::Sweeps);
            self.step_at(Step::Sweep);
            if self.d.killed() {
                return Err(Errno::EINTR);
            }
            let got = self.get_user_pages(policy, mapping, range.clone(), write, touch, &mut pin.pages);
            if got == Err(Errno::EAGAIN) {
                let index = range.start + (pin.pages.len() - base) as u32;
                self.unpin_from(base, pin);
                self.handle_mm_fault(mapping, &mapping.vma, index, write)?;
                continue;
            }
            if let Err(errno) = got {
                let index = range.start + (pin.pages.len() - base) as u32;
                self.unreachable_page(errno, mapping.vma.pte(index));
            }
            if let Err(errno) = got
                && (pin.pages.len() == base || errno == Errno::EINTR)
            {
                self.unpin_from(base, pin);
                return Err(errno);
            }
            self.step_at(Step::Pinned);
            let moves = pin.pages[base..].iter().any(|&frame| self.must_move(policy, frame));
            if !moves || policy.defect == Defect::Accept {
                return Ok(());
            }
            self.misbehave(policy, &pin.pages[base..]);
            // The pages whose unpinning is forgotten, by the one defect that forgets any.
            let kept = base + usize::from(policy.defect == Defect::LeakPin && pin.sweeps == 1);
            let collected = match policy.order {
                SweepOrder::IsolateWhilePinned => {
                    let collected =
                        self.collect_pinned(policy, range.start, &pin.pages[base..], tries.overdue);
                    if collected.isolated.is_empty() && policy.empty == Empty::Success {
                        return Ok(());
                    }
                    self.unpin_from(kept, pin);
                    collected
                }
                SweepOrder::UnpinFirst => {
                    self.unpin_from(kept, pin);
                    self.collect_unpinned(request, tries.overdue)
                }
            };
            pin.pages.truncate(base);
            self.step_at(Step::Unpinned);
            match self.settle(request, collected, &mut tries)? {
                Sweep::Again => {}
                Sweep::Accept => {
                    return self.get_user_pages(policy, mapping, range.clone(), write, touch, &mut pin.pages);
                }
            }
        }
    }

    /// A page that no walk could reach: it is poisoned, or without memory there is none yet.
    #[cold]
    fn unreachable_page(&self, errno: Errno, pte: Pte) {
        if pte.is_poison() {
            let by = self.m.hindrance(pte.frame(), Test::Isolation, self.d.id(), 0);
            self.d.hindered(Step::Fault, by);
        } else if errno == Errno::ENOMEM {
            self.d.hindered(Step::Fault, Hindrance { obstacle: Obstacle::NoMemory, page: None });
        }
    }

    fn unpin_from(&self, base: usize, pin: &mut Pin) {
        self.unpin_user_pages(&pin.pages[base..]);
        pin.pages.truncate(base);
    }

    /// The defects that take page locks, on pages that we hold pinned.
    fn misbehave(&self, policy: &Policy, pages: &[Frame]) {
        let (first, last) = (pages[0], pages[pages.len() - 1]);
        match policy.defect {
            // Held until death: whoever needs it next waits as long.
            Defect::HoldLock if self.lock(first) => {
                self.d.wait(Wait::Time, &|| false);
                self.unlock(first);
            }
            Defect::WaitCycle if first != last => {
                let (one, other) = if self.d.id().is_multiple_of(2) { (first, last) } else { (last, first) };
                if self.lock(one) {
                    // Wide enough for the other side to take its first lock too.
                    self.d.sleep(1_000_000);
                    if self.lock(other) {
                        self.unlock(other);
                    }
                    self.unlock(one);
                }
            }
            _ => {}
        }
    }
}
