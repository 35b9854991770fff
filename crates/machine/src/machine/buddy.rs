//! A zone's free blocks by order: the buddy allocator.
//!
//! A free block is 2^order frames, naturally aligned. Its first page says so (`PG_buddy`) and
//! links it, by its otherwise unused LRU links, into the list of its order; the other pages of
//! the block say nothing. Those of a block of the largest order may never have been written to:
//! who makes smaller ones of it makes each a page of its own first ([`Lists::open`]). Two blocks that make up one of the next order never stay beside each
//! other: they merge. A block lies in pageblocks that are all being offlined or all not; those
//! that are lie on lists of their own.

use super::ids::{Frame, Frames, NO_FRAME};
use super::memory::PAGEBLOCK;
use super::page::{MAX_ORDER, Page};
use super::sparse::PerFrame;
use crate::sync::Ordering;

const ORDERS: usize = MAX_ORDER as usize + 1;
const PAGEBLOCK_ORDER: u32 = PAGEBLOCK.trailing_zeros();

/// The line of each frame.
pub(super) type Pages = PerFrame<Page>;

/// Blocks of each order, by their first frames.
#[derive(Debug, Clone, Copy)]
struct Lists {
    first: [Frame; ORDERS],
    /// Flags of the place where all of them lie.
    place: u32,
}

/// A zone's free blocks. Under the zone's lock.
#[derive(Debug, Clone)]
pub(super) struct Buddy {
    range: Frames,
    free: Lists,
    /// Of pageblocks that are being offlined: handed out to nobody.
    set_aside: Lists,
    /// Frames in `free`.
    frames: usize,
}

/// What the blocks are made of: page lines, and which pageblocks are being offlined.
pub(super) struct Blocks<'m, I> {
    pub pages: &'m Pages,
    pub is_isolated: I,
}

impl Lists {
    fn empty(place: u32) -> Self {
        Self { first: [NO_FRAME; ORDERS], place }
    }

    /// Makes each frame of a block of no folio a page of its own.
    fn open(&self, pages: &Pages, frames: Frames) {
        frames.for_each(|frame| pages.of(frame).set_order(0, self.place));
    }

    fn link(&mut self, pages: &Pages, frame: Frame, (order, aside): (u32, bool)) {
        let page = pages.of(frame);
        let next = std::mem::replace(&mut self.first[order as usize], frame);
        page.set_free_block(Some((order, aside)), self.place);
        page.prev.store(NO_FRAME, Ordering::Relaxed);
        page.next.store(next, Ordering::Relaxed);
        if next != NO_FRAME {
            pages.of(next).prev.store(frame, Ordering::Relaxed);
        }
    }

    fn unlink(&mut self, pages: &Pages, frame: Frame, order: u32) {
        let page = pages.of(frame);
        page.set_free_block(None, self.place);
        let (prev, next) = (page.prev.load(Ordering::Relaxed), page.next.load(Ordering::Relaxed));
        if prev == NO_FRAME {
            self.first[order as usize] = next;
        } else {
            pages.of(prev).next.store(next, Ordering::Relaxed);
        }
        if next != NO_FRAME {
            pages.of(next).prev.store(prev, Ordering::Relaxed);
        }
    }

    fn each(&self, pages: &Pages, mut seen: impl FnMut(Frame, u32)) {
        for (order, &first) in (0..).zip(&self.first) {
            let mut frame = first;
            while frame != NO_FRAME {
                seen(frame, order);
                frame = pages.of(frame).next.load(Ordering::Relaxed);
            }
        }
    }
}

