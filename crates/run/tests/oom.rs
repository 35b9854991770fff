//! No memory: whom the OOM killer chooses, what his death gives back, and how a run ends that
//! has nobody left.
#![cfg(not(loom))]

use gupstress_run::judge::{Class, Status, Verdict};
use gupstress_run::litmus::Session;
use gupstress_run::machine::{
    CpuId, Kind, Layout, MappingId, OOM_SCORE_ADJ_MIN, PROGRAM, ProcessId, ZoneKind, pages,
};
use gupstress_run::observe::Event;
use gupstress_run::policy::{Source, load_kernel, load_policy, policy_names};
use gupstress_run::script::OpError;
use gupstress_run::stress::run::run;
use gupstress_run::stress::{Job, RunResult, Which, load_profile};
use std::time::Duration;

fn run_on(driver: Which, policy: &str, sets: &[(&str, &str)]) -> RunResult {
    let sets: Vec<_> = sets.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let profile = load_profile(Source::Preset("oom"), &sets).unwrap();
    let rules = load_kernel(Source::Preset("linux-7.2.13"), &[]).unwrap();
    profile.check_on(&rules).unwrap();
    let job = Job {
        policy: load_policy(Source::Preset(policy), &[]).unwrap(),
        rules,
        pins: u64::from(profile.pins),
        profile,
        driver,
        timeout: Duration::from_secs(20),
        wall_timeout: Duration::from_mins(5),
        stall_after: Duration::from_millis(50),
        seed: 7,
        trace: None,
        abort_on: Vec::new(),
    };
    let result = run(&job, &mut ()).unwrap();
    assert_eq!(result.invariants.broken, 0, "{policy}: {:?}", result.invariants.findings);
    result
}

fn simulate(policy: &str, sets: &[(&str, &str)]) -> RunResult {
    run_on(Which::Sim, policy, sets)
}

/// Who was killed, in order.
fn killed(result: &RunResult) -> Vec<&str> {
    result.oom.iter().flat_map(|oom| &oom.findings).map(|victim| &*victim.process).collect()
}

#[test]
fn bystanders_whose_memory_is_of_no_use_die_first_and_the_pinners_last() {
    for driver in [Which::Sim, Which::Os] {
        let result = run_on(driver, "linux-7.2", &[]);
        let what = format!("{driver:?}: {:?} {:?}", result.calls, result.oom);
        // Of equals the latest.
        assert_eq!(killed(&result), ["bystander 2", "bystander 1", "bystander 0", "pinners"], "{what}");
        let oom = result.oom.as_ref().unwrap();
        assert_eq!((oom.kills, oom.needless, oom.panicked), (4, 4, false), "{what}");
        assert!(oom.findings.iter().all(|victim| victim.free_movable > 3000), "{what}");
        let [bystander, .., pinners] = &oom.findings[..] else { panic!("{what}") };
        // Its pages and the table over them; four mappings of four pages.
        assert_eq!((bystander.pages, bystander.points), (48, 49), "{what}");
        assert_eq!((pinners.pages, pinners.points), (16, 20), "{what}");
        assert_eq!(result.counters.get(Event::OomKills), 4, "{what}");
        // Each in a call, or before its first.
        let calls = &result.calls;
        assert!((1..=4).contains(&calls.oom_killed) && calls.issued == calls.oom_killed, "{what}");
        assert!(result.errors.is_empty(), "{what}");
        assert_eq!((result.status, result.verdict), (Status::Killed, Verdict::OomKilled), "{what}");
    }
}

#[test]
fn a_victim_gives_back_what_the_allocation_can_use_if_it_had_some() {
    // Four calls of four pages, and sixteen outside from each victim.
    let result = simulate("linux-7.2", &[("bystanders.outside", "16")]);
    assert_eq!(killed(&result), ["bystander 2"]);
    let oom = result.oom.as_ref().unwrap();
    assert_eq!((oom.needless, oom.findings[0].useful), (0, 16));
    assert_eq!(result.calls.issued, result.calls.pinned);
    assert_eq!((result.status, result.verdict), (Status::Complete, Verdict::OomKilled));
    // Five from each: one call, and then one of four pages with one left over.
    let result = simulate("linux-7.2", &[("bystanders.outside", "5"), ("threads", "1")]);
    assert_eq!((killed(&result).len(), result.calls.pinned), (1, 4), "what is unpinned is not moved again");
}

