//! Numbers that name things, each of a type of its own: none passes for another, nor for an
//! order or a count of pages.
//!
//! ```compile_fail,E0308
//! # use gupstress_machine::machine::{CpuId, Machine};
//! fn local(m: &Machine, on: CpuId, pages: u32) {
//!     m.set_hugetlb_pool(pages, on);
//! }
//! ```
//!
//! ```compile_fail,E0308
//! # use gupstress_machine::machine::{Frame, Machine, Page, PageIndex};
//! fn page(m: &Machine, index: PageIndex) -> &Page {
//!     m.page(index)
//! }
//! ```

use crate::sync::{AtomicU32, Ordering};
use std::fmt;
use std::ops::{Add, AddAssign, Bound, Range, RangeBounds, Sub, SubAssign};

/// Types of numbers, each shown as the bare one, which is how reports and traces have it.
macro_rules! ids {
    ($( $(#[doc = $doc:literal])* $Id:ident, )*) => { $(
        $(#[doc = $doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
        )]
        #[serde(transparent)]
        pub struct $Id(pub u32);

        impl $Id {
            /// Its place in a table of all of them.
            #[inline]
            pub fn at(self) -> usize {
                self.0 as usize
            }

            /// The one of that place.
            #[inline]
            pub fn nth(at: usize) -> Self {
                Self(at as u32)
            }
        }

        impl fmt::Display for $Id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $Id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    )* };
}

ids! {
    /// A page frame number.
    Frame,
    /// A mapping's number; pages name it.
    MappingId,
    /// A CPU's number.
    CpuId,
    /// A process's number.
    ProcessId,
    /// A page's place in its mapping.
    PageIndex,
}

/// Entries of one page table, and pages that one PMD maps.
pub const PTES_PER_TABLE: u32 = 512;

/// No frame.
pub const NO_FRAME: Frame = Frame(u32::MAX);

/// The frame of the zero page, always reserved and mapped by read faults.
pub const ZERO_FRAME: Frame = Frame(0);

impl CpuId {
    /// Every CPU of so many.
    #[inline]
    pub fn all(cpus: usize) -> impl ExactSizeIterator<Item = Self> + Clone {
        (0..cpus).map(Self::nth)
    }

    /// One of so many CPUs for number `nth` of what goes on them in turn.
    #[inline]
    pub fn turn(nth: usize, cpus: usize) -> Self {
        Self::nth(nth % cpus)
    }
}

impl Frame {
    /// It and all that follow.
    #[inline]
    pub fn on(self) -> impl Iterator<Item = Self> {
        (self.0..).map(Self)
    }
}

impl PageIndex {
    /// The first of the naturally aligned run of `pages` pages that it is one of.
    #[inline]
    pub fn first_of(self, pages: u32) -> Self {
        Self(self.0 - self.0 % pages)
    }

    /// Whether it is the first of the naturally aligned run of `pages` pages around it.
    #[inline]
    pub fn is_multiple_of(self, pages: u32) -> bool {
        self.0.is_multiple_of(pages)
    }

    /// That many pages on, at the most where no page is.
    #[inline]
    pub fn saturating_add(self, pages: u32) -> Self {
        Self(self.0.saturating_add(pages))
    }

    /// How many pages it is past the first of a page table.
    #[inline]
    pub fn in_table(self) -> u32 {
        self.0 % PTES_PER_TABLE
    }

    /// The number of its page table, or of the PMD there.
    #[inline]
    pub fn table(self) -> usize {
        (self.0 / PTES_PER_TABLE) as usize
    }
}

/// Numbers in a row, and the iterator over them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span<Id> {
    /// The first.
    pub start: Id,
    /// What follows the last.
    pub end: Id,
}

impl<Id> RangeBounds<Id> for Span<Id> {
    fn start_bound(&self) -> Bound<&Id> {
        Bound::Included(&self.start)
    }

    fn end_bound(&self) -> Bound<&Id> {
        Bound::Excluded(&self.end)
    }
}

/// A range of frames.
pub type Frames = Span<Frame>;

/// A range of pages of a mapping.
pub type PageRange = Span<PageIndex>;

