//! What can be done to the machine of a session, by number or by a script's names.

use super::book::Live;
use super::session::{Outcome, Session, Stage};
use crate::drive::sim::SimThread;
use crate::judge::Class;
use crate::machine::{
    Accounts, Backing, CpuId, Frame, Kind, MAX_ORDER, Mapping, MappingId, PageIndex, PageRange, ZoneKind,
    pages,
};
use crate::ops::{Errno, Task};
use crate::script::{Counted, Has, Name, Op, OpError, Pages, Part, Player};
use std::ops::Range;
use toml::Value;

impl<S: Stage> Session<S> {
    /// Maps `pages` fresh pages, none present; returns the mapping's number.
    pub fn map(&mut self, backing: impl Into<Backing>, pages: u32) -> Result<MappingId, OpError> {
        let frames = self.machine().memory.frames();
        if pages == 0 || pages > frames {
            return Err(OpError::Misuse(format!("{pages} pages cannot be mapped: 1 to {frames} can")));
        }
        let backing = backing.into();
        if backing.kind.is_hugetlb() {
            let huge = 1 << MAX_ORDER;
            if !pages.is_multiple_of(huge) {
                let near = pages.next_multiple_of(huge);
                return Err(OpError::Misuse(format!(
                    "{pages} pages are not whole huge pages; nearest: {near}"
                )));
            }
        }
        let mapping = self.stage.map(&self.m, backing, pages);
        if backing.kind.is_hugetlb() && !self.m.reserve_hugetlb(CpuId(0), mapping, pages >> MAX_ORDER) {
            self.m.mapping(mapping).vma.set_gone();
            return Err(OpError::Refused { word: "map", errno: Errno::ENOMEM });
        }
        Ok(mapping)
    }

    /// `vm.nr_hugepages`: first none, then so many.
    pub fn hugepool(&mut self, cpu: CpuId, pages: u32) -> Result<(), OpError> {
        self.check_cpu(cpu)?;
        self.m.set_hugetlb_pool(cpu, 0);
        self.m.set_hugetlb_pool(cpu, pages);
        Ok(())
    }

    /// What limits callers, to be told otherwise while nothing is pinned: what was pinned without
    /// a limit, nobody has counted.
    fn limits(&self, word: &str, limit: u32) -> Result<&Accounts, OpError> {
        if self.book.lock().pins.iter().any(Option::is_some) {
            return Err(OpError::Misuse(format!(
                "{word} {limit}: pages are pinned that nobody has counted; nearest: {word} {limit} before the first pin"
            )));
        }
        Ok(&self.m.accounts)
    }

    /// Leaves no free block of more than a page outside Movable.
    pub fn fragment(&mut self, cpu: CpuId) -> Result<(), OpError> {
        self.call(cpu, |t| _ = t.fragment())?;
        self.unless_stopped()
    }

    /// Lets scripts know a mapping by a name.
    pub fn call_it(&mut self, name: Name, mapping: MappingId) {
        self.names.insert(name, mapping);
    }

