//! What one path takes in instructions, which a busy host does not change.
//!
//! Each path is run so many times, and all else (the machine, pages that are touched first and
//! zapped after) stands outside of `measured`:
//!
//! ```text
//! cargo bench --bench paths --no-run     # says where the program is
//! valgrind --tool=callgrind --collect-atstart=no --toggle-collect='*measured*' PROGRAM pin 1000
//! ```
//!
//! Paths: `pin` (and unpin), `migrate-N` (a pin of N pages that must be migrated, its drain and
//! unpin), `touch-N` (and zap) of N pages, `timed-N` and `random-N` (steps of N simulated tasks), `search-K`
//! (schedules of two pinners of one page with at most K preemptions).

use gupstress_run::drive::os::{OsRun, OsThread};
use gupstress_run::drive::sim::{Lab, SimTask};
use gupstress_run::drive::{Costs, Decision, Driver, Listed, Place, Step, Strategy, Timed, Uniform};
use gupstress_run::explore::{Bounded, Load, Runner, Size, cut};
use gupstress_run::machine::{CpuId, Kind, Layout, Machine, NO_FRAME, PageIndex};
use gupstress_run::observe::{Counters, Event};
use gupstress_run::ops::{Pin, PinRequest, Task};
use gupstress_run::policy::{Source, load_kernel, load_policy};
use gupstress_run::stress::load_profile;
use std::sync::Arc;

/// The one function that is counted.
#[inline(never)]
fn measured(body: &mut dyn FnMut()) {
    body();
}

fn main() {
    // Cargo passes `--bench`; without a path there is nothing to count.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let [path, times] = &wanted[..] else { return println!("which path, and how often?") };
    let times: u32 = times.parse().expect("how often is a number");
    let (path, size) = path.split_once('-').unwrap_or((path, "1"));
    let size: u32 = size.parse().expect("a size is a number");
    match path {
        "pin" | "migrate" | "touch" => pages(path, size, times),
        "timed" => steps(Box::new(Timed::new(3_000_000)), size, times),
        "random" => steps(Box::new(Listed::new(Uniform::new(1))), size, times),
        "search" => schedules(size, times),
        path => println!("no path is called {path}"),
    }
}

fn pages(path: &str, size: u32, times: u32) {
    const PAGES: u32 = 1024;
    let layout = Layout { normal: PAGES + 64, movable: PAGES, cma: 0, page_bytes: 64 };
    let m = Machine::new(load_kernel(Source::Preset("linux-7.2.13"), &[]).unwrap(), &layout, 1);
    let policy = load_policy(Source::Preset("linux-7.2"), &[]).unwrap();
    let (run, place, count) = (OsRun::new(1, 1, 0.0, 0), Place::default(), Counters::default());
    let driver = OsThread::new(&run, &place, 0, true, 1);
    let task = Task::new(&m, &driver, &count, CpuId(0));
    let mapping = m.map(Kind::Anon, if path == "pin" { PAGES } else { size });
    let range = PageIndex(0).run(size);
    let mut pin = Pin::default();
    match path {
        "pin" => {
            task.touch_pinnable(mapping, PageIndex(0).run(PAGES)).unwrap();
            task.lru_add_drain();
            measured(&mut || {
                for nth in 0..times {
                    // Fibonacci hashing: no page twice running, none much more often than another.
                    let index = nth.wrapping_mul(0x9e37_79b1) >> 22;
                    let request = PinRequest::new(&policy, mapping, PageIndex(index).run(1), true);
                    task.pin_longterm(&request, &mut pin).unwrap();
                    task.unpin_user_pages(&pin.pages);
                }
            });
            assert_eq!(count.get(Event::GupFast), u64::from(times), "not every pin took the fast path");
        }
        "migrate" => {
            let request = PinRequest::new(&policy, mapping, range.clone(), true);
            for _ in 0..times {
                task.touch(mapping, range.clone()).unwrap();
                task.lru_add_drain();
                measured(&mut || {
                    task.pin_longterm(&request, &mut pin).unwrap();
                    task.lru_add_drain();
                    task.unpin_user_pages(&pin.pages);
                });
                task.zap(mapping, range.clone(), false);
            }
            let migrated = u64::from(size) * u64::from(times);
            assert_eq!(count.get(Event::Migrated), migrated, "not every page was migrated");
        }
        _ => measured(&mut || {
            for _ in 0..times {
                task.touch(mapping, range.clone()).unwrap();
                task.zap(mapping, range.clone(), false);
            }
        }),
    }
}

fn schedules(preemptions: u32, times: u32) {
    let rules = load_kernel(Source::Preset("linux-7.2.13"), &[]).unwrap();
    let policy = load_policy(Source::Preset("linux-7.2"), &[]).unwrap();
    let profile = load_profile(Source::Preset("isolation-race"), &[]).unwrap();
    let small = cut(&profile, Size { threads: 2, pages: 1, calls: 1 });
    let mut runner = Runner::new(Box::new(Load::new(&rules, &policy, &small, 1, 1).unwrap()));
    measured(&mut || {
        let mut search = Bounded::new(preemptions, 1);
        for _ in 0..times {
            search = runner.run(search, 1).pick;
            assert!(search.turn(), "there are no more schedules");
        }
    });
    println!("{:.1} steps a schedule", runner.steps as f64 / f64::from(times));
}

fn steps(strategy: Box<dyn Strategy>, count: u32, times: u32) {
    let each = times / count;
    let task = |cpu: CpuId| SimTask {
        cpu,
        place: Arc::new(Place::default()),
        killable: true,
        daemon: false,
        body: Box::new(move |thread| (0..each).for_each(|_| thread.step(Step::GupWalk, NO_FRAME))),
    };
    let tasks = CpuId::all(count as usize).map(task).collect();
    let (mut lab, mut given) = (Lab::default(), Some((strategy, tasks)));
    measured(&mut || {
        let (strategy, tasks) = given.take().expect("it is run once");
        let report = lab.run(
            strategy,
            &Costs::default(),
            1,
            tasks,
            None,
            &mut |_, _| Decision::Continue(u64::MAX),
            &mut |_| true,
        );
        assert_eq!(report.steps, u64::from(count * each));
    });
}
