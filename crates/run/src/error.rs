//! The one error type of the crate's configuration surface.
//!
//! Operations of the machine answer with an [`Errno`](crate::ops::Errno), as
//! the kernel does; this type is for what a user asked for and cannot have.

use std::fmt;

/// One thing wrong with a configuration, with the place it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// `file:line`, an option, or empty where the place is the call itself.
    pub place: String,
    /// What is wrong, naming the value, the reason and the nearest valid one.
    pub message: String,
}

impl Problem {
    /// A problem at a place.
    pub fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: place.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.place, self.message)
        }
    }
}

/// Why a request cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Everything wrong with the configuration, all at once.
    #[error("{}", join(.0))]
    Config(Vec<Problem>),
    /// The host refused a thread or memory.
    #[error("{0}")]
    Resource(String),
    /// Its user has had enough before there was anything to show.
    #[error("interrupted")]
    Interrupted,
    /// A bug in gupstress.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// A configuration error of a single problem.
    pub fn config(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Config(vec![Problem::new(place, message)])
    }

    /// Everything that is wrong, one by one.
    pub fn problems(self) -> Vec<Problem> {
        match self {
            Self::Config(problems) => problems,
            other => vec![Problem::new("", other.to_string())],
        }
    }
}

fn join(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Shorthand for results of this module's error.
pub type Result<T> = std::result::Result<T, Error>;
