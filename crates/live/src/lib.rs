//! The same scenarios and loads on the kernel that runs, by system calls.
//!
//! | room | what is in it |
//! |---|---|
//! | [`request`] | what a front end asks for, as JSON, and the lines it gets |
//! | [`litmus`] | scenarios, several times each |
//! | [`load`], [`result`] | profiles as threads, and what a run of one came to |
//! | [`device`] | what devices write through pins, and whether the mapping shows it |
//! | [`mapped`] | which keys of a profile are had by system calls |
//! | [`player`], [`calls`] | the steps of scripts as system calls |
//! | [`settings`] | what a script changes of the kernel, put back when it ends |
//! | [`counters`], [`probes`] | what the kernel counts, and hits of its functions |
//! | [`area`], [`pins`], [`udmabuf`], [`vfio`] | mappings, and long-term pins of them |
//! | [`blocks`] | memory that others want back |
//! | [`facts`] | what this kernel offers, and what to do about what it does not |
//! | [`places`] | which page frames must stay movable |
//! | [`texts`] | what files of `/proc` and tracefs say |
//!
//! The operations are the kernel's, so nothing here is a driver. What one kernel counts
//! another does not: a counter is there or it is missing, and never 0 for unknown.

pub mod area;
pub mod blocks;
pub mod calls;
pub mod counters;
pub mod device;
pub mod facts;
pub mod litmus;
pub mod load;
pub mod mapped;
pub mod pins;
pub mod places;
pub mod player;
pub mod probes;
pub mod request;
pub mod result;
pub mod settings;
pub mod texts;
pub mod udmabuf;
pub mod vfio;
