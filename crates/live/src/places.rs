//! Where pages lie: frames by `/proc/self/pagemap`, zones by `/proc/zoneinfo`.

use crate::area::{Area, page_size};
use crate::texts::{Entry, PAGEMAP_ENTRY, Zone, zoneinfo};
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The frames that a long-term pin must not keep.
#[derive(Debug)]
pub struct Places {
    pagemap: File,
    movable: Vec<Range<u64>>,
    /// Ranges of CMA areas; none: there are some, and the kernel does not say where.
    cma: Option<Vec<Range<u64>>>,
}

/// A page's frame, and whether a pin may keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// No page is mapped.
    Nothing,
    /// The kernel does not say.
    Unknown,
    /// In `ZONE_MOVABLE` or a CMA area.
    Movable,
    /// Elsewhere.
    Lasting,
}

/// Frames of `ZONE_MOVABLE`.
pub fn movable_frames(zones: &[Zone]) -> Vec<Range<u64>> {
    let movable = zones.iter().filter(|zone| zone.name == "Movable" && zone.managed > 0);
    movable.map(|zone| zone.frames.clone()).collect()
}

/// Pages of CMA areas; none: this kernel does not say.
pub fn cma_pages(zones: &[Zone]) -> Option<u64> {
    zones.iter().map(|zone| zone.cma).collect::<Option<Vec<u64>>>().map(|pages| pages.iter().sum())
}

impl Places {
    /// Reads where the zones are.
    ///
    /// # Errors
    /// A file of `/proc` cannot be read.
    pub fn read() -> io::Result<Self> {
        let zones = zoneinfo(&fs::read_to_string("/proc/zoneinfo")?);
        let areas = cma_areas(Path::new("/sys/kernel/debug/cma"));
        let cma = if cma_pages(&zones) == Some(0) { Some(Vec::new()) } else { areas };
        Ok(Self { pagemap: File::open("/proc/self/pagemap")?, movable: movable_frames(&zones), cma })
    }

    fn entry(&self, area: &Area, index: u32) -> io::Result<Entry> {
        let mut bytes = [0; PAGEMAP_ENTRY];
        let number = area.page(index) as usize / page_size();
        self.pagemap.read_exact_at(&mut bytes, (number * PAGEMAP_ENTRY) as u64)?;
        Ok(Entry::parse(bytes))
    }

    /// Where a page lies.
    ///
    /// # Errors
    /// The kernel's.
    pub fn place(&self, area: &Area, index: u32) -> io::Result<Place> {
        let entry = self.entry(area, index)?;
        Ok(match entry.frame() {
            Some(frame) => self.place_of(frame),
            None if entry.is_present() => Place::Unknown,
            None => Place::Nothing,
        })
    }

    /// Where a frame lies.
    pub fn place_of(&self, frame: u64) -> Place {
        let within = |ranges: &[Range<u64>]| ranges.iter().any(|range| range.contains(&frame));
        match &self.cma {
            _ if within(&self.movable) => Place::Movable,
            Some(areas) if within(areas) => Place::Movable,
            Some(_) => Place::Lasting,
            None => Place::Unknown,
        }
    }
}

/// Where the CMA areas are, `CONFIG_CMA_DEBUGFS`.
fn cma_areas(folder: &Path) -> Option<Vec<Range<u64>>> {
    let number = |path: &Path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let areas = fs::read_dir(folder).ok()?;
    areas
        .map(|area| {
            let area = area.ok()?.path();
            let start = number(&area.join("base_pfn"))?;
            Some(start..start + number(&area.join("count"))?)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::slice::from_ref;

    fn places(cma: Option<Vec<Range<u64>>>) -> Places {
        Places {
            pagemap: File::open("/proc/self/pagemap").unwrap(),
            movable: from_ref(&(100..200)).to_vec(),
            cma,
        }
    }

    #[test]
    fn a_frame_is_lasting_only_if_no_area_can_have_it() {
        let known = places(Some(from_ref(&(300..310)).to_vec()));
        let [movable, cma, lasting] = [150, 300, 310].map(|frame| known.place_of(frame));
        assert_eq!([movable, cma, lasting], [Place::Movable, Place::Movable, Place::Lasting]);
        let unknown = places(None);
        assert_eq!((unknown.place_of(199), unknown.place_of(200)), (Place::Movable, Place::Unknown));
    }

    #[test]
    fn a_page_that_is_not_there_has_no_place() {
        let area = crate::area::Space::default().map(gupstress_run::machine::Kind::Anon, 2).unwrap();
        area.touch(0..1);
        let places = places(Some(Vec::new()));
        assert_ne!(places.place(&area, 0).unwrap(), Place::Nothing);
        assert_eq!(places.place(&area, 1).unwrap(), Place::Nothing);
    }
}
