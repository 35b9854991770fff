//! Who comes in the midst of what another does, and waits for it: in random orders.
#![cfg(not(loom))]

mod lab;

use gupstress_run::drive::sim::SimThread;
use gupstress_run::drive::{Driver as _, Listed, Step, Uniform};
use gupstress_run::machine::{
    Backing, CpuId, Kind, Known, Layout, MAX_ORDER, Machine, MappingId, NO_FRAME, PageIndex, pages,
};
use gupstress_run::observe::{Event, Totals};
use gupstress_run::ops::{Errno, Pin, PinRequest, Task};
use gupstress_run::policy::{Source, load_kernel, load_policy};
use lab::Body;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

const SEEDS: u64 = 60;
const HUGE: u32 = 1 << MAX_ORDER;
/// Room for huge pages and their copies, wherever they lie.
const LAYOUT: Layout = Layout { normal: 4 * HUGE, movable: 4 * HUGE, cma: 0, page_bytes: 64 };

/// A machine of two CPUs, and a mapping.
fn machine(kernel: &str, backing: impl Into<Backing>, pages: u32) -> (Arc<Machine>, MappingId) {
    let rules = load_kernel(Source::Preset(kernel), &[]).unwrap();
    let m = Arc::new(Machine::new(rules, &LAYOUT, 2));
    let id = m.map(backing, pages).id;
    (m, id)
}

fn body(body: impl FnOnce(&Task<'_, SimThread<'_>>) + 'static) -> Body {
    Box::new(body)
}

/// Runs the bodies in an order of the seed's, each on a CPU of its own; then the machine must be sound.
#[track_caller]
fn play(m: &Arc<Machine>, seed: u64, bodies: Vec<Body>) -> Totals {
    let bodies = (0..).zip(bodies).collect();
    let ran = lab::run(m, Box::new(Listed::new(Uniform::new(seed))), seed, 1_000_000_000, bodies).unwrap();
    assert!(!ran.killed, "seed {seed}: somebody did not end");
    let recount = m.validate(&Known::default());
    assert!(recount.complete && recount.broken.is_empty(), "seed {seed}: {:#?}", recount.broken);
    ran.totals
}

#[test]
fn a_child_that_is_forked_in_the_midst_of_a_migration_has_the_page_too() {
    for (kernel, order) in [("linux-5.13", 0), ("linux-6.1.192", 9), ("linux-7.2.13", 0), ("linux-7.2.13", 9)]
    {
        let midst = Rc::new(Cell::new(0));
        for seed in 0..SEEDS {
            let (m, id) = machine(kernel, Backing { kind: Kind::Anon, order }, 1 << order);
            let all = move || pages(0..1 << order);
            play(&m, seed, vec![body(move |t| t.touch(t.m.mapping(id), all()).unwrap())]);
            let policy = load_policy(Source::Preset(&m.rules.policy), &[]).unwrap();
            let pinner = body(move |t| {
                let request = PinRequest::new(&policy, t.m.mapping(id), pages(0..1), true);
                let mut pin = Pin::default();
                if t.pin_longterm(&request, &mut pin).is_ok() {
                    t.unpin_longterm(&mut pin);
                }
            });
            let count = Rc::clone(&midst);
            let forker = body(move |t| {
                // As far into the other's work as it may be.
                (0..t.d.below(60)).for_each(|_| t.d.step(Step::Idle, NO_FRAME));
                t.fork(t.m.mapping(id), all()).unwrap();
                t.m.mapping(id).for_each_child(|child| {
                    count.set(count.get() + u32::from(child.pte(PageIndex(0)).is_migration()));
                });
            });
            play(&m, seed, vec![pinner, forker]);
            m.mapping(id).for_each_child(|child| {
                let there = all().into_iter().all(|index| child.pte(index).is_present());
                assert!(there, "{kernel}, order {order}, seed {seed}: the child lacks a page");
            });
        }
        assert!(midst.get() > 0, "{kernel}, order {order}: no fork came in the midst of a migration");
    }
}

#[test]
fn who_faults_in_the_page_that_another_does_finds_it_where_the_pool_has_but_one() {
    for kind in [Kind::Hugetlb, Kind::Hugeshm] {
        let mut waits = 0;
        for seed in 0..SEEDS {
            let (m, id) = machine("linux-7.2.13", kind, HUGE);
            assert_eq!(m.set_hugetlb_pool(CpuId(0), 1), 1);
            assert!(m.reserve_hugetlb(CpuId(0), id, 1));
            let ended: Rc<RefCell<Vec<Result<(), Errno>>>> = Rc::default();
            let toucher = |at: u32| {
                let ended = Rc::clone(&ended);
                body(move |t| {
                    let touched = t.touch(t.m.mapping(id), pages(at..at + 1));
                    ended.borrow_mut().push(touched);
                })
            };
            let counted = play(&m, seed, vec![toucher(0), toucher(5)]);
            assert_eq!(*ended.borrow(), [Ok(()), Ok(())], "{kind:?}, seed {seed}");
            waits += counted.get(Event::LockWaits);
        }
        assert!(waits > 0, "{kind:?}: nobody came while the other was at it");
    }
}
