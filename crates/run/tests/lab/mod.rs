//! Threads of a machine's own on the simulator: what tests of operations run on.

use gupstress_run::drive::sim::{Executor, SimEnd, SimTask, SimThread, Verdict};
use gupstress_run::drive::{Costs, Driver, Scheduler, Wait};
use gupstress_run::machine::Machine;
use gupstress_run::observe::{Counters, Totals};
use gupstress_run::ops::Task;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

/// What a thread does.
pub type Body = Box<dyn FnOnce(&Task<'_, SimThread<'_>>)>;

/// What the threads did.
pub struct Ran {
    /// What they and the kworkers counted.
    pub totals: Totals,
    /// Whether they had to be killed.
    pub killed: bool,
}

/// Runs each body as a thread on its CPU, with every kworker beside them, and kills
/// what is still running after `limit_ns`.
pub fn run(
    m: &Arc<Machine>,
    scheduler: Box<dyn Scheduler>,
    seed: u64,
    limit_ns: u64,
    bodies: Vec<(usize, Body)>,
) -> Result<Ran, String> {
    let cpus = m.cpus.len();
    let left = Rc::new(Cell::new(bodies.len()));
    let counters: Vec<Arc<Counters>> = (0..bodies.len() + cpus).map(|_| Arc::default()).collect();
    let mut tasks = Vec::new();
    for ((cpu, body), count) in bodies.into_iter().zip(&counters) {
        let (m, left, count) = (Arc::clone(m), Rc::clone(&left), Arc::clone(count));
        let body = move |thread: &SimThread<'_>| {
            body(&Task::new(&m, thread, &count, cpu));
            left.set(left.get() - 1);
            (0..cpus).for_each(|cpu| thread.wake(Wait::Work(cpu)));
        };
        tasks.push(SimTask { cpu, place: Arc::default(), killable: true, body: Box::new(body) });
    }
    for (cpu, count) in (0..cpus).zip(&counters[tasks.len()..]) {
        let (m, left, count) = (Arc::clone(m), Rc::clone(&left), Arc::clone(count));
        let body = move |thread: &SimThread<'_>| {
            Task::new(&m, thread, &count, cpu).kworker(&|| left.get() == 0);
        };
        tasks.push(SimTask { cpu, place: Arc::default(), killable: false, body: Box::new(body) });
    }
    let killed = Cell::new(false);
    let mut asked = false;
    let report = Executor::default().run(
        scheduler,
        &Costs::default(),
        seed,
        tasks,
        &mut |now, _| {
            if !std::mem::replace(&mut asked, true) {
                return Verdict::Continue(now + limit_ns);
            }
            killed.set(true);
            Verdict::Kill
        },
        &mut |_| true,
    );
    if !matches!(report.end, SimEnd::Done) {
        return Err(format!("{:?}", report.end));
    }
    let mut totals = Totals::default();
    counters.iter().for_each(|count| totals.add(&count.totals()));
    Ok(Ran { totals, killed: killed.get() })
}
