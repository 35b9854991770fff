//! Searches find what is there, and say so when it is not.
#![cfg(not(loom))]

use gupstress_run::drive::Uniform;
use gupstress_run::explore::{
    File, Hunt, Hunted, Kind, Part, Runner, Search, Settings, Shrunk, Size, Story, What, shrink,
};
use gupstress_run::policy::{Source, load_kernel, load_policy};
use gupstress_run::stress::load_profile;
use std::time::Duration;

fn settings(profile: &str, policy: &str, kernel: &str, size: Size) -> Settings {
    let policy = load_policy(Source::Preset(policy), &[]).unwrap();
    let rules = load_kernel(Source::Preset(kernel), &[]).unwrap();
    Settings::of_profile(policy, rules, &load_profile(Source::Preset(profile), &[]).unwrap(), size)
}

const TWO: Size = Size { threads: 2, pages: 1, calls: 1 };

fn hunt(settings: Settings, search: Search, find: &[Kind]) -> Hunt {
    Hunt {
        settings,
        search,
        yield_every: 1,
        schedules: Some(20_000),
        timeout: Duration::from_hours(1),
        find: find.to_vec(),
        keep_going: false,
        seed: 1,
        workers: 2,
    }
}

fn run(hunt: &Hunt) -> Hunted {
    hunt.run(&mut |_| true).unwrap()
}

#[test]
fn the_race_that_was_reverted_is_found_by_every_strategy() {
    let race = || settings("isolation-race", "linux-6.14", "linux-6.14", TWO);
    for seed in 0..20 {
        for (search, schedules) in [(Search::Random, 2000), (Search::Pct { depth: 3 }, 500)] {
            let schedules = Some(schedules);
            let hunted = run(&Hunt { seed, schedules, ..hunt(race(), search, &[Kind::Unsafe]) });
            assert_eq!(hunted.findings.len(), 1, "{search:?}, seed {seed}");
            assert!(hunted.findings[0].outcome.found.contains(&Kind::Unsafe));
        }
    }
    let hunted = run(&hunt(race(), Search::Bounded { preemptions: 2 }, &[Kind::Unsafe]));
    assert!(hunted.findings[0].preemptions <= 2);
    assert_eq!(hunted.complete, Some(false), "it has stopped at the first");
}

#[test]
fn a_budget_of_tries_is_used_up_only_where_tasks_yield_less_often() {
    let find = [Kind::Spurious, Kind::Stuck, Kind::Broken];
    let search = Search::Bounded { preemptions: 1 };
    let budget = || settings("isolation-race", "bounded", "linux-7.2.13", TWO);
    // The other has let go long before a hundred sweeps, each of which it takes a step in.
    let fair = run(&hunt(budget(), search, &find));
    assert!(fair.findings.is_empty() && fair.complete == Some(true), "{:?}", fair.findings);
    let hunted = run(&Hunt { yield_every: 128, ..hunt(budget(), search, &find) });
    let finding = &hunted.findings[0];
    assert_eq!((finding.kind, finding.preemptions, finding.yield_every), (Kind::Spurious, 1, 128));
    let file = File::of(&budget(), finding).unwrap();
    assert_eq!(file.differs(&file.replay("f").unwrap()), None);
    // Who tries for ever is not stuck for being kept waiting a while: he gets on in the end.
    let forever = settings("thp", "unbounded", "linux-7.2.13", TWO);
    let schedules = Some(200);
    let hunted = run(&Hunt { yield_every: 128, schedules, ..hunt(forever, search, &find) });
    assert!(hunted.findings.is_empty(), "{:?}", hunted.findings);
}

/// What a search came to, but for the time that it took.
fn shown(hunted: &Hunted) -> String {
    format!("{:?}", Hunted { elapsed: Duration::ZERO, ..hunted.clone() })
}

