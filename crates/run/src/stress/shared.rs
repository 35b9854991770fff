//! What the threads of one run share, and what each shows of itself.

use super::bystanders;
use super::profile::Profile;
use super::spread::Spread;
use crate::drive::{Driver, Place, Wait};
use crate::judge::{Causes, Class, Findings, UnsafePins, Victims};
use crate::machine::{CpuId, Kind, Known, MAX_ORDER, Machine, MappingId, Turns};
use crate::observe::{Counters, Event, Totals};
use crate::ops::{DmaError, Errno};
use crate::policy::Policy;
use crate::sync::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Mutex, Ordering, Rank};
use crossbeam_utils::CachePadded;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a thread shows of itself while it runs. Written by that thread alone.
#[derive(Debug, Default)]
pub struct Slot {
    /// Its counters.
    pub counters: Counters,
    /// Where it is.
    pub place: Arc<Place>,
    /// Number of its CPU clock; 0 before it runs, and where threads are nobody's but the run's.
    pub clock: AtomicI32,
    /// Whether it has ended.
    gone: AtomicBool,
    /// Calls ended, by class.
    classes: [AtomicU64; Class::COUNT],
    /// Pages of those that pinned.
    pages: AtomicU64,
    /// The call under way with what the watchdog has said of it; 0: there is none.
    call: AtomicU64,
    /// Sweeps counted before it.
    sweeps_before: AtomicU64,
}

/// A call under way, told from all others of its thread.
///
/// One word holds the call and what is said of it, so that both sides agree: who ends it takes the
/// word away and learns what was said before; who says something of it learns whether it was in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call(u64);

impl Call {
    /// It never ends.
    const STUCK: u64 = 1;
    /// It is on its own: everybody else is at rest.
    const ALONE: u64 = 2;

    /// No clock gets that far: it would take a century.
    const LATEST: u64 = (u64::MAX >> 2) - 1;

    fn begun(now: u64) -> Self {
        Self((now.min(Self::LATEST) + 1) << 2)
    }

    /// When it began.
    pub fn since(self) -> u64 {
        (self.0 >> 2) - 1
    }
}

/// What the watchdog had said of a call by the time it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Said {
    /// That it never ends, or ended only because everybody else was made to rest.
    pub stuck: bool,
}

impl Slot {
    /// A call begins.
    pub fn begin(&self, now: u64) {
        self.place.begin();
        self.sweeps_before.store(self.counters.get(Event::Sweeps), Ordering::Relaxed);
        self.call.store(Call::begun(now).0, Ordering::Release);
    }

    /// The call has ended: nothing can be said of it any more.
    pub fn finish(&self) -> Said {
        let said = self.call.swap(0, Ordering::AcqRel) & (Call::STUCK | Call::ALONE);
        Said { stuck: said != 0 }
    }

    /// Counts the call that has ended in `class`, with `pages` pinned.
    pub fn count(&self, class: Class, pages: u64) {
        add(&self.classes[class as usize], 1);
        add(&self.pages, pages);
    }

    /// The call under way.
    pub fn call(&self) -> Option<Call> {
        let word = self.call.load(Ordering::Acquire) & !(Call::STUCK | Call::ALONE);
        (word != 0).then_some(Call(word))
    }

