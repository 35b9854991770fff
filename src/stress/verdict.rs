//! How a call that ended is judged: by the truth about its pages, at that moment.

use crate::machine::{Frame, Machine, Mapping, Obstacle, ZERO_FRAME};
use crate::ops::Errno;
use serde::Serialize;
use std::ops::Range;

/// How a call ended, in truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Pinned, and every page may stay where it is.
    Pinned,
    /// Pinned, with some page where pages must stay movable.
    PinnedUnsafe,
    /// Failed, and some page had a permanent obstacle.
    FailedJustified,
    /// Failed without need.
    FailedSpurious,
    /// Never ended.
    Stuck,
}

impl Class {
    /// All five, in the order of results.
    pub const ALL: [Self; 5] =
        [Self::Pinned, Self::PinnedUnsafe, Self::FailedJustified, Self::FailedSpurious, Self::Stuck];

    /// Its name in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::PinnedUnsafe => "pinned_unsafe",
            Self::FailedJustified => "failed_justified",
            Self::FailedSpurious => "failed_spurious",
            Self::Stuck => "stuck",
        }
    }
}

/// The first pinned page that must stay movable, if any: the pin is unsafe.
///
/// The zero page is nobody's to move, wherever it lies.
pub fn unsafe_page(m: &Machine, pages: &[Frame]) -> Option<Frame> {
    pages.iter().copied().find(|&frame| frame != ZERO_FRAME && m.must_move(frame))
}

/// The page of a range that stands most in the way, with its obstacle: one with
/// a permanent obstacle, else the first with any.
pub fn worst_obstacle(m: &Machine, mapping: &Mapping, range: Range<u32>) -> Option<(Frame, Obstacle)> {
    let mut first = None;
    for index in range {
        let pte = mapping.vma.pte(index);
        if pte.is_none() || !m.must_move(pte.frame()) {
            continue;
        }
        let Some(obstacle) = m.obstacle(pte.frame()) else { continue };
        if obstacle.is_permanent() {
            return Some((pte.frame(), obstacle));
        }
        first = first.or(Some((pte.frame(), obstacle)));
    }
    first
}

/// The class of a call that has ended; `Stuck` is for the watchdog to say.
pub fn class(
    m: &Machine,
    mapping: &Mapping,
    range: Range<u32>,
    result: Result<(), Errno>,
    pages: &[Frame],
) -> Class {
    match result {
        Ok(()) if unsafe_page(m, pages).is_some() => Class::PinnedUnsafe,
        Ok(()) => Class::Pinned,
        Err(_) => {
            let permanent = |index| {
                let pte = mapping.vma.pte(index);
                !pte.is_none() && m.must_move(pte.frame()) && m.permanent_obstacle(pte.frame()).is_some()
            };
            if range.into_iter().any(permanent) || m.is_out_of_targets() {
                Class::FailedJustified
            } else {
                Class::FailedSpurious
            }
        }
    }
}
