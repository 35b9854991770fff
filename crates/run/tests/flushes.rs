//! Which unmapped pages' TLBs are flushed: counted as interrupts, which a virtual CPU waits for.
#![cfg(not(loom))]

mod lab;

use gupstress_run::drive::sim::SimThread;
use gupstress_run::drive::{Pending, Strategy, TaskId, Timed};
use gupstress_run::machine::{
    Backing, CpuId, Gfp, Kind, Layout, MAX_ORDER, Machine, MappingId, PageIndex, pages,
};
use gupstress_run::observe::Event;
use gupstress_run::ops::{MigrateMode, Task};
use gupstress_run::policy::{Source, load_kernel};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

const MS: u64 = 1_000_000;

/// Counts interrupts, which take no time.
struct Counting(Timed, Rc<Cell<u32>>);

impl Strategy for Counting {
    fn begin(&mut self, seed: u64) {
        self.0.begin(seed);
    }
    fn enqueue(&mut self, pending: Pending) {
        self.0.enqueue(pending);
    }
    fn dequeue(&mut self, task: TaskId) {
        self.0.dequeue(task);
    }
    fn ran(&mut self, task: TaskId, cpu: CpuId, from: u64, cost: u64) -> u64 {
        self.0.ran(task, cpu, from, cost)
    }
    fn earliest(&mut self) -> Option<u64> {
        self.0.earliest()
    }
    fn choose(&mut self, current: Option<TaskId>, before: u64) -> Option<(TaskId, u64)> {
        self.0.choose(current, before)
    }
    fn interrupts(&mut self, _task: TaskId) -> bool {
        self.1.set(self.1.get() + 1);
        false
    }
    fn draw(&mut self, task: TaskId) -> u64 {
        self.0.draw(task)
    }
}

/// Interrupts of a migration of `folios` of an order. Some are pinned and cannot be unmapped, or held and
/// can be, but not moved.
fn interrupts(
    kernel: &'static str,
    (order, folios): (u32, u32),
    (pinned, held): (u32, u32),
    mode: MigrateMode,
) -> u32 {
    interrupts_of(kernel, &vec![order; folios as usize], (pinned, held), mode)
}

/// The same of folios of these orders, one after the other.
fn interrupts_of(kernel: &'static str, orders: &[u32], (pinned, held): (u32, u32), mode: MigrateMode) -> u32 {
    let layout = Layout { normal: 2048, movable: 2048, cma: 0, page_bytes: 64 };
    let m = Arc::new(Machine::new(load_kernel(Source::Preset(kernel), &[]).unwrap(), &layout, 2));
    let map = |&order: &u32| m.map(Backing { kind: Kind::Anon, order }, 1 << order).id;
    let ids: Vec<MappingId> = orders.iter().map(map).collect();
    let count = Rc::new(Cell::new(0));
    let moves = move |t: &Task<'_, SimThread<'_>>| {
        let mappings = || ids.iter().map(|&id| t.m.mapping(id));
        mappings().for_each(|mapping| t.touch(mapping, mapping.vma.pages()).unwrap());
        t.lru_add_drain_all(false);
        for mapping in mappings().take(pinned as usize) {
            t.pin_in_place(mapping, PageIndex(0)).unwrap();
        }
        for mapping in mappings().take(held as usize) {
            t.hold(mapping, pages(0..1), false).unwrap();
        }
        let frames: Vec<_> = mappings().map(|mapping| mapping.vma.pte(PageIndex(0)).frame()).collect();
        frames.iter().for_each(|&frame| assert!(t.isolate_lru(frame)));
        let result = t.migrate_pages(&frames, Gfp::Pin, mode);
        assert_eq!(result.left.len(), (pinned + held) as usize, "{kernel}");
        t.putback_movable(result.left);
    };
    let strategy = Counting(Timed::new(MS), Rc::clone(&count));
    let ran = lab::run(&m, Box::new(strategy), 1, 1000 * MS, vec![(0, Box::new(moves))]).unwrap();
    assert!(!ran.killed && ran.totals.get(Event::MigrateCalls) == 1);
    count.get()
}

