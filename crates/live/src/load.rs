//! A load on the kernel that runs: pinners and those who disturb them, as threads.
//!
//! Truth comes from what the load knows and from looking: a success is unsafe if a page of it
//! lies in Movable or CMA, a failure is spurious unless this load holds a page of the range
//! for good. What a device writes through a pin must show in the mapping.
//!
//! Threads are never joined: one whose pin spins in the kernel ends with its process only.

use crate::area::{Area, Space};
use crate::blocks::Blocks;
use crate::calls::{child_for, known, pipe_hold, run_on, settle};
use crate::counters::Counters;
use crate::device::{Field, Looks, pattern, word_of};
use crate::pins::{Pin, Ring};
use crate::places::Places;
use crate::player::is_unsafe;
use crate::udmabuf::Udmabuf;
use gupstress_run::judge::class::Class;
use gupstress_run::machine::Kind;
use gupstress_run::ops::{Caller, Errno};
use gupstress_run::stress::{Age, Job, Profile, Role, Special};
use hdrhistogram::Histogram;
use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::SplitMix64;
use rustix::fd::OwnedFd;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::mm::Advice;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What one pinner has found so far.
#[derive(Debug)]
pub struct Ledger {
    /// Calls by class, in the order of [`Class::WORDS`].
    pub classes: [u64; Class::COUNT],
    /// Failures by errno.
    pub errors: BTreeMap<&'static str, u64>,
    /// Pages of calls that succeeded.
    pub pages: u64,
    /// Nanoseconds of each call.
    pub latency: Histogram<u32>,
    /// Patterns of devices that were looked for: in each page, while it was pinned and after.
    pub checked: u64,
    /// Those of them that were not found.
    pub broken: u64,
    /// The first of these.
    pub lost: Vec<String>,
    /// When the call that is under way began.
    pub since: Option<Instant>,
    /// Why this pinner gave up.
    pub trouble: Option<String>,
}

impl Ledger {
    fn new() -> Self {
        Self {
            classes: [0; Class::COUNT],
            errors: BTreeMap::new(),
            pages: 0,
            latency: Histogram::new(3).expect("three digits are possible"),
            checked: 0,
            broken: 0,
            lost: Vec::new(),
            since: None,
            trouble: None,
        }
    }
}

/// What all threads share.
#[derive(Debug)]
pub struct Load {
    /// What is done.
    pub profile: Profile,
    fields: Vec<Field>,
    places: Places,
    /// Of each pinner.
    pub ledgers: Vec<Mutex<Ledger>>,
    calls: AtomicU64,
    pages: AtomicU64,
    stop: AtomicBool,
    round: Barrier,
    /// Bytes that devices read, a pattern for each pinner.
    source: OwnedFd,
    cpus: usize,
    seed: u64,
    pins: u64,
    /// References that stay for good.
    held: Vec<[OwnedFd; 2]>,
    /// What those who want blocks can take.
    blocks: Blocks,
}

/// How a load ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its work was done.
    Complete,
    /// Its time was up.
    Timeout,
    /// A call does not end.
    Stuck,
}

/// Most lost patterns that are told one by one.
const TOLD: usize = 10;

