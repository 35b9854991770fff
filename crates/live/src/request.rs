//! What a front end asks for, as JSON, and the lines that it gets.
//!
//! The same request is answered here and in a virtual machine: a JSON object a line, and a
//! closing line with the number of those before it. Without it the answer is not whole.

use crate::litmus::{Bench, cpus, is_by_vfio};
use crate::load::{self, End, Load};
use crate::mapped::refusals;
use crate::places::Places;
use crate::{facts, result};
use gupstress_run::error::{Error, Problem, Result};
use gupstress_run::litmus::Scenario;
use gupstress_run::plan::Plan;
use gupstress_run::stress::Job;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

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
    /// A load, so often.
    Run {
        /// What the model would be asked for: [`Plan::read`] reads it.
        plan: String,
        /// Times that it is run, each with the next seed.
        repeats: u64,
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

    /// Whether it pins by VFIO, which takes a device.
    ///
    /// # Errors
    /// A scenario that is none.
    pub fn needs_device(&self) -> Result<bool> {
        let Self::Litmus { scenarios, .. } = self else { return Ok(false) };
        Ok(read(scenarios)?.iter().any(|scenario| scenario.program.all().any(|step| is_by_vfio(&step.op))))
    }

    /// CPUs that it needs.
    ///
    /// # Errors
    /// A scenario that is none.
    pub fn cpus(&self) -> Result<usize> {
        match self {
            Self::Check {} => Ok(1),
            Self::Litmus { scenarios, .. } => Ok(read(scenarios)?.iter().map(cpus).max().unwrap_or(1)),
            Self::Run { plan, .. } => {
                let plan = Plan::read(plan)?;
                let job = plan.job(0, 1);
                let refused = refusals(&job.profile, |key| plan.is_set(key));
                if refused.is_empty() { Ok(job.profile.cpus as usize) } else { Err(Error::Config(refused)) }
            }
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
    // What is wrong with it is wrong everywhere, so it is said before what is missing here.
    let needed = request.cpus()?;
    let facts = facts::facts(&facts::Host::this());
    if let Request::Check {} = request {
        tell(json!({"facts": facts, "host": facts::host()}));
        return Ok(());
    }
    tell(json!({"host": facts::host()}));
    if let Some(missing) = facts::missing(&facts) {
        tell(json!({"unavailable": missing}));
        return Ok(());
    }
    let bench = Bench::new().map_err(|error| Error::Resource(error.to_string()))?;
    match request {
        Request::Check {} => {}
        Request::Litmus { scenarios, repeats } => {
            for scenario in &read(&scenarios)? {
                if !tell(json!({"cell": bench.play(scenario, repeats)})) {
                    break;
                }
            }
        }
        Request::Run { plan, repeats } => {
            if needed > bench.cpus() {
                let near = bench.cpus();
                return Err(Error::config("--cpus", format!("{needed}: there are {near}; nearest: {near}")));
            }
            let plan = Plan::read(&plan)?;
            for repeat in 1..=repeats {
                if !run(&bench, &plan.job(0, repeat), repeat, tell)? {
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Runs a load once; false if that is the end.
fn run(bench: &Bench, job: &Job, repeat: u64, tell: &mut dyn FnMut(Value) -> bool) -> Result<bool> {
    let lost = |error: std::io::Error| Error::Resource(error.to_string());
    let alone = alone(bench, job).map_err(lost)?;
    let places = Places::read().map_err(lost)?;
    let load = Arc::new(Load::new(job, places, bench.cpus()).map_err(lost)?);
    let (end, took, counted) = load::counted(&load, job, bench.counters(), &mut |elapsed_s, calls, pages| {
        tell(json!({"progress": {"elapsed_s": elapsed_s, "calls": calls, "pinned": pages}}))
    })
    .map_err(lost)?;
    if let Some(trouble) = result::trouble(&load) {
        return Err(Error::Resource(trouble));
    }
    let host = facts::host();
    let kernel = host["kernel"].as_str().unwrap_or_default();
    let mut row = result::row(&load, job, kernel, end, took, &counted);
    row["repeat"] = repeat.into();
    row["uncontended_ns"] = alone.into();
    // After a call that does not end nothing that follows would say anything.
    Ok(tell(json!({"row": row})) && end != End::Stuck)
}

/// The median call of a load's calls where nobody is in their way, in nanoseconds; none: none ended.
fn alone(bench: &Bench, job: &Job) -> std::io::Result<Option<u64>> {
    let job = job.uncontended();
    let load = Arc::new(Load::new(&job, Places::read()?, bench.cpus())?);
    load.run(&job, &mut |_, _, _| true);
    Ok(result::median_ns(&load))
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
    fn a_device_is_needed_where_a_scenario_pins_by_vfio() {
        for (pin, needed) in [("pin a", false), ("vfpinro a 0 1", true), ("pin a by vfio", true)] {
            let steps = format!("name = \"x\"\nsteps = [\"map a 1 anon\", \"{pin}\"]");
            let request = Request::Litmus { scenarios: vec![("x".to_owned(), steps)], repeats: 1 };
            assert_eq!(request.needs_device().unwrap(), needed, "{pin}");
        }
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
