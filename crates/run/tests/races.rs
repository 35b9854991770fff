//! Scenarios with threads: what their files say of every order of steps is so.
#![cfg(not(loom))]

use gupstress_run::drive::Uniform;
use gupstress_run::explore::request::{self, Bounds};
use gupstress_run::explore::{File, Hunt, Kind, Runner, Search, Settings, What, shrink};
use gupstress_run::litmus::{Scenario, litmus_names, show_litmus};
use gupstress_run::policy::{Source, load_kernel, load_policy};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

fn explored(scenario: &Scenario, kernel: &str, preemptions: u32, workers: usize) -> Value {
    let bounds = Bounds { preemptions, workers, timeout: Duration::from_hours(1) };
    let found = request::litmus("f.toml", scenario, kernel, &[], bounds, &mut |_| true);
    let found: Value = serde_json::from_str(&found.unwrap()).unwrap();
    found["explored"].clone()
}

fn shipped() -> impl Iterator<Item = Scenario> {
    let all =
        litmus_names().into_iter().map(|name| Scenario::parse(name, show_litmus(name).unwrap()).unwrap());
    all.filter(|scenario| scenario.program.is_concurrent())
}

#[test]
fn every_condition_of_every_shipped_race_holds() {
    let mut held = 0;
    for scenario in shipped() {
        for kernel in scenario.kernels() {
            let found = explored(&scenario, kernel, 2, 2);
            println!("{} {kernel} {found}", scenario.name);
            assert_eq!(found["complete"], true, "{} on {kernel}: {found}", scenario.name);
            for condition in found["conditions"].as_array().unwrap() {
                assert_eq!(condition["holds"], true, "{} on {kernel}: {condition}", scenario.name);
                held += 1;
            }
        }
    }
    assert!(held >= 20, "only {held} conditions");
}

const RACE: &str = r#"
name = "two"
cpus = 2
steps = ["map a 2 anon", "touch a", "drain"]
after = ["unpin a"]
[threads.A]
steps = ["map b 2 anon", "pin a 0 1", "touch b", "pin b"]
[threads.B]
cpu = 1
steps = ["pin a", "fill 3"]
[threads.C]
cpu = 1
steps = ["hold a 0", "cpu 0", "release a 0"]
[[exists]]
on = ["linux-7.2.13"]
"B.result" = "ENOMEM"
spurious = true
[[exists]]
"A.result" = "ok"
acquired = ">= 4"
[[forbid]]
unsafe = true
"#;

#[test]
fn what_is_found_does_not_depend_on_the_number_of_workers() {
    let (before, rest) = RACE.split_once("[threads.C]").unwrap();
    let two = format!("{before}{}", &rest[rest.find("[[exists]]").unwrap()..]);
    let scenario = Scenario::parse("two.toml", &two).unwrap();
    let one = explored(&scenario, "linux-7.2.13", 1, 1);
    assert_eq!(one, explored(&scenario, "linux-7.2.13", 1, 3));
    let conditions = one["conditions"].as_array().unwrap();
    assert_eq!(conditions.len(), 3);
    assert!(conditions.iter().all(|condition| condition["holds"] == true), "{one}");
    assert!(conditions[0]["times"].as_u64().unwrap() > 1, "{one}");
}

#[test]
fn a_condition_about_another_kernel_is_left_out_and_one_that_no_end_meets_does_not_hold() {
    let text = RACE.replace("unsafe = true", "\"A.drain_all\" = \">= 90\"");
    let scenario = Scenario::parse("two.toml", &text.replace("[[forbid]]", "[[exists]]")).unwrap();
    let found = explored(&scenario, "linux-6.17", 0, 1);
    let conditions = found["conditions"].as_array().unwrap();
    assert_eq!(conditions.len(), 2, "{found}");
    assert_eq!(conditions[1]["holds"], false, "{found}");
    assert_eq!((&conditions[1]["times"], &conditions[1]["first"]), (&0.into(), &Value::Null));
}

#[test]
fn a_search_that_was_ended_early_proves_no_absence() {
    let scenario = Scenario::parse("two.toml", RACE).unwrap();
    let bounds = Bounds { preemptions: 2, workers: 1, timeout: Duration::ZERO };
    let found = request::litmus("f.toml", &scenario, "linux-7.2.13", &[], bounds, &mut |_| true).unwrap();
    let found: Value = serde_json::from_str(&found).unwrap();
    let last = &found["explored"]["conditions"][2];
    assert_eq!((&found["explored"]["complete"], &last["holds"]), (&false.into(), &Value::Null), "{last}");
}

#[test]
fn what_is_written_reads_back_to_the_same() {
    let own = Scenario::parse("two.toml", RACE).unwrap();
    let sequential = Scenario::parse("anon-remote", show_litmus("anon-remote").unwrap()).unwrap();
    for scenario in shipped().chain([own, sequential]) {
        let again = Scenario::parse("again.toml", &scenario.write()).unwrap();
        assert_eq!(again.program, scenario.program);
        assert_eq!((&again.name, &again.summary), (&scenario.name, &scenario.summary));
        assert_eq!((&again.exists, &again.forbid), (&scenario.exists, &scenario.forbid));
        assert_eq!(again.expect, scenario.expect);
    }
}

