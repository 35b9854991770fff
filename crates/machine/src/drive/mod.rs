//! What operations ask of whoever runs them.
//!
//! Operations are written once, generic over [`Driver`]. They never call the
//! operating system, read a clock, draw a random number or block by
//! themselves; what they need of that they ask the driver for, at named
//! [`Step`]s and with a reason for every wait ([`Wait`]).

mod step;

pub use step::{CostSet, Costs, STEPS, Step};

use crate::machine::{CpuId, Frame, Hindrance, ProcessId};

/// What a thread waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Wait {
    /// A page's `PG_locked`; also a migration entry's end, as in the kernel.
    PageLock(Frame),
    /// The end of a page's writeback.
    Writeback(Frame),
    /// A CPU's queued drain work.
    DrainWork(CpuId),
    /// The mutex of `lru_add_drain_all`, by a thread: an unlock wakes one.
    DrainMutex(u32),
    /// A mutex under which pages of the hugetlb pool are faulted in, by its number and by a thread: an
    /// unlock wakes one.
    HugetlbFault {
        /// Which.
        mutex: u32,
        /// Who waits.
        thread: u32,
    },
    /// A kworker's next work.
    Work(CpuId),
    /// A page in another's hands to come back. Putback, migration and reclaim wake for it; the drain
    /// that puts a batched page on its list does not, as most pages there are nobody's to wait for:
    /// such a wait always has a deadline, and looks again then.
    Returned(Frame),
    /// Nothing but the time.
    Time,
    /// The other threads of a round.
    Barrier,
    /// The turn of a ticket ([`Turns`](crate::machine::Turns)).
    Turn(u32),
    /// The end of a pause that the watchdog ordered.
    Paused,
    /// A fatal signal to a process that wants nothing.
    Signal(ProcessId),
    /// The exit of a process that the OOM killer has chosen.
    Exit(ProcessId),
    /// Nothing: the kernel has panicked.
    Panic,
}

impl Wait {
    /// As one word, for publishing; 0 is none.
    pub fn encode(self) -> u64 {
        let (kind, detail) = match self {
            Self::PageLock(frame) => (1, frame.0),
            Self::Writeback(frame) => (2, frame.0),
            Self::DrainWork(cpu) => (3, cpu.0),
            Self::DrainMutex(thread) => (4, thread),
            Self::Work(cpu) => (5, cpu.0),
            Self::Returned(frame) => (6, frame.0),
            Self::Time => (7, 0),
            Self::Barrier => (8, 0),
            Self::Paused => (9, 0),
            Self::Turn(ticket) => (10, ticket),
            Self::Signal(process) => (11, process.0),
            Self::Exit(process) => (12, process.0),
            Self::Panic => (13, 0),
            Self::HugetlbFault { mutex, thread } => (14 + (u64::from(mutex) << 8), thread),
        };
        kind << 32 | u64::from(detail)
    }

    /// What [`encode`](Self::encode) made a word of.
    pub fn decode(word: u64) -> Option<Self> {
        let detail = word as u32;
        Some(match (word >> 32) as u8 {
            1 => Self::PageLock(Frame(detail)),
            2 => Self::Writeback(Frame(detail)),
            3 => Self::DrainWork(CpuId(detail)),
            4 => Self::DrainMutex(detail),
            5 => Self::Work(CpuId(detail)),
            6 => Self::Returned(Frame(detail)),
            7 => Self::Time,
            8 => Self::Barrier,
            9 => Self::Paused,
            10 => Self::Turn(detail),
            11 => Self::Signal(ProcessId(detail)),
            12 => Self::Exit(ProcessId(detail)),
            13 => Self::Panic,
            14 => Self::HugetlbFault { mutex: (word >> 40) as u32, thread: detail },
            _ => return None,
        })
    }

