//! Long-term pins by udmabuf: a DMA buffer made of the pages of a memfd.

use crate::area::{Area, page_size};
use rustix::fd::{AsRawFd, FromRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags, SealFlags, fcntl_add_seals, open};
use rustix::ioctl::{Opcode, opcode};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::io;
use std::ops::Range;

/// Who makes the buffers.
pub const DEVICE: &str = "/dev/udmabuf";

/// What is asked of it, `struct udmabuf_create`.
#[repr(C)]
#[derive(Debug)]
struct Create {
    memfd: u32,
    flags: u32,
    offset: u64,
    size: u64,
}

const CREATE: Opcode = opcode::write::<Create>(b'u', 0x42);

/// The open device, and the buffer that it made.
#[derive(Debug)]
pub struct Udmabuf {
    device: OwnedFd,
    buffer: Option<(OwnedFd, Range<u32>)>,
}

impl Udmabuf {
    /// One that has nothing pinned.
    ///
    /// # Errors
    /// There is no such device, `CONFIG_UDMABUF`.
    pub fn new() -> io::Result<Self> {
        let device = open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| io::Error::new(errno.kind(), format!("{DEVICE}: {errno}")))?;
        Ok(Self { device, buffer: None })
    }

    /// Pins pages of shared memory for as long as the buffer lives.
    ///
    /// # Errors
    /// The kernel's; `EINVAL` for what is no memfd.
    pub fn pin(&mut self, area: &Area, range: &Range<u32>) -> io::Result<()> {
        let file = area.file().ok_or(io::ErrorKind::InvalidInput)?;
        // A file that could shrink is not taken.
        fcntl_add_seals(file, SealFlags::SHRINK)?;
        let page = page_size() as u64;
        let asked = Create {
            memfd: file.as_raw_fd().cast_unsigned(),
            // UDMABUF_FLAGS_CLOEXEC
            flags: 1,
            offset: u64::from(range.start) * page,
            size: range.len() as u64 * page,
        };
        // SAFETY: the kernel reads one `Create`, which outlives the call.
        let made = unsafe { libc::ioctl(self.device.as_raw_fd(), CREATE.into(), &raw const asked) };
        if made < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor that was made for us just now.
        self.buffer = Some((unsafe { OwnedFd::from_raw_fd(made) }, range.clone()));
        Ok(())
    }

    /// Drops the buffer; its pages are given back when this returns.
    pub fn unpin(&mut self) {
        self.buffer = None;
    }

    /// Writes a word of a page of the mapping through the buffer.
    ///
    /// # Errors
    /// The kernel's.
    pub fn write(&self, at: (u32, usize), value: u64) -> io::Result<()> {
        let (buffer, range) = self.buffer.as_ref().ok_or(io::ErrorKind::InvalidInput)?;
        let (bytes, prot) = (page_size(), ProtFlags::READ | ProtFlags::WRITE);
        let offset = u64::from(at.0 - range.start) * bytes as u64;
        let null = std::ptr::null_mut();
        // SAFETY: a fresh mapping of one page of the buffer, in which the word lies; it is written
        // by a volatile access and gone before this returns.
        unsafe {
            let page = mmap(null, bytes, prot, MapFlags::SHARED, buffer, offset)?;
            page.cast::<u64>().add(at.1).write_volatile(value);
            munmap(page, bytes)?;
        }
        Ok(())
    }
}
