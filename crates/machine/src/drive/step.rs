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

/// From a wake-up until the woken task can run, and a switch, under `model`: orders of magnitude.
const WAKE_NS: (u64, u64) = (2_000, 1_000);
/// The same under `tcg-icount`: half a round trip of two threads through pipes on one CPU less the
/// system calls and the switch, and half a round of `sched_yield` less the system call.
const WAKE_ICOUNT_NS: (u64, u64) = (1_545, 1_840);
/// What the kernel with other policies takes of what `tcg-icount` says, by long-term pins on one thread: of
/// 4 pages 28 µs where that has 33.5, of 64 pages 6.5 times what `model` says, 418 µs, where it has 519.
const PATCHED: f64 = 0.82;

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
    /// It waits for another's fault of the same page of the hugetlb pool.
    FaultMutex = "fault:mutex", 50;
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
    /// What it costs at one instruction a nanosecond, where that was measured: one thread on Debian's
    /// 6.12.117 in a guest under `-icount shift=0`, slopes over ranges of 1 to 64 pages. Steps that a
    /// kernel cannot tell apart have their shares of the whole by [`default_ns`](Self::default_ns).
    fn icount_ns(self) -> Option<u64> {
        Some(match self {
            // Registering a buffer and what its caller does, without its pages; unregistering it.
            Self::Idle => 2_340,
            Self::Hold => 1_300,
            Self::GupFast => 292,
            Self::GupWalk => 593,
            // 474 a page from the end of the walk to the unpin.
            Self::CollectCheck => 68,
            Self::CollectIsolate => 135,
            Self::CollectIsolated => 271,
            // 2,581 a page up to the flush of the TLBs, 3,848 after it.
            Self::MigrateTarget | Self::MigrateUnmapped => 1_046,
            Self::MigrateLock => 140,
            Self::MigrateUnmap => 349,
            Self::MigrateFreeze => 226,
            Self::MigrateCopied => 2_263,
            Self::MigrateRemap => 755,
            Self::MigrateDone => 604,
            // 3,400 a page that is written to after `MADV_DONTNEED`, which takes 1,100 a page.
            Self::Fault => 1_360,
            Self::FaultAlloc => 1_700,
            Self::FaultMapped => 340,
            Self::Zap => 1_100,
            _ => return None,
        })
    }

    /// Whether a kernel of voluntary preemption looks here whether another task is to run, by
    /// `cond_resched`, by what may sleep or on its way out of the kernel.
    pub fn may_resched(self) -> bool {
        !matches!(
            self,
            Self::GupFast
                | Self::Pinned
                | Self::CollectCheck
                | Self::CollectDrainLocal
                | Self::CollectIsolate
                | Self::CollectIsolated
                | Self::FaultAlloc
                | Self::Zap
                | Self::MigrateUnmap
                | Self::MigrateUnmapped
                | Self::MigrateFreeze
                | Self::MigrateCopied
                | Self::MigrateRemap
                | Self::Putback
        )
    }

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
        /// One instruction a nanosecond: QEMU without a host's accelerator, under `-icount`. What was not measured
        /// by itself is 6.5 times that of `model`, as a long-term pin of 4 or of 64 pages on one thread is.
        TcgIcount = "tcg-icount",
        /// The same of the kernel that was built with other policies: 0.82 of it, by long-term pins of 4 and of 64
        /// pages on one thread.
        TcgIcountPatched = "tcg-icount-patched",
    }
}

/// On the patched kernel what takes so long under `tcg-icount`.
fn patched(ns: u64) -> u64 {
    (ns as f64 * PATCHED).round() as u64
}

impl CostSet {
    /// Its cost of a step.
    fn of(self, step: Step) -> u64 {
        match self {
            Self::Model => step.default_ns(),
            Self::TcgIcount => {
                step.icount_ns().unwrap_or_else(|| (step.default_ns() as f64 * 6.5).round() as u64)
            }
            Self::TcgIcountPatched => patched(Self::TcgIcount.of(step)),
        }
    }

    /// From a wake-up until the woken task can run, and what a switch costs.
    fn wake(self) -> (u64, u64) {
        match self {
            Self::Model => WAKE_NS,
            Self::TcgIcount => WAKE_ICOUNT_NS,
            Self::TcgIcountPatched => (patched(WAKE_ICOUNT_NS.0), patched(WAKE_ICOUNT_NS.1)),
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
        let (wakeup, switch) = set.wake();
        Self { set, steps: std::array::from_fn(|step| set.of(Step::ALL[step])), wakeup, switch }
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
