//! Who does one thing at a time: each operation is carried to its end on the simulator.

use super::session::Stage;
use crate::config::{Count, Ns};
use crate::drive::sim::{Kworkers, Lab, SimEnd, SimTask, SimThread};
use crate::drive::{Costs, Decision, Timed};
use crate::machine::NO_FRAME;
use crate::machine::{Backing, CpuId, Frame, Machine, MappingId};
use crate::observe::{Counters, Deed, Event, Ring, Totals, Traced};
use crate::ops::Task;
use crate::policy::Policy;
use crate::script::OpError;
use serde::Serialize;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

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

/// One step as it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Taken {
    /// Virtual time after it, nanoseconds.
    pub at_ns: u64,
    /// The task that took it.
    pub task: u32,
    /// Its CPU.
    pub cpu: CpuId,
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

/// A caller with every kworker at hand, and nobody else.
pub struct Alone {
    m: Arc<Machine>,
    policy: Arc<Policy>,
    lab: Lab,
    kworkers: Kworkers,
    costs: Costs,
    /// What the caller counts, and what all kworkers do.
    counters: [Arc<Counters>; 2],
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
}

impl Alone {
    pub(super) fn new(m: &Arc<Machine>, policy: &Arc<Policy>) -> Self {
        let counters = [Arc::<Counters>::default(), Arc::default()];
        Self {
            kworkers: Kworkers::of(m, &counters[1]),
            m: Arc::clone(m),
            policy: Arc::clone(policy),
            lab: Lab::tracing(TRACED),
            costs: Costs::default(),
            counters,
            trace: Vec::new(),
            sweep_limit: 1000,
            limits: Limits::default(),
            stopped: None,
            endless: false,
        }
    }

    /// The steps that the last call took, at most the latest 65,536 of each task: task 0 is
    /// the caller, the others kworkers.
    pub fn trace(&self) -> &[Taken] {
        &self.trace
    }

    fn main_task<R: 'static>(
        &self,
        cpu: CpuId,
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
}

impl Stage for Alone {
    fn map(&mut self, m: &Machine, backing: Backing, pages: u32) -> MappingId {
        m.map(backing, pages).id
    }

    fn totals(&self) -> Totals {
        let mut sum = Totals::default();
        self.counters.iter().for_each(|counters| sum.add(&counters.totals()));
        sum
    }

    fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    fn is_endless(&self) -> bool {
        self.endless
    }

    fn call<R: 'static>(
        &mut self,
        cpu: CpuId,
        operation: impl FnOnce(&Task<'_, SimThread<'_>>) -> R + 'static,
    ) -> Result<R, OpError> {
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
}
