//! The steps of scripts as system calls.

use crate::area::{Area, Space, page_size};
use crate::counters::{Counted as Counts, Counters};
use crate::pins::Ring;
use crate::places::{Place, Places};
use gupstress_run::judge::class::Class;
use gupstress_run::machine::Kind;
use gupstress_run::observe::Event;
use gupstress_run::ops::{Caller, Errno};
use gupstress_run::script::{Counted, Name, Op, OpError, Pages, Player};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::io::Errno as Os;
use rustix::mm::Advice;
use rustix::pipe::{SpliceFlags, pipe, splice};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use toml::Value;

/// What cannot be counted once there was a child: this process then faults on pages of its own,
/// which its CPU's batch has until it is drained.
const AFTER_FORK: [Event; 3] = [Event::Faults, Event::DrainWork, Event::MlockDrain];

/// What a pin came to on a real kernel.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The errno; none for success.
    pub error: Option<Errno>,
    /// Its class, as far as the script and the frames tell.
    pub class: Class,
    /// What could be counted.
    pub counted: Counts,
}

/// Plays one script; what it has mapped, pinned, held and forked goes with it.
pub struct Script<'k> {
    counters: &'k Counters,
    places: &'k Places,
    space: Space,
    areas: BTreeMap<Name, Area>,
    fills: Vec<Area>,
    pins: Vec<(Name, Range<u32>, Ring)>,
    /// Of each page the pipes that have a reference on it.
    held: BTreeMap<(Name, u32), Vec<[OwnedFd; 2]>>,
    children: Vec<Pid>,
    /// Whether there ever was a child.
    forked: bool,
    cpu: Option<usize>,
    /// Made before anything is measured: what making one maps and populates drains this CPU.
    spare: Vec<Ring>,
}

impl<'k> Script<'k> {
    /// One that has done nothing yet, for a script with so many pins.
    ///
    /// # Errors
    /// `io_uring` is not to be had.
    pub fn new(counters: &'k Counters, places: &'k Places, pins: usize) -> io::Result<Self> {
        let spare = (0..pins).map(|_| Ring::new()).collect::<io::Result<_>>()?;
        Ok(Self {
            counters,
            places,
            space: Space::default(),
            areas: BTreeMap::new(),
            fills: Vec::new(),
            pins: Vec::new(),
            held: BTreeMap::new(),
            children: Vec::new(),
            forked: false,
            cpu: None,
            spare,
        })
    }

    fn go_to(&mut self, cpu: usize) -> Result<(), OpError> {
        if self.cpu != Some(cpu) {
            run_on(cpu).map_err(|error| OpError::Misuse(format!("cpu {cpu}: {error}")))?;
            self.cpu = Some(cpu);
        }
        Ok(())
    }

    fn area(&self, name: &Name) -> Result<&Area, OpError> {
        self.areas.get(name).ok_or_else(|| OpError::Misuse(format!("{:?} is not mapped", name.0)))
    }

    fn pages(&self, on: &Pages) -> Result<(&Area, Range<u32>), OpError> {
        let area = self.area(&on.name)?;
        Ok((area, on.range.clone().unwrap_or(0..area.pages())))
    }

    /// Something that is done to pages by one system call.
    fn call(
        &self,
        word: &'static str,
        on: &Pages,
        act: impl Fn(&Area, &Range<u32>) -> rustix::io::Result<()>,
    ) -> Result<(), OpError> {
        let (area, range) = self.pages(on)?;
        act(area, &range).map_err(|errno| refused(word, errno))
    }

    fn hold(&mut self, name: &Name, range: Range<u32>) -> Result<(), OpError> {
        for index in range {
            let pipe = pipe_hold(self.area(name)?, index).map_err(|errno| refused("hold", errno))?;
            self.held.entry((name.clone(), index)).or_default().push(pipe);
        }
        Ok(())
    }

    fn release(&mut self, name: &Name, range: Range<u32>) -> Result<(), OpError> {
        for index in range {
            let held = self.held.get_mut(&(name.clone(), index)).and_then(Vec::pop);
            let nobody = || OpError::Misuse(format!("page {index} of {} is held by nobody", name.0));
            drop(held.ok_or_else(nobody)?);
        }
        Ok(())
    }

