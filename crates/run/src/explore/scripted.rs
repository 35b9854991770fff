//! A concurrent scenario: its threads, beside each other, on a machine that its first steps set up.

use super::subject::{
    Kind, Known, Look, Outcome, Seen, Subject, add_pages, broken, of_classes, of_end, words,
};
use crate::config::Count;
use crate::drive::sim::{Kworkers, SimEnd, SimTask, SimThread};
use crate::drive::{Costs, Driver, Step, TaskId};
use crate::error::{Error, Result};
use crate::judge::Class;
use crate::litmus::{Book, Names, Scenario, Session, Stage};
use crate::machine::NO_FRAME;
use crate::machine::{
    Backing, CpuId, Digest, Frame, Kind as Contents, Layout, Machine, MappingId, PAGEBLOCK, Recount,
};
use crate::observe::{Event, Totals};
use crate::ops::Task;
use crate::policy::{Policy, Rules};
use crate::script::{Condition, Counted as _, End, Fact, Op, OpError, Stmt, play};
use crate::stress::shared::Slot;
use crate::sync::Mutex;
use gupstress_machine::restore::Restore;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// Most CPUs of a scenario with threads: each has a kworker, and a choice has a bit for each task.
pub const MOST_CPUS: usize = 32;
/// Most pages that its steps may map, all in all.
pub const MOST_PAGES: u32 = 4096;

/// One of several threads, each of which does its steps beside the others.
struct Beside<'t> {
    thread: &'t SimThread<'t>,
    m: &'t Machine,
    slot: &'t Slot,
    cpu: Option<CpuId>,
    /// The mappings that its steps make, made before: which number one gets depends on nobody else.
    fresh: std::slice::Iter<'t, MappingId>,
}

impl Stage for Beside<'_> {
    fn call<R: 'static>(
        &mut self,
        cpu: CpuId,
        operation: impl FnOnce(&Task<'_, SimThread<'_>>) -> R + 'static,
    ) -> std::result::Result<R, OpError> {
        if self.cpu.replace(cpu) != Some(cpu) {
            self.thread.moved_to(cpu);
        }
        self.thread.step(Step::Idle, NO_FRAME);
        if self.thread.killed() {
            return Err(OpError::Stopped("the run is over".to_owned()));
        }
        Ok(operation(&Task::new(self.m, self.thread, &self.slot.counters, cpu)))
    }

    fn map(&mut self, _: &Machine, _: Backing, _: u32) -> MappingId {
        *self.fresh.next().expect("one was made for each step that maps")
    }

    fn totals(&self) -> Totals {
        self.slot.counters.totals()
    }

    fn begins(&mut self) {
        self.slot.begin(self.thread.now());
    }

    fn ended(&mut self, class: Class) {
        self.slot.finish();
        self.slot.count(class, 0);
    }
}

/// What one thread came to.
#[derive(Debug, Default, Clone)]
struct Came {
    /// Its last pin: `ok` or an errno.
    result: Option<String>,
    /// The step that could not be done.
    failed: Option<String>,
}

/// A concurrent scenario to explore.
pub struct Script {
    inner: Rc<Inner>,
    ready: Machine,
    /// After the first steps.
    book: Book,
    /// Nothing counted.
    idle: Box<[Slot]>,
    kworkers: Kworkers,
    costs: Costs,
}

struct Inner {
    m: Arc<Machine>,
    policy: Arc<Policy>,
    scenario: Arc<Scenario>,
    /// Those that are about this kernel.
    conditions: Vec<Condition>,
    names: Names,
    book: Arc<Mutex<Book>>,
    /// Of each thread, then of what comes last: the mappings that its steps make.
    fresh: Vec<Vec<MappingId>>,
    /// Of each thread, then of what comes last, then of each kworker.
    slots: Arc<[Slot]>,
    came: RefCell<Vec<Came>>,
    left: Cell<usize>,
}

/// Pages of the mapping that a step makes, if it makes one.
fn made(step: &Stmt) -> Option<(Backing, u32)> {
    match &step.op {
        Op::Map(fresh) => Some((fresh.backing, fresh.pages)),
        Op::Fill(pages) => Some((Contents::Anon.into(), *pages)),
        _ => None,
    }
}

