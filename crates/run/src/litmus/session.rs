//! A script's machine, and what has been made of it so far.

use super::alone::{Alone, Taken};
use super::book::{Book, Live};
use crate::drive::Driver;
use crate::drive::sim::SimThread;
use crate::judge::class::{Class, class};
use crate::machine::{Backing, CpuId, Layout, Machine, MappingId, PageIndex, PageRange, PageState, Recount};
use crate::observe::{Deed, Totals};
use crate::ops::{Caller, DmaError, Errno, Pin, PinRequest, Task};
use crate::policy::{Policy, Rules};
use crate::script::{Name, OpError, kind_name};
use crate::sync::Mutex;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;

/// What a pin came to.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The errno; none for success, and none for a call that never ended or whose process was killed.
    pub error: Option<Errno>,
    /// Its class.
    pub class: Class,
    /// What was counted meanwhile, by everyone.
    pub counters: Totals,
    /// Sweeps it took.
    pub sweeps: u32,
    /// Number of the pin, to unpin it by; none for a failure.
    pub pin: Option<usize>,
}

/// The mappings that a script knows by name.
pub(crate) type Names = HashMap<Name, MappingId>;

/// Who does what is asked of a session: somebody alone, or one of several threads.
pub trait Stage {
    /// Runs one operation on a CPU that is there, to its end.
    fn call<R: 'static>(
        &mut self,
        cpu: CpuId,
        operation: impl FnOnce(&Task<'_, SimThread<'_>>) -> R + 'static,
    ) -> Result<R, OpError>;

    /// The number of a mapping of `pages` fresh pages, none present.
    fn map(&mut self, m: &Machine, backing: Backing, pages: u32) -> MappingId;

    /// What was counted so far, by whoever a pin's counters are those of.
    fn totals(&self) -> Totals;

    /// Why the last call was given up, if it was told to stop or took too long.
    fn stopped(&self) -> Option<&str> {
        None
    }

    /// Whether the last call was given up because it went on and on.
    fn is_endless(&self) -> bool {
        false
    }

    /// A pin is about to begin.
    fn begins(&mut self) {}

    /// A pin has ended in a class.
    fn ended(&mut self, _class: Class) {}
}

/// A machine with CPUs, a kernel's rules and a policy, and whoever works on it.
pub struct Session<S = Alone> {
    pub(super) m: Arc<Machine>,
    policy: Arc<Policy>,
    /// Who does what is asked for.
    pub stage: S,
    /// The mappings that scripts know by name.
    pub(super) names: Names,
    /// Whether scripts' anonymous mappings are made of huge pages from now on.
    pub(super) thp_always: bool,
    pub(super) book: Arc<Mutex<Book>>,
}

impl<S> std::fmt::Debug for Session<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("cpus", &self.m.cpus.len()).finish_non_exhaustive()
    }
}

/// Most CPUs of a session: it steps one thing at a time, and so many of them.
pub const MOST_SESSION_CPUS: i64 = 1024;

/// Memory of a session unless it is told otherwise.
pub const SESSION_LAYOUT: Layout = Layout { normal: 4096, movable: 8192, cma: 0, page_bytes: 64 };

impl Session {
    /// A fresh machine.
    pub fn new(rules: Rules, policy: Policy, layout: &Layout, cpus: usize) -> Self {
        Self::on_machine(&Arc::new(Machine::new(rules, layout, cpus)), &Arc::new(policy))
    }

    /// A machine that others work on too.
    pub(crate) fn on_machine(m: &Arc<Machine>, policy: &Arc<Policy>) -> Self {
        Self {
            stage: Alone::new(m, policy),
            m: Arc::clone(m),
            policy: Arc::clone(policy),
            names: Names::new(),
            thp_always: false,
            book: Arc::default(),
        }
    }

    /// What scripts have named, and what was made.
    pub(crate) fn into_parts(self) -> (Names, Arc<Mutex<Book>>) {
        (self.names, self.book)
    }

    /// The steps that the last call took.
    pub fn trace(&self) -> &[Taken] {
        self.stage.trace()
    }
}

