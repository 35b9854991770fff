//! The interactive machine as a class.

use super::{MachineError, Result};
use gupstress_run::litmus::{Outcome, SESSION_LAYOUT, Session, SessionError};
use gupstress_run::machine::Kind;
use gupstress_run::request;
use pyo3::prelude::*;
use serde_json::json;

/// A deterministic machine that does one thing at a time, on the simulator.
///
/// Mappings and pins go by number; ranges are `lo, hi` within a mapping.
#[pyclass(module = "gupstress._core")]
pub struct Machine {
    session: Session,
}

#[pymethods]
impl Machine {
    #[new]
    #[pyo3(signature = (cpus, kernel, policy))]
    fn new(cpus: usize, kernel: &str, policy: &str) -> Result<Self> {
        let (rules, policy) = request::machine(&request::reference(kernel)?, &request::reference(policy)?)?;
        Ok(Self { session: Session::new(rules, policy, &SESSION_LAYOUT, cpus) })
    }

    fn map(&mut self, pages: u32, kind: &str) -> Result<u32> {
        let kind = match kind {
            "anon" => Kind::Anon,
            "shmem" => Kind::Shmem,
            _ => {
                let near = gupstress_run::config::nearest(kind, ["anon", "shmem"]).unwrap_or_default();
                return Err(
                    MachineError::new_err(format!("no kind of mapping {kind:?}; nearest: {near}")).into()
                );
            }
        };
        Ok(self.session.map(kind, pages)?)
    }

    fn fill(&mut self, pages: u32, cpu: usize) -> Result<()> {
        Ok(self.session.fill(cpu, pages)?)
    }

    fn unmap(&mut self, mapping: u32, cpu: usize) -> Result<()> {
        Ok(self.session.unmap(cpu, mapping)?)
    }

    /// One of the words that act on part of a mapping; a refusal by the kernel is an error here.
    fn act(&mut self, word: &str, mapping: u32, lo: u32, hi: u32, cpu: usize) -> Result<()> {
        let (session, range) = (&mut self.session, lo..hi);
        let refused = |result: std::result::Result<(), gupstress_run::ops::Errno>| {
            result.map_err(|errno| {
                SessionError(format!(
                    "{word}: {}: not for this kind of mapping or a locked range",
                    errno.name()
                ))
            })
        };
        match word {
            "touch" => session.touch(cpu, mapping, range)?,
            "read" => session.read(cpu, mapping, range)?,
            "mlock" => session.mlock(cpu, mapping, range)?,
            "munlock" => session.munlock(cpu, mapping, range)?,
            "cold" => refused(session.cold(cpu, mapping, range)?)?,
            "lazyfree" => refused(session.lazyfree(cpu, mapping, range)?)?,
            "hold" => session.hold(cpu, mapping, range)?,
            "release" => session.release(cpu, mapping, range)?,
            "share" => session.share(cpu, mapping, range)?,
            _ => return Err(MachineError::new_err(format!("no operation {word:?}")).into()),
        }
        Ok(())
    }

    fn pin(&mut self, mapping: u32, lo: u32, hi: u32, cpu: usize, write: bool) -> Result<String> {
        let outcome = self.session.pin(cpu, mapping, lo..hi, write)?;
        Ok(show(&outcome))
    }

    fn unpin(&mut self, pin: usize, cpu: usize) -> Result<()> {
        Ok(self.session.unpin(cpu, pin)?)
    }

    fn drain_all(&mut self) -> Result<()> {
        Ok(self.session.drain_all()?)
    }

    fn page(&self, mapping: u32, index: u32) -> Result<String> {
        Ok(json!(self.session.page(mapping, index)?).to_string())
    }

    fn check(&self) -> String {
        let recount = self.session.recount();
        json!({ "checked": recount.checked, "broken": recount.broken }).to_string()
    }

    fn trace(&self) -> String {
        json!(self.session.trace()).to_string()
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
