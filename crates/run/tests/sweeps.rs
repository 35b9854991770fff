//! What a policy's loop does about what one sweep sees: the rules that any order of answers keeps,
//! one by one.
#![cfg(not(loom))]

use gupstress_run::ops::Errno;
use gupstress_run::policy::decide::{Cpus, Do, Loop, Over, PageSeen, Seen, Until, Walk};
use gupstress_run::policy::{Source, load_policy};

/// A page that no drain can help and that nothing keeps from being isolated.
const PAGE: PageSeen =
    PageSeen { on_lru: true, extra: 0, beyond_pins: 0, own: 1024, large: false, permanent: None };
/// One more reference, which a batch may hold.
const EXTRA: PageSeen = PageSeen { extra: 1, beyond_pins: 1, ..PAGE };
const SWEEPS: usize = 4;
/// Whose isolations may fail for ever.
const PATIENT: (&str, &str) = ("isolate_retries", "unlimited");

/// What a policy says to do in a few sweeps, where each has one page to move and all goes well but
/// what is answered otherwise.
fn told(sets: &[(&str, &str)], page: PageSeen, otherwise: impl Fn(&[Do]) -> Option<Seen>) -> Vec<Do> {
    let sets: Vec<_> = sets.iter().map(|(key, word)| ((*key).to_owned(), (*word).to_owned())).collect();
    let policy = load_policy(Source::Preset("none"), &sets).unwrap();
    let mut call = Loop::new(&policy);
    let mut told = vec![call.begin()];
    loop {
        let what = *told.last().unwrap();
        let sweeps = told.iter().filter(|&&what| what == Do::Sweep).count();
        if matches!(what, Do::Accept | Do::Fail(_)) || sweeps > SWEEPS {
            return told;
        }
        let seen = otherwise(&told).unwrap_or(match what {
            Do::Pin(_) => Seen::Pinned { must_move: true },
            Do::Collect(_) | Do::Look => Seen::Page(page),
            Do::Next => Seen::NoMore,
            Do::Isolate => Seen::Isolated(true),
            Do::Migrate => Seen::Migrated,
            Do::Clock => Seen::Now(0),
            Do::Wait(..) => Seen::Waited { over: true },
            _ => Seen::Done,
        });
        told.push(call.next(seen));
        assert!(told.len() < 500, "it goes round and round: {:?}", &told[480..]);
    }
}

/// Whom it drains, by sweep.
fn drained(told: &[Do]) -> Vec<Vec<Cpus>> {
    let sweeps = told.split(|&what| what == Do::Sweep).skip(1);
    let drains = |sweep: &[Do]| {
        let each =
            sweep.iter().filter_map(|what| if let Do::Drain(cpus) = what { Some(*cpus) } else { None });
        each.collect()
    };
    sweeps.map(drains).collect()
}

#[test]
fn a_page_is_drained_for_as_the_rule_has_it_and_once_a_sweep() {
    const NONE: &[Cpus] = &[];
    const ALL: &[Cpus] = &[Cpus::All];
    const BOTH: &[Cpus] = &[Cpus::Local, Cpus::All];
    let off_lru = PageSeen { on_lru: false, ..PAGE };
    let pinned_by_others = PageSeen { extra: 1024, ..PAGE };
    let not_held = PageSeen { own: 0, ..PAGE };
    let held_once = PageSeen { own: 1, ..PAGE };
    for (rule, page, expected) in [
        ("never", EXTRA, NONE),
        ("all", PAGE, ALL),
        ("all-if-off-lru", EXTRA, NONE),
        ("all-if-off-lru", off_lru, ALL),
        ("extra-refs-naive", PAGE, BOTH),
        ("extra-refs-naive", not_held, NONE),
        ("extra-refs-naive", held_once, NONE),
        ("extra-refs-naive", PageSeen { extra: 1, ..not_held }, BOTH),
        ("extra-refs-naive", PageSeen { extra: 1, own: 2, ..PAGE }, BOTH),
        ("extra-refs", PAGE, NONE),
        ("extra-refs", pinned_by_others, BOTH),
        ("where-batched", pinned_by_others, NONE),
        ("where-batched", off_lru, NONE),
        ("where-batched", EXTRA, BOTH),
        // Off the LRU that may be an isolation, which no drain of others ends.
        ("where-batched", PageSeen { on_lru: false, ..EXTRA }, &[Cpus::Local]),
        ("all", PageSeen { large: true, ..EXTRA }, NONE),
    ] {
        let told = told(&[("drain", rule)], page, |_| None);
        assert_eq!(drained(&told)[0], expected, "{rule}: {page:?}");
        assert_eq!(drained(&told)[1], expected, "{rule}, and anew in the next sweep: {page:?}");
    }
}

