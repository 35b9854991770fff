//! What a run found: one element of `results` in schema `gupstress.run/1`.

use super::shared::{Ledger, Shared, Slot};
use super::verdict::Class;
use super::watchdog::{Liveness, Sample};
use crate::machine::{Breakdown, Broken, Cause, Obstacle, PageState, Recount};
use crate::observe::{Event, Totals};
use crate::ops::Errno;
use crossbeam_utils::CachePadded;
use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A failed call, judged.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    /// Which pinner.
    pub thread: usize,
    /// Justified or spurious.
    pub class: Class,
    /// What it failed with.
    pub errno: Errno,
    /// The step at which it failed to get on.
    pub step: &'static str,
    /// Sweeps it took.
    pub sweeps: u32,
    /// What made it fail.
    pub obstacle: Option<Obstacle>,
    /// Whether that is permanent.
    pub permanent: bool,
    /// Who had what of the page that it failed over, at that moment.
    pub found: Option<Breakdown>,
    /// That page, as the call left it.
    pub page: Option<PageState>,
}

/// A pin of a page that must stay movable.
#[derive(Debug, Clone, Serialize)]
pub struct UnsafePin {
    /// Which pinner.
    pub thread: usize,
    /// Sweeps it took.
    pub sweeps: u32,
    /// The page.
    pub page: PageState,
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Its work was done.
    Complete,
    /// Its time was up.
    Timeout,
    /// A call that never ends was found.
    Stuck,
    /// Its user interrupted it.
    Interrupted,
}

/// Failed calls by what made them fail; the sum is all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Causes([u64; Cause::ALL.len()]);

impl Causes {
    /// One more.
    pub fn add(&mut self, cause: Cause) {
        self.0[cause as usize] += 1;
    }

    /// How many of one.
    pub fn get(&self, cause: Cause) -> u64 {
        self.0[cause as usize]
    }

    /// All of them.
    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Another's on top.
    pub fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine += theirs);
    }
}

impl Serialize for Causes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Cause::ALL.map(|cause| (cause.name(), self.get(cause))))
    }
}

/// A whole run.
#[derive(Debug, Serialize)]
pub struct RunResult {
    /// Policy.
    pub policy: String,
    /// Kernel rules.
    pub kernel: String,
    /// Why it ended.
    pub status: Status,
    /// Seconds from the pinners' start to the end: wall time, or virtual time on the simulator.
    pub elapsed_s: f64,
    /// CPU seconds of the process meanwhile.
    pub cpu_s: f64,
    /// Seed.
    pub seed: u64,
    /// Calls by class.
    pub calls: Map<String, Value>,
    /// Calls that the end of the run cut off: of no class.
    pub interrupted: u64,
    /// Failures by errno.
    pub errors: BTreeMap<&'static str, u64>,
    /// Failures by what made them fail.
    pub causes: Causes,
    /// Page pins.
    pub pages: Map<String, Value>,
    /// Rates.
    pub throughput: Map<String, Value>,
    /// Latency of calls that ended.
    pub latency_ns: Map<String, Value>,
    /// Sweeps of calls that ended.
    pub sweeps: Map<String, Value>,
    /// What pinners counted since they set off.
    pub counters: Totals,
    /// What the other actors counted.
    pub background: Totals,
    /// How evenly the pinners fared.
    pub fairness: Map<String, Value>,
    /// Did every call end?
    pub liveness: Liveness,
    /// Was every success true?
    pub safety: Value,
    /// Did the machine itself hold?
    pub invariants: Value,
    /// Failed calls, the first hundred.
    pub failures: Vec<Failure>,
    /// Shares that `same-range` measurements on real kernels give.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contention: Option<Value>,
    /// Progress over time.
    pub timeline: Vec<Sample>,
    /// Everything that was set.
    pub resolved: Value,
}

