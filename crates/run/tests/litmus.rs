//! The machine counts like real kernels: every shipped scenario, every kernel,
//! and a kernel rule that is changed is seen in the cells that it decides.
#![cfg(not(loom))]

use gupstress_run::litmus::{Limits, Scenario, litmus_names, show_litmus};
use gupstress_run::policy::{Source, load_kernel, load_policy};
use gupstress_run::script::Counted as _;
use std::collections::BTreeSet;

fn shipped() -> Vec<Scenario> {
    litmus_names()
        .into_iter()
        .map(|name| Scenario::parse(name, show_litmus(name).unwrap()).unwrap())
        .collect()
}

/// Those of order 0, counted on four kernels.
fn basic() -> Vec<Scenario> {
    let counted = |scenario: &Scenario| KERNELS.iter().all(|kernel| scenario.expect.contains_key(*kernel));
    shipped().into_iter().filter(counted).collect()
}

/// One counter that is not what was expected.
#[derive(Debug)]
struct Red {
    scenario: String,
    kernel: String,
    counter: String,
    /// `got≠wanted`
    values: String,
}

/// How many counters were compared, and those that differ under changed rules.
fn differences(scenarios: &[Scenario], change: &[(&str, &str)]) -> (usize, Vec<Red>) {
    let sets: Vec<(String, String)> =
        change.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let mut compared = 0;
    let mut differing = Vec::new();
    for scenario in scenarios {
        for (kernel, expected) in &scenario.expect {
            let rules = load_kernel(Source::Preset(kernel), &sets).unwrap();
            let policy = load_policy(Source::Preset(&rules.policy), &[]).unwrap();
            let outcome = scenario.run(rules, policy, Limits::default()).unwrap();
            for (counter, wanted) in expected {
                compared += 1;
                let got = outcome.value(counter).unwrap();
                if got != *wanted {
                    differing.push(Red {
                        scenario: scenario.name.clone(),
                        kernel: kernel.clone(),
                        counter: counter.clone(),
                        values: format!("{got}≠{wanted}"),
                    });
                }
            }
        }
    }
    assert!(compared > 0, "nothing was compared");
    (compared, differing)
}

/// The cells that are red, `scenario kernel`.
fn cells(red: &[Red]) -> BTreeSet<String> {
    red.iter().map(|red| format!("{} {}", red.scenario, red.kernel)).collect()
}

/// Every scenario on every kernel.
fn cross(scenarios: &[&str], kernels: &[&str]) -> BTreeSet<String> {
    let cell =
        |scenario: &&str| kernels.iter().map(|kernel| format!("{scenario} {kernel}")).collect::<Vec<_>>();
    scenarios.iter().flat_map(cell).collect()
}

const KERNELS: &[&str] = &["linux-6.1.176", "linux-6.12.43", "linux-6.12.57", "linux-7.2.13"];

/// Scenarios in which a pin finds an anonymous page that must move.
const ANON: &[&str] = &[
    "anon-local",
    "anon-remote",
    "anon-on-lru-local",
    "anon-on-lru-remote",
    "anon-mlock-local",
    "anon-64-local",
    "anon-cold-remote",
    "anon-held-ref",
    "anon-repin",
    "anon-batch-edge-27",
    "anon-three-cpus",
    "anon-half-pinned-before",
    "anon-partial-range",
    "anon-lazyfree-local",
];

#[test]
fn every_counter_of_every_scenario_and_kernel_is_equal() {
    let all = shipped();
    let cells: usize = all.iter().map(|scenario| scenario.expect.len()).sum();
    assert_eq!((basic().len(), cells), (20, 20 * 4 + 422));
    let (compared, differing) = differences(&all, &[]);
    assert!(compared > 502 * 9, "only {compared} compared");
    assert!(differing.is_empty(), "{differing:#?}");
}

#[test]
fn with_a_pin_that_counts_like_a_reference_nothing_is_told_apart() {
    let (_, red) = differences(&basic(), &[("pin_bias", "1")]);
    // Every anonymous page that is mapped looks pinned, and none can be
    // unmapped. A shmem page can; there the own pin passes for no extra
    // reference, and only the rule that counted it as one drains less.
    let mut expected = cross(ANON, KERNELS);
    expected.extend(cross(&["shmem-local", "shmem-munlock-remote"], &["linux-6.1.176", "linux-6.12.57"]));
    assert_eq!(cells(&red), expected, "{red:#?}");
}

