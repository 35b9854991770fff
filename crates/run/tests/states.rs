//! Pages are before and after a pin as they were on real kernels: `data/measured/folio-states.json`.
#![cfg(not(loom))]

use gupstress_run::litmus::{SESSION_LAYOUT, Scenario, Session, show_litmus};
use gupstress_run::machine::{CpuId, Layout, MAX_ORDER, MappingId, Obstacle, PageIndex, PageState, ZoneKind};
use gupstress_run::policy::{Source, load_kernel, load_policy};
use gupstress_run::script::{Name, Op, OpError, Player as _};
use serde_json::Value;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

/// A stretch of pages of which one folio after the other is alike.
struct Run {
    folios: u32,
    name: String,
}

fn name_of(page: &PageState, mapped: u32) -> String {
    let has = |flag| page.flags.contains(&flag);
    let zero = page.obstacle == Some(Obstacle::ZeroPage);
    let mut name = format!("o{}", page.order);
    // Where a kernel has its zero page is its own affair; the huge one is allocated, and pinnable.
    name.push(if page.zone == ZoneKind::Movable || zero && page.order == 0 { 'M' } else { 'N' });
    for (flag, letter) in [("PG_lru", 'L'), ("PG_hugetlb", 'H'), ("PG_mlocked", 'm'), ("PG_unevictable", 'U')]
    {
        if has(flag) {
            name.push(letter);
        }
    }
    if zero {
        name.push('Z');
    } else if mapped < 1 << page.order {
        write!(name, "({mapped})").unwrap();
    }
    name
}

/// The state of a mapping's pages in the words of the file.
fn state(session: &Session, mapping: MappingId) -> String {
    let pages = session.machine().mapping(mapping).vma.len();
    let mut runs: Vec<Run> = Vec::new();
    let mut push = |name: String, count: u32| match runs.last_mut() {
        Some(run) if run.name == name => run.folios += count,
        _ => runs.push(Run { folios: count, name }),
    };
    let mut index = 0;
    while index < pages {
        let Some(page) = session.page(mapping, PageIndex(index)).unwrap() else {
            push("none".to_owned(), 1);
            index += 1;
            continue;
        };
        let head = page.frame.align_down(page.order);
        let same = |next: &u32| {
            session
                .page(mapping, PageIndex(*next))
                .unwrap()
                .is_some_and(|other| other.order == page.order && other.frame.align_down(page.order) == head)
        };
        let mapped = (index..pages).take_while(same).count() as u32;
        push(name_of(&page, mapped), 1);
        index += mapped;
    }
    runs.iter().map(|run| format!("{}*{}", run.folios, run.name)).collect::<Vec<_>>().join(" ")
}

/// Without what a batch has of single pages: what else runs on a real kernel fills it too.
fn apart_from_batches(state: &str) -> String {
    let mut runs: Vec<(u32, String)> = Vec::new();
    for run in state.split(' ') {
        let (count, name) = run.split_once('*').unwrap();
        let name = if name.starts_with("o0") { name.replace('L', "") } else { name.to_owned() };
        let count: u32 = count.parse().unwrap();
        match runs.last_mut() {
            Some(last) if last.1 == name => last.0 += count,
            _ => runs.push((count, name)),
        }
    }
    runs.iter().map(|(count, name)| format!("{count}*{name}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn pages_are_before_and_after_a_pin_as_on_three_kernels() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/measured/folio-states.json");
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let (mut compared, mut red) = (0, Vec::new());
    for (name, states) in file["scenarios"].as_object().unwrap() {
        if name.starts_with("ramfs-") {
            // What was measured by that name is no ramfs: its pages lie in Movable and are evictable.
            continue;
        }
        let program = Scenario::parse(name, show_litmus(name).unwrap()).unwrap().program;
        let ops: Vec<Op> = program.steps.into_iter().map(|stmt| stmt.op).collect();
        let last = ops.iter().rposition(Op::is_pin).unwrap();
        let pools = ops.iter().map(|op| if let Op::Hugepool(pages) = op { *pages } else { 0 });
        let movable = SESSION_LAYOUT.movable + (pools.max().unwrap() << MAX_ORDER);
        for (wanted, kernels) in states.as_object().unwrap() {
            for kernel in kernels.as_str().unwrap().split(' ') {
                let kernel = format!("linux-{kernel}");
                let rules = load_kernel(Source::Preset(&kernel), &[]).unwrap();
                let policy = load_policy(Source::Preset(&rules.policy), &[]).unwrap();
                let mut session = Session::new(rules, policy, &Layout { movable, ..SESSION_LAYOUT }, 4);
                let mut names: HashMap<Name, MappingId> = HashMap::new();
                let (mut cpu, mut found) = (CpuId(0), Vec::new());
                for (nth, op) in ops.iter().enumerate() {
                    let pinned = op.as_pin().map(|(pages, ..)| names[&pages.name]);
                    if nth == last {
                        found.push(state(&session, pinned.unwrap()));
                    }
                    match op {
                        Op::Cpu(next) => cpu = *next,
                        op => match session.play(cpu, op) {
                            Err(OpError::Refused { .. }) if op.is_advice() => {}
                            done => drop(done.unwrap()),
                        },
                    }
                    if let Op::Map(fresh) = op {
                        let newest = session.machine().mappings().map(|mapping| mapping.id).max().unwrap();
                        names.insert(fresh.name.clone(), newest);
                    }
                    if nth == last {
                        found.push(state(&session, pinned.unwrap()));
                    }
                }
                for (found, wanted) in found.iter().zip(wanted.split(" -> ")) {
                    compared += 1;
                    let [found, wanted] = [found, wanted].map(apart_from_batches);
                    if found != wanted {
                        red.push(format!("{kernel} {name}: {found} ≠ {wanted}"));
                    }
                }
            }
        }
    }
    assert!(red.is_empty(), "{} of {compared} states differ:\n{}", red.len(), red.join("\n"));
    assert_eq!(compared, 2 * (422 - 2 * 3));
}
