//! Scenarios: programs, what real kernels counted, and what may be found in their ends.

use super::Limits;
use super::session::{MOST_SESSION_CPUS, Outcome, SESSION_LAYOUT, Session};
use crate::config::{Document, check_name, nearest, number};
use crate::error::{Error, Problem, Result};
use crate::machine::{Layout, MAX_ORDER};
use crate::observe::Event;
use crate::policy::{Policy, Rules, kernel_names};
use crate::script::{Condition, ConditionReader, Op, OpError, Program, StepError, Stmt, ends};
use std::collections::BTreeMap;
use std::time::Instant;
use toml::Value;

/// What one kernel counted for the last pin; a key not given is not compared.
pub type Expectation = BTreeMap<String, Value>;

/// A scripted scenario.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What it shows, one sentence; may be empty.
    pub summary: String,
    /// What is done.
    pub program: Program,
    /// By kernel, for a sequential one.
    pub expect: BTreeMap<String, Expectation>,
    /// For a concurrent one: what some end must show, each of them.
    pub exists: Vec<Condition>,
    /// What no end may show.
    pub forbid: Vec<Condition>,
}

/// Whether a condition must be met by some end, or by none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Wanted {
    /// `[exists]`
    Exists,
    /// `[forbid]`
    Forbid,
}

/// Most conditions of a scenario: an end has a bit for each.
const MOST_CONDITIONS: usize = 64;

