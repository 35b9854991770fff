//! A policy's loop on its own, over every combination of axes, against a world
//! that answers at random: it holds what it may hold, ends where it must, and
//! fails for no other reason than the policy has.
#![cfg(not(loom))]

use gupstress_run::config::{Count, Ns, Share, Table};
use gupstress_run::ops::Errno;
use gupstress_run::policy::decide::{Cpus, Do, Loop, Over, PageSeen, Seen, Until};
use gupstress_run::policy::{
    DrainWhen, Empty, FailedErrno, IsolationFailure, Look, MigrationFailure, OtherPinner, Permanent, Policy,
    Source, Waiters, load_policy,
};
use proptest::prelude::*;
use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::collections::BTreeSet;

/// The words of an axis, as its key says what it accepts.
fn words(key: &str) -> Vec<String> {
    let mut keys = Vec::new();
    Policy::keys("", &mut keys);
    let key = keys.iter().find(|known| known.path == key).expect("a key of a policy");
    key.expected.split(" | ").map(str::to_owned).collect()
}

/// Every axis that has words, with them; the numbers are drawn beside it.
fn axes() -> Vec<(String, Vec<String>)> {
    let mut keys = Vec::new();
    Policy::keys("", &mut keys);
    let worded = keys.into_iter().filter(|key| key.expected.contains(" | "));
    worded.map(|key| (key.path.clone(), words(&key.path))).collect()
}

/// Any point on the axes.
fn policy() -> impl Strategy<Value = Policy> {
    let axes = axes();
    assert!(axes.len() >= 13, "{axes:?}");
    let choice: Vec<_> =
        axes.into_iter().map(|(key, words)| (Just(key), prop::sample::select(words))).collect();
    let retries = || prop_oneof![(0..4u32).prop_map(Count::AtMost), Just(Count::Unlimited)];
    let length = || prop_oneof![Just(0), 1..2000u64, Just(u64::MAX)];
    let numbers = (retries(), retries(), length(), length(), 0..=10u32, length());
    (choice, numbers).prop_map(|(words, (isolate, migrate, one, other, tenths, deadline))| {
        let mut policy = load_policy(Source::Preset("none"), &words).unwrap();
        policy.isolate_retries = isolate;
        policy.migrate_retries = migrate;
        policy.backoff_min = Ns(one.min(other));
        policy.backoff_max = Ns(one.max(other));
        policy.backoff_jitter = Share(f64::from(tenths) / 10.0);
        policy.deadline = Ns(deadline);
        policy
    })
}

/// How kind the world is.
#[derive(Debug, Clone, Copy)]
struct World {
    seed: u64,
    /// In how many of a hundred questions the answer is a bad one.
    bad: u64,
    /// Nanoseconds that pass with each thing done.
    tick: u64,
    /// After how many things done a fatal signal comes.
    killed_after: usize,
}

fn world() -> impl Strategy<Value = World> {
    let killed = prop_oneof![4 => Just(usize::MAX), 1 => 0..200usize];
    (any::<u64>(), prop_oneof![0..100u64, Just(100)], 0..50u64, killed)
        .prop_map(|(seed, bad, tick, killed_after)| World { seed, bad, tick, killed_after })
}

/// What the call holds, by what it was told to do.
#[derive(Debug, Default)]
struct Held {
    pins: bool,
    isolated: u32,
    turn: bool,
}

/// How a call went.
#[derive(Debug)]
struct Went {
    /// `None`: it was still at it when the world had seen enough.
    end: Option<Result<(), Errno>>,
    /// When each sweep began.
    swept: Vec<u64>,
    trace: Vec<(Do, Seen)>,
}

const ENOUGH: usize = 4000;
const FAULTS: [Errno; 2] = [Errno::ENOMEM, Errno::EINVAL];

struct Player<'p> {
    policy: &'p Policy,
    world: World,
    random: Xoshiro256PlusPlus,
    held: Held,
    now: u64,
    /// Pages that collection has yet to come to.
    pages: u32,
    over: Option<Over>,
}

