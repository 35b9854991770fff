//! Collection: which pages of a range must move, and isolating them.

use super::longterm::PinRequest;
use super::refused::Refused;
use super::{Errno, Task};
use crate::drive::{Driver, Step};
use crate::machine::{Frame, Test, ZERO_FRAME, flag};
use crate::policy::{DrainRule, Permanent, Policy};

/// How far the batches have been drained in this sweep.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Drained {
    No,
    Local,
    All,
}

/// One sweep's collection under way.
struct Sweep<'p> {
    policy: &'p Policy,
    /// References that we hold on each page ourselves.
    own: i32,
    overdue: bool,
    drained: Drained,
    refused: Refused,
}

impl<'p> Sweep<'p> {
    fn new(policy: &'p Policy, own: i32, overdue: bool) -> Self {
        Self { policy, own, overdue, drained: Drained::No, refused: Refused::default() }
    }
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
    ///
    /// `overdue`: pages in another's hands were waited for in vain before.
    pub(super) fn collect_pinned(
        &self,
        policy: &Policy,
        first: u32,
        pages: &[Frame],
        overdue: bool,
    ) -> Collected {
        let mut sweep = Sweep::new(policy, self.m.rules.pin_bias as i32, overdue);
        let mut collected = Collected::default();
        let mut previous = None;
        for (index, &frame) in (first..).zip(pages) {
            if !self.must_move(policy, frame) || previous == Some(frame) {
                continue;
            }
            previous = Some(frame);
            self.collect(&mut sweep, index, frame, &mut collected);
        }
        self.hindered(sweep.refused);
        collected
    }

    /// Isolates after the range was unpinned: each page is looked up again.
    pub(super) fn collect_unpinned(&self, request: &PinRequest<'_>, overdue: bool) -> Collected {
        let policy = request.policy;
        let mut sweep = Sweep::new(policy, 1, overdue);
        let mut collected = Collected::default();
        for index in request.range.clone() {
            let vma = &request.mapping.vma;
            let Some(frame) = self.get_mapped(vma, index) else {
                // No reference is to be had on the zero page, so nobody could isolate it.
                if vma.pte(index).frame() == ZERO_FRAME && self.must_move(policy, ZERO_FRAME) {
                    self.refused(&mut sweep.refused, Step::CollectIsolate, ZERO_FRAME, Test::Isolation, 0);
                }
                continue;
            };
            if self.must_move(policy, frame) {
                self.collect(&mut sweep, index, frame, &mut collected);
            }
            self.put(frame, 1);
        }
        self.hindered(sweep.refused);
        collected
    }

    /// Drains by rule, then tries to isolate one page.
    fn collect(&self, sweep: &mut Sweep<'_>, index: u32, frame: Frame, collected: &mut Collected) {
        self.step(Step::CollectCheck, frame);
        if sweep.policy.permanent == Permanent::Report
            && let Some(errno) = self.visibly_permanent(frame)
        {
            collected.permanent = collected.permanent.or(Some(errno));
            self.refused(&mut sweep.refused, Step::CollectCheck, frame, Test::Isolation, sweep.own);
            return;
        }
        self.drain_for(sweep, frame);
        self.step(Step::CollectIsolate, frame);
        if self.isolate_lru(frame) {
            collected.isolated.push(frame);
        } else {
            collected.missed.push((index, frame));
            self.refused(&mut sweep.refused, Step::CollectIsolate, frame, Test::Isolation, sweep.own);
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

    /// Drains by rule for pages that a migration has left isolated: they may have
    /// been put into a batch after collection looked at them.
    pub(super) fn drain_for_isolated(&self, policy: &Policy, isolated: &[Frame]) {
        let mut sweep = Sweep::new(policy, 1, true);
        for &frame in isolated {
            self.drain_for(&mut sweep, frame);
        }
    }

    fn drain_for(&self, sweep: &mut Sweep<'_>, frame: Frame) {
        let page = self.page(frame);
        let rule = sweep.policy.drain;
        let (own, overdue) = (sweep.own, sweep.overdue);
        let beyond = |own: i32| page.refcount() - self.m.expected_refs(page) - own;
        let off_lru = || !page.has(flag::LRU);
        let wanted = |drained: Drained| match rule {
            DrainRule::Never => false,
            DrainRule::All => drained == Drained::No,
            DrainRule::AllIfOffLru => drained == Drained::No && off_lru(),
            DrainRule::ExtraRefsNaive => drained != Drained::All && beyond(1) != 0,
            DrainRule::ExtraRefs => drained != Drained::All && beyond(own) != 0,
            DrainRule::WhereBatched => {
                // A batch entry is one reference; others' pins are whole multiples of the bias.
                let batched = beyond(own) % self.m.rules.pin_bias as i32 != 0;
                // Off the LRU that may be an isolation as well, which no drain ends.
                let elsewhere = drained == Drained::Local && off_lru() && !overdue;
                drained != Drained::All && batched && !elsewhere
            }
        };
        let local_first = !matches!(rule, DrainRule::All | DrainRule::AllIfOffLru);
        if local_first && sweep.drained == Drained::No && wanted(Drained::No) {
            self.lru_add_drain();
            sweep.drained = Drained::Local;
            self.step(Step::CollectDrainLocal, frame);
        }
        if (sweep.drained == Drained::Local || !local_first) && wanted(sweep.drained) {
            self.lru_add_drain_all(false);
            sweep.drained = Drained::All;
            self.step(Step::CollectDrainAll, frame);
        }
    }
}
