"""What is asked of a run, before anything is looked up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from gupstress import _core, values
from gupstress.model.reference import KERNEL, PROFILE, kernel_name, policy_name, profile_name
from gupstress.values import Length, Share, Whole, is_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from gupstress.model.policy import Policy
    from gupstress.problems import Problems

Driver = Literal["os", "sim"]
"""Real threads, or coroutines on a virtual clock."""

PRESETS = ("none", "unbounded", "bounded", "linux-7.2", "cooperative")
"""The policies that are run where none is named."""

STALL_AFTER_S = {"os": 2.0, "sim": 0.2}
"""By driver. The simulator's clock is a virtual one, which no busy host holds up: ten times
the longest call of a policy that gets through is enough there, and what never gets through
makes millions of sweeps in a second of it."""

CELL_TIMEOUT_S = 20.0
"""Longest time for a cell of a matrix, which is small: it is over sooner than a run."""

SEED_MAX = 2**64 - 1

_TIMES = Whole(1, 2**32 - 1)
_LENGTH = Length(0.001, 1e9)
"""From where threads have had time to start, to where a clock in nanoseconds still counts."""

NUMBERS: dict[str, Whole | Share | Length] = {
    "threads": Whole(1, _core.MOST_THREADS),
    "cpus": Whole(1, _core.MOST_CPUS),
    "pins": Whole(1, 2**64 - 1),
    "perturb": Share(),
    "timeout_s": _LENGTH,
    "wall_timeout_s": _LENGTH,
    "stall_after_s": _LENGTH,
    "seed": Whole(0, SEED_MAX),
    "repeat": _TIMES,
    "trace_last": _TIMES,
}
"""What each number of a request may be."""

MINUTES = Whole(1, 10**6)
"""Of a soak."""

SOAK_MINUTES = 10
"""Of a soak whose cycles have no limit either."""


@dataclass(frozen=True)
class Request:
    """Everything a run depends on; the defaults are those of the command line.

    Names may be paths of TOML files.
    """

    policies: tuple[str | Policy, ...] = ()
    """Empty: the presets."""
    profile: str = PROFILE
    kernel: str = KERNEL
    sets: tuple[tuple[str, str], ...] = ()
    """Keys of policy, profile or kernel set by themselves, as `(axis, value)`."""
    threads: int | None = None
    """Pinning threads; None, here and below: as the profile says."""
    cpus: int | None = None
    """Simulated CPUs."""
    pins: int | None = None
    """Page pins after which a run is complete."""
    perturb: float | None = None
    """Probability of a yield at each step, to widen race windows."""
    driver: Driver = "os"
    timeout_s: float = 60.0
    """Longest time for one run of one policy, virtual on the simulator."""
    wall_timeout_s: float = 3600.0
    """Longest time that one run may take of the host, whatever its own clock says."""
    stall_after_s: float | None = None
    """Time without any progress after which a call may be judged stuck; None: `STALL_AFTER_S`."""
    seed: int | None = None
    """None: drawn."""
    repeat: int = 1
    """Runs of each policy."""
    interleave: bool = True
    """Whether repeats go round-robin over the policies, so that drift meets all alike."""
    thresholds: tuple[str, ...] = ()
    abort_on: tuple[str, ...] = ()
    """Thresholds that also end a run as soon as it can no longer meet them."""
    scan: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Keys with the words of all the values that they are run with, one after another."""
    trace_last: int | None = None
    """Events of each thread that are kept; None: nothing is traced."""

    @property
    def stall_limit_s(self) -> float:
        """Time without any progress that counts, given or usual."""
        if self.stall_after_s is not None:
            return self.stall_after_s
        # What is no driver is refused elsewhere.
        return STALL_AFTER_S.get(self.driver, STALL_AFTER_S["os"])

    @property
    def files(self) -> list[str]:
        """The files among the names."""
        names = (*self.policies, self.profile, self.kernel)
        return [name for name in names if isinstance(name, str) and is_file(name)]

    def checked(self, problems: Problems) -> Request:
        """Note everything that is not of its type or range; return the request without it.

        Callers of `gupstress.run` give what they like, whatever the types here say.
        """
        good: dict[str, Any] = {"sets": self.sets, "scan": self.scan}
        for name, check in CHECKS.items():
            value = getattr(self, name)
            option = _SEVERAL.get(name) or "--" + name.removesuffix("_s").replace("_", "-")
            found = []
            for one in value if name in _SEVERAL else (value,):
                with problems.noting(option):
                    found.append(one if one is getattr(DEFAULT, name) else check(one))
            if found:
                good[name] = tuple(found) if name in _SEVERAL else found[0]
        checked = Request(**good)
        checked._note_contradictions(problems)
        return checked

    def _note_contradictions(self, problems: Problems) -> None:
        for name in ("threads", "cpus", "pins", "perturb"):
            value = getattr(self, name)
            for axis, word in self.sets:
                same = _core.guess_number(word) == value
                if value is None or axis.removeprefix("profile.") != name or same:
                    continue
                said = f"--{name} {value}"
                problems.add(said, f"contradicts --set {axis}={word}; nearest: {said} alone")

    def settings(self) -> dict[str, Any]:
        """Return what the core looks at beside names and sets."""
        return {
            "threads": self.threads,
            "cpus": self.cpus,
            "pins": self.pins,
            "perturb": self.perturb,
            "driver": self.driver,
            "trace_last": self.trace_last,
            "timeout_s": self.timeout_s,
            "wall_timeout_s": self.wall_timeout_s,
            "stall_after_s": self.stall_limit_s,
        }


DEFAULT = Request()

TUNED = Request(driver="sim", pins=100_000, timeout_s=5.0, stall_after_s=2.0, wall_timeout_s=600.0)
"""What the cells of a search over policies have in common, unless another is asked for."""

CONFIRMED = Whole(0, 100)
"""Policies that such a search runs on real threads."""

TUNE_BUDGET_S = 600.0
"""Of the host's time, for such a search."""
_SEVERAL = {"policies": "--policy", "thresholds": "--threshold", "abort_on": "--abort-on"}
"""What there may be several of, with its option."""


_COUNTS = ("pages", "calls", "schedules", "workers", "preemptions", "depth", "yield_every")

EXPLORED: dict[str, Whole | Share | Length] = dict.fromkeys(_COUNTS, _TIMES)
"""Numbers of an exploration; their ranges are the core's to say."""

CHECKS: dict[str, Callable[[Any], Any]] = {
    "policies": policy_name,
    "profile": profile_name,
    "kernel": kernel_name,
    "driver": partial(values.text, what="a driver", near=DEFAULT.driver),
    "interleave": values.flag,
    "thresholds": partial(values.text, what="a condition", near="calls.stuck==0"),
    "abort_on": partial(values.text, what="a condition", near="calls.failed_spurious==0"),
    **{name: number.check for name, number in NUMBERS.items()},
}
"""What returns each value as it has to be, or refuses it."""
