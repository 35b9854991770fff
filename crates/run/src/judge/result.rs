//! What a run found: one element of `results` in schema `gupstress.run/1`.
//!
//! Every number has a place of its own here; what has nothing to be taken from is
//! `None`, never 0. Nothing here looks at a run: `stress` fills it in.

use super::class::Class;
use super::findings::{Causes, Failure, UnsafePin};
use super::liveness::{Liveness, Sample};
use super::oom::Oom;
use super::verdict::{Verdict, verdict};
use super::victims::Victims;
use crate::machine::Broken;
use crate::observe::{Event, Totals};
use crate::ops::Errno;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Its work was done.
    Complete,
    /// Its time was up.
    Timeout,
    /// A call that never ends was found.
    Stuck,
    /// The OOM killer ended the process that pins.
    Killed,
    /// The kernel panicked: there was no memory, and nobody left to kill.
    Panicked,
    /// Its user interrupted it.
    Interrupted,
    /// It had lost a condition for good that it was to end at.
    Aborted,
}

/// Calls by how they ended; `issued` is the sum of the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Calls {
    /// All of them.
    pub issued: u64,
    /// Pinned, and every page may stay where it is.
    pub pinned: u64,
    /// Pinned, with some page where pages must stay movable.
    pub pinned_unsafe: u64,
    /// Failed, and some page had a permanent obstacle.
    pub failed_justified: u64,
    /// Failed without need.
    pub failed_spurious: u64,
    /// Ended by a signal: the OOM killer chose the process that pins.
    pub oom_killed: u64,
    /// Never ended.
    pub stuck: u64,
}

impl Calls {
    /// Of counts by class.
    pub fn of(classes: [u64; Class::COUNT]) -> Self {
        let of = |class: Class| classes[class as usize];
        Self {
            issued: classes.iter().sum(),
            pinned: of(Class::Pinned),
            pinned_unsafe: of(Class::PinnedUnsafe),
            failed_justified: of(Class::FailedJustified),
            failed_spurious: of(Class::FailedSpurious),
            oom_killed: of(Class::OomKilled),
            stuck: of(Class::Stuck),
        }
    }

    /// Those of one class.
    pub fn get(&self, class: Class) -> u64 {
        match class {
            Class::Pinned => self.pinned,
            Class::PinnedUnsafe => self.pinned_unsafe,
            Class::FailedJustified => self.failed_justified,
            Class::FailedSpurious => self.failed_spurious,
            Class::OomKilled => self.oom_killed,
            Class::Stuck => self.stuck,
        }
    }

    /// Those that failed.
    pub fn failed(&self) -> u64 {
        self.failed_justified + self.failed_spurious
    }
}

/// A part of a whole; none of nothing.
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole != 0).then(|| part as f64 / whole as f64)
}

/// Page pins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Pages {
    /// By calls that succeeded.
    pub pinned: u64,
    /// By those of them that met resistance.
    pub contended: u64,
}

/// Sweeps of the long-term loop that hold pins, which are in the way of everybody's migrations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Passing {
    /// At once, on average over the run; none where no time passed.
    pub mean: Option<f64>,
    /// At once, at most.
    pub max: u32,
}

/// Rates; none where no time passed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Throughput {
    /// Calls that ended.
    pub calls_per_s: Option<f64>,
    /// Page pins.
    pub pages_per_s: Option<f64>,
}

/// Of calls that ended, in nanoseconds; none where none did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[allow(missing_docs, reason = "statistics' own names")]
pub struct Latency {
    pub min: Option<u64>,
    pub mean: Option<f64>,
    pub p50: Option<u64>,
    pub p90: Option<u64>,
    pub p99: Option<u64>,
    pub p99_9: Option<u64>,
    pub max: Option<u64>,
}

