//! Scripts: what threads do, in words, for whoever can do it.
//!
//! An [`Op`] is one step; its words, what they take and what they do stand in one list
//! (`op`). A [`Program`] is the steps of one thread, or of several beside each other, read
//! from a file and checked whole before anything runs. A [`Player`] does the steps: a
//! machine on the simulator ([`Session`](crate::litmus::Session)), or a real kernel by its
//! system calls. [`Condition`]s say what may or must be found in the ends of a concurrent one.

mod condition;
mod op;
mod player;
mod program;

pub use condition::{Clause, Condition, End, Fact, Relation};
pub(crate) use condition::{Reader as ConditionReader, ends};
pub use op::{
    Arguments, Fresh, Has, Name, Nothing, Op, Pages, Part, Pinned, Word, caller_named, kind_name, kind_named,
};
pub use player::{Counted, OpError, Player};
pub use program::{Program, StepError, Stmt, Thread, play};
