//! The simulator itself: whose turn it is, how time passes, who is a task.
#![cfg(not(loom))]

use gupstress_run::drive::sim::{Kworkers, Lab, SimEnd, SimReport, SimTask, SimThread, Supervision};
use gupstress_run::drive::{
    Costs, Decision, Driver, Listed, Pending, Pick, Step, Strategy, TaskId, Timed, Uniform, Wait,
};
use gupstress_run::machine::NO_FRAME;
use gupstress_run::machine::{CpuId, Kind, Layout, Machine, pages};
use gupstress_run::observe::{Counters, Event};
use gupstress_run::ops::Task;
use gupstress_run::policy::{Source, load_kernel};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

fn never(_now: u64, _tasks: &Supervision<'_>) -> Decision {
    Decision::Continue(u64::MAX)
}

type Log = Rc<RefCell<Vec<(TaskId, u64)>>>;

fn task(cpu: u32, body: impl FnOnce(&SimThread<'_>) + 'static) -> SimTask {
    SimTask { cpu: CpuId(cpu), place: Arc::default(), killable: true, daemon: false, body: Box::new(body) }
}

/// A task that takes `steps` steps and writes down when it went on after each.
fn stepper(id: TaskId, cpu: u32, steps: usize, log: &Log) -> SimTask {
    let log = Rc::clone(log);
    task(cpu, move |thread| {
        for _ in 0..steps {
            thread.step(Step::GupWalk, NO_FRAME);
            log.borrow_mut().push((id, thread.now()));
        }
    })
}

fn run(strategy: impl Strategy + 'static, tasks: Vec<SimTask>, seed: u64) -> SimReport {
    Lab::default().run(Box::new(strategy), &Costs::default(), seed, tasks, None, &mut never, &mut |_| true)
}

#[test]
fn a_slice_ends_and_the_other_task_of_the_cpu_follows() {
    let log = Log::default();
    // 25 ns a step: four or five steps to a slice of 100 ns.
    run(Timed::new(100), vec![stepper(0, 0, 40, &log), stepper(1, 0, 40, &log)], 1);
    let turns: Vec<TaskId> = log.borrow().iter().map(|&(id, _)| id).collect();
    let longest = turns.chunk_by(|a, b| a == b).map(<[_]>::len).take(10).max();
    assert!(longest.is_some_and(|steps| (2..=10).contains(&steps)), "{turns:?}");

    let log = Log::default();
    run(Timed::new(u64::MAX / 2), vec![stepper(0, 0, 40, &log), stepper(1, 0, 40, &log)], 1);
    assert!(log.borrow()[..40].iter().all(|&(id, _)| id == 0), "a slice without an end was cut");
}

#[test]
fn steps_differ_by_a_quarter_either_way_and_by_seed() {
    let times = |seed| {
        let log = Log::default();
        run(Timed::new(100), vec![stepper(0, 0, 200, &log)], seed);
        let ends: Vec<u64> = log.borrow().iter().map(|&(_, at)| at).collect();
        ends.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<u64>>()
    };
    let costs = times(1);
    let cost = Step::GupWalk.default_ns();
    assert!(costs.iter().all(|&ns| ns >= cost - cost / 4 && ns <= cost + cost / 4), "{costs:?}");
    assert!(costs.iter().any(|&ns| ns < cost) && costs.iter().any(|&ns| ns > cost), "{costs:?}");
    assert_eq!(costs, times(1));
    assert_ne!(costs, times(2));
}

#[test]
fn no_tick_of_the_supervisor_is_passed_over_by_a_jump() {
    // Everybody sleeps for 1,000 s; one step in the middle takes 30 s.
    let sleeper = task(0, |thread| {
        thread.sleep(1_000_000_000_000);
        thread.step(Step::Hold, NO_FRAME);
        thread.sleep(1_000_000_000_000);
    });
    let costs = Costs::default().longer_by(30_000_000_000);
    let mut looks = Vec::new();
    let mut look = |now: u64, _: &Supervision<'_>| {
        looks.push(now);
        Decision::Continue(now + 7_000_000_000)
    };
    let report =
        Lab::default()
            .run(Box::new(Timed::new(100)), &costs, 1, vec![sleeper], None, &mut look, &mut |_| true);
    assert!(matches!(report.end, SimEnd::Done), "{:?}", report.end);
    assert!(report.now > 2_000_000_000_000);
    let expected: Vec<u64> = (0..report.now.div_ceil(7_000_000_000)).map(|n| n * 7_000_000_000).collect();
    assert_eq!(looks, expected);
}

#[test]
fn steps_that_cost_nothing_come_to_a_timeout_all_the_same() {
    let endless = || {
        task(0, |thread| {
            while !thread.killed() {
                thread.step(Step::GupWalk, NO_FRAME);
            }
        })
    };
    let mut costs = Costs::default();
    Step::ALL.iter().for_each(|&step| costs.set(step, 0));
    let mut end = |now: u64, _: &Supervision<'_>| {
        if now < 1_000_000 { Decision::Continue(1_000_000) } else { Decision::Kill }
    };
    let tasks = vec![endless(), endless()];
    let report =
        Lab::default().run(Box::new(Timed::new(100)), &costs, 1, tasks, None, &mut end, &mut |_| true);
    assert!(matches!(report.end, SimEnd::Done), "{:?}", report.end);
}

