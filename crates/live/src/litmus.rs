//! Scenarios on the kernel that runs: each several times, and what was counted each time.

use crate::calls::{run_on, settle};
use crate::counters::{self, Counters};
use crate::places::Places;
use crate::player::{Outcome, Script, check};
use crate::probes::{Probes, tracefs};
use gupstress_run::judge::class::Class;
use gupstress_run::litmus::Scenario;
use gupstress_run::observe::Event;
use gupstress_run::ops::Caller;
use gupstress_run::script::{Counted, Op, OpError};
use rustix::thread::sched_getaffinity;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;

/// What one scenario came to.
#[derive(Debug, Default, Serialize)]
pub struct Cell {
    /// Its name.
    pub scenario: String,
    /// How the last pin ended, by its class; none if it was refused.
    pub class: Option<&'static str>,
    /// What was the same each time.
    pub counters: BTreeMap<String, Value>,
    /// What was not, with the count of each time.
    pub unsteady: BTreeMap<String, Vec<Value>>,
    /// What this kernel cannot count.
    pub missing: Vec<&'static str>,
    /// Times that it was played and counted.
    pub repeats: usize,
    /// Why it could not be played.
    pub refused: Option<String>,
}

/// The bench on which scenarios are played: open files, set probes.
#[derive(Debug)]
pub struct Bench {
    counters: Counters,
    places: Places,
    cpus: usize,
}

/// What has every counter count, on two CPUs where there are two.
const EVERYTHING: [&str; 9] = [
    "map b 1 anon",
    "touch b",
    "cold b",
    "mlock b",
    "munlock b",
    "cpu 1",
    "map a 1 anon",
    "touch a",
    "cpu 0",
];

impl Bench {
    /// Opens files and sets the probes that are hit where they must be.
    ///
    /// # Errors
    /// A file of `/proc` cannot be read.
    pub fn new() -> io::Result<Self> {
        let probes = tracefs().map_or_else(Probes::default, |tracefs| Probes::set(&tracefs));
        let mut bench =
            Self { counters: Counters::open(probes)?, places: Places::read()?, cpus: usable_cpus() };
        if bench.cpus > 1 {
            bench.calibrate()?;
        }
        Ok(bench)
    }

    fn calibrate(&mut self) -> io::Result<()> {
        let everything = scenario(&[&EVERYTHING[..], &["pin a", "unpin a"]].concat())?;
        let counters = Counters::open(Probes::default())?;
        let mut played = Ok(());
        self.counters.calibrate(|| {
            let script = Script::new(&counters, &self.places, pins(&everything));
            played = script.and_then(|mut script| {
                everything.program.play(&mut script).map(drop).map_err(io::Error::other)
            });
            _ = settle();
        })?;
        played?;
        // Every drain of a CPU has its mlock batch drained, by itself, by its work, or at the
        // beginning of a drain of all CPUs. One more of those: some are inlined, and not counted.
        let drained = self.once(&scenario(&["map a 1 anon", "touch a", "pin a"])?);
        let counted = drained.map_err(io::Error::other)?.counted;
        let count = |event: Event| counted.get(event.name()).copied();
        if let (Some(batches), Some(local), Some(works), Some(all)) = (
            count(Event::MlockDrain),
            count(Event::DrainLocal),
            count(Event::DrainWork),
            count(Event::DrainAll),
        ) && batches > local + works + all
        {
            self.counters.distrust(Event::DrainLocal);
        }
        Ok(())
    }

    /// What it counts with.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// CPUs that it may use.
    pub fn cpus(&self) -> usize {
        self.cpus
    }

    /// Plays a scenario so often, and once before that: what is touched for the first time
    /// is not counted.
    pub fn play(&self, scenario: &Scenario, repeats: usize) -> Cell {
        let mut cell = Cell { scenario: scenario.name.clone(), ..Cell::default() };
        if let Err(why) = self.check(scenario) {
            cell.refused = Some(why);
            return cell;
        }
        let mut outcomes = Vec::new();
        for time in 0..=repeats {
            match self.once(scenario) {
                Ok(_) if time == 0 => {}
                Ok(outcome) => outcomes.push(outcome),
                Err(why) => {
                    cell.refused = Some(why);
                    return cell;
                }
            }
        }
        cell.fill(&outcomes);
        cell
    }

    /// Checks what can be checked before anything is done.
    fn check(&self, scenario: &Scenario) -> Result<(), String> {
        if scenario.program.is_concurrent() {
            return Err("threads beside each other: not on a real kernel; nearest: --on model".to_owned());
        }
        for step in scenario.program.all() {
            check(&step.op).map_err(|error| format!("step {}: {error}", step.number))?;
        }
        let needed = cpus(scenario);
        if needed > self.cpus {
            return Err(format!("needs {needed} CPUs: there are {}; nearest: gupstress guest", self.cpus));
        }
        Ok(())
    }