impl Buddy {
    /// A zone of these frames, in a place, `from` the first of which is free; none of a block is
    /// isolated.
    pub fn new(pages: &Pages, range: &Frames, from: Frame, place: u32) -> Self {
        let lists = Lists::empty(place);
        let mut buddy = Self { range: range.clone(), free: lists, set_aside: lists, frames: 0 };
        lists.open(pages, Frames { start: range.start, end: from });
        // From the end: lists hand out what came last, so low frames first.
        let mut end = range.end;
        while from < end {
            // The largest aligned block that ends here.
            let fits = (end - from).ilog2().min(MAX_ORDER);
            let order = end.0.trailing_zeros().min(fits);
            end -= 1 << order;
            if order < MAX_ORDER {
                lists.open(pages, end.run(1 << order));
            }
            buddy.free.link(pages, end, (order, false));
            buddy.frames += 1 << order;
        }
        buddy
    }

    /// Frames that can be handed out.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// Takes a block of an order: of the smallest that there are, what is too much is split off.
    pub fn take(&mut self, pages: &Pages, order: u32) -> Option<Frame> {
        let large = &self.free.first[order as usize..];
        let found = order + large.iter().position(|&first| first != NO_FRAME)? as u32;
        let frame = self.free.first[found as usize];
        self.free.unlink(pages, frame, found);
        if found == MAX_ORDER && order != MAX_ORDER {
            self.free.open(pages, frame.run(1 << MAX_ORDER));
        }
        for half in (order..found).rev() {
            self.free.link(pages, frame + (1 << half), (half, false));
        }
        self.frames -= 1 << order;
        Some(frame)
    }

    /// Takes so many pages, or all that there are, as if one by one: of a block that is broken up
    /// they come in a row.
    pub fn take_pages(&mut self, pages: &Pages, count: usize, taken: &mut Vec<Frame>) {
        let mut left = count as u32;
        while left > 0
            && let Some(order) =
                (0..).zip(&self.free.first).find_map(|(n, &first)| (first != NO_FRAME).then_some(n))
        {
            let first = self.free.first[order as usize];
            self.free.unlink(pages, first, order);
            if order == MAX_ORDER {
                self.free.open(pages, first.run(1 << MAX_ORDER));
            }
            let n = left.min(1 << order);
            taken.extend(first.run(n));
            self.frames -= n as usize;
            left -= n;
            let (mut rest, end) = (first + n, first + (1 << order));
            while rest < end {
                let half = rest.0.trailing_zeros();
                self.free.link(pages, rest, (half, false));
                rest += 1 << half;
            }
        }
    }

    /// Gives pages back, as if one by one. Mostly they lie in a row, up or down: what comes one
    /// after the other and makes up a block would merge to it, and is one at once.
    pub fn put_pages<I: Fn(Frame) -> bool>(&mut self, blocks: &Blocks<'_, I>, frames: &[Frame]) {
        let mut rest = frames;
        while let Some(&first) = rest.first() {
            let mut order = 0;
            while order < PAGEBLOCK_ORDER
                && let Some(half) = rest.get(1 << order..2 << order)
                && half.iter().all(|frame| frame.align_down(order + 1) == first.align_down(order + 1))
            {
                order += 1;
            }
            self.put(blocks, first.align_down(order), order);
            rest = &rest[1 << order..];
        }
    }

    /// Gives a block back; it merges with its free buddies.
    pub fn put<I: Fn(Frame) -> bool>(&mut self, blocks: &Blocks<'_, I>, frame: Frame, order: u32) {
        let isolated = (blocks.is_isolated)(frame);
        if order > PAGEBLOCK_ORDER {
            let mut parts = frame.run(1 << order).step_by(PAGEBLOCK as usize);
            if parts.any(|part| (blocks.is_isolated)(part) != isolated) {
                if order == MAX_ORDER {
                    self.free.open(blocks.pages, frame.run(1 << MAX_ORDER));
                }
                self.put(blocks, frame, order - 1);
                self.put(blocks, frame + (1 << (order - 1)), order - 1);
                return;
            }
        }
        let range = self.range.clone();
        let lists = self.lists(isolated);
        let (mut first, mut size) = (frame, order);
        while size < MAX_ORDER {
            let buddy = Frame(first.0 ^ 1 << size);
            if !range.contains(buddy) || blocks.pages.of(buddy).free_block() != Some((size, isolated)) {
                break;
            }
            lists.unlink(blocks.pages, buddy, size);
            size += 1;
            first = first.align_down(size);
        }
        lists.link(blocks.pages, first, (size, isolated));
        if !isolated {
            self.frames += 1 << order;
        }
    }

