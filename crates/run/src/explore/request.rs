//! A search as a front end asks for it, and what it came to, as JSON: `gupstress.explore/1`.

use super::board::Part;
use super::hunt::{Finding, Hunt, Hunted, Progress, Search, Stopped};
use super::load::Size;
use super::pct::Pct;
use super::settings::{Settings, What, check_size};
use super::shrink::{Shrunk, shrink};
use super::story::Story;
use super::subject::Kind;
use super::{FINGERPRINT, File};
use crate::config::{Document, nearest};
use crate::drive::Step;
use crate::error::{Error, Problem, Result};
use crate::litmus::{Scenario, Wanted, show_litmus};
use crate::policy::load_kernel;
use crate::request::{Ref, keep, litmus_axes, litmus_rules, policy, read, run_axes, sort_sets};
use crate::script::Fact;
use crate::stress::{Profile, load_profile};
use serde::Deserialize;
use serde_json::{Value, json};
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;

/// What is asked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    profile: Ref,
    policy: Ref,
    kernel: Ref,
    sets: Vec<(String, String)>,
    /// Of a profile; none: 2, 1 and 1.
    threads: Option<u32>,
    pages: Option<u32>,
    calls: Option<u32>,
    strategy: String,
    preemptions: u32,
    depth: u32,
    yield_every: u32,
    schedules: Option<u64>,
    timeout_s: f64,
    /// None: all that is wrong but a needless failure, and conditions that are met.
    find: Option<Vec<String>>,
    keep_going: bool,
    seed: u64,
    workers: usize,
    shrink_s: f64,
}

/// Deepest finding that priorities are changed for, and most preemptions of a bounded search.
const MOST_DEPTH: u32 = 32;

/// Most sweeps of a task for one yield: ten times what any shipped policy gives up after.
const MOST_SWEEPS: u32 = 1000;

/// Schedules of a random search that is given no number.
const SCHEDULES: u64 = 20_000;

fn limited(key: &str, value: u32, range: RangeInclusive<u32>) -> Result<u32> {
    if range.contains(&value) {
        return Ok(value);
    }
    let (&least, &most) = (range.start(), range.end());
    let near = value.clamp(least, most);
    Err(Error::config(key, format!("{value} is not from {least} to {most}; nearest: {near}")))
}

impl Asked {
    fn search(&self) -> Result<Search> {
        match self.strategy.as_str() {
            "random" => Ok(Search::Random),
            "pct" => Ok(Search::Pct { depth: limited("--depth", self.depth, 1..=MOST_DEPTH)? }),
            "bounded" => {
                let preemptions = limited("--preemptions", self.preemptions, 0..=MOST_DEPTH)?;
                Ok(Search::Bounded { preemptions })
            }
            word => {
                let near = nearest(word, ["random", "pct", "bounded"]).unwrap_or_default();
                Err(Error::config("--strategy", format!("no strategy {word:?}; nearest: {near}")))
            }
        }
    }

    fn kinds(&self) -> Result<Vec<Kind>> {
        let known = [Kind::Unsafe, Kind::Stuck, Kind::Spurious, Kind::Broken, Kind::Outcome];
        let Some(find) = &self.find else {
            return Ok(vec![Kind::Unsafe, Kind::Stuck, Kind::Broken, Kind::Outcome]);
        };
        let kind = |word: &String| {
            known.into_iter().find(|kind| kind.name() == word).ok_or_else(|| {
                let near = nearest(word, known.map(Kind::name)).unwrap_or_default();
                Error::config("--find", format!("no kind of finding {word:?}; nearest: {near}"))
            })
        };
        find.iter().map(kind).collect()
    }

    /// The scenario, if it is one: a file with threads, or a shipped one.
    fn scenario(&self) -> Option<Result<Scenario>> {
        let (place, text) = match &self.profile {
            Ref::File { path, text } if is_scenario(path, text) => (path.as_str(), text.as_str()),
            Ref::Name { name } => (name.as_str(), show_litmus(name).ok()?),
            Ref::File { .. } => return None,
        };
        Some(Scenario::parse(place, text).and_then(|scenario| {
            let near = "nearest: [threads.A] steps = [\"pin a\"]";
            let found = scenario.program.is_concurrent().then_some(scenario);
            found.ok_or_else(|| Error::config(place, format!("no threads to explore; {near}")))
        }))
    }

