//! Which unmapped pages' TLBs are flushed: counted as interrupts, which a virtual CPU waits for.
#![cfg(not(loom))]

mod lab;

use gupstress_run::drive::sim::SimThread;
use gupstress_run::drive::{Pending, Strategy, TaskId, Timed};
use gupstress_run::machine::{CpuId, Gfp, Kind, Layout, Machine, MappingId, PageIndex, pages};
use gupstress_run::observe::Event;
use gupstress_run::ops::{MigrateMode, Task};
use gupstress_run::policy::{Source, load_kernel};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

const MS: u64 = 1_000_000;
const PAGES: u32 = 4;

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

/// Interrupts of a migration of four pages, some of them pinned, which cannot be unmapped.
fn interrupts(kernel: &'static str, pinned: u32, mode: MigrateMode) -> u32 {
    let layout = Layout { normal: 64, movable: 64, cma: 0, page_bytes: 64 };
    let m = Arc::new(Machine::new(load_kernel(Source::Preset(kernel), &[]).unwrap(), &layout, 2));
    let id: MappingId = m.map(Kind::Anon, PAGES).id;
    let count = Rc::new(Cell::new(0));
    let moves = move |t: &Task<'_, SimThread<'_>>| {
        t.touch(t.m.mapping(id), pages(0..PAGES)).unwrap();
        t.lru_add_drain_all(false);
        let frames: Vec<_> = (0..PAGES).map(|n| t.m.mapping(id).vma.pte(PageIndex(n)).frame()).collect();
        for index in pages(0..pinned) {
            t.pin_in_place(t.m.mapping(id), index).unwrap();
        }
        frames.iter().for_each(|&frame| assert!(t.isolate_lru(frame)));
        let result = t.migrate_pages(&frames, Gfp::Pin, mode);
        assert_eq!(result.left.len(), pinned as usize, "{kernel}");
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
    assert_eq!([0, 4].map(|pinned| interrupts("linux-6.12.57", pinned, async_)), [1, 1]);
    assert_eq!([0, 4].map(|pinned| interrupts("linux-6.1.176", pinned, async_)), [4, 40]);
    // What the batch leaves is tried seven times, page by page.
    assert_eq!([0, 1, 4].map(|pinned| interrupts("linux-6.12.57", pinned, sync)), [1, 1 + 7, 1 + 4 * 7]);
    assert_eq!([0, 1, 4].map(|pinned| interrupts("linux-6.1.176", pinned, sync)), [4, 3 + 10, 40]);
}
