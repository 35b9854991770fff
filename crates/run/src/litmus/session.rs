//! A machine that does one thing at a time.

use crate::config::{Count, Ns};
use crate::drive::sim::{Kworkers, Lab, SimEnd, SimTask, SimThread};
use crate::drive::{Costs, Decision, Timed};
use crate::judge::class::{Class, class};
use crate::machine::page::NO_FRAME;
use crate::machine::{Frame, Layout, Machine, PageState, Recount};
use crate::observe::{Counters, Deed, Event, Ring, Totals, Traced};
use crate::ops::{Caller, Dma, Errno, Pin, PinRequest, Task};
use crate::policy::{Policy, Rules};
use crate::script::{Name, OpError, kind_name};
use serde::Serialize;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a pin came to.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The errno; none for success, and none for a call that never ended.
    pub error: Option<Errno>,
    /// Its class.
    pub class: Class,
    /// What was counted meanwhile, by everyone.
    pub counters: Totals,
    /// Sweeps it took.
    pub sweeps: u32,
    /// Number of the pin, to unpin it by; none for a failure.
    pub pin: Option<usize>,
}

/// What ends a call of a session that does not end by itself.
#[derive(Clone)]
pub struct Limits {
    /// Virtual time on a CPU within one call, beyond any deadline of the policy: more makes
    /// it one that never ends.
    pub ran: Duration,
    /// Time of the host: more gives a call up, whatever it is.
    pub wall: Duration,
    /// When that time begins; none: with each call.
    pub since: Option<Instant>,
    /// Asked now and then from within a call; false gives it up.
    pub go_on: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ran: Duration::from_millis(250),
            wall: Duration::from_mins(1),
            since: None,
            go_on: Arc::new(|| true),
        }
    }
}

impl Limits {
    /// Why a call that began then must be given up now, if it must.
    fn stop(&self, began: Instant) -> Option<String> {
        if !(self.go_on)() {
            return Some("interrupted".to_owned());
        }
        let over = self.since.unwrap_or(began).elapsed() >= self.wall;
        over.then(|| format!("no end within {} of the host's time", Ns(self.wall.as_nanos() as u64).short()))
    }
}

/// Steps of each task that are kept of a call, the latest.
const TRACED: usize = 1 << 16;

pub(super) struct Live {
    pub mapping: u32,
    pub range: Range<u32>,
    pub pages: Vec<Frame>,
    /// Its device, if it has one: none for a pin that only reads, or where
    /// every word of a page has a device already.
    pub dma: Option<Dma>,
}

/// One step as it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Taken {
    /// Virtual time after it, nanoseconds.
    pub at_ns: u64,
    /// The task that took it.
    pub task: u32,
    /// Its CPU.
    pub cpu: u32,
    /// The step's name.
    pub step: &'static str,
    /// The page it was about.
    pub frame: Option<Frame>,
}

/// The steps of all tasks in the order of their times.
fn taken(rings: &[Ring]) -> Vec<Taken> {
    let events = rings.iter().flat_map(Ring::events);
    let mut steps: Vec<Taken> = events
        .filter_map(|&Traced { at_ns, thread: task, cpu, deed }| match deed {
            Deed::Step(step, frame) => {
                let frame = (frame != NO_FRAME).then_some(frame);
                Some(Taken { at_ns, task, cpu, step: step.name(), frame })
            }
            _ => None,
        })
        .collect();
    steps.sort_by_key(|step| step.at_ns);
    steps
}

/// A machine with CPUs, a kernel's rules and a policy, on the simulator.
pub struct Session {
    m: Arc<Machine>,
    policy: Arc<Policy>,
    lab: Lab,
    kworkers: Kworkers,
    costs: Costs,
    /// What the caller counts, and what all kworkers do.
    counters: [Arc<Counters>; 2],
    pub(super) pins: Vec<Option<Live>>,
    /// By page of a mapping: what was held there, which may have left it since.
    pub(super) held: HashMap<(u32, u32), Vec<Frame>>,
    transfers: u64,
    trace: Vec<Taken>,
    /// Sweeps beyond those that the policy allows, by number or until a deadline, that make
    /// a call one that never ends.
    pub sweep_limit: u64,
    /// What else ends a call.
    pub limits: Limits,
    /// Why the last call was given up, if it was.
    stopped: Option<String>,
    /// Whether it was given up because it went on and on.
    endless: bool,
    /// The mappings that scripts know by name.
    pub(super) names: HashMap<Name, u32>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("cpus", &self.m.cpus.len()).finish_non_exhaustive()
    }
}

