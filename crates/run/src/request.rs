//! What a front end asks for, as JSON.

use crate::config::{Table, nearest};
use crate::error::{Error, Problem, Result};
use crate::litmus::{Limits, Scenario};
use crate::observe::Traced;
use crate::policy::{Policy, Rules, Source, load_kernel, load_policy};
use crate::script::{Counted as _, OpError, Stmt};
use crate::stress::{Job, MOST_CPUS, MOST_THREADS, Profile, Which, load_profile};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

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

/// What options override in a profile.
#[derive(Debug, Clone, Deserialize)]
struct Overrides {
    threads: Option<u32>,
    cpus: Option<u32>,
    pins: Option<u64>,
    perturb: Option<f64>,
    trace_last: Option<u32>,
    #[serde(default = "os")]
    driver: String,
    #[serde(default)]
    sets: Vec<(String, String)>,
}

fn os() -> String {
    "os".into()
}

#[derive(Debug, Deserialize)]
struct Resolve {
    policies: Vec<Ref>,
    profiles: Vec<Ref>,
    kernel: Ref,
    #[serde(flatten)]
    overrides: Overrides,
}

#[derive(Debug, Deserialize)]
struct JobRequest {
    policy: Ref,
    profile: Ref,
    kernel: Ref,
    timeout_s: f64,
    wall_timeout_s: f64,
    stall_after_s: f64,
    seed: u64,
    #[serde(flatten)]
    overrides: Overrides,
}

/// What is said of a kind of preset that there is none of.
pub fn no_kind(kind: &str) -> Error {
    let near = nearest(kind, ["policy", "profile", "kernel", "litmus"]).unwrap_or_default();
    Error::config("", format!("no kind {kind:?}; nearest: {near}"))
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::Internal(format!("malformed request: {error}")))
}

/// `--set` words by the table whose key they name.
#[derive(Debug, Default)]
struct Sets {
    policy: Vec<(String, String)>,
    profile: Vec<(String, String)>,
    kernel: Vec<(String, String)>,
}

