"""The Rust core as the rest of the package calls it: JSON stays in here.

Every call into the core that takes or gives structured data goes through this
module, so there is one place to replace when something is to be tried without it.
Only `gupstress.machine` has the core's machine to itself.
"""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, cast

from gupstress import _core
from gupstress.model.reference import Reference
from gupstress.running.trace import Recorder

if TYPE_CHECKING:
    from gupstress.outcome.results import Verdict


class Snapshot(TypedDict):
    """How far a run has come."""

    wall_s: float
    """Of the host's time since the run was asked for."""
    elapsed_s: float
    """Of the run's own clock, a virtual one on the simulator."""
    pinned: int
    target: int
    done: float
    """How much of its work is done, from 0 to 1: page pins or calls, whichever ends it first."""
    calls: dict[str, int]
    drain_all: int
    pages_per_s: float
    step: str


Observer = Callable[[Snapshot], None]


class Needs(NamedTuple):
    """What one run will ask of the host."""

    threads: int
    """Pinning threads."""
    os_threads: int
    """All threads: pinners, kworkers and the other actors."""
    memory_bytes: int
    cpus: int
    """Simulated CPUs."""


class Plan:
    """A request that the core has read: every name looked up, every default filled in."""

    def __init__(
        self,
        policies: Sequence[Reference],
        profile: Reference,
        kernel: Reference,
        sets: Sequence[tuple[str, str]],
        settings: Mapping[str, Any],
    ) -> None:
        """Look everything up.

        Args:
            policies: What to run.
            profile: Under which load.
            kernel: On which rule set.
            sets: Keys set by themselves, as `(axis, value)`.
            settings: What else the core looks at, see `Request.settings`.

        Raises:
            ConfigError: Everything wrong with the request, at once.
        """
        self.asked: Mapping[str, Any] = {
            "policies": policies,
            "profile": profile,
            "kernel": kernel,
            "sets": sets,
            **settings,
        }
        """The request as the core has read it."""
        self._core = _core.resolve(json.dumps(self.asked))
        said = json.loads(self._core.describe())
        self.policies: Sequence[Mapping[str, Any]] = said["policies"]
        """Each with every key, as its TOML has them."""
        self.profile: Mapping[str, Any] = said["profile"]
        self.kernel: Mapping[str, Any] = said["kernel"]
        self.needs = Needs(**said["needs"])
        self.pins: int = said["pins"]

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> "Plan":
        """Return what another's `asked` came to, which may be of another process."""
        looked_up = ("policies", "profile", "kernel", "sets")
        settings = {name: value for name, value in asked.items() if name not in looked_up}
        policies, profile, kernel, sets = (asked[name] for name in looked_up)
        return cls(policies, profile, kernel, sets, settings)

    def most_threads(self, threads: int, memory_bytes: int) -> int:
        """Return the most pinning threads that fit into what is left; 0: not even one does."""
        return self._core.most_threads(max(threads, 0), max(memory_bytes, 0))

    def uncontended_ns(self, policy: int = 0) -> float | None:
        """Return what a call of a policy takes where nobody is in its way: the median."""
        return self._core.uncontended_ns(policy)

    def run(
        self,
        policy: int,
        repeat: int,
        observer: Observer | None = None,
        recorder: Recorder | None = None,
        label: str = "",
        abort_on: Sequence[tuple[str, str, float]] = (),
    ) -> dict[str, Any]:
        """Run one policy once and return its row of `RunResult.results`.

        Ctrl-C ends the run; what was counted until then is returned.

        Args:
            policy: Its place in `policies`.
            repeat: Which of its repeats, from 1.
            observer: Told now and then how far the run has come.
            recorder: Takes the trace of a request with `trace_last`.
            label: What the run is called in the trace.
            abort_on: Conditions that end it as soon as nothing can mend them, as
                `(metric, comparison, bound)`.

        Raises:
            ResourceError: The host refused a thread or memory.
        """
        began = time.monotonic()

        def tell(now: dict[str, Any]) -> None:
            if observer is not None:
                observer(cast("Snapshot", {**now, "wall_s": time.monotonic() - began}))

        def observe(text: str) -> None:
            tell(json.loads(text))

        told = None if observer is None else observe
        tracer = None if recorder is None else (recorder.take, *recorder.process(label))
        answer = self._core.run(policy, repeat, told, tracer, json.dumps(abort_on))
        row = json.loads(answer)
        # What was told last was not its end.
        end = {
            "elapsed_s": row["elapsed_s"],
            "pinned": row["pages"]["pinned"],
            "target": self.pins,
            "done": 1.0,
            "calls": {name: n for name, n in row["calls"].items() if name != "issued"},
            "drain_all": row["counters"]["drain_all"],
            "pages_per_s": row["throughput"]["pages_per_s"] or 0.0,
            "step": "",
        }
        try:
            tell(end)
        except KeyboardInterrupt:
            # It comes too late for this run, and must not take what was counted with it.
            row["status"] = "interrupted"
        return {**row, "repeat": repeat}


class Judged(NamedTuple):
    """What a cell of a matrix came to."""

    verdict: "Verdict"
    worse: bool
    share: float | None
    close: bool


def judge_cell(repeats: Sequence[Mapping[str, object]], expected: str) -> Judged:
    """Judge a cell of a matrix by all its repeats.

    Args:
        repeats: Of each its `verdict`, its calls `issued` and `failed`, and its `idle_drains`.
        expected: The worst that the profile takes.
    """
    cell = json.dumps({"repeats": repeats, "expected": expected})
    return Judged(**json.loads(_core.judge_cell(cell)))


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


def explore_litmus(
    place: str,
    text: str,
    kernel: str,
    sets: Sequence[tuple[str, str]],
    preemptions: int,
    wall_s: float,
) -> dict[str, Any]:
    """Run a scenario's threads in every order of few preemptions; return what conditions came to.

    All CPUs search, for at most `wall_s` seconds.

    Raises:
        ConfigError: A step cannot be done, in some order.
    """
    workers = len(os.sched_getaffinity(0))
    found = _core.explore_litmus(place, text, kernel, sets, preemptions, workers, wall_s)
    return cast("dict[str, Any]", json.loads(found))
