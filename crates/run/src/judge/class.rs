//! How a call that ended is judged: by the truth about its pages, at that moment.

use crate::machine::{Frame, Hindrance, Machine, Obstacle, ZERO_FRAME};
use crate::ops::{Errno, Lookup, Pin, PinRequest};
use crate::policy::ZeroPage;
use gupstress_machine::words;

words! {
    /// How a call ended, in truth; in the order of results.
    pub enum Class {
        /// Pinned, and every page may stay where it is.
        Pinned = "pinned",
        /// Pinned, with some page where pages must stay movable.
        PinnedUnsafe = "pinned_unsafe",
        /// Failed, and some page had a permanent obstacle, or a limit of the caller's was reached.
        FailedJustified = "failed_justified",
        /// Failed without need.
        FailedSpurious = "failed_spurious",
        /// Ended by a signal: the OOM killer chose the process that pins.
        OomKilled = "oom_killed",
        /// Never ended.
        Stuck = "stuck",
    }
}

impl Class {
    /// How many there are.
    pub const COUNT: usize = Self::WORDS.len();

    /// Its name in results.
    pub fn name(self) -> &'static str {
        Self::WORDS[self as usize].0
    }
}

/// What becomes of a call in every count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is counted, in its class.
    Counted(Class),
    /// The end of the run cut it off: neither a success nor a failure.
    CutOff,
}

/// Decides what becomes of a call that has returned, here and nowhere else.
///
/// `stuck`: whether the watchdog had said that it never ends; `killed`: whether the run had ended before the call did; whatever it then failed with is the
/// end's doing. What the watchdog said of it comes first: it ended only because the run was ended.
pub fn fate(stuck: bool, killed: bool, result: Result<(), Errno>, truth: impl FnOnce() -> Class) -> Fate {
    match result {
        _ if stuck => Fate::Counted(Class::Stuck),
        Err(_) if killed => Fate::CutOff,
        _ => Fate::Counted(truth()),
    }
}

/// The first pinned page that must stay movable, if any: the pin is unsafe.
///
/// The zero page is nobody's to move, wherever it lies.
pub fn unsafe_page(m: &Machine, pages: &[Frame]) -> Option<Frame> {
    pages.iter().copied().find(|&frame| frame != ZERO_FRAME && m.must_move(frame))
}

/// The pages of a range that a pin must have moved, as they are now.
///
/// The zero page is one of them only where the policy neither pins it nor replaces it.
fn to_move<'a>(m: &'a Machine, request: &'a PinRequest<'_>) -> impl Iterator<Item = Frame> + Clone + 'a {
    let pages = request.range.clone().filter_map(|index| Some((index, request.named(index)?)));
    let in_the_way = pages.filter(|&(index, frame)| {
        let zero = frame == ZERO_FRAME && request.policy.zero_page != ZeroPage::MustMove;
        // Where a poisoned page was there is nothing to move, and nothing to pin, ever.
        let poison = request.by == Lookup::PageTable && request.mapping.vma.pte(index).is_poison();
        poison || (m.must_move(frame) && !zero)
    });
    in_the_way.map(|(_, frame)| frame)
}

/// What would have made a call fail however long it had waited, if anything: the truth behind a failure.
fn lasting(m: &Machine, request: &PinRequest<'_>, pin: &Pin) -> Option<Obstacle> {
    let pages = to_move(m, request);
    if pin.over_limit.is_some() {
        pin.over_limit
    } else if request.is_bad_address(&m.rules) {
        Some(Obstacle::BadAddress)
    } else if m.lacks_targets(pages.clone().count()) {
        Some(Obstacle::NoMemory)
    } else {
        pages.into_iter().find_map(|frame| m.permanent_obstacle(frame))
    }
}

/// The class of a call that has ended; `Stuck` is for the watchdog to say.
pub fn class(m: &Machine, request: &PinRequest<'_>, result: Result<(), Errno>, pin: &Pin) -> Class {
    match result {
        // Whatever it came to: nobody is left to be told.
        _ if m.processes.is_killed() => Class::OomKilled,
        Ok(()) if unsafe_page(m, &pin.pages).is_some() => Class::PinnedUnsafe,
        Ok(()) => Class::Pinned,
        Err(_) if lasting(m, request, pin).is_some() => Class::FailedJustified,
        Err(_) => Class::FailedSpurious,
    }
}

/// What a failed call of this class is put down to: what refused it, unless that passes and
/// something else does not.
///
/// Whether it lasts is what the class says and nothing else: memory that was out is back for a
/// call that failed without need.
pub fn put_down_to(
    m: &Machine,
    request: &PinRequest<'_>,
    pin: &Pin,
    class: Class,
    refused: Option<Hindrance>,
) -> Option<Hindrance> {
    if class == Class::FailedJustified && !refused.as_ref().is_some_and(|by| by.obstacle.is_permanent()) {
        return lasting(m, request, pin).map(|obstacle| Hindrance { obstacle, page: None }).or(refused);
    }
    refused
}
