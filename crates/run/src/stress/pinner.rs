//! A thread that pins: sets up its share, then call after call until the work is done.

use super::profile::Age;
use super::setup::{populate, set_up};
use super::shared::{Ledger, Shared, Slot};
use crate::drive::{Driver, Step, Wait};
use crate::judge::class::{Fate, class, fate, put_down_to, unsafe_page};
use crate::judge::{Class, Failure, MAX_FINDINGS, UnsafePin};
use crate::machine::{Cause, CpuId, Mapping, NO_FRAME, PageIndex, PageRange};
use crate::observe::Deed;
use crate::ops::{Dma, Errno, Pin, PinRequest, Task};
use crate::policy::{Unshare, ZeroPage};
use crate::sync::Ordering;

/// One pinner.
pub struct Pinner<'a, D> {
    sh: &'a Shared,
    task: &'a Task<'a, D>,
    id: usize,
    slot: &'a Slot,
    pin: Pin,
    ledger: Ledger,
    /// Whether what there is to tell of its calls is kept.
    tells: bool,
}

impl<'a, D: Driver> Pinner<'a, D> {
    /// Pinner number `id`.
    pub fn new(sh: &'a Shared, task: &'a Task<'a, D>, id: usize) -> Self {
        Self { sh, task, id, slot: &sh.slots[id], pin: Pin::default(), ledger: Ledger::new(id), tells: true }
    }

    /// Its whole life.
    pub fn run(mut self) {
        let ready = set_up(self.sh, self.task, self.id).is_ok() && self.sh.meet(self.task.d);
        self.ledger.before = self.slot.counters.totals();
        if ready && self.sh.profile.pinner.rounds {
            while self.sh.wants_more() && !self.task.killed() && self.round() {}
        } else if ready {
            while self.sh.wants_more() && !self.task.killed() {
                self.task.d.step(Step::Idle, NO_FRAME);
                self.free_call();
            }
        }
        self.sh.ledgers.lock().push(self.ledger);
        self.sh.pinner_left(self.task.d);
    }

    /// So many calls where others have set up, with what is between them; what it has
    /// to say at its end. A search measures no time, and runs again what it is to tell of.
    pub fn calls(mut self, calls: u32) -> Ledger {
        self.tells = false;
        let rounds = self.sh.profile.pinner.rounds;
        for call in 0..calls {
            self.task.d.step(Step::Idle, NO_FRAME);
            if self.task.killed() {
                break;
            }
            let range = if rounds { self.round().then_some(None) } else { Some(Some(self.free_pin())) };
            match range {
                None => break,
                Some(Some((mapping, range))) if call + 1 < calls => self.renew(mapping, range),
                Some(_) => {}
            }
        }
        self.ledger
    }

    /// One call on a random part of a random mapping, which may be faulted in afresh after it.
    fn free_call(&mut self) {
        let (mapping, range) = self.free_pin();
        self.renew(mapping, range);
    }

    /// Sometimes gives a range up and brings it in again.
    fn renew(&self, mapping: &Mapping, range: PageRange) {
        let d = self.task.d;
        if d.chance(self.sh.profile.pinner.zap.0) && !self.task.killed() {
            self.zap(mapping, range.clone());
            // Out of memory or killed: the pin will fault in what is missing.
            let _ = self.refault(mapping, range);
        }
    }

    /// One call on a random part of a random mapping.
    fn free_pin(&mut self) -> (&'a Mapping, PageRange) {
        let cfg = &self.sh.profile.pinner;
        let d = self.task.d;
        if d.chance(cfg.migrate_cpu.0) {
            self.task.move_to(CpuId(d.below(self.sh.m.cpus.len() as u64) as u32));
        }
        let number = if self.sh.profile.ranges.private {
            self.id
        } else {
            d.below(self.sh.mappings.len() as u64) as usize
        };
        let mapping = self.sh.m.mapping(self.sh.mappings[number]);
        let spread = u64::from(cfg.pages_max - cfg.pages_min) + 1;
        // The last calls are no larger than what is left to do.
        let left = self.sh.goal.saturating_sub(self.sh.pinned.load(Ordering::Relaxed)).max(1);
        let pages = (cfg.pages_min + d.below(spread) as u32).min(left.min(u64::from(u32::MAX)) as u32);
        let part = self.sh.profile.part(self.id as u32);
        let start = part.start + d.below(u64::from(part.len() as u32 - pages) + 1) as u32;
        let range = start.run(pages);
        self.call(mapping, range.clone());
        (mapping, range)
    }