impl Player<'_> {
    fn bad(&mut self) -> bool {
        self.random.next_u64() % 100 < self.world.bad
    }

    fn coin(&mut self) -> bool {
        self.random.next_u64().is_multiple_of(2)
    }

    fn page(&mut self) -> Seen {
        if self.pages == 0 {
            return Seen::NoMore;
        }
        self.pages -= 1;
        let extra = if self.bad() { 1 + (self.random.next_u64() % 3) as i32 * 512 } else { 0 };
        let own = match self.over {
            Some(Over::Pinned) => 1024,
            Some(Over::Isolated) => 1,
            _ => 0,
        };
        Seen::Page(PageSeen {
            on_lru: !self.bad(),
            large: self.pages % 5 == 4,
            extra,
            beyond_pins: extra % 1024,
            own,
            permanent: (self.bad() && self.coin()).then_some(Errno::EHWPOISON),
        })
    }

    /// Does what it is told, after checking that it may be done; `Err` says why not.
    fn play(&mut self, what: Do) -> Result<Seen, String> {
        let policy = self.policy;
        let held = format!("{what:?} with {:?}", self.held);
        let refuse = |wrong: bool| if wrong { Err(held.clone()) } else { Ok(()) };
        let Held { pins, isolated, turn } = self.held;
        let nothing = !pins && isolated == 0 && !turn;
        self.now = self.now.saturating_add(self.world.tick);
        Ok(match what {
            Do::Clock => Seen::Now(self.now),
            Do::Sweep | Do::Fail(_) => {
                refuse(!nothing)?;
                Seen::Done
            }
            Do::TakeTurn => {
                refuse(!nothing || policy.waiters != Waiters::Ticket)?;
                self.held.turn = true;
                Seen::Done
            }
            Do::GiveTurn => {
                refuse(!turn)?;
                self.held.turn = false;
                Seen::Done
            }
            Do::Pin(walk) => {
                refuse(pins || isolated != 0)?;
                refuse(policy.waiters == Waiters::Ticket && !turn)?;
                self.held.pins = true;
                if self.bad() && self.coin() {
                    self.held.pins = false;
                    Seen::Failed(FAULTS[(self.random.next_u64() % 2) as usize])
                } else if walk.refuse {
                    if self.bad() { Seen::Refused } else { Seen::Pinned { must_move: false } }
                } else if walk.stop_at_migration && self.bad() {
                    Seen::Migrating
                } else {
                    Seen::Pinned { must_move: self.bad() }
                }
            }
            Do::AwaitMigration => {
                refuse(!nothing || policy.other_pinner != OtherPinner::Wait)?;
                if self.bad() && self.coin() { Seen::Failed(Errno::ENOMEM) } else { Seen::Done }
            }
            Do::Collect(over) => {
                refuse((over == Over::Pinned) != pins)?;
                refuse((over == Over::Isolated) != (isolated != 0))?;
                self.over = Some(over);
                self.pages = match over {
                    Over::Isolated => isolated,
                    _ => (self.random.next_u64() % 4) as u32,
                };
                // What is pinned and must move is there.
                self.pages = self.pages.max(u32::from(over == Over::Pinned));
                if matches!(over, Over::Faulted(_)) && self.bad() && self.coin() {
                    self.pages = 0;
                    Seen::Failed(Errno::ENOMEM)
                } else {
                    self.page()
                }
            }
            Do::Next => self.page(),
            Do::Look => {
                self.pages += 1;
                self.page()
            }
            Do::Drain(cpus) => {
                refuse(cpus == Cpus::All && pins && policy.drain_when == DrainWhen::Unpinned)?;
                Seen::Done
            }
            Do::Isolate => {
                refuse(self.over == Some(Over::Isolated))?;
                let isolated = !self.bad();
                self.held.isolated += u32::from(isolated);
                Seen::Isolated(isolated)
            }
            Do::Unpin => {
                refuse(!pins)?;
                self.held.pins = false;
                Seen::Done
            }
            Do::Migrate => {
                // With pins of its own no migration could succeed.
                refuse(pins || isolated == 0)?;
                if self.bad() {
                    self.held.isolated = 1 + (self.random.next_u64() % u64::from(isolated)) as u32;
                    Seen::MigrateFailed { error: self.coin().then_some(Errno::ENOMEM), left: true }
                } else {
                    self.held.isolated = 0;
                    Seen::Migrated
                }
            }
            Do::PutBack => {
                refuse(isolated == 0)?;
                self.held.isolated = 0;
                Seen::Done
            }
            Do::Wait(until, pause) => {
                let keeps = until == Until::Unpinned;
                refuse(pins || keeps != (isolated != 0) || (turn && !keeps))?;
                refuse(until != Until::Time && policy.other_pinner != OtherPinner::Wait)?;
                refuse(pause.least.saturating_add(pause.random) > policy.backoff_max.0)?;
                refuse(policy.deadline.0 != 0 && pause.most > policy.deadline.0)?;
                let length = pause.least.saturating_add(pause.random).min(pause.most);
                self.now = self.now.saturating_add(length);
                Seen::Waited { over: !self.bad() }
            }
            Do::Accept => {
                refuse(!pins || isolated != 0 || turn)?;
                Seen::Done
            }
        })
    }
}

