//! Which rule set and policy explain what a kernel counted.
//!
//! A [`Cell`] is one scenario with its counts. Rules and policies are data, so the ones
//! under which the model counts the same in every cell can be searched for: the named ones
//! first ([`search`](fit)), then named ones with one key changed, then with two. Around what
//! explains all, each key is tried by itself: it is *decided* if some cell turns red, and
//! otherwise the cells cannot tell its values apart.

mod candidate;
pub mod request;
mod search;

pub use candidate::{Candidate, Change};
pub use search::{Decided, Explanation, Fit, Nearest, Undecided, fit};

use crate::litmus::{Expectation, Limits, Scenario, Session};
use crate::script::Counted as _;
use toml::Value;

/// One scenario, and what the kernel counted for its last pin.
#[derive(Debug, Clone)]
pub struct Cell {
    /// The scenario.
    pub scenario: Scenario,
    /// By counter.
    pub expect: Expectation,
}

/// Sweeps beyond its policy's own after which a pin counts as one that never ends.
const ENDLESS: u64 = 64;

impl Cell {
    /// The counters that differ under a candidate, as `found≠counted`; none: it explains the cell.
    pub fn differences(&self, candidate: &Candidate, limits: &Limits) -> Vec<String> {
        let program = &self.scenario.program;
        let (rules, policy) = (candidate.rules.clone(), candidate.policy.clone());
        let mut session = Session::new(rules, policy, &self.scenario.layout(), program.cpus);
        session.stage.limits = limits.clone();
        session.stage.sweep_limit = ENDLESS;
        let outcome = match program.play(&mut session) {
            Ok(Some(outcome)) => outcome,
            Ok(None) => return vec!["no pin".to_owned()],
            Err(step) => return vec![step.to_string()],
        };
        let found = |key: &str| outcome.value(key).unwrap_or_else(|| Value::from("-"));
        let differing = self.expect.iter().filter(|(key, counted)| found(key) != **counted);
        differing.map(|(key, counted)| format!("{key} {}≠{}", plain(&found(key)), plain(counted))).collect()
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
