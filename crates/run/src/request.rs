//! What a front end asks for, as JSON.

use crate::config::{Table, nearest};
use crate::error::{Error, Problem, Result};
use crate::judge::verdict::{Repeat, Verdict, cell};
use crate::litmus::{Limits, Scenario};
use crate::policy::{DEFAULT_KERNEL, Policy, Rules, Source, load_kernel, load_policy};
use crate::script::{Counted as _, OpError, Stmt};
use crate::stress::{Profile, Which};
use serde::Deserialize;
use serde_json::{Value, json};

/// A preset by name, or a file's text.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Ref {
    /// `{"name": …}`
    Name {
        /// The preset.
        name: String,
    },
    /// `{"path": …, "text": …}`
    File {
        /// For messages.
        path: String,
        /// TOML.
        text: String,
    },
}

/// Reads a reference.
pub fn reference(text: &str) -> Result<Ref> {
    read(text)
}

impl Ref {
    /// Whether it stands for the rule set's own policy.
    pub fn is_kernel(&self) -> bool {
        matches!(self, Self::Name { name } if name == "kernel")
    }

    /// Where to read it from.
    pub fn source(&self) -> Source<'_> {
        match self {
            Self::Name { name } => Source::Preset(name),
            Self::File { path, text } => Source::File(path, text),
        }
    }
}

/// What is said of a kind of preset that there is none of.
pub fn no_kind(kind: &str) -> Error {
    let near = nearest(kind, ["policy", "profile", "kernel", "litmus"]).unwrap_or_default();
    Error::config("", format!("no kind {kind:?}; nearest: {near}"))
}

pub(crate) fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::Internal(format!("malformed request: {error}")))
}

/// `--set` words by the table whose key they name.
#[derive(Debug, Default)]
pub(crate) struct Sets {
    pub policy: Vec<(String, String)>,
    pub profile: Vec<(String, String)>,
    pub kernel: Vec<(String, String)>,
}

/// A table with those of its keys that `--set` may change.
pub(crate) type Axes = (&'static str, Vec<String>);

fn axes<T: Table>(table: &'static str) -> Axes {
    let mut keys = Vec::new();
    T::keys("", &mut keys);
    let keys = keys.into_iter().map(|key| key.path);
    // What a table is called is not for `--set` to change.
    (table, keys.filter(|key| !matches!(key.as_str(), "name" | "summary")).collect())
}

pub(crate) fn run_axes() -> [Axes; 3] {
    [axes::<Policy>("policy"), axes::<Profile>("profile"), axes::<Rules>("kernel")]
}

/// A scenario has steps where a run has a profile.
pub(crate) fn litmus_axes() -> [Axes; 2] {
    [axes::<Policy>("policy"), axes::<Rules>("kernel")]
}

/// Sorts `--set` words; a `policy.`, `profile.` or `kernel.` before a key says which table it means.
pub(crate) fn sort_sets(sets: &[(String, String)], tables: &[Axes], problems: &mut Vec<Problem>) -> Sets {
    let mut sorted = Sets::default();
    for (path, value) in sets {
        let place = tables.iter().find_map(|(table, keys)| {
            let named = path.strip_prefix(table).and_then(|rest| rest.strip_prefix('.'));
            let path = named.unwrap_or(path);
            keys.iter().any(|key| key == path).then(|| (*table, path.to_owned()))
        });
        match place {
            Some(("policy", path)) => sorted.policy.push((path, value.clone())),
            Some(("profile", path)) => sorted.profile.push((path, value.clone())),
            Some((_, path)) => sorted.kernel.push((path, value.clone())),
            None => {
                let all = tables.iter().flat_map(|(_, keys)| keys).map(String::as_str);
                let near = nearest(path, all).unwrap_or_default();
                let elsewhere = run_axes().iter().any(|(_, keys)| keys.contains(path));
                let reason = if elsewhere {
                    format!("axis {path:?} has no effect on a scenario")
                } else {
                    format!("no axis {path:?}")
                };
                problems.push(Problem::new("--set", format!("{reason}; nearest: {near}")));
            }
        }
    }
    sorted
}

pub(crate) fn keep<T>(result: Result<T>, problems: &mut Vec<Problem>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            for problem in error.problems() {
                // One bad `--set` would be reported once for each table it reaches.
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
            }
            None
        }
    }
}

/// A policy; the name `kernel` stands for the rule set's own.
pub(crate) fn policy(reference: &Ref, rules: &Rules, sets: &[(String, String)]) -> Result<Policy> {
    let own = Source::Preset(&rules.policy);
    load_policy(if reference.is_kernel() { own } else { reference.source() }, sets)
}

