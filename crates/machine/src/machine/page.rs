//! A page frame: one cache line of state.
//!
//! # Folios
//!
//! A *folio* is 2^order frames, naturally aligned, that are allocated, listed,
//! pinned and moved as one. Its first frame's line, the head, has its state: references,
//! mappings, flags, place on a list. Every line of it says the order, so the
//! head of any frame is one shift away ([`Memory::head`](super::Memory::head)); a frame
//! alone is a folio of order 0 and its own head. What each page of a folio has for itself:
//! how many PTEs map it, `PageAnonExclusive` unless a PMD maps it, poison.
//!
//! A line of zeros is that of a page of a huge folio, or of a free block as large, that has nothing
//! to say for itself: where its head does not say otherwise all is as there. So the order is kept
//! as what it lacks to the largest, and which place a frame lies in is said by every line but
//! those. Nobody writes to them without need: they take no memory ([`sparse`](super::sparse)).
//!
//! A folio's order changes only while its refcount is zero or frozen. So whoever holds a
//! reference may look it up as often as he likes; who has looked first and got his reference
//! then must look again, and give back to the head that he took it from.
//!
//! # Who may change what
//!
//! 1. `refcount` by anyone who holds a reference, and by [`Page::try_get`]
//!    from above zero. Zero means free or frozen; only the owner of that
//!    state raises it again.
//! 2. `PG_lru` is set under the lruvec lock by the one who puts the page on a
//!    list; whoever *test-and-clears* it owns the page's LRU links until the
//!    flag is set again.
//! 3. `prev`, `next`, `list` and `mlock_count` only under the lruvec lock; `prev` and
//!    `next` of a free block's first page under its zone's lock.
//! 4. `mapping` and `index` by the one who owns a fresh page, or under the
//!    page lock while the page is unmapped.
//!
//! # Memory ordering
//!
//! A successful `try_get` or flag test-and-clear is `AcqRel` so that what the
//! previous owner wrote is seen. Freezing (`refcount` to 0) is `AcqRel`: the
//! payload is then read by the freezer alone, and the release of each dropped
//! reference is what it pairs with. GUP-fast's reference and its re-read of
//! the PTE against unmapping's cleared PTE and its read of the refcount form a
//! store-buffer pattern and need `SeqCst` on both sides; that is said where it
//! happens (`ops::gup`, `ops::rmap`).
//!
//! # `PG_waiters`
//!
//! A sleeper sets it in the same word, and in the same access, in which it
//! finds the flag set that it waits for ([`Page::is_clear_or_awaited`]); who
//! clears that flag takes `PG_waiters` with it and wakes if it was set
//! ([`Page::clear_awaited`]). All accesses of one word have one order: either
//! the sleeper finds the flag clear, or the waker finds `PG_waiters`. The
//! sleeper looks under the mutex it sleeps on, so it sleeps before it is woken;
//! woken, it looks, and so asks, again. No fence is needed, and without
//! sleepers nothing but the one write.

use crate::sync::{AtomicI32, AtomicU32, Ordering};

use super::ids::{AtomicFrame, Frame, MappingId, PageIndex, PageRange};

