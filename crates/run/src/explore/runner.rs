//! One run after another of the same subject: put back, run, looked at.

use super::subject::{Known, Outcome, Seen, Subject};
use crate::drive::sim::{Lab, SimEnd};
use crate::drive::{Decision, Listed, Pick};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Steps after which a run is cut: far more than any that ends takes.
const MOST_STEPS: u64 = 1 << 20;

/// Runs schedules of one subject on one thread.
pub struct Runner {
    /// What is run.
    pub subject: Box<dyn Subject>,
    lab: Lab,
    /// States of the runs so far.
    known: Known,
    /// Steps taken so far.
    pub steps: u64,
    /// Steps of the model that any task has come to, by bit.
    pub reached: u64,
    /// Runs that were cut, judged neither way.
    pub cut: u64,
}

/// What a run gave back.
pub struct Ran<P> {
    /// Who picked.
    pub pick: P,
    /// What a search looks at.
    pub seen: Seen,
    /// What each task did, where that was wanted.
    pub rings: Vec<crate::observe::Ring>,
    end: SimEnd,
    endless: bool,
}

impl<P> Ran<P> {
    /// The end of the run in full; of a runner that has not run since.
    pub fn outcome(&self, runner: &Runner) -> Outcome {
        runner.subject.outcome(&self.end, self.endless)
    }

    /// Whom a deadlock leaves waiting for what, by task.
    pub fn waits(&self) -> Vec<(usize, crate::drive::Wait)> {
        match &self.end {
            SimEnd::Deadlock(waits) => waits.clone(),
            _ => Vec::new(),
        }
    }
}

impl Runner {
    /// Of one subject.
    pub fn new(subject: Box<dyn Subject>) -> Self {
        Self { subject, lab: Lab::default(), known: Known::default(), steps: 0, reached: 0, cut: 0 }
    }

    /// What the lab does besides: traces.
    pub fn lab(&mut self) -> &mut Lab {
        &mut self.lab
    }

    /// Runs one schedule. A call that takes more sweeps than it may, while everybody gets
    /// turns, never ends.
    pub fn run<P: Pick + 'static>(&mut self, pick: P, seed: u64) -> Ran<P> {
        let subject = &*self.subject;
        subject.restore();
        // Where a task yields at few of its sweeps, those it waits for get so many fewer turns.
        let limit = subject.sweep_limit() * u64::from(pick.yield_every().max(1));
        let strategy = Rc::new(RefCell::new(Listed::new(pick)));
        let (looks, endless) = (Cell::new(0), Cell::new(false));
        let cut = Cell::new(false);
        let report = self.lab.run(
            Box::new(Rc::clone(&strategy)),
            subject.costs(),
            seed,
            subject.tasks(),
            Some(subject.kworkers()),
            &mut |_, _| Decision::Continue(u64::MAX),
            &mut |_| {
                looks.set(looks.get() + 1);
                if looks.get() == 1 {
                    return true;
                }
                let swept = |thread| subject.sweeps(thread).is_some_and(|n| n > limit);
                endless.set(strategy.borrow().pick.is_settled() && (0..subject.threads()).any(swept));
                cut.set(!endless.get() && looks.get() * 1024 > MOST_STEPS);
                !endless.get() && !cut.get()
            },
        );
        self.steps += report.steps;
        self.cut += u64::from(cut.get());
        let known = &mut self.known;
        let seen = if cut.get() { Seen::default() } else { subject.see(&report.end, endless.get(), known) };
        let listed = Rc::into_inner(strategy).expect("the run is over").into_inner();
        self.reached |= listed.reached;
        Ran { pick: listed.pick, seen, rings: report.trace, end: report.end, endless: endless.get() }
    }
}
