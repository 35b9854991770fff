//! The truth about a page: what stands in the way of migrating it, and whether that passes.
//!
//! Derived from the machine's whole state, as no kernel could: every CPU's
//! batches are searched, and references that never let go are told from those
//! that do. For judging and reporting only; no operation may ask.
//!
//! [`Machine::obstacle`] is what stands in a page's way *now*, whoever asks. Why
//! a call failed is another question: it is answered at the very test that
//! refused the page ([`Machine::hindrance`]), as the asker finds it there, before
//! he undoes what he did and puts the page into a batch himself.

use super::lruvec::{Lru, list_of};
use super::refs::Extra;
use super::{Batch, CpuId, Frame, Machine, Page, ZoneKind, flag};
use crate::words;
use serde::Serialize;

/// What stands in the way of a page's migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Obstacle {
    /// It is the zero page.
    ZeroPage,
    /// It is reserved: early-boot memory.
    Reserved,
    /// It is poisoned.
    Hwpoison,
    /// A driver's page that was never on an LRU list.
    NeverOnLru,
    /// Holders that never let go.
    Held {
        /// How many.
        holders: u32,
    },
    /// No memory outside Movable and CMA to move it to.
    NoMemory,
    /// There is no page: nothing is mapped there that may be pinned so.
    BadAddress,
    /// More pages than `RLIMIT_MEMLOCK` lets be kept.
    Memlock,
    /// More DMA mappings than `dma_entry_limit`.
    DmaEntries,
    /// Under writeback.
    Writeback,
    /// In a batch.
    InBatch {
        /// Whose.
        cpu: CpuId,
        /// Which.
        batch: Batch,
    },
    /// Pinned by others, for a while.
    Pinned {
        /// How many pins.
        pins: i32,
    },
    /// Isolated by someone.
    Isolated {
        /// By which thread.
        by: Option<u32>,
    },
    /// Locked.
    Locked {
        /// By which thread.
        by: Option<u32>,
    },
    /// References held for a moment.
    ShortRefs {
        /// How many beyond the expected ones.
        refs: i32,
    },
}

impl Obstacle {
    /// Whether it will still be there however long one waits. A caller's limit is: who has reached
    /// it gives back what it has, or asks for less; no call waits for that.
    pub fn is_permanent(self) -> bool {
        matches!(
            self,
            Self::ZeroPage
                | Self::Reserved
                | Self::Hwpoison
                | Self::NeverOnLru
                | Self::Held { .. }
                | Self::NoMemory
                | Self::BadAddress
                | Self::Memlock
                | Self::DmaEntries
        )
    }

    /// Whether it is what some thread does with the page, and ends when that thread ends it.
    pub fn is_in_hands(self) -> bool {
        matches!(
            self,
            Self::Writeback
                | Self::Pinned { .. }
                | Self::Isolated { .. }
                | Self::Locked { .. }
                | Self::ShortRefs { .. }
        )
    }

    /// In a few words.
    pub fn describe(self) -> String {
        match self {
            Self::ZeroPage => "zero page".into(),
            Self::Reserved => "reserved page (early boot)".into(),
            Self::Hwpoison => "poisoned page".into(),
            Self::NeverOnLru => "never on an LRU list".into(),
            Self::Held { holders } => format!("held by {holders} that do not let go"),
            Self::NoMemory => "no memory outside Movable and CMA".into(),
            Self::BadAddress => "nothing mapped that may be pinned so".into(),
            Self::Memlock => "over RLIMIT_MEMLOCK".into(),
            Self::DmaEntries => "over dma_entry_limit".into(),
            Self::Writeback => "under writeback".into(),
            Self::InBatch { cpu, batch } => format!("in the {batch:?} batch of cpu {cpu}"),
            Self::Pinned { pins } => format!("pinned by {pins} others"),
            Self::Isolated { by: Some(by) } => format!("isolated by thread {by}"),
            Self::Isolated { by: None } => "isolated by someone".into(),
            Self::Locked { by: Some(by) } => format!("locked by thread {by}"),
            Self::Locked { by: None } => "locked".into(),
            Self::ShortRefs { refs } => format!("{refs} short references"),
        }
    }
}

