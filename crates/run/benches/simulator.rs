//! How fast the simulator is: steps a second in long runs, schedules a second in short ones.

use gupstress_run::drive::sim::{Executor, SimTask, Verdict};
use gupstress_run::drive::{Costs, Driver, Place, Random, Scheduler, Step, Timed};
use gupstress_run::machine::page::NO_FRAME;
use std::sync::Arc;
use std::time::Instant;

fn tasks(count: usize, steps: u64) -> Vec<SimTask> {
    (0..count)
        .map(|cpu| SimTask {
            cpu,
            place: Arc::new(Place::default()),
            killable: true,
            body: Box::new(move |thread| (0..steps).for_each(|_| thread.step(Step::GupWalk, NO_FRAME))),
        })
        .collect()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn run(executor: &mut Executor, scheduler: Box<dyn Scheduler>, count: usize, steps: u64) -> u64 {
    let report = executor.run(
        scheduler,
        &Costs::default(),
        1,
        tasks(count, steps),
        &mut |_, _| Verdict::Continue(u64::MAX),
        &mut |_| true,
    );
    assert_eq!(report.steps, count as u64 * steps, "every step must have been taken");
    report.steps
}

type Make = fn() -> Box<dyn Scheduler>;

fn main() {
    const TOTAL: u64 = 2_000_000;
    const SCHEDULES: u32 = 20_000;
    let schedulers: [(&str, Make); 2] =
        [("random", || Box::new(Random::new(1))), ("timed", || Box::new(Timed::new(3_000_000)))];
    println!("long runs, {TOTAL} steps, medians of 5, million steps a second");
    for (name, make) in schedulers {
        for count in [2, 8, 64] {
            let rate = median(
                (0..5)
                    .map(|_| {
                        let began = Instant::now();
                        let taken = run(&mut Executor::default(), make(), count, TOTAL / count as u64);
                        taken as f64 / began.elapsed().as_secs_f64() / 1e6
                    })
                    .collect(),
            );
            println!("  {name:7} {count:3} tasks  {rate:6.1}");
        }
    }
    println!("short runs, 3 tasks of 30 steps, medians of 5, thousand schedules a second");
    for (name, make) in schedulers {
        let rate = median(
            (0..5)
                .map(|_| {
                    let mut executor = Executor::default();
                    let began = Instant::now();
                    (0..SCHEDULES).for_each(|_| {
                        run(&mut executor, make(), 3, 30);
                    });
                    f64::from(SCHEDULES) / began.elapsed().as_secs_f64() / 1e3
                })
                .collect(),
        );
        println!("  {name:7} {rate:6.1}");
    }
}
