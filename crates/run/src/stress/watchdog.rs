//! Who watches a run: progress over time, the timeout, and calls that never end.
//!
//! Two things make a call suspect, once they have lasted for `stall_after`:
//!
//! * It *sweeps* without an end: many sweeps, and CPU time for them. What has had no chance is not
//!   stuck. As long as what is in its way may pass, it has had a chance only where the others could
//!   let go of it: through many [grace periods](super::grace).
//! * It is *blocked* in one wait. Who keeps it there may wait in turn ([`chain`](super::chain)); the
//!   one at the end is judged. He sleeps beyond the run's end: it will not end. He sleeps until
//!   then: it will. He could run: he must have had CPU time and moved without letting go. He has had
//!   none: that is the host's doing and nobody's fault. There is no end, but a circle: a deadlock,
//!   if a second look finds the same waits by number.
//!
//! A suspect is *confirmed alone*: every other thread rests at its next point where it holds
//! nothing, so all that keep it waiting go on until they have let go. Once all others rest, or are
//! known never to, it is alone. It ends on the way there: others kept it from ending, which is
//! starvation. It does not, though it sweeps on or its chain stays the same: it never will, livelock. Where that cannot
//! be brought about, as the host gives too little, the run is inconclusive.

use super::abort::Condition;
use super::chain::{Chain, End, Link, follow, holder};
use super::grace::Grace;
use super::limit::Cut;
use super::shared::{Call, Shared, Slot};
use crate::drive::{Control, Decision, Step, Wait, Waiting};
use crate::judge::{Liveness, LivenessVerdict, MAX_FINDINGS, Sample, Stall};
use crate::machine::{Frame, Obstacle};
use crate::sync::Ordering;

/// Sweeps without an end that make a call suspect, and confirm it.
const MANY_SWEEPS: u64 = 32;
/// Grace periods through which a call must have lost for others to have kept it from ending.
const MANY_PERIODS: u64 = 16;
/// CPU time that whoever is judged must have had: one part of this many of the stall limit.
const CPU_SHARE: u64 = 40;
/// Looks at which a thread that could run was found somewhere else than before.
const MOVES: u32 = 3;
/// A confirmation that takes longer than this many windows is given up.
const CONFIRM_WINDOWS: u64 = 10;
/// A sweeping call is looked at alone after so many windows, whatever its chances were.
const LONG: u64 = 4;
/// Looks in one stall limit.
const LOOKS: u64 = 64;

/// When a run must end at the latest, and when a call is suspect.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the pinners' start, nanoseconds.
    pub timeout_ns: u64,
    /// Without an end, nanoseconds.
    pub stall_after_ns: u64,
}

/// A thread that could let go of what others wait for, as seen since.
#[derive(Debug, Clone, Copy)]
struct Runner {
    thread: usize,
    since: u64,
    rests: u32,
    cpu: u64,
    at: (Step, Option<Frame>),
    moves: u32,
}

impl Runner {
    fn new(sh: &Shared, thread: usize, now: u64, control: &dyn Control) -> Self {
        let place = &sh.slots[thread].place;
        let at = (place.step(), place.frame());
        let cpu = control.cpu_time(thread).unwrap_or(0);
        Self { thread, since: now, rests: place.rests(), cpu, at, moves: 0 }
    }

    /// Looks at it again; false if it is another thread or has let go of everything since.
    fn look(&mut self, sh: &Shared, thread: usize) -> bool {
        let place = &sh.slots[self.thread].place;
        let at = (place.step(), place.frame());
        self.moves += u32::from(at != self.at);
        self.at = at;
        thread == self.thread && place.rests() == self.rests
    }

    /// Whether it has gone on and on without letting go.
    fn had_its_chance(&self, now: u64, window: u64, control: &dyn Control) -> bool {
        let cpu = control.cpu_time(self.thread).map_or(0, |cpu| cpu.saturating_sub(self.cpu));
        now - self.since >= window && self.moves >= MOVES && cpu >= window / CPU_SHARE
    }
}

/// One pinner as last seen.
#[derive(Debug, Clone, Default)]
struct Seen {
    /// The call under way.
    call: Option<Call>,
    since: u64,
    sweeps: u64,
    cpu: u64,
    /// Grace periods that had passed.
    periods: u64,
    /// Which of its waits it is in, and since when.
    waiting: Option<(u32, u64)>,
    /// The circle that its waits led into at the last look.
    circle: Option<Vec<Link>>,
    /// Who could run at the end of its waits.
    runner: Option<Runner>,
}

