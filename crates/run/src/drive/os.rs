//! The driver of real threads: OS scheduler, monotonic clock, real sleeps.
//!
//! One word of control, read at every step, says whether anything is asked of
//! the threads at all (die, pause, yield at random, be traced); while it is 0 a step is
//! two stores into the thread's own cache line and one load.

use super::{Driver, Place, Step, Wait, Waited};
use crate::machine::{CpuId, Frame, Hindrance};
use crate::observe::{Deed, Ring, Traced};
use crate::sync::{AtomicU32, Monitor, Mutex, Ordering, assert_unlocked, thread};
use crossbeam_utils::CachePadded;
use quanta::Clock;
use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

const KILL: u32 = 1;
const PAUSE: u32 = 2;
const PERTURB: u32 = 4;
const DELAY: u32 = 8;
const TRACE: u32 = 16;

/// Nobody is exempt from a pause.
const NOBODY: u32 = u32::MAX;

/// What the threads of one run share.
#[derive(Debug)]
pub struct OsRun {
    started: Instant,
    control: CachePadded<AtomicU32>,
    /// The one thread that a pause leaves running.
    exempt: AtomicU32,
    /// Of 2^32, how often a step yields.
    perturb: u32,
    /// Turns of a loop that each step takes longer.
    delay: u64,
    /// Where pages are waited for, by frame number.
    pages: Box<[CachePadded<Monitor>]>,
    /// Where kworkers wait, one for each CPU. Theirs alone: they nearly always
    /// sleep, and would be woken by whatever shared the place.
    work: Box<[CachePadded<Monitor>]>,
    /// Where their work is waited for.
    drained: Box<[CachePadded<Monitor>]>,
    time: CachePadded<Monitor>,
    barrier: CachePadded<Monitor>,
    pause: Monitor,
    trace: Option<Tracing>,
    /// What threads that have ended did.
    rings: Mutex<Vec<Ring>>,
}

/// What each thread does is kept.
#[derive(Debug)]
struct Tracing {
    /// The last so many events of each.
    last: usize,
    /// The processor's own: a system's would take as long as several steps.
    clock: Clock,
    /// When the run began, by that clock.
    started: u64,
}

impl Tracing {
    fn new(last: usize) -> Self {
        let clock = Clock::new();
        Self { last, started: clock.raw(), clock }
    }
}

/// Passes a few nanoseconds a turn: two looks at a clock would take longer than most delays.
fn turn(turns: u64) {
    (0..turns).for_each(|n| {
        std::hint::black_box(n);
    });
}

/// Turns that take a fraction of a millisecond on any host.
const TRIAL: u64 = 100_000;

/// How many turns take `ns` on this host.
fn turns(ns: u64) -> u64 {
    if ns == 0 {
        return 0;
    }
    // The shortest: whatever else the host does only makes a trial longer.
    let trial = (0..5).map(|_| {
        let began = Instant::now();
        turn(TRIAL);
        began.elapsed().as_nanos() as u64
    });
    let trial_ns = trial.min().unwrap_or_default().max(1);
    (u128::from(ns) * u128::from(TRIAL) / u128::from(trial_ns)).clamp(1, u128::from(u64::MAX)) as u64
}

/// Places where pages are waited for, for each thread: so many that two pages which are waited for rarely
/// share one. Who waits where another page's waiters are woken is woken for nothing.
const PAGE_MONITORS: usize = 4;

