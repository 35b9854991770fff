//! Taking pages off the LRU, and putting them back.
//!
//! Whoever test-and-clears `PG_lru` owns the page's place on its list until
//! the flag is set again; all others see it clear and keep their hands off.

use crate::drive::{Driver, Step, Wait};
use crate::machine::{Folio, Frame, flag};
use crate::observe::Event;
use crate::ops::floor::Lru;

impl<D: Driver> Lru<'_, D> {
    /// `folio_isolate_lru`: off its list with one more reference; false if it
    /// was on none or someone else was faster. The caller holds a reference.
    pub fn isolate_lru(&self, frame: Frame) -> bool {
        let folio = self.page_folio(frame);
        if folio.has(flag::HUGETLB) {
            return self.isolate_hugetlb(folio);
        }
        self.event(Event::IsolateCalls);
        if !folio.test_clear(flag::LRU) {
            self.event(Event::IsolateBusy);
            return false;
        }
        folio.get(1);
        folio.set_isolator(Some(self.d.id()));
        self.m.lruvec.lock().del(&self.m.memory, folio);
        true
    }

    /// `folio_isolate_hugetlb`: likewise of what is on no LRU list.
    fn isolate_hugetlb(&self, folio: Folio<'_>) -> bool {
        self.event(Event::IsolateHugetlb);
        if !folio.test_clear(flag::MIGRATABLE) {
            self.event(Event::IsolateBusy);
            return false;
        }
        folio.get(1);
        folio.set_isolator(Some(self.d.id()));
        true
    }

    /// `folio_putback_lru`: into this CPU's `lru_add` batch, minus the isolation's reference.
    pub fn putback_lru(&self, head: Frame) {
        self.step(Step::Putback, head);
        let folio = self.folio_at(head);
        self.relist(folio);
        self.d.wake(Wait::Returned(head));
        self.put_folio(folio, 1);
    }

    /// Gives a folio that was isolated, or is one's copy, back to where the next isolation finds it:
    /// `folio_add_lru`, `folio_putback_hugetlb`.
    #[inline]
    pub(in crate::ops) fn relist(&self, folio: Folio<'_>) {
        if folio.has(flag::HUGETLB) {
            folio.set(flag::MIGRATABLE);
        } else {
            self.folio_add_lru(folio);
        }
    }

    /// `putback_movable_pages`.
    pub fn putback_movable(&self, frames: impl IntoIterator<Item = Frame>) {
        for frame in frames {
            self.putback_lru(frame);
        }
    }
}