#[test]
fn all_cpus_are_drained_for_a_page_off_the_lru_after_it_was_waited_for_in_vain() {
    let off_lru = PageSeen { on_lru: false, ..EXTRA };
    let sets = [PATIENT, ("drain", "where-batched"), ("other_pinner", "wait")];
    for (returned, second) in [(false, &[Cpus::Local, Cpus::All][..]), (true, &[Cpus::Local])] {
        let told = told(&sets, off_lru, |told| match told.last()? {
            Do::Isolate => Some(Seen::Isolated(false)),
            Do::Wait(Until::Returned, _) => Some(Seen::Waited { over: returned }),
            _ => None,
        });
        assert_eq!(drained(&told)[..2], [&[Cpus::Local], second], "{told:?}");
    }
}

/// Isolated pages that could not be migrated are tried again when nobody pins them, not before, and
/// what they still have then is in a batch.
#[test]
fn isolated_pages_are_drained_for_once_no_pin_keeps_them() {
    let off_lru = PageSeen { on_lru: false, ..EXTRA };
    let sets = [("drain", "where-batched"), ("other_pinner", "wait"), ("migrate_retries", "1")];
    let waits = |told: &[Do]| told.iter().filter(|what| matches!(what, Do::Wait(Until::Unpinned, _))).count();
    let told = told(&sets, off_lru, |told| match told.last()? {
        Do::Migrate => Some(Seen::MigrateFailed { error: None, left: true }),
        Do::Wait(..) => Some(Seen::Waited { over: waits(told) == 2 }),
        _ => None,
    });
    let at = told.iter().position(|&what| what == Do::Collect(Over::Isolated)).expect("a second look");
    assert_eq!(waits(&told[..at]), 2, "{told:?}");
    let rest = [Do::Drain(Cpus::Local), Do::Look, Do::Drain(Cpus::All), Do::Look, Do::Next, Do::Migrate];
    assert_eq!(told[at + 1..at + 7], rest);
}

#[test]
fn a_drain_of_all_cpus_is_put_off_until_nobody_meets_the_pins_where_the_policy_has_it_so() {
    for (when, drains) in [
        ("pinned", &[Do::Drain(Cpus::All), Do::Look, Do::Isolate, Do::Next, Do::Unpin, Do::Migrate][..]),
        ("unpinned", &[Do::Isolate, Do::Next, Do::Unpin, Do::Drain(Cpus::All), Do::Migrate]),
    ] {
        let told = told(&[("drain", "all"), ("drain_when", when)], PAGE, |_| None);
        let at = told.iter().position(|&what| what == Do::Collect(Over::Pinned)).unwrap();
        assert_eq!(told[at + 1..][..drains.len()], *drains, "{when}");
    }
}

/// How a loop goes from sweep to sweep: what it waits for in between, and how it ends.
fn between(told: &[Do]) -> Vec<Option<Until>> {
    let until = |sweep: &[Do]| {
        sweep.iter().find_map(|what| if let Do::Wait(until, _) = what { Some(*until) } else { None })
    };
    told.split(|&what| what == Do::Sweep).skip(1).take(SWEEPS).map(until).collect()
}

#[test]
fn a_sweep_that_came_to_nothing_is_followed_by_a_pause_and_another_by_the_next_sweep() {
    let isolates = |isolated: bool| {
        move |told: &[Do]| (told.last() == Some(&Do::Isolate)).then_some(Seen::Isolated(isolated))
    };
    assert_eq!(between(&told(&[PATIENT], PAGE, isolates(true))), [None; SWEEPS]);
    assert_eq!(between(&told(&[PATIENT], PAGE, isolates(false))), [Some(Until::Time); SWEEPS]);
    let waits = [PATIENT, ("other_pinner", "wait")];
    assert_eq!(between(&told(&waits, PAGE, isolates(false))), [Some(Until::Returned); SWEEPS]);
    // What must move when it was pinned has left the range before it was looked at.
    let gone = |told: &[Do]| matches!(told.last(), Some(Do::Collect(_))).then_some(Seen::NoMore);
    assert_eq!(between(&told(&waits, PAGE, gone)), [Some(Until::Time); SWEEPS]);
}

#[test]
fn a_sweep_that_isolates_nothing_counts_where_the_policy_counts_it() {
    let missed = |told: &[Do]| (told.last() == Some(&Do::Isolate)).then_some(Seen::Isolated(false));
    for (empty, failure, counts) in [
        ("retry", "skip", false),
        ("retry", "count", true),
        ("isolation-failure", "skip", true),
        ("isolation-failure", "count", true),
    ] {
        let sets = [("isolate_retries", "1"), ("empty", empty), ("isolation_failure", failure)];
        let told = told(&sets, PAGE, missed);
        let end = told.last().unwrap();
        assert_eq!(*end == Do::Fail(Errno::EBUSY), counts, "{empty}, {failure}: {told:?}");
        if counts {
            let sweeps = told.iter().filter(|&&what| what == Do::Sweep).count();
            assert_eq!(sweeps, 2, "one may fail: {told:?}");
        }
    }
}

