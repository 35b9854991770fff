//! How far the machine is from what the hardware allows, and what 64, 256 and
//! 1,000 threads make of it against 2.
//!
//! Every figure is a ratio of two things measured in turn, A B A B …, in this
//! one process: the median of the rounds' ratios, with the least and the most.
//! A ratio survives a machine whose speed drifts; nanoseconds are shown beside
//! it for orientation. What was measured is checked: a pin that failed, a page
//! that did not migrate or a broken invariant ends the benchmark.
//!
//! `cargo bench --bench limits [-- pin | migrate | steady | contended | trace …]`

use gupstress_run::drive::Place;
use gupstress_run::drive::os::{OsRun, OsThread};
use gupstress_run::judge::Status;
use gupstress_run::judge::result::Books;
use gupstress_run::machine::payload::{Fresh, Frozen};
use gupstress_run::machine::{CpuId, Frame, Gfp, Kind, Known, Layout, Machine, Mapping, PageIndex, ZoneKind};
use gupstress_run::observe::{Counters, Event};
use gupstress_run::ops::{Pin, PinRequest, Task};
use gupstress_run::policy::{Policy, Source, load_kernel, load_policy};
use gupstress_run::stress::run::run;
use gupstress_run::stress::{Job, Which, load_profile};
use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

const KERNEL: &str = "linux-7.2.13";
const POLICY: &str = "linux-7.2";
/// Events of each thread that a trace keeps unless it is told another number.
const TRACED: u32 = 4096;
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

fn main() {
    // Cargo passes `--bench`; what is left names the sections wanted.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted = |section: &str| wanted.is_empty() || wanted.iter().any(|name| name == section);
    println!("{:<53} {:>7}  {:>13}  {:>7}  {:>18}", "", "A / B", "min – max", "rounds", "A, B (medians)");
    if is_wanted("pin") {
        for pages in [1 << 10, 1 << 20] {
            pin_one::<false>(pages);
            pin_one::<true>(pages);
        }
    }
    if is_wanted("migrate") {
        for pages in [1 << 7, 1 << 10, 1 << 14] {
            migrate(pages);
        }
    }
    for (profile, pins) in [("steady", 20_000_000), ("contended", 400_000)] {
        if is_wanted(profile) {
            [64, 256, 1000].into_iter().for_each(|most| threads(profile, pins, most));
        }
        if is_wanted("trace") {
            traced(profile, pins);
        }
    }
}

// ---------------------------------------------------------------- pairs

/// How often a pair is measured: a round's figures are the medians of its
/// slices, which are short so that most fit between two interruptions.
#[derive(Clone, Copy)]
struct Times {
    rounds: usize,
    slices: usize,
}

/// Measures A and B in turn, slice by slice, after one slice each that does not
/// count, and prints the ratio A/B. Every other slice begins with B, so that
/// neither profits from its place.
fn pairs(what: &str, unit: &str, times: Times, mut a: impl FnMut() -> f64, mut b: impl FnMut() -> f64) {
    rows([what], [unit], times, || [a()], || [b()]);
}

/// The same of `N` figures of one measurement, a row each.
fn rows<const N: usize>(
    what: [&str; N],
    units: [&str; N],
    times: Times,
    mut a: impl FnMut() -> [f64; N],
    mut b: impl FnMut() -> [f64; N],
) {
    let Times { rounds, slices } = times;
    a();
    b();
    let mut figures: [[Vec<f64>; 3]; N] = std::array::from_fn(|_| Default::default());
    for _ in 0..rounds {
        let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
        for slice in 0..slices {
            if slice % 2 == 0 {
                of_a.push(a());
                of_b.push(b());
            } else {
                of_b.push(b());
                of_a.push(a());
            }
        }
        for (row, figures) in figures.iter_mut().enumerate() {
            let [a, b] =
                [&of_a, &of_b].map(|all| median(&mut all.iter().map(|of| of[row]).collect::<Vec<_>>()));
            assert!(a > 0.0 && b > 0.0, "a measurement took no time");
            figures.iter_mut().zip([a / b, a, b]).for_each(|(all, figure)| all.push(figure));
        }
    }
    let counts = format!("{rounds} × {slices}");
    for ((what, unit), figures) in what.iter().zip(units).zip(&mut figures) {
        let [ratio, a, b] = figures.each_mut().map(|all| median(all));
        let spread = format!("{:.2} – {:.2}", figures[0][0], figures[0][rounds - 1]);
        println!("{what:<53} {ratio:>6.2}×  {spread:>13}  {counts:>7}  {a:>8.1}, {b:>8.1} {unit}");
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A generator that costs next to nothing, the same on both sides (xorshift64*, Marsaglia 2003).
struct Random(u64);

impl Random {
    #[inline]
    fn below(&mut self, n: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32;
        ((u64::from(high) * u64::from(n)) >> 32) as u32
    }

    /// Makes the next number wait for `value`, without changing it.
    #[inline]
    fn depend_on(&mut self, value: i32) {
        self.0 ^= black_box(0) & value as u64;
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u32 + 1) as usize);
        }
    }
}

// ---------------------------------------------------------------- one thread on a machine of its own