impl<S: Stage> Session<S> {
    /// One of several on a machine: what one makes the others know, but for its names.
    pub(crate) fn beside(
        m: &Arc<Machine>,
        policy: &Arc<Policy>,
        names: Names,
        book: &Arc<Mutex<Book>>,
        stage: S,
    ) -> Self {
        Self {
            m: Arc::clone(m),
            policy: Arc::clone(policy),
            stage,
            names,
            thp_always: false,
            book: Arc::clone(book),
        }
    }

    /// The machine.
    pub fn machine(&self) -> &Machine {
        &self.m
    }

    /// Runs one operation on a CPU to its end.
    pub(super) fn call<R: 'static>(
        &mut self,
        cpu: CpuId,
        operation: impl FnOnce(&Task<'_, SimThread<'_>>) -> R + 'static,
    ) -> Result<R, OpError> {
        self.check_cpu(cpu)?;
        self.stage.call(cpu, operation)
    }

    /// Whether the program is alive to do anything on a CPU.
    pub(super) fn check_cpu(&self, cpu: CpuId) -> Result<(), OpError> {
        if self.m.processes.is_killed() {
            return Err(OpError::Misuse("the OOM killer has ended the program".to_owned()));
        }
        let cpus = self.m.cpus.len();
        if cpu.at() < cpus {
            return Ok(());
        }
        Err(OpError::Misuse(format!("no cpu {cpu}: this machine has 0 to {}", cpus - 1)))
    }

    /// Checks that a range lies in a mapping that is still there.
    pub(super) fn check(&self, mapping: MappingId, range: &PageRange) -> Result<(), OpError> {
        let Some(found) = self.m.mappings().find(|known| known.id == mapping) else {
            return Err(OpError::Misuse(format!("no mapping {mapping}")));
        };
        if found.vma.is_gone() {
            return Err(OpError::Misuse(format!("mapping {mapping} has been unmapped")));
        }
        let end = found.vma.end();
        if range.start >= range.end || range.end > end {
            return Err(OpError::Misuse(format!(
                "pages {}..{} are out of bounds: mapping {mapping} has pages 0..{end}",
                range.start, range.end
            )));
        }
        Ok(())
    }

    /// Long-term pins a range.
    pub fn pin(
        &mut self,
        cpu: CpuId,
        mapping: MappingId,
        range: PageRange,
        write: bool,
    ) -> Result<Outcome, OpError> {
        self.pin_by(Caller::IoUring, cpu, mapping, range, write)
    }

    /// The same by any caller.
    pub fn pin_by(
        &mut self,
        caller: Caller,
        cpu: CpuId,
        mapping: MappingId,
        range: PageRange,
        write: bool,
    ) -> Result<Outcome, OpError> {
        self.check(mapping, &range)?;
        if caller == Caller::Udmabuf {
            self.check_memfd(mapping)?;
        }
        let before = self.stage.totals();
        let policy = Arc::clone(&self.policy);
        let words = self.m.memory.payload.words_per_frame();
        let book = Arc::clone(&self.book);
        let dma = if write { book.lock().device(mapping, &range, words) } else { None };
        self.stage.begins();
        let ended = self.on(cpu, mapping, range.clone(), move |t, m, range| {
            t.d.trace(Deed::Call(range.len() as u32));
            let request = PinRequest::new(&policy, m, range, write).by(caller);
            let mut pin = Pin::default();
            let result = t.pin_longterm_by(caller, &request, &mut pin);
            let cut_off = result == Err(Errno::EINTR);
            let truth = match class(t.m, &request, result, &pin) {
                Class::OomKilled => Class::OomKilled,
                _ if cut_off => Class::Stuck,
                truth => truth,
            };
            t.d.trace(Deed::Return(truth.name()));
            let dma = dma.filter(|&dma| book.lock().arrives(dma));
            if truth == Class::OomKilled {
                // Nobody is left to use what it pinned after all.
                t.unpin_longterm(&mut pin);
            } else if let Some(dma) = dma {
                t.dma_start(dma, &pin.pages);
            }
            (result, pin, truth, dma)
        });
        let (result, pin, truth, dma) = ended?;
        // Whatever errno it ended with: who was given up has not failed.
        if let (Err(_), Some(why)) = (result, self.stage.stopped()) {
            return Err(OpError::Stopped(why.to_owned()));
        }
        let killed = truth == Class::OomKilled;
        let stuck = result.is_err() && !killed && (self.stage.is_endless() || truth == Class::Stuck);
        let truth = if stuck { Class::Stuck } else { truth };
        self.stage.ended(truth);
        let error = result.err().filter(|_| !stuck && !killed);
        let sweeps = pin.sweeps;
        let pin_number = (result.is_ok() && !killed).then(|| {
            let mut book = self.book.lock();
            book.pins.push(Some(Live { mapping, range, pin, dma }));
            book.pins.len() - 1
        });
        Ok(Outcome {
            error,
            class: truth,
            counters: self.stage.totals().since(&before),
            sweeps,
            pin: pin_number,
        })
    }

    /// Checks that `memfd_pin_folios` takes a mapping's file, on this kernel.
    fn check_memfd(&self, mapping: MappingId) -> Result<(), OpError> {
        let kind = self.m.mapping(mapping).kind;
        if !self.m.rules.memfd_pin {
            let kernel = &self.m.rules.name;
            return Err(OpError::Misuse(format!(
                "udmabuf: {kernel} has no memfd_pin_folios; nearest: linux-6.12.43"
            )));
        }
        if !kind.is_memfd() {
            let kind = kind_name(kind);
            return Err(OpError::Misuse(format!(
                "udmabuf: mapping {mapping} is {kind}, not a memfd; nearest: shmem"
            )));
        }
        Ok(())
    }

    /// Drops a pin, after checking that its DMA reached the mapping.
    ///
    /// A pin's number is no CPU's:
    ///
    /// ```compile_fail,E0308
    /// # use gupstress_run::{litmus::Session, machine::CpuId};
    /// fn drop_it(session: &mut Session, on: CpuId, pin: usize) {
    ///     _ = session.unpin(pin, on);
    /// }
    /// ```
    pub fn unpin(&mut self, cpu: CpuId, pin: usize) -> Result<(), OpError> {
        if self.unpin_if_held(cpu, pin)? {
            return Ok(());
        }
        Err(OpError::Misuse(format!("pin {pin} is not held: unpinned twice, or never taken")))
    }

    /// The same; false if somebody else has dropped it.
    pub(super) fn unpin_if_held(&mut self, cpu: CpuId, pin: usize) -> Result<bool, OpError> {
        let book = Arc::clone(&self.book);
        let dropped = self.call(cpu, move |t| {
            let Live { mapping, range, mut pin, dma } =
                book.lock().pins.get_mut(pin).and_then(Option::take)?;
            let wrong = dma.and_then(|dma| t.dma_finish(dma, t.m.mapping(mapping), range, &pin.pages));
            t.unpin_longterm(&mut pin);
            Some(wrong)
        })?;
        match dropped {
            Some(Some(wrong)) => Err(Self::lost(wrong)),
            dropped => Ok(dropped.is_some()),
        }
    }

    /// What a device has written did not arrive.
    pub(super) fn lost(wrong: DmaError) -> OpError {
        OpError::Bug(format!("the pin's DMA was lost: {wrong:?}"))
    }

    /// Pages of a pin that its device and the program no longer share: by index, those in whose
    /// place the mapping shows another frame or none.
    pub fn severed(&self, pin: usize) -> Result<Vec<PageIndex>, OpError> {
        let book = self.book.lock();
        let Some(live) = book.pins.get(pin).and_then(Option::as_ref) else {
            return Err(OpError::Misuse(format!("pin {pin} is not held: unpinned, or never taken")));
        };
        let mapping = self.m.mapping(live.mapping);
        let pages = live.range.clone().zip(&live.pin.pages);
        Ok(pages.filter(|&(index, &frame)| !mapping.shows(index, frame)).map(|(index, _)| index).collect())
    }

    /// The state of one page of a mapping; `None` where none is present.
    pub fn page(&self, mapping: MappingId, index: PageIndex) -> Result<Option<PageState>, OpError> {
        self.check(mapping, &(index.run(1)))?;
        let pte = self.m.mapping(mapping).vma.pte(index);
        Ok(pte.is_present().then(|| self.m.page_state(pte.frame())))
    }

    /// Recounts every invariant.
    pub fn recount(&self) -> Recount {
        let known = self.book.lock().known(&self.m);
        self.m.validate(&known)
    }
}