words! {
    /// What failed calls are put down to, in the order of results: what passes, what stays, and
    /// what no test of a page explains.
    #[allow(missing_docs, reason = "they are those of `Obstacle`")]
    pub enum Cause {
        Pinned = "pinned",
        InBatch = "in_batch",
        Isolated = "isolated",
        Locked = "locked",
        Writeback = "writeback",
        ShortRefs = "short_refs",
        ZeroPage = "zero_page",
        Reserved = "reserved",
        Hwpoison = "hwpoison",
        NeverOnLru = "never_on_lru",
        Held = "held",
        NoMemory = "no_memory",
        BadAddress = "bad_address",
        Memlock = "memlock",
        DmaEntries = "dma_entries",
        Unknown = "unknown",
    }
}

impl From<Obstacle> for Cause {
    fn from(obstacle: Obstacle) -> Self {
        match obstacle {
            Obstacle::ZeroPage => Self::ZeroPage,
            Obstacle::Reserved => Self::Reserved,
            Obstacle::Hwpoison => Self::Hwpoison,
            Obstacle::NeverOnLru => Self::NeverOnLru,
            Obstacle::Held { .. } => Self::Held,
            Obstacle::NoMemory => Self::NoMemory,
            Obstacle::BadAddress => Self::BadAddress,
            Obstacle::Memlock => Self::Memlock,
            Obstacle::DmaEntries => Self::DmaEntries,
            Obstacle::Writeback => Self::Writeback,
            Obstacle::InBatch { .. } => Self::InBatch,
            Obstacle::Pinned { .. } => Self::Pinned,
            Obstacle::Isolated { .. } => Self::Isolated,
            Obstacle::Locked { .. } => Self::Locked,
            Obstacle::ShortRefs { .. } => Self::ShortRefs,
        }
    }
}

/// A test on a page's way out that it may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// Isolation found `PG_lru` clear.
    Isolation,
    /// No target could be allocated.
    Target,
    /// The page lock could not be had.
    Lock,
    /// It is under writeback.
    Writeback,
    /// It has more references than expected.
    Refs {
        /// How many it has.
        found: i32,
        /// How many it should have, those of the asker included.
        expected: i32,
    },
}

/// Who has what of a page, when it failed a test. What the asker himself has is
/// left out, but for `refcount` and `expected`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Breakdown {
    /// The page.
    pub frame: Frame,
    /// All references.
    pub refcount: i32,
    /// Those of mappings, the page cache and the asker.
    pub expected: i32,
    /// Pins of others.
    pub pins: i32,
    /// Batches that it is in, by CPU and kind; a reference each.
    pub batches: Vec<(CpuId, Batch)>,
    /// Holders that never let go, pins among them.
    pub holders: u32,
    /// References that are none of these: short ones.
    pub passing: i32,
    /// Whether another has it isolated: off the LRU and in no batch.
    pub isolated: bool,
    /// The thread that has.
    pub isolated_by: Option<u32>,
    /// The thread that has it locked.
    pub locked_by: Option<u32>,
    /// Whether it is under writeback.
    pub writeback: bool,
}

/// What kept a call from getting on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hindrance {
    /// What stood in the way.
    pub obstacle: Obstacle,
    /// The page in whose way it stood; none where there was no page yet.
    pub page: Option<Breakdown>,
}

/// A page's state, for people.
#[derive(Debug, Clone, Serialize)]
pub struct PageState {
    /// Its frame.
    pub frame: Frame,
    /// The order of the folio that it is part of.
    pub order: u32,
    /// References on the folio.
    pub refcount: i32,
    /// Mappings of the folio.
    pub mapcount: i32,
    /// Names of the flags set.
    pub flags: Vec<&'static str>,
    /// Where the frame lies.
    pub zone: ZoneKind,
    /// The list it is on.
    pub list: Option<Lru>,
    /// The batches it is in.
    pub batches: Vec<(CpuId, Batch)>,
    /// What stands in the way of its migration.
    pub obstacle: Option<Obstacle>,
}

impl Machine {
    /// Whether a page lies where pages must stay movable.
    pub fn must_move(&self, frame: Frame) -> bool {
        self.memory.find(frame).flags() & (flag::ZONE_MOVABLE | flag::CMA) != 0
    }