    /// Gives a range up, maybe but for pages that someone has pinned. The filler goes
    /// first: zapping drains this CPU, which what follows must not.
    fn zap(&self, mapping: &Mapping, range: PageRange) {
        if let Some(&filler) = self.sh.fillers.get(self.id) {
            let filler = self.sh.m.mapping(filler);
            self.task.zap(filler, filler.vma.pages(), false);
        }
        self.task.zap(mapping, range, !self.sh.profile.pinner.zap_pinned);
    }

    /// Brings fresh pages into a range that was zapped, and to where the profile wants them.
    fn refault(&self, mapping: &Mapping, range: PageRange) -> Result<(), Errno> {
        populate(self.sh, self.task, mapping, range.clone())?;
        if let Some(&filler) = self.sh.fillers.get(self.id) {
            let filler = self.sh.m.mapping(filler);
            self.task.touch(filler, filler.vma.pages())?;
        }
        match self.sh.profile.pinner.age {
            Age::None => Ok(()),
            Age::Cold => self.task.madvise_cold(mapping, range),
            Age::Lazyfree => self.task.madvise_free(mapping, range),
            Age::Drain => {
                self.task.lru_add_drain();
                Ok(())
            }
        }
    }

    /// One round: the first thread writes the range afresh, then all pin it at once.
    fn round(&mut self) -> bool {
        let mapping = self.sh.m.mapping(self.sh.mappings[0]);
        let pages = self.sh.profile.pinner.pages_max;
        let part = self.sh.profile.part(self.id as u32);
        if self.id == 0 {
            let all = PageIndex(0).to(self.sh.profile.part(self.sh.profile.threads - 1).start + pages);
            self.zap(mapping, all.clone());
            if self.refault(mapping, all).is_err() {
                return false;
            }
        }
        if !self.sh.meet(self.task.d) {
            return false;
        }
        self.call(mapping, part.start.run(pages));
        self.sh.meet(self.task.d)
    }

    /// One call from its beginning to its unpin, judged and recorded.
    fn call(&mut self, mapping: &Mapping, range: PageRange) {
        let (sh, d) = (self.sh, self.task.d);
        let (caller, write) = sh.profile.callers.of(self.id, sh.profile.pinner.write);
        let request = PinRequest::new(&sh.policy, mapping, range.clone(), write).by(caller);
        let turn = sh.profile.pinner.serialised.then(|| sh.serial.join(d.id()));
        if !self.await_turn(turn) {
            self.give_turn(turn);
            return;
        }
        let ended_before = sh.ended.load(Ordering::Relaxed);
        let began = d.now();
        self.slot.begin(began);
        d.trace(Deed::Call(range.len() as u32));
        let result = self.task.pin_longterm_by(caller, &request, &mut self.pin);
        self.give_turn(turn);
        let took = d.now() - began;
        // In this order: a run that had ended by the time the call was over may have cut it off.
        let said = self.slot.finish();
        let truth = || class(&sh.m, &request, result, &self.pin);
        let fate = fate(said.stuck, d.killed(), result, truth);
        self.ledger.longest_wait_ns = self.ledger.longest_wait_ns.max(took);
        d.trace(Deed::Return(match fate {
            Fate::Counted(class) => class.name(),
            Fate::CutOff => "interrupted",
        }));
        match fate {
            Fate::CutOff => self.ledger.interrupted += 1,
            // What it pinned after all it would never have, or nobody is left to use.
            Fate::Counted(class @ (Class::Stuck | Class::OomKilled)) => {
                self.slot.count(class, 0);
                self.task.unpin_longterm(&mut self.pin);
            }
            Fate::Counted(class) => {
                let others = sh.ended.fetch_add(1, Ordering::Relaxed) - ended_before;
                if self.tells {
                    self.ledger.ended(took, self.pin.sweeps, others);
                    self.report(class, result, &request);
                }
                let pages = if result.is_ok() { range.len() as u64 } else { 0 };
                self.slot.count(class, pages);
                if result.is_ok() {
                    sh.pinned.fetch_add(pages, Ordering::Relaxed);
                    if self.pin.contended {
                        self.ledger.contended_pages += pages;
                    }
                    self.hold_and_unpin(mapping, range, class, write);
                }
            }
        }
    }

