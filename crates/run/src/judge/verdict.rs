//! What a policy came to under a load: one word, the worst that is true.
//!
//! The order of the words, and where one ends and the next begins, is said here
//! and nowhere else: profiles expect them, results carry them, a matrix holds
//! one against the other.

use super::liveness::LivenessVerdict;
use super::result::{Books, RunResult, Safe, Status};
use gupstress_machine::words;
use serde::Deserialize;

words! {
    /// What a policy came to, best first.
    #[derive(PartialOrd, Ord, Hash, Deserialize)]
    pub enum Verdict {
        /// Every call pinned, truthfully and without waste.
        Ok = "ok",
        /// Failures, each with a permanent obstacle.
        Justified = "justified",
        /// Right, but most calls drain all CPUs for nothing.
        SlowDrains = "slow-drains",
        /// Failures without need.
        Spurious = "spurious",
        /// Not decided: may be anything up to stuck.
        Inconclusive = "inconclusive",
        /// Processes were killed for memory.
        OomKilled = "oom-killed",
        /// Pins of what must stay movable.
        Unsafe = "unsafe",
        /// Calls that never end.
        Stuck = "stuck",
        /// The kernel panicked: there was no memory, and nobody left to kill.
        Panicked = "panicked",
        /// The machine's own books do not balance: a bug in gupstress.
        Broken = "broken",
    }
}

impl Verdict {
    /// Its name in results and profiles.
    pub fn name(self) -> &'static str {
        Self::WORDS[self as usize].0
    }
}

/// Drains of all CPUs that found nothing, for each call, from where on they are slow.
pub const SLOW_FROM: f64 = 0.5;

/// How far from [`SLOW_FROM`] the share of one run is too near to tell: from one seed to the next
/// it comes out on either side. Of `n` runs together it is the root of `n` times less.
pub const SLOW_MARGIN: f64 = 0.1;

/// So many runs of a cell are made until its share is far enough off to tell.
pub const MOST_REPEATS: u32 = 8;

/// The worst that can be said of a result for certain, or that nothing can.
pub fn verdict<R>(result: &RunResult<R>) -> Verdict {
    let calls = &result.calls;
    let undecided = result.liveness.verdict == LivenessVerdict::Inconclusive
        || result.invariants.verdict == Books::Inconclusive;
    if result.invariants.verdict == Books::Broken {
        Verdict::Broken
    } else if result.oom.as_ref().is_some_and(|oom| oom.panicked) {
        Verdict::Panicked
    } else if calls.stuck > 0 || result.liveness.verdict.is_stuck() {
        Verdict::Stuck
    } else if calls.pinned_unsafe > 0 || result.safety.verdict == Safe::Violated {
        Verdict::Unsafe
    } else if result.oom.is_some() {
        Verdict::OomKilled
    } else if undecided || matches!(result.status, Status::Interrupted | Status::Aborted) || calls.issued == 0
    {
        // Who had no time to get stuck in, or to fail, is not known to be any good.
        Verdict::Inconclusive
    } else if calls.failed_spurious > 0 {
        Verdict::Spurious
    } else if calls.failed_justified > 0 {
        Verdict::Justified
    } else if idle_share(result.idle_drains(), calls.issued) >= SLOW_FROM {
        Verdict::SlowDrains
    } else {
        Verdict::Ok
    }
}

/// Drains that found nothing, for each call.
fn idle_share(drains: u64, calls: u64) -> f64 {
    if calls == 0 { 0.0 } else { drains as f64 / calls as f64 }
}

/// What a matrix takes of one run of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    /// Its verdict.
    pub verdict: Verdict,
    /// Calls.
    pub issued: u64,
    /// Those that failed.
    pub failed: u64,
    /// Drains of all CPUs that found nothing.
    pub idle_drains: u64,
}

/// A policy on a profile, held against what the profile expects.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Cell {
    /// The worst of its repeats.
    pub verdict: Verdict,
    /// Whether that is worse than expected; of an undecided one it is not known.
    pub worse: bool,
    /// What the verdict rests on: failed calls of all, or drains that found nothing, for each call.
    pub share: Option<f64>,
    /// Whether the share is so near to where the verdict changes that more repeats are needed to
    /// tell, and the expected side is given the benefit of the doubt.
    pub close: bool,
}

