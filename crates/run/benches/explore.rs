//! How fast a search is: schedules a second of the thread's own CPU time, and where that goes.

use gupstress_run::explore::{Bounded, Load, Pct, Runner, Size, cut};
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
            runner.run(gupstress_run::drive::Uniform::new(seed), seed);
        });
        let pct = rate(&mut |runner, seed| {
            runner.run(Pct::new(seed, 3, 60), seed);
        });
        let mut search = Some(Bounded::new(2));
        let bounded = rate(&mut |runner, _| {
            let mut pick = runner.run(search.take().unwrap_or_else(|| Bounded::new(2)), 1).pick;
            search = pick.turn().then_some(pick);
        });
        let restore = rate(&mut |runner, _| runner.subject.restore());
        let steps = runner.steps as f64 / (3.0 * 5.0 * BATCH as f64);
        println!("{what}: {steps:.1} steps a schedule; schedules a second of CPU time:");
        println!("  random {uniform:.0}  pct {pct:.0}  bounded {bounded:.0}");
        println!("  of a random one's time: putting back {:.0} %", 100.0 * uniform / restore);
    }
}