/// Why a thread is suspected.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Suspicion {
    /// It sweeps and sweeps. Whether others have kept it from ending, should it end alone.
    Sweeping { kept_from: bool },
    /// It is in one wait, by number, at the end of which nobody will let go.
    Blocked(u32),
    /// It leads into a circle of waits.
    Circle(Vec<Link>),
}

/// A suspect that is being confirmed.
#[derive(Debug, Clone)]
struct Trial {
    thread: usize,
    call: Call,
    why: Suspicion,
    since: u64,
    /// Since when it has been alone, and its sweeps and CPU time then.
    alone: Option<(u64, u64, u64)>,
    runner: Option<Runner>,
}

impl Trial {
    /// Whether the call is told that it ends only because of the trial, should it end.
    fn told(&self) -> bool {
        self.why == Suspicion::Sweeping { kept_from: true }
    }
}

/// How a trial stands.
enum Outcome {
    Open,
    /// It ended, or was woken, while others were still about.
    Cleared,
    /// Nobody can say.
    Unknown,
    /// It ended alone.
    Passes,
    /// It does not.
    Fails,
}

/// The watchdog of one run.
#[derive(Debug)]
pub struct Watchdog {
    limits: Limits,
    seen: Vec<Seen>,
    grace: Grace,
    trial: Option<Trial>,
    /// What it has concluded so far.
    pub liveness: Liveness,
    /// Progress over time.
    pub timeline: Vec<Sample>,
    /// Whether the time was up.
    pub timed_out: bool,
    /// Whether a condition was lost that the run was to end at.
    pub aborted: bool,
    conditions: Vec<Condition>,
    last_sample: u64,
}

impl Watchdog {
    /// Before the run.
    pub fn new(limits: Limits, pinners: usize) -> Self {
        Self {
            limits,
            seen: vec![Seen::default(); pinners],
            grace: Grace::default(),
            trial: None,
            liveness: Liveness { verdict: LivenessVerdict::Live, findings: Vec::new() },
            timeline: Vec::new(),
            timed_out: false,
            aborted: false,
            conditions: Vec::new(),
            last_sample: 0,
        }
    }

    /// The same, which ends the run as soon as one of these is lost.
    #[must_use]
    pub fn ending_at(mut self, conditions: &[Condition]) -> Self {
        self.conditions = conditions.to_vec();
        self
    }

    /// Looks at everything once.
    pub fn tick(&mut self, sh: &Shared, now: u64, control: &dyn Control) -> Decision {
        // Of many threads a look takes long, and a grace period longer.
        let most = 20_000_000.max(sh.slots.len() as u64 * 2_000);
        let tick = (self.limits.stall_after_ns / LOOKS).clamp(10_000, most);
        if sh.is_complete() || sh.m.processes.has_panicked() {
            return Decision::Kill;
        }
        let began = sh.started();
        if let Some(began) = began {
            self.sample(sh, now.saturating_sub(began));
        }
        if now.saturating_sub(began.unwrap_or(0)) >= self.limits.timeout_ns {
            self.cut_off(sh, now, Some(Cut::Time));
            control.resume();
            return Decision::Kill;
        }
        if began.is_some() && self.watch(sh, now, control) {
            return Decision::Kill;
        }
        if began.is_some() && Condition::any_lost(&self.conditions, sh) {
            self.let_go(sh, now);
            self.aborted = true;
            control.resume();
            return Decision::Kill;
        }
        Decision::Continue(now.saturating_add(tick))
    }

    fn sample(&mut self, sh: &Shared, t: u64) {
        // Two hundred points at most over the whole timeout.
        let interval = (self.limits.timeout_ns / 200).max(100_000_000);
        if self.timeline.is_empty() || t >= self.last_sample.saturating_add(interval) {
            self.last_sample = t;
            self.timeline.push(Sample {
                t_s: t as f64 / 1e9,
                pages_pinned: sh.pinned.load(Ordering::Relaxed),
                calls: sh.ended.load(Ordering::Relaxed),
            });
        }
    }

    /// When the run ends at the latest.
    fn end(&self, sh: &Shared) -> u64 {
        sh.started().unwrap_or(0).saturating_add(self.limits.timeout_ns)
    }

