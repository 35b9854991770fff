//! gupstress: the kernel's long-term page pin in user space, under any retry policy.
//!
//! | room | what is in it |
//! |---|---|
//! | [`machine`] | nouns: pages, zones, batches, LRU lists, page tables |
//! | [`ops`] | verbs: fault, drain, isolate, migrate, pin, reclaim … |
//! | [`policy`] | decisions: retry policies and kernel rules, as data |
//! | [`drive`] | who runs it: real threads, or coroutines on a virtual clock |
//! | [`stress`] | runs: profiles, actors, watchdog, verdicts |
//! | [`litmus`] | scripted scenarios and the interactive machine |
//! | [`observe`] | what is measured |
//! | [`config`] | how policies, rules and profiles are read and shown |
//!
//! | feature | what it adds |
//! |---|---|
//! | `python` | the extension module `gupstress._core` |
//!
//! Under `--cfg loom` only the machine and its operations are built, on the
//! model checker's atomics: real threads and coroutines cannot run inside a model.

#[cfg(all(loom, feature = "python"))]
compile_error!("the model checker and the Python module exclude each other");

pub mod config;
pub mod drive;
pub mod error;
#[cfg(not(loom))]
pub mod litmus;
pub mod machine;
pub mod observe;
pub mod ops;
pub mod policy;
#[cfg(feature = "python")]
mod python;
#[cfg(not(loom))]
pub mod stress;
pub mod sync;
