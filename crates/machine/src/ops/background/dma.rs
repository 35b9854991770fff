//! What a pin is for: a device that writes through the frame it was given, or reads what the
//! program writes.
//!
//! Each device owns one 64-bit word of every page. It, or the program for it, writes a token there
//! while it holds the pin; before unpinning, the mapping must still show the
//! frame and the frame the token. Afterwards the word is what it was.

use crate::drive::Driver;
use crate::machine::payload::pattern;
use crate::machine::{Frame, Mapping, PageIndex, PageRange};
use crate::observe::Event;
use crate::ops::floor::Task;
use crate::policy::Errno;

/// A device: which word is its own, and what it writes.
#[derive(Debug, Clone, Copy)]
pub struct Dma {
    /// Index of its word in each page.
    pub word: usize,
    /// Told apart from other devices' and earlier transfers'.
    pub token: u64,
}

/// A transfer that did not reach its mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct DmaError {
    /// Page of the mapping.
    pub index: PageIndex,
    /// The frame that was pinned.
    pub frame: Frame,
    /// The frame that the mapping shows now, if any.
    pub mapped: Option<Frame>,
    /// Whether the frame still holds the token.
    pub token_kept: bool,
}

impl<D: Driver> Task<'_, D> {
    /// Writes the device's token into every pinned page.
    pub fn dma_start(&self, dma: Dma, pages: &[Frame]) {
        for &frame in pages {
            self.m.memory.payload.store(frame, dma.word, dma.token);
        }
    }

    /// The program writes the token, through the mapping, for a device that reads. What it cannot
    /// write is left to be found wanting.
    ///
    /// # Errors
    /// `EINTR`: it is killed, and its transfer is over with it.
    pub fn dma_publish(&self, dma: Dma, mapping: &Mapping, range: PageRange) -> Result<(), Errno> {
        for index in range {
            loop {
                match self.touch(mapping, index.run(1)) {
                    Ok(()) => {}
                    Err(Errno::EINTR) => return Err(Errno::EINTR),
                    Err(_) => break,
                }
                let locked = mapping.vma.lock(index);
                let pte = locked.get(index);
                if pte.is_present() && pte.is_writable() {
                    // Under the lock: whoever moves the page clears its PTE before he copies it.
                    self.m.memory.payload.store(pte.frame(), dma.word, dma.token);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Checks that the mapping shows each frame and each frame the token, and
    /// restores the contents. Returns the first page that does not.
    pub fn dma_finish(
        &self,
        dma: Dma,
        mapping: &Mapping,
        range: PageRange,
        pages: &[Frame],
    ) -> Option<DmaError> {
        let mut wrong = None;
        for (index, &frame) in range.zip(pages) {
            let mut named = mapping.named(index, mapping.vma.pte(index));
            if named != Some(frame) {
                // Unmapping clears a PTE before it finds the page pinned and
                // puts it back; the lock waits for that to be over.
                let pte = mapping.vma.lock(index).get(index);
                named = mapping.named(index, pte);
            }
            let token_kept = self.m.memory.payload.load(frame, dma.word) == dma.token;
            // Also by a migration entry: someone tries to move it and will fail.
            let shown = named == Some(frame);
            if !(shown && token_kept) && wrong.is_none() {
                wrong = Some(DmaError { index, frame, mapped: named, token_kept });
            }
            self.m.memory.payload.store(frame, dma.word, pattern(mapping.id, index));
            // What the program wrote for a device that had another frame is where the program sees it.
            if let Some(other) = named.filter(|&other| other != frame)
                && self.m.memory.payload.load(other, dma.word) == dma.token
            {
                self.m.memory.payload.store(other, dma.word, pattern(mapping.id, index));
            }
        }
        self.count.add(Event::DmaChecked, pages.len() as u64);
        wrong
    }
}
