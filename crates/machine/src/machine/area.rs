//! The areas of one mapping: what `mlock`, `mprotect` and `munmap` split and what merges again.
//!
//! An area is a run of pages with one set of flags and, once one of its pages
//! has been written, one `anon_vma`. A change of a part splits an area; areas
//! with equal flags merge again unless each has an `anon_vma` of its own: they
//! were faulted apart and stay apart. `madvise` goes area by area, so where
//! they lie shows in what it drains. Where nothing is mapped any more stands an
//! area that is a [hole](vm::HOLE).

use super::ids::{PageIndex, PageRange, pages};

/// What an area is besides mapped, readable and writable.
pub mod vm {
    /// `VM_LOCKED`.
    pub const LOCKED: u8 = 1 << 0;
    /// Not `VM_WRITE`.
    pub const RDONLY: u8 = 1 << 1;
    /// No area at all: unmapped.
    pub const HOLE: u8 = 1 << 2;
}

/// A run of pages that one `vm_area_struct` maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Area {
    /// Its pages.
    pub pages: PageRange,
    /// Flags of [`vm`].
    pub flags: u8,
    /// Its `anon_vma`, by number; none before the first write fault.
    anon_vma: Option<u32>,
}

impl Area {
    /// Whether any of the flags is set.
    pub fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }
}

/// All areas of a mapping, in order, without gaps.
#[derive(Debug, Clone)]
pub(super) struct Areas {
    list: Vec<Area>,
    anon_vmas: u32,
}

impl Areas {
    /// One area of `len` pages.
    pub fn new(len: u32) -> Self {
        Self { list: vec![Area { pages: pages(0..len), flags: 0, anon_vma: None }], anon_vmas: 0 }
    }

    fn at(&self, index: PageIndex) -> usize {
        self.list.partition_point(|area| area.pages.end <= index)
    }

    /// The parts of the range that lie in one area each.
    pub fn parts(&self, range: &PageRange) -> Vec<Area> {
        let overlapping = self.list[self.at(range.start)..].iter();
        overlapping
            .take_while(|area| area.pages.start < range.end)
            .map(|area| Area { pages: clip(&area.pages, range), ..area.clone() })
            .collect()
    }

    /// `anon_vma_prepare`: gives the area of a page its `anon_vma`, a neighbour's of the same
    /// flags (`find_mergeable_anon_vma`) or a new one. True if no area is without one now.
    pub fn anon_vma_prepare(&mut self, index: PageIndex) -> bool {
        let at = self.at(index);
        if self.list[at].anon_vma.is_none() {
            let flags = self.list[at].flags;
            let neighbours = [self.list.get(at + 1), at.checked_sub(1).map(|before| &self.list[before])];
            let shared = neighbours
                .into_iter()
                .flatten()
                .filter(|near| near.flags == flags)
                .find_map(|near| near.anon_vma);
            self.list[at].anon_vma = shared.or_else(|| {
                self.anon_vmas += 1;
                Some(self.anon_vmas)
            });
        }
        self.list.iter().all(|area| area.anon_vma.is_some() || area.has(vm::HOLE))
    }

    /// `mlock_fixup` and its like: takes the first area in the range in which a flag of `mask` is
    /// not as in `flags`, splits it off, sets and clears them and merges it with its neighbours.
    /// Holes are passed over. Returns its pages.
    ///
    /// `into_unfaulted`: whether what has an `anon_vma` merges with a neighbour that has none.
    pub fn fix(&mut self, range: &PageRange, mask: u8, flags: u8, into_unfaulted: bool) -> Option<PageRange> {
        let first = self.at(range.start);
        let at = first
            + self.list[first..]
                .iter()
                .take_while(|area| area.pages.start < range.end)
                .position(|area| area.flags & mask != flags && !area.has(vm::HOLE))?;
        let old = self.list.remove(at);
        let pages = clip(&old.pages, range);
        let before = (old.pages.start < pages.start)
            .then(|| Area { pages: old.pages.start.to(pages.start), ..old.clone() });
        let after =
            (pages.end < old.pages.end).then(|| Area { pages: pages.end.to(old.pages.end), ..old.clone() });
        let middle = at + usize::from(before.is_some());
        let fixed = Area { pages: pages.clone(), flags: old.flags & !mask | flags, ..old };
        let parts = [before, Some(fixed), after];
        self.list.splice(at..at, parts.into_iter().flatten());
        self.merge(middle, into_unfaulted);
        Some(pages)
    }

    /// `vma_merge`: with the area before, with the one after, or with both.
    fn merge(&mut self, at: usize, into_unfaulted: bool) {
        let middle = self.list[at].clone();
        let fits = |near: &Area| {
            near.flags == middle.flags
                && match (middle.anon_vma, near.anon_vma) {
                    (Some(_), None) => into_unfaulted,
                    (Some(mine), Some(theirs)) => mine == theirs,
                    (None, _) => true,
                }
        };
        let before = at.checked_sub(1).filter(|&near| fits(&self.list[near]));
        let after = Some(at + 1).filter(|&near| self.list.get(near).is_some_and(fits)).filter(|&near| {
            before.is_none_or(|before| compatible(self.list[before].anon_vma, self.list[near].anon_vma))
        });
        let (from, to) = (before.unwrap_or(at), after.unwrap_or(at));
        let merged = Area {
            pages: self.list[from].pages.start.to(self.list[to].pages.end),
            flags: middle.flags,
            anon_vma: self.list[from..=to].iter().find_map(|area| area.anon_vma),
        };
        self.list.splice(from..=to, [merged]);
    }
}

fn clip(pages: &PageRange, range: &PageRange) -> PageRange {
    pages.start.max(range.start).to(pages.end.min(range.end))
}

