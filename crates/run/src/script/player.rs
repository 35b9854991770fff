//! Who plays a script: a machine on the simulator, for one caller or for several beside each
//! other, or a real kernel.
//!
//! What a pin counted comes with its outcome ([`Counted`]), not from the player: a real kernel's
//! counters are read right before and right after the call, as reading them has work done that
//! they count.

use super::op::Op;
use crate::machine::CpuId;
use crate::ops::Errno;
use toml::Value;

/// Why a step was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpError {
    /// The kernel refuses it.
    #[error("{word}: {}{}", errno.name(), hint(word, *errno))]
    Refused {
        /// The step's word.
        word: &'static str,
        /// Why.
        errno: Errno,
    },
    /// It cannot be asked for; nothing has changed.
    #[error("{0}")]
    Misuse(String),
    /// The OOM killer chose the program that does it: there was no memory for it.
    #[error("{0}: killed, as there was no memory")]
    Killed(&'static str),
    /// It waits for what will never come.
    #[error("{0}")]
    Stuck(String),
    /// It was told to stop, or reached a limit of time; what it had begun was given up.
    #[error("{0}")]
    Stopped(String),
    /// The host has no memory for it.
    #[error("{0}")]
    Resource(String),
    /// A bug in gupstress.
    #[error("internal error: {0}")]
    Bug(String),
}

/// What an errno of a step most likely means.
fn hint(word: &str, errno: Errno) -> &'static str {
    let advice = matches!(word, "cold" | "lazyfree" | "dontneed" | "remove");
    if advice && errno == Errno::EINVAL { ": not for this kind of mapping or a locked range" } else { "" }
}

/// What a pin came to, as far as the player can tell.
pub trait Counted {
    /// The value of `result` or of a counter; `None` where it cannot be had.
    fn value(&self, key: &str) -> Option<Value>;
}

/// Does the steps of a script, one at a time.
pub trait Player {
    /// What a pin comes to.
    type Outcome: Counted;

    /// Does one step on a CPU; the outcome of a pin. `cpu` steps are the script's own.
    ///
    /// # Errors
    /// Why it was not done.
    fn play(&mut self, cpu: CpuId, op: &Op) -> Result<Option<Self::Outcome>, OpError>;
}
