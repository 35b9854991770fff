"""What is asked of a run, before anything is looked up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gupstress.engine import Reference
    from gupstress.policy import Policy
    from gupstress.problems import Problems

PRESETS = ("none", "unbounded", "bounded", "linux-7.2", "cooperative")
"""The policies that are run where none is named."""

STALL_AFTER_S = {"os": 2.0, "sim": 0.2}
"""By driver. The simulator's clock is a virtual one, which no busy host holds up: ten times
the longest call of a policy that gets through is enough there, and what never gets through
makes millions of sweeps in a second of it."""

SEED_MAX = 2**64 - 1

_TIMES_S = (0.001, 1e9)
"""From where threads have had time to start, to where a clock in nanoseconds still counts."""

_RANGES = {
    "threads": (1, 2**32 - 1),
    "cpus": (1, 2**32 - 1),
    "pins": (1, 2**64 - 1),
    "perturb": (0, 1),
    "timeout_s": _TIMES_S,
    "stall_after_s": _TIMES_S,
    "seed": (0, SEED_MAX),
    "repeat": (1, 2**32 - 1),
    "trace_last": (1, 2**32 - 1),
}
"""Smallest and largest value of each number of a request."""


@dataclass(frozen=True)
class Request:
    """Everything a run depends on; the defaults are those of the command line.

    Names may be paths of TOML files.
    """

    policies: tuple[str | Policy, ...] = ()
    """Empty: the presets."""
    profile: str = "contended"
    kernel: str = "linux-7.2.13"
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
    driver: str = "os"
    timeout_s: float = 60.0
    """Longest time for one run of one policy."""
    stall_after_s: float | None = None
    """Time without any progress after which a call may be judged stuck; None: `STALL_AFTER_S`."""
    seed: int | None = None
    """None: drawn."""
    repeat: int = 1
    """Runs of each policy."""
    interleave: bool = True
    """Whether repeats go round-robin over the policies, so that drift meets all alike."""
    thresholds: tuple[str, ...] = ()
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

    def check(self, problems: Problems) -> dict[str, Any]:
        """Note every number that is out of its range; return the settings without those."""
        settings = self.settings()
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is None or low <= value <= high:
                continue
            settings.pop(name, None)
            option = "--" + name.removesuffix("_s").replace("_", "-")
            if value > high:
                problems.add(option, f"{value} is above {high}; nearest: {high}")
            else:
                problems.add(option, f"{value} is below {low}; nearest: {low}")
        return settings

    def settings(self) -> dict[str, Any]:
        """Return what the core looks at beside names and sets."""
        return {
            "threads": self.threads,
            "cpus": self.cpus,
            "pins": self.pins,
            "perturb": self.perturb,
            "driver": self.driver,
            "trace_last": self.trace_last,
        }


def is_file(name: str) -> bool:
    """Whether a name given for a policy, profile or kernel means a file."""
    return name.endswith(".toml") or "/" in name


def reference(wanted: str | Policy) -> Reference:
    """Return a policy, profile or kernel as the core wants it, reading its file if it is one.

    Raises:
        ConfigError: The file cannot be read.
    """
    if not isinstance(wanted, str):
        return {"path": f"Policy {wanted.name!r}", "text": wanted.to_toml()}
    if not is_file(wanted):
        return {"name": wanted}
    try:
        return {"path": wanted, "text": Path(wanted).read_text(encoding="utf-8")}
    except (OSError, UnicodeDecodeError) as error:
        from gupstress import ConfigError

        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError([(wanted, f"cannot be read: {reason}")]) from error
