//! Draining batches: this CPU's, all CPUs', and the generation shortcut.
//!
//! # `lru_add_drain_all`
//!
//! Guarantee: every entry that was in some batch before the call (as the
//! caller can know) has been drained when it returns.
//!
//! 1. (A) A full barrier, then the generation is loaded.
//! 2. The mutex is taken. Did the generation move since (A), then someone else
//!    bumped it after (A), and looked at every CPU after that: all the caller
//!    knew of has been drained, as the mutex is held until the work is done.
//!    Return.
//! 3. The generation is bumped; (B) a full barrier.
//! 4. Work is queued on every CPU whose `pending` is set, and waited for.
//!
//! (A) orders the caller's queueing before its load; (B) orders the bump
//! before the reads of `pending`. Were either missing, a caller might see the
//! bump of another whose reads missed the caller's entry.

use crate::drive::{Driver, Step, Wait};
use crate::machine::{Batch, CpuId};
use crate::observe::Event;
use crate::ops::floor::Lru;
use crate::sync::{Ordering, fence};

impl<D: Driver> Lru<'_, D> {
    /// `lru_add_drain`: all batches of this CPU, mlock included.
    pub fn lru_add_drain(&self) {
        self.event(Event::DrainLocal);
        self.mlock_drained();
        self.drain_cpu(self.cpu());
    }

    /// The same where the compiler has put it into its caller, so that it is not counted as one.
    pub(in crate::ops) fn lru_add_drain_inlined(&self) {
        self.mlock_drained();
        self.drain_cpu(self.cpu());
    }

    /// `lru_add_drain_cpu`.
    fn drain_cpu(&self, cpu: CpuId) {
        let cpu = self.m.cpu(cpu);
        if !cpu.needs_drain() {
            return;
        }
        let mut batches = cpu.lock();
        for batch in Batch::ALL {
            self.flush(&mut batches, batch);
        }
    }

    /// Where mlock has a batch, every drain asks for that, too.
    fn mlock_drained(&self) {
        self.count.add(Event::MlockDrain, u64::from(self.m.rules.mlock_batched));
    }

    /// `mlock_drain_local`.
    pub(in crate::ops) fn mlock_drain_local(&self) {
        self.mlock_drained();
        let cpu = self.local();
        if cpu.needs_mlock_drain() {
            self.flush(&mut cpu.lock(), Batch::Mlock);
        }
    }

    /// `lru_add_drain_all`; `force` ignores the generation.
    pub fn lru_add_drain_all(&self, force: bool) {
        let began = self.d.now();
        self.drain_all_now(force);
        self.count.add(Event::DrainAllNs, self.d.now() - began);
    }

    fn drain_all_now(&self, force: bool) {
        self.event(Event::DrainAll);
        if self.m.rules.drain_all_local_first {
            self.lru_add_drain_inlined();
        }
        fence(Ordering::SeqCst); // (A), pairs with (B)
        let seen = self.m.drain_gen.load(Ordering::Relaxed);
        self.step_at(Step::DrainGen);
        let mutex = &self.m.drain_mutex;
        if !self.lock_mutex(mutex, (Event::DrainWaits, Step::DrainMutex), Wait::DrainMutex) {
            return;
        }
        if !force && self.m.drain_gen.load(Ordering::Relaxed) != seen {
            self.event(Event::DrainShortcut);
        } else {
            let generation = self.m.drain_gen.load(Ordering::Relaxed);
            self.m.drain_gen.store(generation.wrapping_add(1), Ordering::Relaxed);
            fence(Ordering::SeqCst); // (B), pairs with (A)
            self.queue_and_flush();
        }
        self.unlock_mutex(mutex, Wait::DrainMutex);
    }

    fn queue_and_flush(&self) {
        let mut works = Vec::new();
        for (number, cpu) in self.m.each_cpu() {
            if cpu.needs_drain() {
                works.push((number, cpu.queue_drain()));
                // Whoever has it done is who caused it; a kworker counts nothing of its own.
                self.event(Event::DrainWork);
                self.mlock_drained();
                self.d.wake(Wait::Work(number));
            }
        }
        if works.is_empty() {
            self.event(Event::DrainIdle);
            return;
        }
        self.event(Event::DrainWaits);
        self.step_at(Step::DrainQueued);
        for (number, ticket) in works {
            self.step_at(Step::DrainFlush);
            let cpu = self.m.cpu(number);
            if !self.d.wait(Wait::DrainWork(number), &|| cpu.is_drained(ticket)) {
                return;
            }
        }
    }

    /// A kworker's life: runs the drain work queued for this CPU until `over`.
    pub fn kworker(&self, over: &dyn Fn() -> bool) {
        let number = self.cpu();
        let cpu = self.m.cpu(number);
        loop {
            self.d.wait(Wait::Work(number), &|| cpu.drain_wanted().is_some() || over());
            self.drain_works();
            if over() && cpu.drain_wanted().is_none() {
                return;
            }
        }
    }

    /// Runs the drain work queued for this CPU until there is none.
    pub fn drain_works(&self) {
        let number = self.cpu();
        let cpu = self.m.cpu(number);
        while let Some(ticket) = cpu.drain_wanted() {
            self.step_at(Step::Kworker);
            self.drain_cpu(number);
            cpu.drain_done(ticket);
            self.d.wake(Wait::DrainWork(number));
        }
    }

    /// `lru_cache_disable`: batches flush at once until enabled again, and
    /// what is in them now is drained everywhere.
    pub fn lru_cache_disable(&self) {
        self.m.disable_lru_cache();
        // `synchronize_rcu`: who read the count before it was raised has left the
        // local lock now, and its entry is seen below; who takes it later sees the count.
        self.m.cpus.iter().for_each(|cpu| drop(cpu.lock()));
        self.lru_add_drain_all(true);
    }

    /// `lru_cache_enable`.
    pub fn lru_cache_enable(&self) {
        self.m.enable_lru_cache();
    }
}
