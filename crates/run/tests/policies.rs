//! The proposals: what they are for holds, in rounds and on every piece of history.

use gupstress_run::judge::Verdict;
use gupstress_run::policy::{Source, load_kernel, load_policy};
use gupstress_run::stress::run::run;
use gupstress_run::stress::{Job, RunResult, Which, load_profile, profile_names};
use std::time::Duration;

fn simulate(name: &str, axes: &[(&str, &str)], profile: &str, sets: &[(&str, &str)]) -> RunResult {
    let words = |sets: &[(&str, &str)]| -> Vec<(String, String)> {
        sets.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let profile = load_profile(Source::Preset(profile), &words(sets)).unwrap();
    let job = Job {
        policy: load_policy(Source::Preset(name), &words(axes)).unwrap(),
        rules: load_kernel(Source::Preset("linux-7.2.13"), &[]).unwrap(),
        pins: u64::from(profile.pins).min(4_000),
        profile,
        driver: Which::Sim,
        timeout: Duration::from_secs(20),
        wall_timeout: Duration::from_hours(1),
        stall_after: Duration::from_millis(200),
        seed: 3,
        trace: None,
        abort_on: Vec::new(),
    };
    run(&job, &mut ()).unwrap()
}

/// What is acquired of each page by each thread of a round, and what no migration could move.
fn of_a_round(name: &str, axes: &[(&str, &str)], threads: &str, pages: &str) -> (f64, f64) {
    let sets =
        [("threads", threads), ("calls", "320"), ("pinner.pages_min", pages), ("pinner.pages_max", pages)];
    let result = simulate(name, axes, "same-range", &sets);
    assert_eq!(result.calls.failed_spurious, 0, "{name} with {threads} threads");
    let found = result.contention.unwrap();
    (found.acquired_per_page_per_thread, found.migrate_failed_per_page)
}

#[test]
fn who_looks_first_acquires_each_page_once_and_is_in_nobodys_way() {
    for name in ["look", "look-ticket"] {
        for (threads, pages) in [("1", "4"), ("2", "4"), ("8", "4"), ("16", "64"), ("2", "64")] {
            assert_eq!(of_a_round(name, &[], threads, pages), (1.0, 0.0), "{name}, {threads}, {pages}");
        }
    }
    // That is the axis' doing.
    let (acquired, _) = of_a_round("look", &[("look", "after-pin")], "2", "4");
    assert!(acquired > 1.5, "{acquired}");
}

/// The verdicts that each profile of the history takes from a policy, or better ones.
#[test]
fn the_proposals_are_right_on_every_piece_of_history() {
    let mut seen = 0;
    for name in profile_names() {
        let profile = load_profile(Source::Preset(name), &[]).unwrap();
        if !profile.history {
            continue;
        }
        seen += 1;
        let expected = serde_json::to_value(&profile.expect).unwrap();
        for policy in ["linux-7.2-unpinned-drain", "look", "look-ticket"] {
            let worst = expected.get(policy).or_else(|| expected.get("*")).and_then(|word| word.as_str());
            let worst = worst.unwrap_or("ok");
            let (_, worst) = Verdict::WORDS.iter().find(|(word, _)| *word == worst).unwrap();
            let found = simulate(policy, &[], name, &[]);
            assert!(found.verdict <= *worst, "{policy} on {name}: {:?}, not {worst:?}", found.verdict);
        }
    }
    assert!(seen >= 16, "{seen} pieces of history");
}