/// A page flag, named as in `include/linux/page-flags.h`.
pub mod flag {
    #![allow(missing_docs)]
    pub const LOCKED: u32 = 1 << 0;
    pub const LRU: u32 = 1 << 1;
    pub const ACTIVE: u32 = 1 << 2;
    pub const REFERENCED: u32 = 1 << 3;
    pub const UNEVICTABLE: u32 = 1 << 4;
    pub const MLOCKED: u32 = 1 << 5;
    pub const SWAPBACKED: u32 = 1 << 6;
    pub const DIRTY: u32 = 1 << 7;
    pub const WRITEBACK: u32 = 1 << 8;
    pub const HWPOISON: u32 = 1 << 9;
    pub const RESERVED: u32 = 1 << 10;
    pub const ANON: u32 = 1 << 11;
    /// `PageAnonExclusive`: this mapping alone may write it.
    pub const ANON_EXCLUSIVE: u32 = 1 << 12;
    /// Someone may sleep until `LOCKED` or `WRITEBACK` is clear (see below).
    pub const WAITERS: u32 = 1 << 13;
    /// Put into the oldest generation of the multi-gen LRU, where `MADV_COLD` leaves it.
    pub const OLDEST: u32 = 1 << 14;
    /// In `ZONE_MOVABLE`; never changes. Of a huge folio, or a free block as large, its head says it.
    pub const ZONE_MOVABLE: u32 = 1 << 16;
    /// In a CMA pageblock; likewise.
    pub const CMA: u32 = 1 << 17;
    /// A driver's page, never on an LRU list; known to the model only.
    pub const NEVER_LRU: u32 = 1 << 18;
    /// `PageBuddy`: first of a free block of the order that the flags say.
    pub const BUDDY: u32 = 1 << 19;
    /// That block lies where memory is being offlined: nobody gets it.
    pub const SET_ASIDE: u32 = 1 << 20;
    /// `PG_partially_mapped`: a large folio of which some page is mapped no more.
    pub const PARTLY_MAPPED: u32 = 1 << 21;
    /// `PG_hugetlb`: a folio of the hugetlb pool.
    pub const HUGETLB: u32 = 1 << 22;
    /// `hugetlb_temporary`: stands for one of the pool's while that is migrated.
    pub const TEMPORARY: u32 = 1 << 23;
    /// `hugetlb_migratable`: in use, and in nobody's hands.
    pub const MIGRATABLE: u32 = 1 << 24;
    /// Where begins what the order of the folio that a page is part of lacks to the largest; four bits.
    pub const ORDER: u32 = 28;
    /// The bits of it.
    pub const ORDERS: u32 = u32::MAX << ORDER;
    /// Flags that the parts of a split folio take over from it.
    pub const SPLIT: u32 = ACTIVE | REFERENCED | UNEVICTABLE | MLOCKED | SWAPBACKED | DIRTY | ANON | OLDEST;
    /// Flags that tell where a frame lies and that outlive its contents.
    pub const PLACE: u32 = ZONE_MOVABLE | CMA;

    /// Flags by name, for reports.
    pub const NAMES: &[(u32, &str)] = &[
        (LOCKED, "PG_locked"),
        (LRU, "PG_lru"),
        (ACTIVE, "PG_active"),
        (REFERENCED, "PG_referenced"),
        (UNEVICTABLE, "PG_unevictable"),
        (MLOCKED, "PG_mlocked"),
        (SWAPBACKED, "PG_swapbacked"),
        (DIRTY, "PG_dirty"),
        (WRITEBACK, "PG_writeback"),
        (HWPOISON, "PG_hwpoison"),
        (RESERVED, "PG_reserved"),
        (ANON, "PG_anon"),
        (ANON_EXCLUSIVE, "PG_anon_exclusive"),
        (WAITERS, "PG_waiters"),
        (HUGETLB, "PG_hugetlb"),
    ];
}

/// Largest order of a folio, and of a free block: a huge page of 512 frames.
pub const MAX_ORDER: u32 = 9;

/// A page frame's line: its own state and, in a head, its folio's.
#[repr(C, align(64))]
#[derive(Debug, Default)]
#[cfg_attr(not(loom), derive(bytemuck::Zeroable))]
pub struct Page {
    refcount: AtomicI32,
    /// PTEs that map this very page.
    mapcount: AtomicI32,
    flags: AtomicU32,
    /// Id of the mapping it belongs to, plus one; 0 for none.
    mapping: AtomicU32,
    /// Index in that mapping.
    index: AtomicU32,
    pub(super) prev: AtomicFrame,
    pub(super) next: AtomicFrame,
    /// Which LRU list it is on, plus one; 0 for none.
    pub(super) list: AtomicU32,
    /// `folio->mlock_count`, kept while on the unevictable list.
    pub(crate) mlock_count: AtomicU32,
    /// References that never let go: known to the model only, never to a policy.
    lasting: AtomicU32,
    /// Those of them that are pins.
    lasting_pins: AtomicU32,
    /// Who holds `PG_locked`, plus one: known to the model only.
    lock_owner: AtomicU32,
    /// Who writes it back, plus one: known to the model only.
    writeback_owner: AtomicU32,
    /// Who isolated it last, plus one: known to the model only.
    isolator: AtomicU32,
    /// `_large_mapcount`: all mappings of a folio of order 1 and above.
    large_mapcount: AtomicI32,
    /// `_pincount`: pins of a folio of order 2 and above.
    pincount: AtomicI32,
}

