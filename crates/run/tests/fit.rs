//! A kernel's counts lead back to its rules and policy.
#![cfg(not(loom))]

use gupstress_run::fit::{Candidate, Cell, Change, Fit, fit, request};
use gupstress_run::litmus::{Limits, Scenario, litmus_names, show_litmus};
use gupstress_run::policy::{Source, load_kernel};
use gupstress_run::script::Counted as _;
use std::path::Path;
use toml::Value;

mod counted;

const MEASURED: [&str; 4] = ["linux-6.1.176", "linux-6.12.43", "linux-6.12.57", "linux-7.2.13"];

/// What a kernel counted in the scenarios of single pages in `data/measured`, and what of one a guest
/// counted.
fn more_cells(kernel: &str) -> Vec<Cell> {
    let mut cells = guest_cells(kernel);
    for file in ["order0-later.json", "order0-random.json", "order0-targeted.json"] {
        let measured = counted::read(file);
        for one in &measured.scenarios {
            let Some((_, values)) = one.cells.iter().find(|(name, _)| name == kernel) else { continue };
            let known = measured.counters.iter().zip(values).filter(|(_, value)| *value != "-");
            let value = |text: &str| text.parse::<i64>().map_or_else(|_| Value::from(text), Value::from);
            let expect = known.map(|(name, text)| (name.clone(), value(text))).collect();
            cells.push(Cell { scenario: counted::scenario(&one.name, &one.steps).unwrap(), expect });
        }
    }
    cells
}

fn guest_cells(kernel: &str) -> Vec<Cell> {
    let place = format!("../../data/litmus/measured/{kernel}.toml");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&place);
    let Ok(text) = std::fs::read_to_string(path) else { return Vec::new() };
    let scenarios = request::read(&[(place, text)]).unwrap().into_iter();
    scenarios.map(|scenario| Cell { expect: scenario.expect[kernel].clone(), scenario }).collect()
}

/// What a kernel counted in the shipped scenarios.
fn cells(kernel: &str) -> Vec<Cell> {
    let shipped = litmus_names().into_iter().map(|name| Scenario::parse(name, show_litmus(name).unwrap()));
    let cells = shipped.filter_map(|scenario| {
        let scenario = scenario.unwrap();
        // Those with threads have no counts.
        Some(Cell { expect: scenario.expect.get(kernel)?.clone(), scenario })
    });
    cells.collect()
}

fn found(fit: &Fit) -> Vec<String> {
    let one = fit.explanations.iter();
    one.map(|one| {
        format!("{} {} {:?}", one.same_rules.join("="), one.candidate.policy.name, one.candidate.changes)
    })
    .collect()
}

/// Where others explain the counts too, each key in which they differ is told, and called decided by nobody.
fn assert_told(kernel: &str, fit: &Fit, right: &Candidate) {
    for other in &fit.explanations {
        for (table, axis) in Candidate::keys() {
            if other.candidate.value(table, &axis) == right.value(table, &axis) {
                continue;
            }
            let is = |known: &str, key: &str| (known, key) == (table, axis.as_str());
            assert!(fit.undecided.iter().any(|key| is(key.table, &key.axis)), "{kernel}: {axis}");
            assert!(!fit.decided.iter().any(|key| is(key.table, &key.axis)), "{kernel}: {axis}");
        }
    }
}

#[test]
fn each_measured_kernel_is_found_among_all_named_ones() {
    for kernel in MEASURED {
        let fit = fit(&cells(kernel), &Limits::default());
        let found = found(&fit);
        let rules = load_kernel(Source::Preset(kernel), &[]).unwrap();
        // Those whose policy is their own come first; what counts alike cannot be told apart.
        let own: Vec<_> = fit.explanations.iter().take_while(|one| one.candidate.is_own_policy()).collect();
        let right = own.iter().find(|one| one.same_rules.iter().any(|name| name == kernel));
        let right = right.unwrap_or_else(|| panic!("{kernel}: {found:#?}"));
        assert_eq!(right.candidate.policy.name, rules.policy, "{kernel}: {found:#?}");
        assert_told(kernel, &fit, &right.candidate);
        assert!(fit.decided.iter().any(|key| key.axis == "drain_after_migrate"), "{:#?}", fit.decided);
        assert!(fit.undecided.iter().any(|key| key.axis == "batch_size"), "{:#?}", fit.undecided);
    }
}

