//! Pages with an obstacle of their own: what a driver, the boot process, the
//! memory controller or an earlier pin leave in a range.

use crate::drive::Driver;
use crate::machine::payload::pattern;
use crate::machine::{Frame, Gfp, Kind, Mapping, PageIndex, PageRange, Pte, ZoneKind, flag};
use crate::ops::floor::Task;
use crate::policy::Errno;

impl<D: Driver> Task<'_, D> {
    /// Maps a page that was never on an LRU list: a driver's, in CMA
    /// (`driver`), or one that the boot process reserved in Movable.
    ///
    /// # Errors
    /// `ENOMEM` without a frame there.
    pub fn map_unlisted(&self, mapping: &Mapping, index: PageIndex, driver: bool) -> Result<Frame, Errno> {
        let (gfp, mark) =
            if driver { (Gfp::WithinCma, flag::NEVER_LRU) } else { (Gfp::WithinMovable, flag::RESERVED) };
        let fresh = self.m.memory.alloc(self.cpu(), gfp, 0).ok_or(Errno::ENOMEM)?;
        fresh.fill(|_| pattern(mapping.id, index));
        let frame = fresh.publish();
        self.folio(frame).set(mark);
        self.m.memory.add_mapcount(frame, 1);
        mapping.vma.lock(index).set(index, Pte::present(frame, true, true));
        Ok(frame)
    }

    /// `memory_failure`: poisons a page and keeps a reference on it for good. Poison
    /// entries replace the PTEs that map it, and it leaves the LRU; with `still_mapped`
    /// that failed (`MF_MSG_UNMAP_FAILED`), and the page stays where it is.
    ///
    /// # Errors
    /// As [`touch`](Self::touch).
    pub fn memory_failure(
        &self,
        mapping: &Mapping,
        index: PageIndex,
        still_mapped: bool,
    ) -> Result<Frame, Errno> {
        self.touch(mapping, index.run(1))?;
        // `shake_folio`
        self.lru_add_drain_all(true);
        let frame = mapping.vma.pte(index).frame();
        let page = self.folio(frame);
        page.get(1);
        page.add_lasting(1);
        self.page(frame).set(flag::HWPOISON);
        if still_mapped {
            return Ok(frame);
        }
        mapping.for_each_vma(|vma| {
            let locked = vma.lock(index);
            let pte = locked.get(index);
            if pte.is_present() && pte.frame() == frame {
                locked.clear_flush(index, Pte::poison(frame));
                self.remove_rmap(frame, vma, index);
                drop(locked);
                self.put(frame, 1);
            }
        });
        // `delete_from_lru_cache`; a shared page stays in the page cache, which gives it to nobody.
        if self.isolate_lru(frame) {
            page.clear(flag::ACTIVE | flag::UNEVICTABLE | flag::MLOCKED);
            self.put(frame, 1);
        }
        Ok(frame)
    }

    /// Takes all memory outside Movable and CMA for a mapping of its own, and gives every second
    /// frame of it back: what is free there then is no block of more than a page. How many frames
    /// were free.
    pub fn fragment(&self) -> u32 {
        let frames = self.m.memory.free_in(ZoneKind::Normal) as u32;
        if frames == 0 {
            return 0;
        }
        let eaten = self.m.map(Kind::Anon, frames);
        // What others take meanwhile is gone.
        let _ = self.touch_pinnable(eaten, eaten.vma.pages());
        for index in eaten.vma.pages() {
            if eaten.vma.pte(index).is_present() && eaten.vma.pte(index).frame().0 % 2 == 1 {
                self.zap(eaten, index.run(1), false);
            }
        }
        frames
    }

    /// An earlier long-term pin of a page where it lies, which stays.
    ///
    /// # Errors
    /// As [`touch`](Self::touch).
    pub fn pin_in_place(&self, mapping: &Mapping, index: PageIndex) -> Result<Frame, Errno> {
        self.touch(mapping, index.run(1))?;
        let frame = mapping.vma.pte(index).frame();
        self.m.pin(self.find(frame));
        self.folio(frame).add_lasting_pin();
        Ok(frame)
    }

    /// Another holder takes a plain reference on each page and never lets go
    /// by itself (a pipe): by `vmsplice`, or by `splice` of a file, which finds what the page
    /// cache has without mapping it. Faults in what is missing, for reading. All of them
    /// or, on an error, none.
    ///
    /// # Errors
    /// As [`touch`](Self::touch).
    pub fn hold(&self, mapping: &Mapping, range: PageRange, splice: bool) -> Result<Vec<Frame>, Errno> {
        let mut held = Vec::with_capacity(range.len());
        for index in range {
            if splice
                && let Some(frame) = mapping.cached(index)
                && let Some(folio) = self.try_get_cached(mapping, index, frame)
            {
                folio.set(flag::REFERENCED);
                folio.add_lasting(1);
                held.push(frame);
                continue;
            }
            if let Err(errno) = self.read(mapping, index.run(1)) {
                held.iter().for_each(|&frame| self.release(frame));
                return Err(errno);
            }
            let locked = mapping.vma.lock(index);
            let frame = locked.get(index).frame();
            self.folio(frame).get(1);
            if !self.m.is_zero(frame) {
                // As GUP-fast does, through which a pipe gets its pages.
                self.folio(frame).set(flag::REFERENCED);
            }
            self.folio(frame).add_lasting(1);
            held.push(frame);
        }
        Ok(held)
    }

    /// That holder lets go after all.
    pub fn release(&self, frame: Frame) {
        self.folio(frame).add_lasting(-1);
        self.put(frame, 1);
    }
}
