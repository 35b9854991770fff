//! Whom the OOM killer chooses: processes, what memory each has, and who has been killed.
//!
//! The kernel looks at how much memory a process has, never at where: a victim whose pages all
//! lie in Movable gives nothing back to an allocation that may not use Movable, which then asks
//! for the next one.

use super::memory::Gfp;
use super::{CpuId, Machine, MappingId, ProcessId, Vma, ZoneKind};
use crate::sync::{AtomicBool, Mutex, Ordering, Rank};
use std::sync::Arc;

/// The process whose threads pin, and all of a script: every mapping is its own that is nobody else's.
pub const PROGRAM: ProcessId = ProcessId(0);

/// `OOM_SCORE_ADJ_MIN`: who has it is never chosen.
pub const OOM_SCORE_ADJ_MIN: i32 = -1000;
/// `OOM_SCORE_ADJ_MAX`.
pub const OOM_SCORE_ADJ_MAX: i32 = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// Being forked: on no list of tasks yet, so nobody chooses it.
    Unborn,
    Alive,
    /// Chosen; what it has is still its own.
    Dying,
    /// Its memory has been given back (`MMF_OOM_SKIP`).
    Gone,
}

#[derive(Debug, Clone)]
struct Process {
    oom_score_adj: i32,
    /// The program's are those that no other process has.
    mappings: Vec<MappingId>,
    life: Life,
    /// How many came before it: its place on the list of tasks.
    born: u64,
    /// What it is, if it was forked; its areas say that they are its own.
    child: Option<Child>,
}

impl Process {
    fn new(oom_score_adj: i32, mappings: Vec<MappingId>) -> Self {
        Self { oom_score_adj, mappings, life: Life::Alive, born: 0, child: None }
    }
}

/// A forked child.
#[derive(Debug, Clone, Copy)]
struct Child {
    /// Where it runs, and so where it exits.
    cpu: CpuId,
    /// Whether somebody does for it what it does: who ends what it has when it is killed. Of a child
    /// that sleeps whoever kills it does.
    busy: bool,
}

/// Puts a process at the end of the list of tasks.
fn list_add_tail(all: &mut [Process], process: ProcessId) {
    let born = all.iter().map(|process| process.born + 1).max().unwrap_or_default();
    all[process.at()].born = born;
    all[process.at()].life = Life::Alive;
}

/// A process that was killed for its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kill {
    /// Which one.
    pub process: ProcessId,
    /// Its badness (`oom_badness`), in pages.
    pub points: i64,
    /// Pages that it had.
    pub pages: u64,
    /// Those of them that it alone had, and that lay where the allocation looks.
    pub useful: u64,
    /// Free frames of Movable at that moment.
    pub free_movable: u64,
}

impl Kill {
    /// Whether its death could not help: nothing of what it had could the allocation use.
    pub fn is_needless(&self) -> bool {
        self.useful == 0
    }
}

/// What [`Machine::out_of_memory`] came to.
#[derive(Debug)]
pub enum OutOfMemory<T> {
    /// Somebody has given memory back meanwhile.
    Found(T),
    /// This process has got its fatal signal.
    Killed(ProcessId),
    /// So has the forked child with this area, which sleeps.
    ChildKilled(Arc<Vma>),
    /// This one had it before, and has yet to give its memory back.
    Dying(ProcessId),
    /// There is nobody left to kill.
    Panicked,
}

/// All processes.
#[derive(Debug)]
pub struct Processes {
    all: Mutex<Vec<Process>>,
    kills: Mutex<Vec<Kill>>,
    /// Whether the program has its fatal signal.
    killed: AtomicBool,
    panicked: AtomicBool,
}

impl Default for Processes {
    fn default() -> Self {
        let program = Process::new(0, Vec::new());
        Self {
            all: Mutex::ranked(Rank::Oom, vec![program]),
            kills: Mutex::default(),
            killed: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
        }
    }
}

impl Processes {
    /// Sets the program's `oom_score_adj`.
    pub fn set_oom_score_adj(&self, oom_score_adj: i32) {
        self.all.lock()[PROGRAM.at()].oom_score_adj = oom_score_adj;
    }

    /// Adds a process that has these mappings; returns its number.
    pub fn add(&self, oom_score_adj: i32, mappings: Vec<MappingId>) -> ProcessId {
        let mut all = self.all.lock();
        let process = ProcessId::nth(all.len());
        all.push(Process::new(oom_score_adj, mappings));
        list_add_tail(&mut all, process);
        process
    }