    /// Changes what is said of a call; false if it has ended.
    fn say(&self, call: Call, what: impl Fn(u64) -> u64) -> bool {
        let mut word = self.call.load(Ordering::Acquire);
        while word & !(Call::STUCK | Call::ALONE) == call.0 {
            match self.call.compare_exchange(word, what(word), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Says that a call never ends; false if it has.
    pub fn judge_stuck(&self, call: Call) -> bool {
        self.say(call, |word| word | Call::STUCK)
    }

    /// Says that a call is on its own from here on; false if it has ended.
    pub fn put_alone(&self, call: Call) -> bool {
        self.say(call, |word| word | Call::ALONE)
    }

    /// Says that it is not any more; false if it has ended, alone.
    pub fn take_back(&self, call: Call) -> bool {
        self.say(call, |word| word & !Call::ALONE)
    }

    /// When the call under way began.
    pub fn in_call_since(&self) -> Option<u64> {
        self.call().map(Call::since)
    }

    /// The thread has ended.
    pub fn leave(&self) {
        self.gone.store(true, Ordering::Release);
    }

    /// Whether the thread is where it holds nothing, or has ended.
    pub fn is_at_rest(&self) -> bool {
        self.gone.load(Ordering::Acquire) || self.place.is_at_rest()
    }

    /// Sweeps of the call under way.
    pub fn sweeps_of_call(&self) -> u64 {
        let before = self.sweeps_before.load(Ordering::Relaxed);
        self.counters.get(Event::Sweeps).saturating_sub(before)
    }

    /// Calls ended, by class.
    pub fn classes(&self) -> [u64; Class::COUNT] {
        std::array::from_fn(|i| self.classes[i].load(Ordering::Relaxed))
    }

    /// Pages pinned by calls that succeeded.
    pub fn pages(&self) -> u64 {
        self.pages.load(Ordering::Relaxed)
    }
}

fn add(cell: &AtomicU64, n: u64) {
    cell.store(cell.load(Ordering::Relaxed) + n, Ordering::Relaxed);
}

/// What a pinner hands over when it ends.
#[derive(Debug, Clone)]
pub struct Ledger {
    /// Whose it is.
    pub pinner: usize,
    /// Nanoseconds of each call that ended.
    pub latency: Spread,
    /// Sweeps of each call that ended.
    pub sweeps: Spread,
    /// Failures by errno.
    pub errors: BTreeMap<Errno, u64>,
    /// Failures by what made them fail.
    pub causes: Causes,
    /// Page pins of contended calls.
    pub contended_pages: u64,
    /// Calls cut off by the end of the run.
    pub interrupted: u64,
    /// Most calls that others ended during one of its own.
    pub max_bypass: u64,
    /// Longest call, ended or cut off.
    pub longest_wait_ns: u64,
    /// Transfers that did not reach their mapping.
    pub dma_errors: Vec<DmaError>,
    /// What the thread had counted before the run's clock started.
    pub before: Totals,
}

impl Ledger {
    /// Empty.
    pub fn new(pinner: usize) -> Self {
        Self {
            pinner,
            latency: Spread::default(),
            sweeps: Spread::default(),
            errors: BTreeMap::new(),
            causes: Causes::default(),
            contended_pages: 0,
            interrupted: 0,
            max_bypass: 0,
            longest_wait_ns: 0,
            dma_errors: Vec::new(),
            before: Totals::default(),
        }
    }

    /// A call has ended that took so long and so many sweeps, and during which others ended so many.
    pub fn ended(&mut self, took_ns: u64, sweeps: u32, others: u64) {
        self.latency.record(took_ns);
        self.sweeps.record(u64::from(sweeps));
        self.max_bypass = self.max_bypass.max(others);
    }

    /// Another's on top.
    pub fn merge(&mut self, other: Self) {
        self.latency.merge(&other.latency);
        self.sweeps.merge(&other.sweeps);
        for (errno, n) in other.errors {
            *self.errors.entry(errno).or_default() += n;
        }
        self.causes.merge(&other.causes);
        self.contended_pages += other.contended_pages;
        self.interrupted += other.interrupted;
        self.max_bypass = self.max_bypass.max(other.max_bypass);
        self.longest_wait_ns = self.longest_wait_ns.max(other.longest_wait_ns);
        self.dma_errors.extend(other.dma_errors);
        self.before.add(&other.before);
    }
}

/// Everything of a run but its driver.
#[derive(Debug)]
pub struct Shared {
    /// The machine.
    pub m: Machine,
    /// The policy under test.
    pub policy: Policy,
    /// The profile.
    pub profile: Profile,
    /// Page pins after which the run is complete.
    pub goal: u64,
    /// The mappings that everybody works on.
    pub mappings: Vec<MappingId>,
    /// Pinners first, then actors, then kworkers.
    pub slots: Box<[CachePadded<Slot>]>,
    /// What pinners hand over.
    pub ledgers: Mutex<Vec<Ledger>>,
    /// Findings.
    pub findings: Mutex<Findings>,
    /// A mapping for each pinner to push others' pages out of batches with.
    pub fillers: Vec<MappingId>,
    /// What each bystander has.
    pub bystanders: Vec<MappingId>,
    /// What the kernel has, where it has all that is left outside Movable.
    pub hog: Option<MappingId>,
    /// Pages with an obstacle of their own.
    pub special: Mutex<Known>,
    /// Whose turn it is, where calls are made one after the other.
    pub serial: Turns,
    /// Pins that are in the way of victims.
    pub unsafe_pins: Mutex<UnsafePins>,
    /// What became of victims.
    pub victims: Mutex<Victims>,
    /// Page pins of calls that succeeded.
    pub pinned: CachePadded<AtomicU64>,
    /// Calls ended.
    pub ended: CachePadded<AtomicU64>,
    /// When the pinners set off, plus one; 0 before.
    started: AtomicU64,
    /// When the last pinner was done, plus one.
    completed: AtomicU64,
    pinners_left: AtomicU32,
    threads_left: AtomicU32,
    /// Set once threads will never leave by themselves: panicked, or never begun.
    abandoned: AtomicBool,
    barrier: Barrier,
}

impl Shared {
    /// Before the threads of a run start: nothing but empty mappings.
    pub fn new(m: Machine, policy: Policy, profile: Profile, goal: u64) -> Self {
        let pages = profile.ranges.pages;
        let (count, huge) = (profile.mappings(), pages >> MAX_ORDER);
        m.accounts.set_memlock(profile.pinner.memlock);
        m.accounts.set_dma_entry_limit(profile.pinner.dma_entries);
        if profile.ranges.hugetlb {
            m.set_hugetlb_pool(CpuId(0), huge.saturating_mul(count));
        }
        let mappings = (0..count).map(|number| {
            let backing = profile.backing(number);
            let mapping = m.map(backing, pages).id;
            if backing.kind.is_hugetlb() {
                // What the pool lacks is a fault's to say.
                let _ = m.reserve_hugetlb(CpuId(0), mapping, huge);
            }
            mapping
        });
        let mappings = mappings.collect();
        let fillers = match profile.pinner.fill {
            0 => Vec::new(),
            pages => (0..profile.threads).map(|_| m.map(Kind::Anon, pages).id).collect(),
        };
        let (bystanders, hog) = bystanders::make(&m, &profile);
        let needs = profile.needs(profile.threads);
        Self {
            fillers,
            bystanders,
            hog,
            special: Mutex::ranked(Rank::Run, Known::default()),
            serial: Turns::default(),
            unsafe_pins: Mutex::ranked(Rank::Run, UnsafePins::new()),
            victims: Mutex::ranked(Rank::Run, Victims::default()),
            mappings,
            slots: (0..needs.os_threads).map(|_| CachePadded::default()).collect(),
            ledgers: Mutex::new(Vec::new()),
            findings: Mutex::new(Findings::default()),
            pinned: CachePadded::new(AtomicU64::new(0)),
            ended: CachePadded::new(AtomicU64::new(0)),
            started: AtomicU64::new(0),
            completed: AtomicU64::new(0),
            pinners_left: AtomicU32::new(profile.threads),
            threads_left: AtomicU32::new(needs.os_threads - profile.cpus),
            abandoned: AtomicBool::new(false),
            barrier: Barrier::default(),
            m,
            policy,
            profile,
            goal,
        }
    }

    /// The slots of the pinners.
    pub fn pinners(&self) -> &[CachePadded<Slot>] {
        &self.slots[..self.profile.threads as usize]
    }

    /// Whether a thread is where it holds nothing, or is not there at all.
    pub fn is_at_rest(&self, thread: usize) -> bool {
        // A kworker without work may be no thread yet.
        let cpu = thread.checked_sub(self.slots.len() - self.m.cpus.len());
        cpu.is_some_and(|cpu| self.m.cpus[cpu].drain_wanted().is_none()) || self.slots[thread].is_at_rest()
    }

    /// What a thread is called.
    pub fn name(&self, thread: usize) -> String {
        self.profile.thread_names().nth(thread).unwrap_or_default()
    }

    /// The slots of the actors.
    pub fn actors(&self) -> &[CachePadded<Slot>] {
        let kworkers = self.slots.len() - self.profile.cpus as usize;
        &self.slots[self.profile.threads as usize..kworkers]
    }

    /// Whether the run's work is not done yet.
    pub fn wants_more(&self) -> bool {
        let calls = u64::from(self.profile.calls);
        self.pinned.load(Ordering::Relaxed) < self.goal
            && (calls == 0 || self.ended.load(Ordering::Relaxed) < calls)
    }

    /// How much of the run's work is done, from 0 to 1.
    pub fn done(&self) -> f64 {
        let part = |done: &AtomicU64, of: u64| done.load(Ordering::Relaxed) as f64 / of.max(1) as f64;
        let calls = match u64::from(self.profile.calls) {
            0 => 0.0,
            limit => part(&self.ended, limit),
        };
        part(&self.pinned, self.goal).max(calls).min(1.0)
    }

    /// The moment at which the pinners set off.
    pub fn started(&self) -> Option<u64> {
        self.started.load(Ordering::Acquire).checked_sub(1)
    }

    /// Waits until all pinners are here; false if killed. The first time it
    /// also starts the clock.
    pub fn meet<D: Driver>(&self, d: &D) -> bool {
        let killed = || self.m.processes.is_killed();
        self.barrier.meet(d, self.profile.threads, killed, || {
            if self.started().is_none() {
                self.started.store(d.now() + 1, Ordering::Release);
            }
        })
    }

    /// As if the pinners had set off then.
    pub fn start_at(&self, now: u64) {
        self.started.store(now + 1, Ordering::Release);
    }

    /// A pinner is done.
    pub fn pinner_left<D: Driver>(&self, d: &D) {
        // Killed, nobody will come any more to those who wait for all.
        d.wake(Wait::Barrier);
        if self.pinners_left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.completed.store(d.now() + 1, Ordering::Release);
        }
    }

    /// The moment at which the last pinner was done.
    pub fn completed_at(&self) -> Option<u64> {
        self.completed.load(Ordering::Acquire).checked_sub(1)
    }

    /// Whether all pinners are done.
    pub fn is_complete(&self) -> bool {
        self.pinners_left.load(Ordering::Acquire) == 0
    }

    /// A pinner or actor ends; the last one sends the kworkers home.
    pub fn thread_left<D: Driver>(&self, d: &D) {
        if self.threads_left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.m.each_cpu().for_each(|(cpu, _)| d.wake(Wait::Work(cpu)));
        }
    }

    /// Threads will never come: sends the kworkers home.
    pub fn abandon<D: Driver>(&self, d: &D) {
        // A flag of its own: those that are still there go on counting themselves out.
        self.abandoned.store(true, Ordering::Release);
        self.m.each_cpu().for_each(|(cpu, _)| d.wake(Wait::Work(cpu)));
    }

    /// Whether only kworkers are left.
    pub fn is_over(&self) -> bool {
        self.threads_left.load(Ordering::Acquire) == 0 || self.abandoned.load(Ordering::Acquire)
    }
}

/// A barrier that the pinners of a round meet at.
#[derive(Debug, Default)]
struct Barrier {
    arrived: AtomicU32,
    generation: AtomicU32,
}

impl Barrier {
    /// Waits for `threads` to arrive, unless they were `killed`; the last one runs `open` first.
    fn meet<D: Driver>(&self, d: &D, threads: u32, killed: impl Fn() -> bool, open: impl FnOnce()) -> bool {
        let generation = self.generation.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == threads {
            self.arrived.store(0, Ordering::Relaxed);
            open();
            self.generation.fetch_add(1, Ordering::AcqRel);
            d.wake(Wait::Barrier);
            return true;
        }
        let open = || self.generation.load(Ordering::Acquire) != generation;
        d.wait(Wait::Barrier, &|| open() || killed()) && open()
    }
}

gupstress_machine::restore!(Slot { counters, place, clock, gone, classes, pages, call, sweeps_before });
gupstress_machine::restore!(Barrier { arrived, generation });
gupstress_machine::restore!(Shared {
    m, slots, ledgers, findings, special, serial, unsafe_pins, victims, pinned, ended, started, completed, pinners_left, threads_left,
    abandoned, barrier,
} keep { policy, profile, goal, mappings, fillers, bystanders, hog });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_keeps_the_largest_not_the_last() {
        let mut ledger = Ledger::new(0);
        [3, 9, 4].into_iter().for_each(|others| ledger.ended(1000, 1, others));
        assert_eq!(ledger.max_bypass, 9);
        let mut less = Ledger::new(0);
        less.ended(5, 7, 2);
        less.longest_wait_ns = 5;
        ledger.longest_wait_ns = 1000;
        ledger.merge(less);
        assert_eq!((ledger.max_bypass, ledger.longest_wait_ns), (9, 1000));
        assert_eq!((ledger.latency.total().len(), ledger.sweeps.total().max()), (4, 7));
    }
    use crate::drive::os::{OsRun, OsThread};
    use crate::policy::{Source, load_kernel, load_policy};
    use crate::stress::load_profile;

    #[test]
    fn an_abandoned_run_stays_over_while_its_threads_leave() {
        let rules = load_kernel(Source::Preset("linux-7.2.13"), &[]).unwrap();
        let policy = load_policy(Source::Preset("linux-7.2"), &[]).unwrap();
        let profile = load_profile(Source::Preset("steady"), &[("threads".into(), "3".into())]).unwrap();
        let m = Machine::new(rules, &profile.layout(), profile.cpus as usize);
        let sh = Shared::new(m, policy, profile, 1);
        let run = OsRun::new(sh.m.cpus.len(), 2, 0.0, 0);
        let place = Place::default();
        let d = OsThread::new(&run, &place, 0, true, 1);
        assert!(!sh.is_over());
        sh.abandon(&d);
        for _ in 0..sh.slots.len() - sh.m.cpus.len() {
            assert!(sh.is_over());
            sh.thread_left(&d);
        }
        assert!(sh.is_over());
    }
}
