//! Looking for the interleaving: searches over schedules on the simulator.

mod board;
mod bounded;
mod file;
mod hunt;
mod load;
mod pct;
pub mod request;
mod runner;
pub mod schedule;
mod scripted;
mod settings;
mod shrink;
mod story;
mod subject;
mod tell;

pub use board::Part;
pub use bounded::Bounded;
pub use file::{FINGERPRINT, File, Replayed};
pub use hunt::{Finding, Hunt, Hunted, Met, Progress, Search, Stopped};
pub use load::{Load, Size, cut};
pub use pct::Pct;
pub use runner::{Ran, Runner};
pub use schedule::{Divergence, Recorder, Replay, Schedule};
pub use settings::{Settings, What, Written, check_size};
pub use shrink::{Shrunk, shrink};
pub use story::{Line, Story};
pub use subject::{Kind, Outcome, Seen, Subject};
