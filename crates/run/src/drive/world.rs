//! What simulated tasks share: their states, the clocks, and the driver of each.

use super::choice::{Pending, Strategy, TaskId};
use super::{Costs, Driver, Place, Step, Wait, Waited};
use crate::machine::NO_FRAME;
use crate::machine::{CpuId, Frame, Hindrance};
use crate::observe::{Deed, Ring, Traced};
use crate::sync::assert_unlocked;
use corosensei::Yielder;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// Steps from one look at the outside to the next: well below a millisecond of the host's time with
/// few tasks, some ten with thousands.
pub(super) const WATCH_EVERY: u64 = 1024;

/// Steps from one choice of a task to the next once a run has been killed.
const GO: u64 = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// It runs or could.
    Ready,
    /// Until woken or the deadline.
    Waiting(Wait, u64),
    /// It has returned, or has not been begun: nobody waits for it.
    Gone,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct TaskState {
    pub status: Status,
    pub cpu: CpuId,
    /// Virtual time up to which it has run.
    pub time: u64,
    /// Virtual time it has spent on a CPU.
    pub ran: u64,
    pub woken: bool,
    /// Where it stands.
    pub at: (Step, Frame),
}

impl TaskState {
    pub fn new(cpu: CpuId, status: Status) -> Self {
        Self { status, cpu, time: 0, ran: 0, woken: false, at: (Step::Idle, NO_FRAME) }
    }

    /// What a strategy may know of it, if it can go on or will.
    #[inline]
    fn pending(&self, task: TaskId) -> Option<Pending> {
        let (start, asleep) = match self.status {
            Status::Ready => (self.time, false),
            Status::Waiting(_, deadline) if deadline != u64::MAX => (self.time.max(deadline), true),
            _ => return None,
        };
        let (step, frame) = self.at;
        Some(Pending { task, cpu: self.cpu, start, woken: self.woken, asleep, step, frame })
    }
}

/// Told of a task's deed.
pub type Observer = std::sync::Arc<dyn Fn(TaskId, Deed) + Send + Sync>;

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// A task goes on.
    Run(TaskId),
    /// The supervisor's time comes before any task's.
    Supervise,
    /// Nobody can go on, and no supervisor will ever look.
    Nobody,
}

/// The last events of each task that did anything.
pub(super) struct Traces {
    last: usize,
    rings: RefCell<BTreeMap<TaskId, Ring>>,
}

impl Traces {
    /// Of so many events each.
    pub fn new(last: usize) -> Self {
        Self { last, rings: RefCell::default() }
    }

    fn push(&self, task: TaskId, event: Traced) {
        self.rings.borrow_mut().entry(task).or_insert_with(|| Ring::new(self.last)).push(event);
    }

    /// In the order of the tasks' numbers.
    pub fn take(&self) -> Vec<Ring> {
        self.rings.take().into_values().collect()
    }
}

pub(super) struct World {
    pub strategy: RefCell<Box<dyn Strategy>>,
    /// Tasks that were given, then the kworkers of CPUs up to the last that had work.
    pub tasks: RefCell<Vec<TaskState>>,
    /// Numbers of all CPUs' kworkers.
    pub kworkers: Range<TaskId>,
    /// Tasks that have not returned.
    pub alive: Cell<usize>,
    /// Those of them that are no daemons.
    pub mains: Cell<usize>,
    pub cpu_clocks: RefCell<Vec<u64>>,
    pub waiting: RefCell<HashMap<Wait, Vec<TaskId>>>,
    pub costs: Costs,
    pub killed: Cell<bool>,
    /// Who was chosen inside a step, for the loop that resumes.
    pub next: Cell<Option<TaskId>>,
    /// Who took the last step, unless it cannot go on; for the loop that chooses.
    pub current: Cell<Option<TaskId>>,
    pub steps: Cell<u64>,
    /// Steps at which the watch is asked next.
    pub watch: Cell<u64>,
    /// The moment that everybody has come to: no step begins before it.
    pub now: Cell<u64>,
    /// Whether nobody could run when the supervisor was last due.
    pub idle: Cell<bool>,
    /// The one task that a pause leaves running, during a pause.
    pub exempt: Cell<Option<TaskId>>,
    /// Virtual time at which the supervisor wants to be asked.
    pub tick: Cell<u64>,
    /// What each task did, where it is wanted.
    pub trace: Option<Traces>,
    /// Told of everything that any task does, as it does it.
    pub observer: Option<Observer>,
}

