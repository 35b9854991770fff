//! How a call that ended is judged: by the truth about its pages, at that moment.

use crate::machine::{Frame, Machine, Mapping, ZERO_FRAME};
use crate::ops::Errno;
use crate::policy::{Policy, ZeroPage};
use gupstress_machine::words;
use std::ops::Range;

words! {
    /// How a call ended, in truth; in the order of results.
    pub enum Class {
        /// Pinned, and every page may stay where it is.
        Pinned = "pinned",
        /// Pinned, with some page where pages must stay movable.
        PinnedUnsafe = "pinned_unsafe",
        /// Failed, and some page had a permanent obstacle.
        FailedJustified = "failed_justified",
        /// Failed without need.
        FailedSpurious = "failed_spurious",
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
fn to_move<'a>(
    m: &'a Machine,
    policy: &'a Policy,
    mapping: &'a Mapping,
    range: Range<u32>,
) -> impl Iterator<Item = Frame> + Clone + 'a {
    let pages = range.map(|index| mapping.vma.pte(index)).filter(|pte| !pte.is_none());
    let in_the_way = pages.filter(|pte| {
        let zero = pte.frame() == ZERO_FRAME && policy.zero_page != ZeroPage::MustMove;
        // Where a poisoned page was there is nothing to move, and nothing to pin, ever.
        pte.is_poison() || (m.must_move(pte.frame()) && !zero)
    });
    in_the_way.map(|pte| pte.frame())
}

/// The class of a call that has ended; `Stuck` is for the watchdog to say.
pub fn class(
    m: &Machine,
    policy: &Policy,
    mapping: &Mapping,
    range: Range<u32>,
    result: Result<(), Errno>,
    pages: &[Frame],
) -> Class {
    match result {
        Ok(()) if unsafe_page(m, pages).is_some() => Class::PinnedUnsafe,
        Ok(()) => Class::Pinned,
        Err(_) => {
            let mut pages = to_move(m, policy, mapping, range);
            let lacking = m.lacks_targets(pages.clone().count());
            if lacking || pages.any(|frame| m.permanent_obstacle(frame).is_some()) {
                Class::FailedJustified
            } else {
                Class::FailedSpurious
            }
        }
    }
}
