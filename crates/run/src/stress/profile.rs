//! Stress profiles: how many of what, how often, on how much memory.

mod check;
mod needs;

use super::bystanders::{BystanderCfg, OomScoreAdj};
use super::callers::Callers;
use crate::config::{Key, Ns, SetError, Share, Table, nearest, table, to_toml, words};
use crate::drive::{Costs, Host, Preemption, Sched};
use crate::error::{Error, Result};
use crate::judge::Verdict;
use crate::machine::{Backing, DMA_ENTRY_LIMIT, Kind, Layout, MAX_ORDER, PAGEBLOCK, PageIndex, PageRange};
use crate::policy::{Source, load, names, policy_names, presets};
use std::collections::BTreeMap;

pub use needs::Needs;
pub(super) use needs::STACK;

words! {
    /// How pages come into a mapping.
    pub enum Populate {
        /// By a write fault each.
        Write = "write",
        /// By a read fault each: anonymous memory gets the zero page.
        Read = "read",
    }
}

words! {
    /// What is done to a call's range after it has been faulted in again.
    pub enum Age {
        /// Nothing.
        None = "none",
        /// MADV_COLD.
        Cold = "cold",
        /// MADV_FREE.
        Lazyfree = "lazyfree",
        /// This CPU's batches are drained: the pages are on the LRU.
        Drain = "drain",
    }
}

words! {
    /// A page that cannot be migrated, for good.
    pub enum Special {
        /// None.
        None = "none",
        /// A driver's page in CMA, never on an LRU list.
        Driver = "driver",
        /// Reserved by the boot process, in Movable.
        Reserved = "reserved",
        /// Poisoned and taken away.
        Hwpoison = "hwpoison",
        /// Poisoned, but unmapping it failed.
        HwpoisonMapped = "hwpoison-mapped",
        /// Pinned by someone who does not let go.
        Pinned = "pinned",
        /// Referenced by someone who does not let go.
        Held = "held",
    }
}

table! {
    /// The mappings that everybody works on.
    pub struct RangesCfg {
        /// Mappings; with private ranges as many as pinners, whatever this says.
        key count: u32 = 1..=u32::MAX,
        /// Whether every pinner has a mapping of its own.
        key private: bool,
        /// Pages of each.
        key pages: u32 = 1..=u32::MAX,
        /// Share of the mappings that is shared memory.
        key shmem: Share,
        /// Order of the folios that faults make where they can; 9: huge pages, mapped by PMDs.
        key order: u32 = 0..=MAX_ORDER,
        /// Whether they are of huge pages from the hugetlb pool, which is as large as that takes.
        key hugetlb: bool,
        /// Share of the mappings that is mlocked.
        key mlocked: Share,
        /// How their pages come into them.
        key populate: Populate,
        /// What the first pages of each mapping are.
        key special: Special,
        /// How many of them.
        key special_pages: u32,
        /// Whether their pages lie outside Movable and CMA from the beginning.
        key pinnable: bool,
    }
}

table! {
    /// Threads that pin.
    pub struct PinnerCfg {
        /// Fewest pages of a call.
        key pages_min: u32 = 1..=u32::MAX,
        /// Most pages of a call.
        key pages_max: u32 = 1..=u32::MAX,
        /// Whether pins are for writing (FOLL_WRITE).
        key write: bool,
        /// Whether a device writes through each pin, and is checked.
        key dma: bool,
        /// How long a pin is held.
        key hold: Ns,
        /// Probability that a call's range is zapped and faulted in again afterwards.
        key zap: Share,
        /// Whether pages that someone has pinned are zapped too, as MADV_DONTNEED does; otherwise they stay.
        key zap_pinned: bool,
        /// Pages of another mapping that are faulted in after that, on the same CPU.
        key fill: u32,
        /// What is done to the range then.
        key age: Age,
        /// Probability that the thread moves to another CPU before a call.
        key migrate_cpu: Share,
        /// Whether all threads pin the same range at the same moment, in rounds.
        key rounds: bool,
        /// Whether each thread pins pages of a part of each mapping that is its alone.
        key disjoint: bool,
        /// Whether calls are made one after the other, under a lock of the program's own.
        key serialised: bool,
        /// Pages that the process may keep locked or pinned, by each way of counting (RLIMIT_MEMLOCK); 0: any number.
        key memlock: u32,
        /// DMA mappings that VFIO lets it have at a time (dma_entry_limit).
        key dma_entries: u32,
        /// How much sooner than others the OOM killer chooses their process.
        key oom_score_adj: OomScoreAdj,
    }
}

