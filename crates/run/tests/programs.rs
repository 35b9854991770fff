//! Random programs of three threads on random machines, under random policies
//! and schedules: whatever they do to each other, the machine stays sound, and
//! each pin ends as its policy allows.
//!
//! A failure prints its seed; `PROGRAM_SEED=n cargo test --test programs -- one` plays it alone.
#![cfg(not(loom))]

mod lab;

use gupstress_run::drive::sim::SimThread;
use gupstress_run::drive::{Driver, Listed, Step, Uniform};
use gupstress_run::machine::{
    Backing, CpuId, Frame, Kind, Known, Layout, Lru, Machine, MappingId, NO_FRAME, pages,
};
use gupstress_run::observe::Event;
use gupstress_run::ops::{Caller, Errno, Pin, PinRequest, Task};
use gupstress_run::policy::{
    Empty, IsolationFailure, MigrationFailure, Policy, Scope, Source, kernel_names, load_kernel, load_policy,
};
use lab::Body;
use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

const CPUS: usize = 3;
const OPS: usize = 5;

/// The axes and what is drawn of each: every word, and numbers on both sides of what matters.
const AXES: &[(&str, &[&str])] = &[
    ("scope", &["movable+cma", "cma"]),
    ("drain", &["never", "all", "all-if-off-lru", "extra-refs-naive", "extra-refs", "where-batched"]),
    ("drain_when", &["pinned", "unpinned"]),
    ("look", &["after-pin", "before-pin"]),
    ("order", &["isolate-while-pinned", "unpin-first"]),
    ("isolation_failure", &["skip", "count"]),
    ("isolate_retries", &["0", "5", "unlimited"]),
    ("empty", &["retry", "success", "isolation-failure"]),
    ("migration_failure", &["count", "accept"]),
    ("migrate_retries", &["0", "3", "unlimited"]),
    ("migrate_errno", &["ENOMEM", "own"]),
    ("zero_page", &["pinnable", "must-move", "write-fault"]),
    ("permanent", &["retry", "report"]),
    ("other_pinner", &["contend", "wait"]),
    ("waiters", &["none", "ticket"]),
    ("deadline", &["none", "20us", "1ms"]),
    ("backoff_min", &["none", "1us"]),
    ("backoff_max", &["10us"]),
];

struct Dice(Xoshiro256PlusPlus);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0.next_u64() % n
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

/// One thing that a thread does.
#[derive(Debug, Clone)]
enum Op {
    Touch(Range<u32>),
    Read(Range<u32>),
    Zap(Range<u32>),
    Mlock(Range<u32>),
    Munlock(Range<u32>),
    Cold(Range<u32>),
    Lazyfree(Range<u32>),
    Fork(Range<u32>),
    Use(Range<u32>),
    Invalidate(Range<u32>),
    Dontneed(Range<u32>),
    Remove(Range<u32>),
    Split(Range<u32>),
    Pmdsplit(Range<u32>),
    Alias(Range<u32>),
    Write(Range<u32>),
    ChildrenExit,
    Compact,
    Reclaim(Lru),
    Offline,
    DrainAll,
    Pin(Range<u32>, bool, Caller),
}

fn op(dice: &mut Dice, pages: u32) -> Op {
    let start = dice.below(u64::from(pages) - 1) as u32;
    // A page or two, or what may be more than a folio.
    let most = if dice.below(3) == 0 { pages } else { 2 };
    let range = start..(start + 1 + dice.below(u64::from(most)) as u32).min(pages);
    match dice.below(31) {
        0..=3 => Op::Touch(range),
        4 => Op::Read(range),
        5 => Op::Zap(range),
        6 => Op::Mlock(range),
        7 => Op::Munlock(range),
        8 => Op::Cold(range),
        9 => Op::Lazyfree(range),
        10 => Op::Fork(range),
        11 => Op::Use(range),
        12 => Op::Invalidate(range),
        13 => Op::Compact,
        14 => Op::Reclaim(*dice.pick(&Lru::ALL)),
        15 => Op::Offline,
        16 => Op::DrainAll,
        17 => Op::Dontneed(range),
        18 => Op::Remove(range),
        19 => Op::Split(range),
        20 => Op::Pmdsplit(range),
        21 => Op::Alias(range),
        22 => Op::Write(range),
        23 => Op::ChildrenExit,
        more => Op::Pin(range, more % 2 == 0, dice.pick(Caller::WORDS).1),
    }
}

/// What a mapping is made of: mostly single pages, or folios of an order.
fn backing(dice: &mut Dice) -> Backing {
    let kind = *dice.pick(&[Kind::Anon, Kind::Shmem]);
    let order = *dice.pick(&[0, 0, 0, 0, 1, 2, 4, 9]);
    let pool = if kind == Kind::Anon { Kind::Hugetlb } else { Kind::Hugeshm };
    let kind = if order == 9 && dice.below(3) == 0 { pool } else { kind };
    Backing { kind, order }
}