#[test]
fn parts_put_together_in_any_order_are_the_whole() {
    let race = || settings("isolation-race", "linux-6.14", "linux-6.14", TWO);
    let all = [Kind::Unsafe, Kind::Spurious];
    let searches = [
        Hunt { schedules: Some(1000), keep_going: true, ..hunt(race(), Search::Random, &all) },
        Hunt { schedules: Some(1000), ..hunt(race(), Search::Pct { depth: 3 }, &all) },
        Hunt { schedules: None, keep_going: true, ..hunt(race(), Search::Bounded { preemptions: 1 }, &all) },
        Hunt {
            schedules: Some(150),
            keep_going: true,
            ..hunt(race(), Search::Bounded { preemptions: 1 }, &all)
        },
    ];
    for hunt in searches {
        let whole = run(&hunt);
        assert!(!whole.findings.is_empty());
        let batches = hunt.batches().unwrap();
        assert!(batches > 8, "{batches} batches");
        for size in [1, 3, batches] {
            // As they come from elsewhere, the last ones first.
            let parts: Vec<String> = (0..batches)
                .step_by(size as usize)
                .map(|first| {
                    let part = hunt.part(first..first + size, &mut |_| true).unwrap();
                    serde_json::to_string(&part).unwrap()
                })
                .collect();
            let parts = parts.iter().rev().map(|text| serde_json::from_str::<Part>(text).unwrap());
            let gathered = hunt.gather(parts, None, Duration::ZERO).unwrap();
            assert_eq!(shown(&gathered), shown(&whole), "{:?} in parts of {size}", hunt.search);
        }
    }
    // It ends with the first part that has what ends it.
    let first = Hunt { schedules: None, ..hunt(race(), Search::Random, &[Kind::Unsafe]) };
    assert!(first.part(0..100, &mut |_| true).unwrap().over);
    assert!(!Hunt { find: vec![Kind::Broken], ..first }.part(0..4, &mut |_| true).unwrap().over);
}

#[test]
fn what_replaced_it_is_safe_with_up_to_two_preemptions() {
    let search = Search::Bounded { preemptions: 2 };
    let find = [Kind::Unsafe, Kind::Stuck, Kind::Broken];
    let hunted = run(&hunt(settings("isolation-race", "linux-7.2", "linux-7.2.13", TWO), search, &find));
    assert!(hunted.findings.is_empty(), "{:?}", hunted.findings);
    assert_eq!(hunted.complete, Some(true));
    assert!(hunted.schedules > 1000, "{} schedules", hunted.schedules);
    // It still fails without need.
    let hunted =
        run(&hunt(settings("isolation-race", "linux-7.2", "linux-7.2.13", TWO), search, &[Kind::Spurious]));
    assert_eq!(hunted.findings[0].kind, Kind::Spurious);
}

#[test]
fn policies_that_wait_for_others_fail_nobody() {
    for policy in ["cooperative", "backoff"] {
        let find = [Kind::Unsafe, Kind::Stuck, Kind::Broken, Kind::Spurious];
        let settings = settings("isolation-race", policy, "linux-7.2.13", TWO);
        let whole = hunt(settings, Search::Bounded { preemptions: 1 }, &find);
        let hunted = run(&whole);
        assert!(hunted.findings.is_empty(), "{policy}: {:?}", hunted.findings);
        assert_eq!(hunted.complete, Some(true), "{policy}");
        // One schedule fewer is not all of them.
        let most = hunted.schedules - 1;
        let fewer = run(&Hunt { schedules: Some(most), ..whole });
        assert_eq!((fewer.schedules, fewer.complete), (most, Some(false)), "{policy}");
    }
}

