//! Collection: which pages of a range must move, and isolating them.

use super::longterm::PinRequest;
use super::{Errno, Task};
use crate::drive::{Driver, Step};
use crate::machine::{Frame, ZERO_FRAME, flag};
use crate::policy::{DrainRule, Permanent, Policy};

/// How far the batches have been drained in this sweep.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Drained {
    No,
    Local,
    All,
}

/// What one sweep's collection found.
#[derive(Default)]
pub(super) struct Collected {
    /// Pages isolated, each with a reference.
    pub isolated: Vec<Frame>,
    /// Pages that must move and could not be isolated.
    pub missed: Vec<(u32, Frame)>,
    /// What the kernel can see never to go away.
    pub permanent: Option<Errno>,
}

impl<D: Driver> Task<'_, D> {
    /// `collect_longterm_unpinnable_folios`: isolates while the range is pinned.
    pub(super) fn collect_pinned(&self, policy: &Policy, first: u32, pages: &[Frame]) -> Collected {
        let own = self.m.rules.pin_bias as i32;
        let mut collected = Collected::default();
        let mut drained = Drained::No;
        let mut previous = None;
        for (index, &frame) in (first..).zip(pages) {
            if !self.must_move(policy, frame) || previous == Some(frame) {
                continue;
            }
            previous = Some(frame);
            self.collect(policy, index, frame, own, &mut drained, &mut collected);
        }
        collected
    }

    /// Isolates after the range was unpinned: each page is looked up again.
    pub(super) fn collect_unpinned(&self, request: &PinRequest<'_>) -> Collected {
        let mut collected = Collected::default();
        let mut drained = Drained::No;
        for index in request.range.clone() {
            let Some(frame) = self.get_mapped(&request.mapping.vma, index) else { continue };
            if self.must_move(request.policy, frame) {
                self.collect(request.policy, index, frame, 1, &mut drained, &mut collected);
            }
            self.put(frame, 1);
        }
        collected
    }

    /// Drains by rule, then tries to isolate one page on which we hold `own` references.
    fn collect(
        &self,
        policy: &Policy,
        index: u32,
        frame: Frame,
        own: i32,
        drained: &mut Drained,
        collected: &mut Collected,
    ) {
        self.step(Step::CollectCheck, frame);
        if policy.permanent == Permanent::Report
            && let Some(errno) = self.visibly_permanent(frame)
        {
            collected.permanent = collected.permanent.or(Some(errno));
            return;
        }
        self.drain_for(policy.drain, frame, own, drained);
        self.step(Step::CollectIsolate, frame);
        if self.isolate_lru(frame) {
            collected.isolated.push(frame);
        } else {
            collected.missed.push((index, frame));
        }
        self.step(Step::CollectIsolated, frame);
    }

    /// The errno for a page whose flags say that it can never be migrated.
    fn visibly_permanent(&self, frame: Frame) -> Option<Errno> {
        let page = self.page(frame);
        if page.has(flag::HWPOISON) {
            Some(Errno::EHWPOISON)
        } else if page.has(flag::RESERVED) && frame != ZERO_FRAME {
            Some(Errno::EFAULT)
        } else {
            None
        }
    }

    fn drain_for(&self, rule: DrainRule, frame: Frame, own: i32, drained: &mut Drained) {
        let page = self.page(frame);
        let beyond = |own: i32| page.refcount() - self.m.expected_refs(page) - own;
        let off_lru = || !page.has(flag::LRU);
        let wanted = |drained: Drained| match rule {
            DrainRule::Never => false,
            DrainRule::All => drained == Drained::No,
            DrainRule::AllIfOffLru => drained == Drained::No && off_lru(),
            DrainRule::ExtraRefsNaive => drained != Drained::All && beyond(1) != 0,
            DrainRule::ExtraRefs => drained != Drained::All && beyond(own) != 0,
            // A batch entry is one reference; others' pins are whole multiples of the bias.
            DrainRule::WhereBatched => {
                drained != Drained::All && beyond(own) % self.m.rules.pin_bias as i32 != 0
            }
        };
        let local_first = !matches!(rule, DrainRule::All | DrainRule::AllIfOffLru);
        if local_first && *drained == Drained::No && wanted(Drained::No) {
            self.lru_add_drain();
            *drained = Drained::Local;
            self.step(Step::CollectDrainLocal, frame);
        }
        if (*drained == Drained::Local || !local_first) && wanted(*drained) {
            self.lru_add_drain_all(false);
            *drained = Drained::All;
            self.step(Step::CollectDrainAll, frame);
        }
    }
}
