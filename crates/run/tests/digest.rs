//! The one number of a machine's state, by which a search knows that it has seen a state recounted.
#![cfg(not(loom))]

mod lab;

use gupstress_run::drive::Timed;
use gupstress_run::drive::sim::SimThread;
use gupstress_run::machine::cpu::{Entry, Tag};
use gupstress_run::machine::{Batch, CpuId, Kind, Layout, Machine, PageIndex, pages};
use gupstress_run::observe::Event;
use gupstress_run::ops::Task;
use gupstress_run::policy::{Source, load_kernel};
use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

const MS: u64 = 1_000_000;

/// The state's number before and after each of the same acts, which all change it.
fn digests() -> Vec<u64> {
    let layout = Layout { normal: 64, movable: 64, cma: 0, page_bytes: 64 };
    let m = Arc::new(Machine::new(load_kernel(Source::Preset("linux-6.12.57"), &[]).unwrap(), &layout, 2));
    let [anon, shmem] = [Kind::Anon, Kind::Shmem].map(|kind| m.map(kind, 2).id);
    let seen = Rc::new(RefCell::new(vec![m.digest()]));
    let found = Rc::clone(&seen);
    let acts = move |t: &Task<'_, SimThread<'_>>| {
        let (anon, shmem) = (t.m.mapping(anon), t.m.mapping(shmem));
        let note = |_what: &str| found.borrow_mut().push(t.m.digest());
        t.touch(anon, pages(0..1)).unwrap();
        note("a page is mapped, and in a batch");
        t.lru_add_drain();
        note("it is on a list");
        t.touch(anon, pages(1..2)).unwrap();
        note("another one");
        t.touch(shmem, pages(0..1)).unwrap();
        note("one of shared memory");
        t.lru_add_drain_all(false);
        note("all are on lists");
        t.pin_in_place(anon, PageIndex(0)).unwrap();
        note("one is pinned");
        t.mlock(shmem, pages(0..1)).unwrap();
        note("one is mlocked");
        let frame = anon.vma.pte(PageIndex(1)).frame();
        assert!(t.trylock(frame));
        note("one is locked");
        t.fork(anon, pages(0..2)).unwrap();
        note("a child shares them");
        let locked = shmem.vma.lock(PageIndex(0));
        locked.set(PageIndex(0), locked.get(PageIndex(0)).cleaned());
        drop(locked);
        note("a PTE is clean");
        let cpu = t.m.cpu(CpuId(1));
        for batch in [Batch::MoveTail, Batch::Activate] {
            cpu.lock().push(batch, Entry { frame, tag: Tag::None });
            note("one is in this batch and in no other");
            cpu.lock().drain(batch, |_| {});
        }
        let ticket = cpu.queue_drain();
        note("work is queued, and nothing for it to do");
        cpu.drain_done(ticket);
    };
    let ran = lab::run(&m, Box::new(Timed::new(MS)), 1, 1000 * MS, vec![(0, Box::new(acts))]).unwrap();
    assert!(!ran.killed && ran.totals.get(Event::Faults) == 3);
    let seen = seen.borrow();
    seen.clone()
}

#[test]
fn whatever_changes_a_machine_changes_its_digest_and_the_same_acts_make_the_same() {
    let once = digests();
    assert_eq!(once.len(), 14);
    assert_eq!(once.iter().collect::<HashSet<_>>().len(), once.len(), "{once:x?}");
    assert_eq!(once, digests());
}
