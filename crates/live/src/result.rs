//! What a load came to, as one element of `results` in schema `gupstress.run/1`.

use crate::counters::Counted;
use crate::load::{End, Ledger, Load};
use gupstress_run::judge::class::Class;
use gupstress_run::judge::result::{Calls, Fairness, Latency};
use gupstress_run::observe::Event;
use gupstress_run::stress::Job;
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

/// The row of a load; what a real kernel does not tell is null.
pub fn row(load: &Load, job: &Job, kernel: &str, end: End, took: Duration, counted: &Counted) -> Value {
    let mut classes = [0; Class::COUNT];
    let mut errors: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut latency = Histogram::<u32>::new(3).expect("three digits are possible");
    let (mut shares, mut checked, mut broken, mut lost, mut longest) = (Vec::new(), 0, 0, Vec::new(), 0);
    for ledger in &load.ledgers {
        let ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
        classes.iter_mut().zip(&ledger.classes).for_each(|(sum, one)| *sum += one);
        ledger.errors.iter().for_each(|(errno, count)| *errors.entry(errno).or_default() += count);
        _ = latency.add(&ledger.latency);
        shares.push(ledger.pages);
        checked += ledger.checked;
        broken += ledger.broken;
        lost.extend(ledger.lost.iter().cloned());
        let under_way = ledger.since.map_or(0, |since| since.elapsed().as_nanos() as u64);
        longest = longest.max(under_way).max(ledger.latency.max());
    }
    if end == End::Stuck {
        classes[Class::Stuck as usize] += load.under_way();
    }
    let calls = Calls::of(classes);
    let pages: u64 = shares.iter().sum();
    let seconds = took.as_secs_f64();
    let rate = |count: u64| (seconds > 0.0).then(|| count as f64 / seconds);
    let verdict = match &calls {
        _ if !lost.is_empty() => "broken",
        calls if calls.stuck > 0 => "stuck",
        calls if calls.pinned_unsafe > 0 => "unsafe",
        calls if calls.failed_spurious > 0 => "spurious",
        calls if calls.failed_justified > 0 => "justified",
        _ => "ok",
    };
    let findings: Vec<Value> =
        lost.iter().map(|found| json!({"invariant": "dma", "frame": null, "found": found})).collect();
    let fairness = Fairness::of(&shares, longest, 0);
    let live = if calls.stuck > 0 { "livelocked" } else { "live" };
    let none: Map<String, Value> =
        Event::ALL.iter().map(|event| (event.name().to_owned(), Value::Null)).collect();
    let known = |event: &Event| counted.get(event.name()).map_or(Value::Null, |&count| count.into());
    let counters: Map<String, Value> =
        Event::ALL.iter().map(|event| (event.name().to_owned(), known(event))).collect();
    json!({
        "policy": "kernel",
        "kernel": kernel,
        "status": match end { End::Complete => "complete", End::Timeout => "timeout", End::Stuck => "stuck" },
        "verdict": verdict,
        "elapsed_s": seconds,
        "wall_s": seconds,
        "cpu_s": cpu_s(),
        "seed": job.seed,
        "interrupted": if end == End::Stuck { 0 } else { load.under_way() },
        "errors": errors,
        "pages": {"pinned": pages, "contended": null},
        "throughput": {"calls_per_s": rate(calls.issued), "pages_per_s": rate(pages)},
        "latency_ns": Latency::from(&latency),
        "sweeps": {"mean": null, "p50": null, "p99": null, "max": null},
        "counters": counters,
        "background": none,
        "fairness": {
            "jain": fairness.jain,
            "min_max": fairness.min_max,
            "longest_wait_ns": longest,
            "max_bypass": null,
        },
        "liveness": {"verdict": live, "findings": []},
        "safety": {"verdict": if calls.pinned_unsafe > 0 { "violated" } else { "safe" }, "findings": []},
        "invariants": {
            "verdict": if lost.is_empty() { "held" } else { "broken" },
            "checked": checked,
            "broken": broken,
            "findings": findings,
        },
        "failures": [],
        "contention": contention(load, &calls, &errors, counted),
        "timeline": [],
        "resolved": {},
        "calls": calls,
    })
}

/// Shares as other measurements give them, where everything for them was counted.
fn contention(
    load: &Load,
    calls: &Calls,
    errors: &BTreeMap<&'static str, u64>,
    counted: &Counted,
) -> Option<Value> {
    let profile = &load.profile;
    let (threads, pages) = (u64::from(profile.threads), u64::from(profile.pinner.pages_max));
    let rounds = calls.issued / threads;
    let share = |event: Event| Some(*counted.get(event.name())? as f64 / (rounds * pages) as f64);
    if !profile.pinner.rounds || rounds == 0 {
        return None;
    }
    Some(json!({
        "rounds": rounds,
        "pages": pages,
        "acquired_per_page_per_thread": share(Event::Acquired)? / threads as f64,
        "migrated_per_page": share(Event::Migrated)?,
        "migrate_failed_per_page": share(Event::MigrateFailed)?,
        "enomem_share": errors.get("ENOMEM").copied().unwrap_or(0) as f64 / calls.issued as f64,
    }))
}

/// The median call; none without calls.
pub fn median_ns(load: &Load) -> Option<u64> {
    let mut latency = Histogram::<u32>::new(3).expect("three digits are possible");
    for ledger in &load.ledgers {
        _ = latency.add(&ledger.lock().unwrap_or_else(PoisonError::into_inner).latency);
    }
    (!latency.is_empty()).then(|| latency.value_at_quantile(0.5))
}

/// CPU seconds of this process.
fn cpu_s() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// What made a pinner give up, if one did.
pub fn trouble(load: &Load) -> Option<String> {
    let of = |ledger: &std::sync::Mutex<Ledger>| {
        ledger.lock().unwrap_or_else(PoisonError::into_inner).trouble.clone()
    };
    load.ledgers.iter().find_map(of)
}
