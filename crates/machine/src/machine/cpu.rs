//! What each CPU owns: its batches and its drain work.
//!
//! # Batches and the generation of `lru_add_drain_all`
//!
//! A batch is changed under the CPU's local lock. `pending` says, without the
//! lock, which batches hold anything; it is written under the lock after the
//! entry went in. `lru_add_drain_all` must not miss an entry that was queued
//! before it was called: its full barrier (A) before it loads the generation
//! orders the caller's own queueing, and the full barrier (B) after it bumped
//! the generation stands before it reads `pending`. Whoever finds the
//! generation moved since (A) knows that another caller's reads of `pending`
//! came after (B), hence after his entries (`ops::drain`). What is in a batch is
//! read under its lock, so `pending` itself orders nothing.

use super::ids::Frame;
use crate::sync::{AtomicU32, Mutex, MutexGuard, Ordering, Rank};

/// A per-CPU batch of pages on their way to or between LRU lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Batch {
    /// New pages, not yet on a list.
    LruAdd,
    /// To the tail of the inactive list (after writeback).
    MoveTail,
    /// File pages to deactivate.
    DeactivateFile,
    /// Pages to deactivate (`MADV_COLD`).
    Deactivate,
    /// Anonymous pages to free lazily (`MADV_FREE`).
    Lazyfree,
    /// Pages to activate (`folio_mark_accessed`).
    Activate,
    /// Pages mlocked or munlocked.
    Mlock,
}

impl Batch {
    /// All seven, in the order in which a drain takes them.
    pub const ALL: [Self; 7] = [
        Self::LruAdd,
        Self::MoveTail,
        Self::DeactivateFile,
        Self::Deactivate,
        Self::Lazyfree,
        Self::Activate,
        Self::Mlock,
    ];

    fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// What an entry of the mlock batch is for; entries of the others have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// `munlock_folio`, and every entry of another batch.
    None,
    /// `mlock_folio` of a page that may be on a list (`LRU_FOLIO`).
    Lru,
    /// `mlock_new_folio`: a fresh page, on no list yet (`NEW_FOLIO`).
    New,
}

/// An entry of a batch: a page, with a reference on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The page.
    pub frame: Frame,
    /// What for.
    pub tag: Tag,
}

/// Entries of one CPU's batches; reached through [`Cpu::lock`].
#[derive(Debug, Clone)]
pub struct Batches {
    lists: [Vec<Entry>; Batch::ALL.len()],
    /// Bits of those that hold anything.
    filled: u32,
}

impl Batches {
    fn new(batch_size: usize) -> Self {
        Self { lists: std::array::from_fn(|_| Vec::with_capacity(batch_size)), filled: 0 }
    }

    /// Entries of one batch.
    pub fn list(&self, batch: Batch) -> &[Entry] {
        &self.lists[batch as usize]
    }

    /// Adds an entry to a batch; how many it has then.
    #[inline]
    pub fn push(&mut self, batch: Batch, entry: Entry) -> usize {
        let list = &mut self.lists[batch as usize];
        list.push(entry);
        self.filled |= batch.bit();
        list.len()
    }

    /// Empties a batch by what `apply` does with its entries, unless it is empty.
    #[inline]
    pub fn drain(&mut self, batch: Batch, apply: impl FnOnce(&[Entry])) {
        if self.filled & batch.bit() != 0 {
            let list = &mut self.lists[batch as usize];
            apply(list);
            list.clear();
            self.filled &= !batch.bit();
        }
    }

    /// Every entry with its batch.
    pub fn entries(&self) -> impl Iterator<Item = (Batch, Frame)> + '_ {
        let lists = Batch::ALL.into_iter().zip(&self.lists);
        lists.flat_map(|(batch, list)| list.iter().map(move |entry| (batch, entry.frame)))
    }
}

/// The local lock, held; on release `pending` is brought up to date.
#[derive(Debug)]
pub struct LocalLocked<'a> {
    cpu: &'a Cpu,
    guard: MutexGuard<'a, Batches>,
}

impl std::ops::Deref for LocalLocked<'_> {
    type Target = Batches;
    #[inline]
    fn deref(&self) -> &Batches {
        &self.guard
    }
}

impl std::ops::DerefMut for LocalLocked<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Batches {
        &mut self.guard
    }
}

impl Drop for LocalLocked<'_> {
    #[inline]
    fn drop(&mut self) {
        let filled = self.guard.filled;
        if filled != self.cpu.pending.load(Ordering::Relaxed) {
            self.cpu.pending.store(filled, Ordering::Relaxed);
        }
    }
}

/// One simulated CPU.
#[derive(Debug)]
pub struct Cpu {
    batches: Mutex<Batches>,
    pending: AtomicU32,
    /// Drain works queued so far, and done so far.
    queued: AtomicU32,
    done: AtomicU32,
}

impl Cpu {
    /// A CPU with empty batches that hold up to `batch_size` pages.
    pub fn new(batch_size: usize) -> Self {
        Self {
            batches: Mutex::ranked(Rank::Local, Batches::new(batch_size)),
            pending: AtomicU32::new(0),
            queued: AtomicU32::new(0),
            done: AtomicU32::new(0),
        }
    }

    /// Takes the local lock. Never held across a step.
    #[inline]
    pub fn lock(&self) -> LocalLocked<'_> {
        LocalLocked { cpu: self, guard: self.batches.lock() }
    }

    /// `cpu_needs_drain`, without the lock.
    #[inline]
    pub fn needs_drain(&self) -> bool {
        self.pending.load(Ordering::Relaxed) != 0
    }

    /// Whether the mlock batch holds anything, without the lock.
    #[inline]
    pub fn needs_mlock_drain(&self) -> bool {
        self.pending.load(Ordering::Relaxed) & Batch::Mlock.bit() != 0
    }

    /// `queue_work_on`: asks this CPU's kworker for a drain; returns the ticket to wait for.
    pub fn queue_drain(&self) -> u32 {
        // The barrier (B) stands before it: the kworker sees the entry.
        self.queued.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The newest ticket, if its work has not been done: what a kworker waits for.
    pub fn drain_wanted(&self) -> Option<u32> {
        let queued = self.queued.load(Ordering::Acquire);
        (queued != self.done.load(Ordering::Relaxed)).then_some(queued)
    }

    /// Marks all work up to `ticket` done.
    pub fn drain_done(&self, ticket: u32) {
        self.done.store(ticket, Ordering::Release);
    }

    /// Whether the work behind `ticket` has been done: what `flush_work` waits for.
    pub fn is_drained(&self, ticket: u32) -> bool {
        // Tickets wrap; the distance does not.
        (self.done.load(Ordering::Acquire).wrapping_sub(ticket) as i32) >= 0
    }
}

crate::restore!(Cpu { batches, pending, queued, done });

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::machine::{CpuId, Layout, Machine};
    use crate::policy::Rules;

    #[test]
    fn a_batch_that_is_said_to_be_filled_and_is_not_shows_in_the_digest() {
        let layout = Layout { normal: 64, movable: 64, cma: 0, page_bytes: 64 };
        let m = Machine::new(Rules::blank(), &layout, 1);
        let empty = m.digest();
        let cpu = m.cpu(CpuId(0));
        cpu.pending.store(Batch::Activate.bit(), Ordering::Relaxed);
        assert!(cpu.needs_drain());
        assert_ne!(m.digest(), empty);
        assert!(!cpu.needs_drain(), "who locks it puts that right");
        assert_eq!(m.digest(), empty);
    }
}