/// The pages of a mapping from one number to another.
pub fn pages(range: Range<u32>) -> PageRange {
    PageIndex(range.start).to(PageIndex(range.end))
}

/// Numbers that follow one another.
macro_rules! rows {
    ($($Id:ident),*) => { $(
        impl $Id {
            /// It and those that follow, `n` in all.
            #[inline]
            pub fn run(self, n: u32) -> Span<Self> {
                self.to(self + n)
            }

            /// It and those that follow before `end`.
            #[inline]
            pub fn to(self, end: Self) -> Span<Self> {
                Span { start: self, end }
            }

            /// The first of the naturally aligned 2^`order` that it is one of.
            #[inline]
            pub fn align_down(self, order: u32) -> Self {
                Self(self.0 >> order << order)
            }
        }

        impl Span<$Id> {
            /// Whether a number is one of them.
            #[inline]
            pub fn contains(&self, one: $Id) -> bool {
                self.start <= one && one < self.end
            }

            /// Whether there are none.
            #[inline]
            pub fn is_empty(&self) -> bool {
                self.start >= self.end
            }
        }

        impl Iterator for Span<$Id> {
            type Item = $Id;

            #[inline]
            fn next(&mut self) -> Option<$Id> {
                let one = self.start;
                (one < self.end).then(|| {
                    self.start += 1;
                    one
                })
            }

            #[inline]
            fn size_hint(&self) -> (usize, Option<usize>) {
                (self.start.0..self.end.0).size_hint()
            }
        }

        impl DoubleEndedIterator for Span<$Id> {
            #[inline]
            fn next_back(&mut self) -> Option<$Id> {
                (self.start < self.end).then(|| {
                    self.end -= 1;
                    self.end
                })
            }
        }

        impl ExactSizeIterator for Span<$Id> {}

        impl Add<u32> for $Id {
            type Output = Self;
            #[inline]
            fn add(self, n: u32) -> Self {
                Self(self.0 + n)
            }
        }

        impl AddAssign<u32> for $Id {
            #[inline]
            fn add_assign(&mut self, n: u32) {
                self.0 += n;
            }
        }

        impl Sub<u32> for $Id {
            type Output = Self;
            #[inline]
            fn sub(self, n: u32) -> Self {
                Self(self.0 - n)
            }
        }

        impl SubAssign<u32> for $Id {
            #[inline]
            fn sub_assign(&mut self, n: u32) {
                self.0 -= n;
            }
        }

        /// How many lie between.
        impl Sub for $Id {
            type Output = u32;
            #[inline]
            fn sub(self, from: Self) -> u32 {
                self.0 - from.0
            }
        }
    )* };
}
rows!(Frame, PageIndex);

/// A frame number, or [`NO_FRAME`], that threads share; plus one, so that no frame is zero.
#[derive(Debug, Default)]
#[cfg_attr(not(loom), derive(bytemuck::Zeroable))]
pub struct AtomicFrame(AtomicU32);

impl AtomicFrame {
    /// What is there.
    #[inline]
    pub fn load(&self, order: Ordering) -> Frame {
        Self::frame(self.0.load(order))
    }

    fn word(frame: Frame) -> u32 {
        frame.0.wrapping_add(1)
    }

    fn frame(word: u32) -> Frame {
        Frame(word.wrapping_sub(1))
    }

    /// Puts a frame there.
    #[inline]
    pub fn store(&self, frame: Frame, order: Ordering) {
        self.0.store(Self::word(frame), order);
    }

    /// Puts a frame where none is, or returns the one that is.
    ///
    /// # Errors
    /// That one.
    #[inline]
    pub fn set_first(&self, frame: Frame) -> Result<(), Frame> {
        let set = self.0.compare_exchange(0, Self::word(frame), Ordering::AcqRel, Ordering::Acquire);
        set.map(|_| ()).map_err(Self::frame)
    }
}

#[cfg(not(loom))]
impl crate::restore::Restore for AtomicFrame {
    fn restore(&self, from: &Self) {
        self.0.restore(&from.0);
    }
}