fn compatible(one: Option<u32>, other: Option<u32>) -> bool {
    one.is_none() || other.is_none() || one == other
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::Range;

    /// Where areas end, after each of the steps: `+` locks, `-` unlocks, `!` writes a page.
    fn ends(len: u32, into_unfaulted: bool, steps: &[(char, Range<u32>)]) -> Vec<u32> {
        let mut areas = Areas::new(len);
        for (what, range) in steps {
            let range = &pages(range.clone());
            if *what == '!' {
                range.clone().for_each(|index| _ = areas.anon_vma_prepare(index));
            }
            let flags = if *what == '+' { vm::LOCKED } else { 0 };
            while *what != '!' && areas.fix(range, vm::LOCKED, flags, into_unfaulted).is_some() {}
            let mut next = PageIndex(0);
            for area in &areas.list {
                assert!(area.pages.start == next && !area.pages.is_empty(), "{areas:?}");
                next = area.pages.end;
            }
            assert_eq!(next, PageIndex(len));
        }
        areas.list.iter().map(|area| area.pages.end.0).collect()
    }

    #[test]
    fn areas_faulted_apart_stay_apart() {
        let apart = [('+', 0..2), ('!', 0..4), ('-', 0..4)];
        assert_eq!(ends(4, true, &apart), [2, 4]);
        // Faulted before it was split, it is one again.
        assert_eq!(ends(4, true, &[('!', 0..4), ('+', 0..2), ('-', 0..4)]), [4]);
        // Not even locking all of it joins them.
        assert_eq!(ends(4, true, &[&apart[..], &[('+', 0..4), ('-', 0..4)]].concat()), [2, 4]);
        // The one in the middle goes with the one before it.
        assert_eq!(ends(6, true, &[('+', 2..4), ('!', 0..2), ('!', 4..6), ('-', 0..6)]), [4, 6]);
    }

    #[test]
    fn an_area_never_faulted_takes_the_others_in_by_kernel() {
        let steps = [('+', 0..2), ('!', 0..2), ('-', 0..4)];
        assert_eq!(ends(4, true, &steps), [4]);
        assert_eq!(ends(4, false, &steps), [2, 4]);
        // The other way round every kernel does.
        let steps = [('+', 0..2), ('!', 2..4), ('-', 0..4)];
        assert_eq!(ends(4, false, &steps), [4]);
        // Left apart, but with one `anon_vma` from then on, they merge when next changed.
        let steps = [('+', 0..2), ('!', 0..2), ('-', 0..4), ('!', 2..4), ('+', 0..4), ('-', 0..4)];
        assert_eq!(ends(4, false, &steps), [4]);
        // Likewise where the one that was faulted is the second.
        let steps = [('+', 2..4), ('!', 2..4), ('-', 2..4), ('!', 0..2), ('+', 2..4), ('-', 2..4)];
        assert_eq!(ends(4, false, &steps[..3]), [2, 4]);
        assert_eq!(ends(4, false, &steps), [4]);
    }

    #[test]
    fn an_area_merges_with_both_around_it_unless_they_were_faulted_apart() {
        let [lock, unlock] = [('+', 2..4), ('-', 2..4)];
        let [first, last, all] = [('!', 0..2), ('!', 4..6), ('!', 0..6)];
        for (steps, wanted) in [
            (vec![lock.clone(), unlock.clone()], vec![6]),
            (vec![all, lock.clone(), unlock.clone()], vec![6]),
            (vec![lock.clone(), first.clone(), unlock.clone()], vec![6]),
            (vec![lock.clone(), last.clone(), unlock.clone()], vec![6]),
            (vec![lock, first, last, unlock], vec![4, 6]),
        ] {
            assert_eq!(ends(6, true, &steps), wanted, "{steps:?}");
        }
    }

    #[test]
    fn every_area_has_its_anon_vma_once_each_that_is_mapped_has_one() {
        let mut areas = Areas::new(6);
        assert_eq!(areas.fix(&pages(2..4), vm::HOLE, vm::HOLE, false), Some(pages(2..4)));
        assert!(!areas.anon_vma_prepare(PageIndex(0)), "the last has none");
        assert!(areas.anon_vma_prepare(PageIndex(4)));
    }

    #[test]
    fn parts_are_cut_at_areas_and_at_the_range() {
        let mut areas = Areas::new(8);
        while areas.fix(&pages(2..4), vm::LOCKED, vm::LOCKED, false).is_some() {}
        let parts: Vec<(PageRange, bool)> = areas
            .parts(&pages(1..5))
            .into_iter()
            .map(|part| (part.pages.clone(), part.has(vm::LOCKED)))
            .collect();
        assert_eq!(parts, [(pages(1..2), false), (pages(2..4), true), (pages(4..5), false)]);
    }

    #[test]
    fn a_hole_stays_one_and_what_lies_around_it_is_changed() {
        let mut areas = Areas::new(8);
        assert_eq!(areas.fix(&pages(2..4), vm::HOLE, vm::HOLE, false), Some(pages(2..4)));
        assert_eq!(areas.fix(&pages(0..8), vm::RDONLY, vm::RDONLY, false), Some(pages(0..2)));
        assert_eq!(areas.fix(&pages(2..8), vm::RDONLY, vm::RDONLY, false), Some(pages(4..8)));
        assert_eq!(areas.fix(&pages(0..8), vm::RDONLY, vm::RDONLY, false), None);
        let parts: Vec<u8> = areas.parts(&pages(0..8)).iter().map(|area| area.flags).collect();
        assert_eq!(parts, [vm::RDONLY, vm::HOLE, vm::RDONLY]);
    }
}