    /// Begins a fork of the program: a child with its `oom_score_adj`, in the place of one that has
    /// ended. It is none to choose before it is [born](Self::born).
    pub(crate) fn fork(&self, cpu: CpuId) -> ProcessId {
        let mut all = self.all.lock();
        let child = Child { cpu, busy: false };
        let child = Process {
            life: Life::Unborn,
            child: Some(child),
            ..Process::new(all[PROGRAM.at()].oom_score_adj, Vec::new())
        };
        let over =
            |process: &Process| process.life == Life::Gone && process.child.is_some_and(|child| !child.busy);
        let number = all.iter().position(over).unwrap_or(all.len());
        if number == all.len() {
            all.push(child);
        } else {
            all[number] = child;
        }
        ProcessId::nth(number)
    }

    /// A fork is complete (`copy_process`): the child is on the list of tasks, after all others; unless
    /// what it has was taken from it meanwhile. `busy`: whether the forking thread goes on as the child.
    pub(crate) fn born(&self, process: ProcessId, busy: bool) {
        let mut all = self.all.lock();
        if let Some(child) = &mut all[process.at()].child {
            child.busy = busy;
        }
        if all[process.at()].life == Life::Unborn {
            list_add_tail(&mut all, process);
        }
    }

    /// What a child did is done: it sleeps from now on. Whether it has its fatal signal.
    pub(crate) fn rests(&self, process: ProcessId) -> bool {
        let mut all = self.all.lock();
        if let Some(child) = &mut all[process.at()].child {
            child.busy = false;
        }
        all[process.at()].life == Life::Dying
    }

    /// Where a forked child runs.
    pub(crate) fn cpu_of(&self, process: ProcessId) -> Option<CpuId> {
        self.all.lock()[process.at()].child.map(|child| child.cpu)
    }

    /// Whether the program's threads have a fatal signal pending.
    #[inline]
    pub fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Relaxed)
    }

    /// Whether the kernel has panicked: there was nobody left to kill.
    pub fn has_panicked(&self) -> bool {
        self.panicked.load(Ordering::Relaxed)
    }

    /// Whether a process has its fatal signal, and may be gone.
    pub fn has_signal(&self, process: ProcessId) -> bool {
        matches!(self.all.lock()[process.at()].life, Life::Dying | Life::Gone)
    }

    /// Whether a process has its fatal signal and has yet to give its memory back.
    pub fn is_dying(&self, process: ProcessId) -> bool {
        self.all.lock()[process.at()].life == Life::Dying
    }

    /// A process has given its memory back.
    pub(crate) fn has_exited(&self, process: ProcessId) {
        self.all.lock()[process.at()].life = Life::Gone;
    }

    /// Those that were killed, in order.
    pub fn kills(&self) -> Vec<Kill> {
        self.kills.lock().clone()
    }
}

/// Pages that a process has, and those of them that an allocation could use.
#[derive(Debug, Clone, Copy, Default)]
struct Resident {
    pages: u64,
    useful: u64,
    tables: u64,
}

impl Machine {
    /// `out_of_memory`: looks once more, and where there is still nothing has the worst process
    /// killed, unless one is dying already.
    pub(crate) fn out_of_memory<T>(&self, gfp: Gfp, again: impl FnOnce() -> Option<T>) -> OutOfMemory<T> {
        let mut all = self.processes.all.lock();
        if let Some(found) = again() {
            return OutOfMemory::Found(found);
        }
        if let Some(process) = all.iter().position(|process| process.life == Life::Dying) {
            return OutOfMemory::Dying(ProcessId::nth(process));
        }
        let candidates = (0..all.len()).map(ProcessId::nth).filter_map(|process| {
            let resident = self.resident(&all, process, gfp);
            Some((process, resident, self.oom_badness(&all[process.at()], resident)?))
        });
        // Of equals the last on the list of tasks.
        let badness = |&(process, _, points): &(ProcessId, _, _)| (points, all[process.at()].born);
        let Some((process, resident, points)) = candidates.max_by_key(badness) else {
            self.processes.panicked.store(true, Ordering::Relaxed);
            return OutOfMemory::Panicked;
        };
        all[process.at()].life = Life::Dying;
        let Resident { pages, useful, .. } = resident;
        let free_movable = self.memory.free_in(ZoneKind::Movable) as u64;
        self.processes.kills.lock().push(Kill { process, points, pages, useful, free_movable });
        if process == PROGRAM {
            self.processes.killed.store(true, Ordering::Relaxed);
        }
        let sleeps = all[process.at()].child.is_some_and(|child| !child.busy);
        let area = sleeps.then(|| self.child(process)).flatten();
        area.map_or(OutOfMemory::Killed(process), OutOfMemory::ChildKilled)
    }

