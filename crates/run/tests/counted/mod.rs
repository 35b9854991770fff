//! What real kernels counted, as `data/measured` has it.

use gupstress_run::litmus::Scenario;
use serde_json::Value;
use std::path::Path;

/// What was counted, as one file in `data/measured` has it.
pub struct Measured {
    /// Names of what was counted.
    pub counters: Vec<String>,
    /// What it was counted in.
    pub scenarios: Vec<Counted>,
}

/// A scenario, and what kernels counted.
pub struct Counted {
    /// Its name.
    pub name: String,
    /// Its steps, separated by semicolons.
    pub steps: String,
    /// Kernel, and the values of `counters` there: `-` where one could not be had.
    pub cells: Vec<(String, Vec<String>)>,
}

/// Reads a file of `data/measured`.
pub fn read(name: &str) -> Measured {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/measured").join(name);
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let scenarios = file["scenarios"].as_object().unwrap().iter().map(|(name, scenario)| {
        let mut cells = Vec::new();
        for (values, kernels) in scenario["counted"].as_object().unwrap() {
            let values: Vec<String> = values.split(' ').map(str::to_owned).collect();
            let kernels = kernels.as_str().unwrap().split(' ');
            cells.extend(kernels.map(|kernel| (format!("linux-{kernel}"), values.clone())));
        }
        Counted { name: name.clone(), steps: scenario["steps"].as_str().unwrap().to_owned(), cells }
    });
    let counters = file["counters"].as_array().unwrap().iter();
    Measured {
        counters: counters.map(|name| name.as_str().unwrap().to_owned()).collect(),
        scenarios: scenarios.collect(),
    }
}

/// Steps as a scenario.
pub fn scenario(name: &str, steps: &str) -> gupstress_run::error::Result<Scenario> {
    let words: Vec<&str> = steps.split("; ").collect();
    Scenario::parse(name, &format!("steps = {words:?}\n"))
}
