//! A run from its settings to its result, on either driver.

use super::abort::Condition;
use super::actors::Actor;
use super::cpu_clock::CpuClock;
use super::gather::{End, gather};
use super::limit::{Cut, Host, Limit};
use super::pinner::Pinner;
use super::profile::{Profile, STACK, Special};
use super::shared::Shared;
use super::watchdog::{Limits, Watchdog};
use crate::drive::os::{OsRun, OsThread};
use crate::drive::sim::{Kworkers, Lab, SimEnd, SimTask};
use crate::drive::{Control, Decision, Driver, Timed};
use crate::error::{Error, Result};
use crate::judge::{self, Calls, Class, Status};
use crate::machine::{CpuId, Known, Machine, Recount};
use crate::observe::{Ring, Trace};
use crate::ops::Task;
use crate::policy::{Policy, Rules};
use crate::sync::{AtomicBool, Ordering, thread};
use rustix::time::{ClockId, clock_gettime};
use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Which driver runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Real threads.
    Os,
    /// Coroutines on a virtual clock.
    Sim,
}

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Job {
    /// Retry policy.
    pub policy: Policy,
    /// Kernel rules.
    pub rules: Rules,
    /// Profile, with threads, CPUs and everything else as wanted.
    pub profile: Profile,
    /// Driver.
    pub driver: Which,
    /// Page pins after which it is complete.
    pub pins: u64,
    /// Longest run: of wall time, or of virtual time on the simulator.
    pub timeout: Duration,
    /// Longest time that it may take of the host, whatever its own clock says.
    pub wall_timeout: Duration,
    /// Longest call before it is looked at.
    pub stall_after: Duration,
    /// Seed of everything drawn at random.
    pub seed: u64,
    /// Events of each thread that are kept for [`Host::trace`], if any are.
    pub trace: Option<u32>,
    /// Conditions that end it as soon as nothing can mend them.
    pub abort_on: Vec<Condition>,
}

/// Calls after which the median of them says what one takes.
const UNCONTENDED_CALLS: u32 = 64;

impl Job {
    /// The same load by one thread that nobody is in the way of: what a call takes by itself.
    #[must_use]
    pub fn uncontended(&self) -> Self {
        let mut alone = self.clone();
        let profile = &mut alone.profile;
        (profile.threads, profile.calls) = (1, UNCONTENDED_CALLS);
        profile.ranges.special = Special::None;
        profile.actors_mut().into_iter().for_each(|actor| actor.threads = 0);
        (alone.pins, alone.trace, alone.abort_on) = (u64::MAX, None, Vec::new());
        alone
    }
}

/// All that was set, with every default filled in: the tables that their TOML is.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Resolved {
    /// Retry policy.
    pub policy: Policy,
    /// Profile.
    pub profile: Profile,
    /// Kernel rules.
    pub kernel: Rules,
}

/// What a run came to, and of what.
pub type RunResult = judge::RunResult<Resolved>;

/// How far a run is.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Progress {
    /// Seconds since the pinners set off.
    pub elapsed_s: f64,
    /// Page pins so far.
    pub pinned: u64,
    /// Page pins wanted.
    pub target: u64,
    /// How much of its work is done, from 0 to 1: page pins, or calls where they are nearer to their limit.
    pub done: f64,
    /// Calls ended so far, by class.
    pub calls: Calls,
    /// `lru_add_drain_all` calls of pinners so far.
    pub drain_all: u64,
    /// Page pins a second so far.
    pub pages_per_s: f64,
    /// The step that most pinners are at.
    pub step: &'static str,
}

const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What a recount may take beyond the end of a run that was cut off.
const RECOUNT: Duration = Duration::from_millis(250);
/// Threads started between two looks at whether to go on.
const STARTED_AT_A_TIME: usize = 32;

