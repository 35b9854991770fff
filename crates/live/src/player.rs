//! The steps of scripts as system calls.

use crate::area::{Area, Space};
use crate::calls::{fork, known, known_os, pipe_hold, pipe_vhold, run_on, settle};
use crate::counters::{Counted as Counts, Counters};
use crate::pins::{Pin, Ring};
use crate::places::{Place, Places};
use crate::settings::Settings;
use crate::udmabuf::Udmabuf;
use crate::vfio::{Container, Vfio};
use gupstress_run::judge::class::Class;
use gupstress_run::machine::{Backing, CpuId, Kind};
use gupstress_run::observe::Event;
use gupstress_run::ops::{Caller, Errno};
use gupstress_run::script::{Counted, Fresh, Name, Op, OpError, Pages, Player};
use rustix::fd::OwnedFd;
use rustix::io::Errno as Os;
use rustix::mm::Advice;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
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
    pins: Vec<(Name, Range<u32>, Pin)>,
    /// Of each page the pipes that have a reference on it.
    held: BTreeMap<(Name, u32), Vec<[OwnedFd; 2]>>,
    children: Vec<Pid>,
    /// Whether there ever was a child.
    forked: bool,
    cpu: Option<CpuId>,
    /// Whether anonymous memory is to be made of huge pages.
    huge: bool,
    /// Made before anything is measured: what making one maps and populates drains this CPU.
    spare: Vec<Pin>,
    /// What VFIO maps for, once something was.
    container: Option<Arc<Container>>,
    /// Put back when all else is gone.
    settings: Settings,
}

