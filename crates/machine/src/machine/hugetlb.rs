//! The pool of hugetlb folios: reservations, surplus and overcommit.
//!
//! A folio of the pool is of order 9 and is either free in the pool, which holds a reference on
//! it, or in use. Its last user's reference gone, it returns here ([`Machine::free_hugetlb`])
//! unless the pool has a surplus, or it is a temporary one: what a migration has moved away from.

use super::ids::{CpuId, Frame, PTES_PER_TABLE, PageIndex, PageRange};
use super::page::{MAX_ORDER, flag};
use super::payload::Fresh;
use super::{Gfp, Machine, MappingId, SleepMutex, ZoneKind};
use std::collections::BTreeSet;

/// What `/proc/meminfo` says of huge pages.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct PoolState {
    /// `HugePages_Total`
    pub total: u32,
    /// `HugePages_Free`
    pub free: u32,
    /// `HugePages_Rsvd`
    pub reserved: u32,
    /// `HugePages_Surp`
    pub surplus: u32,
}

/// The pool. Its lock is held across nothing.
#[derive(Debug, Default, Clone)]
pub struct Pool {
    free: Vec<Frame>,
    total: u32,
    /// Huge pages that mappings have a right to and have not faulted in: the mapping, and which.
    reservations: BTreeSet<(MappingId, usize)>,
    surplus: u32,
    /// `nr_overcommit_hugepages`
    overcommit: u32,
}

impl Pool {
    fn reserved(&self) -> u32 {
        self.reservations.len() as u32
    }

    /// Free pages that nobody has a right to.
    fn spare(&self) -> u32 {
        (self.free.len() as u32).saturating_sub(self.reserved())
    }
}

/// How many mutexes faults of the pool's pages are spread over (`num_fault_mutexes`).
pub(super) fn fault_mutexes(cpus: usize) -> usize {
    (8 * cpus).next_power_of_two()
}

