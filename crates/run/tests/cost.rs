//! What a step of the simulator and a word of a script cost, by counts: no more on a machine of
//! many tasks and CPUs than on a small one.
#![cfg(not(loom))]

use allocation_counter::measure;
use gupstress_run::drive::sim::{Lab, SimEnd, SimTask, SimThread};
use gupstress_run::drive::{Costs, Decision, Driver, Pending, Step, Strategy, TaskId, Timed};
use gupstress_run::litmus::{SESSION_LAYOUT, Session};
use gupstress_run::machine::{CpuId, NO_FRAME};
use gupstress_run::policy::{Source, load_kernel, load_policy};
use gupstress_run::script::{Op, Player};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// Counts the tasks that it is told of.
struct Told {
    strategy: Timed,
    of: u64,
}

impl Strategy for Told {
    fn begin(&mut self, seed: u64) {
        self.strategy.begin(seed);
    }
    fn enqueue(&mut self, pending: Pending) {
        self.of += 1;
        self.strategy.enqueue(pending);
    }
    fn dequeue(&mut self, task: TaskId) {
        self.of += 1;
        self.strategy.dequeue(task);
    }
    fn ran(&mut self, task: TaskId, cpu: CpuId, from: u64, cost: u64) -> u64 {
        self.strategy.ran(task, cpu, from, cost)
    }
    fn earliest(&mut self) -> Option<u64> {
        self.strategy.earliest()
    }
    fn choose(&mut self, current: Option<TaskId>, before: u64) -> Option<(TaskId, u64)> {
        self.strategy.choose(current, before)
    }
    fn draw(&mut self, task: TaskId) -> u64 {
        self.strategy.draw(task)
    }
}

#[test]
fn a_strategy_is_told_of_as_many_tasks_a_step_where_there_are_thousands() {
    let told = |tasks: usize| {
        let body = |thread: &SimThread<'_>| {
            for _ in 0..4 {
                (0..4).for_each(|_| thread.step(Step::GupWalk, NO_FRAME));
                thread.sleep(1_000_000);
            }
        };
        let on =
            |cpu| SimTask { cpu, place: Arc::default(), killable: true, daemon: false, body: Box::new(body) };
        let strategy = Rc::new(RefCell::new(Told { strategy: Timed::new(1_000), of: 0 }));
        let report = Lab::default().run(
            Box::new(Rc::clone(&strategy)),
            &Costs::default(),
            1,
            (0..tasks).map(|task| on(CpuId::nth(task % 8))).collect(),
            None,
            &mut |_, _| Decision::Continue(u64::MAX),
            &mut |_| true,
        );
        assert!(matches!(report.end, SimEnd::Done), "{:?}", report.end);
        strategy.borrow().of as f64 / report.steps as f64
    };
    let (few, many) = (told(64), told(2048));
    println!("{few} of 64, {many} of 2,048");
    assert!(many < few + 0.5, "{few} a step of 64 tasks, {many} of 2,048");
}

/// What each step of a script allocates on one of so many CPUs: how often, and bytes.
fn allocated(script: &[&str], cpu: usize, cpus: usize) -> Vec<(u64, u64)> {
    let rules = load_kernel(Source::Preset("linux-7.2.13"), &[]).unwrap();
    let policy = load_policy(Source::Preset(&rules.policy), &[]).unwrap();
    let mut session = Session::new(rules, policy, &SESSION_LAYOUT, cpus);
    let mut of = |step: &&str| {
        let op = Op::parse(step).unwrap();
        let info = measure(|| {
            session.play(CpuId::nth(cpu), &op).unwrap();
        });
        (info.count_total, info.bytes_total)
    };
    script.iter().map(&mut of).collect()
}

#[test]
fn a_word_of_a_script_starts_nothing_on_a_cpu_that_has_nothing_to_do() {
    let script = [
        "map a 8 anon",
        "touch a",
        "read a",
        "pin a",
        "unpin a",
        "share a",
        "touch a",
        "mlock a",
        "pin a",
        "munlock a",
        "cold a 0 4",
        "touch a",
        "unpin a",
        "dontneed a",
        "map s 8 shmem",
        "touch s",
        "pin s",
        "unpin s",
        "remove s",
        "unmap s",
        "drain",
    ];
    let (few, many) = (allocated(&script, 1, 8), allocated(&script, 1, 1024));
    for ((step, few), many) in script.iter().zip(few).zip(many) {
        assert_eq!(few, many, "{step}: allocations and bytes on 8 CPUs, and on 1,024");
    }
    // The scheduler has a queue for each CPU up to the one that is worked on: one allocation, and no task.
    let often = |cpu, cpus| allocated(&script, cpu, cpus).into_iter().map(|(times, _)| times);
    assert!(often(7, 8).eq(often(1023, 1024)));
}
