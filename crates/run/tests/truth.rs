//! Each class and each detector is right about what a profile or a broken policy does, on its own.

use gupstress_run::judge::Class;
use gupstress_run::observe::Event;
use gupstress_run::ops::Errno;
use gupstress_run::policy::{Policy, Source, load_kernel, load_policy, policy_names};
use gupstress_run::stress::run::run;
use gupstress_run::stress::{Job, RunResult, Which, load_profile};
use std::time::Duration;

/// Runs a policy on a profile, on the simulator.
fn simulate(policy: &str, profile: &str, sets: &[(&str, &str)]) -> RunResult {
    simulate_seed(5, policy, profile, sets)
}

fn words(sets: &[(&str, &str)]) -> Vec<(String, String)> {
    sets.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn job(seed: u64, policy: Policy, profile: &str, sets: &[(&str, &str)]) -> Job {
    let profile = load_profile(Source::Preset(profile), &words(sets)).unwrap();
    Job {
        policy,
        rules: load_kernel(Source::Preset("linux-7.2.13"), &[]).unwrap(),
        pins: u64::from(profile.pins),
        profile,
        driver: Which::Sim,
        timeout: Duration::from_secs(20),
        wall_timeout: Duration::from_mins(5),
        stall_after: Duration::from_millis(50),
        seed,
        trace: None,
        abort_on: Vec::new(),
    }
}

fn policy(name: &str, sets: &[(&str, &str)]) -> Policy {
    load_policy(Source::Preset(name), &words(sets)).unwrap()
}

fn simulate_seed(seed: u64, name: &str, profile: &str, sets: &[(&str, &str)]) -> RunResult {
    let result = run(&job(seed, policy(name, &[]), profile, sets), &mut ()).unwrap();
    let class = |name: &str| calls(&result, name);
    let classes = ["pinned", "pinned_unsafe", "failed_justified", "failed_spurious", "oom_killed", "stuck"];
    assert_eq!(class("issued"), classes.iter().map(|name| class(name)).sum::<u64>());
    result
}

/// The verdicts on liveness, safety and invariants.
fn verdicts(result: &RunResult) -> [String; 3] {
    let json = serde_json::to_value(result).unwrap();
    ["liveness", "safety", "invariants"].map(|part| json[part]["verdict"].as_str().unwrap().to_owned())
}

fn calls(result: &RunResult, class: &str) -> u64 {
    serde_json::to_value(result.calls).unwrap()[class].as_u64().unwrap()
}

#[test]
fn a_call_that_pins_what_may_stay_is_pinned() {
    let result = simulate("linux-7.2", "wasted-drain", &[("pins", "400")]);
    assert!(calls(&result, "pinned") >= 100);
    assert_eq!(calls(&result, "pinned"), calls(&result, "issued"));
}

#[test]
fn the_end_of_a_run_fails_nobody() {
    let mut interrupted = 0;
    for (seed, name) in (1..=4).flat_map(|seed| ["bounded", "linux-7.2", "cooperative"].map(|it| (seed, it)))
    {
        // Every call of it pins, and some have not by then.
        let early =
            Job { timeout: Duration::from_millis(1), ..job(seed, policy(name, &[]), "lru-batch-ref", &[]) };
        let json = serde_json::to_value(run(&early, &mut ()).unwrap()).unwrap();
        assert_eq!(json["status"], "timeout");
        assert_eq!(
            json["calls"]["pinned"], json["calls"]["issued"],
            "{name}, seed {seed}: {}",
            json["errors"]
        );
        interrupted += json["interrupted"].as_u64().unwrap();
    }
    assert!(interrupted > 0, "nobody was cut off");
}

#[test]
fn a_call_that_pins_what_must_move_is_unsafe() {
    let result = simulate("linux-6.14", "cma-driver", &[]);
    assert!(calls(&result, "pinned_unsafe") > 0);
    assert_eq!(calls(&result, "pinned_unsafe"), calls(&result, "issued"));
    assert_eq!(verdicts(&result), ["live", "violated", "held"]);
}

#[test]
fn a_failure_with_a_permanent_obstacle_is_justified() {
    for (profile, obstacle) in [
        ("oom", "no-memory"),
        ("hwpoison", "hwpoison"),
        ("hwpoison-mapped", "hwpoison"),
        ("prepinned", "held"),
        ("early-boot", "reserved"),
        ("cma-driver", "never-on-lru"),
    ] {
        let result = simulate("cooperative", profile, &[]);
        assert!(calls(&result, "failed_justified") > 0, "{profile}");
        assert_eq!(calls(&result, "failed_justified"), calls(&result, "issued"), "{profile}");
        let failure = serde_json::to_value(&result.failures[0]).unwrap();
        assert_eq!(failure["obstacle"]["kind"], obstacle, "{profile}");
        assert_eq!(failure["permanent"], true, "{profile}");
    }
}

#[test]
fn a_poisoned_page_ends_a_pin_at_once_whatever_the_policy() {
    for policy in policy_names().into_iter().filter(|name| !name.starts_with("busted-")) {
        for shmem in ["0", "1"] {
            let result = simulate(policy, "hwpoison", &[("ranges.shmem", shmem)]);
            let what = format!("{policy}, shmem {shmem}: {:?} {:?}", result.calls, result.errors);
            // How many begin before the first has ended is the scheduler's to say.
            let issued = result.calls.issued;
            assert!((1..=4).contains(&issued), "{what}");
            assert_eq!(calls(&result, "failed_justified"), issued, "{what}");
            assert_eq!(result.errors[&Errno::EFAULT], issued, "{what}");
            assert_eq!((result.sweeps.max, result.counters.get(Event::DrainAll)), (Some(1), 0), "{what}");
            assert_eq!(causes(&result), [("hwpoison".to_owned(), issued)], "{what}");
            assert_eq!(verdicts(&result), ["live", "safe", "held"], "{what}");
        }
    }
}

#[test]
fn a_poisoned_page_that_could_not_be_unmapped_fails_its_migration_once() {
    for policy in ["linux-5.13", "linux-6.14", "linux-6.17", "linux-7.2"] {
        let result = simulate(policy, "hwpoison-mapped", &[]);
        let what = format!("{policy}: {:?} {:?}", result.calls, result.errors);
        assert_eq!(calls(&result, "failed_justified"), 4, "{what}");
        assert_eq!(result.errors[&Errno::ENOMEM], 4, "{what}");
        assert_eq!(result.sweeps.max, Some(1), "{what}");
        assert_eq!(causes(&result), [("hwpoison".to_owned(), 4)], "{what}");
        assert_eq!(verdicts(&result), ["live", "safe", "held"], "{what}");
    }
}

#[test]
fn a_failure_without_one_is_spurious() {
    let result = simulate("linux-5.13", "lru-batch-ref", &[("calls", "200")]);
    assert!(calls(&result, "failed_spurious") > 100, "{:?}", result.calls);
    assert_eq!(calls(&result, "failed_justified"), 0);
    let failure = serde_json::to_value(&result.failures[0]).unwrap();
    assert_eq!(failure["permanent"], false);
}

#[test]
fn what_passes_never_fails_a_policy_that_waits_and_drains() {
    for policy in ["backoff", "classify", "cooperative"] {
        for profile in
            ["drain-race", "isolation-race", "mlock-batch", "lru-batch-ref", "short-refs", "writeback"]
        {
            for seed in 1..=8 {
                let result = simulate_seed(seed, policy, profile, &[("calls", "500")]);
                let what = format!("{policy} on {profile}, seed {seed}: {:?}", result.calls);
                assert_eq!(calls(&result, "pinned"), calls(&result, "issued"), "{what}");
                assert_eq!(verdicts(&result), ["live", "safe", "held"], "{what}");
            }
        }
    }
}

/// Writeback that ends queues its page to be moved: between two tries of a
/// migration, an isolated page may come into a batch.
#[test]
fn a_page_that_a_batch_takes_while_it_is_isolated_is_drained_for() {
    let often = [
        ("writeback.threads", "4"),
        ("writeback.hold", "2us"),
        ("writeback.pause", "1us"),
        ("lockers.threads", "0"),
        ("cpus", "8"),
    ];
    for seed in 1..=30 {
        let result = simulate_seed(seed, "cooperative", "writeback", &often);
        assert_eq!(calls(&result, "pinned"), calls(&result, "issued"), "seed {seed}");
    }
}

#[test]
fn a_call_that_never_ends_is_stuck_and_the_report_says_why() {
    let result = simulate("unbounded", "zero-page", &[]);
    assert!(calls(&result, "stuck") > 0);
    assert_eq!(verdicts(&result), ["livelocked", "safe", "held"]);
    let stall = serde_json::to_value(&result.liveness.findings[0]).unwrap();
    assert_eq!(stall["obstacle"]["kind"], "zero-page");
    assert_eq!(stall["permanent"], true);
    assert_eq!(stall["alone"], "fails");
}

/// Wherever in its loop each thread is when it is looked at.
#[test]
fn a_stuck_call_names_the_step_that_fails_and_the_page_in_its_way() {
    // Of huge pages only: for others somebody is killed.
    let hugetlb = [("ranges.hugetlb", "true"), ("ranges.pages", "512"), ("memory.normal", "1024")];
    for (profile, sets, step, obstacle) in [
        ("zero-page", &[][..], "collect:isolate", "zero-page"),
        ("early-boot", &[], "collect:isolate", "reserved"),
        ("hwpoison-mapped", &[], "migrate:freeze", "hwpoison"),
        ("cma-driver", &[], "collect:isolate", "never-on-lru"),
        ("prepinned", &[], "migrate:unmap", "held"),
        ("oom", &hugetlb, "migrate:target", "no-memory"),
    ] {
        let result = simulate("unbounded", profile, sets);
        let stalls = serde_json::to_value(&result.liveness.findings).unwrap();
        let stalls = stalls.as_array().unwrap();
        assert!(stalls.len() > 1, "{profile}");
        for stall in stalls {
            assert_eq!(
                (&stall["step"], &stall["obstacle"]["kind"]),
                (&step.into(), &obstacle.into()),
                "{stall}"
            );
        }
    }
}

#[test]
fn each_broken_policy_is_found_by_its_own_detector_alone() {
    let small = [("threads", "4"), ("pins", "4000"), ("perturb", "0"), ("step_delay", "1us")];
    for (policy, profile, sets, expected) in [
        ("busted-never-drains", "drain-race", &small[..], ["livelocked", "safe", "held"]),
        ("busted-accept", "wasted-drain", &small[1..2], ["live", "violated", "held"]),
        ("busted-leak-pin", "wasted-drain", &[("calls", "20")], ["live", "safe", "broken"]),
        ("busted-lose-page", "prepinned", &[], ["live", "safe", "broken"]),
        ("busted-hold-lock", "same-range", &[("threads", "4")], ["livelocked", "safe", "held"]),
        ("busted-wait-cycle", "same-range", &[("threads", "4")], ["deadlocked", "safe", "held"]),
    ] {
        let result = simulate(policy, profile, sets);
        let found = verdicts(&result);
        assert_eq!(found, expected, "{policy} on {profile}");
        let sound = simulate("cooperative", profile, sets);
        assert_eq!(verdicts(&sound), ["live", "safe", "held"], "cooperative on {profile}");
    }
}

/// Somebody else always has a reference on its only page, and nobody has one for long.
#[test]
fn a_call_that_others_keep_from_ending_is_starved() {
    let crowd = [
        ("threads", "1"),
        ("cpus", "8"),
        ("ranges.count", "1"),
        ("ranges.pages", "1"),
        ("pinner.pages_min", "1"),
        ("pinner.pages_max", "1"),
        ("short_refs.threads", "8"),
        ("short_refs.hold", "200us"),
        ("short_refs.pause", "none"),
        ("step_delay", "1us"),
    ];
    let result = simulate("unbounded", "short-refs", &crowd);
    assert_eq!(verdicts(&result), ["starved", "safe", "held"]);
    assert_eq!(calls(&result, "stuck"), 1, "{:?}", result.calls);
    let stall = serde_json::to_value(&result.liveness.findings[0]).unwrap();
    assert_eq!(stall["alone"], "passes");
}

#[test]
fn a_deadlock_names_who_waits_for_whom() {
    let result = simulate("busted-wait-cycle", "same-range", &[("threads", "4")]);
    let stalls = serde_json::to_value(&result.liveness.findings).unwrap();
    let stalls = stalls.as_array().unwrap();
    assert!(stalls.len() >= 2, "{stalls:?}");
    for stall in stalls {
        let waits = stall["waits_for"].as_str().unwrap();
        assert!(waits.contains("the lock of frame") && waits.contains("which thread"), "{waits}");
    }
}

/// Failed calls by what made them fail, as results give them.
fn causes(result: &RunResult) -> Vec<(String, u64)> {
    let causes = serde_json::to_value(result.causes).unwrap();
    let found = causes.as_object().unwrap().iter().map(|(cause, n)| (cause.clone(), n.as_u64().unwrap()));
    let mut found: Vec<_> = found.filter(|(_, n)| *n != 0).collect();
    found.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let failed = calls(result, "failed_justified") + calls(result, "failed_spurious");
    assert_eq!(found.iter().map(|(_, n)| n).sum::<u64>(), failed, "{found:?}");
    found
}

#[test]
fn pinners_of_one_range_fail_by_each_others_pins() {
    for seed in 1..=5 {
        let result = simulate_seed(seed, "linux-7.2", "same-range", &[("threads", "2")]);
        let causes = causes(&result);
        assert_eq!(causes[0].0, "pinned", "{causes:?}");
        for failure in &result.failures {
            let failure = serde_json::to_value(failure).unwrap();
            let found = &failure["found"];
            // The call's own pins are gone by then, its own isolation is expected, its own putback is yet to come.
            if failure["obstacle"]["kind"] == "pinned" {
                assert_eq!(found["pins"], 1, "{failure}");
                assert_eq!(found["isolated"], false, "{failure}");
            }
        }
    }
}
/// Where one thing alone stands in the way, that is what calls fail by; every failed call has a cause.
#[test]
fn a_failure_is_put_down_to_what_caused_it() {
    for (name, sets, profile, cause) in [
        ("linux-7.2", &[][..], "isolation-race", "pinned"),
        ("none", &[], "mlock-batch", "in_batch"),
        ("linux-5.13", &[], "lru-batch-ref", "in_batch"),
        ("none", &[], "short-refs", "short_refs"),
        ("cooperative", &[], "oom", "no_memory"),
        ("bounded", &[], "early-boot", "reserved"),
        ("bounded", &[], "hwpoison", "hwpoison"),
        ("bounded", &[], "prepinned", "held"),
        ("bounded", &[], "cma-driver", "never_on_lru"),
        ("bounded", &[("zero_page", "must-move")], "zero-page", "zero_page"),
    ] {
        let result = run(&job(5, policy(name, sets), profile, &[("calls", "200")]), &mut ()).unwrap();
        let found = causes(&result);
        assert_eq!(
            (found.len(), found.first().map(|(cause, _)| cause.as_str())),
            (1, Some(cause)),
            "{profile}: {found:?}"
        );
    }
}

/// Many pin pages of which one is held for ever: of each failure class, obstacle and what is said
/// of it agree, whichever page it failed over.
#[test]
fn a_failure_is_called_permanent_where_it_is_justified_and_nowhere_else() {
    let sets = [("ranges.special", "held"), ("ranges.special_pages", "1"), ("pins", "3000")];
    let result = run(&job(5, policy("none", &[]), "contended", &sets), &mut ()).unwrap();
    let of = |class: Class| result.failures.iter().filter(move |failure| failure.class == class);
    assert!(of(Class::FailedSpurious).count() > 0 && of(Class::FailedJustified).count() > 0);
    for failure in &result.failures {
        let obstacle = failure.obstacle.unwrap();
        let justified = failure.class == Class::FailedJustified;
        assert_eq!((failure.permanent, obstacle.is_permanent()), (justified, justified), "{failure:?}");
    }
}

/// A migration that only tries the lock fails by whoever has it, and by what he has it for.
#[test]
fn a_lock_and_a_writeback_that_are_not_waited_for_are_causes() {
    let rules = words(&[("migrate_passes", "1")]);
    let job = Job {
        rules: load_kernel(Source::Preset("linux-6.1.176"), &rules).unwrap(),
        ..job(5, policy("none", &[]), "writeback", &[("calls", "1000")])
    };
    let result = run(&job, &mut ()).unwrap();
    let found = causes(&result);
    let of = |wanted: &str| found.iter().find(|(cause, _)| cause == wanted).map_or(0, |(_, n)| *n);
    assert!(of("locked") > 0 && of("writeback") > 0, "{found:?}");
    let by = result.failures.iter().filter_map(|failure| failure.found.as_ref()?.locked_by);
    assert!(by.clone().count() > 0 && by.clone().all(|thread| thread >= job.profile.threads), "{found:?}");
}

/// A kworker's work is counted by whoever had it queued.
#[test]
fn drain_work_is_its_causers() {
    let drained = |rule: &str| {
        let policy = policy("linux-7.2", &[("drain", rule)]);
        // Often enough that the drainer is at work however short the run is.
        let load = [("pins", "2000"), ("threads", "8"), ("drainers.pause", "20us")];
        run(&job(5, policy, "contended", &load), &mut ()).unwrap()
    };
    let never = drained("never");
    assert_eq!(never.counters.get(Event::DrainAll), 0);
    assert_eq!(never.counters.get(Event::DrainWork), 0);
    assert!(never.background.get(Event::DrainAll) > 0);
    assert!(never.background.get(Event::DrainWork) > 0);
    assert!(drained("all").counters.get(Event::DrainWork) > 0);
}

#[test]
fn what_each_kind_of_caller_came_to_adds_up_to_the_whole() {
    let kinds: &[(&str, &str)] =
        &[("threads", "4"), ("calls", "400"), ("callers.umem", "1"), ("callers.gup-slow-ro", "3")];
    let result = simulate("linux-7.2", "same-range", kinds);
    let of = &result.callers;
    assert_eq!(of.keys().collect::<Vec<_>>(), ["gup-slow-ro", "umem"]);
    assert_eq!((of["gup-slow-ro"].threads, of["umem"].threads), (3, 1));
    let sum = |count: &dyn Fn(&gupstress_run::judge::Calls) -> u64| {
        of.values().map(|one| count(&one.calls)).sum::<u64>()
    };
    assert_eq!(sum(&|calls| calls.issued), result.calls.issued);
    assert_eq!(sum(&|calls| calls.failed_spurious), result.calls.failed_spurious);
    assert!(of.values().all(|one| one.calls.pinned > 0 && one.latency_ns.p50.is_some()));
    let errors: u64 = of.values().flat_map(|one| one.errors.values()).sum();
    assert_eq!(errors, result.errors.values().sum::<u64>());
    assert!(errors > 0, "a run without failures tells nothing of them");
    assert_eq!(of.values().map(|one| one.pages.pinned).sum::<u64>(), result.pages.pinned);
    // All of one kind: the whole says it.
    assert!(
        simulate("linux-7.2", "short-refs", &[("calls", "20"), ("callers.umem", "2")]).callers.is_empty()
    );
}
