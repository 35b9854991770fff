//! Small runs on both drivers: whatever the policy, the machine itself holds.
#![cfg(not(loom))]

use gupstress_run::config::Ns;
use gupstress_run::observe::{Deed, Trace};
use gupstress_run::policy::{Source, load_kernel, load_policy};
use gupstress_run::stress::run::run;
use gupstress_run::stress::{Host, Job, Progress, RunResult, Which, load_profile};
use serde_json::Value;
use std::collections::HashMap;
use std::time::Duration;

/// The end of a test that would have none: whatever hangs fails within it.
const END: Duration = Duration::from_mins(3);

/// Long enough that no host, however busy, decides a test; of virtual time far
/// less is long enough.
fn never(driver: Which) -> Duration {
    match driver {
        Which::Os => END,
        Which::Sim => Duration::from_secs(5),
    }
}

/// `contended` with all its actors, on little memory.
const SMALL: &[(&str, &str)] = &[
    ("threads", "4"),
    ("cpus", "3"),
    ("memory.movable", "192"),
    ("memory.cma", "64"),
    ("memory.page_bytes", "64"),
    ("ranges.count", "4"),
    ("ranges.pages", "16"),
    ("pinner.pages_max", "8"),
];

fn job(policy: &str, kernel: &str, driver: Which, seed: u64, sets: &[(&str, &str)]) -> Job {
    let words = SMALL.iter().chain(sets).map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Job {
        policy: load_policy(Source::Preset(policy), &[]).unwrap(),
        rules: load_kernel(Source::Preset(kernel), &[]).unwrap(),
        profile: load_profile(Source::Preset("contended"), &words.collect::<Vec<_>>()).unwrap(),
        driver,
        pins: 1500,
        timeout: never(driver),
        wall_timeout: END,
        stall_after: never(driver),
        seed,
        trace: None,
        abort_on: Vec::new(),
    }
}

fn result(job: &Job) -> (RunResult, Value) {
    let result = run(job, &mut ()).unwrap();
    let json = serde_json::to_value(&result).unwrap();
    (result, json)
}

#[track_caller]
fn number(json: &Value, pointer: &str) -> u64 {
    json.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("no number at {pointer}"))
}

/// What holds after every run, however it ended.
#[track_caller]
fn assert_sound(what: &str, json: &Value) {
    let invariants = &json["invariants"];
    assert_eq!(invariants["verdict"], "held", "{what}: {}", invariants["findings"]);
    assert!(number(json, "/invariants/checked") > 0, "{what}: nothing was checked");
    let classes = ["pinned", "pinned_unsafe", "failed_justified", "failed_spurious", "oom_killed", "stuck"];
    let sum: u64 = classes.iter().map(|class| number(json, &format!("/calls/{class}"))).sum();
    assert_eq!(number(json, "/calls/issued"), sum, "{what}: {}", json["calls"]);
    let acquired = number(json, "/counters/acquired");
    assert!(acquired > 0, "{what}: nothing was acquired");
    assert_eq!(acquired, number(json, "/counters/released"), "{what}");
}

/// What holds after a run whose work was done.
#[track_caller]
fn assert_complete(what: &str, job: &Job, json: &Value) {
    assert_sound(what, json);
    assert_eq!(json["status"], "complete", "{what}");
    assert_eq!(number(json, "/calls/stuck"), 0, "{what}");
    assert!(number(json, "/pages/pinned") >= job.pins, "{what}");
    assert!(
        number(json, "/counters/dma_checked") >= number(json, "/pages/pinned"),
        "{what}: pins without DMA"
    );
}

const POLICIES: &[(&str, &str)] = &[
    ("bounded", "linux-7.2.13"),
    ("linux-7.2", "linux-7.2.13"),
    ("linux-6.17", "linux-6.1.176"),
    ("linux-5.13", "linux-6.12.43"),
    ("linux-6.14", "linux-6.14"),
    ("ignore", "linux-5.10"),
    ("backoff", "linux-6.12.57"),
];

#[test]
fn every_policy_leaves_a_sound_machine_on_the_simulator() {
    for (seed, (policy, kernel)) in (1..).zip(POLICIES) {
        for seed in [seed, seed + 100] {
            let job = job(policy, kernel, Which::Sim, seed, &[]);
            assert_complete(&format!("{policy} on {kernel}, seed {seed}"), &job, &result(&job).1);
        }
    }
}