/// One page is isolated and one is not.
#[test]
fn a_page_that_is_missed_counts_though_others_were_isolated_where_the_policy_counts_pages() {
    let half = |told: &[Do]| {
        let isolations = told.iter().rev().take_while(|&&what| what != Do::Sweep);
        let isolated = isolations.filter(|&&what| what == Do::Isolate).count();
        match told.last()? {
            Do::Isolate => Some(Seen::Isolated(isolated == 1)),
            Do::Next if isolated == 1 => Some(Seen::Page(PAGE)),
            _ => None,
        }
    };
    for (failure, counts) in [("skip", false), ("count", true)] {
        let sets = [("isolate_retries", "0"), ("empty", "isolation-failure"), ("isolation_failure", failure)];
        let told = told(&sets, PAGE, half);
        assert_eq!(told.last() == Some(&Do::Fail(Errno::EBUSY)), counts, "{failure}: {told:?}");
    }
}

#[test]
fn a_walk_replaces_and_stops_as_the_policy_has_it() {
    let plain = Walk { replace_zero: false, stop_at_migration: false, refuse: false };
    for (sets, expected) in [
        (&[][..], plain),
        (&[("zero_page", "must-move")], plain),
        (&[("zero_page", "write-fault")], Walk { replace_zero: true, ..plain }),
        (&[("other_pinner", "wait")], Walk { stop_at_migration: true, ..plain }),
        (&[("look", "before-pin")], Walk { refuse: true, ..plain }),
    ] {
        // Nothing has to be moved any more when it is looked at.
        let told =
            told(sets, PAGE, |told| matches!(told.last(), Some(Do::Collect(_))).then_some(Seen::NoMore));
        let walked = told.iter().find_map(|what| if let Do::Pin(walk) = what { Some(*walk) } else { None });
        assert_eq!(walked, Some(expected), "{sets:?}");
    }
}

#[test]
fn a_sweep_that_isolates_nothing_is_success_where_the_policy_has_it_so() {
    for isolated in [false, true] {
        let told = told(&[PATIENT, ("empty", "success")], PAGE, |told| {
            (told.last() == Some(&Do::Isolate)).then_some(Seen::Isolated(isolated))
        });
        assert_eq!(told.last() == Some(&Do::Accept), !isolated, "{told:?}");
        assert_eq!(told.contains(&Do::Migrate), isolated, "{told:?}");
    }
}

/// In the midst of that pin it comes to a page under migration.
#[test]
fn who_takes_the_range_as_it_is_looks_at_it_no_more() {
    let sets = [PATIENT, ("empty", "success"), ("look", "before-pin"), ("other_pinner", "wait")];
    let told = told(&sets, PAGE, |told| match told.last()? {
        Do::Isolate => Some(Seen::Isolated(false)),
        Do::Pin(_) if !told.contains(&Do::AwaitMigration) => Some(Seen::Migrating),
        _ => None,
    });
    let walk = Do::Pin(Walk { replace_zero: false, stop_at_migration: true, refuse: false });
    assert_eq!(told[told.len() - 4..], [Do::AwaitMigration, Do::Sweep, walk, Do::Accept], "{told:?}");
}

#[test]
fn a_migration_without_memory_is_final_where_the_policy_reports_it() {
    for (permanent, error, fails) in [
        ("report", Some(Errno::ENOMEM), true),
        ("report", None, false),
        ("retry", Some(Errno::ENOMEM), false),
    ] {
        let told = told(&[("permanent", permanent), ("migrate_retries", "unlimited")], PAGE, |told| {
            (told.last() == Some(&Do::Migrate)).then_some(Seen::MigrateFailed { error, left: true })
        });
        assert_eq!(told.last() == Some(&Do::Fail(Errno::ENOMEM)), fails, "{permanent}, {error:?}: {told:?}");
    }
}

/// It only sees whether all is where it may be pinned by now.
#[test]
fn the_sweep_after_the_deadline_moves_nothing() {
    for look in ["after-pin", "before-pin"] {
        for order in ["isolate-while-pinned", "unpin-first"] {
            let sets = [PATIENT, ("deadline", "1us"), ("look", look), ("order", order)];
            let told = told(&sets, PAGE, |told| {
                let sweeps = told.iter().filter(|&&what| what == Do::Sweep).count() as u64;
                (told.last() == Some(&Do::Clock)).then_some(Seen::Now(sweeps * 600))
            });
            assert_eq!(told.last(), Some(&Do::Fail(Errno::EBUSY)), "{look}, {order}: {told:?}");
            let mut sweeps =
                told.split(|&what| what == Do::Sweep).skip(1).map(|sweep| sweep.contains(&Do::Isolate));
            let (first, last) = (sweeps.next(), sweeps.last());
            assert_eq!((first, last), (Some(true), Some(false)), "{look}, {order}: {told:?}");
        }
    }
}

#[test]
fn a_page_that_can_never_be_moved_ends_the_call_where_the_policy_reports_it() {
    let poisoned = PageSeen { permanent: Some(Errno::EHWPOISON), ..PAGE };
    for (permanent, reports) in [("report", true), ("retry", false)] {
        let told = told(&[("permanent", permanent)], poisoned, |_| None);
        assert_eq!(told.last() == Some(&Do::Fail(Errno::EHWPOISON)), reports, "{permanent}: {told:?}");
        assert_eq!(told.contains(&Do::Isolate), !reports, "{permanent}: {told:?}");
    }
}
