//! Threads that disturb: each does one thing, pauses, and does it again.

use super::bystanders;
use super::profile::{ActorCfg, Role};
use super::shared::Shared;
use crate::drive::{Driver, Step};
use crate::judge::Attempt;
use crate::machine::NO_FRAME;
use crate::machine::{CpuId, Frame, Lru, Mapping, PageIndex, PageRange};
use crate::ops::{Errno, Task};

/// Pages that reclaim and compaction take at a time (`SWAP_CLUSTER_MAX`).
const CLUSTER: usize = 32;

/// One disturbing thread.
pub struct Actor<'a, D> {
    sh: &'a Shared,
    task: &'a Task<'a, D>,
    cfg: ActorCfg,
}

impl<'a, D: Driver> Actor<'a, D> {
    /// Actor number `number` over all groups, in the order of [`Profile::actors`](super::Profile::actors);
    /// bystanders come last.
    pub fn run(sh: &'a Shared, task: &'a Task<'a, D>, number: usize) {
        let mut left = number;
        for (role, cfg) in sh.profile.actors() {
            if left < cfg.threads as usize {
                return Self { sh, task, cfg: cfg.clone() }.live(role);
            }
            left -= cfg.threads as usize;
        }
        bystanders::live(sh, task, left);
    }

    fn live(&self, role: Role) {
        let d = self.task.d;
        while !d.killed() {
            d.step(Step::Idle, NO_FRAME);
            if !d.sleep(self.cfg.pause.0) {
                return;
            }
            if self.sh.started().is_none() {
                d.step(Step::Idle, NO_FRAME);
                continue;
            }
            self.task.move_to(CpuId(d.below(self.sh.m.cpus.len() as u64) as u32));
            match role {
                Role::Churn => self.churn(),
                Role::Drainer => self.task.lru_add_drain_all(false),
                Role::Reclaim => {
                    let lru = Lru::ALL[d.below(4) as usize];
                    self.task.shrink_list(lru, CLUSTER);
                }
                Role::Compaction => {
                    self.task.compact(CLUSTER);
                }
                Role::ShortRefs => self.one_page(|index, mapping| {
                    self.task.with_short_ref(mapping, index, |_| self.hold());
                }),
                Role::Locker => self.locked_page(|frame| {
                    self.hold();
                    self.task.unlock_page(frame);
                }),
                Role::Writeback => self.locked_page(|frame| {
                    if self.task.begin_writeback(frame) {
                        self.hold();
                        self.task.finish_writeback(frame);
                    }
                }),
                Role::Offliner | Role::Contig => self.take_block(role),
                Role::Forker => self.fork(),
            }
        }
    }

    fn hold(&self) {
        self.task.d.step(Step::Hold, NO_FRAME);
        // Killed: let go at once.
        let _ = self.task.d.sleep(self.cfg.hold.0);
    }

    fn random_mapping(&self) -> &'a Mapping {
        let mappings = &self.sh.mappings;
        self.sh.m.mapping(mappings[self.task.d.below(mappings.len() as u64) as usize])
    }

    fn one_page(&self, act: impl FnOnce(PageIndex, &Mapping)) {
        let mapping = self.random_mapping();
        act(PageIndex(self.task.d.below(u64::from(mapping.vma.len())) as u32), mapping);
    }

    fn random_range(&self, mapping: &Mapping) -> PageRange {
        let len = mapping.vma.len();
        let pages = 1 + self.task.d.below(u64::from(len.min(16))) as u32;
        let start = self.task.d.below(u64::from(len - pages) + 1) as u32;
        PageIndex(start).run(pages)
    }

    /// Does to a few pages what programs and reclaim do to them all day.
    fn churn(&self) {
        let mapping = self.random_mapping();
        let range = self.random_range(mapping);
        let task = self.task;
        // What the kernel refuses (locked or shared memory) is refused here too.
        match task.d.below(7) {
            0 => drop(task.touch(mapping, range)),
            1 => task.mark_range_accessed(mapping, range),
            2 => drop(task.madvise_cold(mapping, range)),
            3 => drop(task.madvise_free(mapping, range)),
            4 => task.invalidate(mapping, range),
            5 => drop(task.mlock(mapping, range)),
            _ => drop(task.munlock(mapping, range)),
        }
    }

    fn locked_page(&self, act: impl FnOnce(Frame)) {
        self.one_page(|index, mapping| {
            if let Some(frame) = self.task.trylock_page(mapping, index) {
                act(frame);
            }
        });
    }

    /// Wants a block back.
    fn take_block(&self, role: Role) {
        let (sh, d) = (self.sh, self.task.d);
        let blocks = sh.profile.blocks(role);
        if blocks.is_empty() {
            return;
        }
        let block = blocks.start + d.below(blocks.len() as u64) as u32;
        let (mut attempt, began) = (Attempt::default(), d.now());
        let look = |in_use: &[Frame]| {
            let pins = sh.unsafe_pins.lock().clone();
            attempt.in_vain(&sh.m, &pins, in_use);
        };
        let result = match role {
            Role::Contig => self.task.alloc_contig_range(block, look),
            _ => self.task.offline_pages(block, look),
        };
        let result = if result.is_err() && d.killed() { Err(Errno::EINTR) } else { result };
        sh.victims.lock().ended(role.name(), &attempt, result, d.now() - began);
    }

    /// A child has a few pages for a while.
    fn fork(&self) {
        let mapping = self.random_mapping();
        let range = self.random_range(mapping);
        // Without memory for a copy there is no child.
        let _ = self.task.with_child(mapping, range, || self.hold());
    }
}
