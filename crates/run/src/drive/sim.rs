//! The driver of simulated threads: coroutines on one OS thread and a virtual clock.
//!
//! Every task has a stack of its own. At each step it says what the step
//! costs, the [`Strategy`] chooses who goes on, and the same task goes on without a
//! switch if it is chosen again. A wait takes a task out of the choice
//! until it is woken or its deadline comes. Nothing here depends on the host:
//! the same tasks, strategy and seed give the same run.
//!
//! Each CPU has a clock; a task's step starts when both the task and its CPU
//! are free, and moves both on. So CPUs run in parallel, and tasks on one CPU
//! share it. The supervisor is an event like any other: whatever jumps, no step
//! begins before the supervisor has seen the times that it asked for.
//!
//! A kworker is no task until work is queued for its CPU, and none when it is done.

pub use super::world::{Observer, SimThread};

use super::choice::{Strategy, TaskId};
use super::world::{Next, Status, TaskState, Traces, WATCH_EVERY, World};
use super::{Control, Costs, Decision, Place, Wait};
use crate::machine::{CpuId, Machine};
use crate::observe::{Counters, Ring};
use crate::ops::Task;
use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

/// A task's body.
pub type Body = Box<dyn FnOnce(&SimThread<'_>)>;

/// One task to run.
pub struct SimTask {
    /// The CPU it starts on.
    pub cpu: CpuId,
    /// Where it publishes its steps.
    pub place: Arc<Place>,
    /// Whether it is to end when the run is killed.
    pub killable: bool,
    /// Whether the run is over without it: killed once all others have returned.
    pub daemon: bool,
    /// What it does.
    pub body: Body,
}

/// Does the work that is queued for a CPU, and returns when there is none.
pub type Work = Arc<dyn Fn(&SimThread<'_>, CpuId) + Send + Sync>;

/// The kworkers of a run, numbered after its tasks. They outlive the others' death.
#[derive(Clone)]
pub struct Kworkers {
    places: Arc<[Arc<Place>]>,
    work: Work,
}

impl Kworkers {
    /// One for each of `places`, where it publishes its steps. Whoever looks finds one that is no
    /// task waiting for work, as one on real threads would be.
    pub fn new(places: impl IntoIterator<Item = Arc<Place>>, work: Work) -> Self {
        let places: Arc<[_]> = places.into_iter().collect();
        CpuId::all(places.len()).zip(&*places).for_each(|(cpu, place)| place.wait(Wait::Work(cpu), u64::MAX));
        Self { places, work }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Those of a machine, which count together.
    pub fn of(m: &Arc<Machine>, counters: &Arc<Counters>) -> Self {
        let (m, counters) = (Arc::clone(m), Arc::clone(counters));
        let places: Vec<Arc<Place>> = m.cpus.iter().map(|_| Arc::default()).collect();
        Self::new(places, Arc::new(move |thread, cpu| Task::new(&m, thread, &counters, cpu).drain_works()))
    }
}

/// How a simulation ended.
#[derive(Debug)]
pub enum SimEnd {
    /// Every task returned.
    Done,
    /// Some tasks wait for ever, even killed or with nobody to kill them: who for what.
    Deadlock(Vec<(TaskId, Wait)>),
    /// A task panicked, with its message.
    Panicked(TaskId, String),
    /// The host has no memory for a task's stack: why.
    NoStack(String),
}

/// What a simulation did.
#[derive(Debug)]
pub struct SimReport {
    /// How it ended.
    pub end: SimEnd,
    /// Virtual nanoseconds that passed.
    pub now: u64,
    /// Steps taken.
    pub steps: u64,
    /// What each task that did anything did, where that was wanted.
    pub trace: Vec<Ring>,
}

/// What a supervisor may see of the tasks and do to them.
pub struct Supervision<'w>(&'w World);

impl Supervision<'_> {
    /// Virtual time that a task has spent on a CPU, nanoseconds.
    pub fn ran(&self, task: TaskId) -> u64 {
        self.0.tasks.borrow().get(task).map_or(0, |state| state.ran)
    }

    /// Who waits for what, if nobody can run; otherwise empty.
    pub fn deadlock(&self) -> Vec<(TaskId, Wait)> {
        if self.0.idle.get() { self.0.stuck() } else { Vec::new() }
    }
}

impl Control for Supervision<'_> {
    fn cpu_time(&self, thread: usize) -> Option<u64> {
        Some(self.ran(thread))
    }
    fn pause_all_but(&self, thread: usize) {
        self.0.exempt.set(Some(thread));
    }
    fn resume(&self) {
        self.0.exempt.set(None);
        self.0.wake(Wait::Paused, self.0.now.get());
    }
}

