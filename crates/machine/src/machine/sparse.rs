//! Tables of which only what is written to takes memory of the host.
//!
//! The memory of a large machine is mostly free, or in huge folios, and of each of those only the
//! first two page lines say something. So tables are all zeros when they are made, zeros say
//! "nothing of its own", and the host gives memory for those parts that are written to.

use super::build::Unbuilt;
use super::ids::Frame;
use super::page::MAX_ORDER;
use std::ops::{Deref, DerefMut};

#[cfg(not(loom))]
pub(super) use bytemuck::Zeroable;

/// The model checker's own atomics are made one by one.
#[cfg(loom)]
pub(super) trait Zeroable: Default {}
#[cfg(loom)]
impl<T: Default> Zeroable for T {}

/// The same of what is no line of its own: the allocator has zeros to give without writing them.
pub(super) fn zeros<T: Zeroable>(length: usize) -> Box<[T]> {
    #[cfg(not(loom))]
    return bytemuck::allocation::zeroed_slice_box(length);
    #[cfg(loom)]
    (0..length).map(|_| T::default()).collect()
}

/// A slice that is all zeros in the beginning, from the host itself: no allocator has zeros to
/// give that are better aligned than its own words.
#[derive(Debug)]
pub(super) struct Sparse<T> {
    entries: inner::Entries<T>,
}

impl<T: Zeroable> Sparse<T> {
    /// So many entries.
    ///
    /// # Errors
    /// [`Unbuilt::NoMemory`] where the host has no addresses left for them.
    pub fn build(length: usize) -> Result<Self, Unbuilt> {
        inner::Entries::build(length).map(|entries| Self { entries })
    }

    /// Lets the host map it by huge pages: who reads it here and there finds more of it in its TLB. What
    /// is written to should lie together.
    pub fn by_huge_pages(self) -> Self {
        Self { entries: self.entries.by_huge_pages() }
    }
}

impl<T> Deref for Sparse<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        self.entries.all()
    }
}

impl<T> DerefMut for Sparse<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        self.entries.all_mut()
    }
}

#[cfg(not(loom))]
mod inner {
    use super::{Unbuilt, Zeroable};
    use memmap2::{MmapMut, MmapOptions};
    use std::marker::PhantomData;

    #[derive(Debug)]
    pub struct Entries<T> {
        map: MmapMut,
        length: usize,
        of: PhantomData<T>,
    }

    impl<T: Zeroable> Entries<T> {
        pub fn build(length: usize) -> Result<Self, Unbuilt> {
            const { assert!(align_of::<T>() <= 4096 && !std::mem::needs_drop::<T>()) };
            let bytes = length.saturating_mul(size_of::<T>());
            // What is never written to is not to be refused.
            let map = MmapOptions::new().len(bytes.max(1)).no_reserve_swap().map_anon();
            let map = map.map_err(|_| Unbuilt::NoMemory(bytes))?;
            Ok(Self { map, length, of: PhantomData })
        }

        /// Lets the host map it by huge pages, where it has them for who asks.
        pub fn by_huge_pages(self) -> Self {
            #[cfg(target_os = "linux")]
            // A host without them refuses, and all is as it was.
            let _ = self.map.advise(memmap2::Advice::HugePage);
            self
        }
    }

    impl<T> Entries<T> {
        #[inline]
        pub fn all(&self) -> &[T] {
            // SAFETY: the mapping has room for `length` entries and begins on a page of the host;
            // it was all zeros, which are entries (`build` asks for `Zeroable`), and is written to
            // through slices of them alone.
            unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), self.length) }
        }

        #[inline]
        pub fn all_mut(&mut self) -> &mut [T] {
            // SAFETY: as above, and nobody else has it.
            unsafe { std::slice::from_raw_parts_mut(self.map.as_mut_ptr().cast(), self.length) }
        }
    }
}

#[cfg(loom)]
mod inner {
    use super::Unbuilt;

    #[derive(Debug)]
    pub struct Entries<T>(Box<[T]>);

    impl<T: Default> Entries<T> {
        pub fn build(length: usize) -> Result<Self, Unbuilt> {
            Ok(Self((0..length).map(|_| T::default()).collect()))
        }

        pub fn by_huge_pages(self) -> Self {
            self
        }
    }

    impl<T> Entries<T> {
        pub fn all(&self) -> &[T] {
            &self.0
        }

        pub fn all_mut(&mut self) -> &mut [T] {
            &mut self.0
        }
    }
}

/// An entry for each frame.
///
/// Those of the first two frames of each of the largest blocks, where what there is to say of a
/// huge folio is said, lie beside each other: with those between them, each would take a page of
/// the host.
#[derive(Debug)]
pub(super) struct PerFrame<T> {
    entries: Sparse<T>,
    frames: u32,
}

/// Frames of the largest block.
const BLOCK: u32 = 1 << MAX_ORDER;
/// Entries of each that come after all others, so that most have the place of their number.
const FIRST: u32 = 2;

impl<T: Zeroable> PerFrame<T> {
    /// All zeros.
    ///
    /// # Errors
    /// As [`Sparse::build`].
    pub fn build(frames: u32) -> Result<Self, Unbuilt> {
        let entries = Sparse::build(firsts(frames) + frames as usize)?;
        Ok(Self { entries: entries.by_huge_pages(), frames })
    }
}

impl<T> PerFrame<T> {
    /// The entry of a frame.
    #[inline]
    pub fn of(&self, frame: Frame) -> &T {
        &self.entries[self.place(frame)]
    }

    /// The same, to be changed.
    pub fn of_mut(&mut self, frame: Frame) -> &mut T {
        let place = self.place(frame);
        &mut self.entries[place]
    }

    /// How many there are.
    #[inline]
    pub fn frames(&self) -> u32 {
        self.frames
    }

    #[inline]
    fn place(&self, frame: Frame) -> usize {
        if frame.0 % BLOCK < FIRST {
            self.frames as usize + (frame.0 / BLOCK * FIRST + frame.0 % FIRST) as usize
        } else {
            frame.at()
        }
    }
}

fn firsts(frames: u32) -> usize {
    (frames.div_ceil(BLOCK) * FIRST) as usize
}

#[cfg(not(loom))]
impl<T: crate::restore::Restore> crate::restore::Restore for Sparse<T> {
    fn restore(&self, from: &Self) {
        (**self).restore(&**from);
    }
}

#[cfg(not(loom))]
impl<T: crate::restore::Restore> crate::restore::Restore for PerFrame<T> {
    fn restore(&self, from: &Self) {
        let Self { entries, frames: _ } = self;
        entries.restore(&from.entries);
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn each_frame_has_an_entry_of_its_own() {
        for frames in [1, 2, 3, 511, 512, 513, 514, 2000] {
            let mut table = PerFrame::<u32>::build(frames).unwrap();
            for frame in 0..frames {
                assert_eq!(
                    std::mem::replace(table.of_mut(Frame(frame)), frame + 1),
                    0,
                    "{frame} of {frames}"
                );
            }
            assert!((0..frames).all(|frame| *table.of(Frame(frame)) == frame + 1));
        }
    }

    #[test]
    fn no_addresses_are_no_memory() {
        let bytes = usize::MAX / 16 * 8;
        let unbuilt = Sparse::<u64>::build(usize::MAX / 16).unwrap_err();
        assert_eq!(unbuilt, Unbuilt::NoMemory(bytes));
        assert_eq!(unbuilt.to_string(), format!("the host refused {bytes} bytes of memory"));
    }
}
