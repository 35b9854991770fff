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
        self.event(Event::IsolateCalls);
        let frame = self.head(frame);
        let page = self.page(frame);
        if !page.test_clear(flag::LRU) {
            self.event(Event::IsolateBusy);
            return false;
        }
        page.get(1);
        page.set_isolator(Some(self.d.id()));
        self.m.lruvec.lock().del(&self.m.memory, frame);
        true
    }

    /// `folio_putback_lru`: into this CPU's `lru_add` batch, minus the isolation's reference.
    pub fn putback_lru(&self, frame: Frame) {
        self.step(Step::Putback, frame);
        self.add_lru(frame);
        self.d.wake(Wait::Returned(frame));
        self.put(frame, 1);
    }

    /// `putback_movable_pages`.
    pub fn putback_movable(&self, frames: impl IntoIterator<Item = Frame>) {
        for frame in frames {
            self.putback_lru(frame);
        }
    }
}