const _: () = assert!(size_of::<Page>() == 64 || cfg!(loom));

/// The flags that say an order.
#[inline]
const fn of_order(order: u32) -> u32 {
    (MAX_ORDER - order) << flag::ORDER
}

/// The order that flags say.
#[inline]
pub(super) fn order_in(flags: u32) -> u32 {
    MAX_ORDER - (flags >> flag::ORDER)
}

/// Whether it is that of more than one page.
#[inline]
pub(super) fn is_large_in(flags: u32) -> bool {
    is_at_least_in(flags, 1)
}

/// Whether it is no less than this one, which is above 0.
#[inline]
pub(super) fn is_at_least_in(flags: u32, order: u32) -> bool {
    // What the order lacks stands in the topmost bits, and lacks more the smaller it is.
    flags < of_order(order - 1)
}

/// The first frame of the folio that a frame is part of whose line has these flags.
#[inline]
pub(super) fn head_in(flags: u32, frame: Frame) -> Frame {
    if is_large_in(flags) { head_of_large(flags, frame) } else { frame }
}

/// Out of line, or it is done for single pages, too.
#[inline(never)]
fn head_of_large(flags: u32, frame: Frame) -> Frame {
    frame.align_down(order_in(flags))
}

impl Page {
    /// Order of the folio that it is part of: `folio_order`.
    #[inline]
    pub fn order(&self) -> u32 {
        order_in(self.flags())
    }

    /// The first frame of that folio, given the frame whose line it is: whoever has a line need not
    /// look for it again.
    #[inline]
    pub fn head_of(&self, frame: Frame) -> Frame {
        // Shifts by what has just been loaded take longer than a test that mostly comes out alike.
        if self.is_large() { frame.align_down(self.order()) } else { frame }
    }

    /// Pages of that folio: `folio_nr_pages`.
    #[inline]
    pub fn nr_pages(&self) -> u32 {
        1 << self.order()
    }

    /// Whether the folio has more than one page: `folio_test_large`.
    #[inline]
    pub fn is_large(&self) -> bool {
        is_large_in(self.flags())
    }

    /// Makes it part of a folio of this order; `place`: which flags of [`flag::PLACE`] it has
    /// where that is smaller than the largest.
    pub(super) fn set_order(&self, order: u32, place: u32) {
        let place = if order == MAX_ORDER { 0 } else { place };
        let with = |flags: u32| flags & !flag::ORDERS | of_order(order) | place;
        // Others may set `PG_waiters` of a folio that is split. Whoever sees the order sees what
        // the page was made before.
        let mut old = self.flags.load(Ordering::Relaxed);
        if old == with(old) {
            return;
        }
        while let Err(now) =
            self.flags.compare_exchange_weak(old, with(old), Ordering::Release, Ordering::Relaxed)
        {
            old = now;
        }
    }

    /// The free block that begins here, if one does: its order, and whether it is set aside.
    /// Under the zone's lock.
    pub(super) fn free_block(&self) -> Option<(u32, bool)> {
        let flags = self.flags.load(Ordering::Relaxed);
        let block = (MAX_ORDER - (flags >> flag::ORDER), flags & flag::SET_ASIDE != 0);
        (flags & flag::BUDDY != 0).then_some(block)
    }

    /// Makes it the first page of a free block, or one of none, in a place. Under the zone's lock.
    pub(super) fn set_free_block(&self, block: Option<(u32, bool)>, place: u32) {
        let none = !(flag::BUDDY | flag::SET_ASIDE | flag::ORDERS);
        let flags = block.map_or(of_order(0), |(order, aside)| {
            flag::BUDDY | of_order(order) | if aside { flag::SET_ASIDE } else { 0 }
        });
        self.flags.store(self.flags.load(Ordering::Relaxed) & none | flags | place, Ordering::Relaxed);
    }

