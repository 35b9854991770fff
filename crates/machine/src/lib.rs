//! The kernel's long-term page pin as a machine in user space.
//!
//! | room | what is in it |
//! |---|---|
//! | [`machine`] | nouns: pages, zones, batches, LRU lists, page tables |
//! | [`ops`] | verbs: fault, drain, isolate, migrate, pin, reclaim … |
//! | [`policy`] | decisions: retry policies and kernel rules, as data |
//! | [`drive`] | what operations ask of whoever runs them |
//! | [`observe`] | what is counted |
//! | `restore` | making a machine equal to another |
//! | [`sync`] | the only door to atomics, locks and threads |
//!
//! Nothing here reads a clock, draws a random number, starts a thread or does
//! I/O: `Cargo.toml` has no crate that could, and `clippy.toml` refuses what
//! `std` has of it. So what runs on real threads runs unchanged on a simulator.

pub mod data;
pub mod drive;
pub mod machine;
pub mod observe;
pub mod ops;
pub mod policy;
pub mod restore;
pub mod sync;
