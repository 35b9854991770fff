//! Time that jumps: whoever sleeps, the supervisor's moments come first.
#![cfg(not(loom))]

use gupstress_run::policy::{Source, load_kernel, load_policy};
use gupstress_run::stress::run::run;
use gupstress_run::stress::{Job, Which, load_profile};
use std::time::Duration;

/// One page lock that is held for 1,000 s.
const ENDLESS_LOCK: &str = r#"
name = "endless-lock"
threads = 1
cpus = 2
calls = 50
[ranges]
pages = 8
[pinner]
pages_min = 8
pages_max = 8
zap = 1.0
[lockers]
threads = 1
hold = "1000s"
"#;

#[test]
fn an_endless_lock_is_found_out_in_time_though_everybody_sleeps() {
    for seed in 1..=5 {
        let job = Job {
            policy: load_policy(Source::Preset("linux-7.2"), &[]).unwrap(),
            rules: load_kernel(Source::Preset("linux-7.2.13"), &[]).unwrap(),
            profile: load_profile(Source::File("endless-lock.toml", ENDLESS_LOCK), &[]).unwrap(),
            driver: Which::Sim,
            pins: 100_000,
            timeout: Duration::from_secs(2),
            stall_after: Duration::from_millis(200),
            seed,
            wall_timeout: Duration::MAX,
            trace: None,
            abort_on: Vec::new(),
        };
        let json = serde_json::to_value(run(&job, &mut ()).unwrap()).unwrap();
        assert_eq!(json["status"], "stuck", "seed {seed}: {json}");
        assert_eq!(json["liveness"]["verdict"], "livelocked", "seed {seed}");
        let finding = &json["liveness"]["findings"][0];
        assert_eq!(finding["step"], "page:lock", "seed {seed}: {finding}");
        assert_eq!(finding["permanent"], true, "seed {seed}: {finding}");
        let elapsed = json["elapsed_s"].as_f64().unwrap();
        assert!(elapsed < 0.8, "seed {seed}: {elapsed} s");
    }
}