#[test]
fn the_score_chooses_and_the_least_one_protects() {
    let first = |sets: &[(&str, &str)]| killed(&simulate("linux-7.2", sets))[0].to_owned();
    assert_eq!(first(&[("bystanders.pages", "17")]), "pinners", "with a table each they are 20 to 18");
    assert_eq!(first(&[("bystanders.pages", "15")]), "pinners", "16 pages of 4 mappings are more");
    assert_eq!(
        first(&[("bystanders.pages", "20")]),
        "bystander 2",
        "20 and a table are more than 16 and four"
    );
    assert_eq!(first(&[("bystanders.pages", "19")]), "bystander 2", "of equals the latest");
    assert_eq!(first(&[("pinner.oom_score_adj", "8")]), "pinners", "33 pages of 4161 are added");
    assert_eq!(first(&[("pinner.oom_score_adj", "6")]), "bystander 2", "24 are not enough");
    let spared = [("bystanders.oom_score_adj", "-1000")];
    assert_eq!(killed(&simulate("linux-7.2", &spared)), ["pinners"]);
}

#[test]
fn with_nobody_left_to_kill_the_kernel_panics_and_the_run_ends() {
    for driver in [Which::Sim, Which::Os] {
        let result = run_on(driver, "unbounded", &[("pinner.oom_score_adj", "-1000")]);
        let oom = result.oom.as_ref().unwrap();
        assert_eq!((oom.kills, oom.panicked), (3, true), "{driver:?}");
        assert_eq!((result.status, result.verdict), (Status::Panicked, Verdict::Panicked), "{driver:?}");
        assert_eq!(result.calls.issued, 0, "{driver:?}: {:?}", result.calls);
        assert!(driver == Which::Os || result.elapsed_s < 1.0, "{} s", result.elapsed_s);
    }
}

#[test]
fn a_forked_child_is_chosen_as_others_are_and_its_copies_are_had_again() {
    let rules = load_kernel(Source::Preset("linux-7.2.13"), &[]).unwrap();
    let policy = load_policy(Source::Preset(&rules.policy), &[]).unwrap();
    let layout = Layout { normal: 32, movable: 32, cma: 0, page_bytes: 64 };
    let mut s = Session::new(rules, policy, &layout, 1);
    let a = s.map(Kind::Anon, 20).unwrap();
    s.touch(CpuId(0), a, pages(0..20)).unwrap();
    // Two children with copies, of which one has ended, and one with nothing that is its own.
    s.sharew(CpuId(0), a, pages(0..20)).unwrap();
    s.children_exit(CpuId(0)).unwrap();
    s.sharew(CpuId(0), a, pages(0..20)).unwrap();
    s.share(CpuId(0), a, pages(0..19)).unwrap();
    // Nine tenths of all pages are taken off what the parent has.
    s.machine().processes.set_oom_score_adj(-900);
    let kills = |s: &Session| s.machine().processes.kills();
    s.fill(CpuId(0), 30).unwrap();
    let seen: Vec<_> = kills(&s).iter().map(|kill| (kill.points, kill.pages, kill.useful)).collect();
    assert_eq!(seen, [(21, 20, 20)], "its pages and the table over them");
    // What is left shares all it has with the parent, and dies in vain; then it is the parent's turn.
    let error = s.fill(CpuId(0), 30).unwrap_err();
    assert!(matches!(error, OpError::Killed(_)), "{error}");
    let seen: Vec<_> =
        kills(&s)[1..].iter().map(|kill| (kill.process == PROGRAM, kill.is_needless())).collect();
    assert_eq!(seen, [(false, true), (true, false)]);
    let recount = s.recount();
    assert!(recount.complete && recount.broken.is_empty(), "{:#?}", recount.broken);
}

