//! A profile, made small: few threads, few pages, few calls.

use super::subject::{
    Kind, Known, Look, Outcome, Seen, Subject, add_pages, broken, of_classes, of_end, words,
};
use crate::config::Count;
use crate::drive::sim::{Kworkers, Lab, SimEnd, SimTask};
use crate::drive::{Costs, Decision, Driver, TaskId, Timed};
use crate::error::{Error, Result};
use crate::judge::Class;
use crate::machine::{CpuId, Digest, MAX_ORDER, Machine, Recount};
use crate::observe::Totals;
use crate::ops::{DmaError, Task};
use crate::policy::{Policy, Rules};
use crate::stress::Profile;
use crate::stress::actors::Actor;
use crate::stress::pinner::Pinner;
use crate::stress::setup::set_up;
use crate::stress::shared::Shared;
use gupstress_machine::restore::Restore;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// What a profile is cut down to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Pinners.
    pub threads: u32,
    /// Pages of a mapping.
    pub pages: u32,
    /// Calls of each pinner.
    pub calls: u32,
}

/// Frames beyond what is mapped, for what is under way and in page caches.
const SPARE_FRAMES: u32 = 32;

/// The same load on a machine that is quickly made and put back.
pub fn cut(profile: &Profile, size: Size) -> Profile {
    let mut small = profile.clone();
    let Size { threads, pages, .. } = size;
    small.threads = threads;
    small.cpus = small.cpus.min(threads.max(2));
    let pages = if small.pinner.disjoint { pages.max(threads) } else { pages };
    let pages = if small.ranges.hugetlb { pages.next_multiple_of(1 << MAX_ORDER) } else { pages };
    // As large as a part of so few pages can be.
    small.ranges.order = small.ranges.order.min(pages.ilog2());
    small.ranges.pages = pages;
    small.ranges.special_pages = small.ranges.special_pages.min(pages);
    small.ranges.count = 1;
    small.pinner.pages_max = small.pinner.pages_max.min(small.part(0).len() as u32).min(size.pages);
    small.pinner.pages_min = small.pinner.pages_min.min(small.pinner.pages_max);
    small.memory.page_bytes = 64;
    small.actors_mut().into_iter().for_each(|group| group.threads = group.threads.min(1));
    small.bystanders.count = small.bystanders.count.min(1);
    let bystanders = small.bystanders.count * small.bystanders.pages;
    let mapped = small.mappings() * pages + threads * small.pinner.fill + bystanders;
    // Whole blocks where blocks are taken offline.
    let blocks = if small.offliner.threads + small.contig.threads == 0 { 0 } else { 192 };
    // Beside larger folios, what is lost to their alignment, and what is moved with a page.
    let order = small.backing(0).order;
    let around = if order == 0 { 0 } else { 2 << order };
    small.memory.movable = small.memory.movable.min((mapped + around + SPARE_FRAMES).max(blocks));
    small.memory.cma = small.memory.cma.min(mapped + SPARE_FRAMES);
    let normal = mapped + (threads + 4) * pages + SPARE_FRAMES;
    let normal = normal + 2 * threads * around;
    small.memory.normal = if small.memory.normal == 0 { normal } else { small.memory.normal.min(normal) };
    small
}

/// A profile to explore.
pub struct Load {
    sh: Arc<Shared>,
    /// After the set-up.
    ready: Shared,
    calls: u32,
    kworkers: Kworkers,
    costs: Costs,
    dma_errors: Rc<RefCell<Vec<DmaError>>>,
}

impl Load {
    /// Sets a cut profile up, the same way every time.
    pub fn new(rules: &Rules, policy: &Policy, profile: &Profile, calls: u32, seed: u64) -> Result<Self> {
        let fresh = || {
            let mut m = Machine::new(rules.clone(), &profile.layout(), profile.cpus as usize);
            m.memory.cma_first = profile.cma_first;
            Shared::new(m, policy.clone(), profile.clone(), u64::MAX)
        };
        let sh = Arc::new(fresh());
        let kworkers = kworkers(&sh);
        let costs = profile.costs.longer_by(profile.step_delay.0);
        let failed = Rc::new(RefCell::new(None));
        for id in 0..profile.threads as usize {
            let (set, failed) = (Arc::clone(&sh), Rc::clone(&failed));
            let body = move |thread: &crate::drive::sim::SimThread<'_>| {
                let task =
                    Task::new(&set.m, thread, &set.slots[id].counters, CpuId::turn(id, set.m.cpus.len()));
                if let Err(errno) = set_up(&set, &task, id) {
                    *failed.borrow_mut() = Some(errno);
                }
                set.start_at(thread.now());
            };
            let task = SimTask {
                cpu: CpuId::turn(id, sh.m.cpus.len()),
                place: Arc::clone(&sh.slots[id].place),
                killable: true,
                daemon: false,
                body: Box::new(body),
            };
            let report = Lab::default().run(
                Box::new(Timed::new(u64::MAX)),
                &costs,
                seed,
                vec![task],
                Some(&kworkers),
                &mut |_, _| Decision::Continue(u64::MAX),
                &mut |_| true,
            );
            if !matches!(report.end, SimEnd::Done) {
                return Err(Error::Internal(format!("set-up: {:?}", report.end)));
            }
        }
        if let Some(errno) = *failed.borrow() {
            let reason = format!("the set-up fails with {}: too little memory for the profile", errno.name());
            return Err(Error::Resource(reason));
        }
        let ready = fresh();
        ready.restore(&sh);
        Ok(Self { sh, ready, calls, kworkers, costs, dma_errors: Rc::default() })
    }

    /// Calls of each pinner by class.
    fn classes(&self) -> impl Iterator<Item = [u64; Class::COUNT]> + '_ {
        self.sh.pinners().iter().map(|slot| slot.classes())
    }

    fn recount(&self) -> Recount {
        let special = self.sh.special.lock();
        let mut recount = self.sh.m.validate(&special);
        for error in self.dma_errors.borrow().iter() {
            recount.check(false, "a pin keeps its frame and its data", None, || format!("{error:?}"));
        }
        recount
    }

    fn found(&self, end: &SimEnd, endless: bool) -> u8 {
        self.classes().fold(of_end(end, endless), |found, classes| found | of_classes(&classes))
    }
}

