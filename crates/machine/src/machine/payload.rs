//! What frames hold: real bytes, so that a migration copies and DMA writes.
//!
//! # Who may touch a payload
//!
//! 1. Anyone who holds a reference (a pin's DMA) or the page-table lock of a
//!    PTE that maps it (a user's store) may read and write single words.
//! 2. Whoever froze a page ([`Frozen`]), or has just allocated it ([`Fresh`]),
//!    holds it alone and may copy or fill it as a whole.
//!
//! Case 2 excludes case 1: a frozen page has no references and no PTEs, and a
//! fresh one has not been published. `tests/loom.rs` checks this.
//!
//! Both are tokens that only [`Memory`] makes, each of one frame of one memory,
//! so that what is copied is what was frozen:
//!
//! ```compile_fail,E0624
//! use gupstress_machine::machine::Page;
//! // Nobody can freeze a page of his own making, to copy a frame that is in use.
//! Page::default().freeze(1);
//! ```
//!
//! ```compile_fail,E0624
//! # use gupstress_machine::machine::Memory;
//! # fn f(memory: &Memory, in_use: gupstress_machine::machine::Frame, target: &gupstress_machine::machine::payload::Fresh<'_>) {
//! // A frame number alone is no leave to copy it.
//! memory.payload.copy(in_use, target.frame());
//! # }
//! ```

use super::Memory;
use super::build::Unbuilt;
use super::folio::Folio;
use super::ids::{Frame, MappingId, PageIndex};
use super::page::flag;
use super::sparse::Sparse;
use crate::sync::{AtomicU64, Exclusive, Ordering};

/// A folio just allocated that nobody else has seen.
#[derive(Debug)]
#[must_use = "a frame that is not published is lost"]
pub struct Fresh<'a> {
    memory: &'a Memory,
    folio: Folio<'a>,
}

impl<'a> Fresh<'a> {
    #[inline]
    pub(super) fn new(memory: &'a Memory, folio: Folio<'a>) -> Self {
        Self { memory, folio }
    }

    /// Publishes the folio: from here on it is reached by its frame number.
    #[inline]
    pub fn publish(self) -> Frame {
        self.publish_folio().head
    }

    /// The same, for the one who goes on with it.
    #[inline]
    pub(crate) fn publish_folio(self) -> Folio<'a> {
        let folio = self.folio;
        std::mem::forget(self);
        folio
    }

    /// Its first frame, for the one who holds it.
    #[inline]
    pub fn frame(&self) -> Frame {
        self.folio.head
    }

    /// It, for the same.
    #[inline]
    pub(crate) fn folio(&self) -> Folio<'a> {
        self.folio
    }

    /// Fills each of its pages, by their place in it, with one word: `folio_zero_user`, with
    /// contents to tell pages apart.
    #[inline]
    pub fn fill(&self, value: impl Fn(u32) -> u64) {
        let Folio { head, .. } = self.folio;
        self.memory.payload.fill(head, value(0));
        if self.folio.is_large() {
            (1..self.folio.nr_pages()).for_each(|nth| self.memory.payload.fill(head + nth, value(nth)));
        }
    }
}

impl Drop for Fresh<'_> {
    fn drop(&mut self) {
        debug_assert!(std::thread::panicking(), "fresh frame {} was never published", self.folio.head);
    }
}

/// A folio whose refcount is frozen: nobody else can reach its payload.
#[derive(Debug)]
#[must_use = "a folio stays frozen until it is unfrozen"]
pub struct Frozen<'a> {
    memory: &'a Memory,
    folio: Folio<'a>,
}

impl<'a> Frozen<'a> {
    #[inline]
    pub(super) fn new(memory: &'a Memory, folio: Folio<'a>) -> Self {
        Self { memory, folio }
    }

    /// Copies it into a fresh folio of the same memory and order: `folio_copy`.
    #[inline]
    pub fn copy_to(&self, target: &Fresh<'_>) {
        let memory = self.memory;
        assert!(std::ptr::eq(memory, target.memory), "a folio is copied within its memory");
        let (from, to) = (self.folio, target.folio);
        assert_eq!(from.order(), to.order(), "a folio is copied to one of its order");
        memory.payload.copy(from.head, to.head);
        if from.is_large() {
            (1..from.nr_pages()).for_each(|nth| memory.payload.copy(from.head + nth, to.head + nth));
        }
    }