table! {
    /// Threads that disturb.
    pub struct ActorCfg {
        /// How many.
        key threads: u32 = 0..=MOST_THREADS,
        /// Pause between two actions of one of them.
        key pause: Ns,
        /// How long one action holds what it took, where it holds anything.
        key hold: Ns,
    }
}

table! {
    /// The host of the simulator's CPUs, where they are virtual ones.
    pub struct HostCfg {
        /// Its own CPUs, which run the virtual ones in turns; 0: one for each.
        key cpus: u32,
        /// Longest turn, where they are fewer: a round of them ends at the next timer. Who is idle takes none.
        key turn: Ns,
        /// Share of each CPU's time that others of its guests take.
        key steal: Share,
        /// Mean length of a burst in which it does.
        key burst: Ns,
    }
}

/// What a profile may expect, best first: what is not decided, or a bug, is expected of nobody.
fn expectable() -> impl Iterator<Item = (&'static str, Verdict)> {
    let all = Verdict::WORDS.iter().copied();
    all.filter(|(_, verdict)| !matches!(verdict, Verdict::Inconclusive | Verdict::Broken))
}

/// The worst that each policy may come to; `*` stands for all that are not named.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Expectations(BTreeMap<String, Verdict>);

impl Table for Expectations {
    fn keys(prefix: &str, into: &mut Vec<Key>) {
        into.extend(policy_names().into_iter().map(|policy| Key {
            path: format!("{prefix}{policy}"),
            doc: "",
            expected: expectable().map(|(word, _)| word).collect::<Vec<_>>().join(" | "),
            outside: expectable().map(|(word, _)| (format!("{word}?").into(), word.to_owned())).collect(),
        }));
    }

    fn set(&mut self, path: &str, value: &toml::Value) -> std::result::Result<(), SetError> {
        // Users' own policies have names of their own.
        let word = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let Some((_, verdict)) = expectable().find(|(known, _)| *known == word) else {
            let words: Vec<&str> = expectable().map(|(word, _)| word).collect();
            let near = nearest(&word, words.iter().copied()).unwrap_or_default();
            let reason = format!("{value} is not one of {}; nearest: {near}", words.join(", "));
            return Err(SetError::Value(reason));
        };
        self.0.insert(path.to_owned(), verdict);
        Ok(())
    }

    fn to_table(&self) -> toml::Table {
        self.0.iter().map(|(policy, worst)| (policy.clone(), worst.name().into())).collect()
    }
}

table! {
    /// A stress profile.
    pub struct Profile {
        /// Name in tables and results.
        key name: String,
        /// What it shows, one sentence.
        key summary: String,
        /// Where it comes from.
        key reference: String,
        /// Whether it is a piece of the kernel's history: a row of the matrix.
        key history: bool,
        /// Pinning threads unless a run says otherwise.
        key threads: u32 = 1..=MOST_THREADS,
        /// Simulated CPUs unless a run says otherwise.
        key cpus: u32 = 1..=MOST_CPUS,
        /// Page pins after which a run is complete unless it says otherwise.
        key pins: u32 = 1..=u32::MAX,
        /// Calls after which it is complete too; 0: no such limit.
        key calls: u32,
        /// Probability that a step gives the processor away, to widen races on few cores.
        key perturb: Share,
        /// How much longer every step takes, as in a slower build: a busy-wait, or virtual time.
        key step_delay: Ns,
        /// Time slice of the simulator's CPUs: what a task runs for where others could.
        key slice: Ns,
        /// Period of its timer tick, at which the end of a slice is noticed; none: it is at once.
        key tick: Ns,
        /// What takes one of its CPUs from a task: the end of its slice alone, or a wake-up too.
        key preemption: Preemption,
        /// Whether memory outside Movable and CMA is used up before the pinners set off.
        key hog: bool,
        /// Whether movable memory is taken from CMA before Normal, whatever is free.
        key cma_first: bool,
        /// Frames; normal = 0: as many as the rest can ever need.
        section memory: Layout,
        /// Mappings.
        section ranges: RangesCfg,
        /// Pinners.
        section pinner: PinnerCfg,
        /// Which callers they are, by shares; none: io_uring.
        section callers: Callers,
        /// Fault, mark accessed, deactivate, lazyfree, mlock and munlock.
        section churn: ActorCfg,
        /// Call lru_add_drain_all.
        section drainers: ActorCfg,
        /// Isolate a few pages from a list's tail and put them back.
        section reclaim: ActorCfg,
        /// Isolate and migrate within Movable.
        section compaction: ActorCfg,
        /// Hold a reference for a moment.
        section short_refs: ActorCfg,
        /// Hold a page lock for a moment.
        section lockers: ActorCfg,
        /// Hold a page under writeback for a moment.
        section writeback: ActorCfg,
        /// Offline a block of Movable: until it is empty.
        section offliner: ActorCfg,
        /// Allocate a block of CMA, or of Movable where there is none: a few tries.
        section contig: ActorCfg,
        /// Fork a child that has a few pages for a moment.
        section forkers: ActorCfg,
        /// Other processes, for the OOM killer to choose from.
        section bystanders: BystanderCfg,
        /// The simulator's CPUs as a host's virtual ones.
        section host: HostCfg,
        /// Virtual nanoseconds of each step, on the simulator.
        section costs: Costs,
        /// The worst that each policy may come to; a policy not named: ok.
        section expect: Expectations,
    }
}