/// The keys of a scenario's file, for who wrote another.
const KEYS: [&str; 8] = ["name", "summary", "cpus", "steps", "threads", "after", "exists", "forbid"];

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
        let (title, title_at) = take("name", Value::from(stem));
        let (summary, _) = take("summary", Value::from(""));
        let (cpus, cpus_at) = take("cpus", Value::from(4));
        if let Err(reason) = check_name(title.as_str().unwrap_or_default()) {
            problems.push(Problem::new(title_at, format!("name: {reason}")));
        }
        let cpus = cpus.as_integer().unwrap_or(0);
        if !(1..=MOST_SESSION_CPUS).contains(&cpus) {
            let near = cpus.clamp(1, MOST_SESSION_CPUS);
            problems.push(Problem::new(
                cpus_at,
                format!("cpus: {cpus} is not from 1 to {MOST_SESSION_CPUS}; nearest: {near}"),
            ));
        }
        let cpus = cpus.clamp(1, MOST_SESSION_CPUS) as usize;
        let program = Program::take(&mut document, cpus, MOST_PAGES, &mut problems);
        let [exists, forbid] = ["exists", "forbid"].map(|section| {
            let threads = program.threads.iter().map(|thread| thread.name.clone()).collect();
            let mut reader = ConditionReader { threads, kernels: kernel_names(), problems: &mut problems };
            reader.section(&mut document, section)
        });
        let scenario = Self {
            name: title.as_str().unwrap_or_default().to_owned(),
            summary: summary.as_str().unwrap_or_default().to_owned(),
            program,
            expect: expectations(&document, &mut problems),
            exists,
            forbid,
        };
        if problems.is_empty() {
            scenario.check_whole(name, &mut problems);
        }
        if problems.is_empty() { Ok(scenario) } else { Err(Error::Config(problems)) }
    }

    /// Checks what no part of it can be checked for by itself.
    fn check_whole(&self, place: &str, problems: &mut Vec<Problem>) {
        let program = &self.program;
        let conditions = self.exists.len() + self.forbid.len();
        if !program.all().any(|step| step.op.is_pin()) {
            let reason = match program.steps.last() {
                None if !program.is_concurrent() => {
                    "there are no steps; nearest: steps = [\"map a 1 anon\", \"pin a\"]".to_owned()
                }
                last => {
                    let last =
                        last.map_or(String::new(), |step| format!("step {} {:?}: ", step.number, step.text));
                    let near = program.all().find_map(|step| step.op.pages());
                    let near = near.map_or("a", |(name, _)| name.0.as_str());
                    format!("{last}there is no pin step to compare; nearest: pin {near}")
                }
            };
            problems.push(Problem::new(place, reason));
        }
        if conditions > MOST_CONDITIONS {
            let reason = format!("{conditions} conditions are too many; nearest: {MOST_CONDITIONS}");
            problems.push(Problem::new(place, reason));
        }
        if program.is_concurrent() && conditions == 0 {
            let first = &program.threads[0].name;
            let near = format!("[exists] \"{first}.result\" = \"ok\"");
            problems
                .push(Problem::new(place, format!("threads without [exists] or [forbid]; nearest: {near}")));
        }
        if program.is_concurrent() && !self.expect.is_empty() {
            let reason =
                "threads have no [expect]: what they count depends on who is faster; nearest: [exists]";
            problems.push(Problem::new(place, reason));
        }
        if !program.is_concurrent() && (conditions != 0 || !program.after.is_empty()) {
            let reason =
                "[exists], [forbid] and after are for threads; nearest: [threads.A] steps = [\"pin a\"]";
            problems.push(Problem::new(place, reason));
        }
    }

    /// As TOML that reads back to the same.
    pub fn write(&self) -> String {
        let steps = |steps: &[Stmt]| -> Value {
            steps.iter().map(|step| Value::from(step.text.clone())).collect::<Vec<_>>().into()
        };
        let mut file = toml::Table::new();
        let mut put = |key: &str, value: Value| _ = file.insert(key.to_owned(), value);
        put("name", Value::from(self.name.clone()));
        put("summary", Value::from(self.summary.clone()));
        put("cpus", Value::from(self.program.cpus as i64));
        put("steps", steps(&self.program.steps));
        let thread = |thread: &crate::script::Thread| {
            let cpu = ("cpu".to_owned(), Value::from(i64::from(thread.cpu.0)));
            let table = [cpu, ("steps".to_owned(), steps(&thread.steps))].into_iter().collect();
            (thread.name.clone(), Value::Table(table))
        };
        if self.program.is_concurrent() {
            put("after", steps(&self.program.after));
            put("threads", Value::Table(self.program.threads.iter().map(thread).collect()));
        }
        for (section, conditions) in [("exists", &self.exists), ("forbid", &self.forbid)] {
            if !conditions.is_empty() {
                let all: Vec<Value> = conditions.iter().map(|one| Value::Table(one.write())).collect();
                put(section, Value::Array(all));
            }
        }
        let expect = |(kernel, counts): (&String, &Expectation)| {
            let counts = counts.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
            (kernel.clone(), Value::Table(counts))
        };
        if !self.expect.is_empty() {
            put("expect", Value::Table(self.expect.iter().map(expect).collect()));
        }
        toml::to_string(&file).expect("strings, numbers and tables of them")
    }

    /// The conditions that are about a kernel, those that must be met first.
    pub fn about(&self, kernel: &str) -> impl Iterator<Item = (Wanted, &Condition)> {
        let exists = self.exists.iter().map(|condition| (Wanted::Exists, condition));
        let forbid = self.forbid.iter().map(|condition| (Wanted::Forbid, condition));
        exists.chain(forbid).filter(move |(_, condition)| condition.is_about(kernel))
    }

    /// The kernels that its conditions name, in the order of all kernels.
    pub fn kernels(&self) -> Vec<&'static str> {
        let named = |kernel: &&str| {
            let mut all = self.exists.iter().chain(&self.forbid);
            all.any(|condition| condition.kernels.iter().any(|known| known == kernel))
        };
        kernel_names().into_iter().filter(named).collect()
    }

    /// The machine of a session, and room in Movable for its largest hugetlb pool beside it.
    pub(crate) fn layout(&self) -> Layout {
        let pools = self.program.all().filter_map(|step| match step.op {
            Op::Hugepool(pages) => Some(pages),
            _ => None,
        });
        let pool = pools.max().unwrap_or(0).min(MOST_POOL) << MAX_ORDER;
        Layout { movable: SESSION_LAYOUT.movable + pool, ..SESSION_LAYOUT }
    }

    /// Runs a sequential scenario on a fresh machine; the outcome of its last pin.
    ///
    /// # Errors
    /// The step that could not be done.
    pub fn run(
        &self,
        rules: Rules,
        policy: Policy,
        limits: Limits,
    ) -> std::result::Result<Outcome, StepError> {
        let mut session = Session::new(rules, policy, &self.layout(), self.program.cpus);
        session.stage.limits = Limits { since: Some(Instant::now()), ..limits };
        let outcome = self.program.play(&mut session)?;
        let bug = |message: String| {
            let last = self.program.steps.last();
            let (number, text) = last.map_or((0, String::new()), |step| (step.number, step.text.clone()));
            StepError { number, text, error: OpError::Bug(message) }
        };
        if let Some(broken) = session.recount().broken.first() {
            return Err(bug(format!("{}: {}", broken.invariant, broken.found)));
        }
        outcome.ok_or_else(|| bug("no pin was made".to_owned()))
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
                    nearest(path, KEYS.into_iter().chain(["expect"])).unwrap_or_default()
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
    let fits = value.as_str().is_some_and(|end| ends().contains(&end));
    fits.then_some(()).ok_or_else(|| {
        let near = nearest(value.as_str().unwrap_or("ok"), ends()).unwrap_or_default();
        format!("{value} is not ok, stuck or an errno; nearest: {near}")
    })
}

/// Huge pages that a machine of a scenario has room for in its hugetlb pool.
const MOST_POOL: u32 = 64;

/// Pages that a machine of a scenario has for one mapping.
const MOST_PAGES: u32 = SESSION_LAYOUT.normal + SESSION_LAYOUT.movable + SESSION_LAYOUT.cma;
