//! Splitting a folio into smaller ones: `split_huge_page_to_list`, `folio_split`.

use crate::drive::Driver;
use crate::machine::{Frame, MAX_ORDER, MappingId, PageIndex, PageRange, Pte, flag};
use crate::observe::Event;
use crate::ops::floor::Mm;
use crate::policy::Errno;
use std::ops::Range;

impl<D: Driver> Mm<'_, D> {
    /// Splits a locked folio, on which the caller has `own` references, into folios of these
    /// orders, in order of their pages; all are locked while it is done, and the first stays so.
    /// A reference of the caller's stays on the first, or is on `kept`, if that is another part.
    /// `isolated`: whether it is off the LRU, and each of its parts is to be so with a reference.
    ///
    /// # Errors
    /// `EBUSY` if it has been truncated, `EAGAIN` if others have references on it: nothing has
    /// changed, but that it may be mapped by PTEs now.
    pub(in crate::ops) fn split_folio(
        &self,
        (head, kept): (Frame, Frame),
        own: i32,
        isolated: bool,
        orders: &[u32],
    ) -> Result<Vec<Frame>, Errno> {
        self.event(Event::SplitCalls);
        let folio = self.page(head);
        let huge = folio.order() == MAX_ORDER;
        let result = match folio.mapping() {
            None => Err(Errno::EBUSY),
            Some(id) if folio.refcount() == self.m.expected_refs(folio) + own => {
                self.unmap_and_split(id, (head, kept), own, isolated, orders)
            }
            Some(_) => Err(Errno::EAGAIN),
        };
        if huge {
            self.event(if result.is_ok() { Event::ThpSplitPage } else { Event::ThpSplitPageFailed });
        }
        result
    }

    fn unmap_and_split(
        &self,
        id: MappingId,
        (head, kept): (Frame, Frame),
        own: i32,
        isolated: bool,
        orders: &[u32],
    ) -> Result<Vec<Frame>, Errno> {
        let folio = self.page(head);
        let pages = folio.pages();
        self.unmap_folio(id, head, &pages, own);
        let result = match self.m.memory.freeze(head, own + self.m.cache_refs(folio)) {
            Ok(frozen) => {
                let anon = folio.has(flag::ANON);
                let parts = frozen.split(orders, |order| {
                    // The part's page cache references, one of ours until it is unlocked, and the
                    // isolation's.
                    let cached = if anon { 0 } else { 1 << order };
                    cached + 1 + i32::from(isolated)
                });
                Ok(self.relist_parts(parts, own, isolated))
            }
            Err(_) => Err(Errno::EAGAIN),
        };
        if folio.has(flag::ANON) {
            self.remove_migration_ptes(id, pages, (head, head), result.is_ok());
        }
        if let Ok(parts) = &result {
            for &part in &parts[1..] {
                let part = self.folio_at(part);
                self.unlock_folio(part);
                // What is mapped nowhere is freed here, unless it is isolated or kept.
                if part.head != kept {
                    self.put_folio(part, 1);
                }
            }
        }
        result
    }

    /// `unmap_folio`: migration entries for anonymous memory, nothing for files.
    fn unmap_folio(&self, id: MappingId, head: Frame, pages: &PageRange, own: i32) {
        let mapping = self.m.mapping(id);
        if self.page(head).has(flag::ANON) {
            // `split_huge_pmd` with `freeze`: what a PMD maps is unmapped as one.
            let entire = self.m.memory.entire_mapcount(head) > 0;
            _ = self.try_to_migrate(head, own, false);
            mapping.for_each_vma(|vma| self.split_pmd_of(vma, pages.start, head));
            if entire && self.m.rules.split_unmaps_pages {
                self.defer_split(head);
            }
            return;
        }
        mapping.for_each_vma(|vma| self.split_pmd_of(vma, pages.start, head));
        mapping.for_each_vma(|vma| {
            for (index, frame) in pages.clone().zip(head.on()) {
                let locked = vma.lock(index);
                let pte = locked.get(index);
                if pte.is_present() && pte.frame() == frame {
                    locked.clear_flush(index, Pte::NONE);
                    self.remove_rmap(frame, vma, index);
                    drop(locked);
                    self.put_folio(self.folio_at(head), 1);
                }
            }
        });
    }

    /// Splits the PMD that maps a folio, if one does.
    fn split_pmd_of(&self, vma: &crate::machine::Vma, index: PageIndex, head: Frame) {
        let locked = vma.lock(index);
        if locked.pmd(index).is_some_and(|pmd| pmd.frame() == head) {
            self.split_pmd_locked(&locked, vma, index);
        }
    }

    /// `lru_add_split_folio`: the parts take their places beside the first.
    fn relist_parts(&self, parts: Vec<(Frame, i32)>, own: i32, isolated: bool) -> Vec<Frame> {
        let head = parts[0].0;
        let listed = !isolated && self.page(head).has(flag::LRU);
        let mut lists = self.m.lruvec.lock();
        for &(part, refs) in &parts[1..] {
            let folio = self.folio_at(part);
            self.set_locked(folio);
            if listed {
                lists.add(&self.m.memory, folio);
                folio.set(flag::LRU);
            }
            folio.set_isolator(self.page(head).isolator());
            self.m.memory.unfreeze(part, refs);
        }
        drop(lists);
        let cached = parts[0].1 - 1 - i32::from(isolated);
        self.m.memory.unfreeze(head, own + cached);
        parts.into_iter().map(|(part, _)| part).collect()
    }
}

/// The orders of the largest aligned parts of a folio of an order of which none has pages both
/// inside and outside of a range of its pages: what `folio_split` makes of it from 6.15 on.
pub(in crate::ops) fn around(order: u32, range: &Range<u32>) -> Vec<u32> {
    let mut parts = Vec::new();
    let mut first = 0;
    while first < 1 << order {
        let fits = |&size: &u32| {
            let part = first..first + (1 << size);
            let apart = part.end <= range.start || part.start >= range.end;
            first.is_multiple_of(1 << size) && (apart || range.start <= part.start && part.end <= range.end)
        };
        let size = (0..=order).rev().find(fits).expect("a page has no parts");
        parts.push(size);
        first += 1 << size;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::around;

    #[test]
    fn parts_are_as_large_as_the_range_allows() {
        assert_eq!(around(4, &(8..16)), [3, 3]);
        assert_eq!(around(4, &(0..16)), [4]);
        assert_eq!(around(2, &(1..2)), [0, 0, 1]);
        assert_eq!(around(3, &(3..6)), [1, 0, 0, 1, 1]);
    }
}
