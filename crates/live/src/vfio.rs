//! Long-term pins by VFIO: DMA mappings of a container of type 1.

use crate::area::{Area, page_size};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use rustix::ioctl::{Opcode, opcode};
use std::fs;
use std::io;
use std::ops::Range;
use std::os::raw::c_void;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Where groups of devices are that a driver of VFIO has.
pub const FOLDER: &str = "/dev/vfio";

const fn number(nth: u8) -> Opcode {
    // `VFIO_TYPE` and `VFIO_BASE`.
    opcode::none(b';', 100 + nth)
}

const SET_IOMMU: Opcode = number(2);
const GROUP_GET_STATUS: Opcode = number(3);
const GROUP_SET_CONTAINER: Opcode = number(4);
const MAP_DMA: Opcode = number(13);
const UNMAP_DMA: Opcode = number(14);

/// `VFIO_TYPE1v2_IOMMU`
const TYPE1: usize = 3;

/// Addresses of devices, above what interrupts are written to and below what the narrowest IOMMU reaches.
const FIRST: u64 = 1 << 32;

/// `struct vfio_group_status`.
#[repr(C)]
#[derive(Debug)]
struct Status {
    argsz: u32,
    flags: u32,
}

/// `struct vfio_iommu_type1_dma_map`.
#[repr(C)]
#[derive(Debug)]
struct Map {
    argsz: u32,
    flags: u32,
    vaddr: u64,
    iova: u64,
    size: u64,
}

/// `struct vfio_iommu_type1_dma_unmap`.
#[repr(C)]
#[derive(Debug)]
struct Unmap {
    argsz: u32,
    flags: u32,
    iova: u64,
    size: u64,
}

/// `VFIO_DMA_MAP_FLAG_READ` and `_WRITE`.
const READ: u32 = 1;
const WRITE: u32 = 2;

/// A container with one group of devices in it.
#[derive(Debug)]
pub struct Container {
    file: OwnedFd,
    /// Its devices can be mapped for as long as it is open.
    _group: OwnedFd,
    /// Where the next mapping goes.
    next: AtomicU64,
}

impl Container {
    /// One with the first group that is to be had.
    ///
    /// # Errors
    /// There is none, or what the kernel says of the last.
    pub fn open() -> io::Result<Self> {
        let mut found = Err(io::Error::other(format!("no group of devices in {FOLDER}")));
        for group in groups(Path::new(FOLDER)) {
            found = Self::with(&group)
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", group.display())));
            if found.is_ok() {
                break;
            }
        }
        found
    }

    fn with(group: &Path) -> io::Result<Self> {
        let how = OFlags::RDWR | OFlags::CLOEXEC;
        let group = open(group, how, Mode::empty())?;
        let mut status = Status { argsz: size_of::<Status>() as u32, flags: 0 };
        ioctl(&group, GROUP_GET_STATUS, (&raw mut status).cast())?;
        // `VFIO_GROUP_FLAGS_VIABLE`
        if status.flags & 1 == 0 {
            return Err(io::Error::other("a device of the group has another driver"));
        }
        let container = open(Path::new(FOLDER).join("vfio"), how, Mode::empty())?;
        let mut of = container.as_raw_fd();
        ioctl(&group, GROUP_SET_CONTAINER, (&raw mut of).cast())?;
        ioctl(&container, SET_IOMMU, std::ptr::without_provenance_mut(TYPE1))?;
        Ok(Self { file: container, _group: group, next: AtomicU64::new(FIRST) })
    }
}

/// A DMA mapping, and with it the pins of its pages.
#[derive(Debug)]
pub struct Vfio {
    container: Arc<Container>,
    writes: bool,
    mapped: Option<(u64, u64)>,
}

impl Vfio {
    /// One that has nothing pinned; whether the device writes.
    pub fn new(container: Arc<Container>, writes: bool) -> Self {
        Self { container, writes, mapped: None }
    }

    /// Pins pages for as long as they are mapped for devices.
    ///
    /// # Errors
    /// The kernel's; nothing is pinned then.
    pub fn pin(&mut self, area: &Area, range: &Range<u32>) -> io::Result<()> {
        let (start, bytes) = area.span(range);
        let size = bytes as u64;
        let iova = self.container.next.fetch_add(size + page_size() as u64, Relaxed);
        let flags = if self.writes { READ | WRITE } else { READ };
        let mut asked =
            Map { argsz: size_of::<Map>() as u32, flags, vaddr: start as usize as u64, iova, size };
        ioctl(&self.container.file, MAP_DMA, (&raw mut asked).cast())?;
        self.mapped = Some((iova, size));
        Ok(())
    }

    /// Drops the pins; the pages are given back when this returns.
    ///
    /// # Errors
    /// The kernel's.
    pub fn unpin(&mut self) -> io::Result<()> {
        let Some((iova, size)) = self.mapped.take() else { return Ok(()) };
        let mut asked = Unmap { argsz: size_of::<Unmap>() as u32, flags: 0, iova, size };
        ioctl(&self.container.file, UNMAP_DMA, (&raw mut asked).cast())
    }
}

impl Drop for Vfio {
    fn drop(&mut self) {
        drop(self.unpin());
    }
}

fn ioctl(file: &OwnedFd, opcode: Opcode, argument: *mut c_void) -> io::Result<()> {
    // SAFETY: what it points to, if anything, is what the request takes and outlives the call. Pages
    // that a mapping pins are the kernel's to keep, and no device of ours ever goes there.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), opcode.into(), argument) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Groups by their number; what else is there is no group.
pub fn groups(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let mut found: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| number(path).is_some()).collect();
    found.sort_by_key(number);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_what_has_a_number() {
        let root = std::env::temp_dir().join(format!("gupstress-vfio-{}", std::process::id()));
        assert!(groups(&root).is_empty());
        fs::create_dir_all(&root).unwrap();
        for name in ["vfio", "12", "3", "noiommu-0"] {
            fs::write(root.join(name), "").unwrap();
        }
        assert_eq!(groups(&root), ["3", "12"].map(|name| root.join(name)));
        fs::remove_dir_all(root).unwrap();
    }

    /// `linux/vfio.h` of 6.12, as numbers.
    #[test]
    fn requests_are_those_of_the_kernel() {
        let asked = [SET_IOMMU, GROUP_GET_STATUS, GROUP_SET_CONTAINER, MAP_DMA, UNMAP_DMA];
        assert_eq!(asked, [0x3b66, 0x3b67, 0x3b68, 0x3b71, 0x3b72]);
        assert_eq!((size_of::<Status>(), size_of::<Map>(), size_of::<Unmap>()), (8, 32, 24));
    }
}