/// A table with those of its keys that `--set` may change.
type Axes = (&'static str, Vec<String>);

fn axes<T: Table>(table: &'static str) -> Axes {
    let mut keys = Vec::new();
    T::keys("", &mut keys);
    let keys = keys.into_iter().map(|key| key.path);
    // What a table is called is not for `--set` to change.
    (table, keys.filter(|key| !matches!(key.as_str(), "name" | "summary")).collect())
}

fn run_axes() -> [Axes; 3] {
    [axes::<Policy>("policy"), axes::<Profile>("profile"), axes::<Rules>("kernel")]
}

/// A scenario has steps where a run has a profile.
fn litmus_axes() -> [Axes; 2] {
    [axes::<Policy>("policy"), axes::<Rules>("kernel")]
}

/// Sorts `--set` words; a `policy.`, `profile.` or `kernel.` before a key says which table it means.
fn sort_sets(sets: &[(String, String)], tables: &[Axes], problems: &mut Vec<Problem>) -> Sets {
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

fn keep<T>(result: Result<T>, problems: &mut Vec<Problem>) -> Option<T> {
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
fn policy(reference: &Ref, rules: &Rules, sets: &[(String, String)]) -> Result<Policy> {
    let own = Source::Preset(&rules.policy);
    load_policy(if reference.is_kernel() { own } else { reference.source() }, sets)
}

fn profile(reference: &Ref, overrides: &Overrides, sets: &[(String, String)]) -> Result<Profile> {
    let mut profile = load_profile(reference.source(), sets)?;
    let mut problems = Vec::new();
    let mut positive = |option: &str, value: Option<u32>, into: &mut u32, most: u32| match value {
        Some(n) if (1..=most).contains(&n) => *into = n,
        Some(n) => problems.push(Problem::new(
            option,
            format!("{n} is not from 1 to {most}; nearest: {}", n.clamp(1, most)),
        )),
        None => {}
    };
    positive("--threads", overrides.threads, &mut profile.threads, MOST_THREADS);
    positive("--cpus", overrides.cpus, &mut profile.cpus, MOST_CPUS);
    if overrides.pins == Some(0) {
        problems.push(Problem::new("--pins", "0 is not from 1 up; nearest: 1"));
    }
    if let Some(perturb) = overrides.perturb {
        if (0.0..=1.0).contains(&perturb) {
            profile.perturb = crate::config::Share(perturb);
        } else {
            let near = perturb.clamp(0.0, 1.0);
            problems
                .push(Problem::new("--perturb", format!("{perturb} is not from 0 to 1; nearest: {near}")));
        }
    }
    if problems.is_empty() { Ok(profile) } else { Err(Error::Config(problems)) }
}

fn driver(name: &str) -> Result<Which> {
    match name {
        "os" => Ok(Which::Os),
        "sim" => Ok(Which::Sim),
        _ => {
            let near = nearest(name, ["os", "sim"]).unwrap_or_default();
            Err(Error::config("--driver", format!("no driver {name:?}; nearest: {near}")))
        }
    }
}

/// Everything that a run names, resolved, with what each profile takes from the host.
pub fn resolve(text: &str) -> Result<String> {
    let request: Resolve = read(text)?;
    let mut problems = Vec::new();
    let sets = sort_sets(&request.overrides.sets, &run_axes(), &mut problems);
    let kernel = keep(load_kernel(request.kernel.source(), &sets.kernel), &mut problems);
    let driver = keep(driver(&request.overrides.driver), &mut problems);
    let mut policies = Vec::new();
    for reference in &request.policies {
        // Without a kernel there is one problem already; any rule set will do to find more.
        let fallback = load_kernel(Source::Preset("linux-7.2.13"), &[])?;
        let rules = kernel.as_ref().unwrap_or(&fallback);
        policies.extend(keep(policy(reference, rules, &sets.policy), &mut problems));
    }
    if policies.is_empty() {
        // `--set` is worth a word even where no policy could be read.
        keep(load_policy(Source::Preset("none"), &sets.policy), &mut problems);
    }
    let mut profiles = Vec::new();
    for reference in &request.profiles {
        profiles.extend(keep(profile(reference, &request.overrides, &sets.profile), &mut problems));
    }
    if !problems.is_empty() {
        return Err(Error::Config(problems));
    }
    let plan: Vec<Value> = profiles
        .iter()
        .map(|profile| {
            let mut plan = profile.plan();
            let traced = u64::from(request.overrides.trace_last.unwrap_or(0));
            plan.memory_bytes += u64::from(plan.os_threads) * traced * size_of::<Traced>() as u64;
            let mut plan = json!(plan);
            plan["profile"] = json!(profile.name);
            if driver == Some(Which::Sim) {
                plan["os_threads"] = json!(1);
            }
            plan
        })
        .collect();
    Ok(json!({ "policies": policies, "profiles": profiles, "kernel": kernel, "plan": plan }).to_string())
}

/// One run.
pub fn job(text: &str) -> Result<Job> {
    let request: JobRequest = read(text)?;
    let mut problems = Vec::new();
    let sets = sort_sets(&request.overrides.sets, &run_axes(), &mut problems);
    if !problems.is_empty() {
        return Err(Error::Config(problems));
    }
    let seconds = |option: &str, value: f64| {
        Duration::try_from_secs_f64(value)
            .ok()
            .filter(|length| !length.is_zero())
            .ok_or_else(|| Error::config(option, format!("{value} is not a length of time above 0")))
    };
    let rules = load_kernel(request.kernel.source(), &sets.kernel)?;
    let profile = profile(&request.profile, &request.overrides, &sets.profile)?;
    Ok(Job {
        policy: policy(&request.policy, &rules, &sets.policy)?,
        rules,
        driver: driver(&request.overrides.driver)?,
        pins: request.overrides.pins.unwrap_or(u64::from(profile.pins)),
        profile,
        timeout: seconds("--timeout", request.timeout_s)?,
        wall_timeout: seconds("--wall-timeout", request.wall_timeout_s)?,
        stall_after: seconds("--stall-after", request.stall_after_s)?,
        seed: request.seed,
        trace: request.overrides.trace_last,
    })
}

/// A kernel and its own policy, with `--set` words for them.
fn litmus_rules(kernel: &str, sets: &[(String, String)]) -> Result<(Rules, Policy)> {
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
    let any = load_kernel(Source::Preset("linux-7.2.13"), &[])?;
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
    })
    .to_string()
}
