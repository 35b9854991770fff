//! How fast a search is: schedules a second of the thread's own CPU time, where that goes, and
//! what memory a worker takes.

use gupstress_run::drive::sim::{Lab, SimTask, SimThread};
use gupstress_run::drive::{Costs, Decision, Driver, Listed, Step, Uniform};
use gupstress_run::explore::{Bounded, Load, Pct, Runner, Size, cut};
use gupstress_run::machine::{CpuId, NO_FRAME};
use gupstress_run::policy::{Source, load_kernel, load_policy};
use gupstress_run::stress::load_profile;
use rustix::time::{ClockId, clock_gettime};

fn cpu_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn runner(threads: u32, pages: u32) -> Runner {
    let rules = load_kernel(Source::Preset("linux-7.2.13"), &[]).unwrap();
    let policy = load_policy(Source::Preset("linux-7.2"), &[]).unwrap();
    let profile = load_profile(Source::Preset("isolation-race"), &[]).unwrap();
    let small = cut(&profile, Size { threads, pages, calls: 1 });
    Runner::new(Box::new(Load::new(&rules, &policy, &small, 1, 1).unwrap()))
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

const BATCH: u64 = 2000;

/// CPU seconds of a step of a task that does nothing else, one of so many.
fn bare_step(tasks: usize) -> f64 {
    const STEPS: u64 = 50_000;
    let mut lab = Lab::default();
    let task = || SimTask {
        cpu: CpuId(0),
        place: std::sync::Arc::default(),
        killable: true,
        daemon: false,
        body: Box::new(|thread: &SimThread<'_>| {
            (0..STEPS).for_each(|_| thread.step(Step::GupFast, NO_FRAME));
        }),
    };
    let mut took = || {
        let tasks: Vec<SimTask> = (0..tasks).map(|_| task()).collect();
        let pick = Box::new(Listed::new(Uniform::new(1)));
        let (began, costs) = (cpu_time(), Costs::default());
        let look = &mut |_, _: &gupstress_run::drive::sim::Supervision<'_>| Decision::Continue(u64::MAX);
        let report = lab.run(pick, &costs, 1, tasks, None, look, &mut |_| true);
        (cpu_time() - began) / report.steps as f64
    };
    median((0..5).map(|_| took()).collect())
}

/// Bytes of this process that are in memory.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
}

/// Bytes that a worker takes, by what many of them do.
fn memory(threads: u32, pages: u32) -> f64 {
    const WORKERS: usize = 16;
    let before = resident();
    let mut workers: Vec<Runner> = (0..WORKERS).map(|_| runner(threads, pages)).collect();
    for runner in &mut workers {
        (0..BATCH).for_each(|seed| _ = runner.run(Uniform::new(seed), seed));
    }
    (resident() - before) / WORKERS as f64
}

fn main() {
    for (what, threads, pages) in [("2 pinners, 1 page", 2, 1), ("4 pinners, 8 pages", 4, 8)] {
        let mut runner = runner(threads, pages);
        let mut rate = |run: &mut dyn FnMut(&mut Runner, u64)| {
            let batches = (0..5).map(|batch| {
                let began = cpu_time();
                (batch * BATCH..(batch + 1) * BATCH).for_each(|n| run(&mut runner, n));
                BATCH as f64 / (cpu_time() - began)
            });
            median(batches.collect())
        };
        let uniform = rate(&mut |runner, seed| {
            runner.run(Uniform::new(seed), seed);
        });
        let pct = rate(&mut |runner, seed| {
            runner.run(Pct::new(seed, 3, 60, 1), seed);
        });
        let mut search = Some(Bounded::new(2, 1));
        let bounded = rate(&mut |runner, _| {
            let mut pick = runner.run(search.take().unwrap_or_else(|| Bounded::new(2, 1)), 1).pick;
            search = pick.turn().then_some(pick);
        });
        let restore = rate(&mut |runner, _| runner.subject.restore());
        let steps = runner.steps as f64 / (3.0 * 5.0 * BATCH as f64);
        println!("{what}: {steps:.1} steps a schedule; schedules a second of CPU time:");
        println!("  random {uniform:.0}  pct {pct:.0}  bounded {bounded:.0}");
        // A task that is alone never switches; of two, each other step is the other's.
        let (alone, two) = (bare_step(1), bare_step(2));
        let percent = |seconds: f64| 100.0 * seconds * uniform;
        println!(
            "  of a random one's time: putting back {:.0} %, stepping {:.0} %, switching {:.0} %; the rest is what \
             steps do, and looking at the end",
            percent(1.0 / restore),
            percent(steps * alone),
            percent(steps * (two - alone).max(0.0)),
        );
        println!("  memory of a worker: {:.0} kB", memory(threads, pages) / 1e3);
    }
}
