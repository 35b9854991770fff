//! System calls that take more than a line.

use crate::area::{Area, page_size};
use gupstress_run::ops::Errno;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::io::{Errno as Os, read, retry_on_intr, write};
use rustix::pipe::{SpliceFlags, pipe, splice};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::io;

/// The machine's name of an error of the kernel, if it has one.
pub fn known(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Os::from_raw_os_error).and_then(known_os)
}

/// The machine's name of an error number.
pub fn known_os(errno: Os) -> Option<Errno> {
    Some(match errno {
        Os::INTR => Errno::EINTR,
        Os::AGAIN => Errno::EAGAIN,
        Os::NOMEM => Errno::ENOMEM,
        Os::FAULT => Errno::EFAULT,
        Os::BUSY => Errno::EBUSY,
        Os::INVAL => Errno::EINVAL,
        Os::TIMEDOUT => Errno::ETIMEDOUT,
        Os::HWPOISON => Errno::EHWPOISON,
        _ => return None,
    })
}

/// Has this thread run on one CPU.
///
/// # Errors
/// There is none of that number, or this process may not use it.
pub fn run_on(cpu: usize) -> rustix::io::Result<()> {
    if cpu >= CpuSet::MAX_CPU {
        return Err(Os::INVAL);
    }
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    sched_setaffinity(None, &cpus)
}

/// A pipe that has taken one plain reference on a page: by splicing its file where the page cache
/// has it, else by `vmsplice`, which faults it in. Of a hole a splice would get the zero page.
///
/// # Errors
/// The kernel's.
pub fn pipe_hold(area: &Area, index: u32) -> rustix::io::Result<[OwnedFd; 2]> {
    let Some(file) = area.file().filter(|_| is_cached(area, index)) else { return pipe_vhold(area, index) };
    let (from, to) = pipe()?;
    let mut offset = u64::from(index) * page_size() as u64;
    let taken = splice(file, Some(&mut offset), to.as_fd(), None, page_size(), SpliceFlags::empty())?;
    if taken == page_size() { Ok([from, to]) } else { Err(Os::AGAIN) }
}

/// Whether the page cache has a page of a mapped file.
fn is_cached(area: &Area, index: u32) -> bool {
    let (start, bytes) = area.span(&(index..index + 1));
    let mut found = 0;
    // SAFETY: one page, which says so in one byte.
    let asked = unsafe { libc::mincore(start, bytes, &raw mut found) };
    asked == 0 && found & 1 == 1
}

/// The same always by `vmsplice`.
///
/// # Errors
/// The kernel's.
pub fn pipe_vhold(area: &Area, index: u32) -> rustix::io::Result<[OwnedFd; 2]> {
    let (from, to) = pipe()?;
    let (start, bytes) = area.span(&(index..index + 1));
    let page = libc::iovec { iov_base: start, iov_len: bytes };
    // SAFETY: the page is mapped and not a gift; the kernel holds it as long as the pipe does.
    let taken = unsafe { libc::vmsplice(to.as_raw_fd(), &raw const page, 1, 0) };
    let taken = usize::try_from(taken).map_err(|_| last_error())?;
    if taken == bytes { Ok([from, to]) } else { Err(Os::AGAIN) }
}

/// A child that has done something when this returns, and then does nothing until it is killed or its
/// parent is gone.
///
/// # Errors
/// The kernel's; a child that ends before it is done leaves `EPIPE`.
pub fn fork(deed: impl FnOnce()) -> rustix::io::Result<Pid> {
    let (from, to) = pipe()?;
    // SAFETY: the child writes to mapped pages and makes system calls, and returns to nobody:
    // nothing of it needs a lock that another thread may have had.
    match unsafe { libc::fork() } {
        0 => {
            end_with_parent();
            deed();
            _ = write(&to, b".");
            loop {
                // SAFETY: a plain system call.
                unsafe { libc::pause() };
            }
        }
        ..0 => Err(last_error()),
        child => {
            drop(to);
            let child = Pid::from_raw(child).ok_or(Os::AGAIN)?;
            match retry_on_intr(|| read(&from, &mut [0u8])) {
                Ok(1) => Ok(child),
                other => {
                    _ = kill_process(child, Signal::KILL);
                    _ = waitpid(Some(child), WaitOptions::empty());
                    Err(other.err().unwrap_or(Os::PIPE))
                }
            }
        }
    }
}

/// Makes a child that has all mappings for a while, does nothing, and is waited for.
///
/// # Errors
/// The kernel's.
pub fn child_for(hold: std::time::Duration) -> rustix::io::Result<()> {
    let time = libc::timespec {
        tv_sec: libc::time_t::try_from(hold.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: hold.subsec_nanos().into(),
    };
    // SAFETY: the child makes system calls only, and returns to nobody.
    match unsafe { libc::fork() } {
        // SAFETY: plain system calls.
        0 => unsafe {
            libc::nanosleep(&raw const time, std::ptr::null_mut());
            libc::_exit(0)
        },
        child => waitpid(Some(Pid::from_raw(child).ok_or(Os::AGAIN)?), WaitOptions::empty()).map(drop),
    }
}

/// Has this process killed when the thread that made it ends.
pub fn end_with_parent() {
    // What a kernel refuses here it refuses to everyone: there is no way but to go on.
    _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
}

/// Drains every CPU's batches. `move_pages` has the caches off while it looks at its pages, and
/// turning them off drains all of them, since 5.13; before that it drained them by itself.
///
/// # Errors
/// The kernel's: `ENOSYS` without `CONFIG_NUMA`.
pub fn settle() -> rustix::io::Result<()> {
    let page = Box::new(1u64);
    let pages = [std::ptr::from_ref(&*page).cast::<libc::c_void>()];
    let (nodes, mut status) = ([0i32], [0i32]);
    // SAFETY: one page, one node and room for one status; no page is moved that lies on its node.
    let done = unsafe {
        libc::syscall(
            libc::SYS_move_pages,
            0,
            1usize,
            pages.as_ptr(),
            nodes.as_ptr(),
            status.as_mut_ptr(),
            linux_raw_sys::mempolicy::MPOL_MF_MOVE,
        )
    };
    if done >= 0 { Ok(()) } else { Err(last_error()) }
}

fn last_error() -> Os {
    Os::from_io_error(&io::Error::last_os_error()).unwrap_or(Os::IO)
}
