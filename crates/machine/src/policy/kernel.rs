//! The rules of one kernel version.

use crate::{table, words};

words! {
    /// Which entry point a caller (`io_uring`) uses.
    pub enum Entry {
        /// `pin_user_pages`: the whole range goes through the long-term loop.
        Slow = "slow",
        /// `pin_user_pages_fast`: the leading run that is fine is pinned without it.
        Fast = "fast",
    }
}

words! {
    /// How `migrate_pages` makes its passes.
    pub enum MigrateStyle {
        /// Each page is unmapped, moved and remapped before the next; all pages a pass (to 6.2).
        OneByOne = "one-by-one",
        /// All pages are unmapped, then all moved; what fails is retried one by one (6.3 on).
        Batched = "batched",
    }
}

words! {
    /// After which migrated pages a local drain follows.
    pub enum DrainAfterMigrate {
        /// None (to 5.17).
        Never = "never",
        /// Every page that was mapped (5.18 to 6.2; c3096e6782b7).
        Mapped = "mapped",
        /// Those that were mlocked (6.3 on).
        Mlocked = "mlocked",
    }
}

words! {
    /// Which evictable pages MADV_COLD queues under multi-gen LRU.
    pub enum Cold {
        /// All (to 6.13).
        Any = "any",
        /// All but those that MADV_FREE has put into the oldest generation (6.14 to 7.1).
        Swapbacked = "swapbacked",
        /// Likewise, but MADV_FREE leaves a page that was referenced in a younger one (7.2 on).
        NotOldest = "not-oldest",
    }
}

words! {
    /// Which pages a pin for reading gets to itself first, as a pin for writing does (`gup_must_unshare`).
    pub enum Unshare {
        /// None: what a program writes later goes where the device does not read (to 5.18).
        Never = "never",
        /// Anonymous pages that are not exclusive (5.19 to 6.1).
        Anon = "anon",
        /// Every page of a private mapping that is not its own, the zero page too (6.2 on).
        Cow = "cow",
    }
}

words! {
    /// Which large folios, but new anonymous ones, are mlocked where they are mapped into a locked area.
    pub enum MlockLarge {
        /// None: that is left to reclaim (6.7 to 6.17).
        Never = "never",
        /// Those that a PMD maps (to 6.6).
        Pmd = "pmd",
        /// Those that are mapped whole in one go, by a PMD or by PTEs (6.18 on).
        Whole = "whole",
    }
}

words! {
    /// What `mprotect` makes writable again of private memory, so that a store takes no fault.
    pub enum MprotectWritable {
        /// Nothing (to 5.19).
        Never = "never",
        /// PTEs of exclusive pages that were written through; a PTE that a PMD was split into was not (6.0, 6.1).
        Dirty = "dirty",
        /// Whatever maps exclusive pages (6.2 on).
        Exclusive = "exclusive",
    }
}

words! {
    /// Of which registered buffers io_uring keeps one pin a folio, and gives the others back at once.
    pub enum Coalesce {
        /// Of none (to 6.2).
        Never = "never",
        /// Of those that lie in one folio (6.3 to 6.11; 57bebf807e2a).
        One = "one",
        /// Of those in large folios of one size, each up to its end but the last, and from its start but the
        /// first (6.12 on; a8edbb424b13).
        Several = "several",
    }
}