    fn load(&self, sets: &[(String, String)]) -> Result<Load> {
        let sizes = [("--threads", self.threads), ("--pages", self.pages), ("--calls", self.calls)];
        let Some(scenario) = self.scenario() else {
            let [threads, pages, calls] =
                [(0, 2), (1, 1), (2, 1)].map(|(at, least)| sizes[at].1.unwrap_or(least));
            let size = Size { threads, pages, calls };
            let mut problems = Vec::new();
            let profile = keep(load_profile(self.profile.source(), sets), &mut problems);
            keep(check_size("", size), &mut problems);
            let found = profile.filter(|_| problems.is_empty());
            return found
                .map(|profile| Load::Profile(Box::new(profile), size))
                .ok_or(Error::Config(problems));
        };
        let given = sizes.iter().filter(|(_, value)| value.is_some());
        let mut problems: Vec<Problem> = given
            .map(|(option, _)| Problem::new(*option, "has no effect on a scenario; nearest: a profile"))
            .collect();
        let scenario = keep(scenario, &mut problems);
        let found = scenario.filter(|_| problems.is_empty());
        found.map(|scenario| Load::Scenario(Arc::new(scenario))).ok_or(Error::Config(problems))
    }

    fn hunt(&self) -> Result<Hunt> {
        let mut problems: Vec<Problem> = Vec::new();
        let scripted = self.scenario().is_some();
        let axes = if scripted { litmus_axes().to_vec() } else { run_axes().to_vec() };
        let sets = sort_sets(&self.sets, &axes, &mut problems);
        let rules = keep(load_kernel(self.kernel.source(), &sets.kernel), &mut problems);
        let load = keep(self.load(&sets.profile), &mut problems);
        let policy =
            rules.as_ref().and_then(|rules| keep(policy(&self.policy, rules, &sets.policy), &mut problems));
        let search = keep(self.search(), &mut problems);
        let yield_every = keep(limited("--yield-every", self.yield_every, 1..=MOST_SWEEPS), &mut problems);
        let find = keep(self.kinds(), &mut problems);
        let timeout = Duration::try_from_secs_f64(self.timeout_s).unwrap_or(Duration::MAX);
        if let (Some(Load::Profile(profile, _)), Some(rules)) = (&load, &rules)
            && let Err(reason) = profile.check_on(rules)
        {
            problems.push(Problem::new(profile.name.clone(), reason));
        }
        match (policy, rules, load, search.zip(yield_every), find) {
            (Some(policy), Some(rules), Some(load), Some((search, yield_every)), Some(find))
                if problems.is_empty() =>
            {
                let bounded = matches!(search, Search::Bounded { .. });
                Ok(Hunt {
                    settings: match load {
                        Load::Profile(profile, size) => Settings::of_profile(policy, rules, &profile, size),
                        Load::Scenario(scenario) => {
                            Settings { policy, rules, load: What::Scenario(scenario) }
                        }
                    },
                    search,
                    yield_every,
                    schedules: self.schedules.or((!bounded).then_some(SCHEDULES)),
                    timeout,
                    find,
                    keep_going: self.keep_going,
                    seed: self.seed,
                    workers: self.workers,
                })
            }
            _ => Err(Error::Config(problems)),
        }
    }
}

/// What is explored.
enum Load {
    Profile(Box<Profile>, Size),
    Scenario(Arc<Scenario>),
}

/// Whether a file is meant to be a scenario: a profile has no steps.
fn is_scenario(path: &str, text: &str) -> bool {
    let scripted = |key: &str| key == "steps" || key.starts_with("threads.");
    Document::parse(path, text).is_ok_and(|document| document.keys.iter().any(|(key, ..)| scripted(key)))
}

/// How far the orders of a scenario's steps are searched.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Most preemptions.
    pub preemptions: u32,
    /// Threads that search.
    pub workers: usize,
    /// Longest search.
    pub timeout: Duration,
}

