//! Each rule of the watchdog by itself: threads that are nowhere but in their slots.

use super::*;
use crate::machine::{CpuId, Frame, NO_FRAME};
use crate::machine::{Machine, flag};
use crate::observe::Event;
use crate::policy::{Source, load_kernel, load_policy};
use crate::stress::load_profile;
use crate::stress::shared::Said;
use std::cell::{Cell, RefCell};

const MS: u64 = 1_000_000;
const WINDOW: u64 = 100 * MS;
const TIMEOUT: u64 = 10_000 * MS;
/// The threads: two pinners, a locker, a kworker.
const SUSPECT: usize = 0;
const OTHER: usize = 1;
const LOCKER: usize = 2;
const KWORKER: usize = 3;
const FRAME: Frame = Frame(7);

/// CPU time as the test says, and who the others were paused for.
#[derive(Default)]
struct Host {
    cpu: RefCell<[u64; 4]>,
    paused_for: Cell<Option<usize>>,
}

impl Control for Host {
    fn cpu_time(&self, thread: usize) -> Option<u64> {
        Some(self.cpu.borrow()[thread])
    }
    fn pause_all_but(&self, thread: usize) {
        self.paused_for.set(Some(thread));
    }
    fn resume(&self) {
        self.paused_for.set(None);
    }
}

struct Bench {
    sh: Shared,
    dog: Watchdog,
    host: Host,
    now: u64,
}

impl Bench {
    /// One call of the suspect is under way, everybody else rests.
    fn new() -> Self {
        let rules = load_kernel(Source::Preset("linux-7.2.13"), &[]).unwrap();
        let policy = load_policy(Source::Preset("linux-7.2"), &[]).unwrap();
        let sets = [("threads", "2"), ("cpus", "1"), ("lockers.threads", "1"), ("pins", "1000")];
        let sets = sets.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let profile = load_profile(Source::Preset("steady"), &sets).unwrap();
        let m = Machine::new(rules, &profile.layout(), 1);
        let sh = Shared::new(m, policy, profile, 1000);
        assert_eq!(sh.slots.len(), 4);
        sh.start_at(0);
        let dog = Watchdog::new(Limits { timeout_ns: TIMEOUT, stall_after_ns: WINDOW }, 2);
        let bench = Self { sh, dog, host: Host::default(), now: 0 };
        bench.rest(OTHER);
        bench.rest(LOCKER);
        bench.sh.slots[KWORKER].place.wait(Wait::Work(CpuId(0)), u64::MAX);
        bench.sh.slots[SUSPECT].begin(0);
        // Something has ended: a run in which nothing does is inconclusive whatever its threads do.
        bench.sh.ended.fetch_add(1, Ordering::Relaxed);
        bench
    }

    fn slot(&self, thread: usize) -> &Slot {
        &self.sh.slots[thread]
    }

    fn rest(&self, thread: usize) {
        self.slot(thread).place.set(Step::Idle, NO_FRAME);
        self.slot(thread).place.wait(Wait::Paused, u64::MAX);
    }

    /// Gives a thread CPU time.
    fn give(&self, thread: usize, ns: u64) {
        self.host.cpu.borrow_mut()[thread] += ns;
    }

    /// The suspect sweeps, with CPU time for it.
    fn sweep(&self) {
        self.slot(SUSPECT).place.set(Step::Sweep, NO_FRAME);
        self.slot(SUSPECT).counters.add(Event::Sweeps, 10);
        self.give(SUSPECT, MS);
    }

    /// The thread holds the lock of the frame that the suspect waits for.
    fn lock(&self, owner: usize) {
        self.slot(owner).place.woken();
        self.slot(owner).place.set(Step::Hold, FRAME);
        let page = self.sh.m.page(FRAME);
        page.set(flag::LOCKED);
        page.set_lock_owner(Some(owner as u32));
        self.slot(SUSPECT).place.set(Step::PageLock, FRAME);
        self.slot(SUSPECT).place.wait(Wait::PageLock(FRAME), u64::MAX);
    }

    /// Looks for so long; `meanwhile` is what happens between two looks. Whether the run was killed.
    fn watch(&mut self, long: u64, mut meanwhile: impl FnMut(&Self)) -> bool {
        let until = self.now + long;
        while self.now < until {
            match self.dog.tick(&self.sh, self.now, &self.host) {
                Decision::Continue(next) => self.now = next,
                Decision::Kill => return true,
            }
            meanwhile(self);
        }
        false
    }

    fn verdict(&self) -> LivenessVerdict {
        self.dog.liveness.verdict
    }
}

#[test]
fn a_wait_for_a_thread_without_cpu_time_is_nobodys_livelock() {
    let mut bench = Bench::new();
    bench.lock(LOCKER);
    // It was about to go on, and even moves a little: what it lacks is the processor.
    let killed = bench.watch(50 * WINDOW, |bench| {
        bench.slot(LOCKER).place.set(if bench.now.is_multiple_of(3) { Step::Hold } else { Step::Zap }, FRAME);
        bench.give(LOCKER, 1);
        assert_eq!(bench.host.paused_for.get(), None, "nobody is suspect");
    });
    assert!(!killed && bench.verdict() == LivenessVerdict::Live);
    // The time is up: nobody can say.
    assert!(bench.watch(TIMEOUT, |_| ()));
    assert_eq!(bench.verdict(), LivenessVerdict::Inconclusive);
    assert!(bench.dog.liveness.findings.is_empty());
    assert!(!bench.slot(SUSPECT).finish().stuck);
}

