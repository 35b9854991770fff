"""What explorations and replays found: `gupstress.explore/1` and `gupstress.replay/1`."""

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from gupstress.outcome.record import Document, Record

Kind = Literal["broken", "unsafe", "stuck", "spurious", "outcome"]
"""Of a finding, worst first."""


class Outcome(Record):
    """What one schedule comes to."""

    found: tuple[Kind, ...]
    threads: tuple[tuple[str, ...], ...]
    """The classes of each thread's calls."""
    broken: str | None = None
    """The invariant that does not hold."""
    conditions: tuple[str, ...] = ()
    """Those of a scenario that it meets."""


class Shrunk(Record):
    """How far a finding could be made smaller."""

    tried: int
    """Searches of smaller loads, and with fewer preemptions."""
    minimal: bool
    """Whether no single reduction is left that shows it."""
    timed_out: bool


class Line(Record):
    """What one task did, and what the page that it is about looked like then."""

    task: int
    text: str
    page: str
    """References and whereabouts; empty where there is none."""
    folded: int
    """Steps before it that nobody else could see."""


class Story(Record):
    """An interleaving told."""

    title: str
    tasks: tuple[str, ...]
    """What each is called, by number."""
    lines: tuple[Line, ...]
    end: str
    """Who did what between which two steps, and what would have helped."""

    @property
    def columns(self) -> list[int]:
        """The tasks with a column of their own: those that are no kworkers."""
        used = dict.fromkeys(line.task for line in self.lines)
        return sorted(task for task in used if not self.tasks[task].startswith("kworker"))


class Found(Record):
    """A finding, as small as it got, with all that replays it."""

    kind: Kind
    schedule: int
    """Number of the schedule that showed it first, from 0."""
    times: int
    """Schedules that came to the same."""
    seed: int
    preemptions: int
    outcome: Outcome
    shrunk: Shrunk | None
    """None where there was no time to try."""
    sentence: str
    """Who did what between which two steps, and what would have helped."""
    story: Story
    file: dict[str, Any]
    """A `gupstress.schedule/1`: what `gupstress replay` reads."""

    @property
    def text(self) -> str:
        """The schedule file."""
        return json.dumps(self.file, indent=1) + "\n"


class Coverage(Record):
    """What a search can say of what it did not find."""

    complete: bool | None
    """Of a bounded search: whether every schedule of its bound has been run."""
    parts: tuple[int, int] | None
    """Of a bounded search: parts of the tree that are done, and all."""
    missed: float | None
    """Of `pct`: at most so likely is it that a finding of its depth was missed."""
    length: int
    """Choices of an undisturbed schedule."""
    never_reached: tuple[str, ...]
    """Steps of the model that no schedule came to."""


class ExploreResult(Document):
    """Everything that one `gupstress explore` found."""

    # pydantic's BaseModel has a deprecated method of this name.
    schema_: Literal["gupstress.explore/1"] = Field(default="gupstress.explore/1", alias="schema")
    machine: str
    """Fingerprint of the version; schedules of another one are not replayed."""
    settings: dict[str, Any]
    profile: str
    policy: str
    kernel: str
    search: dict[str, Any]
    yield_every: int = 1
    """Of how many sweeps of a thread it yields after one, where it yields at all."""
    find: tuple[Kind, ...]
    seed: int
    keep_going: bool
    status: Literal["complete", "timeout", "interrupted"]
    schedules: int
    steps: int
    states: int
    """Different ends: outcome and state of every mapped page."""
    cut: int
    """Schedules that were cut after too many steps, and judged neither way."""
    elapsed_s: float
    schedules_per_s: float | None
    coverage: Coverage
    findings: tuple[Found, ...]

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> "ExploreResult":
        """Return what the core found."""
        return cls.model_validate(found)


class ReplayResult(Document):
    """What a schedule file came to, run again."""

    schema_: Literal["gupstress.replay/1"] = Field(default="gupstress.replay/1", alias="schema")
    kind: Kind
    differs: str | None
    """Where the run left the file's schedule or came to something else; None: it did not."""
    outcome: Outcome
    counters: dict[str, int]
    steps: int
    sentence: str
    story: str
    """In the format that was asked for."""
