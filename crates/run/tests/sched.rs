//! The simulator's scheduler: who gets a CPU when, and what its host leaves of it.
#![cfg(not(loom))]

use gupstress_run::drive::sim::{Lab, SimEnd, SimReport, SimTask, SimThread};
use gupstress_run::drive::{Costs, Decision, Driver, Host, Sched, Step, Timed, Wait};
use gupstress_run::machine::{CpuId, NO_FRAME};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// A step costs this on average.
const STEP: u64 = 100;

fn task(cpu: u32, body: impl FnOnce(&SimThread<'_>) + 'static) -> SimTask {
    SimTask { cpu: CpuId(cpu), place: Arc::default(), killable: true, daemon: false, body: Box::new(body) }
}

fn run(sched: Sched, tasks: Vec<SimTask>, seed: u64) -> SimReport {
    let mut costs = Costs::default();
    Step::ALL.iter().for_each(|&step| costs.set(step, STEP));
    let report = Lab::default().run(
        Box::new(Timed::on(sched)),
        &costs,
        seed,
        tasks,
        None,
        &mut |_, _| Decision::Continue(u64::MAX),
        &mut |_| true,
    );
    assert!(matches!(report.end, SimEnd::Done), "{:?}", report.end);
    report
}

/// Runs until a virtual time; how much of it the task had is in `had`.
fn busy(cpu: u32, until: u64, had: &Rc<RefCell<Vec<u64>>>) -> SimTask {
    let had = Rc::clone(had);
    task(cpu, move |thread| {
        while thread.now() < until {
            thread.step(Step::GupWalk, NO_FRAME);
        }
        had.borrow_mut().push(thread.cpu_time());
    })
}

/// Has had a time, sleeps for a while, and notes how much later than that it went on.
fn sleeper(cpu: u32, had: u64, ns: u64, late: &Rc<Cell<u64>>) -> SimTask {
    let late = Rc::clone(late);
    task(cpu, move |thread| {
        while thread.cpu_time() < had {
            thread.step(Step::GupWalk, NO_FRAME);
        }
        let until = thread.now() + ns;
        thread.sleep(ns);
        late.set(thread.now() - until);
    })
}

#[test]
fn a_wake_up_preempts_nobody_and_waits_for_those_before_it() {
    let late = |others: usize| {
        let (late, had) = (Rc::default(), Rc::default());
        let mut tasks: Vec<SimTask> = (0..others).map(|_| busy(0, 80_000_000, &had)).collect();
        // It sleeps before its first slice ends: it is owed next to nothing.
        tasks.push(sleeper(0, 900_000, 20_500_000, &late));
        run(Sched::ideal(1_000_000), tasks, 1);
        late.get()
    };
    assert_eq!(late(0), 0);
    // The slice under way, and no other.
    assert!((1..=1_000_000 + STEP).contains(&late(1)), "{}", late(1));
    // About half of the others, a slice each.
    assert!((4_000_000..=12_000_000).contains(&late(16)), "{}", late(16));
    assert!(late(16) > late(4), "{} {}", late(16), late(4));
}

#[test]
fn who_is_woken_after_its_deadline_and_before_its_turn_has_one_turn() {
    let ended: Rc<RefCell<Vec<&str>>> = Rc::default();
    let (sleeps, wakes) = (Rc::clone(&ended), Rc::clone(&ended));
    let sleeper = task(0, move |thread| {
        thread.wait_until(Wait::Paused, 1_000, &|| false);
        sleeps.borrow_mut().push("sleeper");
    });
    let waker = task(0, move |thread| {
        while thread.now() < 5_000 {
            thread.step(Step::GupWalk, NO_FRAME);
        }
        thread.wake(Wait::Paused);
        wakes.borrow_mut().push("waker");
    });
    // Within a slice: the sleeper's deadline passes, and its turn is the next one.
    run(Sched::ideal(1_000_000), vec![sleeper, waker], 1);
    assert_eq!(*ended.borrow(), ["waker", "sleeper"]);
}

#[test]
fn a_woken_task_runs_after_the_wake_up_s_latency_and_another_task_costs_a_switch() {
    let sched = Sched { wakeup_ns: 5_000, switch_ns: 700, ..Sched::ideal(1_000_000) };
    let late = Rc::default();
    // Whoever sleeps is the last that ran there: no switch.
    run(sched, vec![sleeper(0, 0, 1_000_000, &late)], 1);
    assert_eq!(late.get(), 5_000);
    let had = Rc::default();
    run(sched, vec![sleeper(0, 0, 1_000_000, &late), busy(0, 500_000, &had)], 1);
    assert_eq!(late.get(), 5_700);
}

#[test]
fn tasks_of_a_cpu_have_the_same_share_and_who_sleeps_often_waits_for_the_slice_under_way() {
    let had: Rc<RefCell<Vec<u64>>> = Rc::default();
    let until = 400_000_000;
    let naps = {
        let had = Rc::clone(&had);
        task(0, move |thread| {
            while thread.now() < until {
                (0..200).for_each(|_| thread.step(Step::GupWalk, NO_FRAME));
                thread.sleep(1);
            }
            had.borrow_mut().push(thread.cpu_time());
        })
    };
    let mut tasks: Vec<SimTask> = (0..3).map(|_| busy(0, until, &had)).collect();
    tasks.push(naps);
    run(Sched::ideal(1_000_000), tasks, 1);
    let mut had = had.take();
    had.sort_unstable();
    // 20 µs, and a slice of 1 ms of somebody else: it is owed more, and has it no sooner.
    assert!((7_000_000..8_500_000).contains(&had[0]), "{had:?}");
    assert!(had[3] - had[1] < 1_500_000, "{had:?}");
}

#[test]
fn a_host_with_fewer_cpus_runs_virtual_ones_in_turns_and_skips_who_is_idle() {
    let until = 100_000_000;
    let shares = |cpus: usize, busy_cpus: u32| {
        let had: Rc<RefCell<Vec<u64>>> = Rc::default();
        let host = Host { cpus, turn_ns: 250_000, ..Host::default() };
        let sched = Sched { host, ..Sched::ideal(1_000_000) };
        // Number 3 is idle, whatever happens.
        let mut tasks = vec![sleeper(3, 0, until, &Rc::default())];
        tasks.extend((0..busy_cpus).map(|cpu| busy(cpu, until, &had)));
        run(sched, tasks, 1);
        had.take().into_iter().map(|time| time as f64 / until as f64).collect::<Vec<f64>>()
    };
    let is_about = |shares: &[f64], share: f64| shares.iter().all(|had| (had - share).abs() < 0.02);
    for (cpus, busy_cpus, share) in [(0, 3, 1.0), (1, 1, 1.0), (1, 2, 0.5), (1, 3, 1.0 / 3.0), (2, 2, 1.0)] {
        let found = shares(cpus, busy_cpus);
        assert!(is_about(&found, share), "{cpus} for {busy_cpus}: {found:?}");
    }
    // Of three on two, the first and the last are on the same one.
    let mut found = shares(2, 3);
    found.sort_by(f64::total_cmp);
    assert!(is_about(&found[..2], 0.5) && is_about(&found[2..], 1.0), "{found:?}");
}

#[test]
fn what_the_host_takes_makes_everything_longer_and_is_the_same_for_a_seed() {
    let took = |steal, seed| {
        let host = Host { steal, burst_ns: 300_000, ..Host::default() };
        let body = |thread: &SimThread<'_>| (0..500_000).for_each(|_| thread.step(Step::GupWalk, NO_FRAME));
        run(Sched { host, ..Sched::ideal(1_000_000) }, vec![task(0, body)], seed).now
    };
    let (free, half) = (took(0.0, 1), took(0.5, 1));
    assert!((half as f64 / free as f64 - 2.0).abs() < 0.15, "{half} for {free}");
    assert_eq!(half, took(0.5, 1));
    assert_ne!(half, took(0.5, 2));
}

#[test]
fn a_task_that_moves_queues_on_its_new_cpu() {
    let had: Rc<RefCell<Vec<u64>>> = Rc::default();
    let until = 40_000_000;
    let mover = {
        let had = Rc::clone(&had);
        task(1, move |thread| {
            thread.step(Step::GupWalk, NO_FRAME);
            thread.moved_to(CpuId(0));
            while thread.now() < until {
                thread.step(Step::GupWalk, NO_FRAME);
            }
            had.borrow_mut().push(thread.cpu_time());
        })
    };
    run(Sched::ideal(1_000_000), vec![busy(0, until, &had), mover], 1);
    assert!(had.borrow().iter().all(|&time| time.abs_diff(until / 2) < 2_000_000), "{:?}", had.borrow());
}

#[test]
fn who_waits_for_ever_is_no_part_of_its_cpu_s_queue() {
    let had: Rc<RefCell<Vec<u64>>> = Rc::default();
    let flag = Rc::new(Cell::new(false));
    let waiter = {
        let flag = Rc::clone(&flag);
        task(0, move |thread| {
            thread.wait(Wait::Barrier, &|| flag.get());
        })
    };
    let until = 10_000_000;
    let waker = task(1, move |thread| {
        thread.sleep(2 * until);
        flag.set(true);
        thread.wake(Wait::Barrier);
    });
    run(Sched::ideal(1_000_000), vec![waiter, busy(0, until, &had), waker], 1);
    assert!(had.borrow()[0].abs_diff(until) < 1000, "{:?}", had.borrow());
}

#[test]
fn a_served_slice_is_noticed_at_the_tick_or_when_somebody_joins() {
    let runs = |tick_ns: u64, naps: bool| {
        let log: Rc<RefCell<Vec<u64>>> = Rc::default();
        let until = 80_000_000;
        let mut tasks: Vec<SimTask> = (0..2)
            .map(|id| {
                let log = Rc::clone(&log);
                task(0, move |thread| {
                    while thread.now() < until {
                        thread.step(Step::GupWalk, NO_FRAME);
                        log.borrow_mut().push(id);
                    }
                })
            })
            .collect();
        if naps {
            tasks.push(task(0, move |thread| {
                while thread.now() < until {
                    // Back when the others' request has just been served.
                    thread.sleep(1_200_000);
                }
            }));
        }
        run(Sched { tick_ns, ..Sched::ideal(1_000_000) }, tasks, 1);
        let log = log.take();
        let runs: Vec<u64> = log.chunk_by(|a, b| a == b).map(|run| run.len() as u64 * STEP).collect();
        runs[1..runs.len() - 1].to_vec()
    };
    let longest = |runs: &[u64]| runs.iter().copied().max().unwrap();
    let at_once = longest(&runs(0, false));
    assert!(at_once < 2_500_000, "{at_once}");
    let ticks = runs(4_000_000, false);
    assert!((3_900_000..8_500_000).contains(&longest(&ticks)), "{ticks:?}");
    let joined = runs(4_000_000, true);
    assert!(joined.len() > ticks.len() * 3 / 2, "{joined:?} against {ticks:?}");
}
