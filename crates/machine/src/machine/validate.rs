//! The recount: everything the machine keeps twice, counted again.
//!
//! For a quiescent machine (no operation under way):
//!
//! 1. Every frame is free in exactly one place, or part of a folio in use; a free one is a page of
//!    its own, or of a free block of the largest order.
//! 2. A folio's refcount is its mappings + page cache + batch entries + what the
//!    caller says it holds of any of its pages (pins, holders) + pins that were leaked.
//! 3. A page's mapcount is the number of PTEs that map it, and a folio's that of all its pages.
//! 4. `PG_lru` is set exactly if it is on a list (but for a page that queueing
//!    cleared it of, which stays on its list until the drain), and the list is
//!    the one its flags choose; a page in use that is on no list is in a batch, reserved,
//!    or one the caller knows never to be on a list: nothing stays isolated.
//! 5. Nothing is locked, under writeback, frozen or under a migration entry.
//! 6. The contents of every mapped page that is not pinned are those it was filled with.
//! 7. LRU lists are well linked, and batches and `pending` agree.
//! 8. A page that is exclusively mapped (`PageAnonExclusive`) is mapped once, and an anonymous page
//!    that is pinned is exclusive from 5.19 on: nobody writes to a copy that the device has not got.

use super::hugetlb::PoolState;
use super::space::Entry;
use super::sparse::PerFrame;
use super::{Batch, Frame, GoOn, MAX_ORDER, Machine, flag, lruvec::Lists, payload::pattern};
use crate::policy::Unshare;
use std::collections::{HashMap, HashSet};

/// Pages checked between two questions whether to go on.
const ASK_EVERY: u32 = 4096;

/// One thing that does not add up.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Broken {
    /// Which invariant.
    pub invariant: &'static str,
    /// The frame, if it is about one.
    pub frame: Option<Frame>,
    /// What was found.
    pub found: String,
}

/// What a recount found.
#[derive(Debug, Default)]
pub struct Recount {
    /// Facts compared.
    pub checked: u64,
    /// Those that were wrong.
    pub broken: Vec<Broken>,
    /// Whether everything was counted.
    pub complete: bool,
}

impl Recount {
    /// Counts one fact; reports it if it does not hold.
    pub fn check(
        &mut self,
        holds: bool,
        invariant: &'static str,
        frame: Option<Frame>,
        found: impl FnOnce() -> String,
    ) {
        self.checked += 1;
        if !holds {
            self.broken.push(Broken { invariant, frame, found: found() });
        }
    }
}

/// What the caller of a recount knows of, and the machine cannot.
#[derive(Debug, Default, Clone)]
pub struct Known {
    /// References beyond those in the machine: of pins and holders.
    pub held: HashMap<Frame, i32>,
    /// Pages that are rightly on no LRU list.
    pub never_on_lru: Vec<Frame>,
    /// Those that somebody still has locked or under writeback.
    pub busy: Vec<Frame>,
}

/// Where a frame was seen.
#[derive(Default, Clone)]
#[cfg_attr(not(loom), derive(bytemuck::Zeroable))]
struct Seen {
    /// How often it is free, but for the free blocks of the largest order, which their first
    /// frame alone says.
    free: u32,
    huge_free: u32,
    /// PTEs and PMDs that map it, and the PMDs among them.
    mapped: i32,
    entire: i32,
    cached: i32,
    batched: i32,
    unlisted_batch: bool,
    /// Queued with `PG_lru` cleared, and still on its list.
    queued_off_lru: bool,
    on_list: u32,
}

impl Machine {
    /// Recounts every invariant.
    pub fn validate(&self, known: &Known) -> Recount {
        self.validate_while(known, &mut || true)
    }

