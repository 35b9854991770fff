//! Copy-on-write: what becomes of a store to a page that may be somebody else's too, and of a pin
//! that wants one of its own.

use super::anon::Access;
use crate::drive::Driver;
use crate::machine::{Frame, MAX_ORDER, Mapping, PageIndex, Pte, Vma, flag};
use crate::ops::floor::Mm;
use crate::policy::Errno;

impl<D: Driver> Mm<'_, D> {
    /// `do_huge_pmd_wp_page`: reuses a huge page that is this mapping's alone, and makes one of
    /// the huge zero page by rule; else maps it by PTEs, which are `None`'s to handle.
    fn do_huge_pmd_wp_page(
        &self,
        mapping: &Mapping,
        vma: &Vma,
        index: PageIndex,
        old: Pte,
        access: Access,
    ) -> Option<Result<(), Errno>> {
        let locked = vma.lock(index);
        let pmd = locked.pmd(index)?;
        let head = pmd.frame();
        if pmd.at(index.in_table()) != old {
            return Some(Ok(()));
        }
        if self.m.is_zero(head) && self.m.rules.huge_zero_to_huge {
            drop(locked);
            return Some(self.do_anonymous_page(mapping, vma, index, MAX_ORDER, old, access));
        }
        if !self.m.is_zero(head) {
            let folio = self.page(head);
            if folio.has(flag::ANON_EXCLUSIVE) || folio.refcount() == 1 {
                folio.set(flag::ANON_EXCLUSIVE);
                if access == Access::Write {
                    locked.set_pmd(index, pmd.made_writable());
                }
                return Some(Ok(()));
            }
        }
        self.split_pmd_locked(&locked, vma, index);
        None
    }

    /// `do_wp_page`: reuses an anonymous page that is this mapping's alone, else copies.
    pub(super) fn do_wp_page(
        &self,
        mapping: &Mapping,
        vma: &Vma,
        index: PageIndex,
        old: Pte,
        access: Access,
    ) -> Result<(), Errno> {
        if let Some(done) = self.do_huge_pmd_wp_page(mapping, vma, index, old, access) {
            return done;
        }
        let old = vma.pte(index);
        if !old.is_present() {
            return Ok(());
        }
        let frame = old.frame();
        if self.m.is_zero(frame) {
            return self.do_anonymous_page(mapping, vma, index, 0, old, access);
        }
        // A reference of our own keeps the page in place, and from being reused by another until
        // it is copied.
        if !self.get_still_mapped(vma, index, frame) {
            return Ok(());
        }
        let done = if self.wp_reuse(vma, index, old, access) {
            Ok(())
        } else {
            self.do_anonymous_page(mapping, vma, index, 0, old, access)
        };
        self.put(frame, 1);
        done
    }

    /// `wp_can_reuse_anon_folio` (5.18 on) with its local drain, and `wp_page_reuse`; false if the page
    /// must be copied. The caller has a reference on it.
    fn wp_reuse(&self, vma: &Vma, index: PageIndex, old: Pte, access: Access) -> bool {
        let frame = old.frame();
        let folio = self.folio(frame);
        let (others, rules) = (|| folio.refcount() - 1, &self.m.rules);
        let exclusive = || self.page(frame).has(flag::ANON_EXCLUSIVE);
        let drains = rules.cow_drains && (rules.cow_drains_shared || folio.folio_mapcount() == 1);
        if drains && !exclusive() && !folio.is_large() && others() <= 3 && !folio.has(flag::LRU) {
            self.lru_add_drain();
        }
        // Under the page-table lock, which a fork holds to share the page.
        let locked = vma.lock(index);
        if locked.get(index) != old {
            return true;
        }
        let reuse = exclusive()
            || if folio.is_large() {
                // Of a large folio either all that is left, or nothing.
                rules.reuses_large
                    && others() == folio.folio_mapcount()
                    && self.is_mapped_here_alone(vma, frame)
            } else {
                others() == 1 && folio.folio_mapcount() == 1
            };
        if reuse {
            self.page(frame).set(flag::ANON_EXCLUSIVE);
            if access == Access::Write {
                locked.set(index, old.made_writable());
            }
        }
        reuse
    }

    /// Whether all mappings of a folio are PTEs of this area.
    fn is_mapped_here_alone(&self, vma: &Vma, frame: Frame) -> bool {
        let pages = self.m.memory.frames_of(frame);
        let (head, first) = (pages.start, self.folio(frame).index());
        let here = first.to(vma.end()).zip(pages).filter(|&(index, frame)| {
            let pte = vma.pte(index);
            pte.is_present() && pte.frame() == frame
        });
        here.count() as i32 == self.page(head).folio_mapcount() && self.m.memory.entire_mapcount(head) == 0
    }
}