    /// Makes folios of these orders of it, which stay frozen until
    /// [`unfreeze`](Memory::unfreeze); with each, the references that `refs` says for its order.
    /// What it was, all are; but only the first has its place on a list.
    pub fn split(self, orders: &[u32], refs: impl Fn(u32) -> i32) -> Vec<(Frame, i32)> {
        let (memory, folio) = (self.memory, self.folio);
        let head = folio.head;
        let end = memory.frames_of(head).end;
        let (mapping, index) = (folio.mapping(), folio.index());
        folio.clear(flag::PARTLY_MAPPED);
        let (shared, place) = (folio.flags() & flag::SPLIT, folio.flags() & flag::PLACE);
        let mut parts = Vec::with_capacity(orders.len());
        let mut first = head;
        for &order in orders {
            let page = memory.page(first);
            page.set(shared);
            page.set_mapping(mapping, index + (first - head));
            parts.push((first, refs(order)));
            // Last: whoever finds the order finds the head made.
            first.run(1 << order).for_each(|frame| memory.page(frame).set_order(order, place));
            first += 1 << order;
        }
        assert_eq!(first, end, "a folio is split into all of its pages");
        std::mem::forget(self);
        parts
    }

    /// Ends the freeze with `refs` references.
    #[inline]
    pub fn unfreeze(self, refs: i32) {
        self.folio.unfreeze(refs);
        std::mem::forget(self);
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        debug_assert!(std::thread::panicking(), "frame {} was never unfrozen", self.folio.head);
    }
}

/// The payload of every frame.
#[derive(Debug)]
pub struct Payload {
    words: Sparse<AtomicU64>,
    per_frame: usize,
    marks: Sparse<Exclusive>,
}

impl Payload {
    /// `frames` frames of `bytes` bytes (a multiple of 8), all zero.
    ///
    /// # Errors
    /// [`Unbuilt`], as the tables of a machine.
    pub fn build(frames: usize, bytes: usize) -> Result<Self, Unbuilt> {
        let per_frame = bytes / 8;
        Ok(Self {
            words: Sparse::build(frames.saturating_mul(per_frame))?,
            per_frame,
            // One marker a frame costs nothing where a marker is empty.
            marks: Sparse::build(frames)?,
        })
    }

    /// 64-bit words in a frame.
    pub fn words_per_frame(&self) -> usize {
        self.per_frame
    }

    #[inline]
    fn frame(&self, frame: Frame) -> &[AtomicU64] {
        let start = frame.at() * self.per_frame;
        &self.words[start..start + self.per_frame]
    }

    /// Reads one word, as DMA or a user does.
    #[inline]
    pub(crate) fn load(&self, frame: Frame, word: usize) -> u64 {
        self.marks[frame.at()].shared(|| self.frame(frame)[word].load(Ordering::Relaxed))
    }

    /// Writes one word, as DMA or a user does.
    #[inline]
    pub(crate) fn store(&self, frame: Frame, word: usize, value: u64) {
        self.marks[frame.at()].shared(|| self.frame(frame)[word].store(value, Ordering::Relaxed));
    }

    /// Copies a frozen frame into a fresh one.
    #[inline]
    fn copy(&self, src: Frame, dst: Frame) {
        self.marks[src.at()].exclusive(|| {
            self.marks[dst.at()].exclusive(|| self.copy_words(src, dst));
        });
    }

    #[cfg(not(loom))]
    #[inline]
    fn copy_words(&self, src: Frame, dst: Frame) {
        assert_ne!(src, dst);
        let (from, to) = (self.frame(src), self.frame(dst));
        // SAFETY: both slices have `per_frame` words and belong to different
        // frames, so they do not overlap; `AtomicU64` has the layout of `u64`
        // and may be written through a shared reference. Nobody else accesses
        // either: the source is frozen (no reference, no PTE), the target
        // fresh. The freeze acquires what dropped references released.
        unsafe {
            std::ptr::copy_nonoverlapping(
                from.as_ptr().cast::<u64>(),
                to.as_ptr().cast::<u64>().cast_mut(),
                self.per_frame,
            );
        }
    }