    /// `folio_ref_count`. `SeqCst`, for the pattern named above.
    #[inline]
    pub fn refcount(&self) -> i32 {
        self.refcount.load(Ordering::SeqCst)
    }

    /// `folio_ref_try_add`: adds `n` references unless there are none.
    ///
    /// `SeqCst`: ordered before GUP-fast's re-read of the PTE.
    #[inline]
    pub fn try_get(&self, n: i32) -> bool {
        let mut old = self.refcount.load(Ordering::Relaxed);
        loop {
            if old <= 0 {
                return false;
            }
            match self.refcount.compare_exchange_weak(old, old + n, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => old = now,
            }
        }
    }

    /// `folio_get` by one who holds a reference already.
    #[inline]
    pub fn get(&self, n: i32) {
        let old = self.refcount.fetch_add(n, Ordering::Relaxed);
        debug_assert!(old > 0, "reference taken on a page that has none");
    }

    /// Drops `n` references; true if none is left and the caller must free the page.
    #[inline]
    #[must_use]
    pub fn put_testzero(&self, n: i32) -> bool {
        let old = self.refcount.fetch_sub(n, Ordering::AcqRel);
        debug_assert!(old >= n, "refcount {old} dropped by {n}");
        old == n
    }

    /// From exactly `expected` references, at least one, to none: see [`Memory::freeze`](super::Memory::freeze).
    #[inline]
    pub(super) fn freeze(&self, expected: i32) -> Result<(), i32> {
        assert!(expected > 0, "who has no reference cannot freeze");
        // A read first: a refused exchange costs as much as one that is not.
        let found = self.refcount.load(Ordering::Relaxed);
        if found != expected {
            return Err(found);
        }
        self.refcount.compare_exchange(expected, 0, Ordering::AcqRel, Ordering::Relaxed).map(|_| ())
    }

    /// Ends the freeze with `refs` references.
    #[inline]
    pub(super) fn unfreeze(&self, refs: i32) {
        self.refcount.store(refs, Ordering::Release);
    }

    /// Gives a page fresh from the allocator its first reference.
    #[inline]
    pub(super) fn first_ref(&self) {
        // After everything that took it from where it was: who has seen it there, and gets this
        // reference, looks again.
        self.refcount.store(1, Ordering::Release);
    }

    /// PTEs that map this very page: `page->_mapcount`.
    #[inline]
    pub fn mapcount(&self) -> i32 {
        self.mapcount.load(Ordering::Relaxed)
    }

    /// Mappings of the folio that it is the head of: `folio_mapcount`.
    #[inline]
    pub fn folio_mapcount(&self) -> i32 {
        self.folio_mapcount_in(self.flags())
    }

    /// The same where it was found with these flags.
    #[inline]
    pub(super) fn folio_mapcount_in(&self, flags: u32) -> i32 {
        if is_large_in(flags) { self.large_mapcount() } else { self.mapcount() }
    }

    /// Adds to the page's own mapcount; returns the new one. Under the page-table lock.
    #[inline]
    pub(super) fn add_mapcount(&self, n: i32) -> i32 {
        self.mapcount.fetch_add(n, Ordering::Relaxed) + n
    }

    /// Of a page of a fresh folio, whose mappings nobody else counts: a PTE maps it.
    #[inline]
    pub(super) fn first_mapping(&self) {
        debug_assert_eq!(self.mapcount(), 0, "a fresh page is mapped");
        self.mapcount.store(1, Ordering::Relaxed);
    }

    /// The same of the large folio that it is the head of: so many PTEs do.
    pub(super) fn first_large_mapping(&self, n: i32) {
        self.large_mapcount.store(n, Ordering::Relaxed);
    }

    pub(super) fn large_mapcount(&self) -> i32 {
        self.large_mapcount.load(Ordering::Relaxed)
    }

    /// Adds to that of the large folio that it is the head of; returns the new one.
    pub(super) fn add_large_mapcount(&self, n: i32) -> i32 {
        self.large_mapcount.fetch_add(n, Ordering::Relaxed) + n
    }

    /// Pins that are counted apart from references: `_pincount`, of a head.
    #[inline]
    pub fn pincount(&self) -> i32 {
        self.pincount.load(Ordering::SeqCst)
    }