/// Runs a job to its end.
///
/// # Errors
/// [`Error::Resource`] if the host refuses a thread or memory, or has no time to build the
/// machine, [`Error::Interrupted`] if it was interrupted before there was anything to count,
/// [`Error::Internal`] if a thread panicked.
pub fn run(job: &Job, host: &mut dyn Host) -> Result<RunResult> {
    let began = Instant::now();
    // Real threads have no clock but the host's: all that comes before them is part of their time.
    let (longest, real) = match job.driver {
        Which::Os => (job.wall_timeout.min(job.timeout), true),
        Which::Sim => (job.wall_timeout, false),
    };
    let mut limit = Limit::new(host, longest);
    let m = build(job)?;
    let shared = Shared::new(m, job.policy.clone(), job.profile.clone(), job.pins);
    let shared = Arc::new(shared);
    let spent = began.elapsed();
    limit.grant(job.wall_timeout.saturating_sub(spent));
    let timeout = if real { job.timeout.saturating_sub(spent) } else { job.timeout };
    let watchdog = Watchdog::new(
        Limits {
            timeout_ns: u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX),
            // A policy that gives up by itself is not stuck before it could have.
            stall_after_ns: u64::try_from(job.stall_after.as_nanos())
                .unwrap_or(u64::MAX)
                .saturating_add(job.policy.deadline.0),
        },
        job.profile.threads as usize,
    )
    .ending_at(&job.abort_on);
    let cpu_before = process_cpu();
    let ended = match job.driver {
        Which::Os => on_threads(job, &shared, watchdog, &mut limit)?,
        Which::Sim => on_coroutines(job, &shared, watchdog, &mut limit)?,
    };
    let Ended { watchdog, at: ended_at, rings } = ended;
    let interrupted = limit.cut() == Some(Cut::Interrupted);
    if job.trace.is_some() {
        limit.trace(Trace { names: job.profile.thread_names().collect(), rings });
    }
    let stuck = watchdog.liveness.verdict.is_stuck();
    let status = if interrupted {
        Status::Interrupted
    } else if stuck {
        Status::Stuck
    } else if shared.m.processes.has_panicked() {
        Status::Panicked
    } else if shared.m.processes.is_killed() {
        Status::Killed
    } else if watchdog.aborted {
        Status::Aborted
    } else if watchdog.timed_out {
        Status::Timeout
    } else {
        Status::Complete
    };
    let started = shared.started().unwrap_or(ended_at);
    let special = shared.special.lock();
    let recount = recount(&shared.m, &special, watchdog.timed_out, &mut limit);
    drop(special);
    let Job { policy, profile, rules, .. } = job;
    let resolved = Resolved { policy: policy.clone(), profile: profile.clone(), kernel: rules.clone() };
    let end = End {
        status,
        wall_timeout: status == Status::Timeout && limit.cut() == Some(Cut::Time),
        elapsed_s: ended_at.saturating_sub(started) as f64 / 1e9,
        wall_s: began.elapsed().as_secs_f64(),
        cpu_s: process_cpu() - cpu_before,
        seed: job.seed,
        liveness: watchdog.liveness,
        timeline: watchdog.timeline,
        recount,
    };
    let result = gather(&shared, end, resolved);
    // Both are said of the same calls by the same word: what differs is our mistake, not a finding.
    let counted = result.calls.stuck;
    if stuck != (counted > 0) {
        return Err(Error::Internal(format!(
            "{counted} calls are stuck, and the verdict is {:?}",
            result.liveness.verdict
        )));
    }
    Ok(result)
}

/// Builds the machine.
fn build(job: &Job) -> Result<Machine> {
    let (layout, cpus) = (job.profile.layout(), job.profile.cpus as usize);
    let built = Machine::build(job.rules.clone(), &layout, cpus);
    let mut m = built.map_err(|unbuilt| Error::Resource(unbuilt.to_string()))?;
    m.memory.cma_first = job.profile.cma_first;
    Ok(m)
}

/// Counts everything again: as long as the run may still take, and a moment longer if that is over.
fn recount(m: &Machine, special: &Known, over: bool, limit: &mut Limit<'_>) -> Recount {
    if limit.cut().is_none() && !over {
        return m.validate_while(special, &mut || limit.may_go_on());
    }
    let until = Instant::now() + RECOUNT;
    m.validate_while(special, &mut || Instant::now() < until)
}

struct Ended {
    watchdog: Watchdog,
    /// Driver time at which the pinners were done.
    at: u64,
    /// Of each thread, where a trace was wanted.
    rings: Vec<Ring>,
}

