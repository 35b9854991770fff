//! The long-term pin: `pin_user_pages(FOLL_LONGTERM)` under a retry policy.
//!
//! What comes next is for the policy's loop to say ([`decide`](crate::policy::decide));
//! here it is done, and what was seen is said back: `call` is what its words are
//! about, `collect` goes through pages, `sweep` does the rest, `longterm` is the entry.

mod busted;
mod call;
mod collect;
mod longterm;
mod sweep;

pub use call::Pin;