/// What a [`Task`] on real threads borrows.
struct Bench {
    m: Machine,
    policy: Policy,
    run: OsRun,
    place: Place,
    count: Counters,
}

impl Bench {
    fn new(layout: &Layout) -> Self {
        Self {
            m: Machine::new(load_kernel(Source::Preset(KERNEL), &[]).unwrap(), layout, 1),
            policy: load_policy(Source::Preset(POLICY), &[]).unwrap(),
            run: OsRun::new(1, 1, 0.0, 0),
            place: Place::default(),
            count: Counters::default(),
        }
    }

    fn driver(&self) -> OsThread<'_> {
        OsThread::new(&self.run, &self.place, 0, true, SEED)
    }

    fn assert_sound(&self) {
        let recount = self.m.validate(&Known::default());
        assert!(recount.checked > 0 && recount.broken.is_empty(), "broken: {:?}", recount.broken.first());
        let (acquired, released) = (self.count.get(Event::Acquired), self.count.get(Event::Released));
        assert!(acquired > 0 && acquired == released, "acquired {acquired}, released {released}");
    }
}

/// A: pin and unpin of one pinnable page of `pages`, chosen at random, through
/// the fast path. B: two bare read-modify-writes on a random page's refcount.
///
/// Independent accesses overlap: while one waits for memory, the processor
/// begins the next ones. With `CHAINED`, the choice of a page needs the result
/// of the one before, so that each is waited for: latency, not throughput.
fn pin_one<const CHAINED: bool>(pages: u32) {
    const TIMES: Times = Times { rounds: 11, slices: 51 };
    const CALLS: u32 = 20_000;
    // Small payloads: neither side touches them.
    let layout = Layout { normal: pages + 64, movable: 64, cma: 0, page_bytes: 64 };
    let bench = Bench::new(&layout);
    let driver = bench.driver();
    let task = Task::new(&bench.m, &driver, &bench.count, CpuId(0));
    let mapping = bench.m.map(Kind::Anon, pages);
    task.touch_pinnable(mapping, PageIndex(0).run(pages)).unwrap();
    task.lru_add_drain();

    let mut pin = Pin::default();
    let mut random_a = Random(SEED);
    // Another part of the sequence: neither finds what the other has left in the cache.
    let mut random_b = Random(SEED.rotate_left(32));
    let first = bench.m.memory.zone(ZoneKind::Normal).frames.start;
    let mut calls = 0;
    let a = || {
        let start = Instant::now();
        for _ in 0..CALLS {
            let index = random_a.below(pages);
            let request = PinRequest::new(&bench.policy, mapping, PageIndex(index).run(1), true);
            let pinned = task.pin_longterm(&request, &mut pin);
            assert!(pinned.is_ok() && pin.sweeps == 1, "a pin failed");
            task.unpin_user_pages(&pin.pages);
            if CHAINED {
                let page = bench.m.page(pin.pages[0]);
                random_a.depend_on(page.refcount());
            }
        }
        calls += u64::from(CALLS);
        start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
    };
    let b = || {
        let start = Instant::now();
        for _ in 0..CALLS {
            let page = bench.m.page(first + random_b.below(pages));
            page.get(1024);
            black_box(page.put_testzero(1024));
            if CHAINED {
                random_b.depend_on(page.refcount());
            }
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
    };
    let how = if CHAINED { "one by one" } else { "overlapping" };
    pairs(&format!("pin + unpin / 2 atomics, {pages} pages, {how}"), "ns", TIMES, a, b);
    assert_eq!(bench.count.get(Event::GupFast), calls, "not every pin took the fast path");
    assert_eq!(bench.count.get(Event::Acquired), calls);
    bench.assert_sound();
}

/// A: pin of 64 pages that must be migrated, a page. B: a copy of one frame,
/// between random frames of the same memory.
fn migrate(pages: u32) {
    const CALL: u32 = 64;
    // The larger the memory, the longer a slice.
    let times = Times { rounds: 11, slices: ((1 << 14) / pages as usize).clamp(3, 101) };
    let layout = Layout { normal: pages + 256, movable: pages + 256, cma: 0, page_bytes: 4096 };
    let bench = Bench::new(&layout);
    let driver = bench.driver();
    let task = Task::new(&bench.m, &driver, &bench.count, CpuId(0));
    let mapping = bench.m.map(Kind::Anon, pages);
    let mut random = Random(SEED);
    let mut pins: Vec<Pin> = (0..pages / CALL).map(|_| Pin::default()).collect();
    let mut starts: Vec<u32> = (0..pages / CALL).map(|call| call * CALL).collect();
    let mut pinned = 0;
    let a = || {
        task.touch(mapping, PageIndex(0).run(pages)).unwrap();
        task.lru_add_drain();
        assert_movable(&bench, mapping);
        random.shuffle(&mut starts);
        let mut took = Duration::ZERO;
        for (&start, pin) in starts.iter().zip(&mut pins) {
            let request = PinRequest::new(&bench.policy, mapping, PageIndex(start).run(CALL), true);
            let before = Instant::now();
            let result = task.pin_longterm(&request, pin);
            took += before.elapsed();
            assert!(result.is_ok() && pin.pages.len() == CALL as usize, "a pin failed");
            task.lru_add_drain();
        }
        pinned += u64::from(pages);
        assert_eq!(bench.count.get(Event::Migrated), pinned, "not every page was migrated");
        pins.iter().for_each(|pin| task.unpin_user_pages(&pin.pages));
        assert_eq!(task.zap(mapping, PageIndex(0).run(pages), false), pages);
        took.as_secs_f64() * 1e9 / f64::from(pages)
    };
    let mut random = Random(SEED);
    let b = || copy(&bench, pages, &mut random);
    pairs(&format!("pin with migration / 4 KiB copy, {pages} pages"), "ns", times, a, b);
    assert_eq!(bench.count.get(Event::DrainAll), 0, "batches were not clean");
    bench.assert_sound();
}

/// The pages of the mapping are on the LRU and lie where a pin may not leave them.
fn assert_movable(bench: &Bench, mapping: &Mapping) {
    for index in 0..mapping.vma.len() {
        let page = bench.m.page(mapping.vma.pte(PageIndex(index)).frame());
        assert!(
            ZoneKind::of(page.flags()) == ZoneKind::Movable && page.has(gupstress_run::machine::flag::LRU)
        );
    }
}

/// Takes `pages` frames of either zone and copies as many times between them.
/// Every frame once and in no order, as A migrates every page once.
fn copy(bench: &Bench, pages: u32, random: &mut Random) -> f64 {
    let memory = &bench.m.memory;
    let mut sources: Vec<(Frame, Frozen<'_>)> = (0..pages)
        .map(|_| {
            let frame = memory.alloc(CpuId(0), Gfp::WithinMovable, 0).unwrap().publish();
            (frame, memory.freeze(frame, 1).unwrap())
        })
        .collect();
    let mut targets: Vec<Fresh<'_>> =
        (0..pages).map(|_| memory.alloc(CpuId(0), Gfp::Pin, 0).unwrap()).collect();
    random.shuffle(&mut sources);
    random.shuffle(&mut targets);
    let start = Instant::now();
    for ((_, frozen), target) in sources.iter().zip(&targets) {
        frozen.copy_to(target);
    }
    let took = start.elapsed().as_secs_f64() * 1e9 / f64::from(pages);
    for (frame, frozen) in sources {
        frozen.unfreeze(1);
        assert!(memory.page(frame).put_testzero(1));
        memory.free(CpuId(0), frame);
    }
    for target in targets {
        let frame = target.publish();
        assert!(memory.page(frame).put_testzero(1));
        memory.free(CpuId(0), frame);
    }
    took
}

// ---------------------------------------------------------------- whole runs

/// A profile with this many threads (A) and with 2 (B): page pins a second, which fall with what the
/// policy does, and acquisitions a second, which say what the machine does meanwhile.
fn threads(profile: &str, pins: u64, most: u32) {
    let what =
        ["pages pinned", "acquisitions"].map(|figure| format!("{profile}, {most} threads / 2, {figure}"));
    let seed = Cell::new(0);
    rows(
        what.each_ref().map(String::as_str),
        ["k/s"; 2],
        Times { rounds: 7, slices: 1 },
        || rates(profile, most, pins, None, &seed),
        || rates(profile, 2, pins, None, &seed),
    );
}

/// Page pins a second of a profile with 2 threads: while the last events of each are kept (A), and
/// while none are (B).
fn traced(profile: &str, pins: u64) {
    let seed = Cell::new(0);
    let rate = |trace| rates(profile, 2, pins, trace, &seed)[0];
    let times = Times { rounds: 11, slices: 1 };
    pairs(&format!("{profile}, 2 threads, traced / not"), "k/s", times, || rate(Some(TRACED)), || rate(None));
}

/// Page pins and acquisitions, thousands a second, of a run with the next seed.
fn rates(profile: &str, threads: u32, pins: u64, trace: Option<u32>, seed: &Cell<u64>) -> [f64; 2] {
    seed.set(seed.get() + 1);
    let mut profile = load_profile(Source::Preset(profile), &[]).unwrap();
    profile.threads = threads;
    let job = Job {
        policy: load_policy(Source::Preset(POLICY), &[]).unwrap(),
        rules: load_kernel(Source::Preset(KERNEL), &[]).unwrap(),
        profile,
        driver: Which::Os,
        pins,
        timeout: Duration::from_mins(1),
        wall_timeout: Duration::from_mins(5),
        stall_after: Duration::from_secs(10),
        seed: seed.get(),
        trace,
        abort_on: Vec::new(),
    };
    let result = run(&job, &mut ()).unwrap();
    assert!(result.status == Status::Complete, "a run ended early: {:?}", result.status);
    assert_eq!(result.invariants.verdict, Books::Held, "{:?}", result.invariants);
    assert!(result.invariants.checked > 0);
    assert!(result.pages.pinned >= pins);
    let acquired = result.counters.get(Event::Acquired) as f64 / result.elapsed_s;
    [result.throughput.pages_per_s.unwrap() / 1e3, acquired / 1e3]
}