    /// The permanent obstacle of a page itself, if it has one; cheap.
    pub fn permanent_obstacle(&self, frame: Frame) -> Option<Obstacle> {
        let holders = self.folio(frame).lasting();
        self.unlisted(frame).or_else(|| (holders != 0).then_some(Obstacle::Held { holders }))
    }

    /// Why a page is on no LRU list and never will be, if that is so.
    fn unlisted(&self, frame: Frame) -> Option<Obstacle> {
        if self.is_zero(frame) {
            return Some(Obstacle::ZeroPage);
        }
        // Poison is a page's own, but its folio cannot be moved for it.
        let poisoned = self.memory.frames_of(frame).any(|frame| self.page(frame).has(flag::HWPOISON));
        let flags = self.folio(frame).flags() | if poisoned { flag::HWPOISON } else { 0 };
        [
            (flag::RESERVED, Obstacle::Reserved),
            (flag::HWPOISON, Obstacle::Hwpoison),
            (flag::NEVER_LRU, Obstacle::NeverOnLru),
        ]
        .into_iter()
        .find_map(|(mask, obstacle)| (flags & mask != 0).then_some(obstacle))
    }

    /// Whether fewer frames are left than a pin's migration of `pages` pages needs, or none at all.
    pub fn lacks_targets(&self, pages: usize) -> bool {
        self.memory.free_in(ZoneKind::Normal) < pages.max(1)
    }

    /// What stands in the way of migrating a page now, permanent obstacles first.
    pub fn obstacle(&self, frame: Frame) -> Option<Obstacle> {
        let permanent = self.permanent_obstacle(frame);
        if permanent.is_some() {
            return permanent;
        }
        if self.lacks_targets(1) {
            return Some(Obstacle::NoMemory);
        }
        let page = self.folio(frame);
        let flags = page.flags();
        if flags & flag::WRITEBACK != 0 {
            return Some(Obstacle::Writeback);
        }
        if let Some(&(cpu, batch)) = self.batches_of(frame).first() {
            return Some(Obstacle::InBatch { cpu, batch });
        }
        let extra = page.refcount() - self.expected_refs(page);
        let pins = self.extra(page, extra, 0).pins;
        if pins > 0 {
            return Some(Obstacle::Pinned { pins });
        }
        if flags & flag::LRU == 0 {
            return Some(Obstacle::Isolated { by: page.isolator() });
        }
        if flags & flag::LOCKED != 0 {
            return Some(Obstacle::Locked { by: page.lock_owner() });
        }
        (extra > 0).then_some(Obstacle::ShortRefs { refs: extra })
    }

    /// Who has what of a page that failed `test`, as thread `asker` finds it, who has `own`
    /// references on it himself.
    fn breakdown(&self, frame: Frame, test: Test, asker: u32, own: i32) -> Breakdown {
        let page = self.folio(frame);
        let flags = page.flags();
        let others = |thread: Option<u32>| thread.filter(|&thread| thread != asker);
        let (refcount, expected) = match test {
            Test::Refs { found, expected } => (found, expected),
            _ => (page.refcount(), self.expected_refs(page) + own),
        };
        // Before isolation it is pins that the asker has.
        let own_pins = if test == Test::Isolation { own } else { 0 };
        let Extra { pins, rest } = self.extra(page, (refcount - expected).max(0), own_pins);
        // Each batch entry is a reference: without one there is nothing to look for.
        let batches = if rest > 0 { self.batches_of(frame) } else { Vec::new() };
        let isolated = test == Test::Isolation && flags & flag::LRU == 0 && !self.off_lru_by(page, &batches);
        let holders = page.lasting();
        let plain = (holders - page.lasting_pins().min(holders)) as i32;
        let known = batches.len() as i32 + plain + i32::from(isolated);
        Breakdown {
            frame,
            refcount,
            expected,
            pins,
            batches,
            holders,
            passing: (rest - known).max(0),
            isolated,
            isolated_by: others(page.isolator()).filter(|_| isolated),
            locked_by: others(page.lock_owner()).filter(|_| flags & flag::LOCKED != 0),
            writeback: flags & flag::WRITEBACK != 0,
        }
    }

