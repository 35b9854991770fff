//! The driver of simulated threads: coroutines on one OS thread and a virtual clock.
//!
//! Every task has a stack of its own. At each step it says what the step
//! costs, the scheduler picks who goes on, and the same task goes on without a
//! switch if it is picked again. A wait takes a task out of the candidates
//! until it is woken or its deadline comes. Nothing here depends on the host:
//! the same tasks, scheduler and seed give the same run.
//!
//! Each CPU has a clock; a task's step starts when both the task and its CPU
//! are free, and moves both on. So CPUs run in parallel, and tasks on one CPU
//! share it.

use super::os::Place;
use super::sched::{Candidate, Scheduler, TaskId};
use super::{Costs, Driver, Step, Wait, Waited};
use crate::machine::{Frame, Hindrance};
use crate::observe::{Deed, Ring, Traced};
use crate::sync::assert_unlocked;
use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
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
    pub cpu: usize,
    /// Where it publishes its steps.
    pub place: Arc<Place>,
    /// A kworker outlives the others' death.
    pub killable: bool,
    /// What it does.
    pub body: Body,
}

/// How a simulation ended.
#[derive(Debug)]
pub enum SimEnd {
    /// Every task returned.
    Done,
    /// Even killed, some tasks wait for ever: who for what.
    Deadlock(Vec<(TaskId, Wait)>),
    /// A task panicked, with its message.
    Panicked(TaskId, String),
    /// The host has no memory for a task's stack: why. Nothing was run.
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
    /// What each task did, where that was wanted.
    pub trace: Vec<Ring>,
}

/// What a supervisor says when its time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on, and ask again at this virtual time.
    Continue(u64),
    /// Kill the run.
    Kill,
}

/// What a supervisor may see of the tasks and do to them.
pub struct Supervision<'w>(&'w World);

impl Supervision<'_> {
    /// Virtual time that a task has spent on a CPU, nanoseconds.
    pub fn ran(&self, task: TaskId) -> u64 {
        self.0.tasks.borrow()[task].ran
    }

    /// Who waits for what, if nobody can run; otherwise empty.
    pub fn deadlock(&self) -> Vec<(TaskId, Wait)> {
        if self.0.idle.get() { self.0.stuck() } else { Vec::new() }
    }

    /// Pauses every killable task but one at its next step at which it holds nothing.
    pub fn pause_all_but(&self, task: TaskId) {
        self.0.exempt.set(Some(task));
    }

    /// Ends the pause.
    pub fn resume(&self) {
        self.0.exempt.set(None);
        self.0.wake(Wait::Paused, self.0.now.get());
    }
}

/// Asked at the virtual times it wants to be asked at.
pub type Supervise<'s> = dyn FnMut(u64, &Supervision<'_>) -> Verdict + 's;

/// Asked now and then, however slowly virtual time passes; false kills the run.
///
/// What it answers must come from outside the simulation, which is otherwise the same every time.
pub type Watch<'s> = dyn FnMut(u64) -> bool + 's;

/// Steps from one such question to the next: well below a millisecond of the host's time with
/// few tasks, some ten with thousands.
const WATCH_EVERY: u64 = 1024;

/// Steps from one choice of a task to the next once a run has been killed.
const GO: u64 = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Ready,
    /// Until woken or the deadline.
    Waiting(Wait, u64),
    Done,
}

struct TaskState {
    status: Status,
    cpu: usize,
    /// Virtual time up to which it has run.
    time: u64,
    /// Virtual time it has spent on a CPU.
    ran: u64,
    woken: bool,
}

struct World {
    scheduler: RefCell<Box<dyn Scheduler>>,
    tasks: RefCell<Vec<TaskState>>,
    cpu_clocks: RefCell<Vec<u64>>,
    waiting: RefCell<HashMap<Wait, Vec<TaskId>>>,
    costs: Costs,
    jitter: RefCell<Xoshiro256PlusPlus>,
    killed: Cell<bool>,
    /// Who was picked inside a step, for the loop that resumes.
    next: Cell<Option<TaskId>>,
    steps: Cell<u64>,
    /// Steps at which the watch is asked next.
    watch: Cell<u64>,
    now: Cell<u64>,
    /// Whether nobody could run when the supervisor was last due.
    idle: Cell<bool>,
    /// The one task that a pause leaves running, during a pause.
    exempt: Cell<Option<TaskId>>,
    /// Virtual time at which the supervisor wants to be asked.
    tick: Cell<u64>,
    candidates: RefCell<Vec<Candidate>>,
    /// What each task did, where it is wanted.
    trace: Option<RefCell<Vec<Ring>>>,
}

