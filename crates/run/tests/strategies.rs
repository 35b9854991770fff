//! Searches by themselves, of tasks whose every order is known.
#![cfg(not(loom))]

use gupstress_run::drive::sim::{Lab, SimReport, SimTask, SimThread, Supervision};
use gupstress_run::drive::{Costs, Decision, Driver, Listed, Pick, Step, TaskId};
use gupstress_run::explore::{Bounded, Pct};
use gupstress_run::machine::{CpuId, NO_FRAME};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

fn task(body: impl FnOnce(&SimThread<'_>) + 'static) -> SimTask {
    SimTask { cpu: CpuId(0), place: Arc::default(), killable: true, daemon: false, body: Box::new(body) }
}

thread_local! {
    /// Keeps the stacks of tasks.
    static LAB: RefCell<Lab> = RefCell::default();
}

/// Looks, each a thousand steps after the one before, after which a run is ended.
const LOOKS: u32 = 5;

fn run<P: Pick + 'static>(pick: P, tasks: Vec<SimTask>) -> (SimReport, P) {
    let strategy = Rc::new(RefCell::new(Listed::new(pick)));
    let mut looks = 0;
    let mut look = |_| {
        looks += 1;
        looks < LOOKS
    };
    let mut never = |_, _: &Supervision<'_>| Decision::Continue(u64::MAX);
    let picks = Box::new(Rc::clone(&strategy));
    let report =
        LAB.with_borrow_mut(|lab| lab.run(picks, &Costs::default(), 1, tasks, None, &mut never, &mut look));
    (report, Rc::into_inner(strategy).expect("the run is over").into_inner().pick)
}

/// Who went on, stretch by stretch: before the first step, between steps, behind the last.
type Order = Vec<TaskId>;

/// Runs two tasks of so many steps each.
fn order<P: Pick + 'static>(pick: P, steps: usize) -> (Order, P) {
    let log = Rc::new(RefCell::new(Vec::new()));
    let stepper = |id| {
        let log = Rc::clone(&log);
        task(move |thread| {
            log.borrow_mut().push(id);
            for _ in 0..steps {
                thread.step(Step::GupWalk, NO_FRAME);
                log.borrow_mut().push(id);
            }
        })
    };
    let (_, pick) = run(pick, vec![stepper(0), stepper(1)]);
    (log.take(), pick)
}

/// Every order of two tasks of so many stretches each with at most so many switches away from
/// one that could have gone on.
fn orders(stretches: usize, preemptions: usize) -> BTreeSet<Order> {
    let all = (0..1_u32 << (2 * stretches)).filter(|bits| bits.count_ones() as usize == stretches);
    let order = |bits: u32| (0..2 * stretches).map(|at| (bits >> at & 1) as TaskId).collect::<Order>();
    all.map(order)
        .filter(|order| {
            let switches = order.windows(2).enumerate().filter(|(_, pair)| pair[0] != pair[1]);
            let cut = switches.filter(|(at, pair)| order[at + 1..].contains(&pair[0]));
            cut.count() <= preemptions
        })
        .collect()
}

/// What a search comes to, from a schedule that has not been run yet to its last.
fn searched(mut pick: Bounded, steps: usize) -> Vec<Order> {
    let mut found = Vec::new();
    loop {
        let ran = order(pick, steps);
        found.push(ran.0);
        pick = ran.1;
        if !pick.turn() {
            return found;
        }
    }
}

#[test]
fn a_bounded_search_runs_every_order_of_few_preemptions_once() {
    for steps in 1..4 {
        for preemptions in 0..5 {
            let expected = orders(steps + 1, preemptions);
            let new = || Bounded::new(preemptions as u32, 1);
            let whole = searched(new(), steps);
            assert_eq!(whole.len(), expected.len(), "{steps} steps, {preemptions} preemptions");
            assert_eq!(BTreeSet::from_iter(whole), expected);
            // In parts, below its first schedule.
            let (first, pick) = order(new(), steps);
            let parts = pick.split().into_iter().flat_map(|part| searched(part, steps));
            let parts: Vec<Order> = std::iter::once(first).chain(parts).collect();
            assert_eq!(parts.len(), expected.len(), "{steps} steps, {preemptions} preemptions, in parts");
            assert_eq!(BTreeSet::from_iter(parts), expected);
        }
    }
    assert_eq!(orders(4, 6).len(), 70, "eight over four");
}

#[test]
fn changing_priorities_meet_what_they_say_as_often_as_they_say() {
    const SEEDS: u64 = 10_000;
    let steps = 4;
    // There is a choice as long as both are there.
    let length = steps + 1;
    let share = |depth, wanted: &Order| {
        let hit = |seed: &u64| order(Pct::new(*seed, depth, length, 1), steps).0 == *wanted;
        (0..SEEDS).filter(hit).count() as f64 / SEEDS as f64
    };
    let said = |depth| 1.0 - Pct::missed(1, 2, length, depth);
    // One after the other needs one ordering; one in the midst of the other, two.
    let after = [[1; 5], [0; 5]].concat();
    assert!((share(1, &after) / said(1) - 1.0).abs() < 0.1, "{} is not {}", share(1, &after), said(1));
    for at in 1..length {
        let amid = [vec![0; at], vec![1; length], vec![0; length - at]].concat();
        let (met, said) = (share(2, &amid), said(2));
        assert!((met / said - 1.0).abs() < 0.15, "{amid:?}: {met} is not {said}");
    }
    // Many schedules miss it as often as all of them do.
    let one = Pct::missed(1, 2, length, 2);
    assert!((Pct::missed(50, 2, length, 2) - one.powi(50)).abs() < 1e-9);
}

#[test]
fn who_waits_without_sweeping_is_no_hang_as_priorities_end() {
    for seed in 0..50 {
        let done = Rc::new(RefCell::new(false));
        let flag = Rc::clone(&done);
        let waits = task(move |thread| {
            while !*flag.borrow() && !thread.killed() {
                thread.step(Step::Hold, NO_FRAME);
            }
        });
        let other = task(move |thread| {
            (0..3).for_each(|_| thread.step(Step::Hold, NO_FRAME));
            *done.borrow_mut() = true;
        });
        let (report, _) = run(Pct::new(seed, 1, 10, 1), vec![waits, other]);
        assert!(report.steps < 1000, "seed {seed}: {} steps", report.steps);
    }
}