#[test]
fn a_wait_for_a_thread_that_runs_and_never_lets_go_is_livelock() {
    let mut bench = Bench::new();
    bench.lock(LOCKER);
    let killed = bench.watch(20 * WINDOW, |bench| {
        bench.slot(LOCKER).place.set(if bench.now.is_multiple_of(3) { Step::Hold } else { Step::Zap }, FRAME);
        bench.give(LOCKER, MS);
    });
    assert!(killed && bench.verdict() == LivenessVerdict::Livelocked);
    assert!(bench.slot(SUSPECT).finish().stuck);
    let stall = &bench.dog.liveness.findings[0];
    assert_eq!(
        (stall.thread, stall.obstacle, stall.permanent),
        (SUSPECT, Some(Obstacle::Locked { by: Some(LOCKER as u32) }), true)
    );
    assert!(stall.waits_for.as_ref().unwrap().contains("thread 2 (lockers 0)"), "{stall:?}");
}

#[test]
fn a_wait_for_a_thread_that_lets_go_now_and_then_is_not() {
    let mut bench = Bench::new();
    bench.lock(LOCKER);
    let killed = bench.watch(50 * WINDOW, |bench| {
        // Each time it has the lock again, before the suspect has seen that it was free, and is
        // found elsewhere with it.
        let at = if bench.now.is_multiple_of(3) { Step::Hold } else { Step::Zap };
        bench.slot(LOCKER).place.set(Step::Idle, NO_FRAME);
        bench.slot(LOCKER).place.set(at, FRAME);
        bench.give(LOCKER, MS);
    });
    assert!(!killed && bench.verdict() == LivenessVerdict::Live);
}

#[test]
fn who_sleeps_beyond_the_runs_end_will_not_let_go_and_who_wakes_before_will() {
    for (until, verdict) in [(2 * TIMEOUT, LivenessVerdict::Livelocked), (TIMEOUT / 2, LivenessVerdict::Live)]
    {
        let mut bench = Bench::new();
        bench.lock(LOCKER);
        bench.slot(LOCKER).place.wait(Wait::Time, until);
        let killed = bench.watch(3 * WINDOW, |_| ());
        assert_eq!(bench.verdict(), verdict);
        assert_eq!(killed, verdict == LivenessVerdict::Livelocked);
        assert!(!killed || bench.now < 2 * WINDOW + WINDOW / 5, "late: {}", bench.now);
    }
}

#[test]
fn who_sweeps_without_cpu_time_is_no_suspect() {
    for (cpu, killed) in [(0, false), (MS, true)] {
        let mut bench = Bench::new();
        let dead = bench.watch(8 * WINDOW, |bench| {
            bench.slot(SUSPECT).place.set(Step::Sweep, NO_FRAME);
            bench.slot(SUSPECT).counters.add(Event::Sweeps, 10);
            bench.give(SUSPECT, cpu);
            assert!(killed || bench.host.paused_for.get().is_none(), "it is not even suspect");
        });
        assert_eq!(dead, killed);
        let verdict = if killed { LivenessVerdict::Livelocked } else { LivenessVerdict::Live };
        assert_eq!(bench.verdict(), verdict);
    }
}

#[test]
fn few_sweeps_are_no_livelock_however_long_they_take() {
    let mut bench = Bench::new();
    let killed = bench.watch(50 * WINDOW, |bench| bench.give(SUSPECT, MS));
    assert!(!killed && bench.verdict() == LivenessVerdict::Live);
}

/// Lets the suspect sweep until it is tried, and end once it is alone.
fn ends_alone(bench: &mut Bench, others: impl Fn(&Bench)) -> Said {
    let mut said = Said::default();
    bench.watch(20 * WINDOW, |bench| {
        let alone = bench.dog.trial.as_ref().is_some_and(|trial| trial.alone.is_some());
        if alone && bench.slot(SUSPECT).call().is_some() {
            said = bench.slot(SUSPECT).finish();
        } else if !alone {
            bench.sweep();
        }
        others(bench);
    });
    said
}

#[test]
fn who_ends_alone_after_losing_through_many_grace_periods_is_starved() {
    let mut bench = Bench::new();
    let said = ends_alone(&mut bench, |_| ());
    assert_eq!(bench.verdict(), LivenessVerdict::Starved);
    assert_eq!(bench.dog.liveness.findings[0].alone, Some("passes"));
    assert!(said.stuck, "its call is counted as what the verdict says");
}

