//! Folios that faults bring into being: where they are allocated, and what lies in them.

use crate::drive::Driver;
use crate::machine::payload::{Fresh, pattern};
use crate::machine::{Frame, Gfp, Mapping, PageIndex, flag};
use crate::ops::floor::Mm;
use crate::policy::Errno;

impl<'a, D: Driver> Mm<'a, D> {
    /// Where faults allocate now.
    pub(super) fn alloc_gfp(&self) -> Gfp {
        self.gfp.get()
    }

    /// Runs `body` with faults allocating outside what a long-term pin must
    /// leave: `memalloc_pin_save` and `_restore`.
    pub(in crate::ops) fn memalloc_pin<R>(&self, body: impl FnOnce() -> R) -> R {
        let gfp = if self.m.rules.pin_alloc_avoids_movable { Gfp::Pin } else { Gfp::NoCma };
        self.with_gfp(gfp, body)
    }

    pub(super) fn with_gfp<R>(&self, gfp: Gfp, body: impl FnOnce() -> R) -> R {
        let before = self.gfp.replace(gfp);
        let result = body();
        self.gfp.set(before);
        result
    }

    /// A folio of an order whose first page is page `index` of the mapping.
    #[inline]
    pub(super) fn alloc_filled(
        &self,
        mapping: &Mapping,
        index: PageIndex,
        order: u32,
    ) -> Result<Fresh<'a>, Errno> {
        let gfp = self.gfp.get();
        let fresh = self.alloc(gfp, order).ok_or(Errno::ENOMEM)?;
        fresh.fill(|nth| pattern(mapping.id, index + nth));
        fresh.folio().set_mapping(Some(mapping.id), index);
        Ok(fresh)
    }

    /// Gives back an anonymous folio that was to be mapped, and is not.
    pub(super) fn discard(&self, head: Frame) {
        for frame in self.m.memory.frames_of(head) {
            self.page(frame).clear(flag::ANON | flag::ANON_EXCLUSIVE);
        }
        self.put_folio(self.folio_at(head), 1);
    }
}
