//! Who wants the memory back: offlining and contiguous allocation, judged like pins.

use super::findings::MAX_FINDINGS;
use crate::machine::{Frame, Machine, Obstacle};
use crate::ops::Errno;
use serde::Serialize;
use std::collections::BTreeMap;

/// What became of the attempts of one kind of victim.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Attempts {
    /// How many have ended; the sum of the next five.
    pub attempts: u64,
    /// Blocks that were emptied.
    pub emptied: u64,
    /// Given up, and some page could not be moved for good, or as long as an unsafe pin stayed.
    pub failed_justified: u64,
    /// Given up over what would have passed.
    pub failed_spurious: u64,
    /// Never ended: cut off by the end of the run, with a page in the way that stays for good.
    pub stuck: u64,
    /// Cut off by the end of the run, over what would have passed.
    pub interrupted: u64,
    /// Those, whatever became of them, that a pin was in the way of that must not have been.
    pub held_up_by_pin: u64,
    /// Rounds in vain, of all of them.
    pub rounds: u64,
    /// The longest, ended or cut off, in nanoseconds.
    pub longest_ns: u64,
}

/// An attempt that something was in the way of.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct HeldUp {
    /// What kind of victim.
    pub victim: &'static str,
    /// The page in the way.
    pub frame: Frame,
    /// The pinner whose unsafe pin that is, if it is one.
    pub pinner: Option<usize>,
    /// What else is in the page's way, if something stays there.
    pub obstacle: Option<Obstacle>,
    /// Rounds in vain so far.
    pub rounds: u64,
}

/// All victims of a run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Victims {
    /// By kind.
    pub kinds: BTreeMap<&'static str, Attempts>,
    /// The first hundred.
    pub findings: Vec<HeldUp>,
}

/// Pins of pages that must stay movable, as long as they are held: the page, and whose.
pub type UnsafePins = Vec<(Frame, usize)>;

/// One attempt under way.
#[derive(Debug, Default)]
pub struct Attempt {
    rounds: u64,
    by_pin: bool,
    /// What was in the way when last looked at.
    last: Option<(Frame, Option<usize>, Option<Obstacle>)>,
}

impl Attempt {
    /// A round has been in vain; `in_use` is what is left in the block.
    pub fn in_vain(&mut self, m: &Machine, pins: &UnsafePins, in_use: &[Frame]) {
        self.rounds += 1;
        let pinned = pins.iter().find(|(frame, _)| in_use.contains(frame));
        let pinned = pinned.map(|&(frame, pinner)| (frame, Some(pinner), None));
        let lasting = || {
            let mut pages = in_use.iter().map(|&frame| (frame, m.permanent_obstacle(frame)));
            pages.find(|(_, obstacle)| obstacle.is_some()).map(|(frame, obstacle)| (frame, None, obstacle))
        };
        self.last = pinned.or_else(lasting);
        self.by_pin |= pinned.is_some();
    }
}

impl Victims {
    /// An attempt has ended.
    pub fn ended(
        &mut self,
        victim: &'static str,
        attempt: &Attempt,
        result: Result<(), Errno>,
        took_ns: u64,
    ) {
        let all = self.kinds.entry(victim).or_default();
        let lasting = attempt.last.is_some_and(|(.., obstacle)| obstacle.is_some());
        all.attempts += 1;
        *match result {
            Ok(()) => &mut all.emptied,
            Err(Errno::EINTR) if lasting => &mut all.stuck,
            Err(Errno::EINTR) => &mut all.interrupted,
            Err(_) if attempt.last.is_some() => &mut all.failed_justified,
            Err(_) => &mut all.failed_spurious,
        } += 1;
        all.held_up_by_pin += u64::from(attempt.by_pin);
        all.rounds += attempt.rounds;
        all.longest_ns = all.longest_ns.max(took_ns);
        if let Some((frame, pinner, obstacle)) = attempt.last
            && self.findings.len() < MAX_FINDINGS
        {
            let rounds = attempt.rounds;
            self.findings.push(HeldUp { victim, frame, pinner, obstacle, rounds });
        }
    }
}