fn kworkers(sh: &Arc<Shared>) -> Kworkers {
    let first = sh.slots.len() - sh.m.cpus.len();
    let worked = Arc::clone(sh);
    Kworkers::new(
        sh.slots[first..].iter().map(|slot| Arc::clone(&slot.place)),
        Arc::new(move |thread, cpu| {
            Task::new(&worked.m, thread, &worked.slots[first + cpu.at()].counters, cpu).drain_works();
        }),
    )
}

impl Subject for Load {
    fn machine(&self) -> &Machine {
        &self.sh.m
    }

    fn names(&self) -> Vec<String> {
        self.sh.profile.thread_names().collect()
    }

    fn threads(&self) -> usize {
        self.sh.pinners().len()
    }

    fn restore(&self) {
        Restore::restore(&*self.sh, &self.ready);
        self.dma_errors.borrow_mut().clear();
    }

    fn tasks(&self) -> Vec<SimTask> {
        let cpus = self.sh.m.cpus.len();
        let pinners = self.threads();
        let kworkers = self.sh.slots.len() - cpus;
        let calls = self.calls;
        let task = |id: usize| {
            let (sh, dma_errors) = (Arc::clone(&self.sh), Rc::clone(&self.dma_errors));
            SimTask {
                cpu: CpuId::turn(id, cpus),
                place: Arc::clone(&self.sh.slots[id].place),
                killable: true,
                daemon: id >= pinners,
                body: Box::new(move |thread| {
                    let task = Task::new(&sh.m, thread, &sh.slots[id].counters, CpuId::turn(id, cpus));
                    if id < pinners {
                        let ledger = Pinner::new(&sh, &task, id).calls(calls);
                        dma_errors.borrow_mut().extend(ledger.dma_errors);
                    } else {
                        Actor::run(&sh, &task, id - pinners);
                    }
                }),
            }
        };
        (0..kworkers).map(task).collect()
    }

    fn kworkers(&self) -> &Kworkers {
        &self.kworkers
    }

    fn costs(&self) -> &Costs {
        &self.costs
    }

    fn sweeps(&self, thread: TaskId) -> Option<u64> {
        let slot = &self.sh.pinners()[thread];
        slot.call().map(|_| slot.sweeps_of_call())
    }

    fn sweep_limit(&self) -> u64 {
        let policy = &self.sh.policy;
        let tries = [policy.isolate_retries, policy.migrate_retries].map(Count::or_zero);
        64 + tries.iter().map(|&tries| u64::from(tries)).sum::<u64>()
    }

    fn see(&self, end: &SimEnd, endless: bool, known: &mut Known) -> Seen {
        let mut found = self.found(end, endless);
        let mut state = Digest::default();
        state.add(u64::from(found));
        self.classes().for_each(|classes| classes.into_iter().for_each(|n| state.add(n)));
        let m = &self.sh.m;
        self.sh.mappings.iter().for_each(|&mapping| add_pages(m, m.mapping(mapping), &mut state));
        let whole = matches!(end, SimEnd::Done) && !endless;
        let lost = || !self.dma_errors.borrow().is_empty();
        let recount = || !self.recount().broken.is_empty();
        if whole && (lost() || known.is_broken(m.digest(), recount)) {
            found |= Kind::Broken.bit();
        }
        Seen { found, state: state.finish(), ..Seen::default() }
    }

    fn outcome(&self, end: &SimEnd, endless: bool) -> Outcome {
        let mut found = self.found(end, endless);
        let broken = broken(end, endless, || self.recount());
        found |= if broken.is_some() { Kind::Broken.bit() } else { 0 };
        let stuck = (found & Kind::Stuck.bit() != 0).then_some(u64::from(self.calls));
        let open = |thread: usize| self.sh.pinners()[thread].call().is_some();
        let threads = self.classes().enumerate();
        Outcome {
            found: Kind::ALL.into_iter().filter(|kind| found & kind.bit() != 0).collect(),
            threads: threads.map(|(thread, classes)| words(&classes, open(thread), stuck)).collect(),
            broken,
            conditions: Vec::new(),
        }
    }

    fn hindrance(&self, thread: TaskId) -> Option<String> {
        let (step, by) = self.sh.pinners()[thread].place.hindered()?;
        Some(format!("{} at {}", by.obstacle.describe(), step.name()))
    }

    fn look(&self) -> Look {
        let sh = Arc::clone(&self.sh);
        Arc::new(move |frame| sh.m.page_state(frame))
    }

    fn counters(&self) -> Totals {
        let mut sum = Totals::default();
        let since = |(slot, ready): (&crate::stress::shared::Slot, &crate::stress::shared::Slot)| {
            slot.counters.totals().since(&ready.counters.totals())
        };
        let slots = self.sh.slots.iter().map(|slot| &**slot);
        let ready = self.ready.slots.iter().map(|slot| &**slot);
        slots.zip(ready).map(since).for_each(|totals| sum.add(&totals));
        sum
    }
}