#[test]
fn a_step_that_some_order_makes_impossible_is_told() {
    // Who lets go second finds nothing to let go of.
    let text = "cpus = 2\nsteps = [\"map a 1 anon\", \"touch a\", \"hold a 0\"]\n\
                [threads.A]\nsteps = [\"release a 0\", \"pin a\"]\n\
                [threads.B]\nsteps = [\"release a 0\"]\n[forbid]\nunsafe = true\n";
    let scenario = Scenario::parse("f.toml", text).unwrap();
    let bounds = Bounds { preemptions: 1, workers: 2, timeout: Duration::from_hours(1) };
    let error = request::litmus("f.toml", &scenario, "linux-7.2.13", &[], bounds, &mut |_| true);
    let told = error.unwrap_err().to_string();
    assert!(told.contains("threads.B step 1 \"release a 0\"") && told.contains("held by nobody"), "{told}");
}

#[test]
fn who_gives_pages_up_takes_nothing_from_a_device_of_a_pin_that_is_under_way() {
    // Whoever comes first, and however far the other is: no transfer is lost, the pages go.
    let text = "cpus = 2\nsteps = [\"map a 2 anon\", \"touch a\"]\nafter = [\"unpin a\"]\n\
                [threads.A]\nsteps = [\"pin a\", \"unpin a\"]\n\
                [threads.B]\ncpu = 1\nsteps = [\"dontneed a 0 1\", \"touch a 0 1\", \"unpin a\"]\n\
                [[exists]]\n\"A.faults\" = 1\n[[exists]]\n\"A.faults\" = 0\n[forbid]\nbroken = true\n";
    let scenario = Scenario::parse("f.toml", text).unwrap();
    let found = explored(&scenario, "linux-7.2.13", 2, 2);
    let conditions = found["conditions"].as_array().unwrap();
    assert!(conditions.iter().all(|condition| condition["holds"] == true), "{found}");
}

fn settings(scenario: Scenario, kernel: &str) -> Settings {
    let rules = load_kernel(Source::Preset(kernel), &[]).unwrap();
    let policy = load_policy(Source::Preset(&rules.policy), &[]).unwrap();
    Settings { policy, rules, load: What::Scenario(Arc::new(scenario)) }
}

#[test]
fn a_machine_that_was_put_back_is_as_good_as_a_new_one() {
    let settings = settings(Scenario::parse("two.toml", RACE).unwrap(), "linux-7.2.13");
    let mut used = Runner::new(settings.subject().unwrap());
    for seed in 0..200 {
        used.run(Uniform::new(seed), seed);
    }
    for seed in 0..20 {
        let ran = used.run(Uniform::new(seed), seed);
        let mut fresh = Runner::new(settings.subject().unwrap());
        let other = fresh.run(Uniform::new(seed), seed);
        assert_eq!(ran.outcome(&used), other.outcome(&fresh), "seed {seed}");
        assert_eq!(ran.seen.state, other.seen.state, "seed {seed}");
        let counted = |runner: &Runner| serde_json::json!(runner.subject.counters());
        assert_eq!(counted(&used), counted(&fresh), "seed {seed}");
        assert_eq!(used.subject.machine().digest(), fresh.subject.machine().digest(), "seed {seed}");
    }
}

#[test]
fn a_finding_is_shrunk_to_the_threads_and_steps_it_needs_and_replays() {
    let text = RACE.replace("cpus = 2", "cpus = 3");
    let settings = settings(Scenario::parse("two.toml", &text).unwrap(), "linux-7.2.13");
    let hunt = Hunt {
        settings,
        search: Search::Random,
        yield_every: 1,
        schedules: Some(20_000),
        timeout: Duration::from_hours(1),
        find: vec![Kind::Spurious],
        keep_going: false,
        seed: 1,
        workers: 2,
    };
    let finding = hunt.run(&mut |_| true).unwrap().findings.remove(0);
    let (settings, finding, shrunk) = shrink(&hunt, finding, Duration::from_hours(1)).unwrap();
    assert!(shrunk.minimal, "{shrunk:?}");
    let What::Scenario(scenario) = &settings.load else { panic!("no scenario") };
    let steps: usize = scenario.program.threads.iter().map(|thread| thread.steps.len()).sum();
    assert!(scenario.program.threads.len() == 2 && steps <= 3, "{}", scenario.write());
    let file = File::of(&settings, &finding).unwrap();
    let read = File::read("f.json", &serde_json::to_string(&file).unwrap()).unwrap();
    assert_eq!(read.differs(&read.replay("f.json").unwrap()), None);
}
