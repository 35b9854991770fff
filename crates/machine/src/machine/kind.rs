//! What mappings are made of, and what is true of each.

/// What a mapping is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Private anonymous memory.
    Anon,
    /// Shared memory: pages also have a page-cache reference.
    Shmem,
    /// A file of a tmpfs that is mounted with `huge=always`, shared.
    Tmpfs,
    /// Private memory of huge pages from the hugetlb pool.
    Hugetlb,
    /// The same shared, of a memfd.
    Hugeshm,
    /// A file of ramfs, shared: nothing writes its pages back, and reclaim leaves them alone.
    Ramfs,
    /// A file with a backing store, shared: the first store to a page after each writeback is noticed.
    File,
    /// Memory that the kernel itself cannot reach (`memfd_secret`).
    Secret,
    /// A driver's pages, mapped as page frame numbers (`VM_PFNMAP`).
    Pfnmap,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Anon,
        Self::Shmem,
        Self::Tmpfs,
        Self::Hugetlb,
        Self::Hugeshm,
        Self::Ramfs,
        Self::File,
        Self::Secret,
        Self::Pfnmap,
    ];

    /// Whether its pages are those of a page cache.
    #[inline]
    pub fn is_cached(self) -> bool {
        matches!(self, Self::Shmem | Self::Tmpfs | Self::Hugeshm | Self::Ramfs | Self::File | Self::Secret)
    }

    /// Whether its pages can be swapped out.
    pub fn is_swapbacked(self) -> bool {
        matches!(self, Self::Anon | Self::Shmem | Self::Tmpfs)
    }

    /// Whether a read fault maps what is cached around the page too (`map_pages`).
    pub fn faults_around(self) -> bool {
        self.is_cached() && !self.is_hugetlb() && self != Self::Secret
    }

    /// Whether a memfd has it, as udmabuf and `memfd_pin_folios` want.
    pub fn is_memfd(self) -> bool {
        matches!(self, Self::Shmem | Self::Hugeshm)
    }

    /// Whether its pages are of the hugetlb pool.
    #[inline]
    pub fn is_hugetlb(self) -> bool {
        matches!(self, Self::Hugetlb | Self::Hugeshm)
    }

    /// Whether a forked child's stores are not seen, but copied for.
    pub fn is_private(self) -> bool {
        matches!(self, Self::Anon | Self::Hugetlb)
    }

    /// Whether reclaim must leave its pages alone (`AS_UNEVICTABLE`).
    pub fn is_unevictable(self) -> bool {
        matches!(self, Self::Ramfs | Self::Secret)
    }

    /// Whether no pin of it is possible: `check_vma_flags`.
    #[inline]
    pub fn is_unpinnable(self) -> bool {
        matches!(self, Self::Secret | Self::Pfnmap)
    }
}

/// What a mapping is made of, and in how large pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backing {
    /// What it is made of.
    pub kind: Kind,
    /// Order of the folios that faults make where they can; 0: single pages.
    pub order: u32,
}

impl From<Kind> for Backing {
    fn from(kind: Kind) -> Self {
        Self { kind, order: 0 }
    }
}