#[test]
fn every_policy_leaves_a_sound_machine_on_real_threads() {
    for (seed, (policy, kernel)) in (1..).zip(POLICIES) {
        let job = job(policy, kernel, Which::Os, seed, &[("perturb", "0.02")]);
        assert_complete(&format!("{policy} on {kernel}, seed {seed}"), &job, &result(&job).1);
    }
}

#[test]
fn the_actors_of_contended_are_at_work() {
    let job = Job { pins: 20_000, ..job("linux-7.2", "linux-7.2.13", Which::Sim, 3, &[]) };
    let json = result(&job).1;
    assert_complete("contended", &job, &json);
    assert!(number(&json, "/pages/contended") > 0);
    for counter in
        ["/counters/migrated", "/counters/drain_work", "/background/drain_all", "/background/faults"]
    {
        assert!(number(&json, counter) > 0, "{counter} is 0");
    }
}

#[test]
fn the_same_seed_gives_the_same_simulation_and_another_seed_another() {
    let simulate = |seed| {
        let job =
            Job { pins: 200, ..job("linux-7.2", "linux-6.12.57", Which::Sim, seed, &[("threads", "16")]) };
        let mut json = result(&job).1;
        let fields = json.as_object_mut().unwrap();
        // Wall and CPU seconds are the host's, not the simulation's.
        assert!(fields.remove("wall_s").is_some() && fields.remove("cpu_s").is_some());
        assert!(fields.remove("seed").is_some());
        json
    };
    let first = simulate(7);
    assert_eq!(first, simulate(7));
    assert_ne!(first, simulate(8));
}

/// Keeps the trace that a run gives at its end.
#[derive(Default)]
struct Tracer(Option<Trace>);

impl Host for Tracer {
    fn look(&mut self, _progress: &dyn Fn() -> Progress) -> bool {
        true
    }
    fn trace(&mut self, trace: Trace) {
        self.0 = Some(trace);
    }
}

#[test]
fn a_trace_has_every_call_with_its_class_and_its_steps_in_order() {
    for driver in [Which::Os, Which::Sim] {
        let job = Job { trace: Some(u32::MAX), ..job("linux-7.2", "linux-7.2.13", driver, 5, &[]) };
        let mut tracer = Tracer::default();
        let json = serde_json::to_value(run(&job, &mut tracer).unwrap()).unwrap();
        let trace = tracer.0.expect("a trace was wanted");
        let mut ended: HashMap<&str, u64> = HashMap::new();
        for ring in &trace.rings {
            let Some(thread) = ring.thread() else {
                // On a busy host a thread may have its first turn when all is over.
                assert_eq!(driver, Which::Os, "every thread does something");
                continue;
            };
            let thread = thread as usize;
            let events: Vec<_> = ring.events().collect();
            assert!(events.is_sorted_by_key(|event| event.at_ns), "{driver:?}: {}", trace.names[thread]);
            assert!(events.iter().all(|event| event.thread as usize == thread));
            assert!(events.iter().any(|event| matches!(event.deed, Deed::Step(..))));
            let calls =
                || events.iter().filter(|event| matches!(event.deed, Deed::Call(_) | Deed::Return(_)));
            assert!(calls().count() == 0 || trace.names[thread].starts_with("pinner"));
            for pair in calls().collect::<Vec<_>>().chunks(2) {
                let [begin, end] = pair else { panic!("a call of thread {thread} has no end") };
                assert!(matches!(begin.deed, Deed::Call(1..)), "{begin:?}");
                let Deed::Return(class) = end.deed else { panic!("{end:?}") };
                *ended.entry(class).or_default() += 1;
            }
        }
        assert_eq!(trace.rings.len(), trace.names.len());
        for class in ["pinned", "failed_spurious", "failed_justified", "pinned_unsafe", "oom_killed", "stuck"]
        {
            let counted = number(&json, &format!("/calls/{class}"));
            assert_eq!(ended.get(class).copied().unwrap_or(0), counted, "{driver:?}: {class}");
        }
    }
}