/// The life of thread `id` under any driver.
fn live<D: Driver>(sh: &Shared, d: &D, id: usize) {
    let pinners = sh.profile.threads as usize;
    let kworkers = sh.slots.len() - sh.profile.cpus as usize;
    let cpus = sh.m.cpus.len();
    let slot = &sh.slots[id];
    if id >= kworkers {
        let task = Task::new(&sh.m, d, &slot.counters, CpuId::nth(id - kworkers));
        task.kworker(&|| sh.is_over());
        return;
    }
    let task = Task::new(&sh.m, d, &slot.counters, CpuId::turn(id, cpus));
    if id < pinners {
        Pinner::new(sh, &task, id).run();
    } else {
        Actor::run(sh, &task, id - pinners);
    }
    slot.leave();
    sh.thread_left(d);
}

fn progress(sh: &Shared, now: u64) -> Progress {
    let elapsed_s = sh.started().map_or(0, |started| now.saturating_sub(started)) as f64 / 1e9;
    let pinned = sh.pinned.load(Ordering::Relaxed);
    let mut classes = [0; Class::COUNT];
    let mut drain_all = 0;
    let mut steps = [0u32; crate::drive::Step::ALL.len()];
    for slot in sh.pinners() {
        classes.iter_mut().zip(slot.classes()).for_each(|(sum, n)| *sum += n);
        drain_all += slot.counters.get(crate::observe::Event::DrainAll);
        steps[slot.place.step() as usize] += 1;
    }
    let most = steps.iter().enumerate().max_by_key(|(_, n)| **n).map_or(0, |(at, _)| at);
    Progress {
        elapsed_s,
        pinned,
        target: sh.goal,
        done: sh.done(),
        calls: Calls::of(classes),
        drain_all,
        pages_per_s: if elapsed_s > 0.0 { pinned as f64 / elapsed_s } else { 0.0 },
        step: crate::drive::Step::ALL[most].name(),
    }
}

// ---------------------------------------------------------------- real threads

struct OsControl<'a> {
    run: &'a OsRun,
    shared: &'a Shared,
}

impl Control for OsControl<'_> {
    fn cpu_time(&self, thread: usize) -> Option<u64> {
        CpuClock::numbered(self.shared.slots[thread].clock.load(Ordering::Relaxed))?.read()
    }
    fn pause_all_but(&self, thread: usize) {
        self.run.pause_all_but(thread as u32);
    }
    fn resume(&self) {
        self.run.resume();
    }
}

fn on_threads(job: &Job, sh: &Shared, mut watchdog: Watchdog, limit: &mut Limit<'_>) -> Result<Ended> {
    let (cpus, threads) = (sh.m.cpus.len(), sh.slots.len());
    let run = OsRun::new(cpus, threads, job.profile.perturb.0, job.profile.step_delay.0);
    let run = &match job.trace {
        Some(last) => run.tracing(last as usize),
        None => run,
    };
    let lost = &AtomicBool::new(false);
    let mut ended_at = None;
    let panicked = thread::scope(|scope| {
        let mut handles = Vec::with_capacity(sh.slots.len());
        for id in 0..sh.slots.len() {
            if id.is_multiple_of(STARTED_AT_A_TIME) && !limit.may_go_on() {
                break;
            }
            let killable = id < sh.slots.len() - sh.profile.cpus as usize;
            let body = move || {
                let slot = &sh.slots[id];
                let clock = CpuClock::of_this_thread().map_or(0, CpuClock::number);
                slot.clock.store(clock, Ordering::Relaxed);
                let me = OsThread::new(run, &slot.place, id as u32, killable, job.seed);
                let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| live(sh, &me, id)));
                if let Err(panic) = result {
                    // The others must not wait for this one.
                    lost.store(true, Ordering::Relaxed);
                    run.kill();
                    sh.abandon(&me);
                    std::panic::resume_unwind(panic);
                }
            };
            let spawned = thread::Builder::new()
                .name(format!("gupstress-{id}"))
                .stack_size(STACK)
                .spawn_scoped(scope, body);
            match spawned {
                Ok(handle) => handles.push(handle),
                Err(error) => {
                    // Those already there must not wait for those that will never come.
                    run.kill();
                    sh.abandon(&OsThread::new(run, &crate::drive::Place::default(), u32::MAX, false, 0));
                    return Err(Error::Resource(format!(
                        "thread {} of {} refused: {error}",
                        id + 1,
                        sh.slots.len()
                    )));
                }
            }
        }
        // Now that the first have made the kernel set up its table.
        super::futex::make_room(handles.len());
        let all = handles.len() == sh.slots.len();
        let control = OsControl { run, shared: sh };
        let mut next_tick = 0;
        loop {
            let now = run.now();
            if sh.is_complete() {
                break;
            }
            if !limit.look(&|| progress(sh, run.now())) {
                watchdog.cut_off(sh, run.now(), limit.cut());
                break;
            }
            if lost.load(Ordering::Relaxed) {
                break;
            }
            if now >= next_tick {
                match watchdog.tick(sh, now, &control) {
                    Decision::Continue(next) => next_tick = next,
                    Decision::Kill => break,
                }
            }
            thread::sleep(LOOK_EVERY.min(Duration::from_nanos(next_tick.saturating_sub(now).max(1_000_000))));
        }
        ended_at = Some(sh.completed_at().unwrap_or_else(|| run.now()));
        run.kill();
        if !all {
            // Those already there must not wait for those that will never come.
            sh.abandon(&OsThread::new(run, &crate::drive::Place::default(), u32::MAX, false, 0));
        }
        Ok(handles.into_iter().filter_map(|handle| handle.join().err()).count())
    })?;
    if panicked != 0 {
        return Err(Error::Internal(format!("{panicked} threads panicked")));
    }
    let at = ended_at.unwrap_or_else(|| run.now());
    Ok(Ended { watchdog, at, rings: run.take_rings() })
}

