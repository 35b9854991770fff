//! Threads with a mapping each, on a machine that must be sound when they are through.

use crate::lab::{self, Body, Ran};
use gupstress_run::drive::Timed;
use gupstress_run::drive::sim::SimThread;
use gupstress_run::machine::{Backing, Frame, Kind, Known, Layout, Machine, Mapping, MappingId, PageIndex};
use gupstress_run::observe::Totals;
use gupstress_run::ops::Task;
use gupstress_run::policy::{Source, load_kernel};
use std::sync::Arc;

pub const MS: u64 = 1_000_000;
pub const LAYOUT: Layout = Layout { normal: 2048, movable: 2047, cma: 0, page_bytes: 64 };

/// A thread on a machine with a mapping.
pub type At<'a, 'b> = (&'a Task<'b, SimThread<'b>>, &'a Mapping);

pub fn machine(kernel: &str, sets: &[(&str, &str)], layout: &Layout) -> Arc<Machine> {
    let sets: Vec<_> = sets.iter().map(|(key, word)| ((*key).to_owned(), (*word).to_owned())).collect();
    Arc::new(Machine::new(load_kernel(Source::Preset(kernel), &sets).unwrap(), layout, 2))
}

pub fn body(id: MappingId, act: impl FnOnce(At<'_, '_>) + 'static) -> Body {
    Box::new(move |t: &Task<'_, SimThread<'_>>| act((t, t.m.mapping(id))))
}

/// Runs the bodies, each on a CPU of its own, and kills what is not through after so long.
#[track_caller]
pub fn run(m: &Arc<Machine>, bodies: Vec<Body>, limit_ns: u64) -> Ran {
    lab::run(m, Box::new(Timed::new(MS)), 1, limit_ns, (0..).zip(bodies).collect()).unwrap()
}

/// The same to their end; then the machine must be sound.
#[track_caller]
pub fn play(m: &Arc<Machine>, bodies: Vec<Body>) -> Totals {
    let ran = run(m, bodies, 10_000 * MS);
    assert!(!ran.killed, "somebody did not end");
    let recount = m.validate(&Known::default());
    assert!(recount.complete && recount.broken.is_empty(), "{:#?}", recount.broken);
    ran.totals
}

/// One body with a mapping on the newest kernel, some of whose rules are others.
#[track_caller]
pub fn with(
    sets: &[(&str, &str)],
    backing: impl Into<Backing>,
    len: u32,
    act: impl FnOnce(At<'_, '_>) + 'static,
) -> Totals {
    let m = machine("linux-7.2.13", sets, &LAYOUT);
    let id = m.map(backing, len).id;
    play(&m, vec![body(id, act)])
}

pub fn frame(mapping: &Mapping, index: u32) -> Frame {
    mapping.vma.pte(PageIndex(index)).frame()
}

pub fn anon(order: u32) -> Backing {
    Backing { kind: Kind::Anon, order }
}