    /// What is waited for, in a few words.
    pub fn describe(self) -> String {
        match self {
            Self::PageLock(frame) => format!("the lock of frame {frame}"),
            Self::Writeback(frame) => format!("the writeback of frame {frame}"),
            Self::DrainWork(cpu) => format!("the drain work of cpu {cpu}"),
            Self::DrainMutex(_) => "the mutex of lru_add_drain_all".into(),
            Self::HugetlbFault { mutex, .. } => format!("hugetlb fault mutex {mutex}"),
            Self::Work(cpu) => format!("work for cpu {cpu}"),
            Self::Returned(frame) => format!("frame {frame} to be put back"),
            Self::Time => "time to pass".into(),
            Self::Barrier => "the other threads of the round".into(),
            Self::Turn(_) => "its turn".into(),
            Self::Paused => "the end of a pause".into(),
            Self::Signal(_) => "a fatal signal".into(),
            Self::Exit(process) => format!("the exit of process {process}"),
            Self::Panic => "nothing: the kernel has panicked".into(),
        }
    }
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// What was waited for is so.
    Ready,
    /// The deadline came first.
    TimedOut,
    /// The thread was killed: the run ends.
    Killed,
}

/// Something that a thread did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// It passed a step, about a page or `NO_FRAME`.
    Step(Step, Frame),
    /// It went to sleep.
    Wait(Wait),
    /// It woke up.
    Woken,
    /// It began to pin so many pages.
    Call(u32),
    /// The call ended, in this class.
    Return(&'static str),
}

/// What an operation may ask of its surroundings.
pub trait Driver {
    /// Passes a named point. No internal lock may be held.
    ///
    /// `frame` is the page it is about, or `NO_FRAME`.
    fn step(&self, at: Step, frame: Frame);

    /// Waits until `ready`, the deadline (nanoseconds of [`now`](Self::now)) or death.
    ///
    /// `ready` is looked at first, and again after every [`wake`](Self::wake) of `on`.
    fn wait_until(&self, on: Wait, deadline: u64, ready: &dyn Fn() -> bool) -> Waited;

    /// Waits without a deadline; false if killed.
    fn wait(&self, on: Wait, ready: &dyn Fn() -> bool) -> bool {
        self.wait_until(on, u64::MAX, ready) == Waited::Ready
    }

    /// Lets time pass; false if killed.
    fn sleep(&self, ns: u64) -> bool {
        let deadline = self.now().saturating_add(ns);
        self.wait_until(Wait::Time, deadline, &|| false) != Waited::Killed
    }

    /// Wakes all who wait on `on`, after what they wait for has been made so.
    fn wake(&self, on: Wait);

    /// Nanoseconds since the run began.
    fn now(&self) -> u64;

    /// 64 random bits from this thread's seeded generator.
    fn random(&self) -> u64;

    /// Whether a fatal signal is pending: the one thing that ends the kernel's loops.
    fn killed(&self) -> bool;

    /// The thread's number in its run.
    fn id(&self) -> u32;

    /// Lets others go on before something is looked at again that another changes between two
    /// steps, and that other may have no CPU: `cpu_relax`. Nothing where no step is cut in two.
    fn relax(&self) {}

    /// Told at which step a call could not get on, and why.
    fn hindered(&self, _at: Step, _by: Hindrance) {}

    /// Told what the thread does beside steps and waits, for a trace.
    fn trace(&self, _deed: Deed) {}

    /// Told that the thread runs on another CPU from here on.
    fn moved_to(&self, _cpu: CpuId) {}

    /// Interrupts every other CPU that runs a thread, and waits, spinning, until each has taken it.
    ///
    /// Real CPUs take it at once; virtual ones do when their host runs them.
    fn interrupt_others(&self) {}

    /// A random number below `n` (at least 1).
    fn below(&self, n: u64) -> u64 {
        // Multiply-shift (Lemire 2019); the bias of 2^-64·n does not matter here.
        ((u128::from(self.random()) * u128::from(n)) >> 64) as u64
    }

    /// True with probability `p`.
    fn chance(&self, p: f64) -> bool {
        p > 0.0 && (self.random() >> 11) as f64 * (1.0 / (1u64 << 53) as f64) < p
    }
}
