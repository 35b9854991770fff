//! One number for the whole state of a machine: equal states have equal ones.

use super::Machine;

/// Mixes words into one; good enough to tell states apart, no defence against anybody.
#[derive(Debug, Clone, Copy)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    /// Adds a word.
    #[inline]
    pub fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    /// What the words came to.
    pub fn finish(self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}

impl Machine {
    /// The state that [`validate`](Self::validate) looks at, but for the contents of pages: two
    /// quiescent machines with equal ones are both valid or neither.
    pub fn digest(&self) -> u64 {
        let mut all = Digest::default();
        for frame in self.memory.all() {
            self.page(frame).digest(&mut all);
        }
        self.memory.each_free(|frame, order| all.add(u64::from(order) << 32 | u64::from(frame.0)));
        for mapping in self.mappings() {
            mapping.for_each_vma(|vma| vma.pages().for_each(|index| all.add(vma.pte(index).bits())));
            for index in mapping.vma.pages() {
                all.add(mapping.cached(index).map_or(u64::MAX, |frame| u64::from(frame.0)));
            }
        }
        for cpu in &self.cpus {
            all.add(u64::from(cpu.needs_drain()) << 1 | u64::from(cpu.drain_wanted().is_some()));
            if cpu.needs_drain() {
                cpu.lock()
                    .entries()
                    .for_each(|(batch, frame)| all.add((batch as u64) << 32 | u64::from(frame.0)));
            }
        }
        let pool = self.hugetlb_pool();
        all.add(u64::from(pool.total) << 32 | u64::from(pool.free));
        all.add(u64::from(pool.reserved) << 32 | u64::from(pool.surplus));
        self.accounts.charged().into_iter().for_each(|charged| all.add(charged));
        all.add(self.drain_mutex.owner().map_or(u64::MAX, u64::from));
        all.finish()
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn what_differs_before_the_end_differs_after_it() {
        for upper in [0, u64::MAX << 32] {
            let words = (0..32).map(|bit| upper | 1 << bit).chain([upper]);
            let ends: HashSet<u64> = words.map(|word| Digest(word).finish()).collect();
            assert_eq!(ends.len(), 33, "{upper:x}");
        }
    }
}
