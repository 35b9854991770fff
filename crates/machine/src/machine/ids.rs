//! Numbers that name things, each of a type of its own: none passes for another, nor for an
//! order or a count of pages.
//!
//! ```compile_fail,E0308
//! # use gupstress_machine::machine::{CpuId, Machine};
//! fn local(m: &Machine, on: CpuId, pages: u32) {
//!     m.set_hugetlb_pool(pages, on);
//! }
//! ```

use crate::sync::{AtomicU32, Ordering};
use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};

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
}

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
    /// It and those that follow, `n` in all.
    #[inline]
    pub fn run(self, n: u32) -> Frames {
        Frames { start: self, end: self + n }
    }

    /// It and all that follow.
    #[inline]
    pub fn on(self) -> impl Iterator<Item = Self> {
        (self.0..).map(Self)
    }

    /// The first of the naturally aligned 2^`order` frames that it is one of.
    #[inline]
    pub fn align_down(self, order: u32) -> Self {
        Self(self.0 >> order << order)
    }
}

/// A range of frames, and the iterator over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frames {
    /// The first.
    pub start: Frame,
    /// What follows the last.
    pub end: Frame,
}

impl Frames {
    /// Whether a frame is one of them.
    #[inline]
    pub fn contains(&self, frame: Frame) -> bool {
        self.start <= frame && frame < self.end
    }
}

impl Iterator for Frames {
    type Item = Frame;

    #[inline]
    fn next(&mut self) -> Option<Frame> {
        let frame = self.start;
        (frame < self.end).then(|| {
            self.start += 1;
            frame
        })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.end.0.saturating_sub(self.start.0) as usize;
        (left, Some(left))
    }
}

impl DoubleEndedIterator for Frames {
    #[inline]
    fn next_back(&mut self) -> Option<Frame> {
        (self.start < self.end).then(|| {
            self.end -= 1;
            self.end
        })
    }
}

impl ExactSizeIterator for Frames {}

impl Add<u32> for Frame {
    type Output = Self;
    #[inline]
    fn add(self, n: u32) -> Self {
        Self(self.0 + n)
    }
}

impl AddAssign<u32> for Frame {
    #[inline]
    fn add_assign(&mut self, n: u32) {
        self.0 += n;
    }
}

impl Sub<u32> for Frame {
    type Output = Self;
    #[inline]
    fn sub(self, n: u32) -> Self {
        Self(self.0 - n)
    }
}

impl SubAssign<u32> for Frame {
    #[inline]
    fn sub_assign(&mut self, n: u32) {
        self.0 -= n;
    }
}

/// How many frames lie between.
impl Sub for Frame {
    type Output = u32;
    #[inline]
    fn sub(self, from: Self) -> u32 {
        self.0 - from.0
    }
}

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
