"""The functions that a Python program calls."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gupstress.errors import ConfigError
from gupstress.model.policy import AxisValue, Policy
from gupstress.model.reference import several
from gupstress.outcome import files
from gupstress.problems import Problems
from gupstress.running import runner
from gupstress.running.request import Request
from gupstress.running.result import RunResult
from gupstress.running.trace import DEFAULT_LAST, Recorder
from gupstress.values import shown

_DEFAULT = Request()


def run(
    profile: str | os.PathLike[str] = _DEFAULT.profile,
    *,
    policy: str | os.PathLike[str] | Policy | Iterable[str | os.PathLike[str] | Policy] = (),
    kernel: str | os.PathLike[str] = _DEFAULT.kernel,
    sets: Mapping[str, AxisValue] | None = None,
    threads: int | None = None,
    cpus: int | None = None,
    pins: int | None = None,
    perturb: float | None = None,
    driver: str = _DEFAULT.driver,
    timeout: str | float = _DEFAULT.timeout_s,
    wall_timeout: str | float = _DEFAULT.wall_timeout_s,
    stall_after: str | float | None = None,
    seed: int | None = None,
    repeat: int = _DEFAULT.repeat,
    interleave: bool = _DEFAULT.interleave,
    threshold: str | Iterable[str] = (),
    trace: str | os.PathLike[str] | None = None,
    trace_last: int = DEFAULT_LAST,
) -> RunResult:
    """Run policies under a load, as `gupstress run` does.

    Ctrl-C ends the run; the result then has the status `interrupted` and what was
    counted so far.

    Args:
        profile: The load: a preset's name or the path of a TOML file.
        policy: One or more presets, TOML files or `Policy`; none: the default presets.
        kernel: The rule set: a preset's name or the path of a TOML file.
        sets: Keys of policy, profile or kernel set by themselves.
        threads: Pinning threads; None: as the profile says.
        cpus: Simulated CPUs; None: as the profile says.
        pins: Page pins after which a run is complete; None: as the profile says.
        perturb: Probability of a yield at each step; None: as the profile says.
        driver: `os`: real threads; `sim`: coroutines on a virtual clock, the same for a seed.
        timeout: Longest time for one run of one policy, seconds or words such as `"60s"`;
            virtual on the simulator.
        wall_timeout: Longest time that one run may take of the host, so too.
        stall_after: Time without progress after which a call may be judged stuck, so too;
            None: `"2s"`, and `"200ms"` of virtual time on the simulator.
        seed: Of the first repeat, each further one adds 1; None: drawn.
        repeat: Runs of each policy.
        interleave: Whether repeats go round-robin over the policies.
        threshold: Conditions such as `"bounded:latency_ns.p99<2e6"`.
        trace: File for a trace of every run, in the Trace Event Format that Perfetto opens.
        trace_last: Events of each thread that the trace keeps, the newest.

    Raises:
        ConfigError: Everything wrong with the arguments, at once.
        ResourceError: The host has too few threads or too little memory left.
        OSError: The trace cannot be written; checked before anything runs, too.
    """
    problems = Problems()
    asked: dict[str, Any] = {
        "policies": several(policy),
        "profile": profile,
        "kernel": kernel,
        "sets": tuple(_words(sets, problems)),
        "threads": threads,
        "cpus": cpus,
        "pins": pins,
        "perturb": perturb,
        "driver": driver,
        "timeout_s": timeout,
        "wall_timeout_s": wall_timeout,
        "stall_after_s": stall_after,
        "seed": seed,
        "repeat": repeat,
        "interleave": interleave,
        "thresholds": several(threshold),
        "trace_last": None if trace is None else trace_last,
    }
    if trace is not None and not isinstance(trace, str | os.PathLike):
        problems.add("--trace", f"{shown(trace)} is not a file; nearest: trace.json")
    job = runner.prepare(Request(**asked), problems)
    if trace is None:
        return runner.run(job, _command_line())
    path = os.fspath(trace)
    if files.replaces(path, job.request.files):
        raise ConfigError([("trace", f"{path} is read by this run; nearest: trace.json")])
    files.check_writable(path)
    recorder = Recorder()
    result = runner.run(job, _command_line(), recorder=recorder)
    files.write_whole(path, recorder.to_json())
    return result


def _command_line() -> list[str]:
    """Return how this process was called, as text that any file can hold."""
    return [os.fsencode(word).decode(errors="replace") for word in sys.argv]


def _words(sets: object, problems: Problems) -> Iterator[tuple[str, str]]:
    """Yield axes and values as `--set` takes them."""
    if isinstance(sets, Mapping):
        for axis, value in sets.items():
            word = str(value)
            yield str(axis), word.lower() if word in ("True", "False") else word
    elif sets is not None:
        problems.add("--set", f"{shown(sets)} is not a dict; nearest: {{'isolate_retries': 5}}")
