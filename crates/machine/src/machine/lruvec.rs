//! The LRU lists of a node, under one lock.
//!
//! Links are frame numbers in the pages themselves. [`Lists::validate`]
//! recounts everything that is kept twice (length, list tag, back links).

use super::folio::Folio;
use super::ids::{Frame, NO_FRAME};
use super::memory::Memory;
use super::page::{Page, flag};
use crate::sync::{Mutex, MutexGuard, Ordering, Rank};

/// `enum lru_list`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lru {
    /// `LRU_INACTIVE_ANON`
    InactiveAnon,
    /// `LRU_ACTIVE_ANON`
    ActiveAnon,
    /// `LRU_INACTIVE_FILE`
    InactiveFile,
    /// `LRU_ACTIVE_FILE`
    ActiveFile,
    /// `LRU_UNEVICTABLE`
    Unevictable,
}

impl Lru {
    /// All five.
    pub const ALL: [Self; 5] =
        [Self::InactiveAnon, Self::ActiveAnon, Self::InactiveFile, Self::ActiveFile, Self::Unevictable];

    /// `folio_lru_list`: the list that the flags choose.
    pub fn of(flags: u32) -> Self {
        if flags & flag::UNEVICTABLE != 0 {
            return Self::Unevictable;
        }
        match (flags & flag::SWAPBACKED != 0, flags & flag::ACTIVE != 0) {
            (true, false) => Self::InactiveAnon,
            (true, true) => Self::ActiveAnon,
            (false, false) => Self::InactiveFile,
            (false, true) => Self::ActiveFile,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct List {
    head: Frame,
    tail: Frame,
    len: usize,
}

impl List {
    /// Makes `after` follow `prev` and `before` precede `next`; past an end, the list's own.
    fn link(&mut self, memory: &Memory, prev: Frame, next: Frame, after: Frame, before: Frame) {
        if prev == NO_FRAME {
            self.head = after;
        } else {
            memory.page(prev).next.store(after, Ordering::Relaxed);
        }
        if next == NO_FRAME {
            self.tail = before;
        } else {
            memory.page(next).prev.store(before, Ordering::Relaxed);
        }
    }
}

/// The five lists; reached through [`Lruvec::lock`].
#[derive(Debug, Clone)]
pub struct Lists([List; 5]);

/// A node's LRU lists.
#[derive(Debug)]
pub struct Lruvec {
    lists: Mutex<Lists>,
}

impl Lruvec {
    /// Five empty lists.
    pub fn new() -> Self {
        let empty = List { head: NO_FRAME, tail: NO_FRAME, len: 0 };
        Self { lists: Mutex::ranked(Rank::Lruvec, Lists([empty; 5])) }
    }

    /// Takes the lruvec lock. Never held across a step.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock()
    }
}

impl Default for Lruvec {
    fn default() -> Self {
        Self::new()
    }
}

impl Lists {
    /// `lruvec_add_folio`: to the head of the list that its flags choose.
    pub(crate) fn add(&mut self, memory: &Memory, folio: Folio<'_>) {
        self.insert(memory, folio, true);
    }

    /// `lruvec_add_folio_tail`.
    pub(crate) fn add_tail(&mut self, memory: &Memory, folio: Folio<'_>) {
        self.insert(memory, folio, false);
    }

    fn insert(&mut self, memory: &Memory, folio: Folio<'_>, at_head: bool) {
        let (frame, flags) = (folio.head, folio.flags());
        let lru = Lru::of(flags);
        if flags & (flag::SWAPBACKED | flag::REFERENCED) == 0 {
            folio.set(flag::OLDEST);
        } else {
            folio.clear(flag::OLDEST);
        }
        debug_assert_eq!(folio.list.load(Ordering::Relaxed), 0, "frame {frame} is on a list already");
        let list = &mut self.0[lru as usize];
        let (prev, next) = if at_head { (NO_FRAME, list.head) } else { (list.tail, NO_FRAME) };
        folio.prev.store(prev, Ordering::Relaxed);
        folio.next.store(next, Ordering::Relaxed);
        folio.list.store(lru as u32 + 1, Ordering::Relaxed);
        list.link(memory, prev, next, frame, frame);
        list.len += 1;
    }

    /// `lruvec_del_folio`: off the list it is on.
    pub(crate) fn del(&mut self, memory: &Memory, folio: Folio<'_>) {
        let tag = folio.list.load(Ordering::Relaxed);
        folio.list.store(0, Ordering::Relaxed);
        debug_assert_ne!(tag, 0, "frame {} is on no list", folio.head);
        let list = &mut self.0[tag as usize - 1];
        let (prev, next) = (folio.prev.load(Ordering::Relaxed), folio.next.load(Ordering::Relaxed));
        list.link(memory, prev, next, next, prev);
        list.len -= 1;
    }

    /// The page at the tail of a list: what reclaim looks at first.
    pub fn tail(&self, lru: Lru) -> Option<Frame> {
        Some(self.0[lru as usize].tail).filter(|&frame| frame != NO_FRAME)
    }

    /// The page before `frame` on its list.
    pub fn before(memory: &Memory, frame: Frame) -> Option<Frame> {
        Some(memory.page(frame).prev.load(Ordering::Relaxed)).filter(|&frame| frame != NO_FRAME)
    }

    /// Walks every list; `seen` gets each page once, `broken` what does not add up.
    pub fn validate(
        &self,
        memory: &Memory,
        mut seen: impl FnMut(Frame, Lru),
        mut broken: impl FnMut(String),
    ) {
        for lru in Lru::ALL {
            let list = &self.0[lru as usize];
            let (mut frame, mut before, mut count) = (list.head, NO_FRAME, 0);
            while frame != NO_FRAME && count <= list.len {
                let page = memory.page(frame);
                if page.prev.load(Ordering::Relaxed) != before {
                    broken(format!("{lru:?}: back link of frame {frame} is wrong"));
                }
                if page.list.load(Ordering::Relaxed) != lru as u32 + 1 {
                    broken(format!("{lru:?}: frame {frame} is tagged for another list"));
                }
                seen(frame, lru);
                before = frame;
                frame = page.next.load(Ordering::Relaxed);
                count += 1;
            }
            if count != list.len || list.tail != before {
                broken(format!("{lru:?}: {count} pages linked, {} counted", list.len));
            }
        }
    }
}

/// The list a page is tagged for; only meaningful under the lruvec lock.
pub fn list_of(page: &Page) -> Option<Lru> {
    page.list.load(Ordering::Relaxed).checked_sub(1).map(|tag| Lru::ALL[tag as usize])
}

crate::restore!(Lruvec { lists });

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::machine::{CpuId, Gfp, Layout};

    /// Two pages on one list, the second at its head, and the lists as they are then.
    fn listed(act: impl FnOnce(&mut List)) -> (Memory, [Frame; 2], Vec<String>) {
        let memory = Memory::build(&Layout { normal: 64, movable: 64, cma: 0, page_bytes: 64 }, 1).unwrap();
        let lruvec = Lruvec::new();
        let mut lists = lruvec.lock();
        let pages = [(); 2].map(|()| memory.alloc(CpuId(0), Gfp::Movable, 0).unwrap().publish());
        pages.into_iter().for_each(|page| lists.add(&memory, memory.folio_at(page)));
        act(&mut lists.0[Lru::InactiveFile as usize]);
        let mut broken = Vec::new();
        lists.validate(&memory, |_, _| {}, |found| broken.push(found));
        drop(lists);
        (memory, pages, broken)
    }

    #[test]
    fn a_page_says_which_list_it_is_on() {
        let (memory, pages, broken) = listed(|_| {});
        assert_eq!(
            (pages.map(|page| list_of(memory.page(page))), broken),
            ([Some(Lru::InactiveFile); 2], vec![])
        );
        assert_eq!(list_of(memory.page(pages[0] + 2)), None);
    }

    #[test]
    fn a_page_of_a_file_that_nobody_has_used_is_of_the_oldest_generation() {
        for (flags, oldest) in [
            (0, true),
            (flag::DIRTY, true),
            (flag::SWAPBACKED, false),
            (flag::REFERENCED, false),
            (flag::SWAPBACKED | flag::REFERENCED, false),
        ] {
            let (memory, pages, _) = listed(|_| {});
            let (lruvec, page) = (Lruvec::new(), memory.page(pages[0]));
            page.list.store(0, Ordering::Relaxed);
            page.set(flags | flag::OLDEST);
            lruvec.lock().add(&memory, memory.folio_at(pages[0]));
            assert_eq!(page.has(flag::OLDEST), oldest, "{flags:x}");
        }
    }

    #[test]
    fn a_wrong_length_and_a_wrong_end_are_found_each_by_itself() {
        let found = ["InactiveFile: 2 pages linked, 3 counted", "InactiveFile: 2 pages linked, 2 counted"];
        assert_eq!(listed(|list| list.len += 1).2, found[..1]);
        assert_eq!(listed(|list| list.tail = list.head).2, found[1..]);
    }
}