pub(crate) fn driver(name: &str) -> Result<Which> {
    match name {
        "os" => Ok(Which::Os),
        "sim" => Ok(Which::Sim),
        _ => {
            let near = nearest(name, ["os", "sim"]).unwrap_or_default();
            Err(Error::config("--driver", format!("no driver {name:?}; nearest: {near}")))
        }
    }
}

/// A kernel and its own policy, with `--set` words for them.
pub(crate) fn litmus_rules(kernel: &str, sets: &[(String, String)]) -> Result<(Rules, Policy)> {
    let mut problems = Vec::new();
    let sets = sort_sets(sets, &litmus_axes(), &mut problems);
    let rules = keep(load_kernel(Source::Preset(kernel), &sets.kernel), &mut problems);
    let own = rules.as_ref().map_or("none", |rules| &rules.policy);
    let policy = keep(load_policy(Source::Preset(own), &sets.policy), &mut problems);
    match (rules, policy) {
        (Some(rules), Some(policy)) if problems.is_empty() => Ok((rules, policy)),
        _ => Err(Error::Config(problems)),
    }
}

/// A kernel and a policy for a machine driven by hand.
pub fn machine(kernel: &Ref, retry: &Ref) -> Result<(Rules, Policy)> {
    let mut problems = Vec::new();
    let rules = keep(load_kernel(kernel.source(), &[]), &mut problems);
    // Without a kernel any will do to find what is wrong with the policy.
    let any = load_kernel(Source::Preset(DEFAULT_KERNEL), &[])?;
    let policy = keep(policy(retry, rules.as_ref().unwrap_or(&any), &[]), &mut problems);
    match (rules, policy) {
        (Some(rules), Some(policy)) => Ok((rules, policy)),
        _ => Err(Error::Config(problems)),
    }
}

/// Checks `--set` words for scenarios under a kernel.
pub fn check_litmus(kernel: &str, sets: &[(String, String)]) -> Result<()> {
    litmus_rules(kernel, sets).map(|_| ())
}

/// Runs a scenario under a kernel with its own policy; `place` is where it comes from.
///
/// One that `limits` end is no error: it is `unfinished`, and nothing was counted.
pub fn litmus(
    place: &str,
    scenario: &Scenario,
    kernel: &str,
    sets: &[(String, String)],
    limits: Limits,
) -> Result<String> {
    let (rules, policy) = litmus_rules(kernel, sets)?;
    let expect = scenario.expect.get(kernel);
    let outcome = match scenario.run(rules, policy, limits) {
        Ok(outcome) => outcome,
        Err(step) => match &step.error {
            OpError::Stopped(_) => {
                return Ok(json!({ "unfinished": step.to_string(), "expect": expect }).to_string());
            }
            OpError::Bug(message) => {
                return Err(Error::Internal(format!("{place}: step {}: {message}", step.number)));
            }
            OpError::Resource(message) => return Err(Error::Resource(message.clone())),
            _ => return Err(Error::config(place, step.to_string())),
        },
    };
    let mut counters = json!(outcome.counters);
    counters["result"] = json!(outcome.value("result"));
    Ok(json!({ "counters": counters, "class": outcome.class, "expect": expect }).to_string())
}

/// A scenario's name, steps and expectations.
pub fn read_litmus(scenario: &Scenario) -> String {
    let texts = |steps: &[Stmt]| steps.iter().map(|step| step.text.clone()).collect::<Vec<_>>();
    let threads = scenario.program.threads.iter();
    let threads: Vec<Value> = threads
        .map(|thread| json!({ "name": thread.name, "cpu": thread.cpu, "steps": texts(&thread.steps) }))
        .collect();
    json!({
        "name": scenario.name,
        "summary": scenario.summary,
        "cpus": scenario.program.cpus,
        "steps": texts(&scenario.program.steps),
        "threads": threads,
        "after": texts(&scenario.program.after),
        "expect": scenario.expect,
        "kernels": scenario.kernels(),
    })
    .to_string()
}

/// A cell of a matrix, to be judged.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CellRequest {
    repeats: Vec<Repeat>,
    expected: Verdict,
}

/// Judges a cell of a matrix by all its repeats; JSON in and out.
///
/// # Errors
/// [`Error::Internal`] for what is no cell.
pub fn judge_cell(text: &str) -> Result<String> {
    let CellRequest { repeats, expected } = read(text)?;
    Ok(json!(cell(&repeats, expected)).to_string())
}
