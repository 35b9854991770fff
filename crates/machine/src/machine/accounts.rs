//! What callers are charged for what they keep pinned, and how much of each they may have.

use crate::policy::Account;
use crate::sync::{AtomicU32, Mutex, Ordering};

/// What one call was charged, by account.
pub type Bill = [u64; Account::COUNT];

/// A limit that nobody reaches: what is charged to it is not even counted.
const NONE: u32 = u32::MAX;
/// `dma_entry_limit` unless the module is told otherwise.
pub const DMA_ENTRY_LIMIT: u32 = u16::MAX as u32;

/// The accounts of the process whose threads pin, and of its user.
#[derive(Debug)]
pub struct Accounts {
    memlock: AtomicU32,
    dma_entry_limit: AtomicU32,
    charged: Mutex<Bill>,
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            memlock: AtomicU32::new(NONE),
            dma_entry_limit: AtomicU32::new(DMA_ENTRY_LIMIT),
            charged: Mutex::new(Bill::default()),
        }
    }
}

impl Accounts {
    /// Sets `RLIMIT_MEMLOCK` to so many pages while nothing is pinned; 0: any number, as for who
    /// has `CAP_IPC_LOCK`.
    pub fn set_memlock(&self, pages: u32) {
        self.memlock.store(if pages == 0 { NONE } else { pages }, Ordering::Relaxed);
    }

    /// Sets VFIO's `dma_entry_limit` while nothing is pinned.
    pub fn set_dma_entry_limit(&self, entries: u32) {
        self.dma_entry_limit.store(entries, Ordering::Relaxed);
    }

    #[inline]
    fn limit(&self, account: Account) -> u32 {
        let limit = if account == Account::DmaEntries { &self.dma_entry_limit } else { &self.memlock };
        limit.load(Ordering::Relaxed)
    }

    /// Whether there is a limit, so that somebody counts.
    #[inline]
    pub fn is_limited(&self, account: Account) -> bool {
        self.limit(account) != NONE
    }

    /// Whether so many can be had while nobody else has any.
    pub fn admits(&self, account: Account, n: u64) -> bool {
        !self.is_limited(account) || n <= u64::from(self.limit(account))
    }

    /// Charges a call for so many; false, and nothing is charged, if that is over the limit.
    pub fn charge(&self, bill: &mut Bill, account: Account, n: u64) -> bool {
        if !self.is_limited(account) {
            return true;
        }
        let mut charged = self.charged.lock();
        let fits = charged[account as usize] + n <= u64::from(self.limit(account));
        if fits {
            charged[account as usize] += n;
            bill[account as usize] += n;
        }
        fits
    }

    /// Takes back what a call was charged.
    #[inline]
    pub fn refund(&self, bill: &mut Bill) {
        if *bill != Bill::default() {
            let mut charged = self.charged.lock();
            charged.iter_mut().zip(std::mem::take(bill)).for_each(|(all, mine)| *all -= mine);
        }
    }

    /// What all that hold pins have been charged.
    pub fn charged(&self) -> Bill {
        *self.charged.lock()
    }
}

crate::restore!(Accounts { charged, memlock, dma_entry_limit });