#[test]
fn whoever_watches_is_asked_while_nothing_but_time_passes() {
    // For ever asleep, under a supervisor that never has enough.
    let sleeper = task(0, |thread| {
        thread.wait(Wait::Time, &|| false);
    });
    let mut asked = 0;
    let report = Lab::default().run(
        Box::new(Timed::new(100)),
        &Costs::default(),
        1,
        vec![sleeper],
        None,
        &mut |now, _| Decision::Continue(now + 1),
        &mut |_| {
            asked += 1;
            asked < 1000
        },
    );
    assert!(matches!(report.end, SimEnd::Done), "{:?}", report.end);
}

#[test]
fn a_kworker_is_a_task_only_while_its_cpu_has_work() {
    let rules = load_kernel(Source::Preset("linux-7.2.13"), &[]).unwrap();
    let layout = Layout { normal: 64, movable: 64, cma: 0, page_bytes: 64 };
    let m = Arc::new(Machine::new(rules, &layout, 64));
    let mapping = m.map(Kind::Anon, 4).id;
    let (count, background) = (Arc::<Counters>::default(), Arc::<Counters>::default());
    let kworkers = Kworkers::of(&m, &background);
    let body = {
        let (m, count) = (Arc::clone(&m), Arc::clone(&count));
        move |thread: &SimThread<'_>| {
            let task = Task::new(&m, thread, &count, CpuId(0));
            for _ in 0..5 {
                task.move_to(CpuId(3));
                task.touch(m.mapping(mapping), pages(0..4)).unwrap();
                task.move_to(CpuId(0));
                task.lru_add_drain_all(true);
                task.zap(m.mapping(mapping), pages(0..4), true);
            }
        }
    };
    let mut lab = Lab::tracing(usize::MAX);
    let strategy = Box::new(Timed::new(1_000_000));
    let tasks = vec![task(0, body)];
    let report = lab.run(strategy, &Costs::default(), 1, tasks, Some(&kworkers), &mut never, &mut |_| true);
    assert!(matches!(report.end, SimEnd::Done), "{:?}", report.end);
    assert_eq!(count.get(Event::DrainWork), 5);
    let at_work: Vec<u32> = report.trace.iter().filter_map(|ring| ring.thread()).collect();
    assert_eq!(at_work, [0, 4], "the caller and the kworker of cpu 3 alone did anything");
}

/// Picks by what the tasks tell of themselves, and writes down what it was offered.
#[derive(Default)]
struct Recorder {
    yield_every: u32,
    offers: Vec<(Option<TaskId>, Vec<Pending>)>,
}

impl Pick for Recorder {
    fn pick(&mut self, current: Option<TaskId>, pending: &[Pending]) -> usize {
        self.offers.push((current, pending.to_vec()));
        // As unfair as can be: the first, for ever.
        0
    }
    fn yield_every(&self) -> u32 {
        self.yield_every
    }
}

#[test]
fn a_choice_is_offered_where_there_is_one_with_every_task_at_its_step() {
    let recorder = Rc::new(RefCell::new(Listed::new(Recorder::default())));
    let log = Log::default();
    run(Rc::clone(&recorder), vec![stepper(0, 0, 3, &log), stepper(1, 1, 3, &log)], 1);
    let strategy = recorder.borrow();
    let offers = &strategy.pick.offers;
    let seen: Vec<(_, Vec<_>)> = offers
        .iter()
        .map(|(current, offer)| (*current, offer.iter().map(|task| (task.task, task.step)).collect()))
        .collect();
    let both = |first| vec![(0, first), (1, Step::Idle)];
    let later = (Some(0), both(Step::GupWalk));
    assert_eq!(seen, [(None, both(Step::Idle)), later.clone(), later.clone(), later]);
}

#[test]
fn whoever_has_swept_yields_to_those_who_have_not_run_since() {
    let sweeps = |yield_every| {
        let done = Rc::new(RefCell::new(0));
        let flag = Rc::clone(&done);
        // Sweeps until the other has taken three steps.
        let sweeper = task(0, move |thread| {
            while *flag.borrow() < 3 && !thread.killed() {
                thread.step(Step::Sweep, NO_FRAME);
            }
        });
        let other = task(1, move |thread| {
            for _ in 0..3 {
                thread.step(Step::Hold, NO_FRAME);
                *done.borrow_mut() += 1;
            }
        });
        let strategy = Listed::new(Recorder { yield_every, offers: Vec::new() });
        let costs = Costs::default();
        let tasks = vec![sweeper, other];
        let mut looks = 0;
        let mut watch = |_| {
            looks += 1;
            looks < 5
        };
        Lab::default().run(Box::new(strategy), &costs, 1, tasks, None, &mut never, &mut watch).steps
    };
    assert!(sweeps(0) > 1000, "the first task was not picked for ever");
    assert!(sweeps(1) < 12, "{} steps", sweeps(1));
    // The other is let go on four times in all: for its steps, and to return.
    assert!((3 * 50..5 * 50).contains(&sweeps(50)), "{} steps", sweeps(50));
}

#[test]
fn a_timeout_fires_when_time_has_come_to_it_or_nobody_else_can_go_on() {
    let log = Log::default();
    let sleeper = {
        let log = Rc::clone(&log);
        task(1, move |thread| {
            thread.sleep(100);
            log.borrow_mut().push((1, thread.now()));
            thread.sleep(1_000_000);
            log.borrow_mut().push((1, thread.now()));
        })
    };
    run(Listed::new(Uniform::new(1)), vec![stepper(0, 0, 40, &log), sleeper], 1);
    let log = log.borrow();
    let first = log.iter().position(|&(id, _)| id == 1).unwrap();
    assert!(first >= 3 && log[first].1 >= 100, "{log:?}");
    assert_eq!(log.last().map(|&(id, at)| (id, at >= 1_000_000)), Some((1, true)));
}
