//! What gives pages up, and what devices have written there before.

use super::book::Ending;
use super::session::{Session, Stage};
use crate::drive::sim::SimThread;
use crate::machine::{CpuId, Mapping, MappingId, PageRange, pages};
use crate::ops::{Errno, Task};
use crate::script::OpError;
use std::sync::Arc;

/// Something that gives up pages of a mapping.
type GiveUp = fn(&Task<'_, SimThread<'_>>, &Mapping, PageRange) -> Result<(), Errno>;

impl<S: Stage> Session<S> {
    /// Gives pages up, after taking what devices have written over into the mapping.
    pub(super) fn give_up(
        &mut self,
        word: &'static str,
        (cpu, mapping, range): (CpuId, MappingId, PageRange),
        act: GiveUp,
    ) -> Result<(), OpError> {
        let book = Arc::clone(&self.book);
        let (wrong, ended) = self.on(cpu, mapping, range, move |t, m, range| {
            let ending = book.lock().leaves(m.id, &range);
            let finish = |Ending { dma, range, frames }| t.dma_finish(dma, m, range, &frames);
            let wrong = ending.into_iter().find_map(finish);
            let ended = act(t, m, range.clone());
            book.lock().left(m.id, &range);
            (wrong, ended)
        })?;
        wrong.map_or(Ok(()), |wrong| Err(Self::lost(wrong)))?;
        ended.map_err(|errno| self.failed(word, errno))?;
        self.unless_stopped()
    }

    /// `madvise(MADV_DONTNEED)`: the next access gets another page, or the cached one of
    /// shared memory. What is pinned stays with its device alone.
    pub fn dontneed(&mut self, cpu: CpuId, mapping: MappingId, range: PageRange) -> Result<(), OpError> {
        self.give_up("dontneed", (cpu, mapping, range), |t, m, r| t.madvise_dontneed(m, r))
    }

    /// `madvise(MADV_REMOVE)`: a hole in the file. What is pinned stays with its device alone.
    pub fn remove(&mut self, cpu: CpuId, mapping: MappingId, range: PageRange) -> Result<(), OpError> {
        self.give_up("remove", (cpu, mapping, range), |t, m, r| t.madvise_remove(m, r))
    }

    /// Unmaps part of a mapping, or all of it for good. A frame that is pinned lives until its pin
    /// is dropped.
    pub fn munmap(&mut self, cpu: CpuId, mapping: MappingId, range: PageRange) -> Result<(), OpError> {
        self.check(mapping, &range)?;
        if range == self.machine().mapping(mapping).vma.pages() {
            return self.unmap(cpu, mapping);
        }
        self.give_up("unmap", (cpu, mapping, range), |t, m, r| t.munmap(m, r))
    }

    /// Unmaps a mapping for good. A frame that is pinned lives until its pin is dropped.
    pub fn unmap(&mut self, cpu: CpuId, mapping: MappingId) -> Result<(), OpError> {
        self.check(mapping, &pages(0..1))?;
        let all = self.machine().mapping(mapping).vma.pages();
        self.give_up("unmap", (cpu, mapping, all), |t, m, _| {
            t.unmap(m);
            Ok(())
        })
    }

    /// `exec`: the address space goes, and who holds pins in it keeps them: the frames are the
    /// devices' alone.
    pub fn exec(&mut self, cpu: CpuId) -> Result<(), OpError> {
        let mapped = |mapping: &&Mapping| !mapping.vma.is_gone();
        let all: Vec<MappingId> =
            self.machine().mappings().filter(mapped).map(|mapping| mapping.id).collect();
        all.into_iter().try_for_each(|mapping| self.unmap(cpu, mapping))
    }

    /// `exit`, or a signal that kills: the address space goes, then with the files its pins.
    pub fn exit(&mut self, cpu: CpuId) -> Result<(), OpError> {
        self.exec(cpu)?;
        let book = self.book.lock();
        let held: Vec<usize> = (0..book.pins.len()).filter(|&pin| book.pins[pin].is_some()).collect();
        drop(book);
        held.into_iter().try_for_each(|pin| self.unpin_if_held(cpu, pin).map(drop))
    }
}
