//! Threads of a machine's own on the simulator: what tests of operations run on.

use gupstress_run::drive::sim::{Kworkers, Lab, SimEnd, SimTask, SimThread};
use gupstress_run::drive::{Costs, Decision, Place, Strategy};
use gupstress_run::machine::{CpuId, Machine};
use gupstress_run::observe::{Counters, Totals};
use gupstress_run::ops::Task;
use std::cell::Cell;
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
    strategy: Box<dyn Strategy>,
    seed: u64,
    limit_ns: u64,
    bodies: Vec<(u32, Body)>,
) -> Result<Ran, String> {
    let placed = bodies.into_iter().map(|(cpu, body)| (cpu, Arc::default(), body)).collect();
    run_at(m, strategy, seed, limit_ns, placed)
}

/// The same, each with where it says what it does.
pub fn run_at(
    m: &Arc<Machine>,
    strategy: Box<dyn Strategy>,
    seed: u64,
    limit_ns: u64,
    bodies: Vec<(u32, Arc<Place>, Body)>,
) -> Result<Ran, String> {
    let counters: Vec<Arc<Counters>> = (0..=bodies.len()).map(|_| Arc::default()).collect();
    let mut tasks = Vec::new();
    for ((cpu, place, body), count) in bodies.into_iter().zip(&counters) {
        let cpu = CpuId(cpu);
        let (m, count) = (Arc::clone(m), Arc::clone(count));
        let body = move |thread: &SimThread<'_>| body(&Task::new(&m, thread, &count, cpu));
        tasks.push(SimTask { cpu, place, killable: true, daemon: false, body: Box::new(body) });
    }
    let kworkers = Kworkers::of(m, &counters[tasks.len()]);
    let killed = Cell::new(false);
    let mut asked = false;
    let report = Lab::default().run(
        strategy,
        &Costs::default(),
        seed,
        tasks,
        Some(&kworkers),
        &mut |now, _| {
            if !std::mem::replace(&mut asked, true) {
                return Decision::Continue(now + limit_ns);
            }
            killed.set(true);
            Decision::Kill
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
