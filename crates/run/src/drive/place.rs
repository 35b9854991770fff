//! Where a thread is, for whoever looks.

use super::{Step, Wait};
use crate::machine::NO_FRAME;
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
    /// What it waits for, encoded; 0: it does not.
    waiting: AtomicU64,
    /// Until when at the latest; `u64::MAX`: for as long as it takes.
    until: AtomicU64,
    /// Waits begun so far: tells one wait from the next for the same thing.
    waits: AtomicU32,
    /// Points passed so far at which it held nothing that others could want.
    rests: AtomicU32,
}

/// A wait under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// For what.
    pub on: Wait,
    /// Until when at the latest; `u64::MAX`: for as long as it takes.
    pub until: u64,
    /// Which of the thread's waits it is.
    pub number: u32,
}

/// No page, no step but the one between operations.
const NOWHERE: u64 = (NO_FRAME.0 as u64) << 32 | Step::Idle as u64;

impl Default for Place {
    fn default() -> Self {
        Self {
            at: AtomicU64::new(NOWHERE),
            is_hindered: AtomicBool::new(false),
            hindrance: Mutex::new(None),
            waiting: AtomicU64::new(0),
            until: AtomicU64::new(u64::MAX),
            waits: AtomicU32::new(0),
            rests: AtomicU32::new(0),
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
        Some(Frame((self.at.load(Ordering::Relaxed) >> 32) as u32)).filter(|&frame| frame != NO_FRAME)
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

    /// The wait it is in, if it is in one.
    ///
    /// Its parts may be those of two waits where the thread wakes meanwhile: whoever concludes
    /// anything from it looks twice and finds the same number.
    pub fn waiting(&self) -> Option<Waiting> {
        let on = Wait::decode(self.waiting.load(Ordering::Acquire))?;
        Some(Waiting {
            on,
            until: self.until.load(Ordering::Relaxed),
            number: self.waits.load(Ordering::Relaxed),
        })
    }

    /// Publishes a wait.
    pub(crate) fn wait(&self, on: Wait, until: u64) {
        self.waits.store(self.waits.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        self.until.store(until, Ordering::Relaxed);
        self.waiting.store(on.encode(), Ordering::Release);
    }

    /// Publishes a wait's end.
    pub(crate) fn woken(&self) {
        self.waiting.store(0, Ordering::Relaxed);
    }

    /// Points passed so far at which the thread held nothing.
    pub fn rests(&self) -> u32 {
        self.rests.load(Ordering::Relaxed)
    }

    /// Whether the thread is asleep where it holds nothing that others could want.
    pub fn is_at_rest(&self) -> bool {
        self.waiting().is_some_and(|waiting| match waiting.on {
            Wait::Work(_) | Wait::Barrier | Wait::Paused | Wait::Signal(_) => true,
            Wait::Time => self.step() == Step::Idle,
            _ => false,
        })
    }

    /// Passes a step; a page stays the thread's until the next one.
    #[inline]
    pub(crate) fn set(&self, step: Step, frame: Frame) {
        if step.holds_nothing() {
            self.rests.store(self.rests().wrapping_add(1), Ordering::Relaxed);
        }
        let frame =
            if frame == NO_FRAME { self.at.load(Ordering::Relaxed) >> 32 } else { u64::from(frame.0) };
        self.at.store(frame << 32 | step as u64, Ordering::Relaxed);
    }
}

gupstress_machine::restore!(Place { at, is_hindered, hindrance, waiting, until, waits, rests });