    #[cfg(loom)]
    fn copy_words(&self, src: Frame, dst: Frame) {
        for (from, to) in self.frame(src).iter().zip(self.frame(dst)) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Fills a fresh frame.
    fn fill(&self, dst: Frame, value: u64) {
        self.marks[dst.at()].exclusive(|| self.fill_words(dst, value));
    }

    #[cfg(not(loom))]
    fn fill_words(&self, dst: Frame, value: u64) {
        let to = self.frame(dst);
        // SAFETY: as for `copy_words`: the frame is fresh, nobody else has it.
        let to =
            unsafe { std::slice::from_raw_parts_mut(to.as_ptr().cast::<u64>().cast_mut(), self.per_frame) };
        to.fill(value);
    }

    #[cfg(loom)]
    fn fill_words(&self, dst: Frame, value: u64) {
        for word in self.frame(dst) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Whether every word of a frame is `value`; quiescent machines only.
    pub fn is_filled(&self, frame: Frame, value: u64) -> bool {
        self.frame(frame).iter().all(|word| word.load(Ordering::Relaxed) == value)
    }
}

/// The word that page `index` of mapping `id` is filled with.
#[inline]
pub fn pattern(id: MappingId, index: PageIndex) -> u64 {
    // splitmix64's finaliser: neighbouring pages differ in half their bits.
    let mut x = (u64::from(id.0) << 32 | u64::from(index.0)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

crate::restore!(Payload { words } keep { per_frame, marks });

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::machine::{CpuId, Gfp, Layout};

    fn memory() -> Memory {
        Memory::build(&Layout { normal: 64, movable: 64, cma: 0, page_bytes: 64 }, 1).unwrap()
    }

    fn fresh(memory: &Memory, order: u32) -> Fresh<'_> {
        memory.alloc(CpuId(0), Gfp::Movable, order).unwrap()
    }

    /// A folio of one memory is frozen, and copied to one of another, of another order.
    fn copied(within: bool, orders: [u32; 2]) {
        let (one, other) = (memory(), memory());
        let source = fresh(&one, orders[0]).publish();
        let target = fresh(if within { &one } else { &other }, orders[1]);
        let frozen = one.freeze(source, 1).unwrap();
        frozen.copy_to(&target);
        frozen.unfreeze(1);
        target.publish();
    }

    #[test]
    fn what_is_frozen_is_copied_page_by_page() {
        copied(true, [0, 0]);
        let memory = memory();
        assert_eq!(memory.payload.words_per_frame(), 8, "of 64 bytes");
        let source = fresh(&memory, 2);
        source.fill(|nth| 100 + u64::from(nth));
        let (source, target) = (source.publish(), fresh(&memory, 2));
        let frozen = memory.freeze(source, 1).unwrap();
        frozen.copy_to(&target);
        frozen.unfreeze(1);
        let target = target.publish();
        for nth in 0..4 {
            let value = 100 + u64::from(nth);
            assert!((0..8).all(|word| memory.payload.load(target + nth, word) == value), "page {nth}");
            assert!(memory.payload.is_filled(source + nth, value));
            memory.payload.store(target + nth, 5, 0);
            assert!(
                !memory.payload.is_filled(target + nth, value) && memory.payload.load(target + nth, 5) == 0
            );
        }
    }

    #[test]
    #[should_panic(expected = "a folio is copied within its memory")]
    fn what_is_frozen_in_one_memory_is_not_copied_to_another() {
        copied(false, [0, 0]);
    }

    #[test]
    #[should_panic(expected = "a folio is copied to one of its order")]
    fn what_is_frozen_is_not_copied_past_its_end() {
        copied(true, [1, 0]);
    }

    #[test]
    #[should_panic(expected = "was never published")]
    fn a_fresh_folio_is_not_forgotten() {
        drop(fresh(&memory(), 0));
    }

    #[test]
    #[should_panic(expected = "was never unfrozen")]
    fn a_frozen_folio_is_not_forgotten() {
        let memory = memory();
        let source = fresh(&memory, 0).publish();
        drop(memory.freeze(source, 1).unwrap());
    }
}
