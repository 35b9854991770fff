//! Signals while the interpreter is detached.

use pyo3::prelude::*;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often signals are looked for.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks for signals now and then, and keeps what a handler raised.
#[derive(Debug, Default)]
pub(crate) struct Signals(Mutex<Looked>);

#[derive(Debug, Default)]
struct Looked {
    last: Option<Instant>,
    raised: Option<PyErr>,
}

impl Signals {
    /// What is asked from within a call: false once a handler has raised something.
    pub fn watch(self: &Arc<Self>) -> Arc<dyn Fn() -> bool + Send + Sync> {
        let signals = Arc::clone(self);
        Arc::new(move || signals.go_on())
    }

    fn go_on(&self) -> bool {
        let mut looked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.raised.is_none() && looked.last.is_none_or(|last| last.elapsed() >= LOOK_EVERY) {
            looked.last = Some(Instant::now());
            looked.raised = Python::attach(|py| py.check_signals().err());
        }
        looked.raised.is_none()
    }

    /// What was raised since it was last asked.
    pub fn take(&self) -> Option<PyErr> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).raised.take()
    }
}