#[test]
fn a_drain_after_every_mapped_page_shows_in_each_migration_from_6_3_on() {
    let (_, red) = differences(&basic(), &[("drain_after_migrate", "mapped")]);
    // An mlocked page is followed by a drain anyway; 6.1.176 has this rule.
    let unlocked = ANON.iter().filter(|name| !["anon-mlock-local", "anon-repin"].contains(name));
    let scenarios: Vec<&str> = unlocked.copied().chain(["shmem-local", "shmem-munlock-remote"]).collect();
    assert_eq!(cells(&red), cross(&scenarios, &KERNELS[1..]), "{red:#?}");
    assert!(red.iter().all(|red| red.counter == "drain_local"), "{red:#?}");
}

/// Scenarios of our own, on two rules that none of the shipped ones decides.
///
/// The batch's size: its last but one entry stays, its last one flushes it.
/// Queueing twice: where a queued page keeps `PG_lru`, two CPUs queue it and
/// two kworkers must drain it; where queueing clears it, the first alone does.
fn own() -> Vec<Scenario> {
    let touch =
        |fill: u32| format!(r#"["cpu 1", "map a 4 anon", "touch a", "fill {fill}", "cpu 0", "pin a"]"#);
    let twice =
        r#"["map a 4 anon", "touch a", "fill 40", "cpu 1", "cold a", "cpu 2", "cold a", "cpu 0", "pin a"]"#;
    let own = [
        ("31-in", touch(26), "linux-6.12.43", 1),
        ("31-out", touch(27), "linux-6.12.43", 0),
        ("31-in", touch(26), "linux-7.2.13", 1),
        ("31-out", touch(27), "linux-7.2.13", 0),
        ("15-in", touch(10), "linux-6.1.176", 1),
        ("15-out", touch(11), "linux-6.1.176", 0),
        // One of them drains what `fill` left on CPU 0, which the other two rules drain directly.
        ("twice", twice.to_owned(), "linux-6.12.43", 2),
        ("twice", twice.to_owned(), "linux-6.12.57", 2),
        ("twice", twice.to_owned(), "linux-7.2.13", 2),
    ];
    let read = |(name, steps, kernel, works)| {
        let text = format!(
            "steps = {steps}\n[expect.\"{kernel}\"]\nresult = \"ok\"\nmigrated = 4\ndrain_work = {works}\n"
        );
        Scenario::parse(name, &text).unwrap()
    };
    own.into_iter().map(read).collect()
}

#[test]
fn our_own_scenarios_count_as_the_rules_say() {
    let (_, red) = differences(&own(), &[]);
    assert!(red.is_empty(), "{red:#?}");
}

#[test]
fn a_batch_of_15_for_31_is_seen() {
    let change = [("batch_size", "15")];
    // No shipped scenario has a batch that holds 15 to 30 pages.
    assert_eq!(cells(&differences(&basic(), &change).1), BTreeSet::new());
    let (_, red) = differences(&own(), &change);
    assert_eq!(cells(&red), cross(&["31-in"], &["linux-6.12.43", "linux-7.2.13"]), "{red:#?}");
    let (_, red) = differences(&own(), &[("batch_size", "30")]);
    let mut expected = cross(&["31-in"], &["linux-6.12.43", "linux-7.2.13"]);
    expected.extend(cross(&["15-out"], &["linux-6.1.176"]));
    assert_eq!(cells(&red), expected, "{red:#?}");
}

#[test]
fn queueing_that_clears_pg_lru_is_seen() {
    let change = [("queueing_clears_lru", "true")];
    // In none of the shipped scenarios do two CPUs queue the same page.
    assert_eq!(cells(&differences(&basic(), &change).1), BTreeSet::new());
    let (_, red) = differences(&own(), &change);
    assert_eq!(cells(&red), cross(&["twice"], &["linux-6.12.57", "linux-7.2.13"]), "{red:#?}");
    // And the other way round: the flag is what 6.12.43 drains by.
    let (_, red) = differences(&own(), &[("queueing_clears_lru", "false")]);
    assert_eq!(cells(&red), cross(&["twice"], &["linux-6.12.43"]), "{red:#?}");
    assert!(red.iter().any(|red| red.counter == "result" && red.values.contains("ENOMEM")), "{red:#?}");
}