    fn once(&self, scenario: &Scenario) -> Result<Outcome, String> {
        let mut script = Script::new(&self.counters, &self.places, pins(scenario))
            .map_err(|error| format!("io_uring: {error}"))?;
        if scenario.program.all().any(|step| is_by_vfio(&step.op)) {
            // Where there is none, its step says so.
            _ = script.container();
        }
        run_on(0).and_then(|()| settle()).map_err(|errno| format!("settle: {errno}"))?;
        match scenario.program.play(&mut script) {
            Ok(outcome) => outcome.ok_or_else(|| "no pin was made".to_owned()),
            Err(error) => Err(match error.error {
                OpError::Misuse(why) => format!("step {} {:?}: {why}", error.number, error.text),
                _ => error.to_string(),
            }),
        }
    }
}

fn scenario(steps: &[&str]) -> io::Result<Scenario> {
    Scenario::parse("calibration", &format!("steps = {steps:?}")).map_err(io::Error::other)
}

/// Whether a step pins by VFIO, which takes a device.
pub fn is_by_vfio(op: &Op) -> bool {
    op.as_pin().is_some_and(|(_, caller, _)| caller == Caller::Vfio)
}

fn pins(scenario: &Scenario) -> usize {
    scenario.program.all().filter(|step| step.op.is_pin()).count()
}

/// CPUs that a scenario runs on: up to the highest that it names.
pub fn cpus(scenario: &Scenario) -> usize {
    let named = scenario.program.all().filter_map(|step| match step.op {
        Op::Cpu(cpu) => Some(cpu.at() + 1),
        _ => None,
    });
    named.max().unwrap_or(1)
}

/// CPUs that this process may run on, as far as they are numbered without a gap.
pub fn usable_cpus() -> usize {
    let Ok(cpus) = sched_getaffinity(None) else { return 1 };
    (0..rustix::thread::CpuSet::MAX_CPU).take_while(|&cpu| cpus.is_set(cpu)).count()
}

impl Cell {
    fn fill(&mut self, outcomes: &[Outcome]) {
        self.repeats = outcomes.len();
        // The worst that it came to.
        self.class =
            outcomes.iter().map(|outcome| outcome.class).max_by_key(|&class| badness(class)).map(Class::name);
        for key in ["result"].into_iter().chain(counters::all()) {
            let values: Vec<Value> = outcomes
                .iter()
                .filter_map(|outcome| outcome.value(key))
                .map(|value| value.as_str().map_or_else(|| Value::from(value.as_integer()), Value::from))
                .collect();
            match values.first() {
                None => self.missing.push(key),
                // Counted in some runs and not in others: a probe missed hits.
                _ if values.len() < outcomes.len() => self.missing.push(key),
                Some(first) if values.iter().all(|value| value == first) => {
                    self.counters.insert(key.to_owned(), first.clone());
                }
                Some(_) => {
                    self.unsteady.insert(key.to_owned(), values);
                }
            }
        }
    }
}

fn badness(class: Class) -> usize {
    use Class::{FailedJustified, FailedSpurious, OomKilled, Pinned, PinnedUnsafe, Stuck};
    // Who is killed can say nothing: never seen here.
    [Pinned, FailedJustified, FailedSpurious, OomKilled, PinnedUnsafe, Stuck]
        .iter()
        .position(|&known| known == class)
        .unwrap_or(0)
}

/// What was measured as a file of scenarios that `gupstress litmus` and `gupstress fit` take:
/// each as it was given, with the steady counts as its expectation under `kernel`.
pub fn measured(scenarios: &[Scenario], cells: &[MeasuredCell], kernel: &str) -> String {
    let mut all = Vec::new();
    for scenario in scenarios {
        let Some(cell) = cells.iter().find(|cell| cell.scenario == scenario.name) else { continue };
        let mut table = toml::Table::new();
        table.insert("name".to_owned(), scenario.name.as_str().into());
        if !scenario.summary.is_empty() {
            table.insert("summary".to_owned(), scenario.summary.as_str().into());
        }
        table.insert("cpus".to_owned(), toml::Value::from(scenario.program.cpus as i64));
        let steps: Vec<toml::Value> =
            scenario.program.steps.iter().map(|step| step.text.as_str().into()).collect();
        table.insert("steps".to_owned(), steps.into());
        let mut counts = toml::Table::new();
        let known = ["result"].into_iter().chain(Event::ALL.iter().map(|event| event.name()));
        for key in known {
            if let Some(value) = cell.counters.get(key) {
                let value =
                    value.as_str().map_or_else(|| value.as_i64().unwrap_or(0).into(), toml::Value::from);
                counts.insert(key.to_owned(), value);
            }
        }
        let expect = toml::Table::from_iter([(kernel.to_owned(), toml::Value::from(counts))]);
        table.insert("expect".to_owned(), expect.into());
        all.push(toml::Value::from(table));
    }
    toml::Table::from_iter([("scenario".to_owned(), toml::Value::from(all))]).to_string()
}

