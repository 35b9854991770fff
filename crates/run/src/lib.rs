//! gupstress: the kernel's long-term page pin in user space, under any retry policy.
//!
//! | room | what is in it |
//! |---|---|
//! | [`machine`], [`ops`], [`sync`] | the machine itself: nouns, verbs, the door to shared memory |
//! | [`policy`] | decisions: retry policies and kernel rules, by name or from files |
//! | [`drive`] | who runs it: real threads, or coroutines on a virtual clock |
//! | [`script`] | the steps of scripts and who plays them |
//! | [`judge`] | classes, findings, results, verdicts |
//! | [`stress`] | runs: profiles, actors, watchdog |
//! | [`fit`] | which rules and policy explain what a kernel counted |
//! | [`litmus`] | scripted scenarios and the interactive machine |
//! | [`request`], [`plan`] | what a front end asks for, as JSON; a run of it, read once |
//! | [`observe`] | what is measured |
//! | [`config`] | how policies, rules and profiles are read and shown |
//!
//! Under `--cfg loom` only what a model of the machine needs is built, on the
//! model checker's atomics: real threads and coroutines cannot run inside a model.

pub mod config;
pub mod drive;
pub mod error;
#[cfg(not(loom))]
pub mod explore;
#[cfg(not(loom))]
pub mod fit;
#[cfg(not(loom))]
pub mod judge;
#[cfg(not(loom))]
pub mod litmus;
pub mod observe;
#[cfg(not(loom))]
pub mod plan;
pub mod policy;
#[cfg(not(loom))]
pub mod request;
#[cfg(not(loom))]
pub mod script;
#[cfg(not(loom))]
pub mod stress;

pub use gupstress_machine::{machine, ops, sync};