/// CPU seconds of this process so far, its ended threads included.
fn process_cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

// ---------------------------------------------------------------- coroutines

fn on_coroutines(job: &Job, sh: &Arc<Shared>, watchdog: Watchdog, limit: &mut Limit<'_>) -> Result<Ended> {
    let kworkers = sh.slots.len() - sh.profile.cpus as usize;
    let cpus = sh.m.cpus.len();
    let tasks = (0..kworkers)
        .map(|id| {
            let sh = Arc::clone(sh);
            SimTask {
                cpu: CpuId::turn(id, cpus),
                place: Arc::clone(&sh.slots[id].place),
                killable: true,
                daemon: false,
                body: Box::new(move |thread| live(&sh, thread, id)),
            }
        })
        .collect();
    let (worked, first) = (Arc::clone(sh), kworkers);
    let kworkers = Kworkers::new(
        sh.slots[first..].iter().map(|slot| Arc::clone(&slot.place)),
        Arc::new(move |thread, cpu| {
            Task::new(&worked.m, thread, &worked.slots[first + cpu.at()].counters, cpu).drain_works();
        }),
    );
    let watchdog = RefCell::new(watchdog);
    let mut cut_at = None;
    let mut ended_at = None;
    let mut lab = job.trace.map_or_else(Lab::default, |last| Lab::tracing(last as usize));
    let report = lab.run(
        Box::new(Timed::on(job.profile.sched())),
        &job.profile.costs.longer_by(job.profile.step_delay.0),
        job.seed,
        tasks,
        Some(&kworkers),
        &mut |now, tasks| {
            let decision = watchdog.borrow_mut().tick(sh, now, tasks);
            if decision == Decision::Kill {
                ended_at = Some(sh.completed_at().unwrap_or(now));
            }
            decision
        },
        &mut |now| {
            let goes_on = limit.look(&|| progress(sh, now));
            if !goes_on {
                cut_at = Some(now);
                watchdog.borrow_mut().cut_off(sh, now, limit.cut());
            }
            goes_on
        },
    );
    match report.end {
        SimEnd::Done => {}
        SimEnd::Panicked(task, message) => {
            return Err(Error::Internal(format!("thread {task} panicked: {message}")));
        }
        SimEnd::NoStack(why) => {
            let stacks = sh.slots.len();
            return Err(Error::Resource(format!("no memory for {stacks} threads on the simulator: {why}")));
        }
        SimEnd::Deadlock(waits) => {
            let waits: Vec<String> =
                waits.iter().map(|(task, on)| format!("thread {task} for {}", on.describe())).collect();
            return Err(Error::Internal(format!("killed threads still wait: {}", waits.join(", "))));
        }
    }
    Ok(Ended {
        watchdog: watchdog.into_inner(),
        at: cut_at.or(ended_at).unwrap_or(report.now),
        rings: report.trace,
    })
}