impl Script {
    /// Does the first steps, the same way every time.
    pub fn new(rules: &Rules, policy: &Policy, scenario: &Arc<Scenario>) -> Result<Self> {
        let program = &scenario.program;
        let wrong = |reason: String| Err(Error::config(&scenario.name, reason));
        if program.cpus > MOST_CPUS {
            let reason = "is more than an exploration can choose among";
            return wrong(format!("cpus: {} {reason}; nearest: {MOST_CPUS}", program.cpus));
        }
        let pages: u32 = program.all().filter_map(made).fold(0, |sum, (_, n)| sum.saturating_add(n));
        if pages > MOST_PAGES {
            return wrong(format!("{pages} pages: an exploration is small; nearest: {MOST_PAGES} pages"));
        }
        // Room for each page to be copied, in either place, and for what is under way.
        let room = 2 * pages + 16 * program.cpus as u32 + 32;
        // Whole blocks where one is taken: the zero page comes on top, in the first.
        let blocks =
            if program.all().any(|step| matches!(step.op, Op::Contig(_) | Op::Offline(_))) { 3 } else { 0 };
        let movable = room.max((blocks * PAGEBLOCK).saturating_sub(1));
        let layout = Layout { normal: room, movable, cma: 0, page_bytes: 64 };
        let fresh = || Machine::new(rules.clone(), &layout, program.cpus);
        let (m, policy) = (Arc::new(fresh()), Arc::new(policy.clone()));
        let mut session = Session::on_machine(&m, &policy);
        program.play(&mut session).map_err(|step| Error::config(&scenario.name, step.to_string()))?;
        let lists = program.threads.iter().map(|thread| &thread.steps).chain([&program.after]);
        let map = |steps: &Vec<Stmt>| {
            steps.iter().filter_map(made).map(|(kind, pages)| m.map(kind, pages).id).collect()
        };
        let numbers = lists.map(map).collect();
        let ready = fresh();
        m.mappings().for_each(|made| _ = ready.map(made.backing(), made.vma.len()));
        ready.restore(&m);
        let threads = program.threads.len();
        let count = threads + 1 + m.cpus.len();
        let slots = || (0..count).map(|_| Slot::default());
        let shown: Arc<[Slot]> = slots().collect();
        let (worked, counted) = (Arc::clone(&m), Arc::clone(&shown));
        let kworkers = Kworkers::new(
            shown[threads + 1..].iter().map(|slot| Arc::clone(&slot.place)),
            Arc::new(move |thread, cpu| {
                Task::new(&worked, thread, &counted[threads + 1 + cpu.at()].counters, cpu).drain_works();
            }),
        );
        let (names, book) = session.into_parts();
        let ready_book = book.lock().clone();
        let inner = Inner {
            policy,
            conditions: scenario.about(&rules.name).map(|(_, condition)| condition.clone()).collect(),
            scenario: Arc::clone(scenario),
            names,
            book,
            fresh: numbers,
            slots: shown,
            came: RefCell::default(),
            left: Cell::new(0),
            m,
        };
        let idle = slots().collect();
        Ok(Self { inner: Rc::new(inner), ready, book: ready_book, idle, kworkers, costs: Costs::default() })
    }
}

impl Inner {
    fn threads(&self) -> usize {
        self.scenario.program.threads.len()
    }

    /// One list of steps, done by a thread; its counters go to `slot`.
    fn play(&self, thread: &SimThread<'_>, steps: &[Stmt], list: usize, start: CpuId) {
        let slot = &self.slots[list];
        // Where it is now does not matter: its first step moves it.
        let stage = Beside { thread, m: &self.m, slot, cpu: None, fresh: self.fresh[list].iter() };
        let mut session = Session::beside(&self.m, &self.policy, self.names.clone(), &self.book, stage);
        let mut cpu = start;
        let came = match play(steps, &mut cpu, &mut session) {
            // The run was ended: whoever is in a call has not failed.
            Err(_) if thread.killed() => return,
            Err(step) => Came { result: None, failed: Some(step.to_string()) },
            Ok(last) => {
                let result = last.and_then(|outcome| outcome.value("result"));
                Came { result: result.and_then(|word| word.as_str().map(str::to_owned)), failed: None }
            }
        };
        self.came.borrow_mut()[list] = came;
    }

