"""The Rust core as the rest of the package calls it: JSON stays in here.

Every call into the core that takes or gives structured data goes through this
module, so there is one place to replace when something is to be tried without it.
Only `gupstress.machine` has the core's machine to itself.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, cast

from gupstress import _core
from gupstress.model.reference import Reference
from gupstress.running.trace import Recorder


@dataclass(frozen=True)
class References:
    """Everything that a request names."""

    policies: tuple[Reference, ...]
    profile: Reference
    kernel: Reference


class Snapshot(TypedDict):
    """How far a run has come."""

    elapsed_s: float
    pinned: int
    target: int
    calls: dict[str, int]
    drain_all: int
    pages_per_s: float
    step: str


Observer = Callable[[Snapshot], None]


@dataclass(frozen=True)
class Plan:
    """What one run will ask of the host."""

    threads: int
    """Pinning threads."""
    os_threads: int
    """All threads: pinners, kworkers and the other actors."""
    memory_bytes: int
    cpus: int
    """Simulated CPUs."""


@dataclass(frozen=True)
class Resolved:
    """A request with every name looked up and every default filled in."""

    policies: Sequence[Mapping[str, Any]]
    profile: Mapping[str, Any]
    kernel: Mapping[str, Any]
    plan: Plan


def resolve(
    references: References, sets: Sequence[tuple[str, str]], settings: Mapping[str, Any]
) -> Resolved:
    """Look everything up, change nothing.

    Args:
        references: What to look up.
        sets: Keys set by themselves, as `(axis, value)`.
        settings: `threads`, `cpus`, `pins`, `perturb`, `trace_last` (each may be None) and
            `driver`.

    Raises:
        ConfigError: Everything wrong with the request, at once.
    """
    request = {
        "policies": references.policies,
        "profiles": [references.profile],
        "kernel": references.kernel,
        "sets": sets,
        **settings,
    }
    answer = json.loads(_core.resolve(json.dumps(request)))
    plan = answer["plan"][0]
    return Resolved(
        policies=answer["policies"],
        profile=answer["profiles"][0],
        kernel=answer["kernel"],
        plan=Plan(
            threads=plan["threads"],
            os_threads=plan["os_threads"],
            memory_bytes=plan["memory_bytes"],
            cpus=plan["cpus"],
        ),
    )


def run(
    job: Mapping[str, Any],
    observer: Observer | None,
    recorder: Recorder | None = None,
    label: str = "",
) -> dict[str, Any]:
    """Run one policy once and return its row of `RunResult.results`.

    Ctrl-C ends the run; what was counted until then is returned.

    Args:
        job: What to run.
        observer: Told now and then how far the run has come.
        recorder: Takes the trace of a job with `trace_last`.
        label: What the run is called in the trace.

    Raises:
        ConfigError: The job is not one that can be run.
        ResourceError: The host refused a thread or memory.
    """

    def observe(text: str) -> None:
        if observer is not None:
            observer(cast("Snapshot", json.loads(text)))

    told = None if observer is None else observe
    if recorder is None:
        answer = _core.run(json.dumps(job), told)
    else:
        answer = _core.run(json.dumps(job), told, recorder.take, recorder.process(label))
    return cast("dict[str, Any]", json.loads(answer))


def read_litmus(place: str, text: str) -> dict[str, Any]:
    """Return a scenario's name, steps and expectations, without running it.

    Args:
        place: Where the text is from, for messages.
        text: TOML.

    Raises:
        ConfigError: Everything wrong with the text, at once.
    """
    return cast("dict[str, Any]", json.loads(_core.read_litmus(place, text)))


def check_litmus(kernel: str, sets: Sequence[tuple[str, str]]) -> None:
    """Check what `sets` would change of a kernel and its policy under a scenario.

    Raises:
        ConfigError: Everything wrong with them, at once.
    """
    _core.check_litmus(kernel, sets)


def run_litmus(
    place: str, text: str, kernel: str, sets: Sequence[tuple[str, str]], wall_s: float
) -> dict[str, Any]:
    """Run a scenario under a kernel and its policy; return what its last pin counted.

    One that has not ended after `wall_s` seconds of the host's time is `unfinished`.

    Raises:
        ConfigError: A step cannot be done.
    """
    return cast("dict[str, Any]", json.loads(_core.run_litmus(place, text, kernel, sets, wall_s)))