    /// The same unless `go_on` says no meanwhile: then the recount is of what it has come to.
    pub fn validate_while(&self, known: &Known, go_on: &mut GoOn<'_>) -> Recount {
        let mut recount = Recount::default();
        let mut held = known.held.clone();
        for frame in self.leaked() {
            *held.entry(frame).or_default() += self.pin_refs(frame);
        }
        let never_on_lru: HashSet<Frame> = known.never_on_lru.iter().copied().collect();
        let busy: HashSet<Frame> = known.busy.iter().map(|&frame| self.memory.head(frame)).collect();
        let Ok(mut all) = PerFrame::<Seen>::build(self.memory.frames()) else { return recount };
        self.memory.each_free(|first, order| {
            if order == MAX_ORDER {
                all.of_mut(first).huge_free += 1;
            } else {
                first.run(1 << order).for_each(|frame| all.of_mut(frame).free += 1);
            }
        });
        if !self.count_mappings(&mut all, &mut recount, go_on) {
            // Half of the references prove nothing of any page.
            return recount;
        }
        self.count_batches(&mut all, &mut recount);
        self.count_lists(&self.lruvec.lock(), &mut all, &mut recount);
        let pool: HashSet<Frame> = self.hugetlb_free().into_iter().collect();
        let PoolState { free, reserved, .. } = self.hugetlb_pool();
        recount.check(reserved <= free, "a huge page that is reserved is free", None, || {
            format!("{reserved} are reserved, {free} free")
        });
        for frame in self.memory.all() {
            if frame.0.is_multiple_of(ASK_EVERY) && !go_on() {
                return recount;
            }
            let mut seen = all.of(frame).clone();
            seen.free += all.of(frame.align_down(MAX_ORDER)).huge_free;
            if self.memory.head(frame) != frame {
                self.check_tail(frame, &seen, &mut recount);
                continue;
            }
            let mut folio = seen.clone();
            let pages = self.memory.frames_of(frame);
            for tail in pages.clone().skip(1) {
                folio.mapped += all.of(tail).mapped;
                folio.cached += all.of(tail).cached;
            }
            let pooled = i32::from(pool.contains(&frame));
            let extra = pooled + pages.filter_map(|frame| held.get(&frame)).sum::<i32>();
            self.check_folio(frame, &folio, extra, never_on_lru.contains(&frame), &mut recount);
            self.check_mapcount(frame, &seen, &mut recount);
            if self.page(frame).has(flag::ANON) && seen.free == 0 {
                self.check_exclusive(frame, &all, &held, &mut recount);
            }
            let stays = self.page(frame).flags() & (flag::LOCKED | flag::WRITEBACK);
            recount.check(stays == 0 || busy.contains(&frame), "nothing stays locked", Some(frame), || {
                format!("flags {stays:#x}")
            });
        }
        recount.complete = true;
        recount
    }

    /// False if it was cut off.
    fn count_mappings(&self, seen: &mut PerFrame<Seen>, recount: &mut Recount, go_on: &mut GoOn<'_>) -> bool {
        for mapping in self.mappings() {
            if !go_on() {
                return false;
            }
            mapping.for_each_vma(|vma| {
                vma.for_each_entry(vma.pages(), |_locked, index, Entry { pte, huge }| {
                    recount.check(!pte.is_migration(), "no migration entry stays", Some(pte.frame()), || {
                        format!("page {index} of mapping {} is under a migration entry", mapping.id)
                    });
                    if pte.is_present() {
                        let seen = seen.of_mut(pte.frame());
                        seen.mapped += 1;
                        seen.entire += i32::from(huge);
                    }
                });
            });
            for index in mapping.vma.pages() {
                if let Some(frame) = mapping.cached(index) {
                    seen.of_mut(frame).cached += 1;
                }
            }
        }
        true
    }

    fn count_batches(&self, seen: &mut PerFrame<Seen>, recount: &mut Recount) {
        for (number, cpu) in self.each_cpu() {
            let batches = cpu.lock();
            for (batch, frame) in batches.entries() {
                seen.of_mut(frame).batched += 1;
                let new = matches!(batch, Batch::LruAdd | Batch::Mlock);
                seen.of_mut(frame).unlisted_batch |= new;
                seen.of_mut(frame).queued_off_lru |= !new && self.rules.queueing_clears_lru;
            }
            let some = batches.entries().next().is_some();
            recount.check(some == cpu.needs_drain(), "pending agrees with the batches", None, || {
                format!("cpu {number}: entries {some}, pending {}", cpu.needs_drain())
            });
            recount.check(cpu.drain_wanted().is_none(), "no drain work is left", None, || {
                format!("cpu {number} has queued drain work")
            });
        }
    }

    fn count_lists(&self, lists: &Lists, seen: &mut PerFrame<Seen>, recount: &mut Recount) {
        let mut broken = Vec::new();
        lists.validate(
            &self.memory,
            |frame, lru| {
                seen.of_mut(frame).on_list += 1;
                let right = super::Lru::of(self.page(frame).flags());
                recount.check(right == lru, "a page is on the list its flags choose", Some(frame), || {
                    format!("on {lru:?}, flags say {right:?}")
                });
            },
            |found| broken.push(found),
        );
        for found in broken {
            recount.check(false, "LRU lists are well linked", None, || found);
        }
    }

    /// A page of a large folio, or of a free block as large, that is not its head.
    fn check_tail(&self, frame: Frame, seen: &Seen, recount: &mut Recount) {
        let head = self.memory.head(frame);
        let free = self.page(head).refcount() == 0;
        let places = seen.free + seen.on_list + seen.batched as u32;
        recount.check(places == u32::from(free), "a frame is in one place", Some(frame), || {
            format!(
                "part of {head}, whose refcount is {}, and in {places} places",
                self.page(head).refcount()
            )
        });
        self.check_mapcount(frame, seen, recount);
    }