/// Most CPUs of a session: it steps one thing at a time, and so many of them.
pub const MOST_SESSION_CPUS: i64 = 1024;

/// Memory of a session unless it is told otherwise.
pub const SESSION_LAYOUT: Layout = Layout { normal: 4096, movable: 8192, cma: 0, page_bytes: 64 };

impl Session {
    /// A fresh machine.
    pub fn new(rules: Rules, policy: Policy, layout: &Layout, cpus: usize) -> Self {
        let m = Arc::new(Machine::new(rules, layout, cpus));
        let counters = [Arc::<Counters>::default(), Arc::default()];
        Self {
            kworkers: Kworkers::of(&m, &counters[1]),
            m,
            policy: Arc::new(policy),
            lab: Lab::tracing(TRACED),
            costs: Costs::default(),
            counters,
            pins: Vec::new(),
            held: HashMap::new(),
            transfers: 0,
            trace: Vec::new(),
            sweep_limit: 1000,
            limits: Limits::default(),
            stopped: None,
            endless: false,
            names: HashMap::new(),
        }
    }

    /// The machine.
    pub fn machine(&self) -> &Machine {
        &self.m
    }

    /// The steps that the last call took, at most the latest 65,536 of each task: task 0 is
    /// the caller, the others kworkers.
    pub fn trace(&self) -> &[Taken] {
        &self.trace
    }

    /// Why the last call was given up, if it was told to stop or took too long.
    pub(super) fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    /// Whether the last call was given up because it went on and on.
    pub(super) fn is_endless(&self) -> bool {
        self.endless
    }

    fn totals(&self) -> Totals {
        let mut sum = Totals::default();
        self.counters.iter().for_each(|counters| sum.add(&counters.totals()));
        sum
    }

