//! What is explored, resolved: what a schedule file holds and a worker builds its subject from.

use super::load::{Load, Size, cut};
use super::scripted::Script;
use super::subject::Subject;
use crate::error::{Error, Result};
use crate::litmus::Scenario;
use crate::policy::{Policy, Rules, Source, load_kernel, load_policy, show_kernel, show_policy};
use crate::stress::{Profile, load_profile, show_profile};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A load on a machine.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Retry policy.
    pub policy: Policy,
    /// Kernel rules.
    pub rules: Rules,
    /// Who does what.
    pub load: What,
}

/// Who does what.
#[derive(Debug, Clone)]
pub enum What {
    /// A profile, cut to size.
    Profile {
        /// As it is run.
        profile: Box<Profile>,
        /// Calls of each pinner.
        calls: u32,
    },
    /// The threads of a scenario.
    Scenario(Arc<Scenario>),
}

/// Settings as text, in full: presets may change, a file stays what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Policy, as TOML.
    pub policy: String,
    /// Kernel rules, as TOML.
    pub kernel: String,
    /// Who does what.
    #[serde(flatten)]
    pub load: WrittenLoad,
}

/// Who does what, as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum WrittenLoad {
    /// A profile, as TOML, and calls of each pinner.
    Profile {
        /// TOML.
        profile: String,
        /// Of each pinner.
        calls: u32,
    },
    /// A scenario.
    Scenario {
        /// TOML.
        scenario: String,
    },
}

impl Settings {
    /// A profile under a policy and rules, cut to `size`.
    pub fn of_profile(policy: Policy, rules: Rules, profile: &Profile, size: Size) -> Self {
        let profile = Box::new(cut(profile, size));
        Self { policy, rules, load: What::Profile { profile, calls: size.calls } }
    }

    /// What a worker runs. The set-up is the same whatever is drawn in a run.
    pub fn subject(&self) -> Result<Box<dyn Subject>> {
        Ok(match &self.load {
            What::Profile { profile, calls } => {
                Box::new(Load::new(&self.rules, &self.policy, profile, *calls, 0)?)
            }
            What::Scenario(scenario) => Box::new(Script::new(&self.rules, &self.policy, scenario)?),
        })
    }

    /// What it is called in reports.
    pub fn name(&self) -> &str {
        match &self.load {
            What::Profile { profile, .. } => &profile.name,
            What::Scenario(scenario) => &scenario.name,
        }
    }

    /// As text.
    pub fn write(&self) -> Written {
        let load = match &self.load {
            What::Profile { profile, calls } => {
                WrittenLoad::Profile { profile: show_profile(profile), calls: *calls }
            }
            What::Scenario(scenario) => WrittenLoad::Scenario { scenario: scenario.write() },
        };
        Written { policy: show_policy(&self.policy), kernel: show_kernel(&self.rules), load }
    }

    /// From text; `place` is what messages say.
    pub fn read(place: &str, written: &Written) -> Result<Self> {
        let at = |part: &str| format!("{place}: {part}");
        let policy = load_policy(Source::File(&at("policy"), &written.policy), &[])?;
        let rules = load_kernel(Source::File(&at("kernel"), &written.kernel), &[])?;
        let load = match &written.load {
            WrittenLoad::Scenario { scenario } => {
                What::Scenario(Arc::new(Scenario::parse(&at("scenario"), scenario)?))
            }
            WrittenLoad::Profile { profile, calls } => {
                let profile = load_profile(Source::File(&at("profile"), profile), &[])?;
                let size = Size { threads: profile.threads, pages: profile.ranges.pages, calls: *calls };
                check_size(place, size)?;
                What::Profile { profile: Box::new(profile), calls: *calls }
            }
        };
        Ok(Self { policy, rules, load })
    }
}

/// Most pinners that an exploration is asked for: a choice has a bit for each task.
pub const MOST_THREADS: u32 = 16;
/// Most pages of a mapping.
pub const MOST_PAGES: u32 = 512;
/// Most calls of a pinner.
pub const MOST_CALLS: u32 = 1000;

/// Refuses what is too large to explore.
pub fn check_size(place: &str, size: Size) -> Result<()> {
    let all = [
        ("threads", size.threads, MOST_THREADS),
        ("pages", size.pages, MOST_PAGES),
        ("calls", size.calls, MOST_CALLS),
    ];
    let wrong = all.into_iter().find(|&(_, value, most)| value == 0 || value > most);
    wrong.map_or(Ok(()), |(key, value, most)| {
        let near = value.clamp(1, most);
        let reason =
            format!("{key}: {value} is not from 1 to {most}: an exploration is small; nearest: {near}");
        Err(Error::config(place, reason))
    })
}
