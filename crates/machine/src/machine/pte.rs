//! Page-table entries, decoded: one word each.

use super::ids::{Frame, ZERO_FRAME};

/// A decoded page-table entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pte(pub(super) u64);

impl Pte {
    const PRESENT: u64 = 1;
    const MIGRATION: u64 = 2;
    const WRITE: u64 = 4;
    const DIRTY: u64 = 8;
    const POISON: u64 = 16;
    const EXCLUSIVE: u64 = 32;
    const FRAME: u32 = 32;

    /// Nothing mapped.
    pub const NONE: Self = Self(0);
    /// The zero page, read-only.
    pub const ZERO: Self = Self(Self::PRESENT | (ZERO_FRAME.0 as u64) << Self::FRAME);

    /// A present entry.
    pub fn present(frame: Frame, write: bool, dirty: bool) -> Self {
        let mut bits = Self::PRESENT | u64::from(frame.0) << Self::FRAME;
        if write {
            bits |= Self::WRITE;
        }
        if dirty {
            bits |= Self::DIRTY;
        }
        Self(bits)
    }

    /// The migration entry that stands for this present entry, and says whether its page is exclusive:
    /// until it is mapped again nothing else does.
    pub fn to_migration(self, exclusive: bool) -> Self {
        Self(self.0 & !Self::PRESENT | Self::MIGRATION | if exclusive { Self::EXCLUSIVE } else { 0 })
    }

    /// Whether the page of this migration entry is exclusive.
    pub fn is_exclusive(self) -> bool {
        self.0 & Self::EXCLUSIVE != 0
    }

    /// This migration entry of a page that a child shares from now on (`make_readable_migration_entry`).
    pub fn made_shared(self) -> Self {
        Self(self.0 & !(Self::WRITE | Self::EXCLUSIVE))
    }

    /// The present entry that this migration entry stood for, now of `frame`.
    pub fn from_migration(self, frame: Frame) -> Self {
        Self::present(frame, self.is_writable(), self.is_dirty())
    }

    /// The entry that stands where this frame was mapped until it was poisoned.
    pub fn poison(frame: Frame) -> Self {
        Self(Self::POISON | u64::from(frame.0) << Self::FRAME)
    }

    /// Whether the page that was here is poisoned: `is_hwpoison_entry`.
    pub fn is_poison(self) -> bool {
        self.0 & Self::POISON != 0
    }

    /// Whether a page is mapped.
    #[inline]
    pub fn is_present(self) -> bool {
        self.0 & Self::PRESENT != 0
    }

    /// Whether nothing is here at all.
    #[inline]
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether the page that was here is being migrated.
    #[inline]
    pub fn is_migration(self) -> bool {
        self.0 & Self::MIGRATION != 0
    }

    /// Whether stores are allowed.
    #[inline]
    pub fn is_writable(self) -> bool {
        self.0 & Self::WRITE != 0
    }

    /// Whether a page is mapped, and may be written to where that is asked.
    #[inline]
    pub fn allows(self, write: bool) -> bool {
        let asked = Self::PRESENT | if write { Self::WRITE } else { 0 };
        self.0 & asked == asked
    }

    /// Whether a store has gone through it.
    #[inline]
    pub fn is_dirty(self) -> bool {
        self.0 & Self::DIRTY != 0
    }

    /// The same without write permission.
    pub fn write_protected(self) -> Self {
        Self(self.0 & !Self::WRITE)
    }

    /// The same with write permission and the dirty bit.
    pub fn made_writable(self) -> Self {
        Self(self.0 | Self::WRITE | Self::DIRTY)
    }

    /// The same without the dirty bit.
    pub fn cleaned(self) -> Self {
        Self(self.0 & !Self::DIRTY)
    }

    /// The entry of page `nth` of what a PMD of this value maps.
    #[inline]
    pub fn at(self, nth: u32) -> Self {
        Self(self.0 + (u64::from(nth) << Self::FRAME))
    }

    /// The entry as one word.
    pub(super) fn bits(self) -> u64 {
        self.0
    }

    /// The frame that a present, migration or poison entry names.
    #[inline]
    pub fn frame(self) -> Frame {
        Frame((self.0 >> Self::FRAME) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_entry_keeps_what_the_pte_allowed() {
        for (write, dirty) in [(false, false), (true, false), (true, true)] {
            let pte = Pte::present(Frame(7), write, dirty);
            let entry = pte.to_migration(write);
            assert!(entry.is_migration() && !entry.is_present() && !entry.is_none());
            assert_eq!((entry.is_exclusive(), entry.made_shared().is_exclusive()), (write, false));
            assert_eq!(entry.made_shared().from_migration(Frame(7)), pte.write_protected());
            assert_eq!(entry.frame(), Frame(7));
            assert_eq!(entry.from_migration(Frame(9)), Pte::present(Frame(9), write, dirty));
        }
        assert!(!Pte::ZERO.is_none() && Pte::ZERO.is_present());
    }
}