impl World {
    #[inline]
    pub fn record(&self, task: TaskId, deed: Deed) {
        if self.is_watched() {
            let state = self.tasks.borrow()[task];
            self.tell(task, state.cpu, state.time, deed);
        }
    }

    /// Whether anybody wants to know what tasks do.
    fn is_watched(&self) -> bool {
        self.observer.is_some() || self.trace.is_some()
    }

    #[cold]
    fn tell(&self, task: TaskId, cpu: CpuId, at_ns: u64, deed: Deed) {
        if let Some(observer) = &self.observer {
            observer(task, deed);
        }
        if let Some(trace) = &self.trace {
            trace.push(task, Traced { at_ns, thread: task as u32, cpu, deed });
        }
    }

    /// A task takes a step, which is charged to it and its CPU; what comes next, if it is then
    /// queued and somebody is to be chosen.
    #[expect(clippy::inline_always, reason = "a part of what comes at every step")]
    #[inline(always)]
    fn advance(&self, task: TaskId, at: Step, frame: Frame, chooses: bool) -> Option<Next> {
        let mut tasks = self.tasks.borrow_mut();
        let state = &mut tasks[task];
        let (cpu, woken) = (state.cpu, state.woken);
        let mut clocks = self.cpu_clocks.borrow_mut();
        let clock = &mut clocks[cpu.at()];
        let start = state.time.max(*clock);
        let cost = self.costs.of(at);
        let mut strategy = self.strategy.borrow_mut();
        let (took, end, chosen) = if chooses {
            let pending = Pending { task, cpu, start, woken, asleep: false, step: at, frame };
            strategy.advance(pending, cost, self.tick.get())
        } else {
            let (took, end) = strategy.take(task, cpu, start, cost);
            (took, end, None)
        };
        state.time = end;
        state.ran = state.ran.saturating_add(took);
        state.at = (at, frame);
        *clock = end;
        if self.is_watched() {
            self.tell(task, cpu, end, Deed::Step(at, frame));
        }
        chooses.then(|| self.chosen(&mut tasks, chosen))
    }

    /// Puts a task into the strategy's queue, if it can go on or will.
    pub fn enqueue(&self, task: TaskId) {
        if let Some(pending) = self.tasks.borrow()[task].pending(task) {
            self.strategy.borrow_mut().enqueue(pending);
        }
    }

    /// Lets the strategy choose among all that could run, unless the supervisor comes first.
    pub fn choose(&self) -> Next {
        let chosen = self.strategy.borrow_mut().choose(self.current.get(), self.tick.get());
        self.chosen(&mut self.tasks.borrow_mut(), chosen)
    }

    /// What comes next, if that was chosen before the supervisor's time.
    #[expect(clippy::inline_always, reason = "a part of what comes at every step")]
    #[inline(always)]
    fn chosen(&self, tasks: &mut [TaskState], chosen: Option<(TaskId, u64)>) -> Next {
        let Some((chosen, start)) = chosen else {
            let nobody = self.tick.get() == u64::MAX || self.alive.get() == 0;
            return if nobody { Next::Nobody } else { Next::Supervise };
        };
        let state = &mut tasks[chosen];
        state.woken = false;
        state.time = start;
        self.now.set(self.now.get().max(start));
        if let Status::Waiting(on, _) = state.status {
            state.status = Status::Ready;
            if let Some(waiters) = self.waiting.borrow_mut().get_mut(&on) {
                waiters.retain(|&waiter| waiter != chosen);
            }
        }
        Next::Run(chosen)
    }

    pub fn wake(&self, on: Wait, at: u64) {
        if let Wait::Work(cpu) = on {
            self.begin_kworker(cpu, at);
        }
        if self.waiting.borrow().is_empty() {
            return;
        }
        let Some(waiters) = self.waiting.borrow_mut().remove(&on) else { return };
        for task in waiters {
            let mut tasks = self.tasks.borrow_mut();
            let state = &mut tasks[task];
            if matches!(state.status, Status::Waiting(_, deadline) if deadline != u64::MAX) {
                self.strategy.borrow_mut().dequeue(task);
            }
            state.status = Status::Ready;
            state.time = state.time.max(at);
            // Who waits for a round to begin looks again and again: nobody has to wake it.
            state.woken = on != Wait::Barrier;
            drop(tasks);
            self.enqueue(task);
        }
    }