    /// A thread's whole life. The last one to be through does what comes last.
    fn run(&self, thread: &SimThread<'_>, id: usize) {
        let program = &self.scenario.program;
        let own = &program.threads[id];
        self.play(thread, &own.steps, id, own.cpu);
        self.left.set(self.left.get() - 1);
        if self.left.get() == 0 && !program.after.is_empty() && !thread.killed() {
            self.play(thread, &program.after, self.threads(), CpuId(0));
        }
    }

    fn recount(&self) -> Recount {
        let known = self.book.lock().known(&self.m);
        self.m.validate(&known)
    }

    fn classes(&self) -> impl Iterator<Item = [u64; Class::COUNT]> + '_ {
        self.slots[..=self.threads()].iter().map(Slot::classes)
    }

    fn found(&self, end: &SimEnd, endless: bool) -> u8 {
        self.classes().fold(of_end(end, endless), |found, classes| found | of_classes(&classes))
    }

    /// Conditions that this end fulfils, by bit.
    fn met(&self, found: u8) -> u64 {
        let end = Ended { inner: self, found };
        let met = self.conditions.iter().map(|condition| condition.holds(&end));
        (0..).zip(met).fold(0, |bits, (at, met)| bits | u64::from(met) << at)
    }
}

/// The end of a run, as conditions ask for it.
struct Ended<'i> {
    inner: &'i Inner,
    found: u8,
}

impl End for Ended<'_> {
    fn result(&self, thread: &str) -> Option<String> {
        let threads = &self.inner.scenario.program.threads;
        let at = threads.iter().position(|known| known.name == thread)?;
        let stuck = self.inner.slots[at].call().is_some();
        if stuck { Some("stuck".to_owned()) } else { self.inner.came.borrow()[at].result.clone() }
    }

    fn count(&self, thread: Option<&str>, event: Event) -> u64 {
        let threads = &self.inner.scenario.program.threads;
        let of = |name| threads.iter().position(|known| known.name == name);
        match thread.map(of) {
            Some(at) => at.map_or(0, |at| self.inner.slots[at].counters.get(event)),
            None => self.inner.slots.iter().map(|slot| slot.counters.get(event)).sum(),
        }
    }

    fn fact(&self, fact: Fact) -> bool {
        let kind = match fact {
            Fact::Unsafe => Kind::Unsafe,
            Fact::Stuck => Kind::Stuck,
            Fact::Spurious => Kind::Spurious,
            Fact::Broken => Kind::Broken,
        };
        self.found & kind.bit() != 0
    }
}

impl Subject for Script {
    fn machine(&self) -> &Machine {
        &self.inner.m
    }

    fn names(&self) -> Vec<String> {
        let threads = self.inner.scenario.program.threads.iter().map(|thread| thread.name.clone());
        threads.chain((0..self.inner.m.cpus.len()).map(|cpu| format!("kworker/{cpu}"))).collect()
    }

    fn threads(&self) -> usize {
        self.inner.threads()
    }

    fn restore(&self) {
        let inner = &self.inner;
        (*inner.m).restore(&self.ready);
        (*inner.slots).restore(&self.idle);
        inner.book.lock().clone_from(&self.book);
        let mut came = inner.came.borrow_mut();
        came.clear();
        came.resize(inner.threads() + 1, Came::default());
        inner.left.set(inner.threads());
    }

    fn tasks(&self) -> Vec<SimTask> {
        let threads = self.inner.scenario.program.threads.iter().enumerate();
        let task = |(id, thread): (usize, &crate::script::Thread)| {
            let inner = Rc::clone(&self.inner);
            SimTask {
                cpu: thread.cpu,
                place: Arc::clone(&self.inner.slots[id].place),
                killable: true,
                daemon: false,
                body: Box::new(move |thread| inner.run(thread, id)),
            }
        };
        threads.map(task).collect()
    }

    fn kworkers(&self) -> &Kworkers {
        &self.kworkers
    }

    fn costs(&self) -> &Costs {
        &self.costs
    }

