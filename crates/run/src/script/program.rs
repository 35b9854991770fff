//! Programs: the steps of one thread or of several, read from a file and checked before anything runs.

use super::op::{Has, Name, Op};
use super::player::{OpError, Player};
use crate::config::{Document, nearest};
use crate::error::Problem;
use crate::machine::CpuId;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// One step of a program, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stmt {
    /// What it does.
    pub op: Op,
    /// Its number in its list, from 1.
    pub number: usize,
    /// Its text as it was written.
    pub text: String,
}

/// One thread's steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// What it is called.
    pub name: String,
    /// The CPU it starts on.
    pub cpu: CpuId,
    /// Its steps, in order.
    pub steps: Vec<Stmt>,
}

/// What several threads do at the same time, after what one does before them.
///
/// Without threads it is sequential: `steps` are all there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Program {
    /// CPUs of the machine.
    pub cpus: usize,
    /// Done first, one after the other.
    pub steps: Vec<Stmt>,
    /// Then these, each on its own.
    pub threads: Vec<Thread>,
    /// Done last, when all threads are through.
    pub after: Vec<Stmt>,
}

/// A step that could not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("step {number} {text:?}: {error}")]
pub struct StepError {
    /// Which one, from 1.
    pub number: usize,
    /// Its text.
    pub text: String,
    /// Why.
    pub error: OpError,
}

impl Program {
    /// Whether threads run beside each other.
    pub fn is_concurrent(&self) -> bool {
        !self.threads.is_empty()
    }

    /// Takes `steps`, `threads` and `after` out of a document, and checks that each step can
    /// be done as far as can be told without doing it.
    pub fn take(document: &mut Document, cpus: usize, most_pages: u32, problems: &mut Vec<Problem>) -> Self {
        let mut reader = Reader { scope: Scope::new(cpus, most_pages), problems };
        let steps = reader.steps(document, "steps");
        let before = reader.scope.clone();
        let mut threads = Vec::new();
        for name in thread_names(document) {
            reader.scope = before.clone();
            let cpu = reader.cpu(document, &name);
            let steps = reader.steps(document, &format!("threads.{name}.steps"));
            threads.push(Thread { name, cpu, steps });
        }
        reader.scope = before;
        let after = reader.steps(document, "after");
        Self { cpus, steps, threads, after }
    }

    /// Every step.
    pub fn all(&self) -> impl Iterator<Item = &Stmt> {
        let threads = self.threads.iter().flat_map(|thread| &thread.steps);
        self.steps.iter().chain(threads).chain(&self.after)
    }

    /// Plays the steps that come first; the outcome of the last pin among them.
    ///
    /// # Errors
    /// The step that could not be done.
    pub fn play<P: Player>(&self, player: &mut P) -> Result<Option<P::Outcome>, StepError> {
        play(&self.steps, &mut CpuId(0), player)
    }
}

/// Plays steps one after the other, from a CPU; the outcome of the last pin.
///
/// # Errors
/// The step that could not be done.
pub fn play<P: Player>(
    steps: &[Stmt],
    cpu: &mut CpuId,
    player: &mut P,
) -> Result<Option<P::Outcome>, StepError> {
    let mut last = None;
    for step in steps {
        if let Op::Cpu(next) = step.op {
            *cpu = next;
            continue;
        }
        match player.play(*cpu, &step.op) {
            Ok(None) => {}
            Ok(outcome) => last = outcome,
            Err(OpError::Refused { .. }) if step.op.is_advice() => {}
            Err(error) => return Err(StepError { number: step.number, text: step.text.clone(), error }),
        }
    }
    Ok(last)
}

/// The threads of a document, in its order.
fn thread_names(document: &Document) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (path, ..) in &document.keys {
        let name = path.strip_prefix("threads.").and_then(|rest| rest.rsplit_once('.')).map(|(name, _)| name);
        if let Some(name) = name
            && names.iter().all(|known| known != name)
        {
            names.push(name.to_owned());
        }
    }
    names
}

/// Reads steps, collecting what is wrong with them.
struct Reader<'p> {
    scope: Scope,
    problems: &'p mut Vec<Problem>,
}

impl Reader<'_> {
    fn cpu(&mut self, document: &mut Document, thread: &str) -> CpuId {
        let Some((value, place)) = document.take(&format!("threads.{thread}.cpu")) else { return CpuId(0) };
        let last = self.scope.last_cpu();
        match value.as_integer().and_then(|cpu| u32::try_from(cpu).ok()).map(CpuId) {
            Some(cpu) if cpu <= last => cpu,
            given => {
                let near = given.unwrap_or_default().min(last);
                let reason = format!("threads.{thread}.cpu: {value} is not a CPU: there are 0 to {last}");
                self.problems.push(Problem::new(place, format!("{reason}; nearest: {near}")));
                CpuId(0)
            }
        }
    }

    fn steps(&mut self, document: &mut Document, path: &str) -> Vec<Stmt> {
        let Some(items) = document.take_items(path) else { return Vec::new() };
        let items = match items {
            Ok(items) => items,
            Err((value, place)) => {
                let kind = value.type_str();
                let problem = format!("{path}: {kind} is not a list of steps; nearest: [\"pin a\"]");
                self.problems.push(Problem::new(place, problem));
                return Vec::new();
            }
        };
        let mut steps = Vec::new();
        for (number, (value, place)) in (1..).zip(items) {
            let Some(text) = value.as_str() else {
                self.problems.push(Problem::new(place, format!("{path}: {value} is not text")));
                continue;
            };
            let op = Op::parse(text);
            if let (Err(_), Some(name)) = (&op, Op::meant_to_map(text)) {
                // What follows is judged by its own mistakes.
                self.scope.pages.insert(name, None);
            }
            let checked = op.and_then(|op| self.scope.take(&op).map(|()| op));
            match checked {
                Ok(op) => steps.push(Stmt { op, number, text: text.to_owned() }),
                Err(reason) => {
                    let of = path.strip_suffix(".steps").map_or(String::new(), |of| format!("{of} "));
                    self.problems.push(Problem::new(place, format!("{of}step {number} {text:?}: {reason}")));
                }
            }
        }
        steps
    }
}