#[test]
fn nothing_is_traced_unless_wanted() {
    let mut tracer = Tracer::default();
    run(&job("linux-7.2", "linux-7.2.13", Which::Sim, 5, &[]), &mut tracer).unwrap();
    assert!(tracer.0.is_none());
}

#[test]
fn the_smallest_and_the_most_crowded_runs_end_well() {
    let one_page = [("ranges.count", "1"), ("ranges.pages", "1"), ("pinner.pages_max", "1")];
    let shapes = [
        ("one thread", vec![("threads", "1")], 500),
        ("one cpu", vec![("cpus", "1"), ("threads", "8")], 500),
        ("one pin", vec![], 1),
        ("one page", one_page.to_vec(), 200),
    ];
    for (what, sets, pins) in shapes {
        for driver in [Which::Os, Which::Sim] {
            let job = Job { pins, ..job("linux-7.2", "linux-7.2.13", driver, 5, &sets) };
            assert_complete(&format!("{what} on {driver:?}"), &job, &result(&job).1);
        }
    }
}

#[test]
fn a_call_that_never_ends_is_ended_by_the_stall_limit() {
    // The first pages are held by somebody who does not let go, and `unbounded` tries for ever.
    let hopeless = [("ranges.special", "held"), ("pinner.zap", "0"), ("threads", "2")];
    for (driver, stall_ms) in [(Which::Os, 50), (Which::Sim, 5)] {
        let job = Job {
            stall_after: Duration::from_millis(stall_ms),
            ..job("unbounded", "linux-7.2.13", driver, 5, &hopeless)
        };
        let json = result(&job).1;
        assert_sound(&format!("hopeless on {driver:?}"), &json);
        assert_eq!(json["status"], "stuck", "{driver:?}: {}", json["liveness"]);
        assert_eq!(json["liveness"]["verdict"], "livelocked", "{driver:?}: {}", json["liveness"]);
        let finding = &json["liveness"]["findings"][0];
        assert_eq!(finding["permanent"], true, "{finding}");
        assert_eq!(finding["alone"], "fails", "{finding}");
        assert!(number(&json, "/calls/stuck") > 0);
    }
}

#[test]
fn a_run_that_holds_its_pins_obeys_its_timeout() {
    // The pins are held for an hour; the run is over long before.
    let mut job = job("linux-7.2", "linux-7.2.13", Which::Sim, 5, &[]);
    job.profile.pinner.hold = Ns(3_600_000_000_000);
    job.timeout = Duration::from_secs(1);
    let json = result(&job).1;
    assert_sound("held", &json);
    assert_eq!(json["status"], "timeout");
}

#[test]
fn rounds_of_one_thread_obey_their_timeout_wherever_it_comes() {
    // Alone it waits for nobody, and where its pages are there already it has nothing to do that could fail.
    for (name, micros) in [("same-range", 1_000), ("udmabuf-race", 1_000)]
        .into_iter()
        .flat_map(|(name, from)| (from..from + 100).step_by(7).map(move |micros| (name, micros)))
    {
        let mut job = job("linux-7.2", "linux-7.2.13", Which::Sim, micros, &[]);
        job.profile = load_profile(Source::Preset(name), &[("threads".to_owned(), "1".to_owned())]).unwrap();
        (job.pins, job.profile.calls, job.timeout) = (u64::MAX, 0, Duration::from_micros(micros));
        let json = result(&job).1;
        assert_eq!(json["status"], "timeout", "{name} after {micros} us");
    }
}

#[test]
fn a_program_that_dies_while_it_writes_for_a_device_is_no_finding() {
    for micros in 1_000..1_300 {
        let mut job = job("ignore", "linux-6.12.43", Which::Sim, micros, &[]);
        let two = [("threads".to_owned(), "2".to_owned())];
        job.profile = load_profile(Source::Preset("fork-pin"), &two).unwrap();
        (job.pins, job.profile.calls, job.timeout) = (u64::MAX, 0, Duration::from_micros(micros));
        let json = result(&job).1;
        assert_eq!(json["status"], "timeout", "after {micros} us");
        assert_ne!(json["invariants"]["verdict"], "broken", "after {micros} us: {}", json["invariants"]);
    }
}