    /// The area of a forked child, unless it is being taken from it.
    fn child(&self, process: ProcessId) -> Option<Arc<Vma>> {
        self.mappings().find_map(|mapping| {
            let mut found = None;
            mapping.for_each_child(|vma| {
                if vma.child() == Some(process) && !vma.is_gone() {
                    found = Some(Arc::clone(vma));
                }
            });
            found
        })
    }

    /// `oom_badness`: pages, page tables and swap, of which there is none here, and
    /// `oom_score_adj` thousandths of all pages; `None`: not to be chosen.
    fn oom_badness(&self, process: &Process, resident: Resident) -> Option<i64> {
        if process.life != Life::Alive || process.oom_score_adj == OOM_SCORE_ADJ_MIN {
            return None;
        }
        let all_pages = i64::from(self.memory.frames());
        let points = (resident.pages + resident.tables) as i64;
        Some(points + i64::from(process.oom_score_adj) * all_pages / i64::from(OOM_SCORE_ADJ_MAX))
    }

    fn resident(&self, all: &[Process], process: ProcessId, gfp: Gfp) -> Resident {
        let of_others = || all[1..].iter().flat_map(|process| &process.mappings);
        let own = |id: MappingId| match process {
            PROGRAM => of_others().all(|&other| other != id),
            _ => all[process.at()].mappings.contains(&id),
        };
        let mut sum = Resident::default();
        if let Some(child) = all[process.at()].child.and_then(|_| self.child(process)) {
            self.add_resident(&mut sum, &child, gfp);
        }
        for mapping in self.mappings().filter(|mapping| own(mapping.id)) {
            self.add_resident(&mut sum, &mapping.vma, gfp);
        }
        sum
    }

    fn add_resident(&self, sum: &mut Resident, vma: &Vma, gfp: Gfp) {
        let mut last_table = None;
        for index in vma.pages() {
            let pte = vma.pte(index);
            // A page on its way is a page still.
            if !(pte.is_present() || pte.is_migration()) || self.is_zero(pte.frame()) {
                continue;
            }
            sum.pages += 1;
            let (frame, head) = (pte.frame(), self.memory.head(pte.frame()));
            // What others map too would stay theirs.
            let alone = self.page(frame).mapcount() + self.memory.entire_mapcount(head) <= 1;
            let zone = ZoneKind::of(self.page(head).flags());
            sum.useful += u64::from(alone && gfp.looks_into(zone));
            let table = Some(index.table());
            sum.tables += u64::from(table != last_table);
            last_table = table;
        }
    }
}

crate::restore!(Processes { all, kills, killed, panicked });

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::machine::{Kind, Layout, MAX_ORDER, PageIndex, Pte};
    use crate::policy::Rules;

    const HUGE: u32 = 1 << MAX_ORDER;

    /// What a process has with a huge page that so many PMDs map, the zero page, and nothing.
    fn resident(pmds: i32) -> Resident {
        let layout = Layout { normal: 64, movable: 2 * HUGE, cma: 0, page_bytes: 64 };
        let m = Machine::new(Rules::blank(), &layout, 1);
        let mapping = m.map(Kind::Anon, HUGE + 2);
        let process = m.processes.add(0, vec![mapping.id]);
        let head = m.memory.alloc(CpuId(0), Gfp::Movable, MAX_ORDER).unwrap().publish();
        m.memory.add_entire_mapcount(head, pmds);
        let (first, zero) = (PageIndex(0), PageIndex(HUGE));
        mapping.vma.lock(first).set_pmd(first, Pte::present(head, true, true));
        mapping.vma.lock(zero).set(zero, Pte::ZERO);
        let all = m.processes.all.lock();
        m.resident(&all, process, Gfp::Movable)
    }

    #[test]
    fn a_process_has_what_is_mapped_and_gives_back_what_nobody_else_maps() {
        for (pmds, useful) in [(1, u64::from(HUGE)), (2, 0)] {
            let found = resident(pmds);
            assert_eq!((found.pages, found.useful), (u64::from(HUGE), useful), "{pmds}");
        }
    }
}
