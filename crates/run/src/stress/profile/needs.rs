//! How much memory a profile has, and what a run of it takes from the host.

use super::Profile;
use crate::machine::Layout;

/// What a run of a profile takes from the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Needs {
    /// Pinning threads.
    pub threads: u32,
    /// Simulated CPUs.
    pub cpus: u32,
    /// All threads: pinners, actors, kworkers.
    pub os_threads: u32,
    /// Bytes of frames, page tables and stacks.
    pub memory_bytes: u64,
}

/// Stack of a run's thread, in bytes.
pub(in crate::stress) const STACK: usize = 256 * 1024;

impl Profile {
    /// What a run with so many pinning threads takes from the host.
    pub fn needs(&self, threads: u32) -> Needs {
        Self { threads, ..self.clone() }.own_needs()
    }

    fn own_needs(&self) -> Needs {
        let actors = self.actors().iter().map(|(_, actor)| u64::from(actor.threads)).sum::<u64>();
        let actors = actors + u64::from(self.bystanders.count);
        let os_threads = u64::from(self.threads) + actors + u64::from(self.cpus);
        let Layout { movable, cma, page_bytes, .. } = self.memory;
        let frames = self.normal_frames().saturating_add(u64::from(movable) + u64::from(cma) + 1);
        // A page's line, and the PTE, lock state and page-cache slot: those of a page that is never
        // anything but part of a huge one are never written to.
        let (line, slots) = if self.ranges.hugetlb { (0, 5) } else { (64, 32) };
        let parts = [
            frames.saturating_mul(u64::from(page_bytes) + line),
            os_threads.saturating_mul(STACK as u64),
            // Histograms, counters and buffers of a pinner.
            u64::from(self.threads) * (256 << 10),
            self.mapped().saturating_mul(slots),
            // What is around them.
            u64::from(self.mappings()) * 512,
        ];
        Needs {
            threads: self.threads,
            cpus: self.cpus,
            os_threads: u32::try_from(os_threads).unwrap_or(u32::MAX),
            memory_bytes: parts.into_iter().fold(0, u64::saturating_add),
        }
    }

    /// Pages of all mappings, present or not.
    fn mapped(&self) -> u64 {
        let [mappings, pages] = [self.mappings(), self.ranges.pages].map(u64::from);
        let fillers = u64::from(self.threads) * u64::from(self.pinner.fill);
        (mappings * pages).saturating_add(fillers).saturating_add(self.bystanders.mapped())
    }

    fn normal_frames(&self) -> u64 {
        if self.memory.normal != 0 {
            return u64::from(self.memory.normal);
        }
        // Folios are moved as a whole, and what is left of one that was split may stay for long.
        let folio = 1u64 << self.backing(0).order;
        let (call, left) = match u64::from(self.pinner.pages_max) {
            pages if folio == 1 => (pages, 0),
            pages => (pages.next_multiple_of(folio) + folio, self.mapped().next_multiple_of(folio) + folio),
        };
        let in_flight = (u64::from(self.threads) + 4) * call;
        self.mapped().saturating_add(in_flight + left).saturating_add(u64::from(self.cpus) * 3 * 64 + 256)
    }

    /// The frames, with `normal = 0` worked out: everything mapped, a target
    /// for each page that each thread may be migrating, and page caches.
    pub fn layout(&self) -> Layout {
        // More than can be numbered fits into no host.
        Layout { normal: u32::try_from(self.normal_frames()).unwrap_or(u32::MAX), ..self.memory.clone() }
    }
}
