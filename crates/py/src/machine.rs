//! The interactive machine as a class.

use super::signals::Signals;
use super::{MachineError, Result};
use gupstress_run::litmus::{Limits, Outcome, SESSION_LAYOUT, Session};
use gupstress_run::machine::{CpuId, MappingId, PageIndex};
use gupstress_run::request;
use gupstress_run::script::{Name, Op, OpError, Player, kind_named};
use pyo3::prelude::*;
use serde_json::json;
use std::sync::Arc;

/// A deterministic machine that does one thing at a time, on the simulator.
///
/// Mappings and pins go by number; a step names a mapping by its number. A call detaches
/// from the interpreter, looks for signals and raises what a handler raises.
#[pyclass(module = "gupstress._core")]
pub struct Machine {
    session: Session,
    signals: Arc<Signals>,
}

#[pymethods]
impl Machine {
    #[new]
    #[pyo3(signature = (cpus, kernel, policy))]
    fn new(cpus: usize, kernel: &str, policy: &str) -> Result<Self> {
        let (rules, policy) = request::machine(&request::reference(kernel)?, &request::reference(policy)?)?;
        let mut session = Session::new(rules, policy, &SESSION_LAYOUT, cpus);
        let signals = Arc::new(Signals::default());
        session.stage.limits = Limits { go_on: signals.watch(), ..Limits::default() };
        Ok(Self { session, signals })
    }

    fn map(&mut self, pages: u32, kind: &str) -> Result<u32> {
        let kind = kind_named(kind).map_err(MachineError::new_err)?;
        let mapping = self.session.map(kind, pages)?;
        self.session.call_it(Name(mapping.to_string()), mapping);
        Ok(mapping.0)
    }

    /// Does one step of a script; JSON of what a pin came to. A refusal by the kernel is an error here.
    fn play(&mut self, py: Python<'_>, step: &str, cpu: u32) -> Result<Option<String>> {
        let op = Op::parse(step).map_err(MachineError::new_err)?;
        let outcome = self.watched(py, |session| session.play(CpuId(cpu), &op))?;
        Ok(outcome.as_ref().map(show))
    }

    fn unpin(&mut self, py: Python<'_>, pin: usize, cpu: u32) -> Result<()> {
        self.watched(py, |session| session.unpin(CpuId(cpu), pin))
    }

    fn severed(&self, pin: usize) -> Result<Vec<u32>> {
        Ok(self.session.severed(pin)?.into_iter().map(|index| index.0).collect())
    }

    fn page(&self, mapping: u32, index: u32) -> Result<String> {
        Ok(json!(self.session.page(MappingId(mapping), PageIndex(index))?).to_string())
    }

    fn check(&self) -> String {
        let recount = self.session.recount();
        json!({ "checked": recount.checked, "broken": recount.broken }).to_string()
    }

    fn trace(&self) -> String {
        json!(self.session.trace()).to_string()
    }
}

impl Machine {
    fn watched<R: Send>(
        &mut self,
        py: Python<'_>,
        call: impl FnOnce(&mut Session) -> std::result::Result<R, OpError> + Send,
    ) -> Result<R> {
        let result = py.detach(|| call(&mut self.session));
        match self.signals.take() {
            Some(raised) => Err(raised.into()),
            None => Ok(result?),
        }
    }
}

fn show(outcome: &Outcome) -> String {
    json!({
        "error": outcome.error,
        "klass": outcome.class,
        "counters": outcome.counters,
        "sweeps": outcome.sweeps,
        "pin": outcome.pin,
    })
    .to_string()
}
