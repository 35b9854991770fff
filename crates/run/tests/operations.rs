//! Whole operations of three and four threads against each other: in every order of few
//! preemptions, and in thousands of random ones.
//!
//! One table says who does what beside whom; each row is a scenario with threads, over each kind
//! of memory and under each kernel. After every schedule the machine is recounted, every call must
//! have ended, and over all schedules of a row each end that it names must have been met.
//!
//! A failure prints what was explored, the seed, and the story of the schedule.
#![cfg(not(loom))]

use gupstress_run::drive::Step;
use gupstress_run::explore::{File, Hunt, Hunted, Kind, Search, Settings, Story, What};
use gupstress_run::litmus::Scenario;
use gupstress_run::policy::{Source, load_kernel, load_policy};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Operations that are played beside each other, and what some order of them comes to.
struct Row {
    name: &'static str,
    /// What memory `a` is made of.
    on: &'static [&'static str],
    /// What it has been through before.
    before: &'static str,
    /// The steps of threads A, B, …
    threads: &'static [&'static str],
    /// What must be met on each kind of memory, under some kernel.
    met: &'static [&'static str],
}

/// What is mapped: single pages and folios of several, the process's own and a file's.
const MEMORY: [&str; 4] = ["2 anon", "2 shmem", "4 anon/2", "4 shmem/2"];
const SINGLE: [&str; 2] = ["2 anon", "2 shmem"];

/// A block with nothing in it but `a`: others filled what is before it, and have gone.
const IN_BLOCK_1: &str = "map f 94 anon; touch f; touch a; drain; unmap f";

const ROWS: &[Row] = &[
    // Pinners of one range, and of part of it.
    Row {
        name: "pin, pin, pin of a part",
        on: &MEMORY,
        before: "touch a",
        threads: &["pin a", "pin a", "pin a 0 1"],
        met: &[
            "'A.result' = 'ok'\n'B.result' = 'ok'\n'C.result' = 'ok'",
            "'A.result' = 'ENOMEM'\n'B.result' = 'ok'",
            "isolate_busy = '>= 1'",
        ],
    },
    // Pins of what has yet to be faulted in.
    Row {
        name: "pins and faults",
        on: &MEMORY,
        before: "settle",
        threads: &["pin a; unpin a", "touch a", "pin a 1 2"],
        met: &[
            "'A.faults' = '>= 1'\n'C.result' = 'ok'",
            "'A.result' = 'ok'\n'B.faults' = '>= 1'\n'A.migrated' = '>= 1'",
        ],
    },
    // Pages that are given up under a pin, and come back.
    Row {
        name: "pin and zap",
        on: &MEMORY,
        before: "touch a",
        threads: &["pin a", "dontneed a; touch a", "pin a 0 1"],
        met: &["'A.result' = 'ok'\n'C.result' = 'ok'", "'A.faults' = '>= 1'", "migrate_failed = '>= 1'"],
    },
    // Addresses that are gone before a pin, or in the midst of it.
    Row {
        name: "pin and unmap",
        on: &MEMORY,
        before: "touch a; drain",
        threads: &["pin a", "unmap a 1 2", "pin a"],
        met: &["'C.result' = 'EFAULT'", "'A.migrated' = '>= 1'\n'A.result' = 'EFAULT'"],
    },
    // A block that is emptied under pins, which may not be in it when it is empty.
    Row {
        name: "pin and contig",
        on: &MEMORY,
        before: IN_BLOCK_1,
        threads: &["pin a; unpin a", "contig 1", "touch a 0 1; pin a 0 1"],
        met: &["offlined = '>= 1'", "offline_failed = '>= 1'", "'A.result' = 'ok'\n'B.migrated' = '>= 1'"],
    },
    // Offlining that goes on until those that pin have let go.
    Row {
        name: "pin and offline",
        on: &MEMORY,
        before: IN_BLOCK_1,
        threads: &["pin a; unpin a", "offline 1", "cold a; pin a; unpin a"],
        met: &["offlined = '>= 1'", "'A.result' = 'ok'\n'C.result' = 'ok'\n'B.migrated' = '>= 1'"],
    },
    // Two that keep pages out of all batches while they work.
    Row {
        name: "contig, offline, mlock, pin",
        on: &MEMORY,
        before: IN_BLOCK_1,
        threads: &["contig 1", "offline 1", "touch a; mlock a", "pin a; unpin a"],
        met: &["offlined = '>= 2'", "'A.drain_all' = '>= 1'\n'B.drain_all' = '>= 1'"],
    },
    // Drains of all CPUs beside each other, and what fills the batches meanwhile.
    Row {
        name: "drain, drain, churn",
        on: &MEMORY,
        before: "cpu 1; touch a",
        threads: &[
            "drain",
            "drain",
            "fill 2; cold a; mlock a",
            "lazyfree a; dontneed a 0 1; touch a; munlock a",
        ],
        met: &["drain_all = '>= 2'", "drain_work = '>= 2'"],
    },
    // Drains against a pin that needs one; a larger folio is in no batch for long.
    Row {
        name: "drain and pin",
        on: &SINGLE,
        before: "cpu 1; touch a; mlock a",
        threads: &["pin a", "drain", "munlock a; mlock a 0 1", "settle; pin a"],
        met: &["'A.result' = 'ok'\n'D.result' = 'ok'", "'A.drain_all' = '>= 1'", "drain_shortcut = '>= 1'"],
    },
    // A fork in the midst of a pin, and a write after both.
    Row {
        name: "pin and fork",
        on: &MEMORY,
        before: "touch a",
        threads: &["pin a", "share a; childexit", "touch a 0 1; pin a 0 1"],
        met: &["'A.result' = 'ok'\n'C.result' = 'ok'", "'A.faults' = '>= 1'", "migrate_failed = '>= 1'"],
    },
    // Children that write, beside a pin that only reads.
    Row {
        name: "pin, forks that write, exit",
        on: &MEMORY,
        before: "touch a; drain",
        threads: &["pinro a by vfio", "sharew a 0 1", "childexit; pin a"],
        met: &["'A.result' = 'ok'\n'C.result' = 'ok'", "'C.migrated' = '>= 1'"],
    },
    // References, page locks and writeback that pass.
    Row {
        name: "pin, hold, lock, writeback",
        on: &MEMORY,
        before: "touch a; drain",
        threads: &[
            "pin a",
            "hold a 0; release a 0",
            "lock a 1; unlock a 1",
            "startwriteback a 0; endwriteback a 0",
        ],
        met: &["'A.result' = 'ok'", "migrate_failed = '>= 1'", "lock_waits = '>= 1'"],
    },
    // Folios that are split, and lose parts, under a pin.
    Row {
        name: "pin, split, unmap",
        on: &MEMORY,
        before: "touch a; drain",
        threads: &["pin a 0 1", "split a", "unmap a 1 2", "pin a 0 1"],
        met: &["'A.result' = 'ok'\n'D.result' = 'ok'"],
    },
    // Holes in the file, its pages written and mapped again.
    Row {
        name: "pin and remove",
        on: &MEMORY,
        before: "touch a; drain",
        threads: &["pin a", "remove a 0 1; touch a 0 1", "pmdsplit a 0 1; pin a 1 2"],
        met: &["'A.result' = 'ok'\n'C.result' = 'ok'"],
    },
];

