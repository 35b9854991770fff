//! The machine counts like real kernels: every scenario of `data/measured`, cell by cell.
#![cfg(not(loom))]

use gupstress_run::litmus::Limits;
use gupstress_run::policy::{Source, load_kernel, load_policy};
use gupstress_run::script::Counted as _;
use std::fmt::Write as _;
use std::path::Path;

mod counted;
use counted::{Counted, Measured, read, scenario};

/// Runs all cells; how many there were, and a line for each that differs.
fn compare(measured: &Measured) -> (usize, Vec<String>) {
    let (mut cells, mut red) = (0, Vec::new());
    for Counted { name, steps, cells: kernels } in &measured.scenarios {
        let scenario = scenario(name, steps).unwrap();
        for (kernel, values) in kernels {
            cells += 1;
            let rules = load_kernel(Source::Preset(kernel), &[]).unwrap();
            let policy = load_policy(Source::Preset(&rules.policy), &[]).unwrap();
            let outcome = scenario.run(rules, policy, Limits::default()).unwrap();
            let mut different = String::new();
            for (counter, wanted) in measured.counters.iter().zip(values) {
                let got = match outcome.value(counter).unwrap() {
                    toml::Value::String(text) => text,
                    other => other.to_string(),
                };
                if got != *wanted && wanted != "-" {
                    write!(different, " {counter} {got}≠{wanted}").unwrap();
                }
            }
            if !different.is_empty() {
                red.push(format!("{kernel} {name}:{different} [{steps}]"));
            }
        }
    }
    red.sort();
    (cells, red)
}

fn every_cell_is_equal(file: &str, cells: usize) {
    let (compared, red) = compare(&read(file));
    assert_eq!(compared, cells, "cells of {file}");
    assert!(red.is_empty(), "{} of {compared} cells differ:\n{}", red.len(), red.join("\n"));
}

#[test]
fn random_order_0_scenarios_count_as_on_ten_kernels() {
    every_cell_is_equal("order0-random.json", 1640);
}

#[test]
fn order_0_scenarios_count_as_on_later_kernels() {
    every_cell_is_equal("order0-later.json", 3 * 7);
}

#[test]
fn targeted_order_0_scenarios_count_as_on_eight_kernels() {
    every_cell_is_equal("order0-targeted.json", 7 * 32 + 51);
}

/// Cells of the grid that the machine counts otherwise, each with why.
const NOT_MODELLED: [(&str, &[&str]); 3] = [
    ("after a fork the process's own pages are copied, and drain this CPU", &["r1-26", "r2-136"]),
    ("to 6.10 a huge page of shared memory may reach beyond its file", &["r3-37", "r3-48", "r3-53", "r3-62"]),
    ("takes more memory than a session has", &["anon-o9-pin-dontneed-pin"]),
];

#[test]
fn a_grid_of_folios_and_random_scripts_count_as_on_three_kernels() {
    let mut grid = read("folios-grid.json");
    for scenario in &mut grid.scenarios {
        // What a guest plays as `settle` drains the CPU that it is on too (docs/live.md).
        scenario.steps = scenario.steps.replace("settle", "drain");
    }
    let (compared, red) = compare(&grid);
    let mut unknown: Vec<_> =
        red.iter().filter(|line| !NOT_MODELLED.iter().any(|(_, names)| is_of(line, names))).collect();
    unknown.sort();
    assert!(unknown.is_empty(), "{unknown:#?}");
    for (why, names) in NOT_MODELLED {
        for name in names {
            assert!(red.iter().any(|line| is_of(line, &[name])), "{name} is equal now: {why}");
        }
    }
    assert_eq!((compared, red.len()), (2409, 10));
}

/// Whether a line of [`compare`] is about one of these scenarios.
fn is_of(line: &str, names: &[&str]) -> bool {
    let name = line.split(' ').nth(1).unwrap().trim_end_matches(':');
    names.contains(&name)
}

/// The counters of `data/litmus/measured` that differ, under the rules of each kernel or with
/// one of them changed; and how many were compared.
fn compare_guests(sets: &[(&str, &str)]) -> (usize, Vec<String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/litmus/measured");
    let (mut compared, mut red) = (0, Vec::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file = (path.display().to_string(), std::fs::read_to_string(&path).unwrap());
        for scenario in gupstress_run::fit::request::read(&[file]).unwrap() {
            for (kernel, expect) in &scenario.expect {
                let sets: Vec<(String, String)> =
                    sets.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
                let rules = load_kernel(Source::Preset(kernel), &sets).unwrap();
                let policy = load_policy(Source::Preset(&rules.policy), &[]).unwrap();
                let outcome = scenario.run(rules, policy, Limits::default()).unwrap();
                compared += expect.len();
                let differing =
                    expect.iter().filter(|(key, value)| outcome.value(key).as_ref() != Some(*value));
                red.extend(
                    differing.map(|(key, value)| format!("{kernel} {} {key}: {value}", scenario.name)),
                );
            }
        }
    }
    (compared, red)
}

#[test]
fn what_guests_counted_is_what_their_kernels_rules_say() {
    let (compared, red) = compare_guests(&[]);
    assert!(compared > 1500, "{compared}");
    assert!(red.is_empty(), "{red:#?}");
    // What tells 7.0.13 from 6.17: one more drain of this CPU's batches in each drain of all.
    let (_, red) = compare_guests(&[("drain_all_local_first", "false")]);
    assert!(red.len() > 50 && red.iter().all(|cell| cell.contains("mlock_drain")), "{red:?}");
}