/// What a run knows besides its shared state.
pub(super) struct End {
    pub status: Status,
    pub elapsed_s: f64,
    pub cpu_s: f64,
    pub seed: u64,
    pub liveness: Liveness,
    pub timeline: Vec<Sample>,
    pub recount: Recount,
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn totals(slots: &[CachePadded<Slot>]) -> Totals {
    let mut sum = Totals::default();
    slots.iter().for_each(|slot| sum.add(&slot.counters.totals()));
    sum
}

/// Values that a histogram gives; `null` for none recorded.
fn latency(histogram: &Histogram<u32>) -> Map<String, Value> {
    let none = histogram.is_empty();
    let at = |quantile: f64| if none { Value::Null } else { json!(histogram.value_at_quantile(quantile)) };
    object(json!({
        "min": if none { Value::Null } else { json!(histogram.min()) },
        "mean": if none { Value::Null } else { json!(histogram.mean()) },
        "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p99_9": at(0.999),
        "max": if none { Value::Null } else { json!(histogram.max()) },
    }))
}

fn fairness(pages: &[u64], ledger: &Ledger) -> Map<String, Value> {
    let sum: f64 = pages.iter().map(|&x| x as f64).sum();
    let squares: f64 = pages.iter().map(|&x| (x as f64) * (x as f64)).sum();
    // Jain, Chiu, Hawe 1984: 1 for equal shares, 1/n for one that has all.
    let jain = if squares == 0.0 { Value::Null } else { json!(sum * sum / (pages.len() as f64 * squares)) };
    let (least, most) = (pages.iter().min().copied().unwrap_or(0), pages.iter().max().copied().unwrap_or(0));
    let min_max = if most == 0 { Value::Null } else { json!(least as f64 / most as f64) };
    object(json!({
        "jain": jain, "min_max": min_max,
        "longest_wait_ns": ledger.longest_wait_ns, "max_bypass": ledger.max_bypass,
    }))
}

/// Sums up what the pinners handed over.
fn merge(ledgers: &mut Vec<Ledger>) -> Ledger {
    let mut all = Ledger::new();
    for ledger in ledgers.drain(..) {
        // Both sides grow as they must.
        let _ = all.latency.add(&ledger.latency);
        let _ = all.sweeps.add(&ledger.sweeps);
        for (errno, n) in ledger.errors {
            *all.errors.entry(errno).or_default() += n;
        }
        all.causes.merge(&ledger.causes);
        all.contended_pages += ledger.contended_pages;
        all.interrupted += ledger.interrupted;
        all.max_bypass = all.max_bypass.max(ledger.max_bypass);
        all.longest_wait_ns = all.longest_wait_ns.max(ledger.longest_wait_ns);
        all.dma_errors.extend(ledger.dma_errors);
        all.before.add(&ledger.before);
    }
    all
}

/// The measures of `kernel/contention.json`.
fn contention(sh: &Shared, counters: &Totals, issued: u64, errors: &BTreeMap<&'static str, u64>) -> Value {
    let threads = u64::from(sh.profile.threads);
    let pages = u64::from(sh.profile.pinner.pages_max);
    let rounds = (issued / threads).max(1);
    let page_rounds = (rounds * pages) as f64;
    json!({
        "rounds": rounds, "pages": pages,
        "acquired_per_page_per_thread": counters.get(Event::Acquired) as f64 / page_rounds / threads as f64,
        "migrated_per_page": counters.get(Event::Migrated) as f64 / page_rounds,
        "migrate_failed_per_page": counters.get(Event::MigrateFailed) as f64 / page_rounds,
        "enomem_share": errors.get("ENOMEM").copied().unwrap_or(0) as f64 / issued.max(1) as f64,
    })
}

pub(super) fn gather(sh: &Shared, end: End, resolved: Value) -> RunResult {
    let ledger = merge(&mut sh.ledgers.lock());
    let mut classes = [0; 5];
    let mut pages = Vec::new();
    for slot in sh.pinners() {
        classes.iter_mut().zip(slot.classes()).for_each(|(sum, n)| *sum += n);
        pages.push(slot.pages());
    }
    let issued: u64 = classes.iter().sum();
    let pinned: u64 = pages.iter().sum();
    let mut calls = object(json!({ "issued": issued }));
    for (class, n) in Class::ALL.into_iter().zip(classes) {
        calls.insert(class.name().into(), json!(n));
    }
    let counters = totals(sh.pinners()).since(&ledger.before);
    let errors: BTreeMap<&'static str, u64> =
        ledger.errors.iter().map(|(errno, &n)| (errno.name(), n)).collect();
    let rate = |n: u64| if end.elapsed_s > 0.0 { json!(n as f64 / end.elapsed_s) } else { Value::Null };
    let findings = std::mem::take(&mut *sh.findings.lock());
    let unsafe_pins = classes[Class::PinnedUnsafe as usize];
    RunResult {
        policy: sh.policy.name.clone(),
        kernel: sh.m.rules.name.clone(),
        status: end.status,
        elapsed_s: end.elapsed_s,
        cpu_s: end.cpu_s,
        seed: end.seed,
        calls,
        interrupted: ledger.interrupted,
        contention: sh.profile.pinner.rounds.then(|| contention(sh, &counters, issued, &errors)),
        errors,
        causes: ledger.causes,
        pages: object(json!({ "pinned": pinned, "contended": ledger.contended_pages })),
        throughput: object(json!({ "calls_per_s": rate(issued), "pages_per_s": rate(pinned) })),
        latency_ns: latency(&ledger.latency),
        sweeps: {
            let mut all = latency(&ledger.sweeps);
            all.retain(|key, _| matches!(key.as_str(), "mean" | "p50" | "p99" | "max"));
            all
        },
        fairness: fairness(&pages, &ledger),
        liveness: end.liveness,
        safety: json!({
            "verdict": if unsafe_pins == 0 { "safe" } else { "violated" },
            "findings": findings.unsafe_pins,
        }),
        invariants: invariants(end.recount, &counters, &ledger),
        failures: findings.failures,
        background: totals(sh.actors()),
        counters,
        timeline: end.timeline,
        resolved,
    }
}

fn invariants(mut recount: Recount, counters: &Totals, ledger: &Ledger) -> Value {
    let (acquired, released) = (counters.get(Event::Acquired), counters.get(Event::Released));
    recount.check(acquired == released, "acquired = released", None, || format!("{acquired} ≠ {released}"));
    recount.checked += counters.get(Event::DmaChecked);
    recount.broken.extend(ledger.dma_errors.iter().map(|error| Broken {
        invariant: "a pin keeps its frame and its data",
        frame: Some(error.frame),
        found: format!("{error:?}"),
    }));
    let total = recount.broken.len();
    recount.broken.truncate(super::shared::MAX_FINDINGS);
    json!({
        "verdict": if total == 0 { "held" } else { "broken" },
        "checked": recount.checked,
        "broken": total,
        "findings": recount.broken,
    })
}