impl Load {
    /// Maps what a job needs.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new(job: &Job, places: Places, cpus: usize) -> io::Result<Self> {
        let profile = job.profile.clone();
        let blocks = Blocks::of(&profile)?;
        let (ranges, threads) = (&profile.ranges, profile.threads as usize);
        let count = if ranges.private { threads } else { ranges.count as usize };
        let mut space = Space::default();
        let nth = |share: f64, at: usize| (at as f64 + 0.5) / (count as f64) < share;
        let mut fields = Vec::with_capacity(count);
        let mut held = Vec::new();
        for at in 0..count {
            let kind = if nth(ranges.shmem.0, at) { Kind::Shmem } else { Kind::Anon };
            let area = space.map(kind, ranges.pages)?;
            if nth(ranges.mlocked.0, at) {
                area.mlock(&(0..ranges.pages))?;
            }
            populate(&profile, &area, 0..ranges.pages);
            if ranges.special == Special::Held {
                for index in 0..ranges.special_pages.min(ranges.pages) {
                    held.push(pipe_hold(&area, index)?);
                }
            }
            fields.push(Field::new(area));
        }
        let source = memfd_create("gupstress-device", MemfdFlags::CLOEXEC)?;
        let mut file = fs::File::from(source.try_clone()?);
        for thread in 0..threads as u64 {
            file.write_all(&pattern(thread).to_ne_bytes())?;
        }
        Ok(Self {
            fields,
            places,
            ledgers: (0..threads).map(|_| Mutex::new(Ledger::new())).collect(),
            calls: AtomicU64::new(0),
            pages: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            round: Barrier::new(threads),
            source,
            cpus: cpus.min(profile.cpus as usize).max(1),
            seed: job.seed,
            pins: job.pins,
            held,
            blocks,
            profile,
        })
    }

    /// Starts everyone and waits until the work is done, time is up, or a call does not end.
    pub fn run(self: &Arc<Self>, job: &Job, tell: &mut dyn FnMut(f64, u64, u64) -> bool) -> End {
        let began = Instant::now();
        for number in 0..self.ledgers.len() {
            let load = Arc::clone(self);
            thread::spawn(move || load.pinner(number));
        }
        for (role, actor) in self.profile.actors() {
            for number in 0..actor.threads {
                let load = Arc::clone(self);
                let (pause, hold) = (Duration::from_nanos(actor.pause.0), Duration::from_nanos(actor.hold.0));
                thread::spawn(move || load.actor(role, u64::from(number), pause, hold));
            }
        }
        let (mut seen, mut since, mut told) = (0, Instant::now(), Instant::now());
        let end = loop {
            thread::sleep(Duration::from_millis(2));
            let (calls, pages) = (self.calls.load(Relaxed), self.pages.load(Relaxed));
            if calls != seen {
                (seen, since) = (calls, Instant::now());
            }
            if told.elapsed() >= Duration::from_secs(1) {
                told = Instant::now();
                if !tell(began.elapsed().as_secs_f64(), calls, pages) {
                    break End::Timeout;
                }
            }
            if self.is_done() {
                break End::Complete;
            }
            // A call that takes long while others end is slow; one that alone is under way is not
            // given more than the time after which it counts as stuck.
            if since.elapsed() >= job.stall_after.max(Duration::from_secs(10)) {
                break End::Stuck;
            }
            if began.elapsed() >= job.timeout {
                break End::Timeout;
            }
        };
        self.stop.store(true, Relaxed);
        // Calls under way are given time to end, and so is who waits for a round.
        let grace = Instant::now();
        while end != End::Stuck && self.under_way() > 0 && grace.elapsed() < job.stall_after {
            thread::sleep(Duration::from_millis(1));
        }
        self.blocks.give_back();
        end
    }

    /// Calls that have not ended.
    pub fn under_way(&self) -> u64 {
        self.ledgers.iter().filter(|ledger| lock(ledger).since.is_some()).count() as u64
    }

    /// CPUs that it runs on.
    pub fn cpus(&self) -> usize {
        self.cpus
    }

    fn is_done(&self) -> bool {
        let calls = u64::from(self.profile.calls);
        self.pages.load(Relaxed) >= self.pins || (calls != 0 && self.calls.load(Relaxed) >= calls)
    }

    fn pinner(&self, number: usize) {
        if let Err(trouble) = self.pin_on_and_on(number) {
            lock(&self.ledgers[number]).trouble = Some(trouble);
            self.stop.store(true, Relaxed);
        }
    }

    fn pin_on_and_on(&self, number: usize) -> Result<(), String> {
        let mut random = SplitMix64::seed_from_u64(self.seed.wrapping_add(number as u64));
        let said = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
        run_on(number % self.cpus).map_err(|errno| format!("cpu: {errno}"))?;
        let writes = self.profile.pinner.write;
        let mut pin = match self.profile.callers.of(number, writes).0 {
            Caller::Udmabuf => Pin::Udmabuf(Udmabuf::new().map_err(said("udmabuf"))?),
            _ => Pin::Ring(Box::new(Ring::new().map_err(said("io_uring"))?)),
        };
        let (ranges, pinner) = (&self.profile.ranges, &self.profile.pinner);
        let mut range = 0..pinner.pages_max.min(ranges.pages);
        loop {
            let own = if ranges.private { number } else { pick(&mut random, self.fields.len()) };
            let field = if pinner.rounds { &self.fields[0] } else { &self.fields[own] };
            if pinner.rounds {
                if self.next_round(field, &range).is_none() {
                    return Ok(());
                }
            } else {
                if self.stop.load(Relaxed) || self.is_done() {
                    return Ok(());
                }
                let most = pinner.pages_max.min(ranges.pages);
                let pages = pinner.pages_min.min(most)
                    + pick(&mut random, (most - pinner.pages_min.min(most)) as usize + 1) as u32;
                let start = pick(&mut random, (ranges.pages - pages) as usize + 1) as u32;
                range = start..start + pages;
                if chance(&mut random, pinner.migrate_cpu.0) {
                    run_on(pick(&mut random, self.cpus)).map_err(|errno| format!("cpu: {errno}"))?;
                }
            }
            self.call(number, &mut pin, field, &range)?;
            if !pinner.rounds && chance(&mut random, pinner.zap.0) {
                self.renew(field, &range);
            }
        }
    }

    /// Everybody is there, the range is freshly written, and everybody goes; none at the end.
    fn next_round(&self, field: &Field, range: &Range<u32>) -> Option<()> {
        if self.round.wait().is_leader() {
            if self.is_done() {
                self.stop.store(true, Relaxed);
            } else {
                self.renew(field, range);
            }
        }
        self.round.wait();
        (!self.stop.load(Relaxed)).then_some(())
    }

    /// One call, from the pin to what was found after its unpin.
    fn call(&self, number: usize, pin: &mut Pin, field: &Field, range: &Range<u32>) -> Result<(), String> {
        let area = &field.area;
        let began = Instant::now();
        lock(&self.ledgers[number]).since = Some(began);
        // Where a page has been given up for a fresh one since, the mapping does not show what is pinned.
        let age = field.age(range);
        let result = pin.take(area, range);
        let took = began.elapsed();
        let (class, errno) = match &result {
            Ok(()) => {
                let is_unsafe = is_unsafe(&self.places, area, range).map_err(|error| error.to_string())?
                    && field.is_of(range, age);
                (if is_unsafe { Class::PinnedUnsafe } else { Class::Pinned }, None)
            }
            Err(error) => {
                let known = known(error).map(Errno::name);
                let class = if self.held.is_empty() { Class::FailedSpurious } else { Class::FailedJustified };
                (class, Some(known.ok_or_else(|| format!("pin: {error}"))?))
            }
        };
        let mut looks = Looks::default();
        if result.is_ok() {
            if self.profile.pinner.dma {
                self.transfer(number, pin, field, range, age, &mut looks)
                    .map_err(|error| format!("device: {error}"))?;
            }
            let hold = Duration::from_nanos(self.profile.pinner.hold.0);
            if !hold.is_zero() {
                thread::sleep(hold);
            }
            pin.release().map_err(|error| format!("unpin: {error}"))?;
            if self.profile.pinner.dma {
                looks.after_unpin(number, field, range, age);
            }
        }
        let mut ledger = lock(&self.ledgers[number]);
        ledger.since = None;
        ledger.classes[class as usize] += 1;
        // A call too long for the histogram cannot be: it counts up to centuries.
        _ = ledger.latency.record(took.as_nanos() as u64);
        if let Some(errno) = errno {
            *ledger.errors.entry(errno).or_default() += 1;
        } else {
            ledger.pages += u64::from(range.end - range.start);
            ledger.checked += looks.checked;
            ledger.broken += looks.lost.len() as u64;
            let room = TOLD.saturating_sub(ledger.lost.len());
            ledger.lost.extend(looks.lost.into_iter().take(room));
            self.pages.fetch_add(u64::from(range.end - range.start), Relaxed);
        }
        self.calls.fetch_add(1, Relaxed);
        Ok(())
    }

    /// A device writes this pinner's pattern into each page through the pin; the mapping has to
    /// show it as long as it still has the page that was pinned.
    fn transfer(
        &self,
        number: usize,
        pin: &mut Pin,
        field: &Field,
        range: &Range<u32>,
        age: Option<u64>,
        looks: &mut Looks,
    ) -> io::Result<()> {
        let area = &field.area;
        let word = word_of(number);
        let offset = (number * size_of::<u64>()) as u64;
        for index in range.clone() {
            pin.transfer(&self.source, offset, area, (index, word), pattern(number as u64))?;
            let found = area.word(index, word);
            if field.is_of(range, age) {
                looks.while_pinned(number, index, found);
            }
        }
        Ok(())
    }

    /// Gives pages up and has them faulted in again.
    fn renew(&self, field: &Field, range: &Range<u32>) {
        let area = &field.area;
        field.begin(range);
        let advice = if area.file().is_some() { Advice::LinuxRemove } else { Advice::LinuxDontNeed };
        // A locked range keeps its pages; it is locked again once it has fresh ones.
        let is_locked = area.advise(range, advice).is_err();
        if is_locked {
            _ = area.munlock(range);
            _ = area.advise(range, advice);
            _ = area.mlock(range);
        }
        populate(&self.profile, area, range.clone());
        if !self.profile.pinner.rounds {
            self.age(area, range);
        }
        field.end(range);
    }

    fn age(&self, area: &Area, range: &Range<u32>) {
        if self.profile.pinner.fill > 0
            && let Ok(fill) = Space::default().map(Kind::Anon, self.profile.pinner.fill)
        {
            fill.touch(0..fill.pages());
        }
        // Refused for some kinds of mapping, as a program may be.
        _ = match self.profile.pinner.age {
            Age::Cold => area.advise(range, Advice::LinuxCold),
            Age::Lazyfree => area.advise(range, Advice::LinuxFree),
            Age::None | Age::Drain => Ok(()),
        };
    }

    fn actor(&self, role: Role, number: u64, pause: Duration, hold: Duration) {
        let mut random = SplitMix64::seed_from_u64(!self.seed.wrapping_add(number));
        _ = run_on(pick(&mut random, self.cpus));
        while !self.stop.load(Relaxed) {
            let area = &self.fields[pick(&mut random, self.fields.len())].area;
            let index = pick(&mut random, area.pages() as usize) as u32;
            let page = index..index + 1;
            // What the kernel refuses an actor it would refuse a program too.
            match role {
                Role::Churn => match pick(&mut random, 5) {
                    0 => area.touch(page),
                    1 => area.read(page),
                    2 => _ = area.advise(&page, Advice::LinuxCold),
                    3 => _ = area.mlock(&page),
                    _ => _ = area.munlock(&page),
                },
                Role::Drainer => _ = settle(),
                Role::Compaction => _ = fs::write("/proc/sys/vm/compact_memory", "1"),
                Role::ShortRefs => {
                    let held = pipe_hold(area, index);
                    thread::sleep(hold);
                    drop(held);
                }
                // A child that does nothing has every mapping for a moment, copy-on-write.
                Role::Forker => _ = child_for(hold),
                Role::Contig => self.blocks.allocate(&mut random),
                Role::Offliner => self.blocks.offline(&mut random),
                // Refused by name before anything is run.
                _ => return,
            }
            if pause.is_zero() { thread::yield_now() } else { thread::sleep(pause) }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn populate(profile: &Profile, area: &Area, range: Range<u32>) {
    if crate::mapped::writes(profile) { area.touch(range) } else { area.read(range) }
}

/// A number below `count`.
fn pick(random: &mut SplitMix64, count: usize) -> usize {
    (random.next_u64() % count.max(1) as u64) as usize
}

fn chance(random: &mut SplitMix64, share: f64) -> bool {
    (random.next_u64() >> 11) as f64 / ((1u64 << 53) as f64) < share
}

/// Runs a load while everything is counted.
///
/// # Errors
/// A counter cannot be read.
pub fn counted(
    load: &Arc<Load>,
    job: &Job,
    counters: &Counters,
    tell: &mut dyn FnMut(f64, u64, u64) -> bool,
) -> io::Result<(End, Duration, crate::counters::Counted)> {
    let began = Instant::now();
    let (end, counted) = counters.during(|| load.run(job, tell))?;
    Ok((end, began.elapsed(), counted))
}