/// Series that were measured, each with the release that says most of it.
const SERIES: [&str; 13] = [
    "linux-6.1.176",
    "linux-6.1.192",
    "linux-6.12.43",
    "linux-6.12.57",
    "linux-6.12.117",
    "linux-6.16.3",
    "linux-6.16.12",
    "linux-6.17.13",
    "linux-6.18.15",
    "linux-7.0.13",
    "linux-7.1.13",
    "linux-7.2.13",
    "linux-7.3.4",
];

#[test]
fn every_series_is_found_by_all_that_it_counted_or_told_from_which_it_cannot_be() {
    for kernel in SERIES {
        let mut all = cells(kernel);
        all.extend(more_cells(kernel));
        assert!(all.len() >= 7, "{kernel}: {} cells", all.len());
        let fit = fit(&all, &Limits::default());
        let found = found(&fit);
        let policy = load_kernel(Source::Preset(kernel), &[]).unwrap().policy;
        let right = fit.explanations.iter().find(|one| {
            one.same_rules.iter().any(|name| name == kernel) && one.candidate.policy.name == policy
        });
        let right = right.unwrap_or_else(|| panic!("{kernel}: {found:#?}"));
        assert!(right.candidate.is_own_policy() && right.candidate.changes.is_empty(), "{found:#?}");
        assert_told(kernel, &fit, &right.candidate);
    }
}

#[test]
fn a_changed_count_is_explained_by_nothing() {
    let mut cells = cells("linux-7.2.13");
    let at = cells.iter().position(|cell| cell.scenario.name == "anon-remote").unwrap();
    let acquired = cells[at].expect["acquired"].as_integer().unwrap();
    cells[at].expect.insert("acquired".to_owned(), Value::from(acquired + 1));
    let fit = fit(&cells, &Limits::default());
    assert!(fit.explanations.is_empty(), "{:#?}", found(&fit));
    let (nearest, missed) = fit.nearest.unwrap();
    assert!(nearest.is_own_policy() && nearest.policy.name == "linux-7.2", "{nearest:?}");
    let [missed] = missed.as_slice() else { panic!("{missed:#?}") };
    assert_eq!((missed.cell.as_str(), missed.alone), ("anon-remote", false));
    assert_eq!(missed.differences, [format!("acquired {acquired}≠{}", acquired + 1)]);
}

/// What the model counts in the shipped scenarios under a candidate, as if a kernel had.
fn counted_by(candidate: &Candidate) -> Vec<Cell> {
    let mut cells = cells("linux-7.2.13");
    for cell in &mut cells {
        let outcome =
            cell.scenario.run(candidate.rules.clone(), candidate.policy.clone(), Limits::default()).unwrap();
        for (key, value) in &mut cell.expect {
            *value = outcome.value(key).unwrap();
        }
    }
    cells
}

#[test]
fn two_changed_keys_are_found_where_no_named_set_and_no_single_change_explains() {
    let named = Candidate::named();
    let base = named
        .iter()
        .find(|one| one.is_own_policy() && one.same_rules().iter().any(|name| name == "linux-6.12.43"))
        .unwrap();
    let change = |one: &Candidate, axis: &str, value: Value| {
        one.with(&Change { table: "kernel", axis: axis.to_owned(), value }).unwrap()
    };
    let once = change(base, "drain_after_migrate", Value::from("mapped"));
    let twice = change(&once, "entry", Value::from("slow"));
    let fit = fit(&counted_by(&twice), &Limits::default());
    let found = found(&fit);
    assert!(!fit.explanations.is_empty(), "nothing explains it");
    let keys = |one: &Candidate| ["drain_after_migrate", "entry"].map(|axis| one.value("kernel", axis));
    let right = fit.explanations.iter().find(|one| keys(&one.candidate) == keys(&twice));
    let right = right.unwrap_or_else(|| panic!("{found:#?}"));
    assert_eq!(right.candidate.changes.len(), 2, "{found:#?}");
}
