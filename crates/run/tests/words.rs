//! Random scripts of every word that the parser knows, on memory of every kind and order: the
//! machine stays sound after each step, every step ends, and no pin is stuck without a reason
//! that lasts.
//!
//! A failure prints its seed and its script; `SCRIPT_SEED=n cargo test --test words -- one` plays
//! it alone.
#![cfg(not(loom))]

use gupstress_run::judge::Class;
use gupstress_run::litmus::{SESSION_LAYOUT, Session};
use gupstress_run::machine::{CpuId, Layout, MAX_ORDER, MappingId, PageIndex};
use gupstress_run::policy::{DrainRule, Source, kernel_names, load_kernel, load_policy, policy_names};
use gupstress_run::script::{Op, OpError, Player, Word};
use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

const CPUS: usize = 3;
const STEPS: usize = 24;
const NAMES: [&str; 3] = ["a", "b", "c"];

struct Dice(Xoshiro256PlusPlus);

impl Dice {
    fn below(&mut self, n: u32) -> u32 {
        (self.0.next_u64() % u64::from(n)) as u32
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u32) as usize]
    }
}

/// A script as it grows: how large each mapping was made.
struct Writer {
    dice: Dice,
    pages: BTreeMap<&'static str, u32>,
}

impl Writer {
    /// A kind of mapping, and pages of it: a few, or some more than a folio or two of its order.
    fn backing(&mut self) -> (String, u32) {
        let kinds = [
            "anon", "shmem", "anon/", "shmem/", "tmpfs", "hugetlb", "hugeshm", "ramfs", "file", "secret",
            "pfnmap",
        ];
        let kind = *self.dice.pick(&kinds);
        let small = 1 + self.dice.below(6);
        match kind {
            "anon/" | "shmem/" => {
                let order = 1 + self.dice.below(MAX_ORDER);
                (format!("{kind}{order}"), (1 << order << self.dice.below(2)) + self.dice.below(2) * small)
            }
            "tmpfs" => (kind.to_owned(), 512 + self.dice.below(2) * small),
            "hugetlb" | "hugeshm" => (kind.to_owned(), 512 << self.dice.below(2)),
            _ => (kind.to_owned(), small),
        }
    }

    /// A range of a mapping: all of it, a few pages, or what lies between two places.
    fn range(&mut self, name: &str) -> Range<u32> {
        let pages = self.pages[name];
        let start = self.dice.below(pages);
        match self.dice.below(3) {
            0 => 0..pages,
            1 => start..(start + 1 + self.dice.below(4)).min(pages),
            _ => start..start + 1 + self.dice.below(pages - start),
        }
    }

    /// Some arguments for a word, by its usage alone: a word that is added is played too.
    fn arguments(&mut self, usage: &str) -> String {
        if usage.starts_with("A N ") {
            let name = *self.dice.pick(&NAMES);
            let (kind, pages) = self.backing();
            self.pages.insert(name, pages);
            return format!("{name} {pages} {kind}");
        }
        let known: Vec<&str> = self.pages.keys().copied().collect();
        let name = *self.dice.pick(&known);
        let Range { start, end } = self.range(name);
        let callers = ["", "", " by vfio", " by umem", " by udmabuf", " by gup-fast", " by gup-slow"];
        match usage {
            "" => String::new(),
            "N" => self.dice.below(4).to_string(),
            "A" => name.to_owned(),
            "A [lo hi]" => format!("{name} {start} {end}"),
            "A i|lo hi" => format!("{name} {start} {}", (start + 2).min(end)),
            "[A i|lo hi]" if self.dice.below(2) == 0 => String::new(),
            "[A i|lo hi]" => format!("{name} {start}"),
            "A [lo hi] [by CALLER]" => format!("{name} {start} {end}{}", self.dice.pick(&callers)),
            _ => panic!("no arguments are known for {usage:?}"),
        }
    }

    fn step(&mut self) -> (&'static str, Op) {
        let pins: Vec<&Word> = Op::WORDS.iter().filter(|word| word.word.contains("pin")).collect();
        let word = match (self.pages.is_empty(), self.dice.below(4)) {
            (true, _) => Op::WORDS.iter().find(|word| word.word == "map").expect("there is map"),
            (_, 0) => *self.dice.pick(&pins),
            _ => self.dice.pick(Op::WORDS),
        };
        let text = format!("{} {}", word.word, self.arguments(word.usage));
        (word.word, Op::parse(text.trim_end()).unwrap_or_else(|reason| panic!("{text}: {reason}")))
    }
}

/// What many scripts came to: a script of which nothing was done shows nothing.
#[derive(Debug, Default)]
struct Tally {
    done: BTreeMap<&'static str, u64>,
    pins: BTreeMap<&'static str, u64>,
}

/// Room for a huge folio of each mapping and for what it is moved to, or hardly any.
const LAYOUTS: [Layout; 3] =
    [SESSION_LAYOUT, SESSION_LAYOUT, Layout { normal: 1100, movable: 2100, cma: 64, page_bytes: 64 }];

