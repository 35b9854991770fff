//! Time that jumps: whoever sleeps, the supervisor's moments come first, and what never ends is stuck.
#![cfg(not(loom))]

use gupstress_run::policy::{Source, load_kernel, load_policy};
use gupstress_run::stress::run::run;
use gupstress_run::stress::{Job, Which, load_profile};
use serde_json::Value;
use std::time::Duration;

macro_rules! case {
    ($name:literal) => {
        Source::File($name, include_str!(concat!("cases/", $name)))
    };
}

/// Runs linux-7.2 under a case's profile.
fn result(case: Source<'_>, driver: Which, timeout_s: u64, stall_ms: u64, seed: u64) -> Value {
    let profile = load_profile(case, &[]).unwrap();
    let job = Job {
        policy: load_policy(Source::Preset("linux-7.2"), &[]).unwrap(),
        rules: load_kernel(Source::Preset("linux-7.2.13"), &[]).unwrap(),
        driver,
        pins: u64::from(profile.pins).max(100_000),
        profile,
        timeout: Duration::from_secs(timeout_s),
        stall_after: Duration::from_millis(stall_ms),
        seed,
        wall_timeout: Duration::MAX,
        trace: None,
        abort_on: Vec::new(),
    };
    serde_json::to_value(run(&job, &mut ()).unwrap()).unwrap()
}

#[track_caller]
fn assert_waits_for_a_lock_for_good(json: &Value) {
    assert_eq!(json["status"], "stuck", "{json}");
    assert_eq!(json["liveness"]["verdict"], "livelocked");
    // What the verdict says of the call its count says too.
    assert_eq!(json["calls"]["stuck"], 1, "{}", json["calls"]);
    assert_eq!(json["calls"]["failed_spurious"], 0, "{}", json["calls"]);
    let finding = &json["liveness"]["findings"][0];
    assert_eq!(finding["step"], "page:lock", "{finding}");
    assert_eq!(finding["obstacle"]["kind"], "locked", "{finding}");
    assert_eq!(finding["permanent"], true, "{finding}");
    assert!(finding["waits_for"].as_str().unwrap().contains("(lockers "), "{finding}");
}

#[test]
fn an_endless_lock_is_found_out_in_time_though_everybody_sleeps() {
    for seed in 1..=5 {
        let json = result(case!("endless-lock.toml"), Which::Sim, 2, 200, seed);
        assert_waits_for_a_lock_for_good(&json);
        let elapsed = json["elapsed_s"].as_f64().unwrap();
        assert!(elapsed < 0.8, "seed {seed}: {elapsed} s");
    }
}

#[test]
fn a_call_that_waits_for_an_endless_lock_on_real_threads_is_counted_as_stuck() {
    // However busy the host: the lock outlives the run, and the run whatever it takes to see that.
    let json = result(case!("endless-lock-os.toml"), Which::Os, 900, 500, 1);
    assert_waits_for_a_lock_for_good(&json);
}
