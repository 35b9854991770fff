//! Runs: what threads do all day, who watches them, and how it is judged.
//!
//! A [`Profile`] says which actors there are; [`run`](run::run) sets up the
//! machine, gives each actor a thread of its driver, watches for stalls
//! ([`watchdog`]) and gathers a [`RunResult`].

mod abort;
pub(crate) mod actors;
mod bystanders;
mod callers;
mod chain;
mod cpu_clock;
mod futex;
mod gather;
mod grace;
pub mod limit;
pub(crate) mod pinner;
mod profile;
pub mod run;
pub(crate) mod setup;
pub(crate) mod shared;
mod spread;
pub mod watchdog;

pub use abort::Condition;
pub use bystanders::{BystanderCfg, OomScoreAdj};
pub use callers::Callers;
pub use limit::{Cut, Host, Limit};
pub use profile::{
    ActorCfg, Age, MOST_CPUS, MOST_THREADS, Needs, PinnerCfg, Populate, Profile, RangesCfg, Role, Special,
    load_profile, profile_names, show_profile,
};
pub use run::{Job, Progress, Resolved, RunResult, Which};
