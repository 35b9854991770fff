//! A kernel's counts lead back to its rules and policy.
#![cfg(not(loom))]

use gupstress_run::fit::{Cell, Fit, fit};
use gupstress_run::litmus::{Limits, Scenario, litmus_names, show_litmus};
use gupstress_run::policy::{Source, load_kernel};
use toml::Value;

const MEASURED: [&str; 4] = ["linux-6.1.176", "linux-6.12.43", "linux-6.12.57", "linux-7.2.13"];

/// What a kernel counted in the shipped scenarios.
fn cells(kernel: &str) -> Vec<Cell> {
    let shipped = litmus_names().into_iter().map(|name| Scenario::parse(name, show_litmus(name).unwrap()));
    let cells = shipped.map(|scenario| {
        let scenario = scenario.unwrap();
        Cell { expect: scenario.expect[kernel].clone(), scenario }
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

#[test]
fn each_measured_kernel_is_found_among_all_named_ones() {
    for kernel in MEASURED {
        let fit = fit(&cells(kernel), &Limits::default());
        let found = found(&fit);
        let rules = load_kernel(Source::Preset(kernel), &[]).unwrap();
        let first = &fit.explanations[0];
        assert!(first.same_rules.iter().any(|name| name == kernel), "{kernel}: {found:#?}");
        assert_eq!(first.candidate.policy.name, rules.policy, "{kernel}: {found:#?}");
        assert!(!fit.decided.is_empty() && !fit.undecided.is_empty());
        println!("{kernel}: {found:#?} {:#?} {:#?} tried {}", fit.decided, fit.undecided, fit.tried);
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
    assert!(nearest.same_rules().iter().any(|name| name == "linux-7.2.13"), "{nearest:?}");
    let [missed] = missed.as_slice() else { panic!("{missed:#?}") };
    assert_eq!((missed.cell.as_str(), missed.alone), ("anon-remote", false));
    assert_eq!(missed.differences, [format!("acquired {acquired}≠{}", acquired + 1)]);
}
