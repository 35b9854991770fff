//! Taking pages off the LRU, and putting them back.
//!
//! Whoever test-and-clears `PG_lru` owns the page's place on its list until
//! the flag is set again; all others see it clear and keep their hands off.

use crate::drive::{Driver, Step, Wait};
use crate::machine::{Frame, flag};
use crate::observe::Event;
use crate::ops::floor::Lru;

impl<D: Driver> Lru<'_, D> {
    /// `folio_isolate_lru`: off its list with one more reference; false if it
    /// was on none or someone else was faster. The caller holds a reference.
    pub fn isolate_lru(&self, frame: Frame) -> bool {
        let (frame, page) = self.page_folio(frame);
        if page.has(flag::HUGETLB) {
            return self.isolate_hugetlb(frame);
        }
        self.event(Event::IsolateCalls);
        if !page.test_clear(flag::LRU) {
            self.event(Event::IsolateBusy);
            return false;
        }
        page.get(1);
        page.set_isolator(Some(self.d.id()));
        self.m.lruvec.lock().del(&self.m.memory, frame);
        true
    }

    /// `folio_isolate_hugetlb`: likewise of what is on no LRU list.
    fn isolate_hugetlb(&self, head: Frame) -> bool {
        self.event(Event::IsolateHugetlb);
        let folio = self.page(head);
        if !folio.test_clear(flag::MIGRATABLE) {
            self.event(Event::IsolateBusy);
            return false;
        }
        folio.get(1);
        folio.set_isolator(Some(self.d.id()));
        true
    }

    /// `folio_putback_lru`: into this CPU's `lru_add` batch, minus the isolation's reference.
    pub fn putback_lru(&self, frame: Frame) {
        self.step(Step::Putback, frame);
        self.relist(frame);
        self.d.wake(Wait::Returned(frame));
        self.put(frame, 1);
    }

    /// Gives a folio that was isolated, or is one's copy, back to where the next isolation finds it:
    /// `folio_add_lru`, `folio_putback_hugetlb`.
    pub(in crate::ops) fn relist(&self, head: Frame) {
        if self.page(head).has(flag::HUGETLB) {
            self.page(head).set(flag::MIGRATABLE);
        } else {
            self.add_lru(head);
        }
    }

    /// `putback_movable_pages`.
    pub fn putback_movable(&self, frames: impl IntoIterator<Item = Frame>) {
        for frame in frames {
            self.putback_lru(frame);
        }
    }
}