    /// Whether one of the batches that a page is in is why `PG_lru` is clear: not all take it away.
    fn off_lru_by(&self, page: &Page, batches: &[(CpuId, Batch)]) -> bool {
        batches.iter().any(|&(_, batch)| match batch {
            Batch::LruAdd => true,
            // A page that was mlocked when it was new has been on no list yet, nor isolated from one.
            Batch::Mlock => page.isolator().is_none(),
            _ => self.rules.queueing_clears_lru,
        })
    }

    /// What made a page fail `test`, as thread `asker` finds it, who has `own` references on it.
    pub fn hindrance(&self, frame: Frame, test: Test, asker: u32, own: i32) -> Hindrance {
        let found = self.breakdown(frame, test, asker, own);
        let obstacle = match test {
            Test::Target => Obstacle::NoMemory,
            Test::Lock => Obstacle::Locked { by: found.locked_by },
            Test::Writeback => Obstacle::Writeback,
            Test::Isolation => match (self.unlisted(frame), found.batches.first()) {
                (Some(permanent), _) => permanent,
                (None, Some(&(cpu, batch))) if !found.isolated => Obstacle::InBatch { cpu, batch },
                (None, _) => Obstacle::Isolated { by: found.isolated_by },
            },
            Test::Refs { .. } => match (self.permanent_obstacle(frame), found.batches.first()) {
                (Some(permanent), _) => permanent,
                (None, _) if found.pins > 0 => Obstacle::Pinned { pins: found.pins },
                (None, Some(&(cpu, batch))) => Obstacle::InBatch { cpu, batch },
                (None, None) => Obstacle::ShortRefs { refs: found.passing },
            },
        };
        Hindrance { obstacle, page: Some(found) }
    }

    /// Every batch that holds the page, with its CPU.
    pub fn batches_of(&self, frame: Frame) -> Vec<(CpuId, Batch)> {
        let head = self.memory.head(frame);
        let mut found = Vec::new();
        for (number, cpu) in self.each_cpu().filter(|(_, cpu)| cpu.needs_drain()) {
            let batches = cpu.lock();
            let here = batches.entries().filter(|&(_, entry)| entry == head);
            found.extend(here.map(|(batch, _)| (number, batch)));
        }
        found
    }