table! {
    /// What the machine does as one kernel version does it.
    pub struct Rules {
        /// Name in tables and results.
        key name: String,
        /// What it is, one sentence.
        key summary: String,
        /// The retry policy this kernel has itself.
        key policy: String,
        /// Entries of a per-CPU batch.
        key batch_size: u32 = 1..=31,
        /// Whether queueing a page to move, age or free it clears PG_lru (6.11 to 6.16).
        key queueing_clears_lru: bool,
        /// Whether mlock and munlock go through a batch (5.18 on).
        key mlock_batched: bool,
        /// How migrate_pages passes over its list.
        key migrate: MigrateStyle,
        /// Passes of the one-by-one style.
        key migrate_passes: u32,
        /// Asynchronous passes of the batched style.
        key migrate_async_passes: u32,
        /// Synchronous passes, page by page, of the batched style.
        key migrate_sync_passes: u32,
        /// Whether unmapping for migration leaves an exclusive anon page mapped that may be pinned (5.19 on).
        key unmap_respects_pins: bool,
        /// Which migrated pages are followed by a local drain.
        key drain_after_migrate: DrainAfterMigrate,
        /// Which entry point pins come through.
        key entry: Entry,
        /// Whether multi-gen LRU is on.
        key mglru: bool,
        /// Which pages MADV_COLD queues under multi-gen LRU.
        key cold: Cold,
        /// Whether an area with an anon_vma merges with a neighbour that was never written (6.16 on; 879bca0a2c4f).
        key merge_into_unfaulted: bool,
        /// Whether lru_add_drain_all drains its own CPU first, directly (7.2).
        key drain_all_local_first: bool,
        /// Whether a page with no reference but its batch's is freed at drain (7.2).
        key free_at_drain: bool,
        /// Whether a write fault on a shared anon page off the LRU drains this CPU first (5.18 on).
        key cow_drains: bool,
        /// Whether that drain comes even where another maps the page, who forbids its reuse (to 7.2).
        key cow_drains_shared: bool,
        /// Whether munmap, MADV_DONTNEED and exit drain this CPU first (to 6.13; 350f10ef46fe in linux-next).
        key zap_drains: bool,
        /// Whether a pin for writing of a dirty-tracked shared file mapping is refused (6.5 on).
        key refuses_tracked_writes: bool,
        /// Whether memfd_pin_folios, and with it udmabuf's long-term pin, is there (6.11 on).
        key memfd_pin: bool,
        /// Whether memfd_pin_folios adds a hugetlb page to its file as a fault does, under its mutex (6.18 on, and later stable 6.12 and 6.17; de8798965fd0).
        key memfd_adds_as_faults: bool,
        /// Whether a fault inside a long-term pin avoids Movable too, not just CMA (5.13 on).
        key pin_alloc_avoids_movable: bool,
        /// Which pages a pin for reading unshares.
        key unshare: Unshare,
        /// Whether a pin of the zero page is a reference, and counted, like any other (to 6.0; not in 6.1.192).
        key zero_page_counts: bool,
        /// Which large folios mapping them into a locked area mlocks.
        key mlock_large: MlockLarge,
        /// What mprotect makes writable again.
        key mprotect_writable: MprotectWritable,
        /// Whether migrate_pages first splits a folio of which a part is mapped no more (6.12 on).
        key splits_partly_mapped: bool,
        /// Whether splitting a folio maps the zero page where its program has never stored (6.12 on; b1f202060afe).
        key split_maps_zero: bool,
        /// Whether splitting a huge page takes what its PMD maps out page by page, as if partly unmapped (to 6.6).
        key split_unmaps_pages: bool,
        /// Whether the copy of a folio that was to be split is to be split in its place (6.12.117, 7.2 on).
        key migrate_keeps_deferred: bool,
        /// Whether a write fault reuses a page of a large folio that this process alone maps (6.15 on).
        key reuses_large: bool,
        /// Whether a write to the huge zero page gets a huge page, in place of a small one (6.14 on).
        key huge_zero_to_huge: bool,
        /// Whether a shared fault maps all of a large folio, in place of one page (6.11 on).
        key fault_maps_folio: bool,
        /// Whether a read fault maps all of the cached folios that it meets, in place of what lies within 16 pages (6.18 on).
        key fault_around_whole: bool,
        /// Whether punching a hole splits a folio into the largest parts around it, in place of pages (6.15 on).
        key hole_splits_to_fit: bool,
        /// Whether a fault of a tmpfs mounted with huge=always gets a huge page (not in 6.12.117 and 7.3.4).
        key tmpfs_faults_huge: bool,
        /// Whether pins walk hugetlb mappings by themselves: what lies in Movable is -ENOMEM, for ever (to 6.5).
        key hugetlb_apart: bool,
        /// Whether MADV_DONTNEED gives up huge pages of the pool (5.18 on; 90e7e7f5ef3f).
        key hugetlb_dontneed: bool,
        /// Of which buffers io_uring keeps one pin a folio.
        key coalesce: Coalesce,
        /// Whether a pin without memory for its array of folios fails with its range still pinned (6.11).
        key folio_array_leaks: bool,
        /// What a pin adds to the refcount (GUP_PIN_COUNTING_BIAS).
        key pin_bias: u32 = 1..=65_536,
    } => rules_keys
}

impl Rules {
    /// Stands for keys that no preset has given yet; every preset gives them all.
    pub fn blank() -> Self {
        Self {
            name: String::new(),
            summary: String::new(),
            policy: String::new(),
            batch_size: 31,
            queueing_clears_lru: false,
            mlock_batched: true,
            migrate: MigrateStyle::Batched,
            migrate_passes: 10,
            migrate_async_passes: 3,
            migrate_sync_passes: 7,
            unmap_respects_pins: true,
            drain_after_migrate: DrainAfterMigrate::Mlocked,
            entry: Entry::Fast,
            mglru: true,
            cold: Cold::NotOldest,
            merge_into_unfaulted: true,
            drain_all_local_first: false,
            free_at_drain: false,
            cow_drains: true,
            cow_drains_shared: true,
            zap_drains: false,
            refuses_tracked_writes: true,
            memfd_pin: true,
            memfd_adds_as_faults: true,
            pin_alloc_avoids_movable: true,
            unshare: Unshare::Cow,
            zero_page_counts: false,
            mlock_large: MlockLarge::Whole,
            mprotect_writable: MprotectWritable::Exclusive,
            splits_partly_mapped: true,
            split_maps_zero: true,
            split_unmaps_pages: false,
            migrate_keeps_deferred: true,
            reuses_large: true,
            huge_zero_to_huge: true,
            fault_maps_folio: true,
            fault_around_whole: true,
            hole_splits_to_fit: true,
            tmpfs_faults_huge: false,
            hugetlb_apart: false,
            hugetlb_dontneed: true,
            coalesce: Coalesce::Several,
            folio_array_leaks: false,
            pin_bias: 1024,
        }
    }
}