    /// Where calls are made one after the other: waits for the ticket's turn; false if killed meanwhile.
    fn await_turn(&self, turn: Option<u32>) -> bool {
        let (serial, d) = (&self.sh.serial, self.task.d);
        let Some(ticket) = turn.filter(|&ticket| !serial.is_served(ticket)) else { return true };
        d.wait(Wait::Turn(ticket), &|| serial.is_served(ticket))
    }

    fn give_turn(&self, turn: Option<u32>) {
        if let Some(next) = turn.and_then(|ticket| self.sh.serial.leave(ticket)) {
            self.task.d.wake(Wait::Turn(next));
        }
    }

    /// Records what there is to find in a call that was counted.
    fn report(&mut self, class: Class, result: Result<(), Errno>, request: &PinRequest<'_>) {
        let m = &self.sh.m;
        match result {
            Err(errno) => {
                *self.ledger.errors.entry(errno).or_default() += 1;
                let (step, refused) = self.slot.place.hindered().unzip();
                let by = put_down_to(m, request, &self.pin, class, refused);
                self.ledger.causes.add(by.as_ref().map_or(Cause::Unknown, |by| by.obstacle.into()));
                let mut findings = self.sh.findings.lock();
                let wanted = findings.failures.len() < MAX_FINDINGS;
                drop(findings);
                if wanted {
                    let obstacle = by.as_ref().map(|by| by.obstacle);
                    let found = by.and_then(|by| by.page);
                    let failure = Failure {
                        thread: self.id,
                        class,
                        errno,
                        step: step.unwrap_or_else(|| self.slot.place.step()).name(),
                        sweeps: self.pin.sweeps,
                        obstacle,
                        permanent: class == Class::FailedJustified,
                        page: found.as_ref().map(|found| m.page_state(found.frame)),
                        found,
                    };
                    findings = self.sh.findings.lock();
                    findings.failures.push(failure);
                }
            }
            // As its class says: a page that is pinned stays where it is.
            Ok(()) if class != Class::PinnedUnsafe => {}
            Ok(()) => {
                if let Some(frame) = unsafe_page(m, &self.pin.pages) {
                    let found =
                        UnsafePin { thread: self.id, sweeps: self.pin.sweeps, page: m.page_state(frame) };
                    let mut findings = self.sh.findings.lock();
                    if findings.unsafe_pins.len() < MAX_FINDINGS {
                        findings.unsafe_pins.push(found);
                    }
                }
            }
        }
    }

    /// The pin's use: DMA through it, a while of holding, the check, the unpin.
    fn hold_and_unpin(&mut self, mapping: &Mapping, range: PageRange, class: Class, write: bool) {
        let (cfg, m) = (&self.sh.profile.pinner, &self.sh.m);
        if class == Class::PinnedUnsafe {
            let mine = self.pin.pages.iter().filter(|&&frame| m.must_move(frame));
            self.sh.unsafe_pins.lock().extend(mine.map(|&frame| (frame, self.id)));
        }
        // A page that is read only is the program's own from 6.2 on, and what it writes is seen:
        // before, or for a policy that looks at the zero page itself, nobody says so.
        let promised = m.rules.unshare == Unshare::Cow && self.sh.policy.zero_page == ZeroPage::Pinnable;
        // Every device has a word of its own in each page; there may be more devices than words.
        let has_word = self.id < self.sh.m.memory.payload.words_per_frame();
        let has_device = cfg.dma && has_word && (write || promised);
        let dma = has_device.then(|| Dma { word: self.id, token: self.task.d.random() });
        // Of who dies before everything is written nothing is to be found.
        let is_written = match dma {
            Some(dma) if !write => self.task.dma_publish(dma, mapping, range.clone()).is_ok(),
            Some(dma) => {
                self.task.dma_start(dma, &self.pin.pages);
                true
            }
            None => false,
        };
        if cfg.hold.0 != 0 {
            self.task.d.sleep(cfg.hold.0);
        }
        self.task.d.step(Step::Hold, NO_FRAME);
        if let Some(dma) = dma
            && let Some(error) = self.task.dma_finish(dma, mapping, range, &self.pin.pages)
            && is_written
            && self.ledger.dma_errors.len() < MAX_FINDINGS
        {
            self.ledger.dma_errors.push(error);
        }
        if class == Class::PinnedUnsafe {
            self.sh.unsafe_pins.lock().retain(|&(_, pinner)| pinner != self.id);
        }
        self.task.unpin_longterm(&mut self.pin);
    }
}