impl Machine {
    /// `hugetlb_fault_mutex_hash`: the number of the mutex under which a page is faulted in.
    pub(crate) fn hugetlb_fault_mutex_hash(&self, mapping: MappingId, index: PageIndex) -> u32 {
        let place = u64::from(mapping.0) << 32 | index.table() as u64;
        // Fibonacci hashing (Knuth, TAOCP 3, 6.4): the upper bits of a product.
        (place.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32 & (self.hugetlb_faults.len() as u32 - 1)
    }

    /// The mutex of that number.
    pub fn hugetlb_fault_mutex(&self, number: u32) -> &SleepMutex {
        &self.hugetlb_faults[number as usize]
    }

    /// What there is.
    pub fn hugetlb_pool(&self) -> PoolState {
        let pool = self.hugetlb.lock();
        let Pool { ref free, total, surplus, .. } = *pool;
        PoolState { total, free: free.len() as u32, reserved: pool.reserved(), surplus }
    }

    /// Frames that are free in the pool, which holds a reference on each.
    pub fn hugetlb_free(&self) -> Vec<Frame> {
        self.hugetlb.lock().free.clone()
    }

    /// `vm.nr_overcommit_hugepages`.
    pub fn set_hugetlb_overcommit(&self, pages: u32) {
        self.hugetlb.lock().overcommit = pages;
    }

    /// `vm.nr_hugepages`: makes the pool larger, in Movable first, as far as there is memory, or
    /// smaller, as far as its pages are free and not reserved. How large it is then.
    pub fn set_hugetlb_pool(&self, cpu: CpuId, pages: u32) -> u32 {
        while self.hugetlb_pool().total < pages {
            let Some(head) = self.new_hugetlb(cpu, Gfp::Movable) else { break };
            let mut pool = self.hugetlb.lock();
            pool.total += 1;
            pool.free.push(head);
        }
        loop {
            let mut pool = self.hugetlb.lock();
            if pool.total <= pages || pool.spare() == 0 {
                break pool.total;
            }
            let head = pool.free.pop();
            pool.total -= 1;
            drop(pool);
            head.into_iter().for_each(|head| self.give_back(cpu, head));
        }
    }

    fn new_hugetlb(&self, cpu: CpuId, gfp: Gfp) -> Option<Frame> {
        let head = self.memory.alloc(cpu, gfp, MAX_ORDER)?.publish();
        self.page(head).set(flag::HUGETLB);
        Some(head)
    }

    fn give_back(&self, cpu: CpuId, head: Frame) {
        let last = self.page(head).put_testzero(1);
        debug_assert!(last, "the pool shares its free pages with nobody");
        self.memory.free(cpu, head);
    }

    /// `hugetlb_reserve_pages`, as `mmap` does; what the pool lacks it gets as surplus
    /// (`gather_surplus_pages`), within what may be overcommitted. False: there is not enough.
    pub fn reserve_hugetlb(&self, cpu: CpuId, mapping: MappingId, pages: u32) -> bool {
        loop {
            let mut pool = self.hugetlb.lock();
            if pool.spare() >= pages {
                pool.reservations.extend((0..pages as usize).map(|nth| (mapping, nth)));
                return true;
            }
            if pool.surplus >= pool.overcommit {
                return false;
            }
            drop(pool);
            let Some(head) = self.new_hugetlb(cpu, Gfp::Movable) else { return false };
            let mut pool = self.hugetlb.lock();
            pool.total += 1;
            pool.surplus += 1;
            pool.free.push(head);
        }
    }

    /// `hugetlb_unreserve_pages`, `hugetlb_vm_op_close`: gives back what of a mapping was never
    /// faulted in, and with it the surplus pages that nobody has a right to then
    /// (`return_unused_surplus_pages`).
    pub(crate) fn unreserve_hugetlb(&self, cpu: CpuId, mapping: MappingId, pages: PageRange) {
        let mut pool = self.hugetlb.lock();
        let (first, end) = ((pages.start + (PTES_PER_TABLE - 1)).table(), pages.end.table());
        pool.reservations.retain(|&(of, nth)| of != mapping || nth < first || nth >= end);
        let mut unused = Vec::new();
        while pool.surplus > 0 && pool.spare() > 0 {
            unused.extend(pool.free.pop());
            pool.surplus -= 1;
            pool.total -= 1;
        }
        drop(pool);
        unused.into_iter().for_each(|head| self.give_back(cpu, head));
    }

    /// `alloc_hugetlb_folio`: a free page of the pool that lies where `gfp` allows, else a surplus
    /// one. `page`: of which mapping and page it is to be, if that may have a reservation, which
    /// is used up then. Its one reference is the caller's.
    pub(crate) fn take_hugetlb(
        &self,
        cpu: CpuId,
        gfp: Gfp,
        page: Option<(MappingId, PageIndex)>,
    ) -> Option<Fresh<'_>> {
        let pin = gfp.is_pin();
        let mut pool = self.hugetlb.lock();
        let page = page.map(|(mapping, index)| (mapping, index.table()));
        let reserved = page.is_some_and(|page| pool.reservations.contains(&page));
        let fits = |&head: &Frame| !pin || ZoneKind::of(self.page(head).flags()) == ZoneKind::Normal;
        let found = if reserved || pool.spare() > 0 { pool.free.iter().position(fits) } else { None };
        let head = if let Some(at) = found {
            pool.free.remove(at)
        } else {
            if pool.surplus >= pool.overcommit {
                return None;
            }
            pool.surplus += 1;
            pool.total += 1;
            drop(pool);
            let fresh = self.new_hugetlb(cpu, gfp);
            pool = self.hugetlb.lock();
            if fresh.is_none() {
                pool.surplus -= 1;
                pool.total -= 1;
            }
            fresh?
        };
        if let Some(page) = page {
            pool.reservations.remove(&page);
        }
        drop(pool);
        Some(self.memory.adopt(head))
    }