const PROFILES: &[(&str, &str)] = presets!("profiles": "contended" "steady" "drain-storm" "same-range"
    "free-loop" "oversubscribed"
    "zero-page" "drain-race" "oom" "early-boot" "hwpoison" "hwpoison-mapped" "prepinned" "cma-driver" "isolation-race"
    "mlock-batch" "lru-batch-ref" "wasted-drain" "short-refs" "writeback" "contig"
    "thp" "hugetlb" "vfio-large" "fork-pin" "read-only" "udmabuf-race" "offline-victim" "cma-victim");

/// Most pinners that a run can be asked for at all; what fits is the host's to say.
pub const MOST_THREADS: u32 = 100_000;
/// Most simulated CPUs.
pub const MOST_CPUS: u32 = 4096;

/// A new machine on which nobody is idle, and nothing happens.
fn blank() -> Profile {
    let quiet = ActorCfg { threads: 0, pause: Ns(0), hold: Ns(0) };
    Profile {
        name: String::new(),
        summary: String::new(),
        reference: String::new(),
        history: false,
        threads: 4,
        cpus: 4,
        pins: 10_000,
        calls: 0,
        perturb: Share(0.0),
        step_delay: Ns(0),
        slice: Ns(3_000_000),
        tick: Ns(0),
        preemption: Preemption::Slices,
        memory: Layout { normal: 0, movable: 4096, cma: 0, page_bytes: 4096 },
        hog: false,
        cma_first: false,
        ranges: RangesCfg {
            count: 1,
            private: false,
            pages: 64,
            shmem: Share(0.0),
            order: 0,
            hugetlb: false,
            mlocked: Share(0.0),
            populate: Populate::Write,
            special: Special::None,
            special_pages: 1,
            pinnable: false,
        },
        pinner: PinnerCfg {
            pages_min: 1,
            pages_max: 64,
            write: true,
            dma: true,
            hold: Ns(0),
            zap: Share(0.0),
            zap_pinned: false,
            fill: 0,
            age: Age::None,
            migrate_cpu: Share(0.0),
            rounds: false,
            disjoint: false,
            serialised: false,
            memlock: 0,
            dma_entries: DMA_ENTRY_LIMIT,
            oom_score_adj: OomScoreAdj(0),
        },
        callers: Callers::default(),
        churn: quiet.clone(),
        drainers: quiet.clone(),
        reclaim: quiet.clone(),
        compaction: quiet.clone(),
        short_refs: quiet.clone(),
        lockers: quiet.clone(),
        writeback: quiet.clone(),
        offliner: quiet.clone(),
        contig: quiet.clone(),
        forkers: quiet,
        bystanders: BystanderCfg { count: 0, pages: 64, outside: 0, oom_score_adj: OomScoreAdj(0) },
        host: HostCfg { cpus: 0, turn: Ns(1_000_000), steal: Share(0.0), burst: Ns(1_000_000) },
        costs: Costs::default(),
        expect: Expectations::default(),
    }
}

/// What a group of disturbing threads does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// What programs and reclaim do to pages all day.
    Churn,
    /// `lru_add_drain_all`.
    Drainer,
    /// `shrink_list`.
    Reclaim,
    /// `compact_zone`.
    Compaction,
    /// Plain references for a moment.
    ShortRefs,
    /// Page locks for a while.
    Locker,
    /// Writeback for a while.
    Writeback,
    /// `offline_pages`, and back.
    Offliner,
    /// `alloc_contig_range`, and back.
    Contig,
    /// `fork`, and the child's exit.
    Forker,
}

impl Role {
    /// What a thread of it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Churn => "churn",
            Self::Drainer => "drainers",
            Self::Reclaim => "reclaim",
            Self::Compaction => "compaction",
            Self::ShortRefs => "short refs",
            Self::Locker => "lockers",
            Self::Writeback => "writeback",
            Self::Offliner => "offliner",
            Self::Contig => "contig",
            Self::Forker => "forkers",
        }
    }
}

