//! Who has a page locked or under writeback for a while, as file systems and reclaim do.
//!
//! Whoever looks a page up has a reference on it until it is through, and so one for a moment
//! after its lock or writeback has ended: others may come between.

use crate::drive::{Driver, Step};
use crate::machine::{Frame, Mapping, PageIndex};
use crate::ops::floor::Task;
use crate::policy::Errno;

impl<D: Driver> Task<'_, D> {
    /// Looks up and locks a page, unless there is none or another has it locked: `folio_trylock`.
    pub fn trylock_page(&self, mapping: &Mapping, index: PageIndex) -> Option<Frame> {
        let frame = self.get_mapped(&mapping.vma, index)?;
        if self.trylock(frame) {
            return Some(frame);
        }
        self.put(frame, 1);
        None
    }

    /// The same, but waits for whoever has it locked (`folio_lock`), and faults in what is missing.
    /// `had` is what the caller has locked or under writeback already.
    ///
    /// # Errors
    /// As [`touch`](Self::touch); `EINVAL`: the page lies in a folio that the caller has, and would
    /// wait for itself; `EINTR`: killed.
    pub fn lock_page(&self, mapping: &Mapping, index: PageIndex, had: &[Frame]) -> Result<Frame, Errno> {
        self.read(mapping, index.run(1))?;
        let frame = mapping.vma.lock(index).get(index).frame();
        if had.iter().any(|&had| self.head(had) == self.head(frame)) {
            return Err(Errno::EINVAL);
        }
        self.folio(frame).get(1);
        if self.lock(frame) {
            return Ok(frame);
        }
        self.put(frame, 1);
        Err(Errno::EINTR)
    }

    /// Unlocks such a page, and lets it go.
    pub fn unlock_page(&self, frame: Frame) {
        self.unlock(frame);
        self.let_go(frame);
    }

    /// Starts the writeback of a page that it has locked, and unlocks it; where one is under way
    /// already, it lets go. Returns whether it has begun.
    pub fn begin_writeback(&self, frame: Frame) -> bool {
        let started = self.start_writeback(frame);
        self.unlock(frame);
        if !started {
            self.put(frame, 1);
        }
        started
    }

    /// Such a writeback is done.
    pub fn finish_writeback(&self, frame: Frame) {
        self.end_writeback(frame);
        self.rotate_reclaimable(frame);
        self.let_go(frame);
    }

    fn let_go(&self, frame: Frame) {
        self.step(Step::Hold, frame);
        self.put(frame, 1);
    }
}
