//! Time that the host takes away from virtual CPUs.

use crate::machine::CpuId;
use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// The host of virtual CPUs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Host {
    /// Its own CPUs, each of which runs every so-manyeth virtual one in turns; 0: one each.
    pub cpus: usize,
    /// Longest such turn, nanoseconds; an idle virtual CPU takes none. A round of turns ends at the next
    /// tick or timer of any of them, and each has its part of the time until then.
    pub turn_ns: u64,
    /// Share of its CPUs' time that others of its guests take, below 1.
    pub steal: f64,
    /// Mean length of a burst in which it is taken, nanoseconds.
    pub burst_ns: u64,
}

/// Which virtual CPU each of the host's CPUs runs.
#[derive(Debug)]
pub(super) struct Turns {
    host: Host,
    /// When each virtual CPU could go on by itself, and does; `u64::MAX`: never.
    starts: Vec<(u64, u64)>,
    hosts: Vec<Turn>,
}

/// One of the host's CPUs.
#[derive(Debug, Clone, Copy, Default)]
struct Turn {
    /// Busy until then.
    clock: u64,
    /// Whose turn it is, and until when.
    owner: usize,
    until: u64,
    /// Length of each turn of this round.
    length: u64,
    /// Who runs next, as it was last found.
    next: usize,
}

impl Turns {
    pub(super) fn new(host: Host) -> Self {
        Self { host, starts: Vec::new(), hosts: Vec::new() }
    }

    pub(super) fn resize(&mut self, cpus: usize) {
        if self.host.cpus != 0 {
            self.starts.resize(cpus, (u64::MAX, u64::MAX));
            self.hosts.resize(self.host.cpus.min(cpus), Turn::default());
        }
    }

    pub(super) fn clear(&mut self) {
        self.starts.fill((u64::MAX, u64::MAX));
        self.hosts.fill(Turn::default());
    }

    /// A virtual CPU could go on at `ready`, and does at `start`: its place on the host, and when
    /// something does there.
    #[inline]
    pub(super) fn goes_on(&mut self, cpu: CpuId, ready: u64, start: u64) -> (usize, u64) {
        if self.are_taken() { self.goes_on_in_turn(cpu.at(), ready, start) } else { (cpu.at(), start) }
    }

    #[inline(never)]
    fn goes_on_in_turn(&mut self, cpu: usize, ready: u64, start: u64) -> (usize, u64) {
        let count = self.hosts.len();
        self.starts[cpu] = (ready, start);
        let turn = &mut self.hosts[cpu % count];
        // In its turn, or else whoever comes after it and is ready first.
        let after = turn.owner / count + usize::from(turn.clock >= turn.until);
        let places = self.starts.len().div_ceil(count);
        let next = (0..places)
            .map(|n| cpu % count + (after + n) % places * count)
            .filter(|&other| other < self.starts.len())
            .min_by_key(|&other| self.starts[other].0.max(turn.clock));
        turn.next = next.unwrap_or(cpu);
        let (ready, start) = self.starts[turn.next];
        // A switch takes as long as it takes, whenever it is begun.
        (cpu % count, if ready == u64::MAX { ready } else { ready.max(turn.clock) + (start - ready) })
    }

    /// Whether virtual CPUs run in turns: otherwise each has a place of its own.
    #[inline]
    pub(super) fn are_taken(&self) -> bool {
        !self.hosts.is_empty()
    }

    /// Takes the virtual CPU that goes on at a place; `timer` is when the next timer is due.
    pub(super) fn take(&mut self, place: usize, start: u64, timer: impl FnOnce() -> u64) -> CpuId {
        let sharing = self.starts.len().div_ceil(self.hosts.len()) as u64;
        let turn = &mut self.hosts[place];
        if turn.next != turn.owner || start >= turn.until {
            if turn.next <= turn.owner || turn.length == 0 {
                turn.length = ((timer() - start) / sharing).max(1).min(self.host.turn_ns);
            }
            turn.owner = turn.next;
            turn.until = start.saturating_add(turn.length);
        }
        CpuId::nth(turn.next)
    }

    /// A virtual CPU has run until then.
    #[inline]
    pub(super) fn ran(&mut self, cpu: CpuId, until: u64) {
        let count = self.hosts.len();
        if count != 0 {
            let turn = &mut self.hosts[cpu.at() % count];
            turn.clock = turn.clock.max(until);
        }
    }
}

