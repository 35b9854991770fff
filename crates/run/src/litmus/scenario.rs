//! Scenarios: steps in words, and what real kernels counted.

use super::session::{Outcome, SESSION_LAYOUT, Session, SessionError};
use crate::config::{Document, nearest, number};
use crate::error::{Error, Problem, Result};
use crate::machine::Kind;
use crate::observe::Event;
use crate::ops::Errno;
use crate::policy::{Policy, Rules};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use toml::Value;

/// The step words with their arguments.
const WORDS: &[(&str, &str)] = &[
    ("cpu", "cpu N"),
    ("map", "map A N anon|shmem"),
    ("touch", "touch A [lo hi]"),
    ("read", "read A [lo hi]"),
    ("fill", "fill N"),
    ("mlock", "mlock A [lo hi]"),
    ("munlock", "munlock A [lo hi]"),
    ("cold", "cold A [lo hi]"),
    ("lazyfree", "lazyfree A [lo hi]"),
    ("hold", "hold A i"),
    ("release", "release A i"),
    ("share", "share A [lo hi]"),
    ("pin", "pin A [lo hi]"),
    ("unpin", "unpin A"),
];

/// A step that cannot be read or done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("step {number} {step:?}: {reason}")]
pub struct StepError {
    /// Which one, from 1.
    pub number: usize,
    /// Its text.
    pub step: String,
    /// Why, with the words allowed.
    pub reason: String,
}

/// What one kernel counted for the last pin; a key not given is not compared.
pub type Expectation = BTreeMap<String, Value>;

/// A scripted scenario.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What it shows, one sentence; may be empty.
    pub summary: String,
    /// CPUs of the machine.
    pub cpus: usize,
    /// Steps in words.
    pub steps: Vec<String>,
    /// By kernel.
    pub expect: BTreeMap<String, Expectation>,
}