/// A session with so many pages, written, and all others but `free` in the hands of who is never chosen.
fn nearly_full(kernel: &str, a: u32, free: u32) -> (Session, MappingId) {
    let rules = load_kernel(Source::Preset(kernel), &[]).unwrap();
    let policy = load_policy(Source::Preset(&rules.policy), &[]).unwrap();
    let layout = Layout { normal: 32, movable: 64, cma: 0, page_bytes: 64 };
    let mut s = Session::new(rules, policy, &layout, 2);
    let mapping = s.map(Kind::Anon, a).unwrap();
    s.touch(CPU, mapping, pages(0..a)).unwrap();
    let all = |s: &Session| {
        let memory = &s.machine().memory;
        (memory.free_in(ZoneKind::Normal) + memory.free_in(ZoneKind::Movable)) as u32
    };
    let taken = all(&s) - free;
    let others = s.map(Kind::Anon, taken).unwrap();
    s.touch(CPU, others, pages(0..taken)).unwrap();
    s.drain_all().unwrap();
    s.machine().processes.add(OOM_SCORE_ADJ_MIN, vec![others]);
    (s, mapping)
}

const CPU: CpuId = CpuId(0);

fn sound(s: &Session) {
    let recount = s.recount();
    assert!(recount.complete && recount.broken.is_empty(), "{:#?}", recount.broken);
}

/// The children of a mapping, by number, whether they have ended or not.
fn children(s: &Session, a: MappingId) -> Vec<ProcessId> {
    let mut all = Vec::new();
    s.machine().mapping(a).for_each_child(|area| all.extend(area.child()));
    all
}

#[test]
fn a_child_that_writes_may_be_chosen_from_its_fork_on_and_then_writes_no_more() {
    let (mut s, a) = nearly_full("linux-7.2.13", 20, 10);
    // It has as many pages as its parent, and came later.
    s.sharew(CPU, a, pages(0..20)).unwrap();
    let kills = s.machine().processes.kills();
    let seen: Vec<_> = kills.iter().map(|kill| (kill.process, kill.points, kill.useful)).collect();
    assert_eq!(seen, [(children(&s, a)[0], 21, 10)], "ten copies are its own");
    assert!(!s.machine().processes.is_killed() && s.machine().processes.has_signal(kills[0].process));
    sound(&s);
    s.drain_all().unwrap();
    s.fill(CPU, 10).unwrap();
    assert_eq!(s.machine().processes.kills().len(), 1, "its copies are free again");
}

#[test]
fn a_child_has_its_parents_score_and_of_equals_the_last_that_was_forked_is_chosen() {
    let (mut s, a) = nearly_full("linux-7.2.13", 8, 40);
    let score = |s: &Session, score| s.machine().processes.set_oom_score_adj(score);
    score(&s, 200);
    s.sharew(CPU, a, pages(0..8)).unwrap();
    score(&s, 0);
    s.sharew(CPU, a, pages(0..8)).unwrap();
    score(&s, OOM_SCORE_ADJ_MIN);
    // The parent has more pages than both; the first child counts as having a fifth of all beside its own.
    s.fill(CPU, 25).unwrap();
    let killed = |s: &Session| -> Vec<_> {
        s.machine().processes.kills().iter().map(|kill| (kill.process, kill.points)).collect()
    };
    let [first, second] = children(&s, a)[..] else { panic!("{:?}", children(&s, a)) };
    assert_eq!(killed(&s), [(first, 9 + 200 * 97 / 1000)]);
    // Who has its number came after the second.
    score(&s, 0);
    s.share(CPU, a, pages(0..8)).unwrap();
    assert_eq!(children(&s, a)[2], first);
    score(&s, OOM_SCORE_ADJ_MIN);
    s.fill(CPU, 8).unwrap();
    assert_eq!(killed(&s)[1..], [(first, 9), (second, 9)]);
    sound(&s);
}