/// Plays one script; `Err` says what was wrong with it.
fn play(seed: u64, tally: &mut Tally) -> Result<(), String> {
    let mut dice = Dice(Xoshiro256PlusPlus::seed_from_u64(seed));
    let kernel = *dice.pick(&kernel_names());
    let sane: Vec<&str> = policy_names().into_iter().filter(|name| !name.starts_with("busted-")).collect();
    let rules = load_kernel(Source::Preset(kernel), &[]).unwrap();
    let policy = if dice.below(2) == 0 { rules.policy.clone() } else { (*dice.pick(&sane)).to_owned() };
    let patient = load_policy(Source::Preset(&policy), &[]).unwrap();
    let drains = patient.drain != DrainRule::Never;
    let mut session = Session::new(rules, patient, dice.pick(&LAYOUTS), CPUS);
    session.stage.sweep_limit = 20;
    // What has no end is found by virtual time; the host's decides nothing.
    session.stage.limits.wall = Duration::from_hours(24);
    let mut writer = Writer { dice, pages: BTreeMap::new() };
    let (mut cpu, mut script) = (CpuId(0), Vec::new());
    let mut mappings: BTreeMap<String, MappingId> = BTreeMap::new();
    for _ in 0..STEPS {
        let (word, op) = writer.step();
        script.push(op.to_string());
        let told = |what: String| format!("seed {seed}, {kernel}, {policy}: {what}\n{script:#?}");
        if let Op::Cpu(next) = op {
            cpu = next.min(CpuId::nth(CPUS - 1));
            continue;
        }
        match session.play(cpu, &op) {
            Ok(outcome) => {
                *tally.done.entry(word).or_default() += 1;
                if let Op::Map(fresh) = &op {
                    let made = session.machine().mappings().last().expect("one was made");
                    mappings.insert(fresh.name.0.clone(), made.id);
                }
                if let Some(outcome) = outcome {
                    *tally.pins.entry(outcome.class.name()).or_default() += 1;
                    let (name, range) = op.pages().expect("a pin has pages");
                    let mapping = mappings[&name.0];
                    let all = range.unwrap_or(0..session.machine().mapping(mapping).vma.len());
                    if outcome.class == Class::Stuck && drains && !is_hindered(&session, mapping, all) {
                        return Err(told("a pin is stuck, and nothing stands in its way".into()));
                    }
                }
            }
            Err(OpError::Refused { .. } | OpError::Misuse(_) | OpError::Killed(_)) => {}
            // Nobody else is there to end what the script has locked or under writeback.
            Err(OpError::Stuck(_)) if is_busy(&script) => {}
            // It goes on until a signal where somebody keeps a page for good.
            Err(OpError::Stuck(_))
                if word == "offline" && mappings.values().any(|&id| is_kept(&session, id)) => {}
            Err(wrong) => return Err(told(wrong.to_string())),
        }
        let recount = session.recount();
        if !recount.complete || !recount.broken.is_empty() {
            return Err(told(format!("{:#?}", recount.broken)));
        }
    }
    Ok(())
}

/// Whether a script has ever locked a page, or put one under writeback.
fn is_busy(script: &[String]) -> bool {
    script.iter().any(|step| step.starts_with("lock ") || step.starts_with("startwriteback "))
}

/// Whether something that lasts stands in the way of a page of a range.
fn is_hindered(session: &Session, mapping: MappingId, range: Range<u32>) -> bool {
    range.into_iter().any(|index| {
        let page = session.page(mapping, PageIndex(index)).unwrap();
        page.is_none_or(|page| page.obstacle.is_some_and(|obstacle| obstacle.is_permanent()))
    })
}

/// The same of a whole mapping.
fn is_kept(session: &Session, mapping: MappingId) -> bool {
    is_hindered(session, mapping, 0..session.machine().mapping(mapping).vma.len())
}

fn play_all(seeds: Range<u64>) {
    let mut tally = Tally::default();
    for seed in seeds {
        if let Err(wrong) = play(seed, &mut tally) {
            panic!("{wrong}");
        }
    }
    println!("{tally:?}");
    // What was never done was not tested.
    let done: BTreeSet<&str> = tally.done.keys().copied().chain(["cpu"]).collect();
    let words: BTreeSet<&str> = Op::WORDS.iter().map(|word| word.word).collect();
    assert_eq!(words.difference(&done).collect::<Vec<_>>(), [] as [&&str; 0]);
    for class in ["pinned", "failed_justified", "failed_spurious"] {
        assert!(tally.pins.contains_key(class), "no pin was {class}: {tally:?}");
    }
}

#[test]
fn random_scripts_of_every_word_leave_a_sound_machine() {
    play_all(0..400);
}

#[test]
#[ignore = "minutes: the slow lane's"]
fn ten_thousand_random_scripts_of_every_word_leave_a_sound_machine() {
    play_all(0..10_000);
}

#[test]
fn one() {
    if let Ok(seed) = std::env::var("SCRIPT_SEED") {
        play(seed.parse().expect("SCRIPT_SEED is a number"), &mut Tally::default()).unwrap();
    }
}
