//! How fast the simulator is: steps a second in long runs, schedules a second in short ones.

use gupstress_run::drive::sim::{Lab, SimTask};
use gupstress_run::drive::{Costs, Decision, Driver, Listed, Place, Step, Strategy, Timed, Uniform};
use gupstress_run::machine::{CpuId, NO_FRAME};
use rustix::time::{ClockId, clock_gettime};
use std::sync::Arc;

fn tasks(count: usize, steps: u64) -> Vec<SimTask> {
    (0..count)
        .map(|cpu| SimTask {
            cpu: CpuId::nth(cpu),
            place: Arc::new(Place::default()),
            killable: true,
            daemon: false,
            body: Box::new(move |thread| (0..steps).for_each(|_| thread.step(Step::GupWalk, NO_FRAME))),
        })
        .collect()
}

/// CPU seconds of this thread so far: what else the host does is not the simulator's time.
fn cpu_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn run(lab: &mut Lab, strategy: Box<dyn Strategy>, count: usize, steps: u64) -> u64 {
    let report = lab.run(
        strategy,
        &Costs::default(),
        1,
        tasks(count, steps),
        None,
        &mut |_, _| Decision::Continue(u64::MAX),
        &mut |_| true,
    );
    assert_eq!(report.steps, count as u64 * steps, "every step must have been taken");
    report.steps
}

type Make = fn() -> Box<dyn Strategy>;

fn main() {
    const TOTAL: u64 = 1_000_000;
    const SCHEDULES: u32 = 20_000;
    let strategies: [(&str, Make); 2] = [
        ("random", || Box::new(Listed::new(Uniform::new(1)))),
        ("timed", || Box::new(Timed::new(3_000_000))),
    ];
    println!("long runs, {TOTAL} steps, medians of 5, million steps a second");
    for (name, make) in strategies {
        // Whoever picks among all that could run must look at all of them.
        let counts: &[usize] = if name == "timed" { &[2, 8, 64, 2048] } else { &[2, 8, 64] };
        for &count in counts {
            let mut lab = Lab::default();
            let rate = median(
                (0..5)
                    .map(|_| {
                        let began = cpu_time();
                        let taken = run(&mut lab, make(), count, TOTAL / count as u64);
                        taken as f64 / (cpu_time() - began) / 1e6
                    })
                    .collect(),
            );
            println!("  {name:7} {count:4} tasks  {rate:6.1}");
        }
    }
    println!("short runs, 3 tasks of 30 steps, medians of 5, thousand schedules a second");
    for (name, make) in strategies {
        let rate = median(
            (0..5)
                .map(|_| {
                    let mut lab = Lab::default();
                    let began = cpu_time();
                    (0..SCHEDULES).for_each(|_| {
                        run(&mut lab, make(), 3, 30);
                    });
                    f64::from(SCHEDULES) / (cpu_time() - began) / 1e3
                })
                .collect(),
        );
        println!("  {name:7} {rate:6.1}");
    }
}