impl<'k> Script<'k> {
    /// One that has done nothing yet, for a script with so many pins.
    ///
    /// # Errors
    /// `io_uring` is not to be had.
    pub fn new(counters: &'k Counters, places: &'k Places, pins: usize) -> io::Result<Self> {
        let spare = (0..pins)
            .map(|_| Ring::new().map(|ring| Pin::Ring(Box::new(ring))))
            .collect::<io::Result<_>>()?;
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
            huge: false,
            spare,
            container: None,
            settings: Settings::default(),
        })
    }

    fn go_to(&mut self, cpu: CpuId) -> Result<(), OpError> {
        if self.cpu != Some(cpu) {
            run_on(cpu.at()).map_err(|error| OpError::Misuse(format!("cpu {cpu}: {error}")))?;
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

    fn map(&mut self, fresh: &Fresh) -> Result<(), OpError> {
        let backing = fresh.backing;
        self.make_folios(backing).map_err(|error| missing("map", &error))?;
        let area = self.space.map(backing, fresh.pages).map_err(|errno| refused("map", errno))?;
        if backing == Kind::Anon.into() && !self.huge {
            keep_small(&area);
        }
        self.areas.insert(fresh.name.clone(), area);
        Ok(())
    }

    /// Has faults make the folios of a mapping: what the kernel is told holds for all that it maps.
    fn make_folios(&mut self, backing: Backing) -> io::Result<()> {
        if backing.order == 0 || backing.kind.is_hugetlb() {
            return Ok(());
        }
        self.settings.make_folios(backing)
    }

    fn split(&self, name: &Name) -> Result<(), OpError> {
        let (start, bytes) = self.area(name)?.span(&(0..self.area(name)?.pages()));
        let asked = format!("{},{:#x},{:#x}", std::process::id(), start as usize, start as usize + bytes);
        std::fs::write(SPLIT, asked).map_err(|error| missing("split", &error))
    }

    fn hold(
        &mut self,
        name: &Name,
        range: Range<u32>,
        take: impl Fn(&Area, u32) -> rustix::io::Result<[OwnedFd; 2]>,
    ) -> Result<(), OpError> {
        for index in range {
            let pipe = take(self.area(name)?, index).map_err(|errno| refused("hold", errno))?;
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

    /// Forks a child that gets some pages of a mapping, and writes some of them before anything else happens.
    fn fork(&mut self, on: &Pages, gets: Range<u32>, writes: Range<u32>) -> Result<(), OpError> {
        let area = self.area(&on.name)?;
        self.keep_from_child(&on.name, &gets, Advice::LinuxDontFork)?;
        let child = fork(|| area.touch(writes));
        self.keep_from_child(&on.name, &gets, Advice::LinuxDoFork)?;
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

    fn pin(&mut self, word: &str, on: &Pages, caller: Caller, writes: bool) -> Result<Outcome, OpError> {
        let none = || OpError::Bug("more pins than rings".to_owned());
        // A ring that is not needed is kept: what it has mapped would be unmapped, and that drains too.
        let mut pin = match caller {
            Caller::Udmabuf => Pin::Udmabuf(Udmabuf::new().map_err(|error| missing(word, &error))?),
            Caller::Vfio => {
                let container = self.container().map_err(|error| missing(word, &error))?;
                Pin::Vfio(Vfio::new(container, writes))
            }
            _ => self.spare.pop().ok_or_else(none)?,
        };
        let (area, range) = self.pages(on)?;
        let obstructed = self.is_obstructed(&on.name, &range);
        let deed = || pin.take(area, &range);
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
            self.pins.push((on.name.clone(), range, pin));
        }
        Ok(Outcome { error, class, counted })
    }

    /// What VFIO maps for: a group of devices can be in one container only, and what opening it does
    /// drains this CPU.
    ///
    /// # Errors
    /// There is no device to map for.
    pub fn container(&mut self) -> io::Result<Arc<Container>> {
        let found = self.container.take().map_or_else(|| Container::open().map(Arc::new), Ok)?;
        Ok(Arc::clone(self.container.insert(found)))
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

    fn play(&mut self, cpu: CpuId, op: &Op) -> Result<Option<Outcome>, OpError> {
        self.go_to(cpu)?;
        if let Some(area) = op.pages().and_then(|(name, _)| self.areas.get(name)) {
            let backing = area.backing();
            self.make_folios(backing).map_err(|error| missing(op.word(), &error))?;
        }
        match op {
            Op::Cpu(_) => {}
            Op::Map(fresh) => self.map(fresh)?,
            Op::Fill(pages) => {
                let area = self.space.map(Kind::Anon, *pages).map_err(|errno| refused("fill", errno))?;
                keep_small(&area);
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
            Op::Remove(on) => {
                self.call("remove", on, |area, range| area.advise(range, Advice::LinuxRemove))?;
            }
            Op::Rdonly(on) => self.call("rdonly", on, |area, range| area.protect(range, false))?,
            Op::Pmdsplit(on) => self.call("pmdsplit", on, |area, range| {
                area.protect(range, false)?;
                area.protect(range, true)
            })?,
            Op::Alias(on) => self.call("alias", on, Area::alias)?,
            Op::Write(on) => self.call("write", on, Area::write_file)?,
            Op::Mremap(name) => {
                let none = || OpError::Misuse(format!("{:?} is not mapped", name.0));
                let area = self.areas.get_mut(name).ok_or_else(none)?;
                self.space.move_area(area).map_err(|errno| refused("mremap", errno))?;
            }
            Op::Split(name) => self.split(name)?,
            Op::Thpon(_) => {
                self.settings.make_huge().map_err(|error| missing("thpon", &error))?;
                self.huge = true;
            }
            Op::Hugepool(pages) => {
                self.settings.sysctl("nr_hugepages", *pages).map_err(|error| missing("hugepool", &error))?;
            }
            Op::Overcommit(pages) => self
                .settings
                .sysctl("nr_overcommit_hugepages", *pages)
                .map_err(|error| missing("overcommit", &error))?,
            Op::Sleep(_) => std::thread::sleep(std::time::Duration::from_millis(200)),
            Op::Hold(part) => self.hold(&part.name, part.range.clone(), pipe_hold)?,
            Op::Vhold(part) => self.hold(&part.name, part.range.clone(), pipe_vhold)?,
            Op::Release(Some(part)) => self.release(&part.name, part.range.clone())?,
            Op::Release(None) => self.held.clear(),
            Op::Share(on) => self.fork(on, self.pages(on)?.1, 0..0)?,
            Op::Sharew(on) => {
                let (area, writes) = self.pages(on)?;
                self.fork(on, 0..area.pages(), writes)?;
            }
            Op::Childexit(_) => self.end_children(),
            Op::Unpin(name) => {
                let (gone, kept) = self.pins.drain(..).partition(|(known, ..)| known == name);
                self.pins = kept;
                for (_, _, mut pin) in Vec::from_iter::<Vec<_>>(gone) {
                    pin.release().map_err(|error| OpError::Misuse(format!("unpin: {error}")))?;
                }
            }
            Op::Unmap(Pages { name, range: None }) => {
                self.area(name)?;
                self.areas.remove(name);
            }
            Op::Unmap(on) => self.call("unmap", on, Area::unmap)?,
            // What drains every CPU drains this one too.
            Op::Drain(_) | Op::Settle(_) => settle().map_err(|errno| refused("drain", errno))?,
            // By name, whichever words scripts may have by then.
            other => {
                let pin = other.as_pin().filter(|&(_, caller, writes)| pins(caller, writes));
                let (on, caller, writes) = pin.ok_or_else(|| cannot(other))?;
                return self.pin(other.word(), on, caller, writes).map(Some);
            }
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
        Op::Map(fresh) => !matches!(fresh.backing.kind, Kind::File | Kind::Pfnmap),
        Op::Fragment(_)
        | Op::Memlock(_)
        | Op::DmaEntries(_)
        | Op::Exec(_)
        | Op::Exit(_)
        | Op::Contig(_)
        | Op::Offline(_)
        | Op::Lock(_)
        | Op::Unlock(_)
        | Op::Startwriteback(_)
        | Op::Endwriteback(_) => false,
        _ => op.as_pin().is_none_or(|(_, caller, writes)| pins(caller, writes)),
    };
    if possible { Ok(()) } else { Err(cannot(op)) }
}

fn cannot(op: &Op) -> OpError {
    let why = match op.word() {
        "pinro" => "io_uring pins for writing only; nearest: vfpinro",
        "memlock" => "the limit is that of who runs this; nearest: --on model",
        "dma_entries" => "the limit is the kernel's; nearest: --on model",
        "map" => "it would take a disk or a driver; nearest: shmem",
        _ => "no system calls are known for it; nearest: --on model",
    };
    OpError::Misuse(format!("{op}: not on a real kernel: {why}"))
}

/// Callers that there are system calls for.
fn pins(caller: Caller, writes: bool) -> bool {
    match caller {
        Caller::IoUring | Caller::Udmabuf => writes,
        Caller::Vfio => true,
        _ => false,
    }
}

/// Where the kernel is told whose folios to split.
const SPLIT: &str = "/sys/kernel/debug/split_huge_pages";

/// What a step needs and this kernel does not have.
fn missing(word: &str, error: &io::Error) -> OpError {
    OpError::Misuse(format!("{word}: not on this kernel: {error}; nearest: --on model"))
}

/// Has faults make single pages of a mapping, whatever this host makes of others.
fn keep_small(area: &Area) {
    // Refused by kernels that make nothing else.
    _ = area.advise(&(0..area.pages()), Advice::LinuxNoHugepage);
}

fn refused(word: &'static str, errno: Os) -> OpError {
    match known_os(errno) {
        Some(errno) => OpError::Refused { word, errno },
        None => OpError::Misuse(format!("{word}: {errno}")),
    }
}

#[cfg(test)]
mod tests;
