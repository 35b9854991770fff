//! A finding as a file: schema `gupstress.schedule/1`.

use super::hunt::Finding;
use super::runner::Runner;
use super::schedule::{Divergence, Recorder, Replay, Schedule};
use super::settings::{Settings, Written};
use super::subject::{Kind, Outcome};
use crate::error::{Error, Result};
use crate::observe::Totals;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The schema's name.
pub const SCHEMA: &str = "gupstress.schedule/1";

/// The version of everything that a replay depends on: machine, drivers, loads.
pub const FINGERPRINT: &str = env!("GUPSTRESS_FINGERPRINT");

/// A finding with all that it takes to see it again.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// [`SCHEMA`].
    pub schema: String,
    /// [`FINGERPRINT`] of the version that made it.
    pub machine: String,
    /// What is run.
    pub settings: Written,
    /// Of what is drawn in the run.
    pub seed: u64,
    /// Of how many sweeps of a task it yields after one; 0: it never does.
    pub yield_every: u32,
    /// What the tasks are called, by number.
    pub tasks: Vec<String>,
    /// Who goes on where more than one could, in runs of task and times.
    pub choices: Schedule,
    /// Switches away from a task that could have gone on.
    pub preemptions: u32,
    /// What it shows.
    pub kind: Kind,
    /// What it comes to.
    pub outcome: Outcome,
    /// What all threads count.
    pub counters: Value,
    /// Steps it takes.
    pub steps: u64,
}

/// What a replay came to.
#[derive(Debug, Clone)]
pub struct Replayed {
    /// What it came to.
    pub outcome: Outcome,
    /// What all threads counted.
    pub counters: Totals,
    /// Steps it took.
    pub steps: u64,
    /// Where it could not follow the file.
    pub divergence: Option<Divergence>,
    /// Choices of the file that did not come up.
    pub left: usize,
}

impl File {
    /// Writes a finding down, run once more.
    pub fn of(settings: &Settings, finding: &Finding) -> Result<Self> {
        let mut runner = Runner::new(settings.subject()?);
        let replay = Replay::new(finding.schedule.clone(), finding.yield_every);
        let ran = runner.run(Recorder::new(replay), finding.seed);
        let outcome = ran.outcome(&runner);
        if ran.pick.pick.diverged.is_some() || outcome != finding.outcome {
            return Err(Error::Internal("a schedule run again comes to something else".into()));
        }
        Ok(Self {
            schema: SCHEMA.into(),
            machine: FINGERPRINT.into(),
            settings: settings.write(),
            seed: finding.seed,
            yield_every: finding.yield_every,
            tasks: runner.subject.names(),
            choices: finding.schedule.clone(),
            preemptions: finding.preemptions,
            kind: finding.kind,
            outcome,
            counters: serde_json::json!(runner.subject.counters()),
            steps: runner.steps,
        })
    }

    /// Reads one; `place` is what messages say.
    pub fn read(place: &str, text: &str) -> Result<Self> {
        let wrong = |reason: String| Error::config(place, reason);
        let value: Value = serde_json::from_str(text).map_err(|error| wrong(format!("no JSON: {error}")))?;
        let schema = value.get("schema").and_then(Value::as_str).unwrap_or_default();
        if schema != SCHEMA {
            return Err(wrong(format!("schema: {schema:?} is not a schedule; nearest: {SCHEMA}")));
        }
        let machine = value.get("machine").and_then(Value::as_str).unwrap_or_default();
        if machine != FINGERPRINT {
            return Err(wrong(format!(
                "machine: {machine:?} made it, and this is {FINGERPRINT}: schedules of another version are not \
                 replayed; explore again"
            )));
        }
        serde_json::from_str(text).map_err(|error| wrong(error.to_string()))
    }

    /// Runs it.
    pub fn replay(&self, place: &str) -> Result<Replayed> {
        let settings = Settings::read(place, &self.settings)?;
        let mut runner = Runner::new(settings.subject()?);
        Ok(self.replay_on(&mut runner))
    }

    pub(super) fn replay_on(&self, runner: &mut Runner) -> Replayed {
        let before = runner.steps;
        let ran = runner.run(Replay::new(self.choices.clone(), self.yield_every), self.seed);
        Replayed {
            outcome: ran.outcome(runner),
            counters: runner.subject.counters(),
            steps: runner.steps - before,
            left: ran.pick.left(),
            divergence: ran.pick.diverged,
        }
    }

    /// Runs it for what each task did.
    pub(super) fn traced_on(&self, runner: &mut Runner) -> Vec<crate::observe::Ring> {
        runner.run(Replay::new(self.choices.clone(), self.yield_every), self.seed).rings
    }

    /// How a replay differs from what the file says; none if it does not.
    pub fn differs(&self, replayed: &Replayed) -> Option<String> {
        let name = |task: usize| match self.tasks.get(task) {
            Some(name) => format!("{task} ({name})"),
            None => task.to_string(),
        };
        if let Some(Divergence { at, expected, runnable }) = &replayed.divergence {
            let expected = expected.map_or("the end".into(), |task| name(usize::from(task)));
            let runnable: Vec<String> = runnable.iter().map(|&task| name(task)).collect();
            return Some(format!("at step {at}: expected {expected}, runnable {}", runnable.join(", ")));
        }
        if replayed.left != 0 {
            let at = self.choices.0.len() - replayed.left + 1;
            let expected = name(usize::from(self.choices.0[at - 1]));
            return Some(format!("at step {at}: expected {expected}, runnable nobody: the run is over"));
        }
        let counters = serde_json::json!(replayed.counters);
        if replayed.outcome != self.outcome {
            let show = |outcome: &Outcome| serde_json::json!(outcome).to_string();
            return Some(format!(
                "outcome: expected {}, got {}",
                show(&self.outcome),
                show(&replayed.outcome)
            ));
        }
        if !replayed.outcome.found.contains(&self.kind) {
            return Some(format!("kind: expected {}, found {:?}", self.kind.name(), replayed.outcome.found));
        }
        if let (Some(file), Some(got)) = (self.counters.as_object(), counters.as_object()) {
            let other = got.iter().find(|(key, value)| file.get(*key) != Some(value));
            if let Some((key, value)) = other {
                let expected = file.get(key).map_or("nothing".into(), Value::to_string);
                return Some(format!("counters.{key}: expected {expected}, got {value}"));
            }
        }
        (replayed.steps != self.steps)
            .then(|| format!("steps: expected {}, got {}", self.steps, replayed.steps))
    }
}
