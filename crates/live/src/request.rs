//! What a front end asks for, as JSON, and the lines that it gets.
//!
//! The same request is answered here and in a virtual machine: a JSON object a line, and a
//! closing line with the number of those before it. Without it the answer is not whole.

use crate::facts;
use crate::litmus::{Bench, cpus};
use gupstress_run::error::{Error, Problem, Result};
use gupstress_run::litmus::Scenario;
use serde::Deserialize;
use serde_json::{Value, json};

/// What can be asked for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// What this kernel offers.
    Check {},
    /// Scenarios, each so often.
    Litmus {
        /// Where each is from, and its TOML.
        scenarios: Vec<(String, String)>,
        /// Times that each is played and counted.
        repeats: usize,
    },
}

impl Request {
    /// Reads one.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| Error::config("request", error.to_string()))
    }

    /// CPUs that it needs.
    ///
    /// # Errors
    /// A scenario that is none.
    pub fn cpus(&self) -> Result<usize> {
        match self {
            Self::Check {} => Ok(1),
            Self::Litmus { scenarios, .. } => Ok(read(scenarios)?.iter().map(cpus).max().unwrap_or(1)),
        }
    }
}

fn read(scenarios: &[(String, String)]) -> Result<Vec<Scenario>> {
    scenarios.iter().map(|(place, text)| Scenario::parse(place, text)).collect()
}

/// Answers a request; `tell` takes the lines, and says false when nobody wants more.
pub fn answer(request: &str, tell: &mut dyn FnMut(&Value) -> bool) {
    let mut lines = 0;
    let mut told = |line: Value| {
        lines += 1;
        tell(&line)
    };
    if let Err(error) = respond(request, &mut told) {
        told(json!({"error": said(error)}));
    }
    tell(&json!({"end": lines}));
}

fn said(error: Error) -> String {
    error.problems().iter().map(Problem::to_string).collect::<Vec<_>>().join("; ")
}

fn respond(request: &str, tell: &mut dyn FnMut(Value) -> bool) -> Result<()> {
    let request = Request::parse(request)?;
    let facts = facts::facts(&facts::Host::this());
    let Request::Litmus { scenarios, repeats } = request else {
        tell(json!({"facts": facts, "host": facts::host()}));
        return Ok(());
    };
    let scenarios = read(&scenarios)?;
    tell(json!({"host": facts::host()}));
    if let Some(missing) = facts::missing(&facts) {
        tell(json!({"unavailable": missing}));
        return Ok(());
    }
    let bench = Bench::new().map_err(|error| Error::Resource(error.to_string()))?;
    for scenario in &scenarios {
        if !tell(json!({"cell": bench.play(scenario, repeats)})) {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(request: &str) -> Vec<Value> {
        let mut lines = Vec::new();
        answer(request, &mut |line| {
            lines.push(line.clone());
            true
        });
        lines
    }

    #[test]
    fn a_closing_line_counts_those_before_it() {
        let told = lines(r#"{"check": {}}"#);
        assert_eq!(told.last(), Some(&json!({"end": 1})));
        assert!(told[0]["facts"].as_array().is_some_and(|facts| facts.len() > 8));
    }

    #[test]
    fn what_is_no_request_is_one_error() {
        for text in ["", "{\"sing\": {}}", r#"{"litmus": {"scenarios": [["x", "steps = 3"]], "repeats": 1}}"#]
        {
            let told = lines(text);
            assert_eq!(told.len(), 2, "{told:?}");
            assert!(told[0]["error"].is_string());
        }
    }
}