fn play(policy: &Policy, world: World) -> Result<Went, TestCaseError> {
    let mut player = Player {
        policy,
        world,
        random: Xoshiro256PlusPlus::seed_from_u64(world.seed),
        held: Held::default(),
        now: world.seed % 1000,
        pages: 0,
        over: None,
    };
    let mut call = Loop::new(policy);
    let mut went = Went { end: None, swept: Vec::new(), trace: Vec::new() };
    let mut what = call.begin();
    for done in 0..ENOUGH {
        if what == Do::Sweep {
            went.swept.push(player.now);
        }
        let mut seen = player.play(what).map_err(TestCaseError::fail)?;
        // Only what sleeps or begins a sweep looks for a signal.
        if matches!(what, Do::Sweep | Do::Wait(..) | Do::TakeTurn) && done >= world.killed_after {
            seen = Seen::Killed;
            player.held.turn &= what != Do::TakeTurn;
        }
        went.trace.push((what, seen));
        match what {
            Do::Accept => went.end = Some(Ok(())),
            Do::Fail(errno) => went.end = Some(Err(errno)),
            _ => {
                what = call.next(seen);
                continue;
            }
        }
        break;
    }
    Ok(went)
}

/// The reasons for which a call may fail, by the policy and what was seen.
fn reasons(policy: &Policy, trace: &[(Do, Seen)]) -> BTreeSet<Errno> {
    let mut may = BTreeSet::new();
    let limited = |count: Count| count != Count::Unlimited;
    let counts =
        policy.isolation_failure == IsolationFailure::Count || policy.empty == Empty::IsolationFailure;
    if policy.deadline.0 != 0 || (counts && limited(policy.isolate_retries)) {
        may.insert(Errno::EBUSY);
    }
    for &(_, seen) in trace {
        match seen {
            Seen::Killed => drop(may.insert(Errno::EINTR)),
            Seen::Failed(errno) => drop(may.insert(errno)),
            Seen::Page(page) if policy.permanent == Permanent::Report => may.extend(page.permanent),
            Seen::MigrateFailed { error, .. } if policy.migration_failure == MigrationFailure::Count => {
                let reported = policy.permanent == Permanent::Report && error.is_some();
                if limited(policy.migrate_retries) || policy.deadline.0 != 0 || reported {
                    may.insert(match policy.migrate_errno {
                        FailedErrno::Enomem => Errno::ENOMEM,
                        FailedErrno::Own => error.unwrap_or(Errno::EBUSY),
                    });
                }
            }
            _ => {}
        }
    }
    may
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn it_holds_what_it_may_and_fails_for_the_policys_reasons(policy in policy(), world in world()) {
        let went = play(&policy, world)?;
        if let Some(Err(errno)) = went.end {
            prop_assert!(errno != Errno::EAGAIN);
            let may = reasons(&policy, &went.trace);
            prop_assert!(may.contains(&errno), "{errno:?}, not one of {may:?}: {:?}", went.trace);
        }
        if policy.look == Look::BeforePin {
            let moved = went.trace.iter().any(|(_, seen)| *seen == Seen::Pinned { must_move: true });
            let accepts = policy.empty == Empty::Success
                || policy.migration_failure == MigrationFailure::Accept;
            prop_assert!(!moved || accepts, "pinned what must move: {:?}", went.trace);
        }
    }

    #[test]
    fn in_a_kind_world_it_succeeds_without_a_pause(policy in policy(), seed in any::<u64>()) {
        let went = play(&policy, World { seed, bad: 0, tick: 0, killed_after: usize::MAX })?;
        prop_assert_eq!(went.end, Some(Ok(())), "{:?}", &went.trace[..20.min(went.trace.len())]);
        let waits = went.trace.iter().any(|(what, _)| matches!(what, Do::Wait(..)));
        prop_assert!(!waits || policy.look == Look::BeforePin, "{:?}", went.trace);
    }

    #[test]
    fn a_deadline_ends_every_loop(mut policy in policy(), world in world(), deadline in 1..5000u64) {
        policy.deadline = Ns(deadline);
        let world = World { tick: world.tick.max(10), ..world };
        let went = play(&policy, world)?;
        prop_assert!(went.end.is_some(), "{:?}", &went.trace[went.trace.len() - 40..]);
        let late = went.swept.iter().filter(|&&at| at - went.swept[0] > deadline + world.tick).count();
        prop_assert!(late <= 1, "{late} sweeps after the deadline");
    }

    #[test]
    fn a_signal_ends_it_at_once(policy in policy(), world in world()) {
        let went = play(&policy, World { killed_after: 0, ..world })?;
        prop_assert_eq!(went.end, Some(Err(Errno::EINTR)));
        prop_assert_eq!(went.swept.len(), 1);
    }

    #[test]
    fn limits_on_tries_are_kept(policy in policy(), world in world()) {
        let went = play(&policy, world)?;
        let failed = went.trace.iter().filter(|(_, seen)| matches!(seen, Seen::MigrateFailed { .. })).count();
        if let (Count::AtMost(most), MigrationFailure::Count) = (policy.migrate_retries, policy.migration_failure) {
            prop_assert!(failed <= most as usize + 1, "{failed} failed migrations of {most}");
        }
        if policy.migration_failure == MigrationFailure::Accept {
            prop_assert!(failed <= 1);
        }
    }
}