/// Where the bursts of one CPU are.
#[derive(Debug)]
struct Bursts {
    /// The next one, or the one that it is in.
    from: u64,
    until: u64,
    random: Xoshiro256PlusPlus,
}

/// The bursts of all CPUs: each CPU's own, and the same for the same seed.
#[derive(Debug)]
pub(super) struct Steal {
    host: Host,
    seed: u64,
    cpus: Vec<Bursts>,
}

/// Bursts that a CPU may have idled through before they are no longer gone through one by one.
const FAR: u64 = 64;

impl Steal {
    pub(super) fn new(host: Host) -> Self {
        Self { host, seed: 0, cpus: Vec::new() }
    }

    pub(super) fn begin(&mut self, seed: u64) {
        self.seed = seed;
        self.cpus.clear();
    }

    /// When a CPU is done with what takes it `cost`, begun at `from`.
    #[inline]
    pub(super) fn lapse(&mut self, cpu: CpuId, from: u64, cost: u64) -> u64 {
        if self.host.steal <= 0.0 || self.host.burst_ns == 0 {
            return from.saturating_add(cost);
        }
        self.lapse_with_bursts(cpu, from, cost)
    }

    #[inline(never)]
    fn lapse_with_bursts(&mut self, cpu: CpuId, from: u64, cost: u64) -> u64 {
        while self.cpus.len() <= cpu.at() {
            let of_cpu = (self.cpus.len() as u64 + 1).wrapping_mul(0xd1b5_4a32_d192_ed03);
            let random = Xoshiro256PlusPlus::seed_from_u64(self.seed ^ of_cpu);
            let mut bursts = Bursts { from: 0, until: 0, random };
            bursts.next(self.host);
            self.cpus.push(bursts);
        }
        self.cpus[cpu.at()].lapse(self.host, from, cost)
    }
}

impl Bursts {
    /// The burst after this one.
    fn next(&mut self, host: Host) {
        let free = host.burst_ns as f64 * (1.0 - host.steal) / host.steal;
        self.from = self.until.saturating_add(self.about(free));
        self.until = self.from.saturating_add(self.about(host.burst_ns as f64));
    }

    /// Evenly from nothing to twice as much.
    fn about(&mut self, mean: f64) -> u64 {
        let share = (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        (2.0 * mean * share) as u64
    }

    fn lapse(&mut self, host: Host, from: u64, cost: u64) -> u64 {
        let (mut now, mut left) = (from, cost);
        if now.saturating_sub(self.until) > FAR.saturating_mul(host.burst_ns) {
            // What has passed while it idled is of no matter.
            self.until = now;
            self.next(host);
        }
        loop {
            while self.until <= now {
                self.next(host);
            }
            if now.saturating_add(left) <= self.from {
                return now.saturating_add(left);
            }
            left -= self.from.saturating_sub(now);
            now = self.until;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_gets_the_share_that_the_host_leaves_it() {
        for (steal, burst_ns) in [(0.0, 1_000_000), (0.1, 50_000), (0.75, 750_000), (0.9, 4_000_000)] {
            let host = Host { steal, burst_ns, ..Host::default() };
            let mut bursts = Steal::new(host);
            bursts.begin(7);
            let mut now = 0;
            let mut ran = 0_u64;
            while now < 20_000_000_000 {
                now = bursts.lapse(CpuId(2), now, 1000);
                ran += 1000;
            }
            let had = ran as f64 / now as f64;
            assert!((had - (1.0 - steal)).abs() < 0.03, "{host:?}: {had}");
        }
    }

    #[test]
    fn bursts_are_the_same_for_a_seed_and_differ_by_cpu() {
        let ends = |seed, cpu| {
            let mut steal = Steal::new(Host { steal: 0.5, burst_ns: 1000, ..Host::default() });
            steal.begin(seed);
            (0..50).map(|n| steal.lapse(CpuId(cpu), n * 300, 200)).collect::<Vec<u64>>()
        };
        assert_eq!(ends(1, 0), ends(1, 0));
        assert_ne!(ends(1, 0), ends(2, 0));
        assert_ne!(ends(1, 0), ends(1, 1));
    }

    #[test]
    fn who_idles_for_long_is_not_taken_through_every_burst() {
        let mut steal = Steal::new(Host { steal: 0.5, burst_ns: 1, ..Host::default() });
        steal.begin(1);
        let far = u64::MAX / 2;
        assert!(steal.lapse(CpuId(0), far, 100) >= far + 100);
    }
}