impl From<&Histogram<u32>> for Latency {
    fn from(calls: &Histogram<u32>) -> Self {
        let some = !calls.is_empty();
        let at = |quantile| some.then(|| calls.value_at_quantile(quantile));
        Self {
            min: some.then(|| calls.min()),
            mean: some.then(|| calls.mean()),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: some.then(|| calls.max()),
        }
    }
}

/// Of calls that ended; none where none did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[allow(missing_docs, reason = "statistics' own names")]
pub struct Sweeps {
    pub mean: Option<f64>,
    pub p50: Option<u64>,
    pub p99: Option<u64>,
    pub max: Option<u64>,
}

impl From<&Histogram<u32>> for Sweeps {
    fn from(calls: &Histogram<u32>) -> Self {
        let Latency { mean, p50, p99, max, .. } = calls.into();
        Self { mean, p50, p99, max }
    }
}

/// How evenly the pinners fared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Fairness {
    /// Jain's index of their page pins (Jain, Chiu, Hawe 1984): 1 for equal shares, 1/n for one
    /// of n that has all; none where nobody has any.
    pub jain: Option<f64>,
    /// The smallest share by the largest.
    pub min_max: Option<f64>,
    /// The longest call, ended or cut off.
    pub longest_wait_ns: u64,
    /// Most calls that others ended during one.
    pub max_bypass: u64,
}

impl Fairness {
    /// Of the page pins of each pinner.
    pub fn of(pages: &[u64], longest_wait_ns: u64, max_bypass: u64) -> Self {
        let sum: f64 = pages.iter().map(|&x| x as f64).sum();
        let squares: f64 = pages.iter().map(|&x| (x as f64) * (x as f64)).sum();
        let (least, most) =
            (pages.iter().min().copied().unwrap_or(0), pages.iter().max().copied().unwrap_or(0));
        Self {
            jain: (squares != 0.0).then(|| sum * sum / (pages.len() as f64 * squares)),
            min_max: ratio(least, most),
            longest_wait_ns,
            max_bypass,
        }
    }
}

/// Was every success true, and every pin somebody's?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Safe {
    /// Every one.
    Safe,
    /// Not every one.
    Violated,
}

/// The verdict with what it rests on.
#[derive(Debug, Clone, Serialize)]
pub struct Safety {
    /// The verdict.
    pub verdict: Safe,
    /// Page pins that nobody gives back: `acquired` − `released` at the end of all pinners.
    pub leaked: u64,
    /// Pins that were not, the first hundred.
    pub findings: Vec<UnsafePin>,
}

/// Do the machine's own books balance?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Books {
    /// They do.
    Held,
    /// They do not.
    Broken,
    /// What was counted held, but the end of the run cut the recount off.
    Inconclusive,
}

/// The verdict with what it rests on.
#[derive(Debug, Clone, Serialize)]
pub struct Invariants {
    /// The verdict.
    pub verdict: Books,
    /// Facts compared.
    pub checked: u64,
    /// Those that were wrong.
    pub broken: u64,
    /// The first hundred of them.
    pub findings: Vec<Broken>,
}

/// What one kind of caller came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OfCaller {
    /// Its threads.
    pub threads: u64,
    /// Calls by class.
    pub calls: Calls,
    /// Failures by errno.
    pub errors: BTreeMap<Errno, u64>,
    /// Page pins.
    pub pages: Pages,
    /// Latency of calls that ended.
    pub latency_ns: Latency,
}

/// Shares as `same-range` measurements on real kernels give them (`kernel/contention.json`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Contention {
    /// Rounds.
    pub rounds: u64,
    /// Pages of the range.
    pub pages: u64,
    /// Page pins taken, of each page in a round, by each thread.
    pub acquired_per_page_per_thread: f64,
    /// Of each page in a round, by all threads.
    pub migrated_per_page: f64,
    /// So too.
    pub migrate_failed_per_page: f64,
    /// Of all calls.
    pub enomem_share: f64,
}