/// A pin that ended, and what it had pinned that must move by the policy's own rule.
struct Ended {
    thread: usize,
    result: Result<(), Errno>,
    unsafe_page: Option<Frame>,
}

/// What a thread's ops need beside the task.
struct Thread {
    number: usize,
    mappings: [MappingId; 2],
    policy: Policy,
    ended: Rc<RefCell<Vec<Ended>>>,
}

impl Thread {
    fn play(&self, t: &Task<'_, SimThread<'_>>, which: usize, op: Op) {
        let mapping = t.m.mapping(self.mappings[which]);
        match op {
            Op::Touch(range) => drop(t.touch(mapping, pages(range))),
            Op::Read(range) => drop(t.read(mapping, pages(range))),
            Op::Zap(range) => drop(t.zap(mapping, pages(range), true)),
            Op::Mlock(range) => drop(t.mlock(mapping, pages(range))),
            Op::Munlock(range) => drop(t.munlock(mapping, pages(range))),
            Op::Cold(range) => drop(t.madvise_cold(mapping, pages(range))),
            Op::Lazyfree(range) => drop(t.madvise_free(mapping, pages(range))),
            Op::Fork(range) => drop(t.fork(mapping, pages(range))),
            Op::Use(range) => t.mark_range_accessed(mapping, pages(range)),
            Op::Invalidate(range) => t.invalidate(mapping, pages(range)),
            Op::Dontneed(range) => drop(t.madvise_dontneed(mapping, pages(range))),
            Op::Remove(range) => drop(t.madvise_remove(mapping, pages(range))),
            Op::Split(range) => t.split_folios(mapping, pages(range)),
            Op::Pmdsplit(range) => t.mprotect_and_back(mapping, pages(range)),
            Op::Alias(range) => drop(t.touch_alias(mapping, pages(range))),
            Op::Write(range) => drop(t.pwrite(mapping, pages(range))),
            Op::ChildrenExit => t.children_exit(mapping),
            Op::Compact => drop(t.compact(8)),
            Op::Reclaim(lru) => drop(t.shrink_list(lru, 4)),
            Op::Offline => drop(t.offline(1, 2)),
            Op::DrainAll => t.lru_add_drain_all(false),
            Op::Pin(range, write, caller) => {
                // A file is what udmabuf wants, on a kernel that has it.
                let memfd = mapping.kind.is_memfd() && t.m.rules.memfd_pin;
                let caller = if caller == Caller::Udmabuf && !memfd { Caller::IoUring } else { caller };
                let request = PinRequest::new(&self.policy, mapping, pages(range), write).by(caller);
                let mut pin = Pin::default();
                let result = t.pin_longterm_by(caller, &request, &mut pin);
                let unsafe_page =
                    pin.pages.iter().copied().find(|&frame| !t.m.is_zero(frame) && t.m.must_move(frame));
                self.ended.borrow_mut().push(Ended { thread: self.number, result, unsafe_page });
                t.d.step(Step::Hold, NO_FRAME);
                t.unpin_longterm(&mut pin);
            }
        }
    }
}

/// Whether the policy has a reason of its own to end a call so.
fn allowed(policy: &Policy, result: Result<(), Errno>, killed: bool) -> bool {
    let counts =
        policy.isolation_failure == IsolationFailure::Count || policy.empty == Empty::IsolationFailure;
    match result {
        Ok(()) | Err(Errno::ENOMEM | Errno::EFAULT) => true,
        Err(Errno::EBUSY) => {
            policy.deadline.0 != 0
                || (counts && policy.isolate_retries.exceeded_by(u32::MAX))
                || (policy.migration_failure == MigrationFailure::Count
                    && policy.migrate_retries.exceeded_by(u32::MAX))
        }
        Err(Errno::EINTR) => killed,
        Err(_) => false,
    }
}

/// How often calls ended how, over many programs.
#[derive(Debug, Default)]
struct Tally {
    ends: BTreeMap<String, u64>,
    migrated: u64,
    /// Huge pages migrated as one, and split.
    huge: u64,
    split: u64,
    killed: u64,
    /// Programs that the OOM killer ended.
    oom_killed: u64,
}