#[test]
fn findings_are_the_same_whatever_the_number_of_workers() {
    let size = Size { threads: 3, pages: 2, calls: 1 };
    let all = [Search::Random, Search::Pct { depth: 3 }, Search::Bounded { preemptions: 1 }];
    for (search, keep_going) in all.into_iter().flat_map(|search| [(search, false), (search, true)]) {
        let found = |workers| {
            let settings = settings("isolation-race", "linux-7.2", "linux-7.2.13", size);
            let find = [Kind::Unsafe, Kind::Stuck, Kind::Broken, Kind::Spurious];
            let schedules = Some(1000);
            let hunted = run(&Hunt { workers, keep_going, schedules, ..hunt(settings, search, &find) });
            let told = |f: &gupstress_run::explore::Finding| {
                (f.kind, f.number, f.seed, f.times, f.schedule.clone(), f.outcome.clone())
            };
            (hunted.schedules, hunted.states, hunted.findings.iter().map(told).collect::<Vec<_>>())
        };
        let one = found(1);
        assert!(!one.2.is_empty(), "{search:?}");
        assert_eq!(one, found(2), "{search:?}");
        assert_eq!(one, found(3), "{search:?}");
    }
}

#[test]
fn a_machine_that_was_put_back_is_as_good_as_a_new_one() {
    for (profile, policy) in
        [("isolation-race", "linux-7.2"), ("contended", "bounded"), ("zero-page", "none"), ("oom", "none")]
    {
        let settings = settings(profile, policy, "linux-6.12.43", Size { threads: 3, pages: 4, calls: 2 });
        let mut used = Runner::new(settings.subject().unwrap());
        for seed in 0..200 {
            used.run(Uniform::new(seed), seed);
            if seed % 40 == 0 {
                let ran = used.run(Uniform::new(7), 7);
                let mut fresh = Runner::new(settings.subject().unwrap());
                let other = fresh.run(Uniform::new(7), 7);
                assert_eq!(ran.outcome(&used), other.outcome(&fresh), "{profile}, seed {seed}");
                let counted = |runner: &Runner| serde_json::json!(runner.subject.counters());
                assert_eq!(counted(&used), counted(&fresh), "{profile}, seed {seed}");
                assert_eq!(used.subject.machine().digest(), fresh.subject.machine().digest(), "{profile}");
            }
        }
    }
}

/// A file of the first finding of a kind.
fn found(profile: &str, policy: &str, size: Size, kind: Kind, search: Search) -> Option<File> {
    let settings = settings(profile, policy, "linux-7.2.13", size);
    let hunted = run(&Hunt { schedules: Some(150), ..hunt(settings.clone(), search, &[kind]) });
    hunted.findings.first().map(|finding| File::of(&settings, finding).unwrap())
}

#[test]
fn a_file_replays_to_the_same_and_an_edited_one_is_told_where_it_differs() {
    let size = Size { threads: 2, pages: 2, calls: 2 };
    let mut files = 0;
    for profile in ["isolation-race", "drain-race", "contended", "same-range", "short-refs"] {
        for policy in ["linux-7.2", "linux-6.14", "bounded", "none"] {
            for search in [Search::Random, Search::Pct { depth: 3 }, Search::Bounded { preemptions: 1 }] {
                for kind in [Kind::Unsafe, Kind::Spurious] {
                    let Some(file) = found(profile, policy, size, kind, search) else { continue };
                    files += 1;
                    let text = serde_json::to_string(&file).unwrap();
                    let read = File::read("f.json", &text).unwrap();
                    let replayed = read.replay("f.json").unwrap();
                    assert_eq!(read.differs(&replayed), None, "{profile} {policy} {search:?}");
                    let mut edited = read.clone();
                    edited.choices.0.push(0);
                    assert!(edited.differs(&edited.replay("f").unwrap()).unwrap().contains("expected"));
                    let mut edited = read.clone();
                    edited.choices.0[0] = 63;
                    let told = edited.differs(&edited.replay("f").unwrap()).unwrap();
                    assert!(told.starts_with("at step 1: expected 63, runnable 0 (pinner 0)"), "{told}");
                    let told = |edit: &dyn Fn(&mut File)| {
                        let mut edited = read.clone();
                        edit(&mut edited);
                        edited.differs(&edited.replay("f").unwrap()).unwrap()
                    };
                    let counted = read.counters.as_object().unwrap();
                    let counter = counted.keys().next_back().unwrap();
                    let more = told(&|edited| edited.counters[counter] = 987_654.into());
                    assert!(
                        more.starts_with(&format!("counters.{counter}: expected 987654, got ")),
                        "{more}"
                    );
                    let steps = told(&|edited| edited.steps += 1);
                    assert!(steps.starts_with("steps: expected "), "{steps}");
                    let kind = told(&|edited| edited.kind = Kind::Outcome);
                    assert!(kind.starts_with("kind: expected outcome"), "{kind}");
                    let outcome = told(&|edited| edited.outcome.threads.clear());
                    assert!(outcome.starts_with("outcome: expected "), "{outcome}");
                    let mut edited = read.clone();
                    edited.choices.0.truncate(1);
                    let told = edited.differs(&edited.replay("f").unwrap());
                    assert!(told.is_none_or(|told| told.starts_with("at step 2: expected the end")));
                }
            }
        }
    }
    assert!(files >= 12, "{files} files");
}