/// A whole run.
///
/// What was set is whoever runs it to say; here nothing looks at it.
#[derive(Debug, Serialize)]
pub struct RunResult<R> {
    /// Policy.
    pub policy: String,
    /// Kernel rules.
    pub kernel: String,
    /// Why it ended.
    pub status: Status,
    /// Whether it was the host's time that was up, and not the driver's.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub wall_timeout: bool,
    /// What it came to, in one word: [`verdict`] of the rest.
    pub verdict: Verdict,
    /// Seconds from the pinners' start to the end: wall time, or virtual time on the simulator.
    pub elapsed_s: f64,
    /// Seconds of wall time that it took of the host, from building the machine to its recount.
    pub wall_s: f64,
    /// CPU seconds of the process meanwhile.
    pub cpu_s: f64,
    /// Seed.
    pub seed: u64,
    /// Calls by class.
    pub calls: Calls,
    /// Calls that the end of the run cut off: of no class.
    pub interrupted: u64,
    /// Failures by errno.
    pub errors: BTreeMap<Errno, u64>,
    /// Failures by what made them fail.
    pub causes: Causes,
    /// Page pins.
    pub pages: Pages,
    /// Sweeps that hold pins.
    pub passing_pins: Passing,
    /// Rates.
    pub throughput: Throughput,
    /// Latency of calls that ended.
    pub latency_ns: Latency,
    /// Sweeps of calls that ended.
    pub sweeps: Sweeps,
    /// What pinners counted since they set off.
    pub counters: Totals,
    /// What the other actors counted.
    pub background: Totals,
    /// How evenly the pinners fared.
    pub fairness: Fairness,
    /// The same by kind of caller, as the profile names them; none: there is one kind.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub callers: BTreeMap<String, OfCaller>,
    /// Did every call end?
    pub liveness: Liveness,
    /// Was every success true?
    pub safety: Safety,
    /// Did the machine itself hold?
    pub invariants: Invariants,
    /// What became of those who want memory back; none: nobody does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub victims: Option<Victims>,
    /// What was killed for memory; none: nothing was, and the kernel has not panicked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom: Option<Oom>,
    /// Failed calls, the first hundred.
    pub failures: Vec<Failure>,
    /// Shares that measurements on real kernels give too, of pinners that go in rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contention: Option<Contention>,
    /// Progress over time.
    pub timeline: Vec<Sample>,
    /// Everything that was set, with every default filled in: the tables that their TOML is.
    pub resolved: R,
}

impl<R> RunResult<R> {
    /// The same with its verdict, which rests on all the rest.
    #[must_use]
    pub fn judged(mut self) -> Self {
        self.verdict = verdict(&self);
        self
    }

    /// Drains of all CPUs by pinners that found nothing.
    pub fn idle_drains(&self) -> u64 {
        self.counters.get(Event::DrainIdle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jains_index_is_one_for_equals_and_one_nth_for_one_that_has_all() {
        let jain = |pages: &[u64]| Fairness::of(pages, 0, 0).jain;
        assert_eq!(jain(&[7, 7, 7, 7]), Some(1.0));
        assert_eq!(jain(&[9, 0, 0, 0]), Some(0.25));
        assert_eq!(jain(&[3, 1]), Some(0.8));
        assert_eq!(jain(&[0, 0]), None);
    }

    #[test]
    fn the_smallest_share_is_told_by_the_largest() {
        let of = |pages: &[u64]| Fairness::of(pages, 0, 0).min_max;
        assert_eq!((of(&[2, 8, 4]), of(&[0, 5]), of(&[0, 0])), (Some(0.25), Some(0.0), None));
    }

    #[test]
    fn calls_add_up() {
        let calls = Calls::of([5, 1, 2, 8, 3, 4]);
        assert_eq!(calls.issued, 23);
        assert_eq!(calls.failed(), 10);
        assert!(Class::WORDS.iter().map(|&(_, class)| calls.get(class)).eq([5, 1, 2, 8, 3, 4]));
    }
}