impl Profile {
    /// The groups of disturbing threads.
    pub fn actors(&self) -> [(Role, &ActorCfg); 10] {
        [
            (Role::Churn, &self.churn),
            (Role::Drainer, &self.drainers),
            (Role::Reclaim, &self.reclaim),
            (Role::Compaction, &self.compaction),
            (Role::ShortRefs, &self.short_refs),
            (Role::Locker, &self.lockers),
            (Role::Writeback, &self.writeback),
            (Role::Offliner, &self.offliner),
            (Role::Contig, &self.contig),
            (Role::Forker, &self.forkers),
        ]
    }

    /// The same, to be changed.
    pub fn actors_mut(&mut self) -> [&mut ActorCfg; 10] {
        [
            &mut self.churn,
            &mut self.drainers,
            &mut self.reclaim,
            &mut self.compaction,
            &mut self.short_refs,
            &mut self.lockers,
            &mut self.writeback,
            &mut self.offliner,
            &mut self.contig,
            &mut self.forkers,
        ]
    }

    /// What each thread of a run is called, by number: pinners, actors, kworkers.
    pub fn thread_names(&self) -> impl Iterator<Item = String> + '_ {
        let pinners = (0..self.threads).map(|n| format!("pinner {n}"));
        let actors = self
            .actors()
            .into_iter()
            .flat_map(|(role, cfg)| (0..cfg.threads).map(move |n| format!("{} {n}", role.name())));
        let bystanders = (0..self.bystanders.count).map(|n| format!("bystander {n}"));
        let kworkers = (0..self.cpus).map(|cpu| format!("kworker/{cpu}"));
        pinners.chain(actors).chain(bystanders).chain(kworkers)
    }

    /// Mappings that pinners work on.
    pub fn mappings(&self) -> u32 {
        if self.ranges.private { self.threads } else { self.ranges.count }
    }

    /// What mapping `number` is made of.
    pub fn backing(&self, number: u32) -> Backing {
        let RangesCfg { order, hugetlb, shmem, .. } = self.ranges;
        let shared = (f64::from(self.mappings()) * shmem.0).round() as u32;
        let kind = match (number < shared, hugetlb) {
            (true, false) => Kind::Shmem,
            (true, true) => Kind::Hugeshm,
            (false, false) => Kind::Anon,
            (false, true) => Kind::Hugetlb,
        };
        Backing { kind, order: if hugetlb { MAX_ORDER } else { order } }
    }

    /// The pages of each mapping that pinner `id` works on.
    pub fn part(&self, id: u32) -> PageRange {
        if !self.pinner.disjoint || self.ranges.private {
            return PageIndex(0).run(self.ranges.pages);
        }
        let pages = self.ranges.pages / self.threads;
        PageIndex(id * pages).run(pages)
    }

    /// Whole pageblocks that a victim may take: of CMA for contiguous allocation, where there is some.
    pub fn blocks(&self, role: Role) -> std::ops::Range<u32> {
        let Layout { movable, cma, .. } = self.memory;
        // The zero page comes on top, in the first block.
        let movable_end = movable.saturating_add(1);
        match role {
            Role::Contig if cma != 0 => {
                movable_end.div_ceil(PAGEBLOCK)..movable_end.saturating_add(cma) / PAGEBLOCK
            }
            _ => 1..movable_end / PAGEBLOCK,
        }
    }

    /// The scheduler of the simulator's CPUs.
    pub fn sched(&self) -> Sched {
        Sched {
            slice_ns: self.slice.0,
            tick_ns: self.tick.0,
            preemption: self.preemption,
            wakeup_ns: self.costs.wakeup,
            switch_ns: self.costs.switch,
            host: Host {
                cpus: self.host.cpus as usize,
                turn_ns: self.host.turn.0,
                steal: self.host.steal.0,
                burst_ns: self.host.burst.0,
            },
        }
    }
}

/// The profile presets.
pub fn profile_names() -> Vec<&'static str> {
    names(PROFILES)
}

/// Reads a profile; `sets` are dotted keys.
pub fn load_profile(source: Source<'_>, sets: &[(String, String)]) -> Result<Profile> {
    let profile = load("profile", PROFILES, None, &blank(), source, sets)?;
    profile.check().map_err(|reason| Error::config(profile.name.clone(), reason))?;
    Ok(profile)
}

/// A profile as the TOML text that [`load_profile`] takes back.
pub fn show_profile(profile: &Profile) -> String {
    to_toml(profile)
}