/// Asked at the virtual times it wants to be asked at.
pub type Supervise<'s> = dyn FnMut(u64, &Supervision<'_>) -> Decision + 's;

/// Asked now and then, however slowly virtual time passes; false kills the run.
///
/// What it answers must come from outside the simulation, which is otherwise the same every time.
pub type Watch<'s> = dyn FnMut(u64) -> bool + 's;

type Coro = Coroutine<(), (), Result<(), String>, DefaultStack>;

/// A task's stack and what it has on it.
enum Fiber {
    Fresh(SimTask),
    Running(Coro),
    Gone,
}

/// Runs simulations; keeps stacks from one to the next.
#[derive(Default)]
pub struct Lab {
    stacks: Vec<DefaultStack>,
    tasks: Vec<TaskState>,
    clocks: Vec<u64>,
    daemons: Vec<bool>,
    /// Events of each task that its reports hold.
    traces: Option<usize>,
    observer: Option<Observer>,
}

impl std::fmt::Debug for Lab {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lab").field("stacks", &self.stacks.len()).finish_non_exhaustive()
    }
}

/// Bytes of a task's stack; mapped, and touched only as deep as used.
const STACK: usize = 256 * 1024;

impl Lab {
    /// One whose reports hold the `last` events of each task.
    pub fn tracing(last: usize) -> Self {
        Self { traces: Some(last), ..Self::default() }
    }

    /// Whether, and how many of, the events of each task are kept in the runs to come.
    pub fn trace(&mut self, last: Option<usize>) {
        self.traces = last;
    }

    /// Who is told of everything that any task does in the runs to come, as it does it.
    pub fn observe(&mut self, observer: Option<Observer>) {
        self.observer = observer;
    }

