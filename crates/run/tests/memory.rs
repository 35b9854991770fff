//! What a machine takes of its host: as much as is used of it.
#![cfg(not(loom))]

mod lab;

use gupstress_run::drive::Timed;
use gupstress_run::machine::{Backing, Kind, Known, Layout, MAX_ORDER, Machine, PageIndex};
use gupstress_run::observe::Event;
use gupstress_run::ops::{Pin, PinRequest};
use gupstress_run::policy::{Source, load_kernel, load_policy};
use std::sync::Arc;

/// Bytes of the host that the process has now (`VmRSS`), or had at most (`VmHWM`).
fn resident(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    1024 * line.trim_matches(|c: char| !c.is_ascii_digit()).parse::<u64>().unwrap()
}

/// Fills so many frames of Movable, pins some of that out of it, and recounts; at most how many
/// bytes more than before it took.
fn taken(movable: u32, order: u32, pinned: u32) -> u64 {
    let layout = Layout { normal: 2 * pinned, movable, cma: 0, page_bytes: 0 };
    let rules = load_kernel(Source::Preset("linux-7.2.13"), &[]).unwrap();
    let policy = load_policy(Source::Preset(&rules.policy), &[]).unwrap();
    let before = resident("VmRSS:");
    let m = Arc::new(Machine::new(rules, &layout, 1));
    let pages = movable - (1 << MAX_ORDER);
    let id = m.map(Backing { kind: Kind::Anon, order }, pages).id;
    let body: lab::Body = Box::new(move |t| {
        let mapping = t.m.mapping(id);
        t.touch(mapping, PageIndex(0).run(pages)).unwrap();
        let mut pin = Pin::default();
        t.pin_longterm(&PinRequest::new(&policy, mapping, PageIndex(0).run(pinned), true), &mut pin).unwrap();
        t.unpin_user_pages(&pin.pages);
    });
    let ran = lab::run(&m, Box::new(Timed::new(1_000_000)), 1, u64::MAX / 2, vec![(0, body)]).unwrap();
    assert!(!ran.killed);
    assert_eq!(ran.totals.get(Event::Migrated), u64::from(pinned));
    let recount = m.validate(&Known::default());
    assert!(recount.complete && recount.broken.is_empty(), "{:#?}", recount.broken);
    resident("VmHWM:").saturating_sub(before)
}

#[test]
fn memory_is_taken_as_it_is_used() {
    // The smaller one first: what the process had at most never falls.
    let single = taken(1_000_000, 0, 400_000);
    assert!(single < 200_000_000, "{single} bytes for a million pages");
    let huge = taken(1 << 27, MAX_ORDER, 1 << 20);
    assert!(huge < 1_000_000_000, "{huge} bytes for 512 GiB in huge folios");
    println!("{single} bytes, {huge} bytes");
}
