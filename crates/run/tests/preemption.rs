//! What takes a CPU from a task besides the end of its slice: wake-ups, and its host.
#![cfg(not(loom))]

use gupstress_run::drive::sim::{Lab, SimEnd, SimTask, SimThread};
use gupstress_run::drive::{Costs, Decision, Driver, Host, Preemption, Sched, Step, Timed};
use gupstress_run::machine::{CpuId, NO_FRAME};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// A step costs this on average.
const STEP: u64 = 100;
const SLICE: u64 = 1_000_000;

fn task(cpu: usize, body: impl FnOnce(&SimThread<'_>) + 'static) -> SimTask {
    SimTask {
        cpu: CpuId::nth(cpu),
        place: Arc::default(),
        killable: true,
        daemon: false,
        body: Box::new(body),
    }
}

fn run(sched: Sched, tasks: Vec<SimTask>) {
    let mut costs = Costs::default();
    Step::ALL.iter().for_each(|&step| costs.set(step, STEP));
    let report = Lab::default().run(
        Box::new(Timed::on(sched)),
        &costs,
        1,
        tasks,
        None,
        &mut |_, _| Decision::Continue(u64::MAX),
        &mut |_| true,
    );
    assert!(matches!(report.end, SimEnd::Done), "{:?}", report.end);
}

fn steps(thread: &SimThread<'_>, at: Step, until: u64) {
    while thread.now() < until {
        thread.step(at, NO_FRAME);
    }
}

/// How late somebody is on average who naps beside a task that runs: `stretch` steps of collection, then a walk.
fn late(preemption: Preemption, stretch: usize) -> u64 {
    let until = 100_000_000;
    let late: Rc<RefCell<Vec<u64>>> = Rc::default();
    let noted = Rc::clone(&late);
    let naps = task(0, move |thread| {
        while thread.now() < until {
            let awake = thread.now() + 300_000;
            thread.sleep(300_000);
            noted.borrow_mut().push(thread.now() - awake);
        }
    });
    let runs = task(0, move |thread| {
        while thread.now() < until {
            (0..stretch).for_each(|_| thread.step(Step::CollectCheck, NO_FRAME));
            thread.step(Step::GupWalk, NO_FRAME);
        }
    });
    run(Sched { preemption, ..Sched::ideal(SLICE) }, vec![runs, naps]);
    // The first ones earn what the others are owed.
    let late = late.take().split_off(10);
    late.iter().sum::<u64>() / late.len() as u64
}

#[test]
fn who_is_owed_time_preempts_as_it_wakes_up_where_wake_ups_do() {
    assert!(late(Preemption::Slices, 0) > SLICE / 3, "{}", late(Preemption::Slices, 0));
    for preemption in [Preemption::Voluntary, Preemption::Full] {
        assert!(late(preemption, 0) < 10 * STEP, "{preemption:?}: {}", late(preemption, 0));
    }
}

#[test]
fn a_kernel_of_voluntary_preemption_gives_the_cpu_up_where_it_looks_alone() {
    let stretch = 4_000;
    let voluntary = late(Preemption::Voluntary, stretch);
    // Half of a stretch.
    assert!((100_000..300_000).contains(&voluntary), "{voluntary}");
    assert!(late(Preemption::Full, stretch) < 10 * STEP, "{}", late(Preemption::Full, stretch));
}

#[test]
fn who_has_had_too_much_and_sleeps_long_is_owed_nothing_and_owes_nothing() {
    let late = |preemption| {
        let late = Rc::new(Cell::new(0));
        let noted = Rc::clone(&late);
        let mut tasks = vec![task(0, move |thread| {
            while thread.cpu_time() < SLICE - 10 * STEP {
                thread.step(Step::GupWalk, NO_FRAME);
            }
            let awake = thread.now() + 40 * SLICE + SLICE / 2;
            thread.sleep(40 * SLICE + SLICE / 2);
            noted.set(thread.now() - awake);
        })];
        tasks.extend((0..16).map(|_| task(0, |thread| steps(thread, Step::GupWalk, 100 * SLICE))));
        run(Sched { preemption, ..Sched::ideal(SLICE) }, tasks);
        late.get()
    };
    let (kept, forgotten) = (late(Preemption::Slices), late(Preemption::Full));
    assert!(forgotten * 4 < kept * 3, "{forgotten} against {kept}");
}

/// On one host CPU.
fn shared(turn_ns: u64) -> Sched {
    Sched { host: Host { cpus: 1, turn_ns, ..Host::default() }, ..Sched::ideal(SLICE) }
}

#[test]
fn an_interrupt_is_waited_for_until_the_host_has_run_everybody_who_runs() {
    let took = |sched, others: usize| {
        let took = Rc::new(Cell::new(0));
        let noted = Rc::clone(&took);
        let mut tasks = vec![task(0, move |thread| {
            thread.step(Step::GupWalk, NO_FRAME);
            let began = thread.now();
            thread.interrupt_others();
            thread.step(Step::GupWalk, NO_FRAME);
            noted.set(thread.now() - began);
        })];
        tasks.extend((1..=others).map(|cpu| task(cpu, |thread| steps(thread, Step::GupWalk, SLICE))));
        run(sched, tasks);
        took.get()
    };
    assert!(took(Sched::ideal(SLICE), 3) < 2 * STEP, "a CPU of its own takes it at once");
    assert!(took(shared(50_000), 0) < 2 * STEP, "nobody else runs");
    for (others, turns) in [(1, 50_000..60_000), (3, 150_000..160_000)] {
        let took = took(shared(50_000), others);
        assert!(turns.contains(&took), "{others}: {took}");
    }
}

#[test]
fn a_round_of_turns_ends_at_the_next_timer() {
    let turns = |nap: u64| {
        let log: Rc<RefCell<Vec<usize>>> = Rc::default();
        let until = 20 * SLICE;
        let mut tasks: Vec<SimTask> = (0..2)
            .map(|cpu| {
                let log = Rc::clone(&log);
                task(cpu, move |thread| {
                    while thread.now() < until {
                        thread.step(Step::GupWalk, NO_FRAME);
                        log.borrow_mut().push(cpu);
                    }
                })
            })
            .collect();
        tasks.push(task(2, move |thread| {
            while thread.now() < until {
                thread.sleep(nap);
            }
        }));
        run(shared(SLICE), tasks);
        let log = log.take();
        log.chunk_by(|a, b| a == b).count()
    };
    let (often, once) = (turns(100_000), turns(20 * SLICE));
    // 20 of a millisecond; a round that begins just after a timer was due has no other to wait for.
    assert!(once < 40 && often > 100, "{often} and {once}");
}
