//! Who watches a run: progress over time, the timeout, and calls that never end.
//!
//! A call is *suspected* when it has lasted for `stall_after`, during which its
//! thread took many sweeps and got CPU time: what has had no chance is not
//! stuck. A suspect is *confirmed* alone: every other thread pauses where it
//! holds nothing, the suspect goes on. If it then ends, others kept it from
//! ending (starvation); if it takes many sweeps more without ending, something
//! permanent does (livelock). Either way the run then stops.
//!
//! A thread that sleeps takes no sweeps. It is suspected when it has waited
//! for one and the same thing for `stall_after`. Who holds that thing may wait
//! in turn: if the chain comes back, it is a deadlock; otherwise it is
//! confirmed alone too, and passing then clears it.

use super::shared::{Shared, Slot};
use crate::drive::Wait;
use crate::machine::{Breakdown, Obstacle, PageState};
use crate::sync::Ordering;
use serde::Serialize;

/// Sweeps without an end that make a call suspect, and confirm it.
const MANY_SWEEPS: u64 = 32;
/// CPU time that a suspect must have had: one part of this many of the stall limit.
const CPU_SHARE: u64 = 40;
/// A confirmation that takes longer than this many windows is given up.
const CONFIRM_WINDOWS: u64 = 10;

/// Did every call end?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LivenessVerdict {
    /// Every call ended, or had time left to.
    Live,
    /// A call did not end while others did, and ended alone.
    Starved,
    /// A call does not end, alone or not.
    Livelocked,
    /// Nobody can go on.
    Deadlocked,
    /// Too little time to say: the host gave too little, or the timeout did.
    Inconclusive,
}

/// A call that did not end.
#[derive(Debug, Clone, Serialize)]
pub struct Stall {
    /// Which pinner.
    pub thread: usize,
    /// The step it was at.
    pub step: &'static str,
    /// The page it was about.
    pub page: Option<PageState>,
    /// What stood in that page's way.
    pub obstacle: Option<Obstacle>,
    /// For one that sweeps: who had what of the page when it last failed to get on.
    pub found: Option<Breakdown>,
    /// Whether that is permanent.
    pub permanent: bool,
    /// Sweeps it had taken.
    pub sweeps: u64,
    /// How long it had lasted.
    pub waited_s: f64,
    /// What it did alone: `fails`, `passes`, or not tried.
    pub alone: Option<&'static str>,
    /// For a deadlock, what it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
}

/// The verdict with what it rests on.
#[derive(Debug, Clone, Serialize)]
pub struct Liveness {
    /// The verdict.
    pub verdict: LivenessVerdict,
    /// Calls that did not end.
    pub findings: Vec<Stall>,
}

/// Progress at one moment.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Sample {
    /// Seconds since the pinners set off.
    pub t_s: f64,
    /// Page pins so far.
    pub pages_pinned: u64,
    /// Calls ended so far.
    pub calls: u64,
}

/// What a watchdog may do to the threads it watches.
pub trait Control {
    /// CPU time that a thread has had, in nanoseconds; `None` where the host does not say.
    fn cpu_time(&self, thread: usize) -> Option<u64>;
    /// Pauses every thread but one.
    fn pause_all_but(&self, thread: usize);
    /// Ends the pause.
    fn resume(&self);
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Ask again at this time.
    Continue(u64),
    /// End the run.
    Kill,
}

/// When a run must end at the latest, and when a call is suspect.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the pinners' start, nanoseconds.
    pub timeout_ns: u64,
    /// Without an end, nanoseconds.
    pub stall_after_ns: u64,
}

/// One pinner as last seen.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// The call under way, told from others by when it began.
    call: Option<u64>,
    since: u64,
    sweeps: u64,
    cpu: u64,
    /// Which of its waits it is in, and since when.
    waiting: Option<(u32, u64)>,
}

/// Why a thread is suspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Suspicion {
    /// It sweeps and sweeps.
    Sweeping,
    /// It is in one wait, by number.
    Blocked(u32),
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Watching,
    Confirming { thread: usize, why: Suspicion, call: u64, since: u64, sweeps: u64 },
}

/// The watchdog of one run.
#[derive(Debug)]
pub struct Watchdog {
    limits: Limits,
    seen: Vec<Seen>,
    phase: Phase,
    /// What it has concluded so far.
    pub liveness: Liveness,
    /// Progress over time.
    pub timeline: Vec<Sample>,
    /// Whether the time was up.
    pub timed_out: bool,
    last_sample: u64,
}

impl Watchdog {
    /// Before the run.
    pub fn new(limits: Limits, pinners: usize) -> Self {
        Self {
            limits,
            seen: vec![Seen::default(); pinners],
            phase: Phase::Watching,
            liveness: Liveness { verdict: LivenessVerdict::Live, findings: Vec::new() },
            timeline: Vec::new(),
            timed_out: false,
            last_sample: 0,
        }
    }

