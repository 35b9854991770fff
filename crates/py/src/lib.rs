//! `gupstress._core`: the extension module. The only place that names pyo3.
//!
//! Rich data crosses as JSON text; what the JSON means is the crate's own
//! types. Long runs detach from the interpreter and look in every 20 ms.

mod live;
mod machine;
mod memory;
mod plan;
mod signals;

use gupstress_run::config::{Ns, parse_length};
use gupstress_run::error::{Error, Problem};
use gupstress_run::explore::request as searching;
use gupstress_run::fit::request as fitting;
use gupstress_run::litmus::{Limits, Scenario, litmus_names, show_litmus};
use gupstress_run::observe::Trace;
use gupstress_run::policy::{kernel_names, policy_names};
use gupstress_run::request;
use gupstress_run::script::{Op, OpError};
use gupstress_run::stress::{Host, Progress, profile_names};
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use signals::{LOOK_EVERY, Signals};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

mod raised {
    // Classes of Python: what they say of themselves is said in one language.
    pyo3::import_exception!(gupstress.errors, GupstressError);
    pyo3::import_exception!(gupstress.errors, ConfigError);
    pyo3::import_exception!(gupstress.errors, ResourceError);
    pyo3::import_exception!(gupstress.errors, MachineError);
}
use raised::{ConfigError, GupstressError, MachineError, ResourceError};

/// An exception on its way to Python: errors of the core become one by `?`.
struct Raised(PyErr);

type Result<T> = std::result::Result<T, Raised>;

impl From<Raised> for PyErr {
    fn from(raised: Raised) -> Self {
        raised.0
    }
}

impl From<PyErr> for Raised {
    fn from(error: PyErr) -> Self {
        Self(error)
    }
}

impl From<Error> for Raised {
    fn from(error: Error) -> Self {
        Self(match error {
            Error::Config(problems) => {
                let all: Vec<(String, String)> =
                    problems.into_iter().map(|problem| (problem.place, problem.message)).collect();
                ConfigError::new_err((all,))
            }
            Error::Resource(message) => ResourceError::new_err(message),
            Error::Interrupted => PyKeyboardInterrupt::new_err(()),
            Error::Internal(message) => GupstressError::new_err(message),
        })
    }
}

impl From<OpError> for Raised {
    fn from(error: OpError) -> Self {
        match error {
            OpError::Bug(message) => Error::Internal(message).into(),
            OpError::Resource(message) => Error::Resource(message).into(),
            error => Self(MachineError::new_err(error.to_string())),
        }
    }
}

/// Runs `body` detached while `observer` is called now and then, and signals are looked for.
struct Watcher<'p> {
    observer: Option<&'p Py<PyAny>>,
    looked: Instant,
    told: Instant,
    /// What the observer or a signal handler raised, unless it was the interrupt.
    raised: Option<PyErr>,
    trace: Option<Trace>,
}

/// How often the observer is told.
const TELL_EVERY: Duration = Duration::from_millis(100);

impl<'p> Watcher<'p> {
    fn new(observer: Option<&'p Py<PyAny>>) -> Self {
        let now = Instant::now();
        Self { observer, looked: now, told: now, raised: None, trace: None }
    }
}

impl Watcher<'_> {
    /// Looks for signals, and tells how far it is where there is something to tell.
    fn look_in(&mut self, progress: Option<&dyn Fn() -> Progress>) -> bool {
        // On the simulator this is called far more often than anybody could look.
        if self.looked.elapsed() < LOOK_EVERY {
            return self.raised.is_none() && !memory::is_refused();
        }
        self.looked = Instant::now();
        if memory::is_refused() {
            return false;
        }
        let due = self.observer.is_some() && self.told.elapsed() >= TELL_EVERY;
        let progress = progress.filter(|_| due);
        let text = progress.map(|progress| serde_json::to_string(&progress()).unwrap_or_default());
        let due = text.is_some();
        let result: PyResult<()> = Python::attach(|py| {
            py.check_signals()?;
            if let (Some(observer), Some(text)) = (self.observer, text) {
                observer.call1(py, (text,))?;
            }
            Ok(())
        });
        if due {
            self.told = Instant::now();
        }
        match result {
            Ok(()) => true,
            Err(error) => {
                let interrupt = Python::attach(|py| error.is_instance_of::<PyKeyboardInterrupt>(py));
                if !interrupt {
                    self.raised = Some(error);
                }
                false
            }
        }
    }
}

