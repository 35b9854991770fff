//! Where a thread is, for whoever looks.

use super::{Step, Wait};
use crate::machine::page::NO_FRAME;
use crate::machine::{Frame, Hindrance};
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Mutex, Ordering};

/// Where a thread is: the last step it passed, and the page that it was about.
///
/// One word, the frame above the step, so that a step is one store and whoever
/// looks sees a step with its own page. Written by that thread alone.
#[derive(Debug)]
pub struct Place {
    at: AtomicU64,
    /// Whether the call under way has failed to get on so far.
    is_hindered: AtomicBool,
    /// Where it last did, and why.
    hindrance: Mutex<Option<(Step, Hindrance)>>,
    /// What it waits for without a deadline, encoded; 0: it does not.
    waiting: AtomicU64,
    /// Such waits begun so far: tells one wait from the next for the same thing.
    waits: AtomicU32,
}

/// No page, no step but the one between operations.
const NOWHERE: u64 = (NO_FRAME as u64) << 32 | Step::Idle as u64;

impl Default for Place {
    fn default() -> Self {
        Self {
            at: AtomicU64::new(NOWHERE),
            is_hindered: AtomicBool::new(false),
            hindrance: Mutex::new(None),
            waiting: AtomicU64::new(0),
            waits: AtomicU32::new(0),
        }
    }
}

impl Place {
    /// The last step passed.
    pub fn step(&self) -> Step {
        Step::ALL[self.at.load(Ordering::Relaxed) as u32 as usize]
    }

    /// The page it was about.
    pub fn frame(&self) -> Option<Frame> {
        Some((self.at.load(Ordering::Relaxed) >> 32) as Frame).filter(|&frame| frame != NO_FRAME)
    }

    /// The step at which the call under way last failed to get on, and why.
    pub fn hindered(&self) -> Option<(Step, Hindrance)> {
        if self.is_hindered.load(Ordering::Acquire) { self.hindrance.lock().clone() } else { None }
    }

    /// Publishes such a failure.
    pub(super) fn hinder(&self, step: Step, by: Hindrance) {
        *self.hindrance.lock() = Some((step, by));
        self.is_hindered.store(true, Ordering::Release);
    }

    /// A call begins, to which nothing has happened yet: no more than a store.
    pub fn begin(&self) {
        self.is_hindered.store(false, Ordering::Relaxed);
    }

    /// What it waits for without a deadline.
    pub fn waiting(&self) -> Option<Wait> {
        Wait::decode(self.waiting.load(Ordering::Relaxed))
    }

    /// Waits without a deadline begun so far.
    pub fn waits(&self) -> u32 {
        self.waits.load(Ordering::Relaxed)
    }

    /// Publishes a wait, or its end.
    pub(super) fn set_waiting(&self, on: Option<Wait>) {
        if on.is_some() {
            self.waits.store(self.waits().wrapping_add(1), Ordering::Relaxed);
        }
        self.waiting.store(on.map_or(0, Wait::encode), Ordering::Relaxed);
    }

    /// Passes a step; a page stays the thread's until the next one.
    #[inline]
    pub(super) fn set(&self, step: Step, frame: Frame) {
        let frame = if frame == NO_FRAME { self.at.load(Ordering::Relaxed) >> 32 } else { u64::from(frame) };
        self.at.store(frame << 32 | step as u64, Ordering::Relaxed);
    }
}