/// Kernels, each with a policy: its own, or one that takes other steps.
const KERNELS: [(&str, Option<&str>); 6] = [
    ("linux-5.13", None),
    ("linux-6.1.176", None),
    ("linux-6.12.57", None),
    ("linux-7.2.13", None),
    ("linux-7.2.13", Some("cooperative")),
    ("linux-7.2.13", Some("look-ticket")),
];

const CPUS: usize = 2;

fn quoted(steps: &str) -> String {
    let steps = steps.split("; ").map(|step| format!("'{step}'"));
    format!("[{}]", steps.collect::<Vec<_>>().join(", "))
}

/// A row's threads on one kind of memory, those that are wanted; all of them where ends are to be met.
fn scenario(row: &Row, memory: &str, wanted: &[usize]) -> Arc<Scenario> {
    let before = quoted(&format!("map a {memory}; {}", row.before));
    // What is written under the pins is where devices see it; whatever became of it, it can be
    // pinned afterwards: nobody has kept anything of it.
    let head = format!(
        "cpus = {CPUS}\nsteps = {before}\nafter = ['touch a 0 1', 'unpin a', 'pin a 0 1', 'unpin a']\n"
    );
    let thread = |&number: &usize| {
        let (name, steps) = (["A", "B", "C", "D"][number], quoted(row.threads[number]));
        format!("[threads.{name}]\ncpu = {}\nsteps = {steps}\n", number % CPUS)
    };
    let threads: String = wanted.iter().map(thread).collect();
    let met = if wanted.len() == row.threads.len() { row.met } else { &[] };
    let exists: String = met.iter().flat_map(|met| ["[[exists]]\n", met, "\n"]).collect();
    let text = format!("{head}{threads}{exists}[forbid]\nbroken = true\n");
    Arc::new(Scenario::parse(row.name, &text).unwrap())
}

fn settings((kernel, policy): (&str, Option<&str>), scenario: &Arc<Scenario>) -> Settings {
    let rules = load_kernel(Source::Preset(kernel), &[]).unwrap();
    let policy = load_policy(Source::Preset(policy.unwrap_or(&rules.policy)), &[]).unwrap();
    Settings { policy, rules, load: What::Scenario(Arc::clone(scenario)) }
}