    /// True when the run must stop.
    fn watch(&mut self, sh: &Shared, now: u64, control: &dyn Control) -> bool {
        self.grace.look(sh);
        let Some(mut trial) = self.trial.take() else {
            let found = (0..self.seen.len()).find_map(|thread| self.suspect(sh, thread, now, control));
            if let Some(trial) = found {
                // From here on it ends only as the others are made to rest, and is told so first.
                if !trial.told() || sh.pinners()[trial.thread].put_alone(trial.call) {
                    control.pause_all_but(trial.thread);
                    self.trial = Some(trial);
                }
            }
            return false;
        };
        let outcome = self.try_alone(&mut trial, sh, now, control);
        match outcome {
            Outcome::Open => {
                self.trial = Some(trial);
                return false;
            }
            Outcome::Unknown => self.liveness.verdict = LivenessVerdict::Inconclusive,
            Outcome::Passes => self.conclude(sh, now, &trial, LivenessVerdict::Starved),
            Outcome::Fails if sh.pinners()[trial.thread].judge_stuck(trial.call) => {
                let circle = matches!(trial.why, Suspicion::Circle(_));
                let verdict = if circle { LivenessVerdict::Deadlocked } else { LivenessVerdict::Livelocked };
                self.conclude(sh, now, &trial, verdict);
            }
            // It has ended after all, this very moment, and was told that it would not have.
            Outcome::Fails if trial.told() => self.conclude(sh, now, &trial, LivenessVerdict::Starved),
            Outcome::Cleared | Outcome::Fails => {}
        }
        control.resume();
        self.seen[trial.thread] = Seen::default();
        !self.liveness.findings.is_empty()
    }

    /// Whether a pinner's call has lasted long enough, with every chance to end.
    fn suspect(&mut self, sh: &Shared, thread: usize, now: u64, control: &dyn Control) -> Option<Trial> {
        let slot = &sh.pinners()[thread];
        let window = self.limits.stall_after_ns;
        let (end, periods) = (self.end(sh), self.grace.passed);
        let seen = &mut self.seen[thread];
        let Some(call) = slot.call().filter(|call| seen.call == Some(*call)) else {
            let (call, sweeps) = (slot.call(), slot.sweeps_of_call());
            let cpu = call.and_then(|_| control.cpu_time(thread)).unwrap_or(0);
            *seen = Seen { call, since: now, sweeps, cpu, periods, ..Seen::default() };
            return None;
        };
        let trial = |why, runner| Trial { thread, call, why, since: now, alone: None, runner };
        match slot.place.waiting().filter(|waiting| can_block(*waiting)) {
            Some(waiting) if seen.waiting.is_some_and(|(number, _)| number == waiting.number) => {
                let since = seen.waiting.map_or(now, |(_, since)| since);
                if now.saturating_sub(since) >= window {
                    let why = seen.blocked(sh, thread, now, end, window, control)?;
                    return Some(trial(why, seen.runner));
                }
            }
            waiting => {
                seen.waiting = waiting.map(|waiting| (waiting.number, now));
                (seen.circle, seen.runner) = (None, None);
            }
        }
        let lasted = now.saturating_sub(seen.since);
        if lasted < window || slot.sweeps_of_call() < seen.sweeps + MANY_SWEEPS {
            return None;
        }
        let cpu = control.cpu_time(thread).map_or(0, |cpu| cpu.saturating_sub(seen.cpu));
        if cpu < window / CPU_SHARE {
            return None;
        }
        let kept_from = periods - seen.periods >= MANY_PERIODS;
        let permanent = || slot.place.hindered().is_some_and(|(_, by)| by.obstacle.is_permanent());
        (kept_from || lasted / LONG >= window || permanent())
            .then(|| trial(Suspicion::Sweeping { kept_from }, None))
    }