/// Plays one program; `Err` says what was wrong with it.
fn play(seed: u64, tally: &mut Tally) -> Result<(), String> {
    let mut dice = Dice(Xoshiro256PlusPlus::seed_from_u64(seed));
    let kernel = *dice.pick(&kernel_names());
    let batch = *dice.pick(&["1", "2", "15"]);
    let rules = load_kernel(Source::Preset(kernel), &[("batch_size".into(), batch.into())]).unwrap();
    // Now and then nearly out of memory.
    let normal = *dice.pick(&[6, 128, 128, 128]);
    let backings = [0; 2].map(|_| backing(&mut dice));
    let order = backings.map(|backing| backing.order).into_iter().max().unwrap_or(0);
    // Folios of each mapping twice, and blocks for them however memory begins and ends.
    let room = if order == 0 { 0 } else { 12 << order };
    let layout = Layout { normal: normal + room, movable: 128 + room, cma: 8, page_bytes: 64 };
    let m = Arc::new(Machine::new(rules, &layout, CPUS));
    m.set_hugetlb_pool(
        CpuId(0),
        backings.iter().filter(|backing| backing.kind.is_hugetlb()).count() as u32 * 2,
    );
    let mappings = backings.map(|backing| {
        let pages = 4.max(2 << backing.order);
        let mapping = m.map(backing, pages).id;
        if backing.kind.is_hugetlb() {
            assert!(m.reserve_hugetlb(CpuId(0), mapping, 2), "the pool is large enough");
        }
        mapping
    });
    let pages = mappings.map(|id| m.mapping(id).vma.len());
    let ended = Rc::new(RefCell::new(Vec::new()));
    let (mut bodies, mut programs): (Vec<(u32, Body)>, _) = (Vec::new(), Vec::new());
    for number in 0..CPUS {
        let sets: Vec<(String, String)> =
            AXES.iter().map(|(axis, words)| ((*axis).to_owned(), (*dice.pick(words)).to_owned())).collect();
        let policy = load_policy(Source::Preset("linux-7.2"), &sets).unwrap();
        let random = |_| {
            let which = dice.below(2) as usize;
            (which, op(&mut dice, pages[which]))
        };
        let ops: Vec<(usize, Op)> = (0..OPS).map(random).collect();
        programs.push((policy.clone(), ops.clone()));
        let thread = Thread { number, mappings, policy, ended: Rc::clone(&ended) };
        let body = move |t: &Task<'_, SimThread<'_>>| {
            for (which, op) in ops {
                if t.killed() {
                    break;
                }
                thread.play(t, which, op);
            }
        };
        bodies.push((number as u32, Box::new(body)));
    }
    let oom_killed = || m.processes.is_killed();
    let told = |what: String| format!("seed {seed}, {kernel}, {backings:?}: {what}\n{programs:#?}");
    let ran =
        lab::run(&m, Box::new(Listed::new(Uniform::new(seed))), seed, 9_000_000, bodies).map_err(told)?;
    for Ended { thread, result, unsafe_page } in ended.borrow().iter() {
        let policy = &programs[*thread].0;
        *tally.ends.entry(format!("{result:?}")).or_default() += 1;
        if !allowed(policy, *result, ran.killed || oom_killed()) {
            return Err(told(format!("thread {thread} ended with {result:?}")));
        }
        let strict = policy.scope == Scope::MovableAndCma
            && policy.empty != Empty::Success
            && policy.migration_failure != MigrationFailure::Accept;
        if strict && unsafe_page.is_some() {
            return Err(told(format!("thread {thread} pinned {unsafe_page:?} where pages must move")));
        }
    }
    tally.migrated += ran.totals.get(Event::Migrated);
    tally.killed += u64::from(ran.killed);
    tally.oom_killed += u64::from(oom_killed());
    let (acquired, released) = (ran.totals.get(Event::Acquired), ran.totals.get(Event::Released));
    if acquired != released {
        return Err(told(format!("{acquired} acquired, {released} released")));
    }
    if m.turns.holder().is_some() {
        return Err(told("somebody's turn never ended".into()));
    }
    tally.huge += ran.totals.get(Event::ThpMigrationSuccess);
    tally.split += ran.totals.get(Event::ThpSplitPage) + ran.totals.get(Event::ThpSplitPmd);
    let recount = m.validate(&Known::default());
    if recount.checked > 0 && recount.broken.is_empty() {
        Ok(())
    } else {
        Err(told(format!("{:#?}", recount.broken)))
    }
}

fn play_all(seeds: Range<u64>) {
    let mut tally = Tally::default();
    let count = seeds.end - seeds.start;
    for seed in seeds {
        if let Err(wrong) = play(seed, &mut tally) {
            panic!("{wrong}");
        }
    }
    // What was not reached was not tested.
    println!("{tally:?}");
    for end in ["Ok(())", "Err(ENOMEM)", "Err(EBUSY)", "Err(EFAULT)"] {
        assert!(tally.ends.contains_key(end), "no pin ended with {end}: {tally:?}");
    }
    assert!(tally.migrated > count / 4, "{tally:?}");
    assert!(tally.huge > count / 100 && tally.split > count / 100, "{tally:?}");
    assert!(tally.ends["Ok(())"] > count / 2, "{tally:?}");
    assert!(tally.killed < count / 2, "{tally:?}");
    assert!((1..count / 2).contains(&tally.oom_killed), "{tally:?}");
}

#[test]
fn random_programs_leave_a_sound_machine() {
    play_all(0..2000);
}

#[test]
#[ignore = "a minute and more: the slow lane's"]
fn sixty_thousand_random_programs_leave_a_sound_machine() {
    play_all(0..60_000);
}

#[test]
fn one() {
    if let Ok(seed) = std::env::var("PROGRAM_SEED") {
        play(seed.parse().expect("PROGRAM_SEED is a number"), &mut Tally::default()).unwrap();
    }
}