    fn lists(&mut self, set_aside: bool) -> &mut Lists {
        if set_aside { &mut self.set_aside } else { &mut self.free }
    }

    /// Changes by `change` whether a pageblock is being offlined, and brings its free frames
    /// to the lists where that wants them.
    pub fn isolate<I: Fn(Frame) -> bool>(
        &mut self,
        blocks: &Blocks<'_, I>,
        pageblock: u32,
        change: impl FnOnce(),
    ) {
        let found = self.take_within(blocks.pages, pageblock);
        change();
        for (frame, order) in found {
            self.put(blocks, frame, order);
        }
    }

    /// Takes every free block that has a frame in a pageblock off its list.
    fn take_within(&mut self, pages: &Pages, pageblock: u32) -> Vec<(Frame, u32)> {
        let mut found = Vec::new();
        let mut frame = self.range.start.max(Frame(pageblock * PAGEBLOCK));
        let end = self.range.end.min(Frame((pageblock + 1) * PAGEBLOCK));
        while frame < end {
            let block = (0..=MAX_ORDER).find_map(|order| {
                let first = frame.align_down(order);
                let (size, aside) = pages.of(first).free_block()?;
                (size == order && self.range.contains(first)).then_some((first, order, aside))
            });
            let Some((first, order, aside)) = block else {
                frame += 1;
                continue;
            };
            self.lists(aside).unlink(pages, first, order);
            if !aside {
                self.frames -= 1 << order;
            }
            found.push((first, order));
            frame = first + (1 << order);
        }
        found
    }

    /// Calls `seen` with the first frame and the order of every free block, and whether it is set
    /// aside.
    pub fn each(&self, pages: &Pages, mut seen: impl FnMut(Frame, u32, bool)) {
        for (lists, aside) in [(&self.free, false), (&self.set_aside, true)] {
            lists.each(pages, |first, order| seen(first, order, aside));
        }
    }

