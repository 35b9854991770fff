//! How much CPU time a thread has had, by the clock that the kernel keeps for it.

use std::mem::MaybeUninit;

/// The CPU-time clock of one thread of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuClock(libc::clockid_t);

impl CpuClock {
    /// The calling thread's clock; `None` where the host has none.
    pub fn of_this_thread() -> Option<Self> {
        let mut clock = MaybeUninit::uninit();
        // SAFETY: `pthread_self` is the calling thread, which is alive, and `clock` is a place for
        // one clock id, which is read only after the call said that it wrote it.
        unsafe {
            (libc::pthread_getcpuclockid(libc::pthread_self(), clock.as_mut_ptr()) == 0)
                .then(|| Self(clock.assume_init()))
        }
    }

    /// Its number, never 0: that is the wall clock's.
    pub fn number(self) -> i32 {
        self.0
    }

    /// The clock of a [`number`](Self::number).
    pub fn numbered(number: i32) -> Option<Self> {
        (number != libc::CLOCK_REALTIME).then_some(Self(number))
    }

    /// Nanoseconds of CPU time that the thread has had; `None` once it has ended.
    pub fn read(self) -> Option<u64> {
        let mut time = MaybeUninit::<libc::timespec>::uninit();
        // SAFETY: `time` is a place for one `timespec`, read only after the call said that it wrote
        // it. A clock of a thread that has ended is refused, not followed.
        let time =
            unsafe { (libc::clock_gettime(self.0, time.as_mut_ptr()) == 0).then(|| time.assume_init()) }?;
        Some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{AtomicBool, Ordering, thread};
    use std::sync::mpsc;

    #[test]
    fn a_threads_clock_tells_its_own_time_and_no_others() {
        let (send, receive) = mpsc::channel();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                send.send(CpuClock::of_this_thread().unwrap()).unwrap();
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
            let spinner = receive.recv().unwrap();
            assert_eq!(CpuClock::numbered(spinner.number()), Some(spinner));
            let mine = CpuClock::of_this_thread().unwrap();
            assert_ne!(mine, spinner);
            let had = || (mine.read().unwrap(), spinner.read().unwrap());
            let before = had();
            while had().1 < before.1 + 20_000_000 {
                thread::sleep(std::time::Duration::from_millis(5));
            }
            let after = had();
            // Asleep nearly all the while: a clock of the whole process would have gone as far.
            assert!(after.0 - before.0 < after.1 - before.1, "{before:?} {after:?}");
            over.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn the_wall_clock_is_nobodys() {
        assert_eq!(CpuClock::numbered(0), None);
    }

    #[test]
    fn a_thread_that_has_ended_has_no_clock() {
        let clock = thread::spawn(|| CpuClock::of_this_thread().unwrap()).join().unwrap();
        // The kernel may take a moment to forget it.
        while clock.read().is_some() {
            thread::yield_now();
        }
    }
}