    fn fork(&mut self, on: &Pages, writes: bool) -> Result<(), OpError> {
        let (area, range) = self.pages(on)?;
        self.keep_from_child(&on.name, &range, Advice::LinuxDontFork)?;
        let child = fork(|| {
            if writes {
                area.touch(range.clone());
            }
        });
        self.keep_from_child(&on.name, &range, Advice::LinuxDoFork)?;
        self.children.push(child.map_err(|errno| refused("share", errno))?);
        self.forked = true;
        Ok(())
    }

    /// Advises about everything but the pages that a child gets: a fork shares all it finds.
    fn keep_from_child(&self, name: &Name, range: &Range<u32>, advice: Advice) -> Result<(), OpError> {
        let whole = |area: &Area| [0..area.pages(), 0..0];
        let others = self.areas.iter().map(|(other, area)| {
            (area, if other == name { [0..range.start, range.end..area.pages()] } else { whole(area) })
        });
        let fills = self.fills.iter().map(|area| (area, whole(area)));
        for (area, parts) in others.chain(fills) {
            for part in parts.iter().filter(|part| !part.is_empty()) {
                area.advise(part, advice).map_err(|errno| refused("share", errno))?;
            }
        }
        Ok(())
    }

    fn end_children(&mut self) {
        for child in self.children.drain(..) {
            _ = kill_process(child, Signal::KILL);
            _ = waitpid(Some(child), WaitOptions::empty());
        }
    }

    fn pin(&mut self, on: &Pages) -> Result<Outcome, OpError> {
        let none = || OpError::Bug("more pins than rings".to_owned());
        let mut ring = self.spare.pop().ok_or_else(none)?;
        let (area, range) = self.pages(on)?;
        let obstructed = self.is_obstructed(&on.name, &range);
        let deed = || ring.pin(area, &range);
        let (result, mut counted) =
            self.counters.during(deed).map_err(|error| OpError::Resource(format!("counters: {error}")))?;
        if self.forked {
            counted.retain(|name, _| AFTER_FORK.iter().all(|event| event.name() != name));
        }
        let error = match &result {
            Ok(()) => None,
            Err(error) => Some(known(error).ok_or_else(|| OpError::Misuse(format!("pin: {error}")))?),
        };
        let class = match error {
            Some(_) if obstructed => Class::FailedJustified,
            Some(_) => Class::FailedSpurious,
            None if is_unsafe(self.places, area, &range)? => Class::PinnedUnsafe,
            None => Class::Pinned,
        };
        if error.is_none() {
            self.pins.push((on.name.clone(), range, ring));
        }
        Ok(Outcome { error, class, counted })
    }

    /// Whether the script itself has placed what keeps a page of the range where it is.
    fn is_obstructed(&self, name: &Name, range: &Range<u32>) -> bool {
        let held = |index| self.held.get(&(name.clone(), index)).is_some_and(|pipes| !pipes.is_empty());
        range.clone().any(held)
    }
}

/// Whether a page of a pinned range lies where it must not stay.
///
/// # Errors
/// The kernel does not say where it lies: a success cannot be called safe then.
pub fn is_unsafe(places: &Places, area: &Area, range: &Range<u32>) -> Result<bool, OpError> {
    let mut found = false;
    for index in range.clone() {
        let place =
            places.place(area, index).map_err(|error| OpError::Resource(format!("pagemap: {error}")))?;
        found |= place == Place::Movable;
        if place == Place::Unknown {
            return Err(OpError::Misuse("pagemap does not show frames; nearest: run as root".to_owned()));
        }
    }
    Ok(found)
}