    /// Gives a CPU a clock, if it has none.
    fn know(&self, cpu: CpuId) {
        let mut clocks = self.cpu_clocks.borrow_mut();
        if clocks.len() <= cpu.at() {
            clocks.resize(cpu.at() + 1, 0);
        }
    }

    /// Work has been queued for a CPU: its kworker becomes a task, if it is none.
    fn begin_kworker(&self, cpu: CpuId, at: u64) {
        let id = self.kworkers.start + cpu.at();
        if !self.kworkers.contains(&id) {
            return;
        }
        self.know(cpu);
        let mut tasks = self.tasks.borrow_mut();
        let known = tasks.len();
        let unknown = CpuId::all(self.kworkers.len()).skip(known - self.kworkers.start);
        tasks.extend(
            unknown.take((id + 1).saturating_sub(known)).map(|cpu| TaskState::new(cpu, Status::Gone)),
        );
        let state = &mut tasks[id];
        if state.status == Status::Gone {
            *state =
                TaskState { time: state.time.max(at), ran: state.ran, ..TaskState::new(cpu, Status::Ready) };
            state.woken = true;
            drop(tasks);
            self.alive.set(self.alive.get() + 1);
            self.enqueue(id);
        }
    }

    /// Who waits for what, without any deadline.
    pub fn stuck(&self) -> Vec<(TaskId, Wait)> {
        let tasks = self.tasks.borrow();
        let waits = (0..).zip(tasks.iter()).filter_map(|(id, task)| match task.status {
            Status::Waiting(on, _) => Some((id, on)),
            _ => None,
        });
        waits.collect()
    }

    pub fn kill(&self) {
        self.tick.set(u64::MAX);
        self.killed.set(true);
        let mut all: Vec<Wait> = self.waiting.borrow().keys().copied().collect();
        all.sort_unstable();
        all.into_iter().for_each(|on| self.wake(on, self.now.get()));
    }
}

/// One task's driver.
pub struct SimThread<'y> {
    pub(super) world: &'y World,
    pub(super) yielder: &'y Yielder<(), ()>,
    pub(super) place: &'y Place,
    pub(super) id: TaskId,
    pub(super) killable: bool,
}

impl SimThread<'_> {
    fn switch(&self) {
        // A destructor that steps while its stack unwinds must not switch: the
        // panic count is the OS thread's, and the next task would inherit it.
        if !std::thread::panicking() {
            self.yielder.suspend(());
        }
    }

    /// Goes on once it is chosen.
    #[inline]
    fn await_turn(&self, next: Next) {
        match next {
            Next::Run(task) if task == self.id => return,
            Next::Run(task) => self.world.next.set(Some(task)),
            Next::Supervise | Next::Nobody => self.world.current.set(Some(self.id)),
        }
        self.switch();
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
        let steps = world.steps.get() + 1;
        world.steps.set(steps);
        let watched = steps >= world.watch.get();
        // Who is to die may do so in one go; now and then the others come first, for all one knows.
        let chooses = !watched && (!world.killed.get() || steps.is_multiple_of(GO));
        match world.advance(self.id, at, frame, chooses) {
            Some(next) => self.await_turn(next),
            None if watched => {
                world.current.set(Some(self.id));
                world.enqueue(self.id);
                self.switch();
            }
            None => {}
        }
    }

    fn interrupt_others(&self) {
        let world = self.world;
        if !self.killed() && world.strategy.borrow_mut().interrupts(self.id) {
            world.current.set(Some(self.id));
            world.enqueue(self.id);
            self.await_turn(world.choose());
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
            world.enqueue(self.id);
            world.current.set(None);
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
        self.world.strategy.borrow_mut().draw(self.id)
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

    fn moved_to(&self, cpu: CpuId) {
        self.world.know(cpu);
        self.world.tasks.borrow_mut()[self.id].cpu = cpu;
    }
}