#[test]
fn a_batch_is_flushed_once_and_a_page_by_itself_each_time_that_it_is_unmapped() {
    let (sync, async_) = (MigrateMode::Sync, MigrateMode::Async);
    let four = |kernel, pinned, mode| interrupts(kernel, (0, 4), (pinned, 0), mode);
    assert_eq!([0, 4].map(|pinned| four("linux-6.12.57", pinned, async_)), [1, 1]);
    assert_eq!([0, 4].map(|pinned| four("linux-6.1.176", pinned, async_)), [4, 40]);
    // What the batch leaves is tried seven times, page by page.
    assert_eq!([0, 1, 4].map(|pinned| four("linux-6.12.57", pinned, sync)), [1, 1 + 7, 1 + 4 * 7]);
    assert_eq!([0, 1, 4].map(|pinned| four("linux-6.1.176", pinned, sync)), [4, 3 + 10, 40]);
}

#[test]
fn a_huge_page_is_flushed_by_itself_and_so_is_each_pte_outside_of_a_batch() {
    let (sync, async_) = (MigrateMode::Sync, MigrateMode::Async);
    let none = (0, 0);
    assert_eq!([sync, async_].map(|mode| interrupts("linux-6.12.57", (MAX_ORDER, 3), none, mode)), [3, 3]);
    assert_eq!([sync, async_].map(|mode| interrupts("linux-6.12.57", (4, 3), none, mode)), [1, 1]);
    assert_eq!([sync, async_].map(|mode| interrupts("linux-6.1.176", (4, 3), none, mode)), [48, 48]);
    // The first PTE that stays ends it, at each try.
    assert_eq!(
        [1, 3].map(|pinned| interrupts("linux-6.12.57", (4, 3), (pinned, 0), sync)),
        [1 + 7, 1 + 3 * 7]
    );
    assert_eq!(interrupts("linux-6.1.176", (4, 3), (1, 0), sync), 2 * 16 + 10);
    // What is held is unmapped, in a batch and alone, and cannot be moved.
    assert_eq!(interrupts("linux-6.12.57", (4, 1), (0, 1), sync), 1 + 16);
    assert_eq!(interrupts("linux-6.1.176", (4, 1), (0, 1), sync), 10 * 16);
}

#[test]
fn what_is_given_up_is_flushed_once_and_not_at_all_where_nothing_was() {
    for (touched, flushes) in [(0, 0), (1, 1), (4, 1)] {
        let layout = Layout { normal: 64, movable: 64, cma: 0, page_bytes: 64 };
        let m = Arc::new(Machine::new(load_kernel(Source::Preset("linux-7.2.13"), &[]).unwrap(), &layout, 2));
        let id = m.map(Kind::Anon, 4).id;
        let count = Rc::new(Cell::new(0));
        let gives_up = move |t: &Task<'_, SimThread<'_>>| {
            t.touch(t.m.mapping(id), pages(0..touched)).unwrap();
            assert_eq!(t.zap(t.m.mapping(id), pages(0..4), false), touched);
        };
        let strategy = Counting(Timed::new(MS), Rc::clone(&count));
        lab::run(&m, Box::new(strategy), 1, 1000 * MS, vec![(0, Box::new(gives_up))]).unwrap();
        assert_eq!(count.get(), flushes, "{touched} pages");
    }
}

#[test]
fn a_batch_has_as_many_pages_as_a_huge_one_or_one_folio_more() {
    let none = (0, 0);
    let batches = |pages| interrupts("linux-6.12.57", (0, pages), none, MigrateMode::Async);
    assert_eq!([511, 512, 513, 1024, 1025].map(batches), [1, 1, 2, 2, 3]);
    // A huge page that fills up a batch is flushed by itself all the same.
    let mixed = |orders: &[u32]| interrupts_of("linux-6.12.57", orders, none, MigrateMode::Async);
    assert_eq!(mixed(&[0, MAX_ORDER]), 2);
    assert_eq!(mixed(&[0, MAX_ORDER, 0]), 3);
}

/// Before 5.19 nobody looked at pins before a page was frozen: all of a folio is unmapped at each try.
#[test]
fn who_does_not_respect_pins_unmaps_what_is_pinned() {
    for (kernel, flushed) in [("linux-5.13", 16), ("linux-6.1.176", 1)] {
        assert_eq!(interrupts(kernel, (4, 1), (1, 0), MigrateMode::Async), 10 * flushed, "{kernel}");
    }
}
