//! Scripts: what files say is read, checked whole and played.
#![cfg(not(loom))]

use gupstress_run::error::Error;
use gupstress_run::litmus::Scenario;
use gupstress_run::machine::CpuId;
use gupstress_run::observe::Event;
use gupstress_run::script::{End, Fact, Op};

const RACE: &str = r#"
name = "lru-add-race"
cpus = 2
steps = ["map a 2 anon", "touch a", "drain"]
after = ["unpin a"]
[threads.A]
steps = ["pin a 0 1"]
[threads.B]
cpu = 1
steps = [
    "cold a",
    "pin a",
]
[[exists]]
on = ["linux-6.14"]
unsafe = true
[[exists]]
"A.result" = "ENOMEM"
"B.drain_all" = ">= 2"
acquired = 3
[forbid]
broken = true
"#;

#[test]
fn a_file_with_threads_is_read_whole() {
    let scenario = Scenario::parse("race.toml", RACE).unwrap();
    let program = &scenario.program;
    assert!(program.is_concurrent());
    let threads: Vec<_> = program.threads.iter().map(|t| (t.name.as_str(), t.cpu, t.steps.len())).collect();
    assert_eq!(threads, [("A", CpuId(0), 1), ("B", CpuId(1), 2)]);
    assert_eq!((program.steps.len(), program.after.len(), program.cpus), (3, 1, 2));
    let said: Vec<String> = scenario.exists.iter().chain(&scenario.forbid).map(ToString::to_string).collect();
    assert_eq!(said, ["unsafe", "A.result = ENOMEM and B.drain_all >= 2 and acquired == 3", "broken"]);
    assert!(scenario.exists[0].is_about("linux-6.14") && !scenario.exists[0].is_about("linux-7.2.13"));
    assert!(scenario.forbid[0].is_about("linux-7.2.13"));
}

struct Found {
    drains: u64,
    end: &'static str,
    is_unsafe: bool,
}

impl End for Found {
    fn result(&self, thread: &str) -> Option<String> {
        Some(if thread == "A" { self.end } else { "ok" }.to_owned())
    }
    fn count(&self, thread: Option<&str>, event: Event) -> u64 {
        match (thread, event) {
            (Some("B"), Event::DrainAll) => self.drains,
            (None, Event::Acquired) => 3,
            _ => 0,
        }
    }
    fn fact(&self, fact: Fact) -> bool {
        fact == Fact::Unsafe && self.is_unsafe
    }
}

#[test]
fn a_condition_holds_where_all_of_it_does() {
    let scenario = Scenario::parse("race.toml", RACE).unwrap();
    let holds = |drains, end, is_unsafe| {
        scenario.exists.iter().map(|one| one.holds(&Found { drains, end, is_unsafe })).collect::<Vec<_>>()
    };
    assert_eq!(holds(2, "ENOMEM", false), [false, true]);
    assert_eq!(holds(1, "ENOMEM", true), [true, false]);
    assert_eq!(holds(9, "ok", false), [false, false]);
}

#[test]
fn every_mistake_of_a_file_is_told_with_its_line_and_the_nearest_right() {
    let text = r#"cpus = 2
steps = [
    "map a 4 anon",
    "tuch a",
]
[threads.A]
cpu = 2
steps = ["pin a 2 9"]
[threads.B]
steps = ["release a 1",
         "pin b"]
[exists]
"C.result" = "ok"
"A.result" = "ENOMEN"
"A.drain_al" = 1
unsafe = "yes"
on = "linux-7.2.12"
[forbid]
acquired = "<= many"
"#;
    let Err(Error::Config(problems)) = Scenario::parse("f.toml", text) else { panic!("accepted") };
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let wanted = [
        ("f.toml:4: step 2 \"tuch a\"", "nearest: touch"),
        ("f.toml:7: threads.A.cpu: 2", "nearest: 1"),
        ("f.toml:8: threads.A step 1 \"pin a 2 9\"", "nearest: pin a 2 4"),
        ("f.toml:10: threads.B step 1 \"release a 1\"", "nearest: hold a 1"),
        ("f.toml:11: threads.B step 2 \"pin b\"", "nearest: a"),
        ("f.toml:13: exists.C.result", "nearest: B.result"),
        ("f.toml:14: exists.A.result", "nearest: ENOMEM"),
        ("f.toml:15: exists.A.drain_al", "nearest: drain_all"),
        ("f.toml:16: exists.unsafe", "nearest: true"),
        ("f.toml:17: exists.on", "nearest: linux-7.2.13"),
        ("f.toml:19: forbid.acquired", "not a count"),
    ];
    assert_eq!(told.len(), wanted.len(), "{told:#?}");
    for (told, (place, near)) in told.iter().zip(wanted) {
        assert!(told.starts_with(place) && told.contains(near), "{told}");
    }
}

#[test]
fn threads_and_expectations_do_not_mix() {
    for (text, said) in [
        ("steps = [\"map a 1 anon\"]\n[threads.A]\nsteps = [\"pin a\"]\n", "[exists]"),
        ("steps = [\"map a 1 anon\", \"pin a\"]\n[exists]\nunsafe = true\n", "threads"),
        (
            "steps = [\"map a 1 anon\"]\n[threads.A]\nsteps = [\"pin a\"]\n[forbid]\nunsafe = true\n\
             [expect.\"linux-7.2.13\"]\nacquired = 1\n",
            "who is faster",
        ),
        ("[threads.A]\nsteps = [\"drain\"]\n[forbid]\nunsafe = true\n", "no pin step"),
        ("", "no steps"),
    ] {
        let error = Scenario::parse("f.toml", text).unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("nearest: "), "{text}: {error}");
    }
}

#[test]
fn a_mapping_that_one_thread_makes_is_not_anothers() {
    let text = "[threads.A]\nsteps = [\"map a 1 anon\", \"pin a\"]\n[threads.B]\nsteps = [\"touch a\"]\n\
                [forbid]\nunsafe = true\n";
    let error = Scenario::parse("f.toml", text).unwrap_err().to_string();
    assert!(error.contains("threads.B step 1") && error.contains("not mapped"), "{error}");
}

#[test]
fn the_list_of_words_is_the_only_one() {
    let mut words: Vec<&str> = Op::WORDS.iter().map(|word| word.word).collect();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), Op::WORDS.len());
    let error = Op::parse("nothing").unwrap_err();
    assert!(Op::WORDS.iter().all(|known| error.contains(known.word)), "{error}");
}
