//! During collection: which pages are drained for, isolated, passed over.

use super::{At, Cpus, Do, Drained, Loop, Over, PageSeen, Seen, Sweep, Then};
use crate::policy::Errno;
use crate::policy::{DrainRule, DrainWhen, Empty, Permanent};

impl Loop<'_> {
    pub(super) fn go_through(&mut self, over: Over) -> Do {
        self.ask(At::Collect(over), Do::Collect(over))
    }

    pub(super) fn collect(&mut self, over: Over, seen: Seen) -> Do {
        match seen {
            Seen::Page(page) => self.page(over, page),
            // The batches are drained: how does it look now?
            Seen::Done => Do::Look,
            Seen::Isolated(isolated) => {
                self.isolated |= isolated;
                self.sweep.found |= isolated;
                self.sweep.missed |= !isolated;
                Do::Next
            }
            // What cannot be faulted in now cannot be pinned either, and the pin will say so.
            Seen::NoMore | Seen::Failed(_) => self.collected(over),
            seen => unreachable!("{seen:?} during collection"),
        }
    }

    fn page(&mut self, over: Over, page: PageSeen) -> Do {
        if self.sweep.late && !self.pins {
            return self.fail(Errno::EBUSY);
        }
        if self.policy.permanent == Permanent::Report && over != Over::Isolated && page.permanent.is_some() {
            self.sweep.permanent = self.sweep.permanent.or(page.permanent);
            return Do::Next;
        }
        match self.drain_wanted(over, page) {
            Some(Cpus::All) if self.pins && self.policy.drain_when == DrainWhen::Unpinned => {
                self.sweep.drained = Drained::All;
                self.sweep.put_off = true;
                Do::Isolate
            }
            Some(cpus) => {
                self.sweep.drained = if cpus == Cpus::All { Drained::All } else { Drained::Local };
                Do::Drain(cpus)
            }
            None if over == Over::Isolated => Do::Next,
            None => Do::Isolate,
        }
    }

    /// The rule's next drain for a page, if it wants one: never for a large folio, which no batch keeps.
    fn drain_wanted(&self, over: Over, page: PageSeen) -> Option<Cpus> {
        if page.large {
            return None;
        }
        let drained = self.sweep.drained;
        let (local_first, wanted) = match self.policy.drain {
            DrainRule::Never => return None,
            DrainRule::All => (false, true),
            DrainRule::AllIfOffLru => (false, !page.on_lru),
            // The call's own references count as one: a pin is many.
            DrainRule::ExtraRefsNaive => (true, page.extra + (page.own - 1).max(0) != 0),
            DrainRule::ExtraRefs => (true, page.extra != 0),
            DrainRule::WhereBatched => {
                // Off the LRU that may be an isolation as well, which no drain ends.
                let waited_for = self.overdue || over == Over::Isolated;
                let elsewhere = drained == Drained::Local && !page.on_lru && !waited_for;
                (true, page.beyond_pins != 0 && !elsewhere)
            }
        };
        match drained {
            _ if !wanted => None,
            Drained::No if local_first => Some(Cpus::Local),
            Drained::No | Drained::Local => Some(Cpus::All),
            Drained::All => None,
        }
    }

    fn collected(&mut self, over: Over) -> Do {
        let Sweep { found, missed, permanent, .. } = self.sweep;
        if over == Over::Isolated {
            return self.migrate();
        }
        if let Some(errno) = permanent {
            return self.fail(errno);
        }
        if matches!(over, Over::Faulted(_)) && !found && !missed {
            return self.pin();
        }
        if !found && self.policy.empty == Empty::Success {
            self.accepting = true;
            return self.let_go(if self.pins { Then::Accept } else { Then::PinAsItIs });
        }
        if self.pins { self.unpin() } else { self.migrate() }
    }
}
