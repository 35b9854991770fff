//! Several kinds of callers in one run, and those who want memory back: what each comes to, on the
//! simulator.
#![cfg(not(loom))]

use gupstress_run::judge::Attempts;
use gupstress_run::observe::Event;
use gupstress_run::ops::{Caller, Errno};
use gupstress_run::policy::{Source, load_kernel, load_policy};
use gupstress_run::stress::run::run;
use gupstress_run::stress::{Job, Profile, RunResult, Which, load_profile};
use std::time::Duration;

fn profile(name: &str, sets: &[(&str, &str)]) -> Profile {
    let sets: Vec<_> = sets.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    load_profile(Source::Preset(name), &sets).unwrap()
}

fn simulate(kernel: &str, policy: &str, name: &str, sets: &[(&str, &str)]) -> RunResult {
    let profile = profile(name, sets);
    let job = Job {
        policy: load_policy(Source::Preset(policy), &[]).unwrap(),
        rules: load_kernel(Source::Preset(kernel), &[]).unwrap(),
        pins: u64::from(profile.pins),
        profile,
        driver: Which::Sim,
        timeout: Duration::from_secs(20),
        wall_timeout: Duration::from_mins(5),
        stall_after: Duration::from_millis(50),
        seed: 7,
        trace: None,
        abort_on: Vec::new(),
    };
    let result = run(&job, &mut ()).unwrap();
    assert_eq!(result.invariants.broken, 0, "{name}: {:?}", result.invariants.findings);
    result
}

fn enomem(result: &RunResult) -> f64 {
    result.errors.get(&Errno::ENOMEM).copied().unwrap_or(0) as f64 / result.calls.issued as f64
}

fn attempts(result: &RunResult, kind: &str) -> Attempts {
    let all = result.victims.as_ref().expect("somebody wants memory back").kinds[kind];
    let ends = [all.emptied, all.failed_justified, all.failed_spurious, all.stuck, all.interrupted];
    assert_eq!(all.attempts, ends.iter().sum::<u64>());
    all
}

// ------------------------------------------------------------ callers

#[test]
fn disjoint_pages_contend_in_one_huge_page_and_never_as_small_ones() {
    // As it was measured: more threads than CPUs.
    let failed = |order: &str| {
        let sets = [("threads", "8"), ("ranges.order", order)];
        let calls = simulate("linux-7.2.13", "linux-7.2", "thp", &sets).calls;
        assert_eq!((calls.issued, calls.pinned + calls.failed_spurious), (800, 800));
        calls.failed_spurious
    };
    let (huge, small) = (failed("9"), failed("0"));
    println!("of 800 calls {huge} fail in one huge page, {small} in small ones");
    assert!(huge > 0 && small == 0, "{huge} and {small}");
}

#[test]
fn udmabufs_burn_each_others_migrations_where_io_uring_waits() {
    for threads in ["2", "4", "8"] {
        let share = |caller: &str| {
            let sets = [("callers.udmabuf", "0"), (caller, "1"), ("threads", threads), ("calls", "400")];
            enomem(&simulate("linux-7.2.13", "linux-7.2", "udmabuf-race", &sets))
        };
        let (udmabuf, io_uring) = (share("callers.udmabuf"), share("callers.io_uring"));
        println!("{threads} threads: udmabuf {udmabuf:.3}, io_uring {io_uring:.3}");
        assert!(udmabuf > 2.0 * io_uring && udmabuf > 0.2, "{threads}: {udmabuf} and {io_uring}");
    }
}

/// Failed calls by class and by what they are put down to.
fn over(result: &RunResult, cause: &str) -> [u64; 4] {
    let causes = serde_json::to_value(result.causes).unwrap();
    let failed = [result.calls.failed_justified, result.calls.failed_spurious];
    [result.calls.pinned, failed[0], failed[1], causes[cause].as_u64().unwrap()]
}