    /// Looks at everything once.
    pub fn tick(&mut self, sh: &Shared, now: u64, control: &dyn Control) -> Decision {
        let tick = (self.limits.stall_after_ns / 5).clamp(1_000_000, 100_000_000);
        if sh.is_complete() {
            return Decision::Kill;
        }
        let Some(started) = sh.started() else {
            if now > self.limits.timeout_ns {
                self.timed_out = true;
                self.give_up(sh, now, control);
                return Decision::Kill;
            }
            return Decision::Continue(now + tick);
        };
        self.sample(sh, now.saturating_sub(started));
        if now.saturating_sub(started) >= self.limits.timeout_ns {
            self.timed_out = true;
            self.give_up(sh, now, control);
            return Decision::Kill;
        }
        if self.watch(sh, now, control) { Decision::Kill } else { Decision::Continue(now + tick) }
    }

    fn sample(&mut self, sh: &Shared, t: u64) {
        // Two hundred points at most over the whole timeout.
        let interval = (self.limits.timeout_ns / 200).max(100_000_000);
        if self.timeline.is_empty() || t >= self.last_sample + interval {
            self.last_sample = t;
            self.timeline.push(Sample {
                t_s: t as f64 / 1e9,
                pages_pinned: sh.pinned.load(Ordering::Relaxed),
                calls: sh.ended.load(Ordering::Relaxed),
            });
        }
    }

    /// True when the run must stop.
    fn watch(&mut self, sh: &Shared, now: u64, control: &dyn Control) -> bool {
        match self.phase {
            Phase::Watching => {
                let suspicion = (0..self.seen.len())
                    .find_map(|thread| Some((thread, self.suspicion(sh, thread, now, control)?)));
                let Some((thread, why)) = suspicion else { return false };
                if let Suspicion::Blocked(_) = why
                    && let Some(cycle) = wait_cycle(sh, thread)
                {
                    self.deadlocked(sh, now, &cycle);
                    return true;
                }
                let slot = &sh.pinners()[thread];
                control.pause_all_but(thread);
                self.phase = Phase::Confirming {
                    thread,
                    why,
                    call: slot.in_call_since().unwrap_or(0),
                    since: now,
                    sweeps: slot.sweeps_of_call(),
                };
                false
            }
            Phase::Confirming { thread, why, call, since, sweeps } => {
                let slot = &sh.pinners()[thread];
                let window = self.limits.stall_after_ns;
                let passes = match why {
                    Suspicion::Sweeping => slot.in_call_since() != Some(call),
                    Suspicion::Blocked(wait) => slot.place.waits() != wait || slot.place.waiting().is_none(),
                };
                let fails = match why {
                    Suspicion::Sweeping => slot.sweeps_of_call() >= sweeps + MANY_SWEEPS,
                    Suspicion::Blocked(_) => true,
                };
                // Who sleeps may wait for a thread that has yet to be given its turn.
                let alone_for = if why == Suspicion::Sweeping { window / 5 } else { window };
                let alone = if passes && why == Suspicion::Sweeping {
                    "passes"
                } else if !passes && fails && now >= since + alone_for {
                    "fails"
                } else if !passes && now < since + CONFIRM_WINDOWS * window {
                    return false;
                } else {
                    // A sleeper that woke had only to wait; the rest had too little time to say.
                    if !passes {
                        self.liveness.verdict = LivenessVerdict::Inconclusive;
                    }
                    control.resume();
                    self.phase = Phase::Watching;
                    self.seen[thread] = Seen::default();
                    return false;
                };
                self.conclude(sh, now, thread, sweeps, call, alone);
                control.resume();
                true
            }
        }
    }

    /// Whether a pinner's call has lasted long enough, with sweeps and CPU
    /// time, or in one and the same wait.
    fn suspicion(
        &mut self,
        sh: &Shared,
        thread: usize,
        now: u64,
        control: &dyn Control,
    ) -> Option<Suspicion> {
        let slot = &sh.pinners()[thread];
        let call = slot.in_call_since();
        let seen = &mut self.seen[thread];
        let wait = slot.place.waiting().filter(|on| can_block(*on)).map(|_| slot.place.waits());
        match (wait, seen.waiting) {
            (Some(wait), Some((before, since))) if wait == before => {
                if now - since >= self.limits.stall_after_ns {
                    return Some(Suspicion::Blocked(wait));
                }
            }
            _ => seen.waiting = wait.map(|wait| (wait, now)),
        }
        if call.is_none() || seen.call != call {
            let cpu = control.cpu_time(thread).unwrap_or(0);
            *seen = Seen { call, since: now, sweeps: slot.sweeps_of_call(), cpu, ..*seen };
            return None;
        }
        let long = now - seen.since >= self.limits.stall_after_ns;
        if !long || slot.sweeps_of_call() < seen.sweeps + MANY_SWEEPS {
            return None;
        }
        let cpu = control.cpu_time(thread).map_or(0, |cpu| cpu.saturating_sub(seen.cpu));
        (cpu >= self.limits.stall_after_ns / CPU_SHARE).then_some(Suspicion::Sweeping)
    }