impl Player for Script<'_> {
    type Outcome = Outcome;

    fn play(&mut self, cpu: usize, op: &Op) -> Result<Option<Outcome>, OpError> {
        self.go_to(cpu)?;
        match op {
            Op::Cpu(_) => {}
            Op::Map(fresh) => {
                let area =
                    self.space.map(fresh.backing.kind, fresh.pages).map_err(|errno| refused("map", errno))?;
                self.areas.insert(fresh.name.clone(), area);
            }
            Op::Fill(pages) => {
                let area = self.space.map(Kind::Anon, *pages).map_err(|errno| refused("fill", errno))?;
                area.touch(0..*pages);
                self.fills.push(area);
            }
            Op::Touch(on) => {
                let (area, range) = self.pages(on)?;
                area.touch(range);
            }
            Op::Read(on) => {
                let (area, range) = self.pages(on)?;
                area.read(range);
            }
            Op::Mlock(on) => self.call("mlock", on, Area::mlock)?,
            Op::Munlock(on) => self.call("munlock", on, Area::munlock)?,
            Op::Cold(on) => self.call("cold", on, |area, range| area.advise(range, Advice::LinuxCold))?,
            Op::Lazyfree(on) => {
                self.call("lazyfree", on, |area, range| area.advise(range, Advice::LinuxFree))?;
            }
            Op::Dontneed(on) => {
                self.call("dontneed", on, |area, range| area.advise(range, Advice::LinuxDontNeed))?;
            }
            Op::Hold(part) => self.hold(&part.name, part.range.clone())?,
            Op::Release(Some(part)) => self.release(&part.name, part.range.clone())?,
            Op::Release(None) => self.held.clear(),
            Op::Share(on) => self.fork(on, false)?,
            Op::Sharew(on) => self.fork(on, true)?,
            Op::Childexit(_) => self.end_children(),
            Op::Pin(on) if on.caller == Caller::IoUring => return self.pin(&on.pages).map(Some),
            Op::Unpin(name) => {
                let (gone, kept) = self.pins.drain(..).partition(|(known, ..)| known == name);
                self.pins = kept;
                for (_, _, mut ring) in Vec::from_iter::<Vec<_>>(gone) {
                    ring.unpin().map_err(|error| OpError::Misuse(format!("unpin: {error}")))?;
                }
            }
            Op::Unmap(Pages { name, range: None }) => {
                self.area(name)?;
                self.areas.remove(name);
            }
            Op::Drain(_) => settle().map_err(|errno| refused("drain", errno))?,
            // By name, whichever words scripts may have by then.
            other => return Err(cannot(other)),
        }
        Ok(None)
    }
}

impl Drop for Script<'_> {
    fn drop(&mut self) {
        self.end_children();
    }
}

impl Counted for Outcome {
    fn value(&self, key: &str) -> Option<Value> {
        if key == "result" {
            return Some(Value::from(self.error.map_or("ok", Errno::name)));
        }
        self.counted.get(key).map(|&count| Value::from(count as i64))
    }
}

/// Whether a step can be done by system calls; a step that cannot is refused before any is done.
///
/// # Errors
/// Which, and why.
pub fn check(op: &Op) -> Result<(), OpError> {
    let possible = match op {
        Op::Map(fresh) => fresh.backing.order == 0 && matches!(fresh.backing.kind, Kind::Anon | Kind::Shmem),
        Op::Pin(on) => on.caller == Caller::IoUring,
        Op::Unmap(on) => on.range.is_none(),
        Op::Cpu(_)
        | Op::Fill(_)
        | Op::Touch(_)
        | Op::Read(_)
        | Op::Mlock(_)
        | Op::Munlock(_)
        | Op::Cold(_)
        | Op::Lazyfree(_)
        | Op::Dontneed(_)
        | Op::Hold(_)
        | Op::Release(_)
        | Op::Share(_)
        | Op::Sharew(_)
        | Op::Childexit(_)
        | Op::Unpin(_)
        | Op::Drain(_) => true,
        _ => false,
    };
    if possible { Ok(()) } else { Err(cannot(op)) }
}

fn cannot(op: &Op) -> OpError {
    let why = match op.word() {
        "pinro" => "io_uring pins for writing only; nearest: pin",
        "vfpin" | "vfpinro" => "VFIO needs a device of its own; nearest: pin",
        _ => "no system calls are known for it; nearest: --on model",
    };
    OpError::Misuse(format!("{op}: not on a real kernel: {why}"))
}

