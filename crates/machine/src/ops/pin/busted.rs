//! Deliberate faults of the long-term loop, by which a detector is shown to fire.
//!
//! A table of hooks, one row a [`Defect`]: the loop passes them and knows no
//! defect by name. The row of a policy without one does nothing.

use crate::drive::{Driver, Wait};
use crate::machine::Frame;
use crate::ops::floor::Task;
use crate::policy::Defect;

/// Where the loop may be made to go wrong.
pub(super) struct Hooks<D> {
    /// What it sees of a page that must move.
    pub must_move: fn(bool) -> bool,
    /// After the range was pinned, while it is.
    pub after_pin: fn(&Task<'_, D>, &[Frame]),
    /// Before the range is unpinned, in which sweep: how many of its first pins are kept.
    pub before_unpin: fn(u32) -> usize,
    /// After a migration failed: what it left isolated.
    pub after_migrate: fn(&mut Vec<Frame>),
}

impl<D: Driver> Hooks<D> {
    const SOUND: Self = Self {
        must_move: |must_move| must_move,
        after_pin: |_, _| {},
        before_unpin: |_| 0,
        after_migrate: |_| {},
    };

    /// The row of a defect.
    pub(super) fn of(defect: Defect) -> Self {
        match defect {
            Defect::None => Self::SOUND,
            Defect::Accept => Self { must_move: |_| false, ..Self::SOUND },
            Defect::LeakPin => Self { before_unpin: |sweep| usize::from(sweep == 1), ..Self::SOUND },
            Defect::LosePage => {
                Self { after_migrate: |left| left.truncate(left.len().saturating_sub(1)), ..Self::SOUND }
            }
            Defect::HoldLock => Self { after_pin: hold_lock, ..Self::SOUND },
            Defect::WaitCycle => Self { after_pin: wait_cycle, ..Self::SOUND },
        }
    }
}

/// A page's lock is held until death: whoever needs it next waits as long.
fn hold_lock<D: Driver>(task: &Task<'_, D>, pages: &[Frame]) {
    let Some(&first) = pages.first() else { return };
    if task.lock(first) {
        task.d.wait(Wait::Time, &|| false);
        task.unlock(first);
    }
}

/// The locks of the first and last page, in an order that depends on the thread.
fn wait_cycle<D: Driver>(task: &Task<'_, D>, pages: &[Frame]) {
    let [first, .., last] = *pages else { return };
    let (one, other) = if task.d.id().is_multiple_of(2) { (first, last) } else { (last, first) };
    if first != last && task.lock(one) {
        // Wide enough for the other side to take its first lock too.
        task.d.sleep(1_000_000);
        if task.lock(other) {
            task.unlock(other);
        }
        task.unlock(one);
    }
}