#[test]
fn calls_beyond_a_limit_are_justified_and_put_down_to_it() {
    for (caller, limit, most, cause, errno) in [
        ("callers.io_uring", "pinner.memlock", ["4", "3"], "memlock", Errno::ENOMEM),
        ("callers.vfio", "pinner.dma_entries", ["1", "0"], "dma_entries", Errno::ENOSPC),
    ] {
        let run = |most: &str| {
            let sets = [(caller, "1"), (limit, most), ("threads", "1"), ("calls", "50")];
            simulate("linux-7.2.13", "linux-7.2", "same-range", &sets)
        };
        let [within, beyond] = most.map(run);
        assert_eq!(over(&within, cause), [50, 0, 0, 0], "{limit}");
        assert_eq!(over(&beyond, cause), [0, 50, 0, 50], "{limit}");
        assert_eq!(beyond.errors.get(&errno), Some(&50), "{limit}");
    }
}

#[test]
fn who_could_not_keep_its_pages_anyway_has_failed_with_reason() {
    let sets = [("pinner.memlock", "3"), ("threads", "4"), ("calls", "200")];
    let result = simulate("linux-7.2.13", "linux-7.2", "same-range", &sets);
    let [pinned, justified, spurious, memlock] = over(&result, "memlock");
    assert_eq!((pinned, spurious, memlock), (0, 0, justified));
    assert!(result.errors.values().sum::<u64>() == justified && justified > 100, "{:?}", result.errors);
    // Some had given up before anybody counted.
    assert!(result.counters.get(Event::MigrateFailed) > 0);
}

#[test]
fn who_pins_a_part_of_a_huge_page_and_may_not_keep_all_of_it_has_failed_with_reason() {
    // 64 pages of one of 512 by each thread.
    let result = simulate("linux-7.2.13", "linux-7.2", "thp", &[("pinner.memlock", "100")]);
    let [pinned, justified, spurious, memlock] = over(&result, "memlock");
    assert_eq!((pinned, spurious, memlock), (0, 0, justified));
    assert!(justified == 800 && result.counters.get(Event::MigrateFailed) > 0, "{justified}");
}

#[test]
fn calls_one_after_the_other_do_not_fail() {
    let beside = simulate("linux-7.2.13", "linux-7.2", "udmabuf-race", &[("calls", "400")]);
    assert!(enomem(&beside) > 0.0);
    let sets = [("calls", "400"), ("pinner.serialised", "true")];
    let after = simulate("linux-7.2.13", "linux-7.2", "udmabuf-race", &sets);
    assert_eq!((after.calls.issued, after.calls.pinned), (400, 400));
}

#[test]
fn threads_are_callers_by_their_shares() {
    let sets = [("callers.io_uring", "0"), ("callers.umem", "2"), ("callers.vfio-ro", "1")];
    let callers = profile("udmabuf-race", &[&sets[..], &[("callers.udmabuf", "0")]].concat()).callers;
    let kinds: Vec<_> = (0..4).map(|number| callers.of(number, true)).collect();
    // In the order of the table of callers.
    assert_eq!(
        kinds,
        [(Caller::Vfio, false), (Caller::Umem, true), (Caller::Umem, true), (Caller::Vfio, false)]
    );
    let nobody = profile("steady", &[]).callers;
    assert_eq!(
        [nobody.of(3, true), nobody.of(3, false)],
        [(Caller::IoUring, true), (Caller::IoUring, false)]
    );
}

#[test]
fn a_device_that_reads_sees_what_is_written_later_and_children_come_and_go() {
    for name in ["read-only", "fork-pin"] {
        let result = simulate("linux-7.2.13", "linux-7.2", name, &[("calls", "600")]);
        assert!(result.counters.get(Event::DmaChecked) > 100, "{name}");
        assert!(result.calls.pinned > 0 && result.calls.pinned_unsafe == 0, "{name}");
    }
    // Nobody promised it before: no device is told to look.
    let result = simulate("linux-6.1.192", "linux-6.17", "read-only", &[("calls", "200")]);
    assert_eq!(result.counters.get(Event::DmaChecked), 0);
}

// ------------------------------------------------------------ victims

