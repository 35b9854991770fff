//! A run's end: what its threads hand over becomes its result.

use super::run::{Resolved, RunResult};
use super::shared::{Ledger, Shared, Slot};
use crate::judge;
use crate::judge::result::{
    Books, Contention, Fairness, Invariants, OfCaller, Pages, Passing, Safe, Safety, Throughput,
};
use crate::judge::{Calls, Class, Liveness, MAX_FINDINGS, Oom, Sample, Status, Verdict};
use crate::machine::{Broken, Recount};
use crate::observe::{Event, Totals};
use crate::ops::Errno;
use crossbeam_utils::CachePadded;
use std::collections::BTreeMap;

/// What a run knows besides its shared state.
pub(super) struct End {
    pub status: Status,
    pub wall_timeout: bool,
    pub elapsed_s: f64,
    pub wall_s: f64,
    pub cpu_s: f64,
    pub seed: u64,
    pub liveness: Liveness,
    pub timeline: Vec<Sample>,
    pub recount: Recount,
}

fn totals(slots: &[CachePadded<Slot>]) -> Totals {
    let mut sum = Totals::default();
    slots.iter().for_each(|slot| sum.add(&slot.counters.totals()));
    sum
}

/// Sums up what the pinners handed over.
fn merge(ledgers: Vec<Ledger>) -> Ledger {
    let mut all = Ledger::new(0);
    ledgers.into_iter().for_each(|ledger| all.merge(ledger));
    all
}

/// What each kind of caller came to, where there are several.
fn by_caller(sh: &Shared, ledgers: &[Ledger]) -> BTreeMap<String, OfCaller> {
    let mut kinds: BTreeMap<String, (Ledger, Vec<&Slot>)> = BTreeMap::new();
    for ledger in ledgers {
        if let Some(name) = sh.profile.callers.name(ledger.pinner) {
            let (all, slots) = kinds.entry(name).or_insert_with(|| (Ledger::new(0), Vec::new()));
            all.merge(ledger.clone());
            slots.push(&sh.pinners()[ledger.pinner]);
        }
    }
    let of = |(ledger, slots): (Ledger, Vec<&Slot>)| OfCaller {
        threads: slots.len() as u64,
        calls: Calls::of(sum_classes(slots.iter().copied())),
        pages: Pages {
            pinned: slots.iter().map(|slot| slot.pages()).sum(),
            contended: ledger.contended_pages,
        },
        latency_ns: (&ledger.latency.total()).into(),
        errors: ledger.errors,
    };
    kinds.into_iter().map(|(name, found)| (name, of(found))).collect()
}

fn sum_classes<'a>(slots: impl Iterator<Item = &'a Slot>) -> [u64; Class::COUNT] {
    slots.fold([0; Class::COUNT], |mut sum, slot| {
        sum.iter_mut().zip(slot.classes()).for_each(|(sum, n)| *sum += n);
        sum
    })
}

/// The measures of `kernel/contention.json`.
fn contention(sh: &Shared, counters: &Totals, issued: u64, errors: &BTreeMap<Errno, u64>) -> Contention {
    let threads = u64::from(sh.profile.threads);
    let pages = u64::from(sh.profile.pinner.pages_max);
    let rounds = (issued / threads).max(1);
    let page_rounds = (rounds * pages) as f64;
    let enomem = errors.get(&Errno::ENOMEM).copied().unwrap_or(0);
    Contention {
        rounds,
        pages,
        acquired_per_page_per_thread: counters.get(Event::Acquired) as f64 / page_rounds / threads as f64,
        migrated_per_page: counters.get(Event::Migrated) as f64 / page_rounds,
        migrate_failed_per_page: counters.get(Event::MigrateFailed) as f64 / page_rounds,
        enomem_share: enomem as f64 / issued.max(1) as f64,
    }
}

pub(super) fn gather(sh: &Shared, end: End, resolved: Resolved) -> RunResult {
    let ledgers = std::mem::take(&mut *sh.ledgers.lock());
    let callers = by_caller(sh, &ledgers);
    let ledger = merge(ledgers);
    let calls = Calls::of(sum_classes(sh.pinners().iter().map(|slot| &**slot)));
    let pages: Vec<u64> = sh.pinners().iter().map(|slot| slot.pages()).collect();
    let pinned: u64 = pages.iter().sum();
    let counters = totals(sh.pinners()).since(&ledger.before);
    let leaked = sh.m.leaked().len() as u64;
    let rate = |n: u64| (end.elapsed_s > 0.0).then(|| n as f64 / end.elapsed_s);
    let findings = std::mem::take(&mut *sh.findings.lock());
    let result = judge::RunResult {
        policy: sh.policy.name.clone(),
        kernel: sh.m.rules.name.clone(),
        status: end.status,
        wall_timeout: end.wall_timeout,
        // Until the rest is known.
        verdict: Verdict::Inconclusive,
        elapsed_s: end.elapsed_s,
        wall_s: end.wall_s,
        cpu_s: end.cpu_s,
        seed: end.seed,
        interrupted: ledger.interrupted,
        contention: sh.profile.pinner.rounds.then(|| contention(sh, &counters, calls.issued, &ledger.errors)),
        pages: Pages { pinned, contended: ledger.contended_pages },
        passing_pins: Passing {
            mean: (end.elapsed_s > 0.0).then(|| counters.get(Event::PinnedNs) as f64 / (end.elapsed_s * 1e9)),
            max: sh.m.passing.most(),
        },
        throughput: Throughput { calls_per_s: rate(calls.issued), pages_per_s: rate(pinned) },
        latency_ns: (&ledger.latency.total()).into(),
        sweeps: (&ledger.sweeps.total()).into(),
        fairness: Fairness::of(&pages, ledger.longest_wait_ns, ledger.max_bypass),
        callers,
        liveness: end.liveness,
        safety: Safety {
            verdict: if calls.pinned_unsafe == 0 && leaked == 0 { Safe::Safe } else { Safe::Violated },
            leaked,
            findings: findings.unsafe_pins,
        },
        invariants: invariants(end.recount, &counters, leaked, &ledger),
        victims: {
            let victims = std::mem::take(&mut *sh.victims.lock());
            (!victims.kinds.is_empty()).then_some(victims)
        },
        oom: Oom::of(&sh.m, |process| sh.process_name(process)),
        failures: findings.failures,
        background: totals(sh.actors()),
        counters,
        calls,
        causes: ledger.causes,
        errors: ledger.errors,
        timeline: end.timeline,
        resolved,
    };
    result.judged()
}

fn invariants(mut recount: Recount, counters: &Totals, leaked: u64, ledger: &Ledger) -> Invariants {
    let (acquired, released) = (counters.get(Event::Acquired), counters.get(Event::Released));
    recount.check(acquired == released + leaked, "acquired = released", None, || {
        format!("{acquired} ≠ {released}, leaked {leaked}")
    });
    recount.checked += counters.get(Event::DmaChecked);
    recount.broken.extend(ledger.dma_errors.iter().map(|error| Broken {
        invariant: "a pin keeps its frame and its data",
        frame: Some(error.frame),
        found: format!("{error:?}"),
    }));
    let broken = recount.broken.len();
    recount.broken.truncate(MAX_FINDINGS);
    Invariants {
        verdict: match (broken, recount.complete) {
            (0, true) => Books::Held,
            (0, false) => Books::Inconclusive,
            _ => Books::Broken,
        },
        checked: recount.checked,
        broken: broken as u64,
        findings: recount.broken,
    }
}
