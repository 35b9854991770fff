//! How faults map what the page cache has: its page, and for a read what is around it too.

use crate::drive::{Driver, Step};
use crate::machine::space::PtLocked;
use crate::machine::{Frame, Kind, MAX_ORDER, Mapping, PageIndex, PageRange, Pte, Vma, flag};
use crate::ops::floor::Mm;

/// Pages that a read fault looks at (`fault_around_bytes`).
const FAULT_AROUND_PAGES: u32 = 16;

impl<D: Driver> Mm<'_, D> {
    /// Maps one page of the page cache, on which there is a reference for that.
    pub(super) fn map_cached(
        &self,
        vma: &Vma,
        locked: &PtLocked<'_>,
        (index, frame): (PageIndex, Frame),
        write: bool,
    ) {
        if self.m.rules.mlock_batched {
            self.add_rmap(frame, vma, index);
        } else {
            // Before 5.18 a fault on a file page left its mlock to reclaim.
            self.m.memory.add_mapcount(frame, 1);
        }
        locked.set(index, Pte::present(frame, write, write));
    }

    /// `do_fault_around`, `filemap_map_pages`: maps what the page cache has around a page that is
    /// read and nobody has locked; whether that page is among it. What a PMD can map is left to the fault.
    pub(super) fn fault_around(&self, mapping: &Mapping, vma: &Vma, index: PageIndex) -> bool {
        if !mapping.kind.faults_around() {
            return false;
        }
        let huge = |frame: Frame| self.folio(frame).order() == MAX_ORDER && vma.takes_pmd(index);
        if mapping.cached(index).is_some_and(huge) {
            return false;
        }
        let window = self.around(mapping, index, vma.end());
        let areas = vma.areas(&window);
        let Some(area) = areas.into_iter().find(|area| area.pages.contains(index)) else { return false };
        let locked = vma.lock(index);
        let (mut missed, mut run) = (Vec::new(), 0);
        for index in area.pages {
            // Pages of one folio that have been mapped in one go, from its first on.
            let so_far = std::mem::take(&mut run);
            let Some(frame) = mapping.cached(index).filter(|_| locked.get(index).is_none()) else { continue };
            if self.page(frame).has(flag::HWPOISON) {
                continue;
            }
            let Some(folio) = self.try_get_cached(mapping, index, frame) else { continue };
            let head = folio.head;
            let is_ours = self.trylock_folio(folio);
            if is_ours && mapping.cached(index) == Some(frame) {
                let write = mapping.kind != Kind::File && !vma.forbids(index, true);
                self.map_cached(vma, &locked, (index, frame), write);
                run = if frame == head { 1 } else { so_far + u32::from(so_far > 0) };
                if run > 1 && run == folio.nr_pages() {
                    self.mapped_whole(head, vma, index);
                }
            } else {
                missed.push(folio);
            }
            if is_ours {
                self.unlock_folio(folio);
            }
        }
        let here = locked.get(index);
        drop(locked);
        missed.into_iter().for_each(|folio| self.put_folio(folio, 1));
        if here.is_present() {
            self.step(Step::FaultMapped, here.frame());
        }
        here.is_present()
    }

    /// The pages before `end` that a read fault looks at around one.
    fn around(&self, mapping: &Mapping, index: PageIndex, end: PageIndex) -> PageRange {
        let first = index.first_of(FAULT_AROUND_PAGES);
        let mut window = first.to((first + FAULT_AROUND_PAGES).min(end));
        if self.m.rules.fault_around_whole {
            for edge in [window.start, window.end - 1] {
                let Some(frame) = mapping.cached(edge) else { continue };
                let pages = self.folio(frame).nr_pages();
                let folio = edge.first_of(pages);
                window = window.start.min(folio).to(window.end.max(folio.saturating_add(pages).min(end)));
            }
        }
        window
    }
}
