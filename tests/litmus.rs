//! The machine counts like real kernels: every shipped scenario, every kernel.

use gupstress::litmus::{Scenario, litmus_names, show_litmus};
use gupstress::policy::{Source, load_kernel, load_policy};

fn differences(change: &[(&str, &str)]) -> (usize, Vec<String>) {
    let sets: Vec<(String, String)> =
        change.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let mut compared = 0;
    let mut differing = Vec::new();
    for name in litmus_names() {
        let scenario = Scenario::parse(name, show_litmus(name).unwrap()).unwrap();
        for (kernel, expected) in &scenario.expect {
            let rules = load_kernel(Source::Preset(kernel), &sets).unwrap();
            let policy = load_policy(Source::Preset(&rules.policy), &[]).unwrap();
            let outcome = scenario.run(rules, policy).unwrap();
            for (counter, wanted) in expected {
                compared += 1;
                let got = outcome.value(counter);
                if got != *wanted {
                    differing.push(format!("{name} {kernel}: {counter} {got}≠{wanted}"));
                }
            }
        }
    }
    (compared, differing)
}

#[test]
fn every_counter_of_every_scenario_and_kernel_is_equal() {
    let (compared, differing) = differences(&[]);
    assert!(compared >= 20 * 4 * 9, "only {compared} compared");
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}