impl Host for Watcher<'_> {
    fn look(&mut self, progress: &dyn Fn() -> Progress) -> bool {
        self.look_in(Some(progress))
    }

    fn may_go_on(&mut self) -> bool {
        self.look_in(None)
    }

    fn trace(&mut self, trace: Trace) {
        self.trace = Some(trace);
    }
}

#[pymodule(gil_used = false)]
// Arguments from Python arrive by value.
#[allow(clippy::needless_pass_by_value)]
mod _core {
    #[pymodule_export]
    use super::live::{
        answer_live, clear_probes, end_with_parent, live_cpus, live_needs_device, measured, split_litmus,
    };
    #[pymodule_export]
    use super::machine::Machine;
    #[pymodule_export]
    use super::plan::Plan;
    use super::{
        Arc, Duration, Error, Instant, Limits, Mutex, Ns, Op, PoisonError, Problem, PyKeyboardInterrupt,
        Result, Scenario, Signals, TELL_EVERY, fitting, kernel_names, litmus_names, parse_length,
        policy_names, profile_names, request, searching, show_litmus,
    };
    use gupstress_run::judge::Verdict;
    use gupstress_run::litmus::MOST_SESSION_CPUS;
    use gupstress_run::policy::{DEFAULT_KERNEL, Source};
    use gupstress_run::stress::{MOST_CPUS, MOST_THREADS};
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        let profile = if !cfg!(debug_assertions) {
            "release"
        } else if cfg!(gupstress_optimized) {
            "checked"
        } else {
            "debug"
        };
        module.add("build_profile", profile)?;
        module.add("MOST_THREADS", MOST_THREADS)?;
        module.add("MOST_CPUS", MOST_CPUS)?;
        module.add("MOST_SESSION_CPUS", MOST_SESSION_CPUS)?;
        module.add("DEFAULT_KERNEL", DEFAULT_KERNEL)?;
        module.add("PanicException", module.py().get_type::<pyo3::panic::PanicException>())
    }

    /// Names of presets: of a `policy`, `profile`, `kernel` or `litmus`.
    #[pyfunction]
    fn names(kind: &str) -> Result<Vec<&'static str>> {
        Ok(match kind {
            "policy" => policy_names(),
            "profile" => profile_names(),
            "kernel" => kernel_names(),
            "litmus" => litmus_names(),
            _ => return Err(request::no_kind(kind).into()),
        })
    }

    /// A preset as TOML text that is taken back; with a text, that file of this name, in full.
    #[pyfunction]
    #[pyo3(signature = (kind, name, text=None))]
    fn show(kind: &str, name: &str, text: Option<&str>) -> Result<String> {
        let preset = text.map_or(Source::Preset(name), |text| Source::File(name, text));
        Ok(match kind {
            "policy" => gupstress_run::policy::show_policy(&gupstress_run::policy::load_policy(preset, &[])?),
            "profile" => {
                gupstress_run::stress::show_profile(&gupstress_run::stress::load_profile(preset, &[])?)
            }
            "kernel" => gupstress_run::policy::show_kernel(&gupstress_run::policy::load_kernel(preset, &[])?),
            "litmus" => show_litmus(name)?.to_owned(),
            _ => return Err(request::no_kind(kind).into()),
        })
    }

    /// Seconds of a length of time such as `60s` or `500ms`.
    #[pyfunction]
    fn parse_duration(text: &str) -> Result<f64> {
        let length = parse_length(text).map_err(|reason| Error::config("", reason))?;
        Ok(length.0 as f64 / 1e9)
    }

    /// A length of time as `parse_duration` takes it; what is below nothing is nothing.
    #[pyfunction]
    fn show_duration(seconds: f64) -> String {
        Ns((seconds * 1e9).round() as u64).short()
    }

    /// The one of some names that a word was most likely meant to be, if there are any.
    #[pyfunction]
    fn nearest(wanted: &str, names: Vec<String>) -> Option<String> {
        gupstress_run::config::nearest(wanted, names.iter().map(String::as_str)).map(str::to_owned)
    }

    /// The number that a word such as `1e6` or `2k` most likely means, if any.
    #[pyfunction]
    fn guess_number(word: &str) -> Option<f64> {
        gupstress_run::config::number(word)
    }

    /// Reads and checks everything that a run names, given as JSON.
    #[pyfunction]
    fn resolve(request: &str) -> Result<Plan> {
        Ok(Plan(gupstress_run::plan::Plan::read(request)?))
    }

    /// What a policy may come to, best first.
    #[pyfunction]
    fn verdicts() -> Vec<&'static str> {
        Verdict::WORDS.iter().map(|(word, _)| *word).collect()
    }

    /// So many runs of a matrix's cell are made at most until it can be told what it came to.
    #[pyfunction]
    fn most_repeats() -> u32 {
        gupstress_run::judge::verdict::MOST_REPEATS
    }

    /// Judges a cell of a matrix by all its repeats; JSON in and out.
    #[pyfunction]
    fn judge_cell(cell: &str) -> Result<String> {
        Ok(request::judge_cell(cell)?)
    }

    /// Runs a litmus scenario (TOML text) under a kernel; JSON of its outcome and expectations.
    ///
    /// What has not ended after `wall_s` seconds of the host's time is `unfinished`.
    #[pyfunction]
    #[pyo3(signature = (place, text, kernel, sets=Vec::new(), wall_s=60.0))]
    fn run_litmus(
        py: Python<'_>,
        place: &str,
        text: &str,
        kernel: &str,
        sets: Vec<(String, String)>,
        wall_s: f64,
    ) -> Result<String> {
        let scenario = Scenario::parse(place, text)?;
        let signals = Arc::new(Signals::default());
        let wall = Duration::try_from_secs_f64(wall_s)
            .map_err(|_| Error::config("", format!("{wall_s} is not a number of seconds; nearest: 60")))?;
        let limits = Limits { wall, go_on: signals.watch(), ..Limits::default() };
        let result = py.detach(|| request::litmus(place, &scenario, kernel, &sets, limits));
        match signals.take() {
            Some(raised) => Err(raised.into()),
            None => Ok(result?),
        }
    }

    /// Runs the threads of a litmus scenario (TOML text) in every order of at most so many
    /// preemptions under a kernel; JSON of what its conditions came to.
    #[pyfunction]
    #[pyo3(signature = (place, text, kernel, sets, preemptions, workers, wall_s=60.0))]
    #[expect(clippy::too_many_arguments, reason = "each is named where it is called")]
    fn explore_litmus(
        py: Python<'_>,
        place: &str,
        text: &str,
        kernel: &str,
        sets: Vec<(String, String)>,
        preemptions: u32,
        workers: usize,
        wall_s: f64,
    ) -> Result<String> {
        let scenario = Scenario::parse(place, text)?;
        let signals = Arc::new(Signals::default());
        let timeout = Duration::try_from_secs_f64(wall_s)
            .map_err(|_| Error::config("", format!("{wall_s} is not a number of seconds; nearest: 60")))?;
        let (bounds, watch) = (searching::Bounds { preemptions, workers, timeout }, signals.watch());
        let result =
            py.detach(|| searching::litmus(place, &scenario, kernel, &sets, bounds, &mut |_| watch()));
        match signals.take() {
            Some(raised) => Err(raised.into()),
            None => Ok(result?),
        }
    }

    /// Searches for the rules and policy that explain measured counts: `files` are paths and
    /// TOML texts; JSON of what was found for each kernel, by default all that were counted.
    #[pyfunction]
    #[pyo3(signature = (files, kernels=Vec::new(), wall_s=600.0))]
    fn fit(
        py: Python<'_>,
        files: Vec<(String, String)>,
        kernels: Vec<String>,
        wall_s: f64,
    ) -> Result<Vec<String>> {
        let scenarios = fitting::read(&files)?;
        let counted = fitting::kernels(&scenarios);
        let unknown = kernels.iter().filter(|kernel| !counted.contains(kernel)).map(|kernel| {
            let near = gupstress_run::config::nearest(kernel, counted.iter().map(String::as_str));
            Problem::new(
                "--kernel",
                format!("no counts of {kernel:?}; nearest: {}", near.unwrap_or_default()),
            )
        });
        let mut problems: Vec<Problem> = unknown.collect();
        if counted.is_empty() {
            let places = files.iter().map(|(path, _)| path.clone());
            problems.extend(places.map(|path| Problem::new(path, "no counts; nearest: [expect.\"KERNEL\"]")));
        }
        if !problems.is_empty() {
            return Err(Error::Config(problems).into());
        }
        let kernels = if kernels.is_empty() { counted } else { kernels };
        let signals = Arc::new(Signals::default());
        let (raised, began) = (signals.watch(), Instant::now());
        let limits = Limits {
            go_on: Arc::new(move || raised() && began.elapsed().as_secs_f64() < wall_s),
            ..Limits::default()
        };
        let found = py.detach(|| {
            kernels.iter().map(|kernel| fitting::explain(&scenarios, kernel, &limits)).collect::<Vec<_>>()
        });
        match signals.take() {
            Some(raised) => Err(raised.into()),
            None => Ok(found),
        }
    }

    /// The words of scripts: JSON of each with what follows it and what it does.
    #[pyfunction]
    fn words() -> String {
        serde_json::json!(Op::WORDS).to_string()
    }

    /// Checks what `--set` would change of a kernel and its policy under a scenario.
    #[pyfunction]
    fn check_litmus(kernel: &str, sets: Vec<(String, String)>) -> Result<()> {
        Ok(request::check_litmus(kernel, &sets)?)
    }

    /// Searches for the interleaving that goes wrong; JSON in and out.
    ///
    /// `observer` is called now and then with the progress, as JSON.
    #[pyfunction]
    #[pyo3(signature = (request, observer=None))]
    fn explore(py: Python<'_>, request: &str, observer: Option<Py<PyAny>>) -> Result<String> {
        let signals = Arc::new(Signals::default());
        let watch = signals.watch();
        let raised = Mutex::new(None);
        let found = py.detach(|| {
            let mut told = Instant::now();
            searching::explore(request, &mut |progress| {
                if let Some(observer) = observer.as_ref().filter(|_| told.elapsed() >= TELL_EVERY) {
                    told = Instant::now();
                    let text = serde_json::to_string(&progress).unwrap_or_default();
                    if let Err(error) = Python::attach(|py| observer.call1(py, (text,))) {
                        *raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                        return false;
                    }
                }
                watch()
            })
        });
        let raised = raised.into_inner().unwrap_or_else(PoisonError::into_inner);
        // An interrupt ends the search; what was found is the result.
        let signal = signals.take().filter(|error| !error.is_instance_of::<PyKeyboardInterrupt>(py));
        if let Some(error) = raised.or(signal) {
            return Err(error.into());
        }
        Ok(found?)
    }

    /// How many batches an exploration is cut into.
    #[pyfunction]
    fn explore_batches(py: Python<'_>, request: &str) -> Result<u64> {
        Ok(py.detach(|| searching::batches(request))?)
    }

    /// Does some batches of an exploration and no more; JSON for `explore_gather`.
    #[pyfunction]
    fn explore_part(py: Python<'_>, request: &str, first: u64, end: u64) -> Result<String> {
        let signals = Arc::new(Signals::default());
        let watch = signals.watch();
        let part = py.detach(|| searching::part(request, first..end, &mut |_| watch()));
        signals.take().map_or_else(|| Ok(part?), |raised| Err(raised.into()))
    }

    /// Puts parts of an exploration together, as `explore` does what it found itself.
    #[pyfunction]
    fn explore_gather(
        py: Python<'_>,
        request: &str,
        parts: Vec<String>,
        stopped: Option<&str>,
        elapsed_s: f64,
    ) -> Result<String> {
        let elapsed = Duration::try_from_secs_f64(elapsed_s).unwrap_or_default();
        Ok(py.detach(|| searching::gather(request, &parts, stopped, elapsed))?)
    }

    /// Checks what an exploration asks for.
    #[pyfunction]
    fn check_explore(request: &str) -> Result<()> {
        Ok(searching::check(request)?)
    }

    /// Runs a schedule file (JSON text) again; JSON with its story as `text`, `markdown` or `html`.
    #[pyfunction]
    #[pyo3(signature = (place, text, format="text"))]
    fn replay(py: Python<'_>, place: &str, text: &str, format: &str) -> Result<String> {
        Ok(py.detach(|| searching::replay(place, text, format))?)
    }

    /// The trace of a schedule file: JSON of Trace Events, separated by commas.
    #[pyfunction]
    fn trace_schedule(py: Python<'_>, place: &str, text: &str) -> Result<String> {
        Ok(py.detach(|| searching::trace(place, text))?)
    }

    /// Reads a litmus scenario (TOML text) without running it; JSON.
    #[pyfunction]
    fn read_litmus(place: &str, text: &str) -> Result<String> {
        Ok(request::read_litmus(&Scenario::parse(place, text)?))
    }
}