    /// Runs an operation on part of a mapping.
    pub(super) fn on<R: 'static>(
        &mut self,
        cpu: CpuId,
        mapping: MappingId,
        range: PageRange,
        operation: impl FnOnce(&Task<'_, SimThread<'_>>, &Mapping, PageRange) -> R + 'static,
    ) -> Result<R, OpError> {
        self.check(mapping, &range)?;
        self.call(cpu, move |task| operation(task, task.m.mapping(mapping), range))
    }

    /// Runs one that may fail, under its word.
    fn try_on<R: 'static>(
        &mut self,
        word: &'static str,
        (cpu, mapping, range): (CpuId, MappingId, PageRange),
        operation: impl FnOnce(&Task<'_, SimThread<'_>>, &Mapping, PageRange) -> Result<R, Errno> + 'static,
    ) -> Result<R, OpError> {
        let result = self.on(cpu, mapping, range, operation)?;
        result.map_err(|errno| self.failed(word, errno))
    }

    /// Why an operation has failed, under its word.
    pub(super) fn failed(&self, word: &'static str, errno: Errno) -> OpError {
        match self.stage.stopped() {
            Some(why) => OpError::Stopped(why.to_owned()),
            None if self.machine().processes.is_killed() => OpError::Killed(word),
            None if errno == Errno::EINTR || self.stage.is_endless() => {
                OpError::Stuck(format!("{word}: no end in sight"))
            }
            None => OpError::Refused { word, errno },
        }
    }

    /// Runs one that cannot fail, unless it was given up.
    fn whole_on(
        &mut self,
        (cpu, mapping, range): (CpuId, MappingId, PageRange),
        operation: impl FnOnce(&Task<'_, SimThread<'_>>, &Mapping, PageRange) + 'static,
    ) -> Result<(), OpError> {
        self.on(cpu, mapping, range, operation)?;
        self.unless_stopped()
    }

    /// Writes each page.
    pub fn touch(&mut self, cpu: CpuId, mapping: MappingId, range: PageRange) -> Result<(), OpError> {
        self.try_on("touch", (cpu, mapping, range), |t, m, r| t.touch(m, r))
    }

    /// Reads each page.
    pub fn read(&mut self, cpu: CpuId, mapping: MappingId, range: PageRange) -> Result<(), OpError> {
        self.try_on("read", (cpu, mapping, range), |t, m, r| t.read(m, r))
    }

    /// Writes `len` fresh anonymous pages of another mapping.
    pub fn fill(&mut self, cpu: CpuId, len: u32) -> Result<(), OpError> {
        let mapping = self.map(Kind::Anon, len)?;
        self.try_on("fill", (cpu, mapping, pages(0..len)), |t, m, r| t.touch(m, r))
    }

    /// `mlock2(MLOCK_ONFAULT)`.
    pub fn mlock(&mut self, cpu: CpuId, mapping: MappingId, range: PageRange) -> Result<(), OpError> {
        self.try_on("mlock", (cpu, mapping, range), |t, m, r| t.mlock(m, r))
    }

    /// `munlock`.
    pub fn munlock(&mut self, cpu: CpuId, mapping: MappingId, range: PageRange) -> Result<(), OpError> {
        self.try_on("munlock", (cpu, mapping, range), |t, m, r| t.munlock(m, r))
    }

    /// `madvise(MADV_COLD)`.
    pub fn cold(&mut self, cpu: CpuId, mapping: MappingId, range: PageRange) -> Result<(), OpError> {
        self.try_on("cold", (cpu, mapping, range), |t, m, r| t.madvise_cold(m, r))
    }

    /// `madvise(MADV_FREE)`.
    pub fn lazyfree(&mut self, cpu: CpuId, mapping: MappingId, range: PageRange) -> Result<(), OpError> {
        self.try_on("lazyfree", (cpu, mapping, range), |t, m, r| t.madvise_free(m, r))
    }

    /// `mprotect(PROT_READ)`.
    pub fn rdonly(&mut self, cpu: CpuId, mapping: MappingId, range: PageRange) -> Result<(), OpError> {
        self.try_on("rdonly", (cpu, mapping, range), |t, m, r| t.mprotect_readonly(m, r))
    }

    /// Moves the mapping to another address.
    pub fn mremap(&mut self, cpu: CpuId, mapping: MappingId) -> Result<(), OpError> {
        self.whole_on((cpu, mapping, pages(0..1)), |t, m, _| t.mremap(m))
    }

    /// Writes each page through a second mapping of the file.
    pub fn alias(&mut self, cpu: CpuId, mapping: MappingId, range: PageRange) -> Result<(), OpError> {
        self.try_on("alias", (cpu, mapping, range), |t, m, r| t.touch_alias(m, r))
    }

    /// `pwrite` of each page of the file.
    pub fn write(&mut self, cpu: CpuId, mapping: MappingId, range: PageRange) -> Result<(), OpError> {
        self.try_on("write", (cpu, mapping, range), |t, m, r| t.pwrite(m, r))
    }

    /// Another holder takes one plain reference on each page and keeps it: by `splice` of a
    /// file, else by `vmsplice`.
    pub fn hold(&mut self, cpu: CpuId, mapping: MappingId, range: PageRange) -> Result<(), OpError> {
        self.hold_by("hold", cpu, mapping, range)
    }

    /// The same by `vmsplice`, which maps what it takes.
    pub fn vhold(&mut self, cpu: CpuId, mapping: MappingId, range: PageRange) -> Result<(), OpError> {
        self.hold_by("vhold", cpu, mapping, range)
    }

    fn hold_by(
        &mut self,
        word: &'static str,
        cpu: CpuId,
        mapping: MappingId,
        range: PageRange,
    ) -> Result<(), OpError> {
        let splice = word == "hold";
        let frames = self.try_on(word, (cpu, mapping, range.clone()), move |t, m, r| t.hold(m, r, splice))?;
        self.book.lock().took(Has::Reference, mapping, range.zip(frames));
        Ok(())
    }

    /// Locks each page, and keeps it locked, with a reference.
    pub fn lock(&mut self, cpu: CpuId, mapping: MappingId, range: PageRange) -> Result<(), OpError> {
        self.take(("lock", Has::Lock), (cpu, mapping, range), |t, m, index, had| t.lock_page(m, index, had))
    }

    /// Puts each page under writeback, and keeps it there, with a reference.
    pub fn startwriteback(
        &mut self,
        cpu: CpuId,
        mapping: MappingId,
        range: PageRange,
    ) -> Result<(), OpError> {
        self.take(("startwriteback", Has::Writeback), (cpu, mapping, range), |t, m, index, had| {
            let frame = t.lock_page(m, index, had)?;
            if t.begin_writeback(frame) { Ok(frame) } else { Err(Errno::EBUSY) }
        })
    }

    /// Takes something of each page; of all of them, or of none.
    fn take(
        &mut self,
        (word, has): (&'static str, Has),
        (cpu, mapping, range): (CpuId, MappingId, PageRange),
        one: TakeOne,
    ) -> Result<(), OpError> {
        let frames = self.try_on(word, (cpu, mapping, range.clone()), move |t, m, range| {
            let mut frames = Vec::with_capacity(range.len());
            for index in range {
                match one(t, m, index, &frames) {
                    Ok(frame) => frames.push(frame),
                    Err(errno) => {
                        let_go(t, has, &frames);
                        return Err(errno);
                    }
                }
            }
            Ok(frames)
        })?;
        self.book.lock().took(has, mapping, range.zip(frames));
        Ok(())
    }

    /// Lets go of one such reference on each page, the latest, wherever the page is by now.
    pub fn release(&mut self, cpu: CpuId, mapping: MappingId, range: PageRange) -> Result<(), OpError> {
        self.give_back(Has::Reference, cpu, mapping, range)
    }

    /// Gives back the latest that was taken of each page, wherever the page is by now.
    pub fn give_back(
        &mut self,
        has: Has,
        cpu: CpuId,
        mapping: MappingId,
        range: PageRange,
    ) -> Result<(), OpError> {
        self.check_cpu(cpu)?;
        let had = self.book.lock().given_back(has, mapping, range.clone());
        let frames = match had {
            Ok(frames) if !range.is_empty() => frames,
            had => {
                self.check(mapping, &range)?;
                let (index, is) = (had.err().unwrap_or(range.start), has.is());
                return Err(OpError::Misuse(format!("page {index} of mapping {mapping} is {is} by nobody")));
            }
        };
        self.call(cpu, move |t| let_go(t, has, &frames))
    }

    /// Takes a pageblock of Movable, and gives it back: `alloc_contig_range`.
    pub fn contig(&mut self, cpu: CpuId, block: u32) -> Result<(), OpError> {
        self.take_block("contig", cpu, block, |t, block| t.alloc_contig_range(block, |_| {}))
    }

    /// Takes a pageblock of Movable offline, in as many rounds as that takes, and online again.
    pub fn offline(&mut self, cpu: CpuId, block: u32) -> Result<(), OpError> {
        self.take_block("offline", cpu, block, |t, block| t.offline_pages(block, |_| {}))
    }

    fn take_block(
        &mut self,
        word: &'static str,
        cpu: CpuId,
        block: u32,
        take: fn(&Task<'_, SimThread<'_>>, u32) -> Result<(), Errno>,
    ) -> Result<(), OpError> {
        let blocks = self.m.memory.whole_blocks(ZoneKind::Movable);
        if !blocks.contains(&block) {
            let reason = match blocks.end.checked_sub(1) {
                Some(last) if !blocks.is_empty() => {
                    let near = block.clamp(blocks.start, last);
                    format!("Movable has pageblocks {} to {last}; nearest: {near}", blocks.start)
                }
                _ => "Movable has no whole pageblock".to_owned(),
            };
            return Err(OpError::Misuse(format!("no pageblock {block}: {reason}")));
        }
        let taken = self.call(cpu, move |t| take(t, block))?;
        taken.map_err(|errno| self.failed(word, errno))
    }

    /// Lets go of every such reference.
    pub fn release_all(&mut self, cpu: CpuId) -> Result<(), OpError> {
        self.check_cpu(cpu)?;
        let mut book = self.book.lock();
        let mut all: Vec<_> = book.held.extract_if(|(has, ..), _| *has == Has::Reference).collect();
        drop(book);
        all.sort_unstable_by_key(|&(at, _)| at);
        self.call(cpu, move |t| all.iter().flat_map(|(_, frames)| frames).for_each(|&frame| t.release(frame)))
    }

    /// Makes single pages of every folio of the range, where nobody else has references on it.
    pub fn split(&mut self, cpu: CpuId, mapping: MappingId, range: PageRange) -> Result<(), OpError> {
        self.whole_on((cpu, mapping, range), |t, m, r| t.split_folios(m, r))
    }

    /// `mprotect` to read-only and back: only that PMDs across its edges are gone stays of it.
    pub fn pmdsplit(&mut self, cpu: CpuId, mapping: MappingId, range: PageRange) -> Result<(), OpError> {
        self.whole_on((cpu, mapping, range), |t, m, r| t.mprotect_and_back(m, r))
    }

    /// Forks a child that keeps a range shared copy-on-write; the rest is not the child's.
    pub fn share(&mut self, cpu: CpuId, mapping: MappingId, range: PageRange) -> Result<(), OpError> {
        self.try_on("share", (cpu, mapping, range), |t, m, r| t.fork(m, r))
    }

    /// The same, and the child writes them first.
    pub fn sharew(&mut self, cpu: CpuId, mapping: MappingId, range: PageRange) -> Result<(), OpError> {
        self.try_on("sharew", (cpu, mapping, range), |t, m, r| t.fork_writing(m, r))
    }

    /// All children exit.
    pub fn children_exit(&mut self, cpu: CpuId) -> Result<(), OpError> {
        self.call(cpu, |t| t.m.mappings().for_each(|mapping| t.children_exit(mapping)))?;
        self.unless_stopped()
    }

    /// Drains every CPU's batches but this one's: what the measurements call so leaves what was
    /// queued here off the LRU (`o0-share-settled`).
    pub fn settle(&mut self, cpu: CpuId) -> Result<(), OpError> {
        self.call(cpu, move |t| {
            for (other, _) in t.m.each_cpu().filter(|&(other, _)| other != cpu) {
                t.move_to(other);
                t.lru_add_drain();
            }
            t.move_to(cpu);
        })?;
        self.unless_stopped()
    }

    /// Drains every CPU's batches, as the measurements on real kernels did before each run.
    pub fn drain_all(&mut self) -> Result<(), OpError> {
        self.call(CpuId(0), |t| t.lru_add_drain_all(true))?;
        self.unless_stopped()
    }

    pub(super) fn unless_stopped(&self) -> Result<(), OpError> {
        self.stage.stopped().map_or(Ok(()), |why| Err(OpError::Stopped(why.to_owned())))
    }

    /// The mapping that a script calls so.
    fn named(&self, name: &Name) -> Result<MappingId, OpError> {
        let mapping = self.names.get(name).copied();
        mapping.ok_or_else(|| OpError::Misuse(format!("{:?} is not mapped", name.0)))
    }

    /// Pages of a mapping as a script names them; none said: all.
    fn part(&self, name: &Name, range: Option<&Range<u32>>) -> Result<(MappingId, PageRange), OpError> {
        let mapping = self.named(name)?;
        let all = || self.machine().mapping(mapping).vma.pages();
        Ok((mapping, range.map_or_else(all, |range| pages(range.clone()))))
    }
}