/// Runs a scenario's threads in every order of few preemptions under a kernel, and holds the
/// ends against its conditions.
///
/// # Errors
/// A step that cannot be done, in any order.
pub fn litmus(
    place: &str,
    scenario: &Scenario,
    kernel: &str,
    sets: &[(String, String)],
    bounds: Bounds,
    look: &mut dyn FnMut(Progress) -> bool,
) -> Result<String> {
    let (rules, policy) = litmus_rules(kernel, sets)?;
    let Bounds { preemptions, workers, timeout } = bounds;
    let asks = |fact| scenario.about(kernel).any(|(_, condition)| condition.asks(fact));
    let scenario = Arc::new(scenario.clone());
    let hunt = Hunt {
        settings: Settings { policy, rules, load: What::Scenario(Arc::clone(&scenario)) },
        search: Search::Bounded { preemptions: limited("--preemptions", preemptions, 0..=MOST_DEPTH)? },
        yield_every: 1,
        schedules: None,
        timeout,
        // What the machine itself does wrong is nobody's outcome, unless it is asked for.
        find: if asks(Fact::Broken) { Vec::new() } else { vec![Kind::Broken] },
        keep_going: false,
        seed: 0,
        workers,
    };
    let hunted = hunt.run(look).map_err(|error| match error {
        Error::Config(problems) => {
            let at = |problem: Problem| Problem::new(place, problem.message);
            Error::Config(problems.into_iter().map(at).collect())
        }
        other => other,
    })?;
    if let Some(broken) = hunted.findings.first().and_then(|finding| finding.outcome.broken.as_ref()) {
        return Err(Error::Internal(format!("{place}: {broken}")));
    }
    if hunted.stopped == Some(Stopped::Interrupted) {
        return Err(Error::Interrupted);
    }
    let complete = hunted.complete == Some(true);
    let condition = |(at, (wanted, condition)): (usize, (Wanted, &crate::script::Condition))| {
        let met = hunted.met.get(at).copied().unwrap_or_default();
        // One schedule proves that there is one; only all of them prove that there is none.
        let known = met.times > 0 || complete;
        let holds = known.then_some((met.times > 0) == (wanted == Wanted::Exists));
        json!({
            "wanted": wanted, "condition": condition.to_string(),
            "times": met.times, "first": met.first, "holds": holds,
        })
    };
    let conditions: Vec<Value> = scenario.about(kernel).enumerate().map(condition).collect();
    Ok(json!({
        "class": "explored",
        "explored": {
            "complete": complete,
            "preemptions": preemptions,
            "schedules": hunted.schedules,
            "states": hunted.states,
            "conditions": conditions,
        },
    })
    .to_string())
}

/// Checks a request without searching.
pub fn check(request: &str) -> Result<()> {
    read::<Asked>(request)?.hunt().map(|_| ())
}

/// Searches, shrinks and tells; JSON in and out.
pub fn explore(request: &str, look: &mut dyn FnMut(Progress) -> bool) -> Result<String> {
    let asked: Asked = read(request)?;
    let hunt = asked.hunt()?;
    let hunted = hunt.run(look)?;
    shown(&asked, &hunt, &hunted)
}

/// How many batches a search is cut into, which parts of it are ranges of.
pub fn batches(request: &str) -> Result<u64> {
    read::<Asked>(request)?.hunt()?.batches()
}

/// Does some batches of a search and no more; JSON of what they came to, a [`Part`].
pub fn part(request: &str, wanted: Range<u64>, look: &mut dyn FnMut(Progress) -> bool) -> Result<String> {
    let part = read::<Asked>(request)?.hunt()?.part(wanted, look)?;
    serde_json::to_string(&part).map_err(|error| Error::Internal(error.to_string()))
}

/// Puts parts together, shrinks and tells, as [`explore`] does what it found itself.
pub fn gather(request: &str, parts: &[String], stopped: Option<&str>, elapsed: Duration) -> Result<String> {
    let asked: Asked = read(request)?;
    let hunt = asked.hunt()?;
    let parts = parts.iter().map(|text| read::<Part>(text)).collect::<Result<Vec<_>>>()?;
    let stopped = stopped.map(|word| read(&format!("{word:?}"))).transpose()?;
    let hunted = hunt.gather(parts, stopped, elapsed)?;
    shown(&asked, &hunt, &hunted)
}

