//! Pages on their way to and between LRU lists.
//!
//! 1. `lists`: what becomes of an entry when its batch is drained.
//! 2. `batch`: queueing entries in this CPU's batches; a full one is flushed.
//! 3. `drain`: this CPU's batches, or all CPUs'. `isolate`: off a list and
//!    back. `mlock`, `age`: who queues what. These call nothing of each other.

mod age;
mod batch;
mod drain;
mod isolate;
mod lists;
mod mlock;
