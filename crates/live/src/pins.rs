//! Long-term pins: `IORING_REGISTER_BUFFERS` takes `FOLL_WRITE | FOLL_LONGTERM` ones.

use crate::area::Area;
use crate::udmabuf::Udmabuf;
use crate::vfio::Vfio;
use io_uring::{IoUring, opcode, types};
use rustix::fd::{AsFd, AsRawFd};
use std::io;
use std::ops::Range;

/// A ring for one pin. Making it takes memory of the kernel, so it is made before what is counted.
pub struct Ring {
    ring: IoUring,
    pinned: bool,
}

impl Ring {
    /// A ring that has nothing pinned.
    ///
    /// # Errors
    /// The kernel's: `ENOSYS` or `EPERM` where `io_uring` is not to be had.
    pub fn new() -> io::Result<Self> {
        Ok(Self { ring: IoUring::new(1)?, pinned: false })
    }

    /// Long-term pins pages of a mapping, for writing.
    ///
    /// # Errors
    /// The kernel's; nothing is pinned then.
    pub fn pin(&mut self, area: &Area, range: &Range<u32>) -> io::Result<()> {
        let (start, bytes) = area.span(range);
        let buffer = libc::iovec { iov_base: start, iov_len: bytes };
        // SAFETY: the range is mapped. The kernel holds its pages, so they outlive the mapping,
        // and what a transfer writes is read by volatile accesses only.
        unsafe { self.ring.submitter().register_buffers(&[buffer])? };
        self.pinned = true;
        Ok(())
    }

    /// Drops the pin; the pages are given back when this returns.
    ///
    /// # Errors
    /// The kernel's.
    pub fn unpin(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.pinned) {
            self.ring.submitter().unregister_buffers()?;
        }
        Ok(())
    }

    /// Reads a word of a file at `offset` into a word of the pinned buffer, as a device would.
    ///
    /// # Errors
    /// The kernel's, or that it read less.
    pub fn transfer(
        &mut self,
        file: &impl AsFd,
        offset: u64,
        area: &Area,
        at: (u32, usize),
    ) -> io::Result<()> {
        let (index, word) = at;
        let bytes = size_of::<u64>();
        let target = area.page(index).wrapping_add(word).cast();
        let fd = types::Fd(file.as_fd().as_raw_fd());
        let read = opcode::ReadFixed::new(fd, target, bytes as u32, 0).offset(offset).build();
        // SAFETY: the target lies in the registered buffer, which stays pinned until the
        // completion has been taken below.
        unsafe { self.ring.submission().push(&read).map_err(io::Error::other)? };
        self.ring.submit_and_wait(1)?;
        let done = self.ring.completion().next().ok_or_else(|| io::Error::other("no completion"))?;
        match done.result() {
            error if error < 0 => Err(io::Error::from_raw_os_error(-error)),
            read if read as usize == bytes => Ok(()),
            read => Err(io::Error::other(format!("{read} of {bytes} bytes were read"))),
        }
    }
}

/// A long-term pin, by one caller of the kernel's or another.
#[derive(Debug)]
pub enum Pin {
    /// A registered buffer.
    Ring(Box<Ring>),
    /// A buffer made of a memfd's pages.
    Udmabuf(Udmabuf),
    /// A DMA mapping.
    Vfio(Vfio),
}

impl Pin {
    /// Pins pages of a mapping, for writing unless its device only reads.
    ///
    /// # Errors
    /// The kernel's; nothing is pinned then.
    pub fn take(&mut self, area: &Area, range: &Range<u32>) -> io::Result<()> {
        match self {
            Self::Ring(ring) => ring.pin(area, range),
            Self::Udmabuf(buffer) => buffer.pin(area, range),
            Self::Vfio(mapping) => mapping.pin(area, range),
        }
    }

    /// Drops the pin; the pages are given back when this returns.
    ///
    /// # Errors
    /// The kernel's.
    pub fn release(&mut self) -> io::Result<()> {
        match self {
            Self::Ring(ring) => ring.unpin(),
            Self::Udmabuf(buffer) => {
                buffer.unpin();
                Ok(())
            }
            Self::Vfio(mapping) => mapping.unpin(),
        }
    }

    /// Writes a word through the pin, as a device would: a ring reads it from a file that has
    /// it at `offset`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn transfer(
        &mut self,
        file: &impl AsFd,
        offset: u64,
        area: &Area,
        at: (u32, usize),
        value: u64,
    ) -> io::Result<()> {
        match self {
            Self::Ring(ring) => ring.transfer(file, offset, area, at),
            Self::Udmabuf(buffer) => buffer.write(at, value),
            Self::Vfio(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // A ring that goes away gives its buffers back later, behind everyone's back.
        drop(self.unpin());
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("pinned", &self.pinned).finish_non_exhaustive()
    }
}
