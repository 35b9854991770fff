//! Mappings of a script.

use gupstress_run::machine::{Backing, Kind};
use rustix::fd::{FromRawFd, OwnedFd};
use rustix::fs::{MemfdFlags, Mode, OFlags, ftruncate, memfd_create, open};
use rustix::io::{Errno, Result};
use rustix::mm::{Advice, MapFlags, MlockFlags, MprotectFlags, MremapFlags, ProtFlags};
use rustix::mm::{madvise, mlock_with, mmap, mmap_anonymous, mprotect, mremap_fixed, munlock, munmap};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::ffi::{CStr, c_void};
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

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
    backing: Backing,
    /// The file of shared memory.
    file: Option<OwnedFd>,
    /// Second mappings of parts of it.
    aliases: Mutex<Vec<Alias>>,
}

/// A second mapping of some pages of a file.
#[derive(Debug)]
struct Alias {
    start: NonNull<c_void>,
    bytes: usize,
}

// SAFETY: it owns its address range, and nobody goes there again.
unsafe impl Send for Alias {}

impl Drop for Alias {
    fn drop(&mut self) {
        // SAFETY: its own range, which no one has a reference into.
        _ = unsafe { munmap(self.start.as_ptr(), self.bytes) };
    }
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
    pub fn map(&mut self, backing: impl Into<Backing>, pages: u32) -> Result<Area> {
        let backing = backing.into();
        let Backing { kind, order } = backing;
        let bytes = pages as usize * page_size();
        let sealable = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = match kind {
            Kind::Anon | Kind::Hugetlb => None,
            Kind::Shmem => Some(memfd_create("gupstress", sealable)?),
            Kind::Hugeshm => Some(memfd_create("gupstress", sealable | MemfdFlags::HUGETLB)?),
            Kind::Tmpfs => Some(file_of(c"tmpfs", Some(c"huge=always"))?),
            Kind::Ramfs => Some(file_of(c"ramfs", None)?),
            Kind::Secret => Some(secret()?),
            // Refused by name before anything is done.
            Kind::File | Kind::Pfnmap => return Err(Errno::INVAL),
        };
        if let Some(file) = &file {
            ftruncate(file, bytes as u64)?;
        }
        // What is reserved of the pool says something: the reservation is not left away there.
        let flags = if kind == Kind::Hugetlb { MapFlags::HUGETLB } else { MapFlags::NORESERVE };
        let start = self.place(bytes, |at| place(at, bytes, flags, file.as_ref()))?;
        let area = Area { start, pages, backing, file, aliases: Mutex::default() };
        if order > 0 && !kind.is_hugetlb() {
            area.advise(&(0..pages), Advice::LinuxHugepage)?;
        }
        Ok(area)
    }

    /// Moves a mapping to an address that nothing was mapped at.
    ///
    /// # Errors
    /// The kernel's.
    pub fn move_area(&mut self, area: &mut Area) -> Result<()> {
        let bytes = area.pages as usize * page_size();
        let from = area.start.as_ptr().cast();
        area.start = self.place(bytes, |at| {
            // SAFETY: the mapping is the area's own, and nothing is mapped where it goes; nobody
            // keeps an address into it.
            unsafe { mremap_fixed(from, bytes, bytes, MremapFlags::MAYMOVE, at) }
        })?;
        Ok(())
    }

    /// Finds a place where nothing is mapped.
    fn place(
        &mut self,
        bytes: usize,
        map: impl Fn(*mut c_void) -> Result<*mut c_void>,
    ) -> Result<NonNull<u64>> {
        loop {
            let at = self.next as *mut c_void;
            self.next += bytes.next_multiple_of(HUGE) + HUGE;
            match map(at) {
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
                Ok(start) => return NonNull::new(start.cast()).ok_or(Errno::NOMEM),
            }
        }
    }
}

/// A file without a name on a file system of its own, which goes with it.
fn file_of(kind: &CStr, options: Option<&CStr>) -> Result<OwnedFd> {
    let folder = std::env::temp_dir().join(format!("gupstress-{}", std::process::id()));
    let made = std::fs::create_dir_all(&folder);
    made.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    mount(kind, &folder, kind, MountFlags::empty(), options)?;
    let file = open(&folder, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
    unmount(&folder, UnmountFlags::DETACH)?;
    _ = std::fs::remove_dir(&folder);
    file
}

/// A file of memory that the kernel itself cannot reach.
fn secret() -> Result<OwnedFd> {
    // SAFETY: a plain system call.
    let made = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    if made < 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    // SAFETY: a descriptor that was made for us just now.
    Ok(unsafe { OwnedFd::from_raw_fd(made as libc::c_int) })
}

/// Maps memory at an address where nothing is mapped.
fn place(at: *mut c_void, bytes: usize, flags: MapFlags, file: Option<&OwnedFd>) -> Result<*mut c_void> {
    let prot = ProtFlags::READ | ProtFlags::WRITE;
    let flags = flags | MapFlags::FIXED_NOREPLACE;
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

    /// What its pages are of.
    pub fn backing(&self) -> Backing {
        self.backing
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

    /// Writes the first word of each page through a second mapping of the file, which stays.
    ///
    /// # Errors
    /// The kernel's; `EINVAL` where there is no file.
    pub fn alias(&self, range: &Range<u32>) -> Result<()> {
        let file = self.file.as_ref().ok_or(Errno::INVAL)?;
        let (bytes, offset) = (range.len() * page_size(), u64::from(range.start) * page_size() as u64);
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping, whose owner unmaps it.
        let start = unsafe { mmap(std::ptr::null_mut(), bytes, prot, MapFlags::SHARED, file, offset)? };
        let alias = Alias { start: NonNull::new(start).ok_or(Errno::NOMEM)?, bytes };
        if self.backing.order > 0 && !self.backing.kind.is_hugetlb() {
            // SAFETY: advice about the whole of that mapping.
            unsafe { madvise(start, bytes, Advice::LinuxHugepage)? };
        }
        for at in (0..bytes).step_by(page_size()) {
            // SAFETY: within that mapping, page by page.
            unsafe { start.byte_add(at).cast::<u64>().write_volatile(1) };
        }
        self.aliases.lock().unwrap_or_else(PoisonError::into_inner).push(alias);
        Ok(())
    }

    /// `pwrite` of the first word of each page of the file.
    ///
    /// # Errors
    /// The kernel's; `EINVAL` where there is no file.
    pub fn write_file(&self, range: &Range<u32>) -> Result<()> {
        let file = self.file.as_ref().ok_or(Errno::INVAL)?;
        for index in range.clone() {
            rustix::io::pwrite(file, &1u64.to_ne_bytes(), u64::from(index) * page_size() as u64)?;
        }
        Ok(())
    }

    /// `mprotect`: whether it can be written.
    ///
    /// # Errors
    /// The kernel's.
    pub fn protect(&self, range: &Range<u32>, write: bool) -> Result<()> {
        let (start, bytes) = self.span(range);
        let writes = if write { MprotectFlags::WRITE } else { MprotectFlags::empty() };
        // SAFETY: a range of this mapping; a write that it then refuses ends this process, and is
        // the script's.
        unsafe { mprotect(start, bytes, MprotectFlags::READ | writes) }
    }

    /// `munmap` of some of its pages.
    ///
    /// # Errors
    /// The kernel's.
    pub fn unmap(&self, range: &Range<u32>) -> Result<()> {
        let (start, bytes) = self.span(range);
        // SAFETY: a range of this mapping, which no one has a reference into.
        unsafe { munmap(start, bytes) }
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
