//! Where the kernel looks for sleepers.
//!
//! A thread that is woken is looked for among all sleepers of the process whose addresses fall
//! into the same slot of a table. Since Linux 6.16 each process has a table of its own, sized by
//! the CPUs and not by the threads: sixteen slots on four CPUs. Ten thousand sleepers are six
//! hundred in each, past which every wake-up has to walk.

use std::ffi::c_int;

/// `PR_FUTEX_HASH` of `<linux/prctl.h>`.
const FUTEX_HASH: c_int = 78;
/// `PR_FUTEX_HASH_SET_SLOTS`.
const SET_SLOTS: u64 = 1;
/// `PR_FUTEX_HASH_GET_SLOTS`.
const GET_SLOTS: u64 = 2;

/// Slots of this process; none where the kernel has one table for all, or gives no number.
fn slots() -> Option<u64> {
    // SAFETY: takes numbers only and changes nothing.
    let slots = unsafe { libc::prctl(FUTEX_HASH, GET_SLOTS, 0_u64, 0_u64, 0_u64) };
    u64::try_from(slots).ok().filter(|slots| *slots > 0)
}

/// Gives this process a slot for each of so many threads, where the kernel has slots to give.
pub(super) fn make_room(threads: usize) {
    let wanted = (threads as u64).next_power_of_two().clamp(16, 1 << 16);
    if slots().is_some_and(|slots| slots < wanted) {
        // SAFETY: takes numbers only; a kernel that cannot leaves the table as it is.
        unsafe { libc::prctl(FUTEX_HASH, SET_SLOTS, wanted, 0_u64, 0_u64) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::thread;

    #[test]
    fn there_is_a_slot_for_each_thread_where_the_kernel_counts_them() {
        // The table is made with the second thread.
        thread::spawn(|| {
            make_room(3000);
            assert!(slots().is_none_or(|slots| slots >= 4096));
            make_room(2);
            assert!(slots().is_none_or(|slots| slots >= 4096), "more is never taken back");
        })
        .join()
        .unwrap();
    }
}