impl OsRun {
    /// A run of `threads` on `cpus` simulated CPUs that yield at a step with probability `perturb`, and
    /// busy-wait `delay_ns` at each.
    pub fn new(cpus: usize, threads: usize, perturb: f64, delay_ns: u64) -> Self {
        let monitors = |n| (0..n).map(|_| CachePadded::new(Monitor::new())).collect();
        let perturb = (perturb.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u32;
        let control = if perturb == 0 { 0 } else { PERTURB } | if delay_ns == 0 { 0 } else { DELAY };
        Self {
            started: Instant::now(),
            control: CachePadded::new(AtomicU32::new(control)),
            exempt: AtomicU32::new(NOBODY),
            perturb,
            delay: turns(delay_ns),
            pages: monitors((PAGE_MONITORS * threads.max(1)).next_power_of_two()),
            work: monitors(cpus),
            drained: monitors(cpus),
            time: CachePadded::default(),
            barrier: CachePadded::default(),
            pause: Monitor::new(),
            trace: None,
            rings: Mutex::new(Vec::new()),
        }
    }

    /// Keeps the `last` events of each thread.
    #[must_use]
    pub fn tracing(mut self, last: usize) -> Self {
        self.trace = Some(Tracing::new(last));
        // Getting to know the processor's clock takes a while.
        self.started = Instant::now();
        self.control.fetch_or(TRACE, Ordering::Relaxed);
        self
    }

    /// What the threads did that have ended so far, in the order of their numbers.
    pub fn take_rings(&self) -> Vec<Ring> {
        let mut rings = std::mem::take(&mut *self.rings.lock());
        rings.sort_by_key(Ring::thread);
        if let Some(Tracing { clock, started, .. }) = &self.trace {
            rings.iter_mut().for_each(|ring| ring.retime(|raw| clock.delta_as_nanos(*started, raw)));
        }
        rings
    }

    fn monitor(&self, on: Wait) -> &Monitor {
        match on {
            Wait::PageLock(frame) | Wait::Writeback(frame) | Wait::Returned(frame) => {
                &self.pages[frame.at() % self.pages.len()]
            }
            // Each waited for by one thread: spread over the same monitors.
            Wait::Turn(one) | Wait::DrainMutex(one) | Wait::HugetlbFault { thread: one, .. } => {
                &self.pages[one as usize % self.pages.len()]
            }
            Wait::Work(cpu) => &self.work[cpu.at()],
            Wait::DrainWork(cpu) => &self.drained[cpu.at()],
            Wait::Signal(process) | Wait::Exit(process) => &self.pages[process.at() % self.pages.len()],
            Wait::Time | Wait::Panic => &self.time,
            Wait::Barrier => &self.barrier,
            Wait::Paused => &self.pause,
        }
    }

    /// Whether a step yields, given 64 random bits.
    fn yields(&self, draw: u64) -> bool {
        (draw >> 32) as u32 <= self.perturb
    }

    /// Nanoseconds since the run began.
    pub fn now(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    /// Sends every thread its fatal signal: loops end, killable waits return.
    pub fn kill(&self) {
        self.control.fetch_or(KILL, Ordering::SeqCst);
        self.wake_everyone();
    }

    /// Wakes all sleepers to look at their conditions again.
    pub fn wake_everyone(&self) {
        let many = self.pages.iter().chain(&self.work).chain(&self.drained);
        let single = [&self.time, &self.barrier];
        many.chain(single).for_each(|monitor| monitor.wake_all());
        self.pause.wake_all();
    }

    /// Whether the run has been killed.
    pub fn is_killed(&self) -> bool {
        self.control.load(Ordering::Relaxed) & KILL != 0
    }

    /// Pauses every pausable thread but `exempt` at its next step at which it
    /// holds nothing (the start of a sweep, or between operations).
    pub fn pause_all_but(&self, exempt: u32) {
        self.exempt.store(exempt, Ordering::SeqCst);
        self.control.fetch_or(PAUSE, Ordering::SeqCst);
    }

    /// Ends the pause.
    pub fn resume(&self) {
        self.control.fetch_and(!PAUSE, Ordering::SeqCst);
        self.pause.wake_all();
    }
}

/// One thread's driver.
#[derive(Debug)]
pub struct OsThread<'r> {
    run: &'r OsRun,
    place: &'r Place,
    id: u32,
    /// A kworker outlives the others' death and is never paused.
    killable: bool,
    rng: RefCell<Xoshiro256PlusPlus>,
    ring: Option<(&'r Tracing, RefCell<Ring>)>,
    cpu: Cell<CpuId>,
}

impl<'r> OsThread<'r> {
    /// The driver of thread `id`, with a generator of its own.
    pub fn new(run: &'r OsRun, place: &'r Place, id: u32, killable: bool, seed: u64) -> Self {
        let stream = seed ^ u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self {
            run,
            place,
            id,
            killable,
            rng: RefCell::new(Xoshiro256PlusPlus::seed_from_u64(stream)),
            ring: run.trace.as_ref().map(|tracing| (tracing, RefCell::new(Ring::new(tracing.last)))),
            cpu: Cell::new(CpuId(0)),
        }
    }

    fn record(&self, deed: Deed) {
        if let Some((tracing, ring)) = &self.ring {
            // Said in nanoseconds once the run is over (`take_rings`).
            let event = Traced { at_ns: tracing.clock.raw(), thread: self.id, cpu: self.cpu.get(), deed };
            ring.borrow_mut().push(event);
        }
    }

    #[cold]
    fn obey(&self, at: Step, frame: Frame, control: u32) {
        self.record(Deed::Step(at, frame));
        if control & PERTURB != 0 && self.run.yields(self.random()) {
            thread::yield_now();
        }
        if control & DELAY != 0 {
            self.delay();
        }
        if control & PAUSE != 0 && self.killable && at.holds_nothing() {
            self.pause();
        }
    }

    /// Takes as much longer as a step of a slower build does, or until the run ends.
    fn delay(&self) {
        let mut left = self.run.delay;
        while left > 0 && !self.run.is_killed() {
            let part = left.min(TRIAL);
            turn(part);
            left -= part;
        }
    }

    fn pause(&self) {
        let over = || {
            let control = self.run.control.load(Ordering::SeqCst);
            control & PAUSE == 0 || control & KILL != 0 || self.run.exempt.load(Ordering::SeqCst) == self.id
        };
        if !over() {
            self.place.wait(Wait::Paused, u64::MAX);
            self.record(Deed::Wait(Wait::Paused));
            self.run.pause.sleep_until(None, &over);
            self.record(Deed::Woken);
            self.place.woken();
        }
    }
}

impl Driver for OsThread<'_> {
    #[inline]
    fn step(&self, at: Step, frame: Frame) {
        assert_unlocked();
        self.place.set(at, frame);
        let control = self.run.control.load(Ordering::Relaxed);
        if control != 0 {
            self.obey(at, frame, control);
        }
    }

    fn wait_until(&self, on: Wait, deadline: u64, ready: &dyn Fn() -> bool) -> Waited {
        assert_unlocked();
        if ready() {
            return Waited::Ready;
        }
        self.place.wait(on, deadline);
        // Beyond what the host's clock can say there is no deadline.
        let deadline = (deadline != u64::MAX)
            .then(|| self.run.started.checked_add(Duration::from_nanos(deadline)))
            .flatten();
        self.record(Deed::Wait(on));
        let in_time = self.run.monitor(on).sleep_until(deadline, &|| ready() || self.killed());
        self.record(Deed::Woken);
        self.place.woken();
        // What was so a moment ago need not be so now; it was waited for all the same.
        match (self.killed(), in_time) {
            (true, _) => Waited::Killed,
            (false, true) => Waited::Ready,
            (false, false) => Waited::TimedOut,
        }
    }

    #[inline]
    fn wake(&self, on: Wait) {
        self.run.monitor(on).wake_all();
    }

    fn relax(&self) {
        thread::yield_now();
    }

    fn now(&self) -> u64 {
        self.run.now()
    }

    fn random(&self) -> u64 {
        self.rng.borrow_mut().next_u64()
    }

    fn killed(&self) -> bool {
        self.killable && self.run.is_killed()
    }

    fn id(&self) -> u32 {
        self.id
    }

    fn hindered(&self, at: Step, by: Hindrance) {
        self.place.hinder(at, by);
    }

    fn trace(&self, deed: Deed) {
        self.record(deed);
    }

    fn moved_to(&self, cpu: CpuId) {
        self.cpu.set(cpu);
    }
}

/// A thread that ends leaves what it did with its run.
impl Drop for OsThread<'_> {
    fn drop(&mut self) {
        self.run.rings.lock().extend(self.ring.take().map(|(_, ring)| ring.into_inner()));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::machine::NO_FRAME;
    use crate::sync::AtomicBool;

    #[test]
    fn a_step_yields_as_often_as_was_asked_for() {
        for share in [0.02, 0.5, 0.9] {
            let run = OsRun::new(1, 1, share, 0);
            let place = Place::default();
            let me = OsThread::new(&run, &place, 0, true, 7);
            let yields = (0..10_000).filter(|_| run.yields(me.random())).count();
            assert!((yields as f64 / 10_000.0 - share).abs() < 0.02, "{share}: {yields} of 10,000");
        }
    }

    #[test]
    fn a_pause_is_for_everybody_but_one() {
        let run = OsRun::new(1, 2, 0.0, 0);
        run.pause_all_but(1);
        let (other, suspect, gone_on) = (Place::default(), Place::default(), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| OsThread::new(&run, &other, 0, true, 1).step(Step::Idle, NO_FRAME));
            scope.spawn(|| {
                OsThread::new(&run, &suspect, 1, true, 1).step(Step::Idle, NO_FRAME);
                gone_on.store(true, Ordering::Release);
            });
            while !other.is_at_rest() {
                thread::yield_now();
            }
            while !gone_on.load(Ordering::Acquire) && !suspect.is_at_rest() {
                thread::yield_now();
            }
            let paused = (other.is_at_rest(), !gone_on.load(Ordering::Acquire));
            // Before anything is asserted: nobody else lets them go.
            run.resume();
            assert_eq!(paused, (true, false));
        });
    }

    #[test]
    fn a_wait_ends_when_woken_and_when_killed() {
        let run = OsRun::new(1, 2, 0.0, 0);
        let flag = AtomicBool::new(false);
        let (a, b, c) = (Place::default(), Place::default(), Place::default());
        thread::scope(|scope| {
            let woken = scope.spawn(|| {
                let me = OsThread::new(&run, &a, 0, true, 1);
                me.wait_until(Wait::DrainMutex(0), u64::MAX, &|| flag.load(Ordering::Acquire))
            });
            let killed = scope.spawn(|| {
                let me = OsThread::new(&run, &b, 1, true, 1);
                me.wait_until(Wait::PageLock(Frame(3)), u64::MAX, &|| false)
            });
            let me = OsThread::new(&run, &c, 2, true, 1);
            flag.store(true, Ordering::Release);
            me.wake(Wait::DrainMutex(0));
            assert_eq!(woken.join().unwrap(), Waited::Ready);
            assert_eq!(me.wait_until(Wait::Time, run.now() + 1000, &|| false), Waited::TimedOut);
            run.kill();
            assert_eq!(killed.join().unwrap(), Waited::Killed);
        });
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "an internal lock is held across a step")]
    fn a_lock_held_across_a_step_is_caught() {
        let run = OsRun::new(1, 2, 0.0, 0);
        let place = Place::default();
        let lock = crate::sync::Mutex::new(());
        let _guard = lock.lock();
        OsThread::new(&run, &place, 0, true, 1).step(Step::Idle, NO_FRAME);
    }
}