impl<S: Stage> Player for Session<S> {
    type Outcome = Outcome;

    fn play(&mut self, cpu: CpuId, op: &Op) -> Result<Option<Outcome>, OpError> {
        match op {
            // Nothing that goes on by itself is modelled.
            Op::Cpu(_) | Op::Sleep(_) => {}
            Op::Map(fresh) => {
                let thp = self.thp_always && fresh.backing == Kind::Anon.into();
                let order = if thp { MAX_ORDER } else { fresh.backing.order };
                let mapping = self.map(Backing { order, ..fresh.backing }, fresh.pages)?;
                self.names.insert(fresh.name.clone(), mapping);
            }
            Op::Fill(pages) => self.fill(cpu, *pages)?,
            Op::Exec(_) => self.exec(cpu)?,
            Op::Exit(_) => self.exit(cpu)?,
            Op::Drain(_) => self.drain_all()?,
            Op::Settle(_) => self.settle(cpu)?,
            Op::Unmap(on) => self.with(Self::munmap, cpu, on)?,
            Op::Mremap(name) => self.mremap(cpu, self.named(name)?)?,
            Op::Split(name) => {
                let (mapping, all) = self.part(name, None)?;
                self.split(cpu, mapping, all)?;
            }
            Op::Pmdsplit(on) => self.with(Self::pmdsplit, cpu, on)?,
            Op::Thpon(_) => self.thp_always = true,
            Op::Hugepool(pages) => self.hugepool(cpu, *pages)?,
            Op::Overcommit(pages) => self.m.set_hugetlb_overcommit(*pages),
            Op::Memlock(pages) => self.limits("memlock", *pages)?.set_memlock(*pages),
            Op::DmaEntries(entries) => self.limits("dma_entries", *entries)?.set_dma_entry_limit(*entries),
            Op::Fragment(_) => self.fragment(cpu)?,
            Op::Unpin(name) => {
                let mapping = self.named(name)?;
                let held = |pin: &Option<Live>| pin.as_ref().is_some_and(|live| live.mapping == mapping);
                let book = self.book.lock();
                let pins: Vec<usize> = (0..book.pins.len()).filter(|&pin| held(&book.pins[pin])).collect();
                drop(book);
                pins.into_iter().try_for_each(|pin| self.unpin_if_held(cpu, pin).map(drop))?;
            }
            Op::Hold(part) => self.with_part(Self::hold, cpu, part)?,
            Op::Vhold(part) => self.with_part(Self::vhold, cpu, part)?,
            Op::Lock(part) => self.with_part(Self::lock, cpu, part)?,
            Op::Startwriteback(part) => self.with_part(Self::startwriteback, cpu, part)?,
            Op::Unlock(part) | Op::Endwriteback(part) => {
                let has = if matches!(op, Op::Unlock(_)) { Has::Lock } else { Has::Writeback };
                let (mapping, range) = self.part(&part.name, Some(&part.range))?;
                self.give_back(has, cpu, mapping, range)?;
            }
            Op::Contig(block) => self.contig(cpu, *block)?,
            Op::Offline(block) => self.offline(cpu, *block)?,
            Op::Release(None) => self.release_all(cpu)?,
            Op::Release(Some(part)) => self.with_part(Self::release, cpu, part)?,
            Op::Pin(_) | Op::Pinro(_) | Op::Vfpin(_) | Op::Vfpinro(_) | Op::Udpin(_) => {
                let Some((on, caller, write)) = op.as_pin() else { return Ok(None) };
                let (mapping, range) = self.part(&on.name, on.range.as_ref())?;
                return self.pin_by(caller, cpu, mapping, range, write).map(Some);
            }
            Op::Childexit(_) => self.children_exit(cpu)?,
            Op::Sharew(on) => self.with(Self::sharew, cpu, on)?,
            Op::Touch(on) => self.with(Self::touch, cpu, on)?,
            Op::Read(on) => self.with(Self::read, cpu, on)?,
            Op::Mlock(on) => self.with(Self::mlock, cpu, on)?,
            Op::Munlock(on) => self.with(Self::munlock, cpu, on)?,
            Op::Cold(on) => self.with(Self::cold, cpu, on)?,
            Op::Lazyfree(on) => self.with(Self::lazyfree, cpu, on)?,
            Op::Dontneed(on) => self.with(Self::dontneed, cpu, on)?,
            Op::Remove(on) => self.with(Self::remove, cpu, on)?,
            Op::Rdonly(on) => self.with(Self::rdonly, cpu, on)?,
            Op::Alias(on) => self.with(Self::alias, cpu, on)?,
            Op::Write(on) => self.with(Self::write, cpu, on)?,
            Op::Share(on) => self.with(Self::share, cpu, on)?,
        }
        Ok(None)
    }
}

