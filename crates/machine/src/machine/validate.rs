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
    /// Pages that pins are of, beside those that are held: where one pin is kept for all of a folio.
    pub pinned: HashSet<Frame>,
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
                self.check_exclusive(frame, &all, known, &mut recount);
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
    fn check_exclusive(&self, head: Frame, all: &PerFrame<Seen>, known: &Known, recount: &mut Recount) {
        let folio = self.page(head);
        let entire = all.of(head).entire;
        let pages = self.memory.frames_of(head);
        let references: i32 = pages.clone().filter_map(|frame| known.held.get(&frame)).sum();
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
            let held = || known.held.get(&frame).is_some_and(|&n| n > 0);
            let here = as_one || known.pinned.contains(&frame) || held();
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

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::super::cpu::{Entry as Queued, Tag};
    use super::super::{CpuId, Gfp, Kind, Layout, MappingId, Page, PageIndex, Pte};
    use super::*;
    use crate::policy::Rules;
    use crate::sync::Ordering;

    const CPU: CpuId = CpuId(0);

    /// One page of each kind, made by hand.
    struct World {
        m: Machine,
        anon: MappingId,
        /// Mapped pages: a single one, one whose references a pin is among, a folio of four, a huge page.
        single: Frame,
        pinned: Frame,
        large: Frame,
        huge: Frame,
        /// Of shared memory, mapped nowhere.
        cached: Frame,
        /// In a batch, on no list yet.
        batched: Frame,
        known: Known,
    }

    impl World {
        fn new() -> Self {
            let layout = Layout { normal: 64, movable: 2047, cma: 0, page_bytes: 64 };
            let rules = Rules { unshare: Unshare::Cow, pin_bias: 1024, ..Rules::blank() };
            let m = Machine::new(rules, &layout, 2);
            let anon = m.map(Kind::Anon, 1024).id;
            let shmem = m.map(Kind::Shmem, 4).id;
            let [single, pinned, batched] = [0, 1, 2].map(|index| mapped(&m, anon, index, 0));
            let (large, huge) = (mapped(&m, anon, 4, 2), mapped(&m, anon, 512, MAX_ORDER));
            [single, pinned, large, huge].iter().for_each(|&frame| list(&m, frame));
            m.page(pinned).get(m.pin_bias(m.page(pinned)));
            queue(&m, Batch::LruAdd, batched);
            let fresh = m.memory.alloc(CPU, Gfp::Movable, 0).unwrap();
            fresh.fill(|_| pattern(shmem, PageIndex(3)));
            let cached = fresh.publish();
            m.page(cached).set(flag::SWAPBACKED);
            m.page(cached).set_mapping(Some(shmem), PageIndex(3));
            m.mapping(shmem).with_cache(PageIndex(3).run(1), |slots| slots.set(Some(cached)));
            list(&m, cached);
            let known = Known { held: HashMap::from([(pinned, 1024)]), ..Known::default() };
            Self { m, anon, single, pinned, large, huge, cached, batched, known }
        }

        fn page(&self, frame: Frame) -> &Page {
            self.m.page(frame)
        }

        /// What a recount finds broken, and where.
        fn broken(&self) -> Vec<(&'static str, Option<Frame>)> {
            let recount = self.m.validate(&self.known);
            assert!(recount.complete && (2000..20_000).contains(&recount.checked), "{}", recount.checked);
            recount.broken.iter().map(|it| (it.invariant, it.frame)).collect()
        }
    }

    /// Pages of an anonymous mapping from `index` on, as a fault makes them.
    fn mapped(m: &Machine, id: MappingId, index: u32, order: u32) -> Frame {
        let (first, vma) = (PageIndex(index), &m.mapping(id).vma);
        let fresh = m.memory.alloc(CPU, Gfp::Movable, order).unwrap();
        fresh.fill(|nth| pattern(id, first + nth));
        let folio = fresh.publish_folio();
        folio.set_mapping(Some(id), first);
        folio.set(flag::ANON | flag::SWAPBACKED);
        let locked = vma.lock(first);
        if order == MAX_ORDER {
            folio.set(flag::ANON_EXCLUSIVE);
            m.memory.add_entire_mapcount(folio.head, 1);
            locked.set_pmd(first, Pte::present(folio.head, true, true));
        } else {
            m.memory.map_fresh(folio, order);
            folio.get((1 << order) - 1);
            for nth in 0..1 << order {
                m.page(folio.head + nth).set(flag::ANON_EXCLUSIVE);
                locked.set(first + nth, Pte::present(folio.head + nth, true, true));
            }
        }
        folio.head
    }

    fn list(m: &Machine, head: Frame) {
        m.lruvec.lock().add(&m.memory, m.memory.folio_at(head));
        m.page(head).set(flag::LRU);
    }

    fn queue(m: &Machine, batch: Batch, frame: Frame) {
        m.page(frame).get(1);
        m.cpu(CPU).lock().push(batch, Queued { frame, tag: Tag::None });
    }

    #[test]
    fn what_does_not_add_up_is_named_and_nothing_else() {
        const ONE_PLACE: &str = "a frame is in one place";
        const PTES: &str = "mapcount is the number of PTEs";
        const FOLIO: &str = "a folio's mapcount is that of its pages";
        const REFS: &str = "refcount is the sum of its references";
        const LRU: &str = "PG_lru agrees with the lists";
        const ISOLATED: &str = "nothing stays isolated";
        const FLAGS: &str = "a page is on the list its flags choose";
        const LOCKED: &str = "nothing stays locked";
        const ONCE: &str = "an exclusive page is mapped once";
        const EXCLUSIVE: &str = "a pinned anonymous page is exclusive";
        const CONTENTS: &str = "contents survive";
        const LINKS: &str = "LRU lists are well linked";
        const WORK: &str = "no drain work is left";
        const MIGRATION: &str = "no migration entry stays";
        type Broken = Vec<(&'static str, Option<Frame>)>;
        type Case = (&'static str, fn(&mut World) -> Broken);

        let cases: [Case; 49] = [
            ("a page has one reference too many", |w| {
                w.page(w.single).get(1);
                vec![(REFS, Some(w.single))]
            }),
            ("a pin that nobody knows of", |w| {
                w.known.held.clear();
                vec![(REFS, Some(w.pinned))]
            }),
            ("so has a page that is in the page cache alone", |w| {
                w.page(w.cached).get(1);
                vec![(REFS, Some(w.cached))]
            }),
            ("a page is counted as mapped once more", |w| {
                w.m.memory.add_mapcount(w.single, 1);
                vec![(FOLIO, Some(w.single)), (PTES, Some(w.single))]
            }),
            ("so is a folio's second page", |w| {
                w.page(w.large + 1).add_mapcount(1);
                vec![(PTES, Some(w.large + 1))]
            }),
            ("so is a folio", |w| {
                w.page(w.large).add_large_mapcount(1);
                vec![(FOLIO, Some(w.large))]
            }),
            ("a huge page is counted as mapped by a PTE", |w| {
                w.page(w.huge).add_mapcount(1);
                vec![(PTES, Some(w.huge))]
            }),
            ("a page is on a list and its flag says it is not", |w| {
                w.page(w.single).clear(flag::LRU);
                vec![(LRU, Some(w.single)), (ISOLATED, Some(w.single))]
            }),
            ("a page is on no list and its flag says it is", |w| {
                w.page(w.batched).set(flag::LRU);
                vec![(LRU, Some(w.batched))]
            }),
            ("a page is isolated", |w| {
                w.m.lruvec.lock().del(&w.m.memory, w.m.memory.folio_at(w.large));
                w.page(w.large).clear(flag::LRU);
                vec![(ISOLATED, Some(w.large))]
            }),
            ("so is one that is never on a list", |w| {
                w.m.lruvec.lock().del(&w.m.memory, w.m.memory.folio_at(w.large));
                w.page(w.large).clear(flag::LRU);
                w.known.never_on_lru.push(w.large);
                vec![]
            }),
            ("a driver's page is, too", |w| {
                w.m.lruvec.lock().del(&w.m.memory, w.m.memory.folio_at(w.single));
                w.page(w.single).clear(flag::LRU);
                w.page(w.single).set(flag::NEVER_LRU);
                vec![]
            }),
            ("a huge page of the pool's is, too", |w| {
                w.m.lruvec.lock().del(&w.m.memory, w.m.memory.folio_at(w.huge));
                w.page(w.huge).clear(flag::LRU);
                w.page(w.huge).set(flag::HUGETLB);
                vec![]
            }),
            ("a page is active and not on that list", |w| {
                w.page(w.single).set(flag::ACTIVE);
                vec![(FLAGS, Some(w.single))]
            }),
            ("a page is locked", |w| {
                w.page(w.single).set(flag::LOCKED);
                vec![(LOCKED, Some(w.single))]
            }),
            ("a page is under writeback", |w| {
                w.page(w.cached).set(flag::WRITEBACK);
                vec![(LOCKED, Some(w.cached))]
            }),
            ("a folio is locked by somebody who has a page of it", |w| {
                w.page(w.large).set(flag::LOCKED);
                w.known.busy.push(w.large + 3);
                vec![]
            }),
            ("a huge page is mapped by two PMDs and exclusive", |w| {
                let child = w.m.mapping(w.anon).fork(w.m.processes.fork(CPU));
                child.lock(PageIndex(512)).set_pmd(PageIndex(512), Pte::present(w.huge, false, false));
                w.m.memory.add_entire_mapcount(w.huge, 1);
                w.page(w.huge).get(1);
                vec![(ONCE, Some(w.huge))]
            }),
            ("a page is mapped by two PTEs and exclusive", |w| {
                let child = w.m.mapping(w.anon).fork(w.m.processes.fork(CPU));
                child.lock(PageIndex(5)).set(PageIndex(5), Pte::present(w.large + 1, false, false));
                w.m.memory.add_mapcount(w.large + 1, 1);
                w.page(w.large).get(1);
                vec![(ONCE, Some(w.large + 1))]
            }),
            ("it is mapped by two and is not exclusive", |w| {
                let child = w.m.mapping(w.anon).fork(w.m.processes.fork(CPU));
                child.lock(PageIndex(5)).set(PageIndex(5), Pte::present(w.large + 1, false, false));
                w.m.memory.add_mapcount(w.large + 1, 1);
                w.page(w.large).get(1);
                w.page(w.large + 1).clear(flag::ANON_EXCLUSIVE);
                vec![]
            }),
            ("a page is pinned and not exclusive", |w| {
                w.page(w.pinned).clear(flag::ANON_EXCLUSIVE);
                vec![(EXCLUSIVE, Some(w.pinned))]
            }),
            ("it is, and others hold references too", |w| {
                w.page(w.pinned).clear(flag::ANON_EXCLUSIVE);
                w.page(w.pinned).get(1);
                *w.known.held.get_mut(&w.pinned).unwrap() += 1;
                vec![]
            }),
            ("it is, where kernels cared for no such thing", |w| {
                w.m.rules.unshare = Unshare::Never;
                w.page(w.pinned).clear(flag::ANON_EXCLUSIVE);
                vec![]
            }),
            ("it is mapped nowhere any more", |w| {
                w.page(w.pinned).clear(flag::ANON_EXCLUSIVE);
                w.m.mapping(w.anon).vma.lock(PageIndex(1)).clear_flush(PageIndex(1), Pte::NONE);
                w.m.memory.add_mapcount(w.pinned, -1);
                assert!(!w.page(w.pinned).put_testzero(1));
                vec![]
            }),
            ("a page of a folio is held, and not exclusive", |w| {
                w.page(w.large + 2).clear(flag::ANON_EXCLUSIVE);
                w.page(w.large).get(1);
                w.page(w.large).add_pincount(1);
                w.known.held.insert(w.large + 2, 1);
                vec![(EXCLUSIVE, Some(w.large + 2))]
            }),
            ("another page of the folio is held", |w| {
                w.page(w.large + 2).clear(flag::ANON_EXCLUSIVE);
                w.page(w.large).get(1);
                w.page(w.large).add_pincount(1);
                w.known.held.insert(w.large + 1, 1);
                vec![]
            }),
            ("a huge page is pinned and not exclusive", |w| {
                w.page(w.huge).clear(flag::ANON_EXCLUSIVE);
                w.page(w.huge).get(1);
                w.page(w.huge).add_pincount(1);
                w.known.held.insert(w.huge + 7, 1);
                vec![(EXCLUSIVE, Some(w.huge))]
            }),
            ("a PMD maps it, and a PTE of it is exclusive by the head", |w| {
                let child = w.m.mapping(w.anon).fork(w.m.processes.fork(CPU));
                child.lock(PageIndex(513)).set(PageIndex(513), Pte::present(w.huge + 1, false, false));
                w.m.memory.add_mapcount(w.huge + 1, 1);
                w.page(w.huge).get(1);
                vec![(ONCE, Some(w.huge + 1))]
            }),
            ("contents are others'", |w| {
                w.m.memory.payload.store(w.single, 7, 1);
                vec![(CONTENTS, Some(w.single))]
            }),
            ("so are those of a folio's last page", |w| {
                w.m.memory.payload.store(w.large + 3, 7, 1);
                vec![(CONTENTS, Some(w.large + 3))]
            }),
            ("so are those of a page that is in the page cache alone", |w| {
                w.m.memory.payload.store(w.cached, 0, 1);
                vec![(CONTENTS, Some(w.cached))]
            }),
            ("a device has written to what it has pinned", |w| {
                w.m.memory.payload.store(w.pinned, 7, 1);
                vec![]
            }),
            ("a link leads nowhere", |w| {
                w.page(w.single).prev.store(w.huge, Ordering::Relaxed);
                vec![(LINKS, None)]
            }),
            ("a page is tagged for another list", |w| {
                w.page(w.single).list.store(5, Ordering::Relaxed);
                vec![(LINKS, None)]
            }),
            ("drain work is left", |w| {
                w.m.cpu(CpuId(1)).queue_drain();
                vec![(WORK, None)]
            }),
            ("a page is under a migration entry", |w| {
                let entry = Pte::present(w.single, true, true).to_migration(true);
                w.m.mapping(w.anon).vma.lock(PageIndex(0)).clear_flush(PageIndex(0), entry);
                w.m.memory.add_mapcount(w.single, -1);
                w.known.held.insert(w.single, 1);
                vec![(MIGRATION, Some(w.single))]
            }),
            ("a page that is in use is free, too", |w| {
                w.m.lruvec.lock().del(&w.m.memory, w.m.memory.folio_at(w.cached));
                w.page(w.cached).clear(flag::LRU);
                w.m.mapping(MappingId(1)).with_cache(PageIndex(3).run(1), |slots| slots.set(None));
                assert!(w.page(w.cached).put_testzero(1));
                w.m.memory.free(CPU, w.cached);
                w.page(w.cached).first_ref();
                w.known.held.insert(w.cached, 1);
                w.known.never_on_lru.push(w.cached);
                vec![(ONE_PLACE, Some(w.cached))]
            }),
            ("a page that is nowhere is lost", |w| {
                let lost = w.m.memory.alloc(CPU, Gfp::Movable, 0).unwrap().publish();
                assert!(w.page(lost).put_testzero(1));
                vec![(ONE_PLACE, Some(lost))]
            }),
            ("so is a large folio", |w| {
                let lost = w.m.memory.alloc(CPU, Gfp::Movable, 1).unwrap().publish();
                assert!(w.page(lost).put_testzero(1));
                vec![(ONE_PLACE, Some(lost)), (ONE_PLACE, Some(lost + 1))]
            }),
            ("a tail is in a batch", |w| {
                w.m.cpu(CPU).lock().push(Batch::Activate, Queued { frame: w.large + 1, tag: Tag::None });
                vec![(ONE_PLACE, Some(w.large + 1))]
            }),
            ("a page of a free block is on a list and in a batch", |w| {
                let frame = Frame(1024 + 5);
                assert_eq!(w.m.memory.head(frame), Frame(1024));
                w.m.lruvec.lock().add(&w.m.memory, w.m.memory.folio_at(frame));
                w.m.cpu(CPU).lock().push(Batch::LruAdd, Queued { frame, tag: Tag::None });
                vec![(ONE_PLACE, Some(frame))]
            }),
            ("what is mapped no more holds something else", |w| {
                w.m.mapping(w.anon).vma.lock(PageIndex(2)).clear_flush(PageIndex(2), Pte::NONE);
                w.m.memory.add_mapcount(w.batched, -1);
                assert!(!w.page(w.batched).put_testzero(1));
                w.m.memory.payload.store(w.batched, 0, 1);
                vec![]
            }),
            ("a page's only reference is that of a batch", |w| {
                let frame = w.m.memory.alloc(CPU, Gfp::Movable, 0).unwrap().publish();
                w.m.cpu(CPU).lock().push(Batch::LruAdd, Queued { frame, tag: Tag::None });
                vec![]
            }),
            ("a page that is queued for what takes it off no list is isolated", |w| {
                let frame = w.m.memory.alloc(CPU, Gfp::Movable, 0).unwrap().publish();
                w.m.cpu(CPU).lock().push(Batch::Activate, Queued { frame, tag: Tag::None });
                vec![(ISOLATED, Some(frame))]
            }),
            ("a page is queued with its flag cleared, and is on its list", |w| {
                w.m.rules.queueing_clears_lru = true;
                queue(&w.m, Batch::Activate, w.single);
                w.page(w.single).clear(flag::LRU);
                vec![]
            }),
            ("it is, where queueing clears no flag", |w| {
                queue(&w.m, Batch::Activate, w.single);
                w.page(w.single).clear(flag::LRU);
                vec![(LRU, Some(w.single)), (ISOLATED, Some(w.single))]
            }),
            ("a page that is new is queued twice, and on no list", |w| {
                w.m.rules.queueing_clears_lru = true;
                queue(&w.m, Batch::Mlock, w.batched);
                vec![]
            }),
            ("a pin that was lost is still known of", |w| {
                w.known.held.clear();
                w.m.leak(std::iter::once(w.pinned));
                vec![]
            }),
            ("the zero page is mapped", |w| {
                w.m.mapping(w.anon).vma.lock(PageIndex(9)).set(PageIndex(9), Pte::ZERO);
                vec![]
            }),
        ];
        let sound = World::new();
        assert_eq!(sound.broken(), []);
        assert_eq!([sound.huge, sound.large].map(|head| sound.m.memory.entire_mapcount(head)), [1, 0]);
        for (what, act) in cases {
            let mut world = World::new();
            let wanted = act(&mut world);
            assert_eq!(world.broken(), wanted, "{what}");
        }
    }
}