    fn check_mapcount(&self, frame: Frame, seen: &Seen, recount: &mut Recount) {
        // The zero page is reserved and its mappings are not counted.
        let mapcount = self.page(frame).mapcount();
        recount.check(
            mapcount == seen.mapped - seen.entire || self.is_zero(frame),
            "mapcount is the number of PTEs",
            Some(frame),
            || format!("mapcount {mapcount}, PTEs {}", seen.mapped - seen.entire),
        );
    }

    /// The pages of an anonymous folio, by its head: who maps them, and whether a device may.
    fn check_exclusive(
        &self,
        head: Frame,
        all: &PerFrame<Seen>,
        held: &HashMap<Frame, i32>,
        recount: &mut Recount,
    ) {
        let folio = self.page(head);
        let entire = all.of(head).entire;
        let pages = self.memory.frames_of(head);
        let references: i32 = pages.clone().filter_map(|frame| held.get(&frame)).sum();
        let pins = self.extra(folio, references, 0);
        // What a PMD maps is exclusive as one, by its head; without PTEs the head says it all.
        let as_one = entire > 0 && folio.folio_mapcount() == entire;
        for frame in if as_one { head.run(1) } else { pages } {
            let seen = all.of(frame);
            let mapped = seen.mapped - seen.entire + entire;
            let marked = |frame| self.page(frame).has(flag::ANON_EXCLUSIVE);
            let exclusive = marked(frame) || entire > 0 && marked(head);
            recount.check(!exclusive || mapped <= 1, "an exclusive page is mapped once", Some(frame), || {
                format!("{mapped} mappings")
            });
            // Where others hold references too, nobody can tell whose are pins.
            let here = as_one || held.get(&frame).is_some_and(|&n| n > 0);
            let pinned = pins.pins > 0 && pins.rest == 0 && here;
            if pinned && mapped > 0 && self.rules.unshare != Unshare::Never {
                recount.check(exclusive, "a pinned anonymous page is exclusive", Some(frame), || {
                    format!("pinned, and not exclusive: {mapped} mappings")
                });
            }
        }
    }

    /// A folio, by its head; `seen` is what was seen of all its pages.
    fn check_folio(&self, frame: Frame, seen: &Seen, held: i32, never_on_lru: bool, recount: &mut Recount) {
        let page = self.page(frame);
        let flags = page.flags();
        let at = Some(frame);
        let in_use = page.refcount() != 0 || seen.mapped != 0 || seen.batched != 0 || seen.on_list != 0;
        recount.check(seen.free + u32::from(in_use) == 1, "a frame is in one place", at, || {
            format!("free in {} places, in use: {in_use}, refcount {}", seen.free, page.refcount())
        });
        if !in_use {
            return;
        }
        if !self.is_zero(frame) {
            let mapcount = page.folio_mapcount();
            recount.check(mapcount == seen.mapped, "a folio's mapcount is that of its pages", at, || {
                format!("mapcount {mapcount}, PTEs {}", seen.mapped)
            });
            let expected = seen.mapped + seen.cached + seen.batched + held;
            recount.check(page.refcount() == expected, "refcount is the sum of its references", at, || {
                format!(
                    "refcount {}, but {} mappings + {} cache + {} batch entries + {held} held",
                    page.refcount(),
                    seen.mapped,
                    seen.cached,
                    seen.batched
                )
            });
            let on_list = flags & flag::LRU != 0;
            let listed = on_list || seen.queued_off_lru;
            recount.check(seen.on_list == u32::from(listed), "PG_lru agrees with the lists", at, || {
                format!("PG_lru {on_list}, queued {}, on {} lists", seen.queued_off_lru, seen.on_list)
            });
            recount.check(
                listed
                    || seen.unlisted_batch
                    || never_on_lru
                    || flags & (flag::NEVER_LRU | flag::HUGETLB) != 0,
                "nothing stays isolated",
                at,
                || "in use, but on no list and in no batch".to_owned(),
            );
            // What is pinned may be the target of DMA now.
            let quiet = held < self.pin_bias(page);
            if let (Some(id), true) = (page.mapping(), quiet && seen.mapped + seen.cached > 0) {
                for (nth, frame) in (0..).zip(self.memory.frames_of(frame)) {
                    let value = pattern(id, page.index() + nth);
                    recount.check(
                        self.memory.payload.is_filled(frame, value),
                        "contents survive",
                        Some(frame),
                        || format!("page {} of mapping {id} holds something else", page.index() + nth),
                    );
                }
            }
        }
    }
}