#[test]
fn a_victim_names_the_pin_that_must_not_be_there() {
    for (name, kind) in [("contig", "contig"), ("offline-victim", "offliner"), ("cma-victim", "contig")] {
        let result = simulate("linux-7.2.13", "linux-7.2", name, &[]);
        let all = attempts(&result, kind);
        assert!(all.held_up_by_pin == 0 && all.emptied > 0, "{name}: {all:?}");
        if name == "cma-victim" {
            // There the few pins that stay are rarely in a block that is wanted.
            continue;
        }
        let result = simulate("linux-7.2.13", "ignore", name, &[]);
        let all = attempts(&result, kind);
        assert!(all.held_up_by_pin > 0, "{name}: {all:?}");
        let victims = result.victims.as_ref().unwrap();
        let named = victims.findings.iter().filter_map(|found| found.pinner).collect::<Vec<_>>();
        assert!(!named.is_empty() && named.iter().all(|&pinner| pinner < 4), "{name}: {named:?}");
        if kind == "contig" {
            assert!(all.failed_justified > 0, "{name}: {all:?}");
        } else {
            assert_eq!(all.failed_justified + all.failed_spurious, 0, "it does not give up: {all:?}");
        }
    }
}

#[test]
fn offlining_over_a_pin_that_stays_never_ends() {
    let sets = [
        ("ranges.pages", "64"),
        ("offliner.threads", "1"),
        ("memory.movable", "320"),
        ("calls", "200"),
        ("pinner.pages_max", "4"),
        ("pinner.hold", "1ms"),
    ];
    let result = simulate("linux-7.2.13", "linux-7.2", "prepinned", &sets);
    let all = attempts(&result, "offliner");
    assert_eq!((all.stuck, all.held_up_by_pin), (1, 0), "{all:?}");
    let found = result.victims.unwrap().findings;
    assert!(found.iter().any(|found| found.obstacle.is_some() && found.rounds > 5), "{found:?}");
}

#[test]
fn what_nobody_could_do_is_said_before_it_is_tried() {
    let on = |kernel: &str| load_kernel(Source::Preset(kernel), &[]).unwrap();
    let said = |name: &str, sets: &[(&str, &str)], kernel: &str| {
        profile(name, sets).check_on(&on(kernel)).unwrap_err()
    };
    let reason = said("udmabuf-race", &[], "linux-6.6");
    assert!(reason.contains("callers.udmabuf") && reason.contains("nearest: linux-6.12.43"), "{reason}");
    let reason = said("udmabuf-race", &[("ranges.shmem", "0.5")], "linux-7.2.13");
    assert!(reason.contains("ranges.shmem: 0.5") && reason.contains("nearest: 1"), "{reason}");
    let reason = said("offline-victim", &[("memory.movable", "100")], "linux-7.2.13");
    assert!(reason.contains("offliner.threads") && reason.contains("memory.movable = 128"), "{reason}");
    let reason = said("cma-victim", &[("memory.cma", "64")], "linux-7.2.13");
    assert!(reason.contains("contig.threads") && reason.contains("memory.cma = 128"), "{reason}");
    profile("cma-victim", &[]).check_on(&on("linux-7.2.13")).unwrap();
}

#[test]
fn user_pages_come_to_cma_only_where_it_is_most_of_what_is_free() {
    let sets = [
        ("threads", "1"),
        ("cpus", "2"),
        ("calls", "1"),
        ("memory.movable", "1"),
        ("memory.cma", "4096"),
        ("ranges.count", "1"),
        ("ranges.pages", "1000"),
        ("pinner.pages_max", "1000"),
        ("pinner.pages_min", "1000"),
        ("pinner.zap", "0"),
        ("ranges.pinnable", "false"),
    ];
    let migrated = |normal: &str, first: &str| {
        let sets = [&sets[..], &[("memory.normal", normal), ("cma_first", first)]].concat();
        simulate("linux-7.2.13", "linux-7.2", "steady", &sets).counters.get(Event::Migrated)
    };
    // As in a zone of which a third is CMA; the one frame of Movable is used first.
    assert_eq!(migrated("8192", "false"), 1);
    assert_eq!(migrated("8192", "true"), 1000);
    // Twice as much CMA as the rest: it is taken until half of what is free is left.
    let some = migrated("3500", "false");
    assert!((500..1000).contains(&some), "{some}");
}