    /// A page's state, for reports.
    pub fn page_state(&self, frame: Frame) -> PageState {
        let page = self.folio(frame);
        // What a page has for itself, and what its folio has.
        let flags = page.flags() | self.page(frame).flags();
        let list = {
            let _lists = self.lruvec.lock();
            list_of(page)
        };
        PageState {
            frame,
            order: page.order(),
            refcount: page.refcount(),
            mapcount: page.folio_mapcount(),
            flags: flag::NAMES.iter().filter(|(mask, _)| flags & mask != 0).map(|&(_, name)| name).collect(),
            zone: ZoneKind::of(flags),
            list,
            batches: self.batches_of(frame),
            obstacle: self.obstacle(frame),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cpu::{Entry, Tag};
    use super::*;
    use crate::machine::NO_FRAME;
    use crate::machine::{Gfp, Layout};
    use crate::policy::Rules;

    const ASKER: u32 = 1;
    const OTHER: u32 = 2;
    /// What a migration has of a page itself: the isolation's reference.
    const OWN: i32 = 1;

    fn machine() -> (Machine, Frame) {
        let layout = Layout { normal: 64, movable: 1024, cma: 0, page_bytes: 64 };
        let m = Machine::new(Rules::blank(), &layout, 2);
        let frame = m.memory.alloc(CpuId(0), Gfp::Movable, 0).unwrap().publish();
        assert_ne!(frame, NO_FRAME);
        (m, frame)
    }

    /// A page that is isolated by the asker, with `extra` references beyond his.
    fn refs(m: &Machine, frame: Frame, extra: i32) -> Hindrance {
        if extra > 0 {
            m.page(frame).get(extra);
        }
        m.hindrance(frame, Test::Refs { found: m.page(frame).refcount(), expected: OWN }, ASKER, OWN)
    }

    fn queue(m: &Machine, on: CpuId, batch: Batch, frame: Frame) {
        m.page(frame).get(1);
        m.cpu(on).lock().push(batch, Entry { frame, tag: Tag::None });
    }

    #[test]
    fn references_are_split_by_who_has_them() {
        let (m, frame) = machine();
        queue(&m, CpuId(1), Batch::Activate, frame);
        m.page(frame).add_lasting(1);
        let all = refs(&m, frame, 3 * 1024 + 1 + 4);
        let found = all.page.unwrap();
        assert_eq!(found.refcount, OWN + 1 + 3 * 1024 + 5);
        assert_eq!(found.expected, OWN);
        assert_eq!(found.pins, 3);
        assert_eq!(found.batches, [(CpuId(1), Batch::Activate)]);
        assert_eq!((found.holders, found.passing), (1, 4));
        assert!(!found.isolated, "the isolation is the asker's own");
        assert_eq!(all.obstacle, Obstacle::Held { holders: 1 });
    }

    #[test]
    fn a_pin_that_stays_is_a_holder_and_no_plain_reference() {
        let (m, frame) = machine();
        m.page(frame).add_lasting_pin();
        let found = refs(&m, frame, 1024 + 1).page.unwrap();
        assert_eq!((found.pins, found.holders, found.passing), (1, 1, 1));
    }

    #[test]
    fn an_unexpected_reference_is_a_pin_a_batch_or_a_short_one() {
        let (m, frame) = machine();
        assert_eq!(refs(&m, frame, 2).obstacle, Obstacle::ShortRefs { refs: 2 });
        queue(&m, CpuId(1), Batch::Lazyfree, frame);
        assert_eq!(refs(&m, frame, 0).obstacle, Obstacle::InBatch { cpu: CpuId(1), batch: Batch::Lazyfree });
        assert_eq!(refs(&m, frame, 1024).obstacle, Obstacle::Pinned { pins: 1 });
    }

    #[test]
    fn a_page_off_the_lru_is_in_a_batch_that_took_it_or_isolated() {
        let (m, frame) = machine();
        let isolation = |m: &Machine| m.hindrance(frame, Test::Isolation, ASKER, 1);
        m.page(frame).set_isolator(Some(OTHER));
        m.page(frame).get(1);
        assert_eq!(isolation(&m).obstacle, Obstacle::Isolated { by: Some(OTHER) });
        // On 7.2 an entry of this batch leaves PG_lru alone: the isolation is what took it.
        queue(&m, CpuId(0), Batch::Activate, frame);
        let both = isolation(&m);
        assert_eq!(both.obstacle, Obstacle::Isolated { by: Some(OTHER) });
        assert_eq!(both.page.unwrap().batches, [(CpuId(0), Batch::Activate)]);
        queue(&m, CpuId(1), Batch::LruAdd, frame);
        let found = isolation(&m);
        assert!(matches!(found.obstacle, Obstacle::InBatch { .. }));
        assert!(!found.page.unwrap().isolated);
        m.page(frame).set(flag::NEVER_LRU);
        assert_eq!(isolation(&m).obstacle, Obstacle::NeverOnLru);
    }

    #[test]
    fn a_lock_and_a_writeback_are_told_with_their_owner() {
        let (m, frame) = machine();
        m.page(frame).set(flag::LOCKED | flag::WRITEBACK);
        m.page(frame).set_lock_owner(Some(OTHER));
        let of = |test| m.hindrance(frame, test, ASKER, OWN);
        assert_eq!(of(Test::Lock).obstacle, Obstacle::Locked { by: Some(OTHER) });
        assert_eq!(of(Test::Writeback).obstacle, Obstacle::Writeback);
        assert_eq!(of(Test::Target).obstacle, Obstacle::NoMemory);
        assert!(of(Test::Lock).page.unwrap().writeback);
        m.page(frame).set_lock_owner(Some(ASKER));
        assert_eq!(of(Test::Writeback).page.unwrap().locked_by, None, "his own lock is not in his way");
    }

    #[test]
    fn of_all_that_stands_in_the_way_what_lasts_longest_is_told() {
        let (m, frame) = machine();
        let page = m.page(frame);
        m.memory.add_mapcount(frame, 1);
        page.set(flag::LRU);
        assert_eq!(m.obstacle(frame), None, "its mapping has the one reference");
        let mut told = Vec::new();
        let mut then = |act: &dyn Fn(), wanted: Obstacle| {
            act();
            assert_eq!(m.obstacle(frame), Some(wanted), "after {told:?}");
            assert_eq!(m.permanent_obstacle(frame).is_some(), told.len() > 6, "{wanted:?}");
            told.push(wanted.describe());
        };
        then(&|| page.get(2), Obstacle::ShortRefs { refs: 2 });
        then(&|| _ = page.set(flag::LOCKED), Obstacle::Locked { by: None });
        then(&|| page.set_lock_owner(Some(OTHER)), Obstacle::Locked { by: Some(OTHER) });
        then(&|| _ = page.clear(flag::LRU), Obstacle::Isolated { by: None });
        then(&|| page.get(3 * 1024), Obstacle::Pinned { pins: 3 });
        let batch = Obstacle::InBatch { cpu: CpuId(1), batch: Batch::Activate };
        then(&|| queue(&m, CpuId(1), Batch::Activate, frame), batch);
        then(&|| _ = page.set(flag::WRITEBACK), Obstacle::Writeback);
        then(&|| page.add_lasting(3), Obstacle::Held { holders: 3 });
        then(&|| _ = page.set(flag::NEVER_LRU), Obstacle::NeverOnLru);
        then(&|| _ = page.set(flag::HWPOISON), Obstacle::Hwpoison);
        then(&|| _ = page.set(flag::RESERVED), Obstacle::Reserved);
        assert_eq!(m.obstacle(crate::machine::ZERO_FRAME), Some(Obstacle::ZeroPage));
        let words = "2 short references|locked|locked by thread 2|isolated by someone|pinned by 3 others|\
                     in the Activate batch of cpu 1|under writeback|held by 3 that do not let go|\
                     never on an LRU list|poisoned page|reserved page (early boot)";
        assert_eq!(told.join("|"), words);
    }

    #[test]
    fn without_a_frame_to_move_to_there_is_no_memory() {
        let (m, frame) = machine();
        m.memory.add_mapcount(frame, 1);
        m.page(frame).set(flag::LRU);
        assert!(!m.lacks_targets(64) && m.lacks_targets(65));
        while !m.lacks_targets(2) {
            m.memory.alloc(CpuId(0), Gfp::Pin, 0).unwrap().publish();
        }
        assert!(!m.lacks_targets(1) && !m.lacks_targets(0), "one is left");
        assert_eq!(m.obstacle(frame), None);
        m.memory.alloc(CpuId(0), Gfp::Pin, 0).unwrap().publish();
        assert!(m.lacks_targets(1) && m.lacks_targets(0));
        assert_eq!(m.obstacle(frame), Some(Obstacle::NoMemory));
        m.page(frame).add_lasting(1);
        assert_eq!(m.obstacle(frame), Some(Obstacle::Held { holders: 1 }));
    }

    #[test]
    fn what_is_poisoned_of_a_folio_is_in_the_way_of_all_of_it() {
        let (m, _) = machine();
        let head = m.memory.alloc(CpuId(0), Gfp::Movable, 2).unwrap().publish();
        m.page(head).set(flag::LRU);
        m.page(head + 3).set(flag::HWPOISON | flag::ANON_EXCLUSIVE);
        for nth in 0..4 {
            assert_eq!(m.permanent_obstacle(head + nth), Some(Obstacle::Hwpoison), "page {nth}");
            assert!(m.must_move(head + nth));
        }
        let names = |nth| m.page_state(head + nth).flags;
        assert_eq!(names(1), ["PG_lru"]);
        assert_eq!(names(3), ["PG_lru", "PG_hwpoison", "PG_anon_exclusive"]);
        let state = m.page_state(head + 3);
        assert_eq!((state.order, state.refcount, state.mapcount), (2, 1, 0));
        assert_eq!((state.zone, state.list), (ZoneKind::Movable, None));
        assert!(!m.must_move(m.memory.alloc(CpuId(0), Gfp::Pin, 0).unwrap().publish()));
    }

    #[test]
    fn a_pin_of_ones_own_is_in_nobodys_way() {
        let (m, frame) = machine();
        let page = m.page(frame);
        page.set(flag::LRU);
        // Three pins, one of them the asker's, and a reference that passes, beside the allocation's.
        page.get(3 * 1024 + 1);
        let found = m.hindrance(frame, Test::Isolation, ASKER, 1024).page.unwrap();
        assert_eq!((found.refcount, found.expected), (3 * 1024 + 2, 1024));
        assert_eq!((found.pins, found.passing), (2, 2));
        assert!(!found.isolated && !found.writeback, "it is on its list");
        // In a folio pins are counted apart, and the asker's are known by their number.
        let head = m.memory.alloc(CpuId(0), Gfp::Movable, 2).unwrap().publish();
        m.page(head).get(5);
        m.page(head).add_pincount(3);
        let found = m.hindrance(head, Test::Isolation, ASKER, 1).page.unwrap();
        assert_eq!((found.refcount, found.expected, found.pins), (6, 1, 2));
        assert_eq!((found.isolated, found.passing), (true, 2), "the isolation has one of three");
        // What a test has found counts, whatever is there by now.
        let found = m.hindrance(head, Test::Refs { found: 8, expected: 3 }, ASKER, 1).page.unwrap();
        assert_eq!((found.refcount, found.expected), (8, 3));
        assert_eq!((found.isolated, found.pins, found.passing), (false, 3, 2));
        m.page(head).set_lock_owner(Some(OTHER));
        let found = m.hindrance(head, Test::Isolation, ASKER, 1).page.unwrap();
        assert_eq!(found.locked_by, None, "who had it locked has let go");
    }

    #[test]
    fn a_page_mlocked_when_it_was_new_is_in_its_batch_and_one_that_was_isolated_is_not() {
        let (mut m, frame) = machine();
        queue(&m, CpuId(0), Batch::Mlock, frame);
        let isolated = |m: &Machine| m.hindrance(frame, Test::Isolation, ASKER, 1).page.unwrap().isolated;
        assert!(!isolated(&m));
        m.page(frame).set_isolator(Some(OTHER));
        assert!(isolated(&m));
        queue(&m, CpuId(0), Batch::Deactivate, frame);
        assert!(isolated(&m));
        m.rules.queueing_clears_lru = true;
        assert!(!isolated(&m), "queueing has taken it off");
    }

    #[test]
    fn what_lasts_and_what_is_in_somebodys_hands_is_told_apart() {
        let batch = Obstacle::InBatch { cpu: CpuId(0), batch: Batch::Mlock };
        let lasting = [
            (Obstacle::ZeroPage, Cause::ZeroPage),
            (Obstacle::Reserved, Cause::Reserved),
            (Obstacle::Hwpoison, Cause::Hwpoison),
            (Obstacle::NeverOnLru, Cause::NeverOnLru),
            (Obstacle::Held { holders: 1 }, Cause::Held),
            (Obstacle::NoMemory, Cause::NoMemory),
            (Obstacle::BadAddress, Cause::BadAddress),
            (Obstacle::Memlock, Cause::Memlock),
            (Obstacle::DmaEntries, Cause::DmaEntries),
        ];
        let in_hands = [
            (Obstacle::Writeback, Cause::Writeback),
            (Obstacle::Pinned { pins: 1 }, Cause::Pinned),
            (Obstacle::Isolated { by: None }, Cause::Isolated),
            (Obstacle::Locked { by: None }, Cause::Locked),
            (Obstacle::ShortRefs { refs: 1 }, Cause::ShortRefs),
        ];
        let all = [
            (&lasting[..], (true, false)),
            (&[(batch, Cause::InBatch)], (false, false)),
            (&in_hands, (false, true)),
        ];
        for (obstacles, wanted) in all {
            for &(obstacle, cause) in obstacles {
                assert_eq!((obstacle.is_permanent(), obstacle.is_in_hands()), wanted, "{obstacle:?}");
                assert_eq!(Cause::from(obstacle), cause);
            }
        }
    }
}