#[test]
fn a_file_of_another_version_or_shape_is_refused_in_one_line() {
    let size = Size { threads: 2, pages: 1, calls: 1 };
    let file = found("isolation-race", "linux-7.2", size, Kind::Spurious, Search::Bounded { preemptions: 1 })
        .unwrap();
    let text = serde_json::to_string(&file).unwrap();
    let other = text.replace(&file.machine, "0.0.0-0");
    for (text, says) in [
        (other.as_str(), "machine: \"0.0.0-0\""),
        ("{}", "schema"),
        ("[", "no JSON"),
        (&text.replace("\"seed\"", "\"sead\""), "sead"),
    ] {
        let error = File::read("f.json", text).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

/// The first finding of a kind, as small as it gets.
fn smallest(profile: &str, policy: &str, kernel: &str, size: Size, kind: Kind) -> (Settings, File, Shrunk) {
    let settings = settings(profile, policy, kernel, size);
    let hunt = hunt(settings.clone(), Search::Random, &[kind]);
    let finding = run(&hunt).findings.remove(0);
    let (settings, finding, shrunk) = shrink(&hunt, finding, Duration::from_hours(1)).unwrap();
    let file = File::of(&settings, &finding).unwrap();
    (settings, file, shrunk)
}

#[test]
fn a_finding_shrinks_to_two_threads_and_one_page() {
    let size = Size { threads: 4, pages: 4, calls: 2 };
    let (settings, file, shrunk) = smallest("isolation-race", "linux-6.14", "linux-6.14", size, Kind::Unsafe);
    assert!(shrunk.minimal && !shrunk.timed_out, "{shrunk:?}");
    let What::Profile { profile, calls } = &settings.load else { panic!("no profile") };
    assert_eq!((profile.threads, profile.ranges.pages, *calls), (2, 1, 1));
    assert!(file.preemptions <= 2, "{} preemptions", file.preemptions);
    assert!(file.outcome.found.contains(&Kind::Unsafe));
}

#[test]
fn a_story_fits_80_columns_and_ends_with_one_sentence() {
    for (policy, kernel, kind, says) in [
        ("linux-6.14", "linux-6.14", Kind::Unsafe, "took an empty collection for success while pinner"),
        ("linux-7.2", "linux-7.2.13", Kind::Spurious, "gave up while pinner"),
    ] {
        let (_, file, _) = smallest("isolation-race", policy, kernel, TWO, kind);
        let story = Story::of("f.json", &file).unwrap();
        // However many it was found with.
        assert!(file.preemptions <= 2, "{} preemptions", file.preemptions);
        let text = story.text();
        println!("{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(story.end.contains(says), "{}", story.end);
        assert!(story.end.ends_with('.'), "{}", story.end);
        for word in ["pinner 0", "pinner 1", "folio_isolate_lru", "isolated", "pin"] {
            assert!(text.contains(word), "no {word:?} in\n{text}");
        }
        let markdown = story.markdown();
        assert!(markdown.lines().filter(|line| line.starts_with('|')).count() > 5, "{markdown}");
        assert!(story.html().matches("<tr>").count() > 5);
        // Told, it is what it was.
        assert_eq!(file.differs(&file.replay("f.json").unwrap()), None);
    }
}