#[test]
fn who_ends_alone_after_waiting_for_a_thread_without_cpu_time_is_not() {
    let mut bench = Bench::new();
    // Until the pause it neither rests nor goes on: it has no CPU time.
    bench.slot(OTHER).place.woken();
    bench.slot(OTHER).place.set(Step::Reclaim, FRAME);
    let said = ends_alone(&mut bench, |bench| {
        if bench.host.paused_for.get().is_some() && !bench.slot(OTHER).is_at_rest() {
            bench.rest(OTHER);
        }
    });
    assert_eq!(bench.verdict(), LivenessVerdict::Inconclusive);
    assert!(!said.stuck && bench.dog.liveness.findings.is_empty());
}

#[test]
fn who_goes_on_sweeping_alone_is_livelocked() {
    let mut bench = Bench::new();
    assert!(bench.watch(20 * WINDOW, Bench::sweep));
    assert_eq!(bench.verdict(), LivenessVerdict::Livelocked);
    assert_eq!(bench.dog.liveness.findings[0].alone, Some("fails"));
    assert!(bench.slot(SUSPECT).finish().stuck);
}

#[test]
fn nobody_is_alone_while_another_has_yet_to_rest_and_an_unconfirmed_suspect_is_not_called_live() {
    let mut bench = Bench::new();
    bench.slot(OTHER).place.woken();
    bench.slot(OTHER).place.set(Step::Reclaim, FRAME);
    let mut paused = false;
    let killed = bench.watch((LONG + CONFIRM_WINDOWS + 2) * WINDOW, |bench| {
        bench.sweep();
        paused |= bench.host.paused_for.get() == Some(SUSPECT);
    });
    assert!(paused && !killed);
    assert_eq!(bench.host.paused_for.get(), None, "the pause is over");
    assert_eq!(bench.verdict(), LivenessVerdict::Inconclusive);
    assert!(bench.dog.liveness.findings.is_empty());
}

/// The suspect and the other pinner wait for each other's locks.
fn circle(bench: &Bench) {
    bench.lock(OTHER);
    let page = bench.sh.m.page(FRAME + 1);
    page.set(flag::LOCKED);
    page.set_lock_owner(Some(SUSPECT as u32));
    bench.slot(OTHER).begin(0);
    bench.slot(OTHER).place.set(Step::PageLock, FRAME + 1);
    bench.slot(OTHER).place.wait(Wait::PageLock(FRAME + 1), u64::MAX);
}

#[test]
fn who_waits_for_a_hugetlb_fault_waits_for_the_thread_that_faults() {
    let mut bench = Bench::new();
    bench.lock(OTHER);
    assert!(bench.sh.m.hugetlb_fault_mutex(1).try_lock(SUSPECT as u32));
    bench.slot(OTHER).begin(0);
    bench.slot(OTHER).place.set(Step::FaultMutex, NO_FRAME);
    bench.slot(OTHER).place.wait(Wait::HugetlbFault { mutex: 1, thread: OTHER as u32 }, u64::MAX);
    assert!(bench.watch(10 * WINDOW, |_| ()));
    assert_eq!(bench.verdict(), LivenessVerdict::Deadlocked);
}

#[test]
fn a_circle_that_is_the_same_at_every_look_is_a_deadlock_of_all_in_it() {
    let mut bench = Bench::new();
    circle(&bench);
    assert!(bench.watch(10 * WINDOW, |_| ()));
    assert_eq!(bench.verdict(), LivenessVerdict::Deadlocked);
    let found = bench.dog.liveness.findings.iter();
    let found: Vec<_> = found.map(|stall| (stall.thread, stall.permanent)).collect();
    assert_eq!(found, [(SUSPECT, true), (OTHER, true)], "neither lock is let go of");
    assert!(bench.slot(SUSPECT).finish().stuck && bench.slot(OTHER).finish().stuck);
}

#[test]
fn a_circle_whose_waits_change_from_look_to_look_is_none() {
    let mut bench = Bench::new();
    circle(&bench);
    let killed = bench.watch(20 * WINDOW, |bench| {
        bench.slot(OTHER).place.wait(Wait::PageLock(FRAME + 1), u64::MAX);
    });
    assert!(!killed);
    assert_eq!(bench.verdict(), LivenessVerdict::Live);
}

#[test]
fn a_call_that_ends_before_it_is_judged_is_not_stuck() {
    let bench = Bench::new();
    let call = bench.slot(SUSPECT).call().unwrap();
    assert!(!bench.slot(SUSPECT).finish().stuck);
    bench.slot(SUSPECT).begin(5);
    assert!(!bench.slot(SUSPECT).judge_stuck(call), "that was another call");
    assert!(!bench.slot(SUSPECT).finish().stuck);
}

#[test]
fn what_ends_alone_with_the_run_is_cut_off_and_not_starved() {
    let mut bench = Bench::new();
    // Alone, it goes on without CPU time: nothing is decided when the user has had enough.
    bench.watch(LONG * WINDOW, |bench| {
        if bench.dog.trial.as_ref().is_none_or(|trial| trial.alone.is_none()) {
            bench.sweep();
        }
    });
    assert!(bench.dog.trial.as_ref().is_some_and(|trial| trial.alone.is_some()));
    bench.dog.cut_off(&bench.sh, bench.now, Some(Cut::Interrupted));
    assert!(!bench.slot(SUSPECT).finish().stuck);
    assert!(bench.dog.liveness.findings.is_empty());
}
