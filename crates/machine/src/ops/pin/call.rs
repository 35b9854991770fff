//! A call under way: what the loop's words are about.

use super::busted::Hooks;
use crate::drive::{Driver, Step};
use crate::machine::NO_FRAME;
use crate::machine::{Bill, Frame, Hindrance, Obstacle, PageIndex, Test};
use crate::ops::floor::Task;
use crate::ops::mm::{Lookup, PinRequest};
use crate::ops::refused::Refused;
use crate::policy::Errno;
use crate::policy::decide::Over;

/// A pin under way or taken. Reused from call to call.
#[derive(Debug, Default, Clone)]
pub struct Pin {
    /// The frames pinned, in the order of the range; empty after a failure.
    pub pages: Vec<Frame>,
    /// How they were looked up, and so what is pinned of them: each page, or each folio, to which a
    /// caller may have come down since.
    pub by: Lookup,
    /// Sweeps that the call took.
    pub sweeps: u32,
    /// Whether it needed more than one sweep, met a busy isolation, or waited
    /// for a lock, a migration, a drain or another pinner.
    pub contended: bool,
    /// The limit of its caller's that it has failed by, or would have, whatever it failed by.
    pub over_limit: Option<Obstacle>,
    /// What its caller is charged for it.
    pub(super) bill: Bill,
}

/// Where collection is.
pub(super) struct Cursor {
    pub over: Over,
    /// Position in what it goes through.
    pub position: usize,
    /// The page it has come to.
    pub frame: Frame,
    /// The folio of the one before: one that is mapped twice running is looked at once.
    pub previous: Option<Frame>,
    /// Whether nothing has been tried yet with the page it has come to.
    pub untried: bool,
}

impl Cursor {
    pub(super) fn new(over: Over) -> Self {
        Self { over, position: 0, frame: NO_FRAME, previous: None, untried: false }
    }

    /// The page it has come to.
    pub(super) fn frame(&self) -> Frame {
        self.frame
    }
}

/// A call under way: what the loop's words are about.
pub(super) struct Call<'c, 'r, D> {
    pub t: &'c Task<'c, D>,
    pub request: &'c PinRequest<'r>,
    pub touch: bool,
    pub pin: &'c mut Pin,
    /// Pins before this one in `pin` are the caller's.
    pub base: usize,
    pub busted: Hooks<D>,
    pub cursor: Cursor,
    /// Pages isolated, each with a reference.
    pub isolated: Vec<Frame>,
    /// Pages of the sweep that must move and could not be isolated, and where they are mapped.
    pub missed: Vec<(PageIndex, Frame)>,
    /// Why pages could not be isolated.
    pub refused: Refused,
    /// The page under migration at which the walk stopped.
    pub stopped_at: PageIndex,
    pub ticket: u32,
    /// When the sweep began to pin, on the driver's clock, while it does or holds pins.
    pub pinning_since: Option<u64>,
}

impl<'c, 'r, D: Driver> Call<'c, 'r, D> {
    /// A call that has yet to begin.
    pub fn new(t: &'c Task<'c, D>, request: &'c PinRequest<'r>, touch: bool, pin: &'c mut Pin) -> Self {
        Self {
            t,
            request,
            touch,
            base: pin.pages.len(),
            pin,
            busted: Hooks::of(request.policy.defect),
            cursor: Cursor::new(Over::Pinned),
            isolated: Vec::new(),
            missed: Vec::new(),
            refused: Refused::default(),
            stopped_at: request.range.start,
            ticket: 0,
            pinning_since: None,
        }
    }

    /// A page that no walk could reach: it is poisoned, there is none, or none may be pinned so.
    #[cold]
    pub(super) fn unreachable_page(&self, errno: Errno, index: PageIndex) {
        let pte = self.request.mapping.vma.pte(index);
        if pte.is_poison() {
            let by = self.t.m.hindrance(pte.frame(), Test::Isolation, self.t.d.id(), 0);
            self.t.d.hindered(Step::Fault, by);
            return;
        }
        let obstacle = match errno {
            Errno::ENOMEM => Obstacle::NoMemory,
            Errno::EFAULT => Obstacle::BadAddress,
            _ => return,
        };
        self.t.d.hindered(Step::Fault, Hindrance { obstacle, page: None });
    }
}

/// A call that ends without a page holds no pins.
impl<D> Drop for Call<'_, '_, D> {
    fn drop(&mut self) {
        if self.pinning_since.is_some() {
            self.t.m.passing.leave();
        }
    }
}