impl World {
    /// Charges a step to a task and its CPU.
    fn charge(&self, task: TaskId, at: Step, frame: Frame) {
        let cost = self.costs.of(at);
        // A quarter either way: costs are never quite the same twice.
        let spread = cost / 2;
        let cost = if spread == 0 {
            cost
        } else {
            cost - spread / 2 + self.jitter.borrow_mut().next_u64() % (spread + 1)
        };
        let mut tasks = self.tasks.borrow_mut();
        let mut clocks = self.cpu_clocks.borrow_mut();
        let state = &mut tasks[task];
        let end = state.time.max(clocks[state.cpu]) + cost;
        state.time = end;
        state.ran += cost;
        clocks[state.cpu] = end;
        self.now.set(self.now.get().max(end));
        drop((tasks, clocks));
        self.record(task, Deed::Step(at, frame));
    }

    fn record(&self, task: TaskId, deed: Deed) {
        if let Some(trace) = &self.trace {
            let state = &self.tasks.borrow()[task];
            let event = Traced { at_ns: state.time, thread: task as u32, cpu: state.cpu as u32, deed };
            trace.borrow_mut()[task].push(event);
        }
    }

    /// Lets the scheduler pick among all that could run; `None` if nobody can.
    fn pick(&self) -> Option<TaskId> {
        let mut candidates = self.candidates.borrow_mut();
        candidates.clear();
        let tasks = self.tasks.borrow();
        let clocks = self.cpu_clocks.borrow();
        for (task, state) in tasks.iter().enumerate() {
            let free = state.time.max(clocks[state.cpu]);
            let start = match state.status {
                Status::Ready => free,
                Status::Waiting(_, deadline) if deadline != u64::MAX => free.max(deadline),
                _ => continue,
            };
            candidates.push(Candidate { task, cpu: state.cpu, start, woken: state.woken });
        }
        if candidates.is_empty() {
            return None;
        }
        let chosen = candidates[self.scheduler.borrow_mut().pick(&candidates, self.now.get())];
        drop((tasks, clocks));
        let mut tasks = self.tasks.borrow_mut();
        let state = &mut tasks[chosen.task];
        state.woken = false;
        state.time = chosen.start;
        self.now.set(self.now.get().max(chosen.start));
        if let Status::Waiting(on, _) = state.status {
            state.status = Status::Ready;
            if let Some(waiters) = self.waiting.borrow_mut().get_mut(&on) {
                waiters.retain(|&waiter| waiter != chosen.task);
            }
        }
        Some(chosen.task)
    }

    fn wake(&self, on: Wait, at: u64) {
        let Some(waiters) = self.waiting.borrow_mut().remove(&on) else { return };
        let mut tasks = self.tasks.borrow_mut();
        for task in waiters {
            let state = &mut tasks[task];
            state.status = Status::Ready;
            state.time = state.time.max(at);
            state.woken = true;
        }
    }

    /// Who waits for what, without any deadline.
    fn stuck(&self) -> Vec<(TaskId, Wait)> {
        let tasks = self.tasks.borrow();
        let waits = (0..).zip(tasks.iter()).filter_map(|(id, task)| match task.status {
            Status::Waiting(on, _) => Some((id, on)),
            _ => None,
        });
        waits.collect()
    }

    fn kill(&self) {
        self.tick.set(u64::MAX);
        self.killed.set(true);
        let all: Vec<Wait> = self.waiting.borrow().keys().copied().collect();
        all.into_iter().for_each(|on| self.wake(on, self.now.get()));
    }
}

/// One task's driver.
pub struct SimThread<'y> {
    world: &'y World,
    yielder: &'y Yielder<(), ()>,
    place: &'y Place,
    id: TaskId,
    killable: bool,
    rng: RefCell<Xoshiro256PlusPlus>,
}

