//! A plan as a class: read once, run as often as asked.

use super::{Raised, Result, Watcher, memory, raised};
use gupstress_run::error::Error;
use gupstress_run::observe::trace::write_chrome;
use gupstress_run::plan::{self, Room};
use gupstress_run::stress::{Condition, Job, run};
use pyo3::prelude::*;

/// A request with every name looked up and every default filled in.
#[pyclass(module = "gupstress._core", frozen)]
pub struct Plan(pub(crate) plan::Plan);

#[pymethods]
impl Plan {
    /// The tables of policies, profile and kernel with every key, and what a run needs; JSON.
    fn describe(&self) -> String {
        self.0.describe()
    }

    /// The most pinning threads, up to those asked for, that fit into what a host has left.
    fn most_threads(&self, threads: u64, memory_bytes: u64) -> u32 {
        self.0.most_threads(Room { threads, memory_bytes })
    }

    /// What a call of a policy takes where nobody is in its way: the median, in nanoseconds.
    fn uncontended_ns(&self, py: Python<'_>, policy: usize) -> Result<Option<u64>> {
        let job = self.0.job(policy, 1).uncontended();
        memory::set_aside()?;
        let mut watcher = Watcher::new(None);
        let result = py.detach(|| run::run(&job, &mut watcher));
        if let Some(raised) = watcher.raised {
            return Err(raised.into());
        }
        Ok(result?.latency_ns.p50)
    }

    /// Runs one policy once, by its place among those asked for; `repeat` counts from 1. JSON out.
    ///
    /// `tracer` is who is given the run's trace at its end, JSON of Trace Events, separated by commas,
    /// as the process of this number and name. `abort_on` is JSON of conditions that end the run as
    /// soon as nothing can mend them, `[metric, comparison, bound]` each.
    // Arguments from Python arrive by value.
    #[allow(clippy::needless_pass_by_value)]
    #[pyo3(signature = (policy, repeat, observer=None, tracer=None, abort_on="[]"))]
    fn run(
        &self,
        py: Python<'_>,
        policy: usize,
        repeat: u64,
        observer: Option<Py<PyAny>>,
        tracer: Option<(Py<PyAny>, u32, String)>,
        abort_on: &str,
    ) -> Result<String> {
        if policy >= self.0.policies() {
            let said = format!("no policy number {policy}: there are {}", self.0.policies());
            return Err(Raised(raised::GupstressError::new_err(said)));
        }
        let job = Job { abort_on: Condition::read(abort_on)?, ..self.0.job(policy, repeat) };
        memory::set_aside()?;
        let mut watcher = Watcher::new(observer.as_ref());
        let result = py.detach(|| run::run(&job, &mut watcher));
        if let Some(raised) = watcher.raised {
            return Err(raised.into());
        }
        if memory::is_refused() {
            return Err(memory::refusal());
        }
        if let (Some(trace), Some((tracer, number, name))) = (watcher.trace, tracer) {
            let text = py.detach(|| write_chrome(&trace, number, &name));
            tracer.call1(py, (text,))?;
        }
        serde_json::to_string(&result?).map_err(|error| Error::Internal(error.to_string()).into())
    }
}
