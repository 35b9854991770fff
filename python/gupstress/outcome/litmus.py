"""What litmus scenarios found: the models of their JSON, schema `gupstress.litmus/1`."""

from typing import Literal

from pydantic import Field

from gupstress.outcome.live import Measured
from gupstress.outcome.record import Document, Record
from gupstress.outcome.results import Build

Value = int | str
"""A count, or the word of the counter `result`: `ok`, an errno or `stuck`."""


class Difference(Record):
    """A counter that is not what the kernel gave."""

    counter: str
    found: Value
    expected: Value


class Condition(Record):
    """What some order of the threads' steps must come to, or none may."""

    wanted: Literal["exists", "forbid"]
    condition: str
    times: int
    """Schedules that met it."""
    first: int | None
    """Number of the first of them, from 0; None: no schedule did."""
    holds: bool | None
    """None: not every schedule was run, and those that were prove neither."""


class Explored(Record):
    """The orders in which a scenario's threads took their steps."""

    complete: bool
    """Whether every schedule with at most so many preemptions was run."""
    preemptions: int
    schedules: int
    states: int
    """Different ends: outcome and state of every page."""
    conditions: tuple[Condition, ...]


class LitmusCell(Record):
    """One scenario under one kernel."""

    scenario: str
    kernel: str
    class_: str = Field(alias="class")
    """How the last pin ended: `pinned`, `failed_spurious` …; `unfinished` if it did not, and
    `explored` where threads ran beside each other, in many orders."""
    counters: dict[str, Value]
    """Of the last pin, by everyone."""
    expect: dict[str, Value] | None
    """What the kernel counted; null where that is not known. What is measured is held against
    the model's counts where the scenario has none."""
    differences: tuple[Difference, ...]
    unfinished: str | None = None
    """The step that took more of the host's time than it may, and why that is said."""
    repeats: int = 1
    """Times that it was played and counted."""
    unsteady: dict[str, tuple[Value, ...]] = Field(default_factory=dict)
    """Of a real kernel, counters that were not the same each time, with what they were."""
    missing: tuple[str, ...] = ()
    """Of a real kernel, counters that it does not have."""
    refused: str | None = None
    """Why it could not be played on a real kernel."""
    explored: Explored | None = None
    """Of a scenario with threads."""


class LitmusResult(Document):
    """Everything that one `gupstress litmus` found."""

    # pydantic's BaseModel has a deprecated method of this name.
    schema_: Literal["gupstress.litmus/1"] = Field(default="gupstress.litmus/1", alias="schema")
    gupstress: Build
    argv: tuple[str, ...]
    sets: dict[str, str]
    on: Literal["model", "live"] = "model"
    host: Measured | None = None
    """The machine that was measured, if one was."""
    verdict: Literal["equal", "different", "unfinished", "not compared", "measured"]
    """`measured`: a real kernel that nothing is known of yet."""
    compared: int
    """Counters that were held against a kernel's."""
    cells: tuple[LitmusCell, ...]
