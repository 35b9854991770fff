//! What the calls of a script have made and not undone, whoever made them.
//!
//! The device of a pin that writes owns a word of each page, and writes there once its pin is
//! through. Who gives pages up ends, in one go, the transfers of the pins that are held on them, and
//! until the pages are gone no pin that is under way on them, or begins, gets a device: it may end
//! with frames that the program does not see.

use crate::machine::{Frame, Known, Machine, MappingId, PageIndex, PageRange};
use crate::ops::{Dma, Pin};
use crate::script::Has;
use std::collections::{HashMap, HashSet};

/// A pin that is held.
#[derive(Clone)]
pub(crate) struct Live {
    pub mapping: MappingId,
    pub range: PageRange,
    pub pin: Pin,
    /// Its device, if it has one: none for a pin that only reads, or where
    /// every word of a page has a device already.
    pub dma: Option<Dma>,
}

/// What calls have made and not undone, whoever made them.
#[derive(Default, Clone)]
pub(crate) struct Book {
    pub pins: Vec<Option<Live>>,
    /// By page of a mapping: what is had of those that were there, which may have left it since.
    pub held: HashMap<(Has, MappingId, PageIndex), Vec<Frame>>,
    transfers: Transfers,
}

impl Book {
    /// What it accounts for.
    pub fn known(&self, m: &Machine) -> Known {
        let mut held: HashMap<Frame, i32> = HashMap::new();
        for &frame in self.held.values().flatten() {
            *held.entry(frame).or_default() += 1;
        }
        let mut pinned = HashSet::new();
        for live in self.pins.iter().flatten() {
            for frame in live.pin.by.pinned(m, &live.pin.pages) {
                *held.entry(frame).or_default() += m.pin_refs(frame);
            }
            pinned.extend(&live.pin.pages);
        }
        let busy = self.held.iter().filter(|((has, ..), _)| *has != Has::Reference);
        let busy = busy.flat_map(|(_, frames)| frames).copied().collect();
        Known { held, pinned, busy, never_on_lru: Vec::new() }
    }

    /// Notes what is had of pages from now on.
    pub fn took(&mut self, has: Has, mapping: MappingId, pages: impl Iterator<Item = (PageIndex, Frame)>) {
        for (index, frame) in pages {
            self.held.entry((has, mapping, index)).or_default().push(frame);
        }
    }

    /// Takes out the latest that is had of each page.
    ///
    /// # Errors
    /// The first page of which there is nothing; then all stays.
    pub fn given_back(
        &mut self,
        has: Has,
        mapping: MappingId,
        range: PageRange,
    ) -> Result<Vec<Frame>, PageIndex> {
        let here =
            |index: &PageIndex| self.held.get(&(has, mapping, *index)).is_some_and(|had| !had.is_empty());
        if let Some(index) = range.clone().find(|index| !here(index)) {
            return Err(index);
        }
        Ok(range.filter_map(|index| self.held.get_mut(&(has, mapping, index))?.pop()).collect())
    }
}

/// The devices of pins under way, and who is in their way.
#[derive(Default, Clone)]
pub(crate) struct Transfers {
    count: u64,
    underway: Vec<(MappingId, PageRange, Dma)>,
    /// Pages that are being given up.
    leaving: Vec<(MappingId, PageRange)>,
}

/// A transfer that ends with its pages.
pub(crate) struct Ending {
    pub dma: Dma,
    /// Pages of the mapping.
    pub range: PageRange,
    pub frames: Vec<Frame>,
}

fn meet(one: &PageRange, other: &PageRange) -> bool {
    one.start < other.end && other.start < one.end
}

impl Book {
    /// The device of a pin that begins: one with a word of its own on every page, if there is one.
    pub fn device(&mut self, mapping: MappingId, range: &PageRange, words: usize) -> Option<Dma> {
        let Transfers { count, underway, leaving } = &mut self.transfers;
        *count += 1;
        if leaving.iter().any(|(of, on)| *of == mapping && meet(on, range)) {
            return None;
        }
        let held = self.pins.iter().flatten().filter(|live| live.mapping == mapping);
        let others = underway.iter().filter(|(of, ..)| *of == mapping).map(|(.., dma)| dma.word);
        let taken: Vec<usize> = held.filter_map(|live| Some(live.dma?.word)).chain(others).collect();
        let word = (0..words).find(|word| !taken.contains(word))?;
        let dma = Dma { word, token: !*count };
        underway.push((mapping, range.clone(), dma));
        Some(dma)
    }

    /// A pin is through. Whether its device writes where the program looks.
    pub fn arrives(&mut self, dma: Dma) -> bool {
        let underway = &mut self.transfers.underway;
        let at = underway.iter().position(|(.., other)| other.token == dma.token);
        at.map(|at| underway.swap_remove(at)).is_some()
    }

    /// Pages are about to be given up. The transfers that end here.
    pub fn leaves(&mut self, mapping: MappingId, range: &PageRange) -> Vec<Ending> {
        self.transfers.underway.retain(|(of, on, _)| *of != mapping || !meet(on, range));
        self.transfers.leaving.push((mapping, range.clone()));
        let end = |live: &mut Live| {
            let dma = live.dma.take_if(|_| live.mapping == mapping && meet(&live.range, range))?;
            Some(Ending { dma, range: live.range.clone(), frames: live.pin.pages.clone() })
        };
        self.pins.iter_mut().flatten().filter_map(end).collect()
    }

    /// They are gone.
    pub fn left(&mut self, mapping: MappingId, range: &PageRange) {
        let leaving = &mut self.transfers.leaving;
        if let Some(at) = leaving.iter().position(|(of, on)| *of == mapping && on == range) {
            leaving.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::pages;

    #[test]
    fn no_pin_gets_a_device_on_pages_that_are_being_given_up() {
        let (mut book, going, other) = (Book::default(), MappingId(0), MappingId(1));
        assert!(book.leaves(going, &pages(2..4)).is_empty());
        for (mapping, range, may) in [
            (going, 0..3, false),
            (going, 3..8, false),
            (going, 0..2, true),
            (going, 4..6, true),
            (other, 2..4, true),
        ] {
            let device = book.device(mapping, &pages(range.clone()), 8);
            assert_eq!(device.is_some(), may, "pages {range:?} of {mapping}");
        }
        book.left(going, &pages(2..4));
        assert!(book.device(going, &pages(2..4), 8).is_some(), "they are gone");
    }

    #[test]
    fn a_device_whose_pages_were_given_up_under_its_pin_never_writes() {
        let (mut book, mapping) = (Book::default(), MappingId(0));
        let [meets, apart] = [pages(0..3), pages(4..6)].map(|range| book.device(mapping, &range, 8).unwrap());
        assert!(book.leaves(mapping, &pages(2..4)).is_empty(), "no pin is held");
        book.left(mapping, &pages(2..4));
        assert!(!book.arrives(meets));
        assert!(book.arrives(apart));
        assert!(!book.arrives(apart), "once");
    }
}