    /// How a trial stands, now that some time has passed.
    fn try_alone(&self, trial: &mut Trial, sh: &Shared, now: u64, control: &dyn Control) -> Outcome {
        let slot = &sh.pinners()[trial.thread];
        let window = self.limits.stall_after_ns;
        let waits = slot.place.waiting().map(|waiting| waiting.number);
        let ended = slot.call() != Some(trial.call);
        match &trial.why {
            // As soon as the others were made to rest, whoever of them it was.
            Suspicion::Sweeping { kept_from: true } if ended => return Outcome::Passes,
            // It may have had to wait for the host and not for others.
            Suspicion::Sweeping { kept_from: false } if ended => {
                return if trial.alone.is_some() { Outcome::Unknown } else { Outcome::Cleared };
            }
            Suspicion::Blocked(number) if ended || waits != Some(*number) => return Outcome::Cleared,
            Suspicion::Circle(_) if ended => return Outcome::Cleared,
            _ => {}
        }
        let chain = match &trial.why {
            Suspicion::Sweeping { .. } => None,
            _ => Some(follow(sh, trial.thread)),
        };
        if let (Some(runner), Some(Chain { end: End::Runs(thread), .. })) = (&mut trial.runner, &chain)
            && !runner.look(sh, *thread)
        {
            return Outcome::Cleared;
        }
        let (since, sweeps, cpu) = match trial.alone {
            Some(alone) => alone,
            None if self.others_rest(sh, trial) => {
                let had = control.cpu_time(trial.thread).unwrap_or(0);
                trial.runner = trial.runner.map(|runner| Runner::new(sh, runner.thread, now, control));
                *trial.alone.insert((now, slot.sweeps_of_call(), had))
            }
            None => (u64::MAX, 0, 0),
        };
        let alone_for = now.saturating_sub(since);
        let fails = match (&trial.why, chain.map(|chain| chain.end)) {
            (Suspicion::Sweeping { .. }, _) => {
                let cpu = control.cpu_time(trial.thread).map_or(0, |now| now.saturating_sub(cpu));
                let least = window / 5;
                alone_for >= least
                    && slot.sweeps_of_call() >= sweeps + MANY_SWEEPS
                    && cpu >= least / CPU_SHARE
            }
            // Who sleeps may wait for a thread that has yet to be given its turn.
            (Suspicion::Blocked(_), Some(End::Sleeps { until, .. })) => {
                alone_for >= window && until >= self.end(sh)
            }
            (Suspicion::Blocked(_), Some(End::Runs(_))) => {
                trial.runner.is_some_and(|runner| runner.had_its_chance(now, window, control))
                    && alone_for >= window
            }
            (Suspicion::Circle(before), Some(End::Circle(now))) => *before == now && alone_for >= window,
            _ => return self.given_up(trial, slot, now),
        };
        if since != u64::MAX && fails { Outcome::Fails } else { self.given_up(trial, slot, now) }
    }

    /// Whether a trial has taken too long.
    fn given_up(&self, trial: &Trial, slot: &Slot, now: u64) -> Outcome {
        if now < trial.since.saturating_add(CONFIRM_WINDOWS * self.limits.stall_after_ns) {
            return Outcome::Open;
        }
        // Too late: it has ended.
        if trial.told() && !slot.take_back(trial.call) { Outcome::Passes } else { Outcome::Unknown }
    }

    /// Whether all others rest, or never will.
    fn others_rest(&self, sh: &Shared, trial: &Trial) -> bool {
        let runner = trial.runner.map(|runner| runner.thread);
        let end = self.end(sh);
        (0..sh.slots.len()).filter(|&thread| thread != trial.thread).all(|thread| {
            sh.is_at_rest(thread)
                || match follow(sh, thread).end {
                    End::Circle(_) => true,
                    End::Sleeps { until, .. } => until >= end,
                    // It waits for what the suspect, or whoever keeps the suspect, holds.
                    End::Runs(at) => at == trial.thread || Some(at) == runner,
                }
        })
    }

    /// Records the suspect, and with it every call that has lasted as long.
    fn conclude(&mut self, sh: &Shared, now: u64, trial: &Trial, verdict: LivenessVerdict) {
        self.liveness.verdict = verdict;
        let slot = &sh.pinners()[trial.thread];
        let mut first = stall(sh, trial.thread, slot, now.saturating_sub(trial.call.since()));
        let alone = if verdict == LivenessVerdict::Starved { "passes" } else { "fails" };
        first.sweeps = first.sweeps.max(trial.alone.map_or(0, |(_, sweeps, _)| sweeps));
        first.alone = Some(alone).filter(|_| verdict != LivenessVerdict::Deadlocked);
        // Nobody else can let go of it any more, and it is there: so it stays.
        first.permanent |= alone == "fails" && first.obstacle.is_some_and(Obstacle::is_in_hands);
        let lasting = first.page.as_ref().map(|page| page.frame).filter(|_| first.permanent);
        self.liveness.findings.push(first);
        let end = self.end(sh);
        for (number, slot) in sh.pinners().iter().enumerate().filter(|(number, _)| *number != trial.thread) {
            let window = self.limits.stall_after_ns;
            let Some(call) = slot.call().filter(|call| now.saturating_sub(call.since()) >= window) else {
                continue;
            };
            let waits = slot.place.waiting().is_some_and(can_block);
            let (never, in_the_way_for_good) = match follow(sh, number).end {
                End::Circle(_) if waits => (true, true),
                End::Sleeps { until, .. } if waits => (until >= end, true),
                End::Runs(at) if waits => (at == trial.thread, alone == "fails"),
                _ => (slot.sweeps_of_call() >= MANY_SWEEPS, false),
            };
            if never && slot.judge_stuck(call) && self.liveness.findings.len() < MAX_FINDINGS {
                let mut also = stall(sh, number, slot, now.saturating_sub(call.since()));
                // At the end of what it waits for nobody lets go; nor of the page that was confirmed.
                let page = also.page.as_ref().map(|page| page.frame);
                also.permanent |= also.obstacle.is_some_and(Obstacle::is_in_hands)
                    && (in_the_way_for_good || lasting.is_some() && page == lasting);
                self.liveness.findings.push(also);
            }
        }
    }

