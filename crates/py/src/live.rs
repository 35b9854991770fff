//! The kernel that runs, for a process that does nothing else: what it is asked comes on
//! standard input, what it finds goes to standard output as it is found.

use super::Result;
use gupstress_live::{litmus, probes, request};
use gupstress_run::error::Error;
use gupstress_run::fit::request as fitting;
use pyo3::prelude::*;
use std::io::{Read as _, Write as _};

/// Answers one request; its lines are those of a guest's.
#[pyfunction]
pub(crate) fn answer_live(py: Python<'_>) -> Result<()> {
    py.detach(|| {
        let mut asked = String::new();
        std::io::stdin().read_to_string(&mut asked)?;
        let mut out = std::io::stdout().lock();
        request::answer(&asked, &mut |line| writeln!(out, "{line}").and_then(|()| out.flush()).is_ok());
        Ok(())
    })
    .map_err(|error: std::io::Error| Error::Internal(error.to_string()).into())
}

/// CPUs that a request needs; JSON in.
#[pyfunction]
pub(crate) fn live_cpus(asked: &str) -> Result<usize> {
    Ok(request::Request::parse(asked)?.cpus()?)
}

/// Whether a request pins by VFIO, which takes a device; JSON in.
#[pyfunction]
pub(crate) fn live_needs_device(asked: &str) -> Result<bool> {
    Ok(request::Request::parse(asked)?.needs_device()?)
}

/// Takes away the probes of a process that was killed while it measured.
#[pyfunction]
pub(crate) fn clear_probes(process: u32) {
    probes::clear(process);
}

/// Has this process killed when its parent ends: for a child, before it becomes what it is to be.
#[pyfunction]
pub(crate) fn end_with_parent() {
    gupstress_live::calls::end_with_parent();
}

/// What was measured as scenarios with expectations: `files` are paths and TOML texts, `cells`
/// JSON of the cells, `kernel` whose counts they are; TOML.
// Arguments from Python arrive by value.
#[allow(clippy::needless_pass_by_value)]
#[pyfunction]
pub(crate) fn measured(files: Vec<(String, String)>, cells: &str, kernel: &str) -> Result<String> {
    let scenarios = fitting::read(&files)?;
    let cells: Vec<litmus::MeasuredCell> =
        serde_json::from_str(cells).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(litmus::measured(&scenarios, &cells, kernel))
}

/// The scenarios of a file, one or several: where each stands, and its TOML.
#[pyfunction]
pub(crate) fn split_litmus(place: &str, text: &str) -> Result<Vec<(String, String)>> {
    Ok(fitting::split(place, text)?)
}
