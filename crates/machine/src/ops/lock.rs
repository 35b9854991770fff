//! The page lock, writeback and mutexes: what operations sleep on.

use super::floor::Refs;
use crate::drive::{Driver, Step, Wait};
use crate::machine::{Folio, Frame, Mapping, PageIndex, SleepMutex, flag};
use crate::observe::Event;

impl<D: Driver> Refs<'_, D> {
    /// `folio_trylock`.
    #[inline]
    pub fn trylock(&self, frame: Frame) -> bool {
        self.trylock_folio(self.page_folio(frame))
    }

    /// The same of a folio in hand.
    #[inline]
    pub(super) fn trylock_folio(&self, folio: Folio<'_>) -> bool {
        let locked = !folio.test_set(flag::LOCKED);
        if locked {
            folio.set_lock_owner(Some(self.d.id()));
        }
        locked
    }

    /// `folio_lock_killable`; false if killed. The caller holds a reference.
    pub fn lock(&self, frame: Frame) -> bool {
        let frame = self.head(frame);
        while !self.trylock(frame) {
            self.event(Event::LockWaits);
            self.step(Step::PageLock, frame);
            let page = self.page(frame);
            if !self.d.wait(Wait::PageLock(frame), &|| page.is_clear_or_awaited(flag::LOCKED)) {
                return false;
            }
        }
        true
    }

    /// `__folio_set_locked`: of a page that nobody else can know of yet.
    #[inline]
    pub(super) fn set_locked(&self, folio: Folio<'_>) {
        folio.set_fresh(flag::LOCKED);
        folio.set_lock_owner(Some(self.d.id()));
    }

    /// `folio_unlock`: clears the flag, then wakes.
    #[inline]
    pub fn unlock(&self, frame: Frame) {
        self.unlock_folio(self.page_folio(frame));
    }

    /// The same of a folio in hand.
    #[inline]
    pub(super) fn unlock_folio(&self, folio: Folio<'_>) {
        // While the flag is still set: the next holder's word comes after it.
        folio.set_lock_owner(None);
        self.clear_and_wake(folio, flag::LOCKED);
    }

    #[inline]
    fn clear_and_wake(&self, folio: Folio<'_>, mask: u32) {
        if folio.clear_awaited(mask) {
            self.wake_waiters(folio.head);
        }
    }

    #[cold]
    fn wake_waiters(&self, head: Frame) {
        // One flag for both: who is woken too early asks again.
        self.d.wake(Wait::PageLock(head));
        self.d.wake(Wait::Writeback(head));
    }

    /// `mutex_lock`; false if the run ends meanwhile. It is taken after one look past those who sleep: who
    /// holds it for a moment only is waited for awake (`mutex_optimistic_spin`). `wait`: what a
    /// thread waits for then.
    pub(super) fn lock_mutex(
        &self,
        mutex: &SleepMutex,
        (waits, at): (Event, Step),
        wait: impl Fn(u32) -> Wait,
    ) -> bool {
        let me = self.d.id();
        if mutex.try_lock(me) {
            return true;
        }
        self.event(waits);
        self.step_at(at);
        if mutex.lock_or_queue(me) {
            return true;
        }
        while self.d.wait(wait(me), &|| mutex.is_ready(me)) {
            self.step_at(at);
            if mutex.take(me) {
                return true;
            }
        }
        self.wake_next(mutex.give_up(me), wait);
        false
    }

    /// `mutex_unlock`: wakes the first who sleeps.
    pub(super) fn unlock_mutex(&self, mutex: &SleepMutex, wait: impl Fn(u32) -> Wait) {
        self.wake_next(mutex.unlock(), wait);
    }

    /// Runs one fault of the pool's pages after the other, and what takes them out of their file or
    /// puts them there: who faults in a page that another is faulting in finds it then, where the
    /// pool had no second one. `None` if killed.
    pub(super) fn under_fault_mutex<R>(
        &self,
        mapping: &Mapping,
        index: PageIndex,
        body: impl FnOnce() -> R,
    ) -> Option<R> {
        let number = self.m.hugetlb_fault_mutex_hash(mapping.id, index);
        let mutex = self.m.hugetlb_fault_mutex(number);
        let wait = |thread| Wait::HugetlbFault { mutex: number, thread };
        if !self.lock_mutex(mutex, (Event::LockWaits, Step::FaultMutex), wait) {
            return None;
        }
        let done = body();
        self.unlock_mutex(mutex, wait);
        Some(done)
    }

    fn wake_next(&self, thread: Option<u32>, wait: impl Fn(u32) -> Wait) {
        if let Some(thread) = thread {
            self.d.wake(wait(thread));
        }
    }

    /// `folio_start_writeback`; false if it is under way already.
    pub fn start_writeback(&self, frame: Frame) -> bool {
        let page = self.folio(frame);
        let started = !page.test_set(flag::WRITEBACK);
        if started {
            page.set_writeback_owner(self.d.id());
        }
        started
    }

    /// `folio_end_writeback`: clears the flag, then wakes.
    pub fn end_writeback(&self, frame: Frame) {
        self.clear_and_wake(self.page_folio(frame), flag::WRITEBACK);
    }

    /// `folio_wait_writeback`; false if killed.
    pub(super) fn wait_writeback(&self, frame: Frame) -> bool {
        self.step(Step::MigrateWriteback, frame);
        let page = self.page(frame);
        self.d.wait(Wait::Writeback(frame), &|| page.is_clear_or_awaited(flag::WRITEBACK))
    }
}