/// Runs schedules of one row on one machine; whatever is broken or stuck ends the test.
fn explore(settings: Settings, search: Search, schedules: Option<u64>) -> Hunted {
    let what = format!("{} on {}, {}", settings.name(), settings.rules.name, settings.policy.name);
    let hunt = Hunt {
        settings,
        search,
        yield_every: 1,
        schedules,
        timeout: Duration::from_hours(1),
        find: vec![Kind::Broken, Kind::Stuck],
        keep_going: false,
        seed: 1,
        workers: 2,
    };
    let hunted = hunt.run(&mut |_| true).unwrap_or_else(|error| panic!("{what}, {search:?}: {error}"));
    if let Some(finding) = hunted.findings.first() {
        let file = File::of(&hunt.settings, finding).unwrap();
        let story = Story::of("operations", &file).unwrap();
        panic!("{what}, {search:?}, seed {}: {:?}\n{}", finding.seed, finding.outcome, story.text());
    }
    assert_eq!((hunted.cut, hunted.stopped), (0, None), "{what}, {search:?}: a schedule has no end");
    hunted
}

/// What was explored so far.
#[derive(Default)]
struct Explored {
    schedules: u64,
    /// Different ends, search by search.
    states: u64,
    /// Steps of the model that were come to, by bit.
    reached: u64,
    /// Of what is to be met on a row and a kind of memory: how often it was.
    met: BTreeMap<(&'static str, &'static str, &'static str), u64>,
}

impl Explored {
    fn add(
        &mut self,
        row: &Row,
        memory: &'static str,
        threads: &[usize],
        kernel: (&str, Option<&str>),
        search: Search,
        schedules: Option<u64>,
    ) {
        let scenario = scenario(row, memory, threads);
        let hunted = explore(settings(kernel, &scenario), search, schedules);
        let whole = schedules.is_some() || hunted.complete == Some(true);
        assert!(whole, "{}, {threads:?} on {memory}, {kernel:?}: not complete", row.name);
        self.schedules += hunted.schedules;
        self.states += hunted.states;
        self.reached |= hunted.reached;
        let times = hunted.met.iter().map(|met| met.times).chain(std::iter::repeat(0));
        for (condition, times) in row.met.iter().zip(times) {
            *self.met.entry((row.name, memory, condition)).or_default() += times;
        }
    }
}

/// Each row on each kind of memory: all its threads, or each two of them.
fn beside(pairs: bool) -> Vec<(&'static Row, &'static str, Vec<usize>)> {
    let mut all = Vec::new();
    for row in ROWS {
        let numbers = 0..row.threads.len();
        let two = numbers.clone().flat_map(|b| (0..b).map(move |a| vec![a, b]));
        let wanted: Vec<_> = if pairs { two.collect() } else { vec![numbers.collect()] };
        for memory in row.on {
            all.extend(wanted.iter().map(|threads| (row, *memory, threads.clone())));
        }
    }
    all
}

/// Steps of the model that no row comes to: nobody faults in the same huge page of a pool as another
/// (`waits` has that), nor reclaims.
const NOT_REACHED: [Step; 2] = [Step::FaultMutex, Step::Reclaim];

/// Many random orders of all threads.
fn random_orders(schedules: u64) {
    let mut explored = Explored::default();
    let mut searches = 0;
    for (row, memory, threads) in beside(false) {
        for kernel in KERNELS {
            for search in [Search::Random, Search::Pct { depth: 3 }] {
                explored.add(row, memory, &threads, kernel, search, Some(schedules));
                searches += 1;
            }
        }
    }
    println!("{} schedules", explored.schedules);
    assert_eq!(explored.schedules, searches * schedules);
    let missed: Vec<_> = explored.met.iter().filter(|(_, times)| **times == 0).collect();
    assert!(missed.is_empty(), "never met: {missed:#?}");
    let reached = |step: &Step| explored.reached >> *step as u32 & 1 == 1;
    let missed: Vec<Step> = Step::ALL.iter().copied().filter(|step| !reached(step)).collect();
    assert_eq!(missed, NOT_REACHED, "steps that were not come to");
}

/// Every order of each two threads with so few preemptions; whether there were many.
fn every_order(kernels: &[(&str, Option<&str>)], preemptions: u32, many: u64) {
    let mut explored = Explored::default();
    for (row, memory, threads) in beside(true) {
        for &kernel in kernels {
            explored.add(row, memory, &threads, kernel, Search::Bounded { preemptions }, None);
        }
    }
    println!("{} schedules, {} ends", explored.schedules, explored.states);
    assert!(explored.schedules > many, "only {} schedules", explored.schedules);
}

#[test]
fn random_orders_of_whole_operations_leave_a_sound_machine() {
    random_orders(40);
}

#[test]
fn every_order_of_two_operations_with_one_preemption_leaves_a_sound_machine() {
    every_order(&[("linux-7.2.13", None)], 1, 10_000);
}

#[test]
#[ignore = "minutes: the slow lane's"]
fn thousands_of_random_orders_leave_a_sound_machine() {
    random_orders(2000);
}

#[test]
#[ignore = "minutes: the slow lane's"]
fn every_order_of_two_operations_leaves_a_sound_machine() {
    every_order(&KERNELS, 1, 10_000);
    every_order(&[("linux-7.2.13", None), ("linux-7.2.13", Some("look-ticket"))], 2, 100_000);
}
