//! Mappings of a script.

use gupstress_run::machine::Kind;
use rustix::fd::OwnedFd;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::{Errno, Result};
use rustix::mm::{Advice, MapFlags, MlockFlags, ProtFlags};
use rustix::mm::{madvise, mlock_with, mmap, mmap_anonymous, munlock, munmap};
use std::ffi::c_void;
use std::ops::Range;
use std::ptr::NonNull;

/// Bytes of the largest leaf of a page table below PUD: what a mapping is aligned to.
const HUGE: usize = 2 << 20;

/// Bytes of a page.
pub fn page_size() -> usize {
    rustix::param::page_size()
}

/// Where mappings are put: far from what the kernel chooses by itself. A mapping over another
/// one, or one given back, would drain this CPU's batches in the middle of a script.
const BASE: usize = 0x2000_0000_0000;

/// Addresses that have not been mapped yet.
#[derive(Debug)]
pub struct Space {
    next: usize,
}

impl Default for Space {
    fn default() -> Self {
        Self { next: BASE }
    }
}

/// One mapping, 2 MiB aligned and apart from all others: a neighbour would share its area, and
/// with it what `mlock` and `madvise` walk.
#[derive(Debug)]
pub struct Area {
    start: NonNull<u64>,
    pages: u32,
    /// The file of shared memory.
    file: Option<OwnedFd>,
}

// SAFETY: it owns its address range, and nothing in it depends on which thread uses it; what
// threads do to the same page at once goes through volatile accesses and system calls.
unsafe impl Send for Area {}
// SAFETY: as above.
unsafe impl Sync for Area {}

impl Space {
    /// Maps fresh pages, none present.
    ///
    /// # Errors
    /// The kernel's.
    pub fn map(&mut self, kind: Kind, pages: u32) -> Result<Area> {
        let bytes = pages as usize * page_size();
        let file = match kind {
            Kind::Anon => None,
            Kind::Shmem => Some(memfd_create("gupstress", MemfdFlags::CLOEXEC)?),
            // Refused by name before anything is done.
            _ => return Err(Errno::INVAL),
        };
        if let Some(file) = &file {
            ftruncate(file, bytes as u64)?;
        }
        loop {
            let at = self.next as *mut c_void;
            self.next += bytes.next_multiple_of(HUGE) + HUGE;
            match place(at, bytes, file.as_ref()) {
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
                Ok(start) => {
                    let start = NonNull::new(start.cast()).ok_or(Errno::NOMEM)?;
                    return Ok(Area { start, pages, file });
                }
            }
        }
    }
}

/// Maps memory at an address where nothing is mapped.
fn place(at: *mut c_void, bytes: usize, file: Option<&OwnedFd>) -> Result<*mut c_void> {
    let prot = ProtFlags::READ | ProtFlags::WRITE;
    let flags = MapFlags::FIXED_NOREPLACE | MapFlags::NORESERVE;
    match file {
        // SAFETY: it is refused where something is mapped already.
        None => unsafe { mmap_anonymous(at, bytes, prot, flags | MapFlags::PRIVATE) },
        // SAFETY: as above.
        Some(file) => unsafe { mmap(at, bytes, prot, flags | MapFlags::SHARED, file, 0) },
    }
}

impl Area {
    /// Its pages.
    pub fn pages(&self) -> u32 {
        self.pages
    }

    /// The file behind shared memory.
    pub fn file(&self) -> Option<&OwnedFd> {
        self.file.as_ref()
    }

    /// Where a page starts.
    pub fn page(&self, index: u32) -> *mut u64 {
        debug_assert!(index < self.pages);
        // SAFETY: the mapping has more pages than `index`.
        unsafe { self.start.as_ptr().byte_add(index as usize * page_size()) }
    }

    /// Address and length of pages, as system calls take them.
    pub fn span(&self, range: &Range<u32>) -> (*mut c_void, usize) {
        (self.page(range.start).cast(), range.len() * page_size())
    }

    /// Writes the first word of each page.
    pub fn touch(&self, range: Range<u32>) {
        for index in range {
            self.write(index, 0, u64::from(index) + 1);
        }
    }

    /// Reads each page.
    pub fn read(&self, range: Range<u32>) {
        for index in range {
            self.word(index, 0);
        }
    }

    /// Writes a word of a page.
    pub fn write(&self, index: u32, word: usize, value: u64) {
        // SAFETY: within the page, which is mapped for writing; aligned as pages are.
        unsafe { self.page(index).add(word).write_volatile(value) };
    }

    /// A word of a page.
    pub fn word(&self, index: u32, word: usize) -> u64 {
        // SAFETY: within the page, which is mapped for reading; aligned as pages are.
        unsafe { self.page(index).add(word).read_volatile() }
    }

    /// `mlock2(MLOCK_ONFAULT)`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn mlock(&self, range: &Range<u32>) -> Result<()> {
        let (start, bytes) = self.span(range);
        // SAFETY: a range of this mapping; locking changes no contents.
        unsafe { mlock_with(start, bytes, MlockFlags::ONFAULT) }
    }

    /// `munlock`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn munlock(&self, range: &Range<u32>) -> Result<()> {
        let (start, bytes) = self.span(range);
        // SAFETY: as for `mlock`.
        unsafe { munlock(start, bytes) }
    }

    /// `madvise`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn advise(&self, range: &Range<u32>, advice: Advice) -> Result<()> {
        let (start, bytes) = self.span(range);
        // SAFETY: a range of this mapping. What is lost of its contents is what was asked for,
        // and no reference into it is ever made.
        unsafe { madvise(start, bytes, advice) }
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: what was mapped for it, and no one has its address any more.
        _ = unsafe { munmap(self.start.as_ptr().cast(), self.pages as usize * page_size()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_aligned_and_alone_and_keeps_what_is_written() {
        let mut space = Space::default();
        for kind in [Kind::Anon, Kind::Shmem] {
            let area = space.map(kind, 3).unwrap();
            let next = space.map(kind, 1).unwrap();
            assert_eq!(area.page(0) as usize % HUGE, 0);
            assert!(next.page(0) as usize >= area.page(0) as usize + 2 * HUGE);
            assert_eq!(area.file().is_some(), kind == Kind::Shmem);
            area.touch(1..3);
            assert_eq!([0, 1, 2].map(|index| area.word(index, 0)), [0, 2, 3]);
            area.advise(&(0..3), Advice::LinuxDontNeed).unwrap();
            let kept = if kind == Kind::Shmem { 3 } else { 0 };
            assert_eq!(area.word(2, 0), kept, "{kind:?}");
        }
    }
}