/// The machine's name of an error of the kernel, if it has one.
pub fn known(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Os::from_raw_os_error).and_then(known_os)
}

fn known_os(errno: Os) -> Option<Errno> {
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

fn refused(word: &'static str, errno: Os) -> OpError {
    match known_os(errno) {
        Some(errno) => OpError::Refused { word, errno },
        None => OpError::Misuse(format!("{word}: {errno}")),
    }
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

/// A pipe that has taken one plain reference on a page: of anonymous memory by `vmsplice`, of
/// shared memory by splicing its file.
///
/// # Errors
/// The kernel's.
pub fn pipe_hold(area: &Area, index: u32) -> rustix::io::Result<[OwnedFd; 2]> {
    let (from, to) = pipe()?;
    let (start, bytes) = area.span(&(index..index + 1));
    let taken = if let Some(file) = area.file() {
        let mut offset = u64::from(index) * page_size() as u64;
        splice(file, Some(&mut offset), to.as_fd(), None, bytes, SpliceFlags::empty())?
    } else {
        let page = libc::iovec { iov_base: start, iov_len: bytes };
        // SAFETY: the page is mapped and not a gift; the kernel holds it as long as the pipe does.
        let taken = unsafe { libc::vmsplice(to.as_raw_fd(), &raw const page, 1, 0) };
        usize::try_from(taken).map_err(|_| last_error())?
    };
    if taken == bytes { Ok([from, to]) } else { Err(Os::AGAIN) }
}

/// A child that does something, and then nothing until it is killed or its parent is gone.
fn fork(deed: impl FnOnce()) -> rustix::io::Result<Pid> {
    // SAFETY: the child writes to mapped pages and makes system calls, and returns to nobody:
    // nothing of it needs a lock that another thread may have had.
    match unsafe { libc::fork() } {
        0 => {
            end_with_parent();
            deed();
            loop {
                // SAFETY: a plain system call.
                unsafe { libc::pause() };
            }
        }
        child => Pid::from_raw(child).ok_or(Os::AGAIN),
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

#[cfg(test)]
mod tests {
    use super::*;
    use gupstress_run::litmus::Scenario;

    #[test]
    fn steps_do_what_system_calls_do() {
        let counters = Counters::open(crate::probes::Probes::default()).unwrap();
        let places = Places::read().unwrap();
        let steps = [
            "map a 4 anon",
            "touch a",
            "map b 2 shmem",
            "touch b",
            "fill 3",
            "mlock a 0 2",
            "munlock a",
            "cold a",
            "lazyfree a 3 4",
            "hold a 1",
            "hold b 0",
            "release a 1",
            "release b 0",
            "share a",
            "sharew b",
            "childexit",
            "dontneed a 0 1",
            "read a",
            "drain",
            "unmap b",
            "pin a",
            "unpin a",
        ];
        let text = format!("steps = {steps:?}");
        let scenario = Scenario::parse("all", &text).unwrap();
        let Ok(mut script) = Script::new(&counters, &places, 1) else { return };
        for step in &scenario.program.steps {
            check(&step.op).unwrap();
            // What a host may forbid is refused by name, and nothing else of it fails.
            match script.play(0, &step.op) {
                Ok(_) => {}
                Err(OpError::Misuse(why)) if why.contains("io_uring") || why.contains("root") => return,
                Err(error) => panic!("{step:?}: {error}"),
            }
        }
        assert!(script.children.is_empty() && script.pins.is_empty());
        assert_eq!(script.area(&Name("a".to_owned())).unwrap().word(2, 0), 3);
    }

    #[test]
    fn a_step_without_system_calls_is_refused_by_name() {
        for (text, near) in [("pinro a", "pin"), ("vfpin a", "pin"), ("vfpinro a 0 1", "pin")] {
            let error = check(&Op::parse(text).unwrap()).unwrap_err().to_string();
            assert!(error.starts_with(text) && error.ends_with(&format!("nearest: {near}")), "{error}");
        }
    }
}
