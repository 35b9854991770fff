//! The truth about a page: what stands in the way of migrating it, and whether that passes.
//!
//! Derived from the machine's whole state, as no kernel could: every CPU's
//! batches are searched, and references that never let go are told from those
//! that do. For judging and reporting only; no operation may ask.

use super::lruvec::{Lru, list_of};
use super::{Batch, Frame, Machine, ZERO_FRAME, ZoneKind, flag};
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
    /// Under writeback.
    Writeback,
    /// In a batch.
    InBatch {
        /// Whose.
        cpu: usize,
        /// Which.
        batch: Batch,
    },
    /// Pinned by others, for a while.
    Pinned {
        /// How many pins.
        pins: i32,
    },
    /// Isolated by someone.
    Isolated,
    /// Locked.
    Locked,
    /// References held for a moment.
    ShortRefs {
        /// How many beyond the expected ones.
        refs: i32,
    },
}

impl Obstacle {
    /// Whether it will still be there however long one waits.
    pub fn is_permanent(self) -> bool {
        matches!(
            self,
            Self::ZeroPage
                | Self::Reserved
                | Self::Hwpoison
                | Self::NeverOnLru
                | Self::Held { .. }
                | Self::NoMemory
        )
    }

    /// Whether it is what some thread does with the page, and ends when that thread ends it.
    pub fn is_in_hands(self) -> bool {
        matches!(
            self,
            Self::Writeback | Self::Pinned { .. } | Self::Isolated | Self::Locked | Self::ShortRefs { .. }
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
            Self::Writeback => "under writeback".into(),
            Self::InBatch { cpu, batch } => format!("in the {batch:?} batch of cpu {cpu}"),
            Self::Pinned { pins } => format!("pinned by {pins} others"),
            Self::Isolated => "isolated by someone".into(),
            Self::Locked => "locked".into(),
            Self::ShortRefs { refs } => format!("{refs} short references"),
        }
    }
}

/// A page's state, for people.
#[derive(Debug, Clone, Serialize)]
pub struct PageState {
    /// Its frame.
    pub frame: Frame,
    /// References.
    pub refcount: i32,
    /// Mappings.
    pub mapcount: i32,
    /// Names of the flags set.
    pub flags: Vec<&'static str>,
    /// Where the frame lies.
    pub zone: ZoneKind,
    /// The list it is on.
    pub list: Option<Lru>,
    /// The batches it is in.
    pub batches: Vec<(usize, Batch)>,
    /// What stands in the way of its migration.
    pub obstacle: Option<Obstacle>,
}

impl Machine {
    /// Whether a page lies where pages must stay movable.
    pub fn must_move(&self, frame: Frame) -> bool {
        self.page(frame).has(flag::ZONE_MOVABLE | flag::CMA)
    }

    /// The permanent obstacle of a page itself, if it has one; cheap.
    pub fn permanent_obstacle(&self, frame: Frame) -> Option<Obstacle> {
        if frame == ZERO_FRAME {
            return Some(Obstacle::ZeroPage);
        }
        let page = self.page(frame);
        let flags = page.flags();
        for (mask, obstacle) in [
            (flag::RESERVED, Obstacle::Reserved),
            (flag::HWPOISON, Obstacle::Hwpoison),
            (flag::NEVER_LRU, Obstacle::NeverOnLru),
        ] {
            if flags & mask != 0 {
                return Some(obstacle);
            }
        }
        let holders = page.lasting();
        (holders != 0).then_some(Obstacle::Held { holders })
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
        let page = self.page(frame);
        let flags = page.flags();
        if flags & flag::WRITEBACK != 0 {
            return Some(Obstacle::Writeback);
        }
        if let Some(&(cpu, batch)) = self.batches_of(frame).first() {
            return Some(Obstacle::InBatch { cpu, batch });
        }
        let extra = page.refcount() - self.expected_refs(page);
        let pins = extra / self.rules.pin_bias as i32;
        if pins > 0 && self.rules.pin_bias > 1 {
            return Some(Obstacle::Pinned { pins });
        }
        if flags & flag::LRU == 0 {
            return Some(Obstacle::Isolated);
        }
        if flags & flag::LOCKED != 0 {
            return Some(Obstacle::Locked);
        }
        (extra > 0).then_some(Obstacle::ShortRefs { refs: extra })
    }

    /// Every batch that holds the page, with its CPU.
    pub fn batches_of(&self, frame: Frame) -> Vec<(usize, Batch)> {
        let mut found = Vec::new();
        for (number, cpu) in self.cpus.iter().enumerate() {
            let batches = cpu.lock();
            let here = batches.entries().filter(|&(_, entry)| entry == frame);
            found.extend(here.map(|(batch, _)| (number, batch)));
        }
        found
    }

    /// A page's state, for reports.
    pub fn page_state(&self, frame: Frame) -> PageState {
        let page = self.page(frame);
        let flags = page.flags();
        let list = {
            let _lists = self.lruvec.lock();
            list_of(page)
        };
        PageState {
            frame,
            refcount: page.refcount(),
            mapcount: page.mapcount(),
            flags: flag::NAMES.iter().filter(|(mask, _)| flags & mask != 0).map(|&(_, name)| name).collect(),
            zone: ZoneKind::of(flags),
            list,
            batches: self.batches_of(frame),
            obstacle: self.obstacle(frame),
        }
    }
}