    /// Records every thread of a wait cycle.
    fn deadlocked(&mut self, sh: &Shared, now: u64, cycle: &[(usize, Wait)]) {
        self.liveness.verdict = LivenessVerdict::Deadlocked;
        for &(thread, on) in cycle {
            let slot = &sh.pinners()[thread];
            slot.judged_stuck.store(true, Ordering::Release);
            let waited = now - slot.in_call_since().unwrap_or(now);
            let holder =
                owner(sh, on).map_or_else(String::new, |holder| format!(", which thread {holder} holds"));
            self.liveness.findings.push(Stall {
                waits_for: Some(format!("{}{holder}", on.describe())),
                ..stall(sh, thread, slot, waited)
            });
        }
    }

    /// Records the suspect, and with it every call that has lasted as long.
    fn conclude(
        &mut self,
        sh: &Shared,
        now: u64,
        thread: usize,
        sweeps: u64,
        call: u64,
        alone: &'static str,
    ) {
        let slot = &sh.pinners()[thread];
        let mut stall = stall(sh, thread, slot, now.saturating_sub(call));
        stall.sweeps = stall.sweeps.max(sweeps);
        stall.alone = Some(alone);
        self.liveness.verdict =
            if alone == "fails" { LivenessVerdict::Livelocked } else { LivenessVerdict::Starved };
        self.liveness.findings.push(stall);
        for (number, slot) in sh.pinners().iter().enumerate() {
            let old = slot.in_call_since().is_some_and(|began| now - began >= self.limits.stall_after_ns);
            let blocked = slot.place.waiting().is_some_and(can_block);
            if old && (blocked || slot.sweeps_of_call() >= MANY_SWEEPS) {
                slot.judged_stuck.store(true, Ordering::Release);
                if number != thread && self.liveness.findings.len() < super::shared::MAX_FINDINGS {
                    let waited = now - slot.in_call_since().unwrap_or(now);
                    self.liveness.findings.push(self::stall(sh, number, slot, waited));
                }
            }
        }
    }

    /// The time is up: what had no chance to end is not said to be alive.
    fn give_up(&mut self, sh: &Shared, now: u64, control: &dyn Control) {
        control.resume();
        let starved_of_time = sh
            .pinners()
            .iter()
            .any(|slot| slot.in_call_since().is_some_and(|began| now - began >= self.limits.stall_after_ns));
        let nothing_ended = sh.ended.load(Ordering::Relaxed) == 0;
        if (starved_of_time || nothing_ended) && self.liveness.verdict == LivenessVerdict::Live {
            self.liveness.verdict = LivenessVerdict::Inconclusive;
        }
    }
}

/// Whether a wait inside a call may never end: for something that a thread holds, or for time
/// to pass where no deadline is set.
fn can_block(on: Wait) -> bool {
    !matches!(on, Wait::Barrier | Wait::Work(_) | Wait::Paused)
}

/// Which thread holds what is waited for, if any thread does.
fn owner(sh: &Shared, on: Wait) -> Option<usize> {
    match on {
        Wait::PageLock(frame) => sh.m.page(frame).lock_owner().map(|thread| thread as usize),
        Wait::DrainMutex => Some(sh.m.drain_mutex_owner() as usize),
        Wait::Turn(_) => sh.m.turns.holder().map(|thread| thread as usize),
        _ => None,
    }
}

/// The cycle of waits that a thread leads into: who waits for what.
fn wait_cycle(sh: &Shared, thread: usize) -> Option<Vec<(usize, Wait)>> {
    let mut chain: Vec<(usize, Wait)> = Vec::new();
    let mut next = thread;
    loop {
        if let Some(start) = chain.iter().position(|&(seen, _)| seen == next) {
            return Some(chain.split_off(start));
        }
        let on = sh.pinners().get(next)?.place.waiting().filter(|on| can_block(*on))?;
        chain.push((next, on));
        next = owner(sh, on)?;
    }
}

fn stall(sh: &Shared, thread: usize, slot: &Slot, waited: u64) -> Stall {
    // A thread that loops is somewhere in its loop; what matters is where that fails, and why.
    let looping = !slot.place.waiting().is_some_and(can_block);
    let hindrance = slot.place.hindered().filter(|_| looping);
    let (step, frame) = match &hindrance {
        Some((step, by)) => (*step, by.page.as_ref().map(|page| page.frame)),
        None => (slot.place.step(), slot.place.frame()),
    };
    let (obstacle, found) = match hindrance {
        Some((_, by)) => (Some(by.obstacle), by.page),
        None => (frame.and_then(|frame| sh.m.obstacle(frame)), None),
    };
    Stall {
        thread,
        step: step.name(),
        page: frame.map(|frame| sh.m.page_state(frame)),
        obstacle,
        found,
        permanent: obstacle.is_some_and(Obstacle::is_permanent),
        sweeps: slot.sweeps_of_call(),
        waited_s: waited as f64 / 1e9,
        alone: None,
        waits_for: None,
    }
}
