//! The named points of the machine's operations.

macro_rules! steps {
    ($( $(#[doc = $doc:literal])* $Step:ident = $name:literal, $ns:literal; )*) => {
        /// A point between two accesses that others may come between.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Step { $( $(#[doc = $doc])* $Step, )* }

        impl Step {
            /// All steps, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$Step),*];

            /// Its name in reports and traces.
            pub fn name(self) -> &'static str {
                match self { $(Self::$Step => $name,)* }
            }

            /// What it costs on the virtual clock unless a profile says otherwise.
            ///
            /// Orders of magnitude on current hardware (a cache miss, a 4 KiB
            /// copy, a thread wake-up); shapes depend on their ratios only.
            pub fn default_ns(self) -> u64 {
                match self { $(Self::$Step => $ns,)* }
            }
        }
    };
}

steps! {
    /// Between operations.
    Idle = "idle", 20;
    /// Start of a sweep: nothing pinned, nothing isolated.
    Sweep = "pin:sweep", 30;
    /// GUP-fast has its reference, and has yet to read the PTE again.
    GupFast = "gup:fast", 15;
    /// Before GUP walks to a page.
    GupWalk = "gup:walk", 25;
    /// The whole range is pinned.
    Pinned = "pin:pinned", 20;
    /// Collection looks at a page.
    CollectCheck = "collect:check", 10;
    /// This CPU's batches have been drained for collection.
    CollectDrainLocal = "collect:drain-local", 50;
    /// All CPUs' batches have been drained for collection.
    CollectDrainAll = "collect:drain-all", 100;
    /// Before a page is isolated.
    CollectIsolate = "collect:isolate", 20;
    /// After a page was isolated, or not.
    CollectIsolated = "collect:isolated", 40;
    /// The range has been unpinned.
    Unpinned = "pin:unpinned", 20;
    /// A pause before the next sweep.
    Backoff = "pin:backoff", 50;
    /// Waiting for the call's turn.
    WaitTurn = "pin:wait-turn", 50;
    /// Waiting for a page in another's hands.
    WaitOwner = "pin:wait-owner", 50;
    /// A page's fault begins.
    Fault = "fault:begin", 200;
    /// A fresh page has been allocated and filled.
    FaultAlloc = "fault:alloc", 250;
    /// A fresh page is mapped and in its batch.
    FaultMapped = "fault:mapped", 50;
    /// A page has been zapped.
    Zap = "zap:page", 80;
    /// A page has been mlocked or munlocked.
    Mlock = "mlock:page", 40;
    /// A page has been queued to be moved, aged or freed.
    Queue = "lru:queue", 30;
    /// `lru_add_drain_all` has loaded the generation.
    DrainGen = "drain-all:generation", 20;
    /// It waits for the mutex.
    DrainMutex = "drain-all:mutex", 50;
    /// It has queued its works.
    DrainQueued = "drain-all:queued", 200;
    /// It waits for its works.
    DrainFlush = "drain-all:flush", 100;
    /// A kworker runs a drain.
    Kworker = "kworker:drain", 500;
    /// A migration target has been allocated.
    MigrateTarget = "migrate:target", 150;
    /// Migration is about to lock a page.
    MigrateLock = "migrate:lock", 20;
    /// Migration waits for writeback.
    MigrateWriteback = "migrate:writeback", 20;
    /// A page is about to be unmapped.
    MigrateUnmap = "migrate:unmap", 50;
    /// A page has been unmapped, or not.
    MigrateUnmapped = "migrate:unmapped", 150;
    /// A page's refcount is about to be frozen.
    MigrateFreeze = "migrate:freeze", 30;
    /// A page has been copied.
    MigrateCopied = "migrate:copied", 300;
    /// The target is about to be mapped.
    MigrateRemap = "migrate:remap", 100;
    /// A page's migration is over.
    MigrateDone = "migrate:done", 80;
    /// An isolated page is put back.
    Putback = "putback:page", 40;
    /// A fault waits for a migration entry.
    MigrationEntry = "fault:migration-entry", 100;
    /// A page lock is waited for.
    PageLock = "page:lock", 50;
    /// Reclaim holds isolated pages.
    Reclaim = "reclaim:isolated", 200;
    /// Compaction holds isolated pages.
    Compact = "compact:isolated", 200;
    /// Offlining has isolated a block.
    Offline = "offline:isolated", 500;
    /// A short reference, lock or writeback is held.
    Hold = "hold:page", 50;
}

impl Step {
    /// Whether a thread holds nothing here that others could want: no lock, pin, page or work.
    #[inline]
    pub fn holds_nothing(self) -> bool {
        matches!(self, Self::Idle | Self::Sweep | Self::Kworker)
    }
}

/// Number of steps.
pub const STEPS: usize = Step::ALL.len();

crate::words! {
    /// Costs that were found together, on one kind of machine.
    pub enum CostSet {
        /// Orders of magnitude on current hardware.
        Model = "model",
        /// One instruction a nanosecond: QEMU without a host's accelerator, under `-icount`. A long-term pin of 4
        /// fresh pages takes 28 µs there on one thread and 4.2 µs under `model`; one of 64 differs as much.
        TcgIcount = "tcg-icount",
    }
}

impl CostSet {
    /// How many times those of `model` its costs are.
    fn factor(self) -> f64 {
        match self {
            Self::Model => 1.0,
            Self::TcgIcount => 6.5,
        }
    }
}

/// What each step costs on the virtual clock, in nanoseconds, and what a scheduler loses between steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Costs {
    set: CostSet,
    steps: [u64; STEPS],
    /// From a wake-up until the woken task can run on an idle CPU.
    pub wakeup: u64,
    /// What a CPU loses where it goes on with another task.
    pub switch: u64,
}

impl Default for Costs {
    fn default() -> Self {
        Self::named(CostSet::Model)
    }
}

impl Costs {
    /// The costs of a set.
    pub fn named(set: CostSet) -> Self {
        let times = |ns: u64| (ns as f64 * set.factor()).round() as u64;
        let mut steps = [0; STEPS];
        for &step in Step::ALL {
            steps[step as usize] = times(step.default_ns());
        }
        Self { set, steps, wakeup: times(2_000), switch: times(1_000) }
    }

    /// The set that they began as.
    pub fn set_name(&self) -> CostSet {
        self.set
    }

    /// The same with every step `ns` longer.
    #[must_use]
    pub fn longer_by(&self, ns: u64) -> Self {
        Self { steps: self.steps.map(|cost| cost.saturating_add(ns)), ..self.clone() }
    }

    /// Changes the cost of a step.
    pub fn set(&mut self, step: Step, ns: u64) {
        self.steps[step as usize] = ns;
    }

    /// The cost of a step.
    #[inline]
    pub fn of(&self, step: Step) -> u64 {
        self.steps[step as usize]
    }
}

impl serde::Serialize for Costs {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(Some(STEPS + 3))?;
        map.serialize_entry("base", &self.set)?;
        map.serialize_entry("wakeup", &self.wakeup)?;
        map.serialize_entry("switch", &self.switch)?;
        for &step in Step::ALL {
            map.serialize_entry(step.name(), &self.of(step))?;
        }
        map.end()
    }
}