fn shown(asked: &Asked, hunt: &Hunt, hunted: &Hunted) -> Result<String> {
    let mut findings = Vec::new();
    let budget = Duration::try_from_secs_f64(asked.shrink_s).unwrap_or(Duration::MAX);
    // One budget for all: the first ones are the most wanted.
    let began = std::time::Instant::now();
    for finding in &hunted.findings {
        let left = budget.saturating_sub(began.elapsed());
        let shrinks = !left.is_zero() && hunted.stopped != Some(Stopped::Interrupted);
        findings.push(told(hunt, finding, shrinks.then_some(left))?);
    }
    Ok(report(hunt, hunted, &findings).to_string())
}

fn told(hunt: &Hunt, finding: &Finding, budget: Option<Duration>) -> Result<Value> {
    let (settings, small, shrunk): (_, _, Option<Shrunk>) = match budget {
        Some(budget) => {
            let (settings, small, shrunk) = shrink(hunt, finding.clone(), budget)?;
            (settings, small, Some(shrunk))
        }
        None => (hunt.settings.clone(), finding.clone(), None),
    };
    let file = File::of(&settings, &small)?;
    let story = Story::of("", &file)?;
    Ok(json!({
        "kind": finding.kind,
        "schedule": finding.number,
        "times": finding.times,
        "seed": finding.seed,
        "preemptions": small.preemptions,
        "outcome": small.outcome,
        "shrunk": shrunk,
        "sentence": story.end,
        "story": story,
        "file": file,
    }))
}

fn report(hunt: &Hunt, hunted: &Hunted, findings: &[Value]) -> Value {
    let seconds = hunted.elapsed.as_secs_f64();
    let never = Step::ALL.iter().filter(|&&step| hunted.reached >> step as u32 & 1 == 0);
    let missed = match hunt.search {
        Search::Pct { depth } => Some(Pct::missed(hunted.schedules, hunted.tasks, hunted.length, depth)),
        _ => None,
    };
    json!({
        "schema": "gupstress.explore/1",
        "machine": FINGERPRINT,
        "settings": hunt.settings.write(),
        "profile": hunt.settings.name(),
        "policy": hunt.settings.policy.name,
        "kernel": hunt.settings.rules.name,
        "search": hunt.search,
        "yield_every": hunt.yield_every,
        "find": hunt.find,
        "seed": hunt.seed,
        "keep_going": hunt.keep_going,
        "status": match hunted.stopped {
            Some(Stopped::Interrupted) => "interrupted",
            Some(Stopped::Timeout) => "timeout",
            None => "complete",
        },
        "schedules": hunted.schedules,
        "steps": hunted.steps,
        "states": hunted.states,
        "cut": hunted.cut,
        "elapsed_s": seconds,
        "schedules_per_s": if seconds > 0.0 { json!(hunted.schedules as f64 / seconds) } else { Value::Null },
        "coverage": {
            "complete": hunted.complete,
            "parts": hunted.parts,
            "missed": missed,
            "length": hunted.length,
            "never_reached": never.map(|step| step.name()).collect::<Vec<_>>(),
        },
        "findings": findings,
    })
}

/// Runs a schedule file again and tells it; JSON with the story in a format.
pub fn replay(place: &str, text: &str, format: &str) -> Result<String> {
    let file = File::read(place, text)?;
    let replayed = file.replay(place)?;
    let differs = file.differs(&replayed);
    let story = Story::of(place, &file)?;
    let told = match format {
        "markdown" => story.markdown(),
        "html" => story.html(),
        _ => story.text(),
    };
    Ok(json!({
        "schema": "gupstress.replay/1",
        "kind": file.kind,
        "differs": differs,
        "outcome": replayed.outcome,
        "counters": replayed.counters,
        "steps": replayed.steps,
        "sentence": story.end,
        "story": told,
    })
    .to_string())
}

/// The trace of a schedule file as Trace Events, separated by commas.
pub fn trace(place: &str, text: &str) -> Result<String> {
    let file = File::read(place, text)?;
    let settings = Settings::read(place, &file.settings)?;
    let mut runner = super::Runner::new(settings.subject()?);
    runner.lab().trace(Some(usize::MAX));
    let rings = file.traced_on(&mut runner);
    let trace = crate::observe::Trace { names: file.tasks.clone(), rings };
    Ok(crate::observe::trace::write_chrome(&trace, 1, file.kind.name()))
}
