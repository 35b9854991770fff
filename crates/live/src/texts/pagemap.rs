//! `/proc/PID/pagemap`: eight bytes a virtual page, `Documentation/admin-guide/mm/pagemap.rst`.

/// Bytes of an entry.
pub const PAGEMAP_ENTRY: usize = 8;

/// What one virtual page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry(u64);

const PRESENT: u64 = 1 << 63;
const FRAME: u64 = (1 << 55) - 1;

impl Entry {
    /// Reads one.
    pub fn parse(bytes: [u8; PAGEMAP_ENTRY]) -> Self {
        Self(u64::from_ne_bytes(bytes))
    }

    /// Whether a page is mapped there.
    pub fn is_present(self) -> bool {
        self.0 & PRESENT != 0
    }

    /// Its page frame; none without one, or without `CAP_SYS_ADMIN`: the kernel shows 0 then.
    pub fn frame(self) -> Option<u64> {
        Some(self.0 & FRAME).filter(|&frame| self.is_present() && frame != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(bits: u64) -> Entry {
        Entry::parse(bits.to_ne_bytes())
    }

    #[test]
    fn a_frame_is_known_only_where_the_kernel_shows_it() {
        // Present, exclusively mapped and soft-dirty, as 6.12 showed it.
        let shown = entry(0x8180_0000_0001_2345);
        assert_eq!((shown.is_present(), shown.frame()), (true, Some(0x1_2345)));
        let hidden = entry(0x8180_0000_0000_0000);
        assert_eq!((hidden.is_present(), hidden.frame()), (true, None));
        let swapped = entry(0x4000_0000_0000_0021);
        assert_eq!((swapped.is_present(), swapped.frame()), (false, None));
        assert_eq!(entry(0).frame(), None);
    }
}