/// What of a cell goes into a measured file.
#[derive(Debug, serde::Deserialize)]
pub struct MeasuredCell {
    /// The scenario's name.
    pub scenario: String,
    /// What was the same each time.
    pub counters: BTreeMap<String, Value>,
}

/// The name of rule sets for a kernel's release: `6.12.117+deb12-amd64` is `linux-6.12.117`.
/// Debian's older ones, `6.1.0-53-amd64`, say in the `version` of which stable release they are.
pub fn kernel_name(release: &str, version: &str) -> String {
    let number = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        text[..end].trim_end_matches('.').to_owned()
    };
    let short = number(release);
    let series = short.split('.').take(2).collect::<Vec<_>>().join(".");
    let stable = version.split_whitespace().skip_while(|word| *word != "Debian").nth(1).map(number);
    let of_it = stable.filter(|stable| stable.starts_with(&format!("{series}.")));
    format!("linux-{}", of_it.unwrap_or(short))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gupstress_run::ops::Errno;

    fn outcome(error: Option<Errno>, counted: &[(&str, u64)]) -> Outcome {
        let counted = counted.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let class = if error.is_some() { Class::FailedSpurious } else { Class::Pinned };
        Outcome { error, class, counted }
    }

    #[test]
    fn what_differs_between_repeats_is_unsteady_and_what_is_not_counted_is_missing() {
        let mut cell = Cell::default();
        let often = [("acquired", 8), ("drain_all", 1), ("isolate_calls", 4)];
        cell.fill(&[
            outcome(None, &often),
            outcome(None, &[("acquired", 8), ("drain_all", 2)]),
            outcome(Some(Errno::ENOMEM), &often),
        ]);
        assert_eq!(cell.counters, BTreeMap::from([("acquired".to_owned(), Value::from(8))]));
        assert_eq!(cell.unsteady["drain_all"], [1, 2, 1].map(Value::from));
        assert_eq!(cell.unsteady["result"], ["ok", "ok", "ENOMEM"].map(Value::from));
        assert!(cell.missing.contains(&"migrated") && cell.missing.contains(&"isolate_calls"));
        assert_eq!((cell.class, cell.repeats), (Some("failed_spurious"), 3));
    }

    #[test]
    fn a_measured_file_is_taken_back_with_what_was_steady() {
        let text = "name = \"two\"\nsteps = [\"cpu 1\", \"map a 4 anon\", \"pin a\"]";
        let scenario = Scenario::parse("two.toml", text).unwrap();
        assert_eq!(cpus(&scenario), 2);
        let counters = [("acquired", Value::from(8)), ("result", "ok".into()), ("numa_hit", 0.into())];
        let counters = counters.map(|(name, value)| (name.to_owned(), value)).into();
        let cells = [MeasuredCell { scenario: "two".to_owned(), counters }];
        let text = measured(&[scenario], &cells, "linux-6.12.117");
        let read = gupstress_run::fit::request::read(&[("m.toml".to_owned(), text)]).unwrap();
        let expect = &read[0].expect["linux-6.12.117"];
        assert_eq!(expect.len(), 2);
        assert_eq!((expect["acquired"].as_integer(), expect["result"].as_str()), (Some(8), Some("ok")));
        assert_eq!(read[0].program.steps.len(), 3);
    }

    #[test]
    fn a_kernel_is_named_by_its_version_alone() {
        let debian = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.187-1 (2026-11-02)";
        for (release, version, name) in [
            ("6.12.117+deb12-cloud-amd64", "#1 SMP Debian 6.12.117-1~bpo12+1", "linux-6.12.117"),
            ("7.3-cloud-amd64", "#1 SMP", "linux-7.3"),
            ("6.1.0-53-amd64", debian, "linux-6.1.187"),
            ("6.1.0-53-amd64", "#1 SMP Sat", "linux-6.1.0"),
            ("6.12.1-mine", debian, "linux-6.12.1"),
            ("5.15.", "", "linux-5.15"),
        ] {
            assert_eq!(kernel_name(release, version), name);
        }
    }
}