    /// The run ends before its work is done: what had no chance to end is not said to be alive.
    pub fn cut_off(&mut self, sh: &Shared, now: u64, why: Option<Cut>) {
        self.let_go(sh, now);
        if why == Some(Cut::Interrupted) {
            return;
        }
        self.timed_out = true;
        let window = self.limits.stall_after_ns;
        let old = |slot: &Slot| slot.call().is_some_and(|call| now.saturating_sub(call.since()) >= window);
        let nothing_ended = sh.ended.load(Ordering::Relaxed) == 0;
        if (nothing_ended || sh.pinners().iter().any(|slot| old(slot)))
            && self.liveness.verdict == LivenessVerdict::Live
        {
            self.liveness.verdict = LivenessVerdict::Inconclusive;
        }
    }

    /// Ends a trial that is under way: what the suspect pins from here on it pins because the run is over.
    fn let_go(&mut self, sh: &Shared, now: u64) {
        let Some(trial) = self.trial.take() else { return };
        if trial.told() && !sh.pinners()[trial.thread].take_back(trial.call) {
            self.conclude(sh, now, &trial, LivenessVerdict::Starved);
        }
    }
}

impl Seen {
    /// What a wait that has lasted for a whole window leads to, if it is to nobody who will let go.
    fn blocked(
        &mut self,
        sh: &Shared,
        thread: usize,
        now: u64,
        end: u64,
        window: u64,
        control: &dyn Control,
    ) -> Option<Suspicion> {
        let chain = follow(sh, thread);
        let number = chain.links.first()?.number;
        match chain.end {
            End::Circle(circle) => {
                self.runner = None;
                if self.circle.as_ref() == Some(&circle) {
                    return Some(Suspicion::Circle(circle));
                }
                self.circle = Some(circle);
                return None;
            }
            End::Sleeps { until, .. } => {
                (self.circle, self.runner) = (None, None);
                return (until >= end).then_some(Suspicion::Blocked(number));
            }
            // It has yet to see that nobody keeps it any more.
            End::Runs(at) if at == thread => (self.circle, self.runner) = (None, None),
            End::Runs(at) => {
                self.circle = None;
                let known = self.runner.as_mut().is_some_and(|runner| runner.look(sh, at));
                if !known {
                    self.runner = Some(Runner::new(sh, at, now, control));
                }
            }
        }
        let runner = self.runner?;
        runner.had_its_chance(now, window, control).then_some(Suspicion::Blocked(number))
    }
}

/// Whether a wait inside a call may never end: for something that a thread holds, or for time
/// to pass where no deadline is set.
fn can_block(waiting: Waiting) -> bool {
    waiting.until == u64::MAX && !matches!(waiting.on, Wait::Barrier | Wait::Work(_) | Wait::Paused)
}

fn stall(sh: &Shared, thread: usize, slot: &Slot, waited: u64) -> Stall {
    let waiting = slot.place.waiting().filter(|waiting| can_block(*waiting));
    // A thread that loops is somewhere in its loop; what matters is where that fails, and why.
    let hindrance = slot.place.hindered().filter(|_| waiting.is_none());
    let (step, frame) = match &hindrance {
        Some((step, by)) => (*step, by.page.as_ref().map(|page| page.frame)),
        None => (slot.place.step(), slot.place.frame()),
    };
    let by = |thread: usize| Some(thread as u32);
    // What it waits for is what is in its way, whatever else it has done to that page itself.
    let (obstacle, found) = match (waiting.map(|waiting| waiting.on), hindrance) {
        (Some(on @ Wait::PageLock(_)), _) => {
            (Some(Obstacle::Locked { by: holder(sh, on).and_then(by) }), None)
        }
        (Some(Wait::Writeback(_)), _) => (Some(Obstacle::Writeback), None),
        (_, Some((_, by))) => (Some(by.obstacle), by.page),
        (_, None) => (frame.and_then(|frame| sh.m.obstacle(frame)), None),
    };
    let waits_for = waiting.map(|waiting| {
        let holder = holder(sh, waiting.on).map_or_else(String::new, |holder| {
            format!(", which thread {holder} ({}) holds", sh.name(holder))
        });
        format!("{}{holder}", waiting.on.describe())
    });
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
        waits_for,
    }
}

#[cfg(test)]
mod tests;
