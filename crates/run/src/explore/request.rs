//! A search as a front end asks for it, and what it came to, as JSON: `gupstress.explore/1`.

use super::hunt::{Finding, Hunt, Hunted, Progress, Search, Stopped};
use super::load::Size;
use super::pct::Pct;
use super::settings::{Settings, check_size};
use super::shrink::{Shrunk, shrink};
use super::story::Story;
use super::subject::Kind;
use super::{FINGERPRINT, File};
use crate::config::nearest;
use crate::drive::Step;
use crate::error::{Error, Problem, Result};
use crate::policy::load_kernel;
use crate::request::{Ref, keep, policy, read, run_axes, sort_sets};
use crate::stress::load_profile;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// What is asked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    profile: Ref,
    policy: Ref,
    kernel: Ref,
    sets: Vec<(String, String)>,
    threads: u32,
    pages: u32,
    calls: u32,
    strategy: String,
    preemptions: u32,
    depth: u32,
    schedules: Option<u64>,
    timeout_s: f64,
    find: Vec<String>,
    keep_going: bool,
    seed: u64,
    workers: usize,
    shrink_s: f64,
}

/// Deepest finding that priorities are changed for, and most preemptions of a bounded search.
const MOST_DEPTH: u32 = 32;

/// Schedules of a random search that is given no number.
const SCHEDULES: u64 = 20_000;

fn limited(key: &str, value: u32, least: u32) -> Result<u32> {
    if (least..=MOST_DEPTH).contains(&value) {
        return Ok(value);
    }
    let near = value.clamp(least, MOST_DEPTH);
    Err(Error::config(key, format!("{value} is not from {least} to {MOST_DEPTH}; nearest: {near}")))
}

impl Asked {
    fn search(&self) -> Result<Search> {
        match self.strategy.as_str() {
            "random" => Ok(Search::Random),
            "pct" => Ok(Search::Pct { depth: limited("--depth", self.depth, 1)? }),
            "bounded" => Ok(Search::Bounded { preemptions: limited("--preemptions", self.preemptions, 0)? }),
            word => {
                let near = nearest(word, ["random", "pct", "bounded"]).unwrap_or_default();
                Err(Error::config("--strategy", format!("no strategy {word:?}; nearest: {near}")))
            }
        }
    }

    fn kinds(&self) -> Result<Vec<Kind>> {
        let known = [Kind::Unsafe, Kind::Stuck, Kind::Spurious, Kind::Broken];
        let kind = |word: &String| {
            known.into_iter().find(|kind| kind.name() == word).ok_or_else(|| {
                let near = nearest(word, known.map(Kind::name)).unwrap_or_default();
                Error::config("--find", format!("no kind of finding {word:?}; nearest: {near}"))
            })
        };
        self.find.iter().map(kind).collect()
    }

    fn hunt(&self) -> Result<Hunt> {
        let mut problems: Vec<Problem> = Vec::new();
        let sets = sort_sets(&self.sets, &run_axes(), &mut problems);
        let rules = keep(load_kernel(self.kernel.source(), &sets.kernel), &mut problems);
        let profile = keep(load_profile(self.profile.source(), &sets.profile), &mut problems);
        let policy =
            rules.as_ref().and_then(|rules| keep(policy(&self.policy, rules, &sets.policy), &mut problems));
        let search = keep(self.search(), &mut problems);
        let find = keep(self.kinds(), &mut problems);
        let size = Size { threads: self.threads, pages: self.pages, calls: self.calls };
        let fits = keep(check_size("", size), &mut problems);
        let timeout = Duration::try_from_secs_f64(self.timeout_s).unwrap_or(Duration::MAX);
        if let (Some(profile), Some(rules)) = (&profile, &rules)
            && let Err(reason) = profile.check_on(rules)
        {
            problems.push(Problem::new(profile.name.clone(), reason));
        }
        match (policy, rules, profile, search, find, fits) {
            (Some(policy), Some(rules), Some(profile), Some(search), Some(find), Some(()))
                if problems.is_empty() =>
            {
                let bounded = matches!(search, Search::Bounded { .. });
                Ok(Hunt {
                    settings: Settings::of_profile(policy, rules, &profile, size),
                    search,
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

/// Checks a request without searching.
pub fn check(request: &str) -> Result<()> {
    read::<Asked>(request)?.hunt().map(|_| ())
}

/// Searches, shrinks and tells; JSON in and out.
pub fn explore(request: &str, look: &mut dyn FnMut(Progress) -> bool) -> Result<String> {
    let asked: Asked = read(request)?;
    let hunt = asked.hunt()?;
    let hunted = hunt.run(look)?;
    let mut findings = Vec::new();
    let budget = Duration::try_from_secs_f64(asked.shrink_s).unwrap_or(Duration::MAX);
    // One budget for all: the first ones are the most wanted.
    let began = std::time::Instant::now();
    for finding in &hunted.findings {
        let left = budget.saturating_sub(began.elapsed());
        let shrinks = !left.is_zero() && hunted.stopped != Some(Stopped::Interrupted);
        findings.push(told(&hunt, finding, shrinks.then_some(left))?);
    }
    Ok(report(&hunt, &hunted, &findings).to_string())
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