impl Scenario {
    /// Reads a scenario from TOML; `name` is what places say.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let mut document = Document::parse(name, text).map_err(Error::Config)?;
        let mut problems = Vec::new();
        let mut take = |key: &str, default: Value| match document.take(key) {
            Some((value, place)) if value.same_type(&default) => (value, place),
            Some((value, place)) => {
                let kind = default.type_str();
                problems.push(Problem::new(
                    &place,
                    format!("{key}: {value} is not of type {kind}; nearest: {default}"),
                ));
                (default, place)
            }
            None => (default, name.to_owned()),
        };
        let stem = name.rsplit('/').next().unwrap_or(name).trim_end_matches(".toml").to_owned();
        let (title, _) = take("name", Value::from(stem));
        let (summary, _) = take("summary", Value::from(""));
        let (cpus, cpus_at) = take("cpus", Value::from(4));
        let (steps, steps_at) = take("steps", Value::Array(Vec::new()));
        let cpus = cpus.as_integer().unwrap_or(0);
        if !(1..=1024).contains(&cpus) {
            let near = cpus.clamp(1, 1024);
            problems
                .push(Problem::new(cpus_at, format!("cpus: {cpus} is not from 1 to 1024; nearest: {near}")));
        }
        let mut words = Vec::new();
        for step in steps.as_array().into_iter().flatten() {
            match step.as_str() {
                Some(step) => words.push(step.to_owned()),
                None => problems.push(Problem::new(&steps_at, format!("steps: {step} is not text"))),
            }
        }
        let scenario = Self {
            name: title.as_str().unwrap_or_default().to_owned(),
            summary: summary.as_str().unwrap_or_default().to_owned(),
            cpus: cpus.clamp(1, 1024) as usize,
            steps: words,
            expect: expectations(&document, &mut problems),
        };
        if let Err(errors) = scenario.check() {
            problems.extend(errors.into_iter().map(|error| Problem::new(&steps_at, error.to_string())));
        }
        if problems.is_empty() { Ok(scenario) } else { Err(Error::Config(problems)) }
    }

    /// Reads every step without doing it.
    fn check(&self) -> std::result::Result<(), Vec<StepError>> {
        let mut script = Script { cpus: self.cpus, ..Script::default() };
        let mut errors = Vec::new();
        for (number, step) in (1..).zip(&self.steps) {
            if let Err(reason) = Step::parse(step).and_then(|parsed| script.take(&parsed)) {
                errors.push(StepError { number, step: step.clone(), reason });
            }
        }
        if self.steps.iter().all(|step| !step.starts_with("pin ")) {
            let name = script.pages.keys().min().unwrap_or(&"a");
            errors.push(StepError {
                number: self.steps.len(),
                step: self.steps.last().cloned().unwrap_or_default(),
                reason: format!("there is no pin step to compare; nearest: pin {name}"),
            });
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Runs the scenario on a fresh machine; the outcome of its last pin.
    pub fn run(&self, rules: Rules, policy: Policy) -> std::result::Result<Outcome, StepError> {
        let mut session = Session::new(rules, policy, &SESSION_LAYOUT, self.cpus);
        let mut player =
            Player { session: &mut session, cpu: 0, maps: HashMap::new(), pins: Vec::new(), last: None };
        for (number, step) in (1..).zip(&self.steps) {
            let failed = |reason| StepError { number, step: step.clone(), reason };
            player.play(Step::parse(step).map_err(failed)?).map_err(|error| failed(error.0))?;
        }
        let outcome = player.last.take().expect("a checked scenario pins");
        let recount = session.recount();
        if let Some(broken) = recount.broken.first() {
            return Err(StepError {
                number: self.steps.len(),
                step: self.steps.last().cloned().unwrap_or_default(),
                reason: format!("internal error: {}: {}", broken.invariant, broken.found),
            });
        }
        Ok(outcome)
    }
}

fn expectations(document: &Document, problems: &mut Vec<Problem>) -> BTreeMap<String, Expectation> {
    let mut expect: BTreeMap<String, Expectation> = BTreeMap::new();
    let counters: Vec<&str> = Event::ALL.iter().map(|event| event.name()).chain(["result"]).collect();
    for (path, value, place) in &document.keys {
        // Kernel names have dots of their own; the counter is what follows the last.
        let Some((kernel, counter)) = path.strip_prefix("expect.").and_then(|rest| rest.rsplit_once('.'))
        else {
            problems.push(Problem::new(
                place,
                format!(
                    "no key {path:?}; nearest: {}",
                    nearest(path, ["name", "summary", "cpus", "steps", "expect"]).unwrap_or_default()
                ),
            ));
            continue;
        };
        if !counters.contains(&counter) {
            let near = nearest(counter, counters.iter().copied()).unwrap_or_default();
            problems.push(Problem::new(place, format!("no counter {counter:?}; nearest: {near}")));
            continue;
        }
        if let Err(reason) = check_expected(counter, value) {
            problems.push(Problem::new(place, format!("{counter}: {reason}")));
            continue;
        }
        expect.entry(kernel.to_owned()).or_default().insert(counter.to_owned(), value.clone());
    }
    expect
}

/// Checks that a pin can come to what is expected of it.
fn check_expected(counter: &str, value: &Value) -> std::result::Result<(), String> {
    if counter != "result" {
        let count = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let near = number(&count).unwrap_or(0.0) as u64;
        let fits = value.as_integer().is_some_and(|count| count >= 0);
        return fits.then_some(()).ok_or_else(|| format!("{value} is not a count; nearest: {near}"));
    }
    let ends: Vec<&str> = ["ok", "stuck"].into_iter().chain(Errno::ALL.map(Errno::name)).collect();
    let fits = value.as_str().is_some_and(|end| ends.contains(&end));
    fits.then_some(()).ok_or_else(|| {
        let near = nearest(value.as_str().unwrap_or("ok"), ends).unwrap_or_default();
        format!("{value} is not ok, stuck or an errno; nearest: {near}")
    })
}

/// Pages that a machine of a scenario has for one mapping.
const MOST_PAGES: u32 = SESSION_LAYOUT.normal + SESSION_LAYOUT.movable + SESSION_LAYOUT.cma;

/// What the steps so far make, as far as it can be told without doing them.
#[derive(Default)]
struct Script<'a> {
    cpus: usize,
    /// Of each mapping; not known where its own step is wrong.
    pages: HashMap<&'a str, Option<u32>>,
    /// References on each page of a mapping that another holder has.
    held: HashMap<(&'a str, u32), u32>,
}

impl<'a> Script<'a> {
    /// Takes one step; `Err` says why it cannot be done, and what can.
    fn take(&mut self, step: &Step<'a>) -> std::result::Result<(), String> {
        match step {
            Step::Cpu(cpu) if *cpu < self.cpus => Ok(()),
            Step::Cpu(_) => {
                let last = self.cpus - 1;
                Err(format!("there are cpus 0 to {last}; nearest: cpu {last}"))
            }
            Step::Map(name, pages, kind) => {
                let possible = mappable(*pages);
                self.pages.insert(name, possible.is_ok().then_some(*pages));
                self.held.retain(|(held, _), _| held != name);
                let kind = if *kind == Kind::Anon { "anon" } else { "shmem" };
                possible.map_err(|(reason, near)| format!("{reason}; nearest: map {name} {near} {kind}"))
            }
            Step::Fill(pages) => {
                mappable(*pages).map_err(|(reason, near)| format!("{reason}; nearest: fill {near}"))
            }
            Step::Unpin(name) => self.size(name).map(|_| ()),
            Step::On(word, name, range) => {
                let Some(pages) = self.size(name)? else {
                    return Ok(());
                };
                let range = range.clone().unwrap_or(0..pages);
                if range.is_empty() || range.end > pages {
                    let lo = range.start.min(pages - 1);
                    let hi = range.end.clamp(lo + 1, pages);
                    let near = if one_page(word) { format!("{lo}") } else { format!("{lo} {hi}") };
                    return Err(format!(
                        "not within {name}, which has {pages} pages; nearest: {word} {name} {near}"
                    ));
                }
                self.count_held(word, name, range)
            }
        }
    }

    fn size(&self, name: &str) -> std::result::Result<Option<u32>, String> {
        self.pages.get(name).copied().ok_or_else(|| {
            let near = nearest(name, self.pages.keys().copied());
            let near = near.map_or_else(|| format!("map {name} 1 anon"), str::to_owned);
            format!("{name:?} is not mapped by an earlier step; nearest: {near}")
        })
    }

    fn count_held(
        &mut self,
        word: &str,
        name: &'a str,
        range: Range<u32>,
    ) -> std::result::Result<(), String> {
        if !one_page(word) {
            return Ok(());
        }
        let index = range.start;
        let count = self.held.entry((name, index)).or_default();
        *count = match word {
            "hold" => *count + 1,
            _ => count.checked_sub(1).ok_or_else(|| {
                format!("page {index} of {name} is held by nobody; nearest: hold {name} {index}")
            })?,
        };
        Ok(())
    }
}

/// Whether a word is about one page, not a range.
fn one_page(word: &str) -> bool {
    matches!(word, "hold" | "release")
}

/// Whether so many pages can be mapped; `Err` says why not, and how many can.
fn mappable(pages: u32) -> std::result::Result<(), (String, u32)> {
    if (1..=MOST_PAGES).contains(&pages) {
        return Ok(());
    }
    Err((format!("1 to {MOST_PAGES} pages can be mapped"), pages.clamp(1, MOST_PAGES)))
}

enum Step<'a> {
    Cpu(usize),
    Map(&'a str, u32, Kind),
    Fill(u32),
    Unpin(&'a str),
    /// A word on part of a mapping; no range: all of it.
    On(&'a str, &'a str, Option<Range<u32>>),
}

impl<'a> Step<'a> {
    fn parse(text: &'a str) -> std::result::Result<Self, String> {
        let mut words = text.split_whitespace();
        let word = words.next().unwrap_or_default();
        let args: Vec<&str> = words.collect();
        let Some((_, usage)) = WORDS.iter().find(|(known, _)| *known == word) else {
            let all: Vec<&str> = WORDS.iter().map(|(known, _)| *known).collect();
            return Err(format!(
                "no word {word:?}; nearest: {}; words: {}",
                nearest(word, all.iter().copied()).unwrap_or_default(),
                all.join(" ")
            ));
        };
        let usage = || format!("usage: {usage}");
        let number = |text: &str| text.parse::<u32>().map_err(|_| usage());
        let step = match (word, args.as_slice()) {
            ("cpu", [n]) => Self::Cpu(number(n)? as usize),
            ("fill", [n]) => Self::Fill(number(n)?),
            ("unpin", [a]) => Self::Unpin(a),
            ("map", [a, n, kind]) => {
                let kind = match *kind {
                    "anon" => Kind::Anon,
                    "shmem" => Kind::Shmem,
                    _ => return Err(usage()),
                };
                Self::Map(a, number(n)?, kind)
            }
            (_, [a, i]) if one_page(word) => {
                let i = number(i)?;
                Self::On(word, a, Some(i..i.saturating_add(1)))
            }
            ("cpu" | "fill" | "unpin" | "map" | "hold" | "release", _) => return Err(usage()),
            (_, [a]) => Self::On(word, a, None),
            (_, [a, lo, hi]) => Self::On(word, a, Some(number(lo)?..number(hi)?)),
            _ => return Err(usage()),
        };
        Ok(step)
    }
}

/// Plays steps on a session.
struct Player<'s, 'a> {
    session: &'s mut Session,
    cpu: usize,
    maps: HashMap<&'a str, (u32, u32)>,
    /// Mapping and number of each pin that is held.
    pins: Vec<(u32, usize)>,
    last: Option<Outcome>,
}

impl<'a> Player<'_, 'a> {
    fn play(&mut self, step: Step<'a>) -> std::result::Result<(), SessionError> {
        let cpu = self.cpu;
        match step {
            Step::Cpu(cpu) => self.cpu = cpu,
            Step::Map(name, pages, kind) => {
                self.maps.insert(name, (self.session.map(kind, pages)?, pages));
            }
            Step::Fill(pages) => self.session.fill(cpu, pages)?,
            Step::Unpin(name) => {
                let mapping = self.maps[name].0;
                let (dropped, kept) = self.pins.drain(..).partition(|&(pinned, _)| pinned == mapping);
                self.pins = kept;
                let dropped: Vec<(u32, usize)> = dropped;
                for (_, pin) in dropped {
                    self.session.unpin(cpu, pin)?;
                }
            }
            Step::On(word, name, range) => {
                let (mapping, pages) = self.maps[name];
                self.on(word, mapping, range.unwrap_or(0..pages))?;
            }
        }
        Ok(())
    }

    fn on(&mut self, word: &str, mapping: u32, range: Range<u32>) -> std::result::Result<(), SessionError> {
        let (cpu, session) = (self.cpu, &mut *self.session);
        match word {
            "touch" => session.touch(cpu, mapping, range),
            "read" => session.read(cpu, mapping, range),
            "mlock" => session.mlock(cpu, mapping, range),
            "munlock" => session.munlock(cpu, mapping, range),
            // The kernel refuses some ranges; the script goes on, as a program would.
            "cold" => session.cold(cpu, mapping, range).map(|_refused| ()),
            "lazyfree" => session.lazyfree(cpu, mapping, range).map(|_refused| ()),
            "hold" => session.hold(cpu, mapping, range),
            "release" => session.release(cpu, mapping, range),
            "share" => session.share(cpu, mapping, range),
            _ => {
                let outcome = session.pin(cpu, mapping, range, true)?;
                self.pins.extend(outcome.pin.map(|pin| (mapping, pin)));
                self.last = Some(outcome);
                Ok(())
            }
        }
    }
}

impl Outcome {
    /// The value that an expectation's key is compared with.
    pub fn value(&self, key: &str) -> Value {
        if key == "result" {
            let stuck = self.class == crate::judge::Class::Stuck;
            return Value::from(self.error.map_or(if stuck { "stuck" } else { "ok" }, |errno| errno.name()));
        }
        let event = Event::ALL.iter().find(|event| event.name() == key);
        Value::from(event.map_or(0, |&event| self.counters.get(event)) as i64)
    }
}

const LITMUS: &[(&str, &str)] = crate::policy::presets!("litmus":
    "anon-local" "anon-remote" "anon-fault-in-pin" "anon-on-lru-local"
    "anon-on-lru-remote" "shmem-local" "shmem-mlock-remote" "shmem-mlock-on-lru-remote"
    "anon-mlock-local" "anon-64-local" "anon-cold-remote" "anon-held-ref"
    "anon-zero-page" "anon-repin" "anon-batch-edge-27" "anon-three-cpus"
    "anon-half-pinned-before" "shmem-munlock-remote" "anon-partial-range" "anon-lazyfree-local");

/// The scenarios shipped with the crate.
pub fn litmus_names() -> Vec<&'static str> {
    crate::policy::names(LITMUS)
}

/// A shipped scenario as TOML.
pub fn show_litmus(name: &str) -> Result<&'static str> {
    crate::policy::preset_text("", "litmus", LITMUS, name)
}
