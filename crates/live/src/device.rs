//! What devices write through pins, and whether the mapping shows it.

use crate::area::{Area, page_size};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// A mapping, and how often each of its pages was given up for a fresh one.
#[derive(Debug)]
pub struct Field {
    /// The mapping.
    pub area: Area,
    /// Of each page: counted before it is given up, and once the fresh one is there.
    renewals: Vec<[AtomicU64; 2]>,
}

impl Field {
    /// One whose pages are the first.
    pub fn new(area: Area) -> Self {
        let renewals = (0..area.pages()).map(|_| Default::default()).collect();
        Self { area, renewals }
    }

    /// Pages are about to be given up.
    pub fn begin(&self, range: &Range<u32>) {
        self.count(range, 0);
    }

    /// Fresh ones are there.
    pub fn end(&self, range: &Range<u32>) {
        self.count(range, 1);
    }

    fn count(&self, range: &Range<u32>, at: usize) {
        self.of(range).for_each(|page| _ = page[at].fetch_add(1, SeqCst));
    }

    /// The renewals of some pages so far; none while one is under way.
    pub fn age(&self, range: &Range<u32>) -> Option<u64> {
        let [ended, begun] =
            [1, 0].map(|at: usize| self.of(range).map(|page| page[at].load(SeqCst)).sum::<u64>());
        (begun == ended).then_some(begun)
    }

    /// Whether some pages are still those that they were at an age.
    pub fn is_of(&self, range: &Range<u32>, age: Option<u64>) -> bool {
        age.is_some() && self.age(range) == age
    }

    fn of(&self, range: &Range<u32>) -> std::slice::Iter<'_, [AtomicU64; 2]> {
        self.renewals[range.start as usize..range.end as usize].iter()
    }
}

/// What one call found of the patterns that its device wrote.
#[derive(Debug, Default)]
pub struct Looks {
    /// Patterns that were looked for.
    pub checked: u64,
    /// Those that were not found.
    pub lost: Vec<String>,
    /// Pages whose mapping showed the frame that was pinned.
    shown: Vec<u32>,
}

impl Looks {
    /// Looks at a page that is pinned, and whose mapping shows the frame that is.
    pub fn while_pinned(&mut self, number: usize, index: u32, found: u64) {
        self.look(number, index, found, "");
        self.shown.push(index);
    }

    fn look(&mut self, number: usize, index: u32, found: u64, when: &str) {
        let wanted = pattern(number as u64);
        self.checked += 1;
        if found != wanted {
            self.lost.push(format!(
                "pinner {number}, page {index}{when}: {found:#x} where {wanted:#x} was written"
            ));
        }
    }

    /// Looks again: what was written stays, unless a page of the range was given up for a fresh one
    /// since they had their `age`.
    pub fn after_unpin(&mut self, number: usize, field: &Field, range: &Range<u32>, age: Option<u64>) {
        let word = word_of(number);
        let shown = std::mem::take(&mut self.shown);
        let found: Vec<(u32, u64)> =
            shown.into_iter().map(|index| (index, field.area.word(index, word))).collect();
        if field.is_of(range, age) {
            for (index, found) in found {
                self.look(number, index, found, " after unpin");
            }
        }
    }
}

/// The word of a page that a pinner's device writes; the first is the programs'.
pub fn word_of(number: usize) -> usize {
    1 + number % (page_size() / size_of::<u64>() - 1)
}

/// What the device of a pinner writes.
pub fn pattern(number: u64) -> u64 {
    0x6775_7073_7472_0000 | number
}

#[cfg(test)]
mod tests {
    use super::*;
    use gupstress_run::machine::Kind;

    /// A page that shows what pinner 3 wrote, was looked at while pinned, and then something happens.
    fn looked(between: impl FnOnce(&Field)) -> Looks {
        let area = crate::area::Space::default().map(Kind::Anon, 2).unwrap();
        let field = Field::new(area);
        let (mut looks, age) = (Looks::default(), field.age(&(0..2)));
        for index in 0..2 {
            field.area.write(index, word_of(3), pattern(3));
            looks.while_pinned(3, index, field.area.word(index, word_of(3)));
        }
        between(&field);
        looks.after_unpin(3, &field, &(0..2), age);
        looks
    }

    #[test]
    fn each_page_is_looked_at_while_pinned_and_after_unpin() {
        let all = looked(|_| {});
        assert_eq!((all.checked, all.lost.len()), (4, 0));
        let gone = looked(|field| field.area.write(1, word_of(3), 7));
        assert_eq!(gone.checked, 4);
        assert_eq!(gone.lost, ["pinner 3, page 1 after unpin: 0x7 where 0x6775707374720003 was written"]);
        let mut wrong = Looks::default();
        wrong.while_pinned(3, 0, 1);
        assert_eq!((wrong.checked, wrong.lost.len()), (1, 1));
    }

    #[test]
    fn pages_that_were_given_up_since_say_nothing() {
        let renew = |field: &Field| {
            field.begin(&(0..1));
            field.area.write(0, word_of(3), 0);
            field.end(&(0..1));
        };
        assert_eq!(looked(renew).checked, 2);
        assert_eq!(looked(|field| field.begin(&(1..2))).checked, 2);
    }

    #[test]
    fn each_page_has_an_age_of_its_own() {
        let field = Field::new(crate::area::Space::default().map(Kind::Anon, 4).unwrap());
        let ages = || [0..2, 2..4, 1..3].map(|range| field.age(&range));
        assert_eq!(ages(), [Some(0); 3]);
        field.begin(&(2..4));
        assert_eq!(ages(), [Some(0), None, None]);
        field.end(&(2..4));
        assert_eq!(ages(), [Some(0), Some(2), Some(1)]);
        assert!(field.is_of(&(0..2), Some(0)) && !field.is_of(&(2..4), Some(0)));
        assert!(!field.is_of(&(0..2), None));
    }
}