impl SimThread<'_> {
    fn switch(&self) {
        // A destructor that steps while its stack unwinds must not switch: the
        // panic count is the OS thread's, and the next task would inherit it.
        if !std::thread::panicking() {
            self.yielder.suspend(());
        }
    }

    /// Virtual time that this task has spent on a CPU.
    pub fn cpu_time(&self) -> u64 {
        self.world.tasks.borrow()[self.id].ran
    }
}

impl Driver for SimThread<'_> {
    fn step(&self, at: Step, frame: Frame) {
        assert_unlocked();
        self.place.set(at, frame);
        let world = self.world;
        if at.holds_nothing() && self.killable {
            let others = || world.exempt.get().is_some_and(|exempt| exempt != self.id);
            if others() {
                self.wait(Wait::Paused, &|| !others());
            }
        }
        world.steps.set(world.steps.get() + 1);
        world.charge(self.id, at, frame);
        if world.now.get() >= world.tick.get() || world.steps.get() >= world.watch.get() {
            world.next.set(None);
            return self.switch();
        }
        // Who is to die may do so in one go; now and then the others come first, for all one knows.
        if world.killed.get() && !world.steps.get().is_multiple_of(GO) {
            return;
        }
        match world.pick() {
            Some(task) if task == self.id => {}
            next => {
                world.next.set(next);
                self.switch();
            }
        }
    }

    fn wait_until(&self, on: Wait, deadline: u64, ready: &dyn Fn() -> bool) -> Waited {
        assert_unlocked();
        loop {
            if ready() {
                return Waited::Ready;
            }
            if self.killed() {
                return Waited::Killed;
            }
            if self.now() >= deadline || std::thread::panicking() {
                return Waited::TimedOut;
            }
            let world = self.world;
            world.tasks.borrow_mut()[self.id].status = Status::Waiting(on, deadline);
            self.place.wait(on, deadline);
            world.waiting.borrow_mut().entry(on).or_default().push(self.id);
            world.next.set(None);
            world.record(self.id, Deed::Wait(on));
            self.switch();
            world.record(self.id, Deed::Woken);
            self.place.woken();
        }
    }

    fn wake(&self, on: Wait) {
        self.world.wake(on, self.now());
    }

    fn now(&self) -> u64 {
        self.world.tasks.borrow()[self.id].time
    }

    fn random(&self) -> u64 {
        self.rng.borrow_mut().next_u64()
    }

    fn killed(&self) -> bool {
        self.killable && self.world.killed.get()
    }

    fn id(&self) -> u32 {
        self.id as u32
    }

    fn hindered(&self, at: Step, by: Hindrance) {
        self.place.hinder(at, by);
    }

    fn trace(&self, deed: Deed) {
        self.world.record(self.id, deed);
    }

    fn moved_to(&self, cpu: usize) {
        let mut clocks = self.world.cpu_clocks.borrow_mut();
        if clocks.len() <= cpu {
            clocks.resize(cpu + 1, 0);
        }
        self.world.tasks.borrow_mut()[self.id].cpu = cpu;
    }
}

type Task = Coroutine<(), (), Result<(), String>, DefaultStack>;

/// Runs simulations; keeps stacks from one to the next.
#[derive(Default)]
pub struct Executor {
    stacks: Vec<DefaultStack>,
    /// Events of each task that its reports hold.
    traces: Option<usize>,
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor").field("stacks", &self.stacks.len()).finish_non_exhaustive()
    }
}

/// Bytes of a task's stack; mapped, and touched only as deep as used.
const STACK: usize = 256 * 1024;

impl Executor {
    /// One whose reports hold the `last` events of each task.
    pub fn tracing(last: usize) -> Self {
        Self { traces: Some(last), ..Self::default() }
    }

