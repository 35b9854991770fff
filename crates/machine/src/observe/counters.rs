//! Event counters: one writer each, read by anyone, merged at the end.

use crate::sync::Tally;

macro_rules! events {
    ($( $(#[doc = $doc:literal])* $Event:ident = $name:literal, )*) => {
        /// What is counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Event { $( $(#[doc = $doc])* $Event, )* }

        impl Event {
            /// All events, in the order in which results give them.
            pub const ALL: &[Self] = &[$(Self::$Event),*];

            /// Its name in results.
            pub fn name(self) -> &'static str {
                match self { $(Self::$Event => $name,)* }
            }
        }
    };
}

events! {
    /// Page pins taken (`nr_foll_pin_acquired`).
    Acquired = "acquired",
    /// Page pins given back (`nr_foll_pin_released`).
    Released = "released",
    /// Pages migrated (`pgmigrate_success`).
    Migrated = "migrated",
    /// Pages that `migrate_pages` gave up (`pgmigrate_fail`).
    MigrateFailed = "migrate_failed",
    /// Calls of `migrate_pages`.
    MigrateCalls = "migrate_calls",
    /// Calls of `folio_isolate_lru`.
    IsolateCalls = "isolate_calls",
    /// Those that found `PG_lru` clear.
    IsolateBusy = "isolate_busy",
    /// Calls of `lru_add_drain_all`.
    DrainAll = "drain_all",
    /// Those that returned because the generation had moved.
    DrainShortcut = "drain_shortcut",
    /// Those that found every CPU's batches empty.
    DrainIdle = "drain_idle",
    /// Direct calls of `lru_add_drain`.
    DrainLocal = "drain_local",
    /// Drain works queued for kworkers (`lru_add_drain_per_cpu`), by who had them done.
    DrainWork = "drain_work",
    /// Drains of a CPU's mlock batch asked for, by whoever asked (`mlock_drain_local`).
    MlockDrain = "mlock_drain",
    /// Migration targets asked for (`alloc_migration_target`).
    TargetAllocs = "target_allocs",
    /// Calls that went on, or began, in the long-term loop (`__gup_longterm_locked`).
    SlowEntries = "slow_entries",
    /// Page faults handled.
    Faults = "faults",
    /// Pages pinned by GUP-fast.
    GupFast = "gup_fast",
    /// Sweeps of the long-term loop.
    Sweeps = "sweeps",
    /// Waits for a migration entry.
    MigrationWaits = "migration_waits",
    /// Waits for a page lock.
    LockWaits = "lock_waits",
    /// Waits for drain work or the drain mutex.
    DrainWaits = "drain_waits",
    /// Waits for a page in another's hands.
    OwnerWaits = "owner_waits",
    /// Waits for the call's turn.
    TurnWaits = "turn_waits",
    /// Nanoseconds that calls spent in `lru_add_drain_all`, waits for its mutex and work included.
    DrainAllNs = "drain_all_ns",
    /// Nanoseconds for which sweeps of the long-term loop held pins before they gave them back, or succeeded.
    PinnedNs = "pinned_ns",
    /// Pauses of a policy's backoff.
    Backoffs = "backoffs",
    /// Pages zapped.
    Zapped = "zapped",
    /// Blocks that offlining emptied.
    Offlined = "offlined",
    /// Blocks that it could not empty.
    OfflineFailed = "offline_failed",
    /// Splits of a folio that were tried (`split_huge_page_to_list_to_order`).
    SplitCalls = "split_calls",
    /// Huge pages split.
    ThpSplitPage = "thp_split_page",
    /// Those that others had references on.
    ThpSplitPageFailed = "thp_split_page_failed",
    /// PMD mappings replaced by PTEs.
    ThpSplitPmd = "thp_split_pmd",
    /// Huge pages of which a part was unmapped, to be split when there is time.
    ThpDeferredSplit = "thp_deferred_split_page",
    /// Faults that got a huge page.
    ThpFaultAlloc = "thp_fault_alloc",
    /// Those that wanted one and got small pages.
    ThpFaultFallback = "thp_fault_fallback",
    /// Huge pages migrated as one.
    ThpMigrationSuccess = "thp_migration_success",
    /// Those that were not, be it that they were split and moved page by page.
    ThpMigrationFail = "thp_migration_fail",
    /// Those that were split on the way.
    ThpMigrationSplit = "thp_migration_split",
    /// hugetlb folios that isolation was tried of (`folio_isolate_hugetlb`).
    IsolateHugetlb = "isolate_hugetlb_calls",
    /// Processes that the OOM killer was asked to kill, and did (`oom_kill`).
    OomKills = "oom_kills",
    /// DMA patterns checked at unpin.
    DmaChecked = "dma_checked",
}

/// Number of events.
pub const EVENTS: usize = Event::ALL.len();

/// One thread's counters. Only that thread writes them.
#[derive(Debug)]
pub struct Counters([Tally; EVENTS]);

impl Default for Counters {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Tally::new(0)))
    }
}

impl Counters {
    /// Adds to a counter; by its one writer only.
    #[inline]
    pub fn add(&self, event: Event, n: u64) {
        self.0[event as usize].add(n);
    }

    /// A counter's value.
    #[inline]
    pub fn get(&self, event: Event) -> u64 {
        self.0[event as usize].get()
    }

    /// All values now.
    pub fn totals(&self) -> Totals {
        Totals(std::array::from_fn(|i| self.0[i].get()))
    }
}

/// Values of all counters at one moment, or sums of such.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals([u64; EVENTS]);

impl Default for Totals {
    fn default() -> Self {
        Self([0; EVENTS])
    }
}

impl Totals {
    /// One value.
    pub fn get(&self, event: Event) -> u64 {
        self.0[event as usize]
    }

    /// Adds another's values.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine += theirs);
    }

    /// What came since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] - earlier.0[i]))
    }
}

impl serde::Serialize for Totals {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Event::ALL.iter().map(|&event| (event.name(), self.get(event))))
    }
}

#[cfg(not(loom))]
impl crate::restore::Restore for Counters {
    fn restore(&self, from: &Self) {
        self.0.restore(&from.0);
    }
}
