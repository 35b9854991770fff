//! `migrate_pages`: moving isolated pages, in passes.
//!
//! One page's migration: allocate the target · lock the page · wait for its
//! writeback · unmap it to migration entries · freeze its refcount at exactly
//! what is expected · copy · put the copy into the `lru_add` batch · map the
//! copy · unlock · free the page. What finds an unexpected reference, a page
//! still mapped or a lock it may not sleep on is tried again in the next pass
//! (`EAGAIN`), at once and without any pause.
//!
//! To 6.2 each page goes through all of this before the next; from 6.3 all
//! pages are unmapped first, then all are moved, in asynchronous passes; what
//! is left is then tried one by one, synchronously.

mod page;
mod passes;

pub use page::MigrateMode;
pub use passes::Migrated;
