//! Grace periods, as RCU has them: one has passed once every thread has been where it held nothing.
//!
//! Whatever stood in a call's way when a grace period began has been let go of by its end, and what
//! stands there then was taken since. So a call that finds its page in others' hands through many
//! of them has lost that many races, however the host gave out its time; one that merely waits for
//! a thread without CPU time lives through none.

use super::shared::Shared;

/// Counts grace periods.
#[derive(Debug, Default)]
pub struct Grace {
    /// Rests of each thread when the period under way began.
    began: Vec<u32>,
    /// Threads that have not been at rest since.
    missing: Vec<usize>,
    /// Periods that have passed.
    pub passed: u64,
}

impl Grace {
    /// Looks at the threads that are still missing.
    pub fn look(&mut self, sh: &Shared) {
        let began = &self.began;
        self.missing.retain(|&thread| {
            let slot = &sh.slots[thread];
            slot.place.rests() == began[thread] && !sh.is_at_rest(thread)
        });
        if !self.missing.is_empty() {
            return;
        }
        if !self.began.is_empty() {
            self.passed += 1;
        }
        self.began.clear();
        self.began.extend(sh.slots.iter().map(|slot| slot.place.rests()));
        self.missing.extend(0..sh.slots.len());
    }
}