#[test]
fn a_child_exits_where_it_was_forked() {
    for (kernel, drains) in [("linux-6.12.117", true), ("linux-7.2.13", false)] {
        let (mut s, a) = nearly_full(kernel, 20, 40);
        s.sharew(CpuId(1), a, pages(0..20)).unwrap();
        s.drain_all().unwrap();
        s.machine().processes.set_oom_score_adj(OOM_SCORE_ADJ_MIN);
        // What its parent leaves in the batches of both.
        s.fill(CpuId(1), 3).unwrap();
        let there = |s: &Session| s.machine().cpu(CpuId(1)).lock().entries().count();
        s.fill(CPU, 18).unwrap();
        assert_eq!(s.machine().processes.kills().len(), 1, "{kernel}");
        let here = s.machine().cpu(CPU).lock().entries().count();
        assert_eq!((there(&s), here), (if drains { 0 } else { 3 }, 18), "{kernel}");
        // The same where nobody kills it.
        s.share(CpuId(1), a, pages(0..1)).unwrap();
        s.fill(CpuId(1), 2).unwrap();
        let before = there(&s);
        s.children_exit(CPU).unwrap();
        assert_eq!(there(&s), if drains { 0 } else { before }, "{kernel}");
        assert_eq!(s.machine().cpu(CPU).lock().entries().count(), here, "{kernel}");
        sound(&s);
    }
}

#[test]
fn rounds_end_with_who_is_killed() {
    let sets = [("pinner.rounds", "true"), ("ranges.private", "false")];
    let result = simulate("linux-7.2", &sets);
    assert_eq!((result.status, result.calls.issued), (Status::Killed, result.calls.oom_killed));
    assert!(result.elapsed_s < 1.0, "nobody waits for who will not come: {} s", result.elapsed_s);
}

#[test]
fn who_asks_for_a_target_that_may_fail_kills_nobody_and_is_told() {
    for policy in policy_names().into_iter().filter(|name| !name.starts_with("busted-")) {
        let result = simulate(policy, &[]);
        let wanted = match policy {
            "ignore" => Verdict::Unsafe,
            "classify" | "cooperative" | "look" | "look-ticket" => Verdict::Justified,
            _ => Verdict::OomKilled,
        };
        assert_eq!(result.verdict, wanted, "{policy}: {:?}", result.calls);
        if wanted == Verdict::Justified {
            assert_eq!(result.calls.failed_justified, result.calls.issued, "{policy}");
            assert!(result.oom.is_none(), "{policy}");
        }
    }
}

#[test]
fn a_huge_page_has_nobody_killed_until_its_pages_need_targets_and_hugetlb_never() {
    let thp = [("ranges.order", "9"), ("ranges.pages", "512"), ("memory.normal", "1024")];
    let result = simulate("linux-7.2", &thp);
    assert_eq!(result.verdict, Verdict::OomKilled);
    assert!(result.counters.get(Event::ThpMigrationSplit) > 0, "{:?}", result.counters);
    let hugetlb = [&thp[..], &[("ranges.hugetlb", "true")]].concat();
    let result = simulate("linux-7.2", &hugetlb);
    assert_eq!((result.verdict, result.calls.failed_justified), (Verdict::Justified, result.calls.issued));
    assert!(result.oom.is_none());
}

#[test]
fn a_script_is_killed_where_it_has_no_memory() {
    let layout = Layout { normal: 8, movable: 64, cma: 0, page_bytes: 64 };
    let rules = load_kernel(Source::Preset("linux-7.2.13"), &[]).unwrap();
    let policy = load_policy(Source::Preset("linux-7.2"), &[]).unwrap();
    let session = || Session::new(rules.clone(), policy.clone(), &layout, 2);
    let mut pins = session();
    let a = pins.map(Kind::Anon, 9).unwrap();
    pins.touch(CpuId(0), a, pages(0..9)).unwrap();
    let pin = pins.pin(CpuId(0), a, pages(0..9), true).unwrap();
    assert_eq!((pin.class, pin.error, pin.pin), (Class::OomKilled, None, None));
    assert_eq!(pin.counters.get(Event::OomKills), 1);
    assert!(pins.recount().broken.is_empty());
    let after = pins.touch(CpuId(0), a, pages(0..1)).unwrap_err();
    assert!(matches!(&after, OpError::Misuse(said) if said.contains("OOM killer")), "{after:?}");

    let mut touches = session();
    let b = touches.map(Kind::Anon, 73).unwrap();
    let killed = touches.touch(CpuId(0), b, pages(0..73)).unwrap_err();
    assert_eq!(killed, OpError::Killed("touch"));
}
