//! Who pins: by which entry, how much at a time, and what becomes of half a range.

use crate::words;

words! {
    /// A kind of caller.
    pub enum Caller {
        /// A registered buffer of `io_uring` (`io_pin_pages`).
        IoUring = "io_uring",
        /// A DMA mapping of VFIO type 1 (`vfio_pin_pages_remote`).
        Vfio = "vfio",
        /// A memory region of RDMA (`ib_umem_get`).
        Umem = "umem",
        /// A udmabuf over a memfd (`memfd_pin_folios`, 6.11 on).
        Udmabuf = "udmabuf",
        /// A driver that calls `pin_user_pages_fast` once.
        GupFast = "gup-fast",
        /// A driver that calls `pin_user_pages` once.
        GupSlow = "gup-slow",
    }
}

/// By which way pages are looked up and pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entrance {
    /// By the entry that a kernel version has for it ([`Entry`](super::Entry)).
    Kernel,
    /// `pin_user_pages_fast`: what is fine where it is needs no lock.
    Fast,
    /// `pin_user_pages`: the whole range goes through the loop.
    Slow,
    /// `pin_user_pages_remote`: likewise, and marks pages accessed.
    Remote,
    /// `memfd_pin_folios`: through the page cache, no page table is looked at.
    PageCache,
}

/// What a caller makes of a call that has pinned the first part of what it asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Short {
    /// `-EFAULT`, and all is given back.
    Fails,
    /// Goes on from where it stopped; the next call says what is wrong there.
    GoesOn,
}

/// Where what a caller keeps is counted, each account up to a limit by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    /// Pages in `user->locked_vm`, up to `RLIMIT_MEMLOCK`.
    UserLocked,
    /// Pages in `mm->locked_vm`, up to the same.
    MmLocked,
    /// Pages in `mm->pinned_vm`, up to the same.
    MmPinned,
    /// DMA mappings of a VFIO container, up to `dma_entry_limit`.
    DmaEntries,
}

impl Account {
    /// How many there are.
    pub const COUNT: usize = Self::DmaEntries as usize + 1;

    /// How many it counts of a range of so many pages, whatever they are.
    pub fn of_range(self, pages: u64) -> u64 {
        if self == Self::DmaEntries { 1 } else { pages }
    }
}

/// What sets a caller apart from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Habit {
    /// By which way it comes.
    pub entrance: Entrance,
    /// Most pages of one call, each with sweeps of its own; none: the whole range at once.
    pub chunk: Option<u32>,
    /// What a short count means to it.
    pub short: Short,
    /// Where its range is counted before a page of it is looked at; none: nowhere.
    pub ahead: Option<Account>,
    /// Where its pages are counted once they are pinned; none: nowhere.
    pub account: Option<Account>,
}

impl Caller {
    /// Its row of the table.
    pub fn habit(self) -> Habit {
        use Account::{DmaEntries, MmLocked, MmPinned, UserLocked};
        use {Entrance as By, Short as On};
        let (entrance, chunk, short, ahead, account) = match self {
            Self::IoUring => (By::Kernel, None, On::Fails, None, Some(UserLocked)),
            // `VFIO_BATCH_MAX_CAPACITY`: the page pointers that fit into a page.
            Self::Vfio => (By::Remote, Some(512), On::GoesOn, Some(DmaEntries), Some(MmLocked)),
            // The same by `PAGE_SIZE / sizeof(struct page *)`.
            Self::Umem => (By::Fast, Some(512), On::GoesOn, Some(MmPinned), None),
            Self::Udmabuf => (By::PageCache, None, On::Fails, None, None),
            Self::GupFast => (By::Fast, None, On::Fails, None, None),
            Self::GupSlow => (By::Slow, None, On::Fails, None, None),
        };
        Habit { entrance, chunk, short, ahead, account }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::WORDS.iter().find(|(_, caller)| *caller == self).map_or("", |(name, _)| name)
    }
}