    fn sweeps(&self, thread: TaskId) -> Option<u64> {
        let slot = &self.inner.slots[thread];
        slot.call().map(|_| slot.sweeps_of_call())
    }

    fn sweep_limit(&self) -> u64 {
        let policy = &self.inner.policy;
        let tries = [policy.isolate_retries, policy.migrate_retries].map(Count::or_zero);
        64 + tries.iter().map(|&tries| u64::from(tries)).sum::<u64>()
    }

    fn see(&self, end: &SimEnd, endless: bool, known: &mut Known) -> Seen {
        let inner = &self.inner;
        let mut found = inner.found(end, endless);
        let mut state = Digest::default();
        state.add(u64::from(found));
        inner.classes().for_each(|classes| classes.into_iter().for_each(|n| state.add(n)));
        let m = &inner.m;
        m.mappings().for_each(|mapping| add_pages(m, mapping, &mut state));
        if matches!(end, SimEnd::Done) && !endless {
            // The same pages with other references on the book are not the same.
            let mut all = Digest::default();
            all.add(m.digest());
            let book = inner.book.lock();
            let live = book.pins.iter().flatten().flat_map(|pin| &pin.pin.pages).copied();
            live.for_each(|frame| all.add(u64::from(frame.0)));
            all.add(u64::from(NO_FRAME.0));
            let mut held: Vec<Frame> = book.held.values().flatten().copied().collect();
            drop(book);
            held.sort_unstable();
            held.into_iter().for_each(|frame| all.add(u64::from(frame.0)));
            if known.is_broken(all.finish(), || !inner.recount().broken.is_empty()) {
                found |= Kind::Broken.bit();
            }
        }
        let met = inner.met(found);
        state.add(met);
        found |= if met == 0 { 0 } else { Kind::Outcome.bit() };
        let failed = inner.came.borrow().iter().any(|came| came.failed.is_some());
        Seen { found, state: state.finish(), met, failed }
    }

    fn outcome(&self, end: &SimEnd, endless: bool) -> Outcome {
        let inner = &self.inner;
        let mut found = inner.found(end, endless);
        let broken = broken(end, endless, || inner.recount());
        found |= if broken.is_some() { Kind::Broken.bit() } else { 0 };
        let met = inner.met(found);
        found |= if met == 0 { 0 } else { Kind::Outcome.bit() };
        let conditions = inner.conditions.iter().enumerate().filter(|(at, _)| met >> at & 1 == 1);
        let threads = inner.slots[..inner.threads()].iter().zip(&inner.scenario.program.threads);
        Outcome {
            found: Kind::ALL.into_iter().filter(|kind| found & kind.bit() != 0).collect(),
            threads: threads
                .map(|(slot, thread)| {
                    let pins = thread.steps.iter().filter(|step| step.op.is_pin()).count() as u64;
                    let stuck = found & Kind::Stuck.bit() != 0;
                    words(&slot.classes(), slot.call().is_some(), stuck.then_some(pins))
                })
                .collect(),
            broken,
            conditions: conditions.map(|(_, condition)| condition.to_string()).collect(),
        }
    }

    fn failure(&self) -> Option<String> {
        let came = self.inner.came.borrow();
        let mut failed =
            came.iter().enumerate().filter_map(|(list, came)| Some((list, came.failed.clone()?)));
        let (list, step) = failed.next()?;
        let thread = self.inner.scenario.program.threads.get(list);
        let of = thread.map_or("after".to_owned(), |thread| format!("threads.{}", thread.name));
        Some(format!("{}: {of} {step}", self.inner.scenario.name))
    }

    fn hindrance(&self, thread: TaskId) -> Option<String> {
        let (step, by) = self.inner.slots[thread].place.hindered()?;
        Some(format!("{} at {}", by.obstacle.describe(), step.name()))
    }

    fn look(&self) -> Look {
        let m = Arc::clone(&self.inner.m);
        Arc::new(move |frame| m.page_state(frame))
    }

    fn counters(&self) -> Totals {
        let mut sum = Totals::default();
        self.inner.slots.iter().for_each(|slot| sum.add(&slot.counters.totals()));
        sum
    }
}