#[test]
fn every_word_of_every_axis_is_tried() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    let mut wanted: BTreeSet<(String, String)> = axes()
        .into_iter()
        .flat_map(|(key, words)| words.into_iter().map(move |word| (key.clone(), word)))
        .collect();
    assert!(wanted.len() > 30, "{wanted:?}");
    let mut runner = TestRunner::deterministic();
    let strategy = policy();
    for _ in 0..500 {
        let drawn = strategy.new_tree(&mut runner).unwrap().current();
        for (key, value) in drawn.to_table() {
            wanted.remove(&(key, value.as_str().unwrap_or_default().to_owned()));
        }
    }
    assert!(wanted.is_empty(), "never drawn: {wanted:?}");
}

/// A page that can be isolated, and one that cannot: it is off the LRU, with a reference more than it should have.
const ON_LRU: PageSeen =
    PageSeen { on_lru: true, extra: 0, beyond_pins: 0, own: 1024, large: false, permanent: None };
const OFF_LRU: PageSeen = PageSeen { on_lru: false, extra: 1, beyond_pins: 1, ..ON_LRU };

/// The pauses of a call of which no migration succeeds and no page off the LRU comes back, as
/// (least, random), until it ends or has waited `most` times, and how it ends.
fn pauses(
    policy: &Policy,
    page: PageSeen,
    failure: Option<Errno>,
    most: usize,
) -> (Vec<(u64, u64)>, Option<Errno>) {
    let mut call = Loop::new(policy);
    let (mut what, mut pauses) = (call.begin(), Vec::new());
    while pauses.len() < most {
        what = call.next(match what {
            Do::Pin(_) => Seen::Pinned { must_move: true },
            Do::Collect(_) | Do::Look => Seen::Page(page),
            Do::Isolate => Seen::Isolated(page.on_lru),
            Do::Next => Seen::NoMore,
            Do::Migrate => Seen::MigrateFailed { error: failure, left: true },
            Do::Clock => Seen::Now(0),
            Do::Wait(_, pause) => {
                pauses.push((pause.least, pause.random));
                Seen::Waited { over: page.on_lru }
            }
            Do::Fail(errno) => return (pauses, Some(errno)),
            Do::Accept => return (pauses, None),
            _ => Seen::Done,
        });
    }
    (pauses, None)
}

fn preset(name: &str, sets: &[(&str, &str)]) -> Policy {
    let sets: Vec<_> = sets.iter().map(|(key, word)| ((*key).to_owned(), (*word).to_owned())).collect();
    load_policy(Source::Preset(name), &sets).unwrap()
}

#[test]
fn a_pause_is_twice_the_one_before_up_to_the_longest() {
    let length = [("migrate_retries", "5"), ("backoff_min", "3us"), ("backoff_max", "20us")];
    let pauses = |sets: &[_]| pauses(&preset("none", sets), ON_LRU, None, usize::MAX);
    let (whole, _) = pauses(&length);
    assert_eq!(whole, [(3000, 0), (6000, 0), (12_000, 0), (20_000, 0), (20_000, 0)]);
    let (drawn, _) = pauses(&[&length[..], &[("backoff_jitter", "0.25")]].concat());
    assert_eq!(drawn[..2], [(2250, 750), (4500, 1500)]);
}

#[test]
fn a_page_off_the_lru_is_waited_for_shortly_and_after_a_drain_of_all_cpus_as_long_as_may_be() {
    let length = [("backoff_min", "3us"), ("backoff_max", "20us"), ("backoff_jitter", "0")];
    for drain_when in ["pinned", "unpinned"] {
        let policy = preset("cooperative", &[&length[..], &[("drain_when", drain_when)]].concat());
        // It may be in a batch, of which nobody would be told; then it is isolated for certain.
        let (waits, _) = pauses(&policy, OFF_LRU, None, 4);
        assert_eq!(waits, [(3000, 0), (20_000, 0), (20_000, 0), (20_000, 0)], "{drain_when}");
    }
}

#[test]
fn a_failed_migration_has_the_policys_errno() {
    for (word, left_over, out_of_memory) in
        [("own", Errno::EBUSY, Errno::ENOMEM), ("ENOMEM", Errno::ENOMEM, Errno::ENOMEM)]
    {
        let policy = preset("none", &[("migrate_errno", word)]);
        let ends = |failure| pauses(&policy, ON_LRU, failure, usize::MAX);
        assert_eq!(ends(None), (vec![], Some(left_over)));
        assert_eq!(ends(Some(Errno::ENOMEM)), (vec![], Some(out_of_memory)));
    }
}