    /// Counts pins apart from their references. `SeqCst`, as [`try_get`](Self::try_get).
    #[inline]
    pub(super) fn add_pincount(&self, n: i32) {
        self.pincount.fetch_add(n, Ordering::SeqCst);
    }

    /// All flags.
    #[inline]
    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::Acquire)
    }

    /// Whether any flag of `mask` is set.
    #[inline]
    pub fn has(&self, mask: u32) -> bool {
        self.flags() & mask != 0
    }

    /// Sets flags; returns what was set before. A write only where it changes something.
    #[inline]
    pub fn set(&self, mask: u32) -> u32 {
        let flags = self.flags();
        if flags & mask == mask { flags } else { self.flags.fetch_or(mask, Ordering::AcqRel) }
    }

    /// `__folio_set_locked` and its like: sets flags of a fresh folio. Nobody else changes them but
    /// who waits for the lock of what the frame was before: he looks again, and does not sleep.
    #[inline]
    pub(crate) fn set_fresh(&self, mask: u32) {
        self.flags.store(self.flags.load(Ordering::Relaxed) | mask, Ordering::Release);
    }

    /// Clears flags; returns what was set before. A write only where it changes something.
    #[inline]
    pub fn clear(&self, mask: u32) -> u32 {
        let flags = self.flags();
        if flags & mask == 0 { flags } else { self.flags.fetch_and(!mask, Ordering::AcqRel) }
    }

    /// Clears flags of a page of a folio, and sets flags of the folio: in one write where one line has both.
    #[inline]
    pub(crate) fn hand_over(&self, clear: u32, folio: &Self, set: u32) {
        if !std::ptr::eq(self, folio) {
            self.clear(clear);
            folio.set(set);
            return;
        }
        let with = |flags: u32| flags & !clear | set;
        let mut old = self.flags();
        while old != with(old)
            && let Err(now) =
                self.flags.compare_exchange_weak(old, with(old), Ordering::AcqRel, Ordering::Relaxed)
        {
            old = now;
        }
    }

    /// Test-and-clear: true if all of `mask` was set.
    #[inline]
    pub fn test_clear(&self, mask: u32) -> bool {
        // A read first: contended callers mostly fail, and must not take the line for it.
        self.has(mask) && self.clear(mask) & mask == mask
    }

    /// Test-and-set: true if any of `mask` was set already.
    #[inline]
    pub fn test_set(&self, mask: u32) -> bool {
        self.set(mask) & mask != 0
    }

    /// Whether none of `mask` is set; otherwise whoever clears it will wake.
    #[inline]
    pub fn is_clear_or_awaited(&self, mask: u32) -> bool {
        !self.has(mask) || self.flags.fetch_or(flag::WAITERS, Ordering::AcqRel) & mask == 0
    }

    /// Clears flags that others may sleep on; true if someone must be woken.
    #[inline]
    #[must_use]
    pub fn clear_awaited(&self, mask: u32) -> bool {
        self.flags.fetch_and(!(mask | flag::WAITERS), Ordering::AcqRel) & flag::WAITERS != 0
    }

    /// The mapping's id, if it has one.
    #[inline]
    pub fn mapping(&self) -> Option<MappingId> {
        self.mapping.load(Ordering::Relaxed).checked_sub(1).map(MappingId)
    }

    /// The index in its mapping.
    #[inline]
    pub fn index(&self) -> PageIndex {
        PageIndex(self.index.load(Ordering::Relaxed))
    }

    /// The pages of its mapping that it is, if it is a folio's first.
    #[inline]
    pub fn pages(&self) -> PageRange {
        self.index().run(self.nr_pages())
    }

    /// Makes it page `index` of mapping `id`, or of none.
    #[inline]
    pub fn set_mapping(&self, id: Option<MappingId>, index: PageIndex) {
        self.mapping.store(id.map_or(0, |id| id.0 + 1), Ordering::Relaxed);
        self.index.store(index.0, Ordering::Relaxed);
    }

    /// The thread that holds the page lock (model's truth).
    pub fn lock_owner(&self) -> Option<u32> {
        self.lock_owner.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Records who holds the page lock, or that nobody will. By the holder only.
    pub fn set_lock_owner(&self, holder: Option<u32>) {
        self.lock_owner.store(holder.map_or(0, |id| id.wrapping_add(1)), Ordering::Relaxed);
    }

    /// The thread that writes it back, while it is under writeback (model's truth).
    pub fn writeback_owner(&self) -> Option<u32> {
        self.writeback_owner.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Records who writes it back. By that one only.
    pub fn set_writeback_owner(&self, writer: u32) {
        self.writeback_owner.store(writer.wrapping_add(1), Ordering::Relaxed);
    }

    /// The thread that isolated it last, of use while it is off the LRU (model's truth).
    pub fn isolator(&self) -> Option<u32> {
        self.isolator.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Records who has isolated it. By the one who has, who owns its line for that anyway.
    #[inline]
    pub fn set_isolator(&self, thread: Option<u32>) {
        self.isolator.store(thread.map_or(0, |id| id.wrapping_add(1)), Ordering::Relaxed);
    }

    /// Holders that never let go, pins among them (model's truth).
    pub fn lasting(&self) -> u32 {
        self.lasting.load(Ordering::Relaxed)
    }

    /// Those holders that are pins.
    pub fn lasting_pins(&self) -> u32 {
        self.lasting_pins.load(Ordering::Relaxed)
    }

    /// Records a pin that never lets go.
    pub fn add_lasting_pin(&self) {
        self.add_lasting(1);
        self.lasting_pins.fetch_add(1, Ordering::Relaxed);
    }

    /// Records references that never let go, or their end.
    pub fn add_lasting(&self, n: i32) {
        self.lasting.fetch_add(n as u32, Ordering::Relaxed);
    }

    /// Resets a page of a folio, but its head, that is the allocator's: where the folio is of the
    /// largest order, it had nothing but flags.
    pub(super) fn reset_tail(&self) {
        if self.order() == MAX_ORDER {
            debug_assert_eq!(self.mapcount(), 0, "a mapped page is freed");
            self.clear(!(flag::PLACE | flag::HWPOISON | flag::ORDERS));
        } else {
            self.reset();
        }
    }

    /// Resets everything but its place; the page is the allocator's, and of order 0.
    pub(super) fn reset(&self) {
        debug_assert_eq!(self.mapcount(), 0, "a mapped page is freed");
        let place = self.flags.load(Ordering::Relaxed) & (flag::PLACE | flag::HWPOISON);
        self.flags.store(place | of_order(0), Ordering::Relaxed);
        self.set_mapping(None, PageIndex(0));
        self.mlock_count.store(0, Ordering::Relaxed);
        self.set_isolator(None);
    }
}

impl Page {
    /// Adds what there is to know of it.
    pub(super) fn digest(&self, all: &mut super::Digest) {
        let of = |a: &AtomicU32| u64::from(a.load(Ordering::Relaxed));
        all.add(u64::from(self.refcount.load(Ordering::Relaxed) as u32) << 32 | of(&self.flags));
        all.add(u64::from(self.mapcount.load(Ordering::Relaxed) as u32) << 32 | of(&self.mapping));
        all.add(of(&self.index) << 32 | of(&self.list));
        let link = |to: &AtomicFrame| u64::from(to.load(Ordering::Relaxed).0);
        all.add(link(&self.prev) << 32 | link(&self.next));
        let counts = [&self.large_mapcount, &self.pincount].map(|count| count.load(Ordering::Relaxed) as u32);
        all.add(u64::from(counts[0]) << 32 | u64::from(counts[1]));
    }
}

crate::restore!(Page {
    refcount,
    mapcount,
    flags,
    mapping,
    index,
    prev,
    next,
    list,
    mlock_count,
    lasting,
    lasting_pins,
    lock_owner,
    writeback_owner,
    isolator,
    large_mapcount,
    pincount,
});

#[cfg(test)]
mod tests {
    use super::super::Digest;
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_field_that_says_what_becomes_of_a_page_is_in_its_digest() {
        let signed: [fn(&Page) -> &AtomicI32; 4] =
            [|p| &p.refcount, |p| &p.mapcount, |p| &p.large_mapcount, |p| &p.pincount];
        let unsigned: [fn(&Page) -> &AtomicU32; 4] =
            [|p| &p.flags, |p| &p.mapping, |p| &p.index, |p| &p.list];
        let frames: [fn(&Page) -> &AtomicFrame; 2] = [|p| &p.prev, |p| &p.next];
        let digest = |change: &dyn Fn(&Page)| {
            let (page, mut all) = (Page::default(), Digest::default());
            change(&page);
            page.digest(&mut all);
            all.finish()
        };
        let values = [5, 6, 1 << 30];
        let mut seen: Vec<u64> = vec![digest(&|_| {})];
        for value in values {
            seen.extend(signed.map(|of| digest(&|p| of(p).store(value, Ordering::Relaxed))));
            seen.extend(unsigned.map(|of| digest(&|p| of(p).store(value as u32, Ordering::Relaxed))));
            seen.extend(frames.map(|of| digest(&|p| of(p).store(Frame(value as u32), Ordering::Relaxed))));
        }
        assert_eq!(seen.iter().collect::<HashSet<_>>().len(), 1 + values.len() * 10);
        assert_eq!(digest(&|_| {}), seen[0]);
    }

    #[test]
    fn a_frozen_page_gives_no_reference() {
        let page = Page::default();
        page.first_ref();
        assert!(page.try_get(1024));
        assert_eq!(page.freeze(1).err(), Some(1025), "an extra reference must refuse the freeze");
        assert!(!page.put_testzero(1024));
        page.freeze(1).unwrap();
        assert!(!page.try_get(1));
        page.unfreeze(1);
        assert!(page.try_get(1));
        assert_eq!(page.refcount(), 2);
    }

    #[test]
    #[should_panic(expected = "who has no reference cannot freeze")]
    fn who_has_no_reference_freezes_nothing() {
        _ = Page::default().freeze(0);
    }

    #[test]
    fn test_clear_needs_the_flag() {
        let page = Page::default();
        page.set_free_block(None, flag::ZONE_MOVABLE);
        assert!(!page.test_clear(flag::LRU));
        page.set(flag::LRU);
        assert!(page.test_clear(flag::LRU));
        assert!(!page.test_clear(flag::LRU));
        assert_eq!(page.flags() & !flag::ORDERS, flag::ZONE_MOVABLE);
    }

    #[test]
    fn who_waits_for_a_flag_is_woken_by_who_clears_it_and_by_nobody_else() {
        let page = Page::default();
        page.set(flag::LOCKED);
        assert!(!page.is_clear_or_awaited(flag::LOCKED) && page.clear_awaited(flag::LOCKED));
        page.set(flag::DIRTY);
        assert!(page.is_clear_or_awaited(flag::LOCKED) && !page.has(flag::WAITERS));
        page.set(flag::LOCKED);
        assert!(!page.clear_awaited(flag::LOCKED), "nobody waits");
        page.set(flag::LOCKED);
        assert!(!page.is_clear_or_awaited(flag::LOCKED) && page.has(flag::WAITERS));
        assert!(page.clear_awaited(flag::LOCKED));
        assert_eq!(page.flags(), flag::DIRTY);
        assert!(!page.clear_awaited(flag::LOCKED), "he has been woken");
    }

    #[test]
    fn counts_are_told_as_they_are_after_the_change() {
        let page = Page::default();
        page.set_order(0, 0);
        assert_eq!((page.add_mapcount(3), page.add_mapcount(-1), page.mapcount()), (3, 2, 2));
        assert_eq!((page.add_large_mapcount(3), page.add_large_mapcount(-1)), (3, 2));
        assert_eq!(page.folio_mapcount(), 2);
        page.add_mapcount(5);
        assert_eq!((page.folio_mapcount(), page.is_large()), (7, false));
        page.set_order(1, 0);
        assert_eq!((page.folio_mapcount(), page.is_large(), page.nr_pages()), (2, true, 2));
    }

    #[test]
    fn who_does_something_with_a_page_is_known_by_number() {
        let page = Page::default();
        assert_eq!((page.lock_owner(), page.writeback_owner(), page.isolator()), (None, None, None));
        page.set_lock_owner(Some(0));
        page.set_writeback_owner(7);
        page.set_isolator(Some(3));
        assert_eq!((page.lock_owner(), page.writeback_owner(), page.isolator()), (Some(0), Some(7), Some(3)));
        page.set_lock_owner(None);
        page.set_isolator(None);
        assert_eq!((page.lock_owner(), page.isolator()), (None, None));
    }

    #[test]
    fn a_page_that_is_freed_keeps_its_place_and_its_poison() {
        let kept = flag::CMA | flag::HWPOISON;
        for order in [0, 2] {
            let page = Page::default();
            page.set_order(order, flag::CMA);
            page.set(flag::HWPOISON | flag::DIRTY | flag::LRU);
            page.set_mapping(Some(MappingId(4)), PageIndex(5));
            page.set_isolator(Some(1));
            if order == 0 {
                page.reset();
            } else {
                page.reset_tail();
            }
            assert_eq!((page.flags() & !flag::ORDERS, page.order()), (kept, 0), "order {order}");
            assert_eq!((page.mapping(), page.index(), page.isolator()), (None, PageIndex(0), None));
        }
        // A page of a huge folio: its head says the rest.
        let page = Page::default();
        page.set(kept | flag::ANON_EXCLUSIVE);
        page.reset_tail();
        assert_eq!((page.flags(), page.order()), (kept, MAX_ORDER));
    }

    #[test]
    fn a_flag_that_is_set_or_cleared_leaves_the_others() {
        let page = Page::default();
        assert_eq!(page.set(flag::LRU | flag::DIRTY), 0);
        assert_eq!(page.set(flag::DIRTY | flag::ACTIVE), flag::LRU | flag::DIRTY);
        assert_eq!(page.clear(flag::DIRTY | flag::LOCKED), flag::LRU | flag::DIRTY | flag::ACTIVE);
        assert_eq!(page.clear(flag::LOCKED), flag::LRU | flag::ACTIVE);
        assert!(!page.test_clear(flag::LRU | flag::DIRTY), "half of it was set");
        assert!(!page.test_set(flag::DIRTY) && page.test_set(flag::DIRTY));
        page.set_fresh(flag::LOCKED | flag::DIRTY);
        assert_eq!(page.flags(), flag::ACTIVE | flag::DIRTY | flag::LOCKED);
    }

    #[test]
    fn what_a_page_hands_over_its_folio_has_whether_or_not_they_share_a_line() {
        for alone in [true, false] {
            let (one, other) = (Page::default(), Page::default());
            let (page, folio) = (&one, if alone { &one } else { &other });
            page.set(flag::ANON_EXCLUSIVE | flag::HWPOISON);
            folio.set(flag::LOCKED);
            page.hand_over(flag::ANON_EXCLUSIVE, folio, flag::DIRTY);
            assert!(!page.has(flag::ANON_EXCLUSIVE) && page.has(flag::HWPOISON), "alone: {alone}");
            assert!(folio.has(flag::LOCKED) && folio.has(flag::DIRTY), "alone: {alone}");
            assert_eq!(page.has(flag::DIRTY), alone);
        }
    }

    #[test]
    fn a_free_block_says_its_order_and_whether_it_is_set_aside() {
        let page = Page::default();
        assert_eq!(page.free_block(), None);
        for block in [(3, false), (3, true), (0, true), (MAX_ORDER, false)] {
            page.set_free_block(Some(block), flag::CMA);
            assert_eq!((page.free_block(), page.order()), (Some(block), block.0));
            assert!(page.has(flag::CMA));
        }
        page.set_free_block(None, flag::CMA);
        assert_eq!((page.free_block(), page.order(), page.flags() & !flag::ORDERS), (None, 0, flag::CMA));
    }

    #[test]
    fn a_line_of_zeros_is_of_a_page_of_a_huge_folio() {
        let page = Page::default();
        assert_eq!((page.order(), page.flags()), (MAX_ORDER, 0));
        page.set_order(2, flag::CMA);
        assert_eq!((page.order(), page.flags() & !flag::ORDERS), (2, flag::CMA));
    }
}