    /// `alloc_hugetlb_folio_nodemask` for a migration: a free page of the pool where `gfp`
    /// allows, else one fresh from the buddy allocator, which stands for it.
    pub(crate) fn hugetlb_target(&self, cpu: CpuId, gfp: Gfp) -> Option<Fresh<'_>> {
        let mut pool = self.hugetlb.lock();
        let fits = |&head: &Frame| ZoneKind::of(self.page(head).flags()) == ZoneKind::Normal;
        let at = pool.free.iter().position(fits);
        if let Some(at) = at.filter(|_| gfp.is_pin() && pool.spare() > 0) {
            return Some(self.memory.adopt(pool.free.remove(at)));
        }
        drop(pool);
        let head = self.new_hugetlb(cpu, gfp)?;
        self.page(head).set(flag::TEMPORARY);
        Some(self.memory.adopt(head))
    }

    /// `free_huge_folio`: its last reference is gone.
    pub(crate) fn free_hugetlb(&self, cpu: CpuId, head: Frame) {
        let temporary = self.page(head).has(flag::TEMPORARY);
        let mut pool = self.hugetlb.lock();
        if temporary || pool.surplus > 0 {
            if !temporary {
                pool.surplus -= 1;
                pool.total -= 1;
            }
            drop(pool);
            self.memory.free(cpu, head);
            return;
        }
        self.memory.renew(head);
        self.page(head).set(flag::HUGETLB);
        pool.free.push(head);
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::machine::Layout;
    use crate::policy::Rules;

    #[test]
    fn a_surplus_page_that_there_is_no_memory_for_is_not_counted() {
        let layout = Layout { normal: 64, movable: 511, cma: 0, page_bytes: 64 };
        let m = Machine::new(Rules::blank(), &layout, 1);
        m.set_hugetlb_overcommit(2);
        for _ in 0..3 {
            assert!(m.take_hugetlb(CpuId(0), Gfp::Movable, None).is_none(), "the zero page's block is none");
            assert_eq!(m.hugetlb_pool(), PoolState::default());
        }
        assert!(!m.reserve_hugetlb(CpuId(0), MappingId(0), 1));
        assert_eq!(m.hugetlb_pool(), PoolState::default());
    }

    /// With huge pages free in the pool, the first in Movable and two that are not.
    fn pool() -> Machine {
        let layout = Layout { normal: 2048, movable: 1024, cma: 0, page_bytes: 64 };
        let m = Machine::new(Rules::blank(), &layout, 1);
        assert_eq!(m.set_hugetlb_pool(CpuId(0), 3), 3);
        m
    }

    #[test]
    fn a_page_of_the_pool_that_is_to_be_pinned_is_not_in_movable() {
        for (gfp, zone) in [(Gfp::Movable, ZoneKind::Movable), (Gfp::Pin, ZoneKind::Normal)] {
            let m = pool();
            let head = m.take_hugetlb(CpuId(0), gfp, None).unwrap().publish();
            assert_eq!(ZoneKind::of(m.page(head).flags()), zone, "{gfp:?}");
        }
    }

    #[test]
    fn what_is_reserved_goes_to_who_has_reserved_it() {
        let (m, of) = (pool(), MappingId(0));
        assert!(m.reserve_hugetlb(CpuId(0), of, 3));
        assert!(m.take_hugetlb(CpuId(0), Gfp::Movable, None).is_none());
        let page = m.take_hugetlb(CpuId(0), Gfp::Movable, Some((of, PageIndex(0))));
        assert!(page.is_some_and(|page| m.page(page.publish()).has(flag::HUGETLB)));
        assert_eq!(m.hugetlb_pool(), PoolState { total: 3, free: 2, reserved: 2, surplus: 0 });
    }

    #[test]
    fn of_the_surplus_what_others_have_reserved_stays() {
        let m = pool();
        m.set_hugetlb_overcommit(1);
        let [one, other] = [0, 1].map(MappingId);
        assert!(m.reserve_hugetlb(CpuId(0), one, 3) && m.reserve_hugetlb(CpuId(0), other, 1));
        m.take_hugetlb(CpuId(0), Gfp::Movable, Some((other, PageIndex(0)))).unwrap().publish();
        let left = PoolState { total: 4, free: 3, reserved: 3, surplus: 1 };
        assert_eq!(m.hugetlb_pool(), left);
        m.unreserve_hugetlb(CpuId(0), other, PageIndex(0).run(PTES_PER_TABLE));
        assert_eq!(m.hugetlb_pool(), left);
    }

    #[test]
    fn whatever_a_pool_counts_shows_in_the_digest() {
        let m = Machine::new(Rules::blank(), &Layout { normal: 64, movable: 64, cma: 0, page_bytes: 64 }, 1);
        let acts: [fn(&mut Pool); 5] = [
            |_| {},
            |pool| pool.total = 1,
            |pool| pool.free.push(Frame(64)),
            |pool| _ = pool.reservations.insert((MappingId(0), 0)),
            |pool| pool.surplus = 1,
        ];
        let digests = acts.map(|act| {
            *m.hugetlb.lock() = Pool::default();
            act(&mut m.hugetlb.lock());
            m.digest()
        });
        assert_eq!(digests.into_iter().collect::<BTreeSet<_>>().len(), acts.len(), "{digests:x?}");
    }
}