/// Judges a cell by all its repeats.
pub fn cell(repeats: &[Repeat], expected: Verdict) -> Cell {
    let sum = |of: fn(&Repeat) -> u64| repeats.iter().map(of).sum::<u64>();
    let calls = sum(|repeat| repeat.issued);
    let idle = idle_share(sum(|repeat| repeat.idle_drains), calls);
    let worst = repeats.iter().map(|repeat| repeat.verdict).max().unwrap_or(Verdict::Inconclusive);
    // Repeats that lie on either side of the cut are one question: their sum decides it.
    let at_cut = matches!(worst, Verdict::Ok | Verdict::SlowDrains);
    let close = at_cut && (idle - SLOW_FROM).abs() < SLOW_MARGIN / (repeats.len().max(1) as f64).sqrt();
    let verdict = match (at_cut, close) {
        (true, true) if matches!(expected, Verdict::Ok | Verdict::SlowDrains) => expected,
        (true, _) if idle >= SLOW_FROM => Verdict::SlowDrains,
        (true, _) => Verdict::Ok,
        (false, _) => worst,
    };
    let share = match verdict {
        Verdict::Ok | Verdict::SlowDrains => (calls > 0).then_some(idle),
        Verdict::Justified | Verdict::Spurious => {
            (calls > 0).then(|| sum(|repeat| repeat.failed) as f64 / calls as f64)
        }
        _ => None,
    };
    Cell { verdict, worse: verdict != Verdict::Inconclusive && verdict > expected, share, close }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::result::{Calls, Fairness, Invariants, Pages, Passing, Safety, Throughput};
    use crate::judge::{Causes, Liveness, Oom};
    use crate::observe::{Counters, Event, Totals};
    use hdrhistogram::Histogram;
    use std::collections::BTreeMap;

    fn repeat(verdict: Verdict, issued: u64, failed: u64, idle_drains: u64) -> Repeat {
        Repeat { verdict, issued, failed, idle_drains }
    }

    type Change<'c> = &'c dyn Fn(&mut RunResult<()>);

    /// A result of which all is well: ten calls that pinned.
    fn good() -> RunResult<()> {
        let none = Histogram::<u32>::new(3).unwrap();
        RunResult {
            policy: "mine".into(),
            kernel: "linux-7.2.13".into(),
            status: Status::Complete,
            wall_timeout: false,
            verdict: Verdict::Inconclusive,
            elapsed_s: 1.0,
            wall_s: 1.0,
            cpu_s: 1.0,
            seed: 1,
            calls: Calls { issued: 10, pinned: 10, ..Calls::default() },
            interrupted: 0,
            errors: BTreeMap::new(),
            causes: Causes::default(),
            pages: Pages { pinned: 10, contended: 0 },
            passing_pins: Passing { mean: Some(0.0), max: 0 },
            throughput: Throughput { calls_per_s: Some(10.0), pages_per_s: Some(10.0) },
            latency_ns: (&none).into(),
            sweeps: (&none).into(),
            counters: Totals::default(),
            background: Totals::default(),
            callers: std::collections::BTreeMap::new(),
            fairness: Fairness::of(&[10], 0, 0),
            liveness: Liveness { verdict: LivenessVerdict::Live, findings: Vec::new() },
            safety: Safety { verdict: Safe::Safe, leaked: 0, findings: Vec::new() },
            invariants: Invariants { verdict: Books::Held, checked: 9, broken: 0, findings: Vec::new() },
            victims: None,
            oom: None,
            failures: Vec::new(),
            contention: None,
            timeline: Vec::new(),
            resolved: (),
        }
    }

    #[test]
    fn of_several_things_that_are_true_the_worst_is_said() {
        let idle = Counters::default();
        idle.add(Event::DrainIdle, 5);
        let changes: [(Verdict, Change<'_>); 10] = [
            (Verdict::Ok, &|_| ()),
            (Verdict::SlowDrains, &|r| r.counters = idle.totals()),
            (Verdict::Justified, &|r| r.calls.failed_justified = 1),
            (Verdict::Spurious, &|r| r.calls.failed_spurious = 1),
            (Verdict::Inconclusive, &|r| r.liveness.verdict = LivenessVerdict::Inconclusive),
            (Verdict::OomKilled, &|r| r.oom = Some(Oom::default())),
            (Verdict::Unsafe, &|r| r.safety.verdict = Safe::Violated),
            (Verdict::Stuck, &|r| r.calls.stuck = 1),
            (Verdict::Panicked, &|r| r.oom = Some(Oom { panicked: true, ..Oom::default() })),
            (Verdict::Broken, &|r| r.invariants.verdict = Books::Broken),
        ];
        let mut all = good();
        for (wanted, change) in changes {
            let mut alone = good();
            change(&mut alone);
            assert_eq!(verdict(&alone), wanted);
            change(&mut all);
            assert_eq!(verdict(&all), wanted, "with all that is less bad");
        }
    }

    #[test]
    fn each_way_to_a_verdict_leads_to_it() {
        let of = |change: &dyn Fn(&mut RunResult<()>)| {
            let mut result = good();
            change(&mut result);
            result.judged().verdict
        };
        for bad in [LivenessVerdict::Starved, LivenessVerdict::Livelocked, LivenessVerdict::Deadlocked] {
            assert_eq!(of(&|r| r.liveness.verdict = bad), Verdict::Stuck);
        }
        assert_eq!(of(&|r| r.calls.pinned_unsafe = 1), Verdict::Unsafe);
        assert_eq!(of(&|r| r.calls = Calls::default()), Verdict::Inconclusive, "what was never tried");
        assert_eq!(of(&|r| r.status = Status::Interrupted), Verdict::Inconclusive);
        assert_eq!(of(&|r| r.status = Status::Aborted), Verdict::Inconclusive);
        assert_eq!(of(&|r| r.status = Status::Timeout), Verdict::Ok, "its calls all ended");
        let idle = Counters::default();
        idle.add(Event::DrainIdle, 4);
        assert_eq!(of(&|r| r.counters = idle.totals()), Verdict::Ok, "one in two calls is many");
    }

    #[test]
    fn a_share_at_the_cut_gives_the_expected_side_whatever_the_seed() {
        for idle in [41, 49, 50, 51, 59] {
            let own = if idle < 50 { Verdict::Ok } else { Verdict::SlowDrains };
            for expected in [Verdict::Ok, Verdict::SlowDrains] {
                let found = cell(&[repeat(own, 100, 0, idle)], expected);
                assert_eq!((found.verdict, found.worse, found.close), (expected, false, true), "{idle}");
                assert_eq!(found.share, Some(idle as f64 / 100.0));
            }
        }
    }

    #[test]
    fn a_share_clear_of_the_cut_decides() {
        let slow = cell(&[repeat(Verdict::SlowDrains, 100, 0, 61)], Verdict::Ok);
        assert_eq!((slow.verdict, slow.worse, slow.close), (Verdict::SlowDrains, true, false));
        let fast = cell(&[repeat(Verdict::Ok, 100, 0, 39)], Verdict::SlowDrains);
        assert_eq!((fast.verdict, fast.worse, fast.close), (Verdict::Ok, false, false));
    }

    #[test]
    fn repeats_on_both_sides_of_the_cut_are_summed() {
        let repeats = [repeat(Verdict::Ok, 100, 0, 49), repeat(Verdict::SlowDrains, 300, 0, 271)];
        let found = cell(&repeats, Verdict::Ok);
        assert_eq!((found.verdict, found.share), (Verdict::SlowDrains, Some(0.8)));
    }

    #[test]
    fn the_more_repeats_the_nearer_to_the_cut_they_decide() {
        let runs = |n: usize| vec![repeat(Verdict::SlowDrains, 100, 0, 56); n];
        let of = |n: usize| cell(&runs(n), Verdict::Ok);
        assert!(of(1).close && of(2).close && !of(3).close, "0.06 from the cut");
        assert_eq!((of(2).verdict, of(3).verdict), (Verdict::Ok, Verdict::SlowDrains));
        assert!(!cell(&[], Verdict::Ok).close);
    }

    #[test]
    fn the_worst_repeat_counts_and_its_share_is_that_of_all() {
        let repeats = [repeat(Verdict::Ok, 100, 0, 0), repeat(Verdict::Spurious, 100, 10, 0)];
        let found = cell(&repeats, Verdict::SlowDrains);
        assert_eq!((found.verdict, found.share, found.worse), (Verdict::Spurious, Some(0.05), true));
        let stuck = cell(&[repeats[1], repeat(Verdict::Stuck, 3, 0, 0)], Verdict::Stuck);
        assert_eq!((stuck.verdict, stuck.share, stuck.worse), (Verdict::Stuck, None, false));
    }

    #[test]
    fn an_undecided_cell_is_not_known_to_be_worse() {
        let found = cell(&[repeat(Verdict::Inconclusive, 0, 0, 0)], Verdict::Ok);
        assert_eq!((found.verdict, found.worse, found.share), (Verdict::Inconclusive, false, None));
        assert_eq!(cell(&[], Verdict::Ok).verdict, Verdict::Inconclusive);
    }

    #[test]
    fn the_order_is_that_of_the_list() {
        assert!(Verdict::WORDS.iter().map(|(_, verdict)| verdict).is_sorted());
        assert!(Verdict::WORDS.iter().all(|(word, verdict)| verdict.name() == *word));
    }
}
