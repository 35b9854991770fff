"""What a search over the axes of a policy found: the models of schema `gupstress.tune/1`."""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Literal

from pydantic import AwareDatetime, Field

from gupstress.outcome.record import Amount, Count, Document, Record
from gupstress.outcome.results import Build, Host

AxisValue = bool | int | float | str


class TuneCell(Record):
    """One policy on one profile with so many threads."""

    profile: str
    threads: Count
    driver: Literal["os", "sim"]
    issued: Count
    failed_spurious: Count
    stuck: Count
    pinned_unsafe: Count
    pages_per_s: Amount
    p99_ns: Count | None
    """Null where no call ended."""
    drains: Amount
    """Drains of all CPUs for each call."""

    @property
    def violation(self) -> float:
        """Share of the calls that may not be: failed needlessly, stuck or unsafe; 1 of no calls."""
        wrong = self.failed_spurious + self.stuck + self.pinned_unsafe
        return wrong / self.issued if self.issued else 1.0


class Trial(Record):
    """A policy that was tried."""

    number: Count
    axes: dict[str, AxisValue]
    """Every axis that is searched."""
    cells: tuple[TuneCell, ...]
    """By profile and threads; none follow one that breaks a constraint."""
    violation: Amount
    """0 if every cell was run and kept the constraints; each that was not run is 1."""
    pages_per_s: Amount
    """Geometric mean of the cells, 0 where one is missing."""
    p99_ns: Amount
    """The longest of the cells."""
    drains: Amount
    """Mean of the cells."""

    @property
    def feasible(self) -> bool:
        """Whether it kept every constraint everywhere."""
        return self.violation == 0


class Confirmed(Record):
    """A policy of the front on real threads."""

    number: Count
    cells: tuple[TuneCell, ...]
    held: bool
    """Whether it kept the constraints there too."""


class Effect(Record):
    """What the trials say of one value of an axis."""

    axis: str
    value: AxisValue
    trials: Count
    feasible: Count
    best_pages_per_s: Amount | None
    """Of those that kept the constraints, here and below; null where none did."""
    median_pages_per_s: Amount | None
    median_p99_ns: Amount | None


class TuneSettings(Record):
    """What was searched."""

    base: str
    profiles: tuple[str, ...]
    threads: tuple[Count, ...]
    kernel: str
    cpus: Count | None
    pins: Count
    timeout_s: Amount
    seed: Count
    space: dict[str, tuple[AxisValue, ...]]
    """The values of each axis that is searched."""
    sets: dict[str, str]


class TuneResult(Document):
    """Everything that one `gupstress tune` found."""

    # pydantic's BaseModel has a deprecated method of this name.
    schema_: Literal["gupstress.tune/1"] = Field(default="gupstress.tune/1", alias="schema")
    gupstress: Build
    argv: tuple[str, ...]
    started_at: AwareDatetime
    status: Literal["complete", "interrupted"]
    host: Host
    settings: TuneSettings
    trials: tuple[Trial, ...]
    front: tuple[Count, ...]
    """Numbers of the trials that no other beats in rate, p99 and drains; the fastest first."""
    confirmed: tuple[Confirmed, ...]
    effects: tuple[Effect, ...]
    best: Count | None
    """The fastest of the front that held on real threads; where that was not asked for, or the
    search was cut off before, of the front."""
    policy_toml: str | None
    """It as a file that `--policy` takes."""

    def trial(self, number: int) -> Trial:
        """Return a trial by its number."""
        return next(trial for trial in self.trials if trial.number == number)


def front(trials: Sequence[Trial]) -> list[Trial]:
    """Return those that keep the constraints and that none of the others dominates (Pareto)."""
    good = [trial for trial in trials if trial.feasible]
    fastest = sorted(good, key=lambda one: (-one.pages_per_s, one.number))
    return [one for one in fastest if not any(_dominates(other, one) for other in good)]


def _dominates(one: Trial, other: Trial) -> bool:
    mine, theirs = ((-trial.pages_per_s, trial.p99_ns, trial.drains) for trial in (one, other))
    return mine != theirs and all(a <= b for a, b in zip(mine, theirs, strict=True))


def effects(trials: Sequence[Trial]) -> Iterator[Effect]:
    """Yield what the trials say of each value of each axis that had more than one."""
    for axis in dict.fromkeys(axis for trial in trials for axis in trial.axes):
        values = dict.fromkeys(trial.axes[axis] for trial in trials if axis in trial.axes)
        if len(values) < 2:
            continue
        for value in sorted(values, key=str):
            of = [trial for trial in trials if trial.axes.get(axis) == value]
            good = [trial for trial in of if trial.feasible]
            yield Effect(
                axis=axis,
                value=value,
                trials=len(of),
                feasible=len(good),
                best_pages_per_s=max((trial.pages_per_s for trial in good), default=None),
                median_pages_per_s=median(t.pages_per_s for t in good) if good else None,
                median_p99_ns=median(t.p99_ns for t in good) if good else None,
            )
