//! What of a profile its types alone cannot check.

use super::{PinnerCfg, Profile, RangesCfg, Role, Special};
use crate::machine::{MAX_ORDER, PAGEBLOCK};
use crate::policy::{Caller, Rules};

/// Most of a CPU's time that a host may take.
const MOST_STEAL: f64 = 0.99;

impl Profile {
    /// What only a kernel's rules and the number of threads can tell: what nobody could do there is
    /// said before it is tried.
    ///
    /// # Errors
    /// Which key, why, and the nearest that is possible.
    pub fn check_on(&self, rules: &Rules) -> std::result::Result<(), String> {
        self.check_bystanders()?;
        if self.callers.has(Caller::Udmabuf) {
            if !rules.memfd_pin {
                let kernel = &rules.name;
                return Err(format!(
                    "callers.udmabuf: {kernel} has no memfd_pin_folios; nearest: linux-6.12.43"
                ));
            }
            if self.ranges.shmem.0 < 1.0 {
                let shmem = self.ranges.shmem.0;
                return Err(format!(
                    "ranges.shmem: {shmem} is not 1, and udmabuf takes shared memory only; nearest: 1"
                ));
            }
        }
        let part = self.part(0).len() as u32;
        if self.pinner.pages_max > part {
            let near = self.pinner.pages_max.saturating_mul(self.threads);
            return Err(format!(
                "pinner.disjoint: {part} pages are a thread's part of ranges.pages, fewer than \
                 pinner.pages_max; nearest: ranges.pages = {near}"
            ));
        }
        for (role, key) in [(Role::Offliner, "offliner"), (Role::Contig, "contig")] {
            let threads =
                self.actors().into_iter().find(|(known, _)| *known == role).map_or(0, |(_, cfg)| cfg.threads);
            if threads != 0 && self.blocks(role).is_empty() {
                let (what, near) = if self.memory.cma != 0 && role == Role::Contig {
                    ("memory.cma", 2 * PAGEBLOCK)
                } else {
                    ("memory.movable", 2 * PAGEBLOCK)
                };
                return Err(format!(
                    "{key}.threads: {threads} of them could do nothing: no whole block of {PAGEBLOCK} frames; nearest: {what} = {near}"
                ));
            }
        }
        Ok(())
    }

    /// What cannot be had of larger folios.
    fn check_folios(&self) -> std::result::Result<(), String> {
        let RangesCfg { pages, hugetlb, special, .. } = self.ranges;
        if hugetlb && !pages.is_multiple_of(1 << MAX_ORDER) {
            let near = pages.next_multiple_of(1 << MAX_ORDER);
            return Err(format!("ranges.pages: {pages} are not whole huge pages; nearest: {near}"));
        }
        if self.backing(0).order != 0 && !matches!(special, Special::None | Special::Pinned | Special::Held) {
            let name = Special::WORDS.iter().find(|(_, it)| *it == special).map_or("", |(word, _)| word);
            return Err(format!("ranges.special: {name} is a page of its own; nearest: ranges.order = 0"));
        }
        Ok(())
    }

    /// What types alone cannot check.
    pub(super) fn check(&self) -> std::result::Result<(), String> {
        let PinnerCfg { pages_min, pages_max, .. } = self.pinner;
        if pages_max < pages_min || pages_max > self.ranges.pages {
            return Err(format!(
                "pinner.pages_max: {pages_max} is not from pages_min ({pages_min}) to ranges.pages ({}); nearest: {}",
                self.ranges.pages,
                pages_max.max(pages_min).min(self.ranges.pages)
            ));
        }
        if self.pinner.zap_pinned && self.pinner.dma {
            return Err("pinner.dma: what is written to a page that was zapped under its pin reaches \
                        nobody; nearest: false"
                .into());
        }
        if self.ranges.special_pages > self.ranges.pages {
            return Err(format!(
                "ranges.special_pages: {} is more than ranges.pages; nearest: {}",
                self.ranges.special_pages, self.ranges.pages
            ));
        }
        if self.host.steal.0 > MOST_STEAL {
            let steal = self.host.steal.0;
            return Err(format!("host.steal: {steal} leaves a CPU no time; nearest: {MOST_STEAL}"));
        }
        for (key, length) in [("turn", self.host.turn), ("burst", self.host.burst)] {
            if length.0 == 0 {
                return Err(format!("host.{key}: none is no length of time; nearest: 1ms"));
            }
        }
        self.check_folios()?;
        let bytes = self.memory.page_bytes;
        if !bytes.is_multiple_of(64) {
            let near = bytes.next_multiple_of(64);
            return Err(format!("memory.page_bytes: {bytes} is not a multiple of 64; nearest: {near}"));
        }
        Ok(())
    }
}
