//! Verbs: what threads do to the machine, named as in the kernel.
//!
//! Every operation is a method of [`Task`], a thread of control on one CPU,
//! and generic over the [`Driver`] that runs it. The way of a page:
//!
//! 1. A **fault** (`fault`) allocates it and puts it into this CPU's `lru_add`
//!    batch: one more reference, `PG_lru` clear.
//! 2. A **drain** (`drain`) of that batch puts it on an LRU list and sets
//!    `PG_lru`; other batches (`lru`, `mlock`) move it between lists.
//! 3. A **long-term pin** (`longterm`) pins its range (`gup`), drains by its
//!    policy's rule, **isolates** (`isolate`) the pages that must move:
//!    test-and-clears `PG_lru`, takes a reference, takes it off its list.
//! 4. It drops its pins and **migrates** (`migrate`) what it isolated: locks
//!    the page, unmaps it to a migration entry (`rmap`), freezes its refcount,
//!    copies, maps the copy and puts that into the `lru_add` batch.
//! 5. It starts over with pinning, until nothing must move.
//!
//! Each of these may meet any other between two steps. A page is migrated only
//! with exactly its expected references plus the isolation's one; a batch
//! entry, a holder and a pin are unexpected ones, and that is what races.

mod background;
mod floor;
mod life;
mod lock;
mod lru;
mod migrate;
mod mm;
mod pin;
mod refs;
mod refused;

pub use crate::policy::{Caller, Errno};
pub use background::{Dma, DmaError};
pub use floor::{Batches, Lists, Lru, Migrate, Mm, Refs, Task};
pub use migrate::{MigrateMode, Migrated};
pub use mm::{Access, Lookup, PinRequest};
pub use pin::Pin;