    /// Runs `tasks` until all have returned.
    ///
    /// `supervise` is called at virtual time 0 and whenever the time it asked
    /// for has come; it may kill the run, upon which killable tasks return. So may `watch`.
    pub fn run(
        &mut self,
        scheduler: Box<dyn Scheduler>,
        costs: &Costs,
        seed: u64,
        tasks: Vec<SimTask>,
        supervise: &mut Supervise<'_>,
        watch: &mut Watch<'_>,
    ) -> SimReport {
        while self.stacks.len() < tasks.len() {
            match DefaultStack::new(STACK) {
                Ok(stack) => self.stacks.push(stack),
                Err(error) => {
                    let end = SimEnd::NoStack(error.to_string());
                    return SimReport { end, now: 0, steps: 0, trace: Vec::new() };
                }
            }
        }
        let cpus = tasks.iter().map(|task| task.cpu + 1).max().unwrap_or(0);
        let rings = |last| (0..tasks.len()).map(|_| Ring::new(last)).collect();
        let world = Rc::new(World {
            scheduler: RefCell::new(scheduler),
            tasks: RefCell::new(
                tasks
                    .iter()
                    .map(|task| TaskState {
                        status: Status::Ready,
                        cpu: task.cpu,
                        time: 0,
                        ran: 0,
                        woken: false,
                    })
                    .collect(),
            ),
            cpu_clocks: RefCell::new(vec![0; cpus]),
            waiting: RefCell::default(),
            costs: costs.clone(),
            jitter: RefCell::new(Xoshiro256PlusPlus::seed_from_u64(seed)),
            killed: Cell::new(false),
            next: Cell::new(None),
            steps: Cell::new(0),
            watch: Cell::new(0),
            now: Cell::new(0),
            idle: Cell::new(false),
            exempt: Cell::new(None),
            tick: Cell::new(0),
            candidates: RefCell::default(),
            trace: self.traces.map(|last| RefCell::new(rings(last))),
        });
        let mut coroutines: Vec<Option<Task>> = tasks
            .into_iter()
            .enumerate()
            .map(|(id, task)| {
                let stack = self.stacks.pop().expect("there is one for each task");
                Some(start(stack, Rc::clone(&world), id, task, seed))
            })
            .collect();
        let end = self.drive(&world, &mut coroutines, supervise, watch);
        for mut task in coroutines.into_iter().flatten() {
            task.force_unwind();
            self.stacks.push(task.into_stack());
        }
        let trace = world.trace.as_ref().map(RefCell::take).unwrap_or_default();
        SimReport { end, now: world.now.get(), steps: world.steps.get(), trace }
    }

    fn drive(
        &mut self,
        world: &World,
        coroutines: &mut [Option<Task>],
        supervise: &mut Supervise<'_>,
        watch: &mut Watch<'_>,
    ) -> SimEnd {
        loop {
            if world.steps.get() >= world.watch.get() {
                world.watch.set(world.steps.get() + WATCH_EVERY);
                if !world.killed.get() && !watch(world.now.get()) {
                    world.kill();
                }
            }
            if world.now.get() >= world.tick.get() {
                let verdict = supervise(world.now.get(), &Supervision(world));
                world.idle.set(false);
                match verdict {
                    Verdict::Continue(next) => world.tick.set(next.max(world.now.get() + 1)),
                    Verdict::Kill => world.kill(),
                }
            }
            let Some(id) = world.next.take().or_else(|| world.pick()) else {
                let stuck = world.stuck();
                if stuck.is_empty() {
                    return SimEnd::Done;
                }
                if world.killed.get() {
                    return SimEnd::Deadlock(stuck);
                }
                // Nobody can run: time passes until the supervisor has seen enough.
                world.idle.set(true);
                world.now.set(world.now.get().max(world.tick.get()));
                continue;
            };
            let task = coroutines[id].as_mut().expect("a ready task has not returned");
            if let CoroutineResult::Return(result) = task.resume(()) {
                world.tasks.borrow_mut()[id].status = Status::Done;
                if let Some(task) = coroutines[id].take() {
                    self.stacks.push(task.into_stack());
                }
                if let Err(message) = result {
                    return SimEnd::Panicked(id, message);
                }
            }
        }
    }
}

fn start(stack: DefaultStack, world: Rc<World>, id: TaskId, task: SimTask, seed: u64) -> Task {
    let stream = seed ^ (id as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Coroutine::with_stack(stack, move |yielder, ()| {
        let thread = SimThread {
            world: &world,
            yielder,
            place: &task.place,
            id,
            killable: task.killable,
            rng: RefCell::new(Xoshiro256PlusPlus::seed_from_u64(stream)),
        };
        let body = task.body;
        catch_unwind(AssertUnwindSafe(|| body(&thread))).map_err(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".into())
        })
    })
}