/// Gives back what is had of pages.
fn let_go(task: &Task<'_, SimThread<'_>>, has: Has, frames: &[Frame]) {
    frames.iter().for_each(|&frame| match has {
        Has::Reference => task.release(frame),
        Has::Lock => task.unlock_page(frame),
        Has::Writeback => task.finish_writeback(frame),
    });
}

/// Takes something of one page, beside what was taken already.
type TakeOne = fn(&Task<'_, SimThread<'_>>, &Mapping, PageIndex, &[Frame]) -> Result<Frame, Errno>;

/// Something that is done to a range of a mapping on a CPU.
type Act<S> = fn(&mut Session<S>, CpuId, MappingId, PageRange) -> Result<(), OpError>;

impl<S: Stage> Session<S> {
    fn with(&mut self, act: Act<S>, cpu: CpuId, on: &Pages) -> Result<(), OpError> {
        let (mapping, range) = self.part(&on.name, on.range.as_ref())?;
        act(self, cpu, mapping, range)
    }

    fn with_part(&mut self, act: Act<S>, cpu: CpuId, on: &Part) -> Result<(), OpError> {
        let (mapping, range) = self.part(&on.name, Some(&on.range))?;
        act(self, cpu, mapping, range)
    }
}

impl Counted for Outcome {
    fn value(&self, key: &str) -> Option<Value> {
        if key == "result" {
            return Some(Value::from(self.error.map_or_else(|| end(self.class), Errno::name)));
        }
        let event = crate::observe::Event::ALL.iter().find(|event| event.name() == key)?;
        Some(Value::from(self.counters.get(*event) as i64))
    }
}

/// How a call ended that no errno says it of.
fn end(class: Class) -> &'static str {
    match class {
        Class::Stuck => "stuck",
        Class::OomKilled => "killed",
        _ => "ok",
    }
}
