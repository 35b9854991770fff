//! What becomes of memory that the host refuses.
//!
//! Tables whose size is a setting are asked for one by one and may be refused. Everything else
//! that a run allocates is small, and Rust ends the process where it gets none. So something is
//! set aside: the first refusal takes it, and ends the run as a lack of memory that somebody can
//! be told of, with what was found before it.

use super::{Raised, Result};
use gupstress_run::error::Error;
use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// Far more than threads allocate between two looks at whether to go on, and than it takes to end a run.
const ASIDE: Layout = match Layout::from_size_align(16 << 20, 4096) {
    Ok(layout) => layout,
    Err(_) => panic!("a power of two"),
};

/// The system's allocator, with something set aside for when it has nothing left.
struct Guarded {
    aside: AtomicPtr<u8>,
    refused: AtomicBool,
}

#[global_allocator]
static MEMORY: Guarded = Guarded { aside: AtomicPtr::new(ptr::null_mut()), refused: AtomicBool::new(false) };

impl Guarded {
    /// Gives back what was set aside; false if that has been done.
    #[cold]
    fn give_back(&self) -> bool {
        let aside = self.aside.swap(ptr::null_mut(), Ordering::AcqRel);
        if aside.is_null() {
            return false;
        }
        self.refused.store(true, Ordering::Release);
        // SAFETY: it came from `System` with this layout, and the swap gave it to one thread alone.
        unsafe { System.dealloc(aside, ASIDE) };
        true
    }

    /// Asks once more after a refusal.
    fn or_again(&self, got: *mut u8, again: impl FnOnce() -> *mut u8) -> *mut u8 {
        if got.is_null() && self.give_back() { again() } else { got }
    }
}

// SAFETY: each call goes to `System` as it came, at most twice, the second time after the first
// has returned null and so has done nothing.
unsafe impl GlobalAlloc for Guarded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's own promise.
        self.or_again(unsafe { System.alloc(layout) }, || unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's own promise.
        self.or_again(unsafe { System.alloc_zeroed(layout) }, || unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's own promise; a refusal leaves `old` as it is.
        self.or_again(unsafe { System.realloc(old, layout, size) }, || unsafe {
            System.realloc(old, layout, size)
        })
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: the caller's own promise; all that is handed out is `System`'s.
        unsafe { System.dealloc(old, layout) }
    }
}

/// Sets something aside for the run that begins.
pub(crate) fn set_aside() -> Result<()> {
    MEMORY.refused.store(false, Ordering::Release);
    if !MEMORY.aside.load(Ordering::Acquire).is_null() {
        return Ok(());
    }
    // SAFETY: the layout is not empty.
    let aside = unsafe { System.alloc(ASIDE) };
    if aside.is_null() {
        return Err(refusal());
    }
    let other = MEMORY.aside.swap(aside, Ordering::AcqRel);
    if !other.is_null() {
        // SAFETY: as in `give_back`; another run has set it aside meanwhile.
        unsafe { System.dealloc(other, ASIDE) };
    }
    Ok(())
}

/// Whether the host has refused memory since the run began.
pub(crate) fn is_refused() -> bool {
    MEMORY.refused.load(Ordering::Acquire)
}

/// What is said of it.
pub(crate) fn refusal() -> Raised {
    Error::Resource("the host refused memory during the run: it has none left, or a limit such as ulimit -v allows no more".into()).into()
}