    /// Runs `tasks` until all have returned.
    ///
    /// `supervise` is called at virtual time 0 and whenever the time it asked
    /// for has come; it may kill the run, upon which killable tasks return. So may `watch`.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is one thing, and a struct would only name them again"
    )]
    pub fn run(
        &mut self,
        strategy: Box<dyn Strategy>,
        costs: &Costs,
        seed: u64,
        tasks: Vec<SimTask>,
        kworkers: Option<&Kworkers>,
        supervise: &mut Supervise<'_>,
        watch: &mut Watch<'_>,
    ) -> SimReport {
        if let Err(why) = self.reserve(tasks.len()) {
            return SimReport { end: SimEnd::NoStack(why), now: 0, steps: 0, trace: Vec::new() };
        }
        let given = tasks.len();
        let mains = tasks.iter().filter(|task| !task.daemon).count();
        self.daemons.clear();
        self.daemons.extend(tasks.iter().map(|task| task.daemon));
        let cpus = kworkers.map_or(0, |kworkers| kworkers.places.len());
        self.tasks.clear();
        self.tasks.extend(tasks.iter().map(|task| TaskState::new(task.cpu, Status::Ready)));
        self.clocks.clear();
        self.clocks.resize(self.tasks.iter().map(|task| task.cpu.at() + 1).max().unwrap_or(0), 0);
        // Not kept with the stacks: a lab goes from thread to thread, its coroutines do not.
        let mut fibers: Vec<Fiber> = tasks.into_iter().map(Fiber::Fresh).collect();
        let world = Rc::new(World {
            strategy: RefCell::new(strategy),
            trace: self.traces.map(Traces::new),
            observer: self.observer.clone(),
            tasks: RefCell::new(std::mem::take(&mut self.tasks)),
            kworkers: given..given + cpus,
            alive: Cell::new(given),
            mains: Cell::new(mains),
            cpu_clocks: RefCell::new(std::mem::take(&mut self.clocks)),
            waiting: RefCell::new(HashMap::new()),
            costs: costs.clone(),
            killed: Cell::new(false),
            next: Cell::new(None),
            current: Cell::new(None),
            steps: Cell::new(0),
            watch: Cell::new(0),
            now: Cell::new(0),
            idle: Cell::new(false),
            exempt: Cell::new(None),
            tick: Cell::new(0),
        });
        world.strategy.borrow_mut().begin(seed);
        (0..given).for_each(|task| world.enqueue(task));
        let end = self.drive(&world, &mut fibers, kworkers, supervise, watch);
        for fiber in fibers {
            if let Fiber::Running(mut coroutine) = fiber {
                coroutine.force_unwind();
                self.stacks.push(coroutine.into_stack());
            }
        }
        world.strategy.borrow_mut().end();
        self.tasks = world.tasks.take();
        self.clocks = world.cpu_clocks.take();
        let last = self.tasks.iter().map(|task| task.time).max().unwrap_or(0);
        let trace = world.trace.as_ref().map(Traces::take).unwrap_or_default();
        SimReport { end, now: world.now.get().max(last), steps: world.steps.get(), trace }
    }

    fn reserve(&mut self, stacks: usize) -> Result<(), String> {
        while self.stacks.len() < stacks {
            self.stacks.push(DefaultStack::new(STACK).map_err(|error| error.to_string())?);
        }
        Ok(())
    }

    fn drive(
        &mut self,
        world: &Rc<World>,
        fibers: &mut Vec<Fiber>,
        kworkers: Option<&Kworkers>,
        supervise: &mut Supervise<'_>,
        watch: &mut Watch<'_>,
    ) -> SimEnd {
        let mut supervised = None;
        loop {
            let steps = world.steps.get();
            if steps >= world.watch.get() {
                world.watch.set(steps + WATCH_EVERY);
                if !world.killed.get() && !watch(world.now.get()) {
                    world.kill();
                }
            }
            let next = world.next.take().map_or_else(|| world.choose(), Next::Run);
            let id = match next {
                Next::Run(id) => id,
                Next::Supervise => {
                    let at = world.tick.get();
                    world.now.set(world.now.get().max(at));
                    world.idle.set(world.strategy.borrow_mut().earliest().is_none());
                    let decision = supervise(at, &Supervision(world));
                    world.idle.set(false);
                    match decision {
                        Decision::Continue(next) => world.tick.set(next.max(at.saturating_add(1))),
                        Decision::Kill => world.kill(),
                    }
                    // However long nothing but time passes, whoever watches is asked.
                    let idle = supervised.replace(steps) == Some(steps);
                    if idle && !world.killed.get() && !watch(world.now.get()) {
                        world.kill();
                    }
                    continue;
                }
                Next::Nobody if world.alive.get() == 0 => return SimEnd::Done,
                Next::Nobody => return SimEnd::Deadlock(world.stuck()),
            };
            match self.resume(world, fibers, id, kworkers) {
                Ok(false) => {}
                Ok(true) => {
                    world.tasks.borrow_mut()[id].status = Status::Gone;
                    world.alive.set(world.alive.get() - 1);
                    world.current.set(None);
                    if self.daemons.get(id) == Some(&false) {
                        world.mains.set(world.mains.get() - 1);
                        if world.mains.get() == 0 && world.alive.get() > 0 && !world.killed.get() {
                            world.kill();
                        }
                    }
                }
                Err(end) => return end,
            }
        }
    }

    /// Lets a task run until it switches; true if it has returned.
    fn resume(
        &mut self,
        world: &Rc<World>,
        fibers: &mut Vec<Fiber>,
        id: TaskId,
        kworkers: Option<&Kworkers>,
    ) -> Result<bool, SimEnd> {
        if fibers.len() <= id {
            fibers.resize_with(id + 1, || Fiber::Gone);
        }
        if !matches!(fibers[id], Fiber::Running(_)) {
            self.reserve(1).map_err(SimEnd::NoStack)?;
            let stack = self.stacks.pop().expect("one is in reserve");
            let task = match std::mem::replace(&mut fibers[id], Fiber::Gone) {
                Fiber::Fresh(task) => task,
                _ => {
                    kworker(kworkers.expect("they alone begin again"), CpuId::nth(id - world.kworkers.start))
                }
            };
            fibers[id] = Fiber::Running(start(stack, Rc::clone(world), id, task));
        }
        let Fiber::Running(coroutine) = &mut fibers[id] else { unreachable!("it has been started") };
        let CoroutineResult::Return(result) = coroutine.resume(()) else { return Ok(false) };
        if let Fiber::Running(coroutine) = std::mem::replace(&mut fibers[id], Fiber::Gone) {
            self.stacks.push(coroutine.into_stack());
        }
        result.map(|()| true).map_err(|message| SimEnd::Panicked(id, message))
    }
}

fn kworker(kworkers: &Kworkers, cpu: CpuId) -> SimTask {
    let work = Arc::clone(&kworkers.work);
    let place = Arc::clone(&kworkers.places[cpu.at()]);
    let shown = Arc::clone(&place);
    let body = move |thread: &SimThread<'_>| {
        shown.woken();
        work(thread, cpu);
        shown.wait(Wait::Work(cpu), u64::MAX);
    };
    SimTask { cpu, place, killable: false, daemon: true, body: Box::new(body) }
}

fn start(stack: DefaultStack, world: Rc<World>, id: TaskId, task: SimTask) -> Coro {
    Coroutine::with_stack(stack, move |yielder, ()| {
        let SimTask { place, killable, body, .. } = task;
        let thread = SimThread { world: &world, yielder, place: &place, id, killable };
        catch_unwind(AssertUnwindSafe(|| body(&thread))).map_err(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".into())
        })
    })
}