    /// Runs one operation on a CPU, with every kworker at hand, to its end.
    pub(super) fn call<R: 'static>(
        &mut self,
        cpu: usize,
        operation: impl FnOnce(&Task<'_, SimThread<'_>>) -> R + 'static,
    ) -> Result<R, OpError> {
        self.check_cpu(cpu)?;
        let answer = Rc::new(RefCell::new(None));
        let task = self.main_task(cpu, &answer, operation);
        let counters = Arc::clone(&self.counters[0]);
        let policy = &self.policy;
        let tries = [policy.isolate_retries, policy.migrate_retries].map(Count::or_zero);
        let limit = self.sweep_limit + tries.iter().map(|&n| u64::from(n)).sum::<u64>();
        let deadline = policy.deadline.0;
        let most_ran = deadline.saturating_add(self.limits.ran.as_nanos() as u64);
        let mut before = counters.get(Event::Sweeps);
        let mut deadlock = None;
        let (began, limits) = (Instant::now(), self.limits.clone());
        let (mut stopped, mut endless) = (None, false);
        let report = self.lab.run(
            Box::new(Timed::new(u64::MAX / 2)),
            &self.costs,
            0,
            vec![task],
            Some(&self.kworkers),
            &mut |now, tasks| {
                let waits = tasks.deadlock();
                if !waits.is_empty() {
                    deadlock = Some(waits);
                    return Decision::Kill;
                }
                let sweeps = counters.get(Event::Sweeps);
                if now <= deadline {
                    before = sweeps;
                }
                endless |= sweeps - before > limit || tasks.ran(0) > most_ran;
                if endless { Decision::Kill } else { Decision::Continue(now + 1_000_000) }
            },
            &mut |_| {
                if stopped.is_none() {
                    stopped = limits.stop(began);
                }
                stopped.is_none()
            },
        );
        self.trace = taken(&report.trace);
        self.stopped = stopped;
        self.endless = endless;
        match report.end {
            SimEnd::Done if deadlock.is_none() => Ok(answer.take().expect("the task has returned")),
            SimEnd::Done | SimEnd::Deadlock(_) => {
                let waits = deadlock.unwrap_or_default();
                let waits: Vec<String> = waits.iter().map(|(_, on)| on.describe()).collect();
                Err(OpError::Stuck(format!("deadlock: nobody can run, waiting for {}", waits.join(", "))))
            }
            SimEnd::NoStack(why) => Err(OpError::Resource(format!("no memory for its threads: {why}"))),
            SimEnd::Panicked(_, message) => Err(OpError::Bug(message)),
        }
    }

    fn main_task<R: 'static>(
        &self,
        cpu: usize,
        answer: &Rc<RefCell<Option<R>>>,
        operation: impl FnOnce(&Task<'_, SimThread<'_>>) -> R + 'static,
    ) -> SimTask {
        let (m, counters) = (Arc::clone(&self.m), Arc::clone(&self.counters[0]));
        let answer = Rc::clone(answer);
        SimTask {
            cpu,
            place: Arc::default(),
            killable: true,
            daemon: false,
            body: Box::new(move |thread| {
                let task = Task::new(&m, thread, &counters, cpu);
                *answer.borrow_mut() = Some(operation(&task));
            }),
        }
    }

    pub(super) fn check_cpu(&self, cpu: usize) -> Result<(), OpError> {
        let cpus = self.m.cpus.len();
        if cpu < cpus {
            return Ok(());
        }
        Err(OpError::Misuse(format!("no cpu {cpu}: this machine has 0 to {}", cpus - 1)))
    }

    /// Checks that a range lies in a mapping that is still there.
    pub(super) fn check(&self, mapping: u32, range: &Range<u32>) -> Result<(), OpError> {
        let Some(found) = self.m.mappings().find(|known| known.id == mapping) else {
            return Err(OpError::Misuse(format!("no mapping {mapping}")));
        };
        if found.vma.is_gone() {
            return Err(OpError::Misuse(format!("mapping {mapping} has been unmapped")));
        }
        let len = found.vma.len();
        if range.start >= range.end || range.end > len {
            return Err(OpError::Misuse(format!(
                "pages {}..{} are out of bounds: mapping {mapping} has pages 0..{len}",
                range.start, range.end
            )));
        }
        Ok(())
    }

    /// Long-term pins a range.
    pub fn pin(
        &mut self,
        cpu: usize,
        mapping: u32,
        range: Range<u32>,
        write: bool,
    ) -> Result<Outcome, OpError> {
        self.pin_by(Caller::IoUring, cpu, mapping, range, write)
    }

    /// The same by any caller.
    pub fn pin_by(
        &mut self,
        caller: Caller,
        cpu: usize,
        mapping: u32,
        range: Range<u32>,
        write: bool,
    ) -> Result<Outcome, OpError> {
        self.check(mapping, &range)?;
        if caller == Caller::Udmabuf {
            self.check_memfd(mapping)?;
        }
        let before = self.totals();
        let policy = Arc::clone(&self.policy);
        self.transfers += 1;
        let dma = self.free_word(mapping).filter(|_| write).map(|word| Dma { word, token: !self.transfers });
        let (result, pin, truth) = self.on(cpu, mapping, range.clone(), move |t, m, range| {
            let request = PinRequest::new(&policy, m, range, write);
            let mut pin = Pin::default();
            let result = t.pin_longterm_by(caller, &request, &mut pin);
            let truth = class(t.m, &request.by(caller), result, &pin.pages);
            if let Some(dma) = dma {
                t.dma_start(dma, &pin.pages);
            }
            (result, pin, truth)
        })?;
        // Whatever errno it ended with: who was given up has not failed.
        if let (Err(_), Some(why)) = (result, self.stopped()) {
            return Err(OpError::Stopped(why.to_owned()));
        }
        let stuck = result.is_err() && (self.is_endless() || result == Err(Errno::EINTR));
        let truth = if stuck { Class::Stuck } else { truth };
        let error = result.err().filter(|_| !stuck);
        let pin_number = result.is_ok().then(|| {
            self.pins.push(Some(Live { mapping, range, pages: pin.pages, dma }));
            self.pins.len() - 1
        });
        Ok(Outcome {
            error,
            class: truth,
            counters: self.totals().since(&before),
            sweeps: pin.sweeps,
            pin: pin_number,
        })
    }

    /// Checks that `memfd_pin_folios` takes a mapping's file, on this kernel.
    fn check_memfd(&self, mapping: u32) -> Result<(), OpError> {
        let kind = self.m.mapping(mapping).kind;
        if !self.m.rules.memfd_pin {
            let kernel = &self.m.rules.name;
            return Err(OpError::Misuse(format!(
                "udmabuf: {kernel} has no memfd_pin_folios; nearest: linux-6.12.43"
            )));
        }
        if !kind.is_memfd() {
            let kind = kind_name(kind);
            return Err(OpError::Misuse(format!(
                "udmabuf: mapping {mapping} is {kind}, not a memfd; nearest: shmem"
            )));
        }
        Ok(())
    }

    /// A word of every page that no device of another pin of the mapping owns.
    fn free_word(&self, mapping: u32) -> Option<usize> {
        let others = self.pins.iter().flatten().filter(|pin| pin.mapping == mapping);
        let taken: Vec<usize> = others.filter_map(|pin| Some(pin.dma?.word)).collect();
        (0..self.m.memory.payload.words_per_frame()).find(|word| !taken.contains(word))
    }

    /// Drops a pin, after checking that its DMA reached the mapping.
    pub fn unpin(&mut self, cpu: usize, pin: usize) -> Result<(), OpError> {
        self.check_cpu(cpu)?;
        let Some(live) = self.pins.get_mut(pin).and_then(Option::take) else {
            return Err(OpError::Misuse(format!("pin {pin} is not held: unpinned twice, or never taken")));
        };
        let wrong = self.call(cpu, move |t| {
            let Live { mapping, range, pages, dma } = live;
            let wrong = dma.and_then(|dma| t.dma_finish(dma, t.m.mapping(mapping), range, &pages));
            t.unpin_user_pages(&pages);
            wrong
        })?;
        match wrong {
            None => Ok(()),
            Some(wrong) => Err(OpError::Bug(format!("the pin's DMA was lost: {wrong:?}"))),
        }
    }

    /// Pages of a pin that its device and the program no longer share: by index, those in whose
    /// place the mapping shows another frame or none.
    pub fn severed(&self, pin: usize) -> Result<Vec<u32>, OpError> {
        let Some(live) = self.pins.get(pin).and_then(Option::as_ref) else {
            return Err(OpError::Misuse(format!("pin {pin} is not held: unpinned, or never taken")));
        };
        let mapping = self.m.mapping(live.mapping);
        let pages = live.range.clone().zip(&live.pages);
        Ok(pages.filter(|&(index, &frame)| !mapping.shows(index, frame)).map(|(index, _)| index).collect())
    }

    /// The state of one page of a mapping; `None` where none is present.
    pub fn page(&self, mapping: u32, index: u32) -> Result<Option<PageState>, OpError> {
        self.check(mapping, &(index..index + 1))?;
        let pte = self.m.mapping(mapping).vma.pte(index);
        Ok(pte.is_present().then(|| self.m.page_state(pte.frame())))
    }

    /// Recounts every invariant.
    pub fn recount(&self) -> Recount {
        let mut held: HashMap<Frame, i32> = HashMap::new();
        for &frame in self.held.values().flatten() {
            *held.entry(frame).or_default() += 1;
        }
        for live in self.pins.iter().flatten() {
            for &frame in &live.pages {
                *held.entry(frame).or_default() += self.m.pin_refs(frame);
            }
        }
        self.m.validate(&held, &[])
    }
}