/// What the steps so far make, as far as it can be told without doing them.
#[derive(Clone)]
struct Scope {
    cpus: usize,
    most_pages: u32,
    /// Of each mapping; not known where its own step is wrong.
    pages: BTreeMap<Name, Option<u32>>,
    /// What is had of each page of a mapping until a step gives it back, how often.
    had: HashMap<(Has, Name, u32), u32>,
}

impl Scope {
    fn new(cpus: usize, most_pages: u32) -> Self {
        Self { cpus, most_pages, pages: BTreeMap::new(), had: HashMap::new() }
    }

    fn last_cpu(&self) -> CpuId {
        CpuId(self.cpus as u32 - 1)
    }

    /// Takes one step; `Err` says why it cannot be done, and what can.
    fn take(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Cpu(cpu) if *cpu <= self.last_cpu() => return Ok(()),
            Op::Cpu(_) => {
                let last = self.last_cpu();
                return Err(format!("there are cpus 0 to {last}; nearest: cpu {last}"));
            }
            Op::Map(fresh) => {
                let possible = self.mappable(fresh.pages);
                self.pages.insert(fresh.name.clone(), possible.is_ok().then_some(fresh.pages));
                self.had.retain(|(_, had, _), _| *had != fresh.name);
                return possible.map_err(|(reason, near)| {
                    let right = Op::Map(super::Fresh { pages: near, ..fresh.clone() });
                    format!("{reason}; nearest: {right}")
                });
            }
            Op::Fill(pages) => {
                let fits = self.mappable(*pages);
                return fits.map_err(|(reason, near)| format!("{reason}; nearest: {}", Op::Fill(near)));
            }
            Op::Release(None) => {
                self.had.retain(|(has, ..), _| *has != Has::Reference);
                return Ok(());
            }
            Op::Exec(_) | Op::Exit(_) => {
                self.pages.clear();
                return Ok(());
            }
            _ => {}
        }
        let Some((name, range)) = op.pages() else { return Ok(()) };
        let Some(pages) = self.size(name)? else { return Ok(()) };
        let word = op.word();
        let one_page = op.takes().or(op.gives_back()).is_some();
        let range = range.unwrap_or(0..pages);
        if range.is_empty() || range.end > pages {
            let lo = range.start.min(pages - 1);
            let hi = range.end.clamp(lo + 1, pages);
            let near = if one_page && hi == lo + 1 { format!("{lo}") } else { format!("{lo} {hi}") };
            let name = &name.0;
            return Err(format!("not within {name}, which has {pages} pages; nearest: {word} {name} {near}"));
        }
        if let Some((has, _)) = op.takes() {
            self.take_pages(has, name, range)
        } else if let Some((has, _)) = op.gives_back() {
            self.give_back(has, name, range)
        } else {
            if matches!(op, Op::Unmap(_)) && range == (0..pages) {
                self.pages.remove(name);
            }
            Ok(())
        }
    }

    fn size(&self, name: &Name) -> Result<Option<u32>, String> {
        self.pages.get(name).copied().ok_or_else(|| {
            let near = nearest(&name.0, self.pages.keys().map(|known| known.0.as_str()));
            let near = near.map_or_else(|| format!("map {} 1 anon", name.0), str::to_owned);
            format!("{:?} is not mapped by an earlier step; nearest: {near}", name.0)
        })
    }

    fn take_pages(&mut self, has: Has, name: &Name, range: Range<u32>) -> Result<(), String> {
        for index in range {
            let had = self.had.entry((has, name.clone(), index)).or_default();
            if *had > 0 && has != Has::Reference {
                let (is, give, name) = (has.is(), has.given_back_by(), &name.0);
                return Err(format!(
                    "page {index} of {name} is {is} already; nearest: {give} {name} {index}"
                ));
            }
            *had += 1;
        }
        Ok(())
    }

    fn give_back(&mut self, has: Has, name: &Name, range: Range<u32>) -> Result<(), String> {
        for index in range {
            let had = self.had.get_mut(&(has, name.clone(), index)).filter(|had| **had > 0);
            let Some(had) = had else {
                let (is, take, name) = (has.is(), has.taken_by(), &name.0);
                return Err(format!(
                    "page {index} of {name} is {is} by nobody; nearest: {take} {name} {index}"
                ));
            };
            *had -= 1;
        }
        Ok(())
    }

    /// Whether so many pages can be mapped; `Err` says why not, and how many can.
    fn mappable(&self, pages: u32) -> Result<(), (String, u32)> {
        let most = self.most_pages;
        if (1..=most).contains(&pages) {
            return Ok(());
        }
        Err((format!("1 to {most} pages can be mapped"), pages.clamp(1, most)))
    }
}