    /// Whether a block of an order could be handed out.
    pub fn has(&self, order: u32) -> bool {
        self.free.first[order as usize..].iter().any(|&first| first != NO_FRAME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::flag;
    use std::cell::Cell;

    fn frames(buddy: &Buddy, pages: &Pages, aside: bool) -> Vec<Frame> {
        let mut all = Vec::new();
        buddy.each(pages, |first, order, is_aside| {
            if is_aside == aside {
                all.extend(first.run(1 << order));
            }
        });
        all.sort_unstable();
        all
    }

    #[test]
    fn low_frames_come_first_and_what_is_given_back_merges() {
        let pages = Pages::build(1536).unwrap();
        let blocks = Blocks { pages: &pages, is_isolated: |_| false };
        let mut buddy = Buddy::new(&pages, &Frame(0).run(1536), Frame(1), flag::CMA);
        assert_eq!(buddy.frames(), 1535);
        assert!(buddy.has(MAX_ORDER), "frames 512..1024");
        assert!(Frame(513).run(511).all(|frame| pages.of(frame).flags() == 0), "nothing is written to those");
        let taken: Vec<Frame> = std::iter::from_fn(|| buddy.take(&pages, 0)).collect();
        assert_eq!(taken, Frame(1).run(1535).collect::<Vec<_>>());
        assert!(!buddy.has(0));
        let lines = Frame(0).run(1536).map(|frame| pages.of(frame));
        assert!(lines.clone().all(|page| page.order() == 0 && page.has(flag::CMA)), "each is its own");
        for &frame in taken.iter().rev().filter(|frame| frame.0 % 2 == 0) {
            buddy.put(&blocks, frame, 0);
        }
        assert!(buddy.has(0) && !buddy.has(1), "every second frame is no block of two");
        for &frame in taken.iter().filter(|frame| frame.0 % 2 == 1) {
            buddy.put(&blocks, frame, 0);
        }
        assert_eq!(buddy.frames(), 1535);
        let mut whole: Vec<Frame> = std::iter::from_fn(|| buddy.take(&pages, MAX_ORDER)).collect();
        whole.sort_unstable();
        assert_eq!(whole, [512, 1024].map(Frame), "frame 0 is not the zone's to give");
        whole.iter().for_each(|&frame| buddy.put(&blocks, frame, MAX_ORDER));
        assert_eq!(frames(&buddy, &pages, false), Frame(1).run(1535).collect::<Vec<_>>());
    }

    #[test]
    fn pages_are_taken_and_given_back_many_at_once_as_they_are_one_by_one() {
        // An odd zone of blocks of all orders, which is emptied and filled up in parts of all sizes.
        let two = [(); 2].map(|()| Pages::build(1300).unwrap());
        let [mut many, mut single] = [0, 1].map(|n| Buddy::new(&two[n], &Frame(0).run(1300), Frame(3), 0));
        let blocks = [0, 1].map(|n| Blocks { pages: &two[n], is_isolated: |_| false });
        let (mut held, mut random) = (Vec::new(), 1_u64);
        for _ in 0..2000 {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            let n = (random >> 58) as usize;
            if random >> 40 & 1 == 0 {
                let before = held.len();
                many.take_pages(&two[0], n, &mut held);
                let one_by_one: Vec<Frame> = (0..n).map_while(|_| single.take(&two[1], 0)).collect();
                assert_eq!(held[before..], one_by_one);
            } else {
                // The oldest, which mostly lie in a row.
                let mut back: Vec<Frame> = held.drain(..n.min(held.len())).collect();
                if random >> 41 & 1 == 0 {
                    back.reverse();
                }
                many.put_pages(&blocks[0], &back);
                back.iter().for_each(|&frame| single.put(&blocks[1], frame, 0));
            }
            assert_eq!(many.frames(), single.frames());
            let [many, single] = [(&many, 0), (&single, 1)].map(|(buddy, n)| {
                let mut all = Vec::new();
                buddy.each(&two[n], |first, order, _| all.push((first, order)));
                all
            });
            assert_eq!(many, single, "the same blocks, in the same order");
        }
        assert!(two[0].of(Frame(3)).flags() == two[1].of(Frame(3)).flags());
    }

    #[test]
    fn a_block_that_is_offlined_is_cut_out_and_merges_again() {
        let pages = Pages::build(1024).unwrap();
        let isolated = Cell::new(false);
        let is_isolated = |frame: Frame| isolated.get() && frame.0 / PAGEBLOCK == 3;
        let blocks = Blocks { pages: &pages, is_isolated };
        let mut buddy = Buddy::new(&pages, &Frame(0).run(1024), Frame(0), 0);
        let whole = buddy.take(&pages, MAX_ORDER).unwrap();
        assert_eq!(whole, Frame(0));
        buddy.isolate(&blocks, 3, || isolated.set(true));
        buddy.put(&blocks, whole, MAX_ORDER);
        assert_eq!(frames(&buddy, &pages, true), Frame(192).run(64).collect::<Vec<_>>());
        assert_eq!(buddy.frames(), 1024 - 64);
        buddy.isolate(&blocks, 3, || isolated.set(false));
        assert_eq!(frames(&buddy, &pages, true), []);
        assert_eq!(
            (buddy.take(&pages, MAX_ORDER), buddy.take(&pages, MAX_ORDER)),
            (Some(Frame(0)), Some(Frame(512)))
        );
    }

    /// Every frame of a range that begins no free block is a page of its own, in its place.
    fn are_open(buddy: &Buddy, pages: &Pages, range: Frames) -> bool {
        let mut first = Vec::new();
        buddy.each(pages, |frame, _, _| first.push(frame));
        let mut others = range.filter(|frame| !first.contains(frame)).map(|frame| pages.of(frame));
        others.all(|page| page.order() == 0 && page.has(flag::CMA))
    }

    #[test]
    fn what_is_broken_up_are_pages_of_their_own_and_what_is_whole_is_not_written_to() {
        let untouched =
            |pages: &Pages, range: Frames| range.skip(1).all(|frame| pages.of(frame).flags() == 0);
        let build = |pages: &Pages| Buddy::new(pages, &Frame(0).run(1024), Frame(0), flag::CMA);
        let halves = [0, 512].map(|first| Frame(first).run(512));
        let pages = Pages::build(1024).unwrap();
        let blocks = Blocks { pages: &pages, is_isolated: |_| false };
        let mut buddy = build(&pages);
        assert_eq!(buddy.take(&pages, MAX_ORDER), Some(Frame(0)));
        assert!(untouched(&pages, halves[0].clone()), "a huge page says what there is to say in its head");
        buddy.put(&blocks, Frame(0), MAX_ORDER);
        assert!(halves.iter().all(|half| untouched(&pages, half.clone())), "so does a free block as large");
        assert_eq!(buddy.take(&pages, 3), Some(Frame(0)));
        assert!(are_open(&buddy, &pages, halves[0].clone()) && untouched(&pages, halves[1].clone()));
        let pages = Pages::build(1024).unwrap();
        let mut buddy = build(&pages);
        let mut taken = Vec::new();
        buddy.take_pages(&pages, 3, &mut taken);
        assert_eq!(taken, [0, 1, 2].map(Frame));
        assert!(are_open(&buddy, &pages, halves[0].clone()) && untouched(&pages, halves[1].clone()));
        let pages = Pages::build(1024).unwrap();
        let mut buddy = build(&pages);
        let blocks = Blocks { pages: &pages, is_isolated: |frame: Frame| frame.0 / PAGEBLOCK == 3 };
        assert_eq!(buddy.take(&pages, MAX_ORDER), Some(Frame(0)));
        buddy.put(&blocks, Frame(0), MAX_ORDER);
        assert!(are_open(&buddy, &pages, halves[0].clone()), "part of it is set aside");
        assert!(untouched(&pages, halves[1].clone()));
        assert_eq!(frames(&buddy, &pages, true), Frame(192).run(64).collect::<Vec<_>>());
    }

    #[test]
    fn offlining_takes_what_lies_in_the_pageblock_and_leaves_the_rest_where_it_is() {
        let pages = Pages::build(1024).unwrap();
        let isolated = Cell::new(false);
        let is_isolated = |frame: Frame| isolated.get() && frame.0 / PAGEBLOCK == 5;
        let blocks = Blocks { pages: &pages, is_isolated };
        let mut buddy = Buddy::new(&pages, &Frame(0).run(1024), Frame(0), 0);
        while buddy.take(&pages, 0).is_some() {}
        for frame in [10, 320, 319, 384, 330, 500] {
            buddy.put(&blocks, Frame(frame), 0);
        }
        let listed = |buddy: &Buddy, aside: bool| {
            let mut all = Vec::new();
            buddy.each(&pages, |first, order, is_aside| {
                all.extend((is_aside == aside).then_some((first.0, order)));
            });
            all
        };
        assert_eq!(listed(&buddy, false), [500, 330, 384, 319, 320, 10].map(|frame| (frame, 0)));
        buddy.isolate(&blocks, 5, || isolated.set(true));
        assert_eq!(listed(&buddy, false), [500, 384, 319, 10].map(|frame| (frame, 0)));
        assert_eq!(listed(&buddy, true), [330, 320].map(|frame| (frame, 0)));
        assert_eq!((buddy.frames(), buddy.has(0), buddy.has(1)), (4, true, false));
        buddy.isolate(&blocks, 5, || isolated.set(false));
        assert_eq!(listed(&buddy, true), []);
        assert_eq!(listed(&buddy, false), [330, 320, 500, 384, 319, 10].map(|frame| (frame, 0)));
        assert_eq!(buddy.frames(), 6);
    }
}
