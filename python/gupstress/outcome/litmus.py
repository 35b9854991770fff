"""What litmus scenarios found: the models of their JSON, schema `gupstress.litmus/1`."""

from typing import Literal

from pydantic import Field

from gupstress.outcome.results import Build, Document, Record

Value = int | str
"""A count, or the word of the counter `result`: `ok`, an errno or `stuck`."""


class Difference(Record):
    """A counter that is not what the kernel gave."""

    counter: str
    found: Value
    expected: Value


class LitmusCell(Record):
    """One scenario under one kernel."""

    scenario: str
    kernel: str
    class_: str = Field(alias="class")
    """How the last pin ended: `pinned`, `failed_spurious` …; `unfinished` if it did not."""
    counters: dict[str, Value]
    """Of the last pin, by everyone."""
    expect: dict[str, Value] | None
    """What the kernel counted; null where that is not known."""
    differences: tuple[Difference, ...]
    unfinished: str | None = None
    """The step that took more of the host's time than it may, and why that is said."""


class LitmusResult(Document):
    """Everything that one `gupstress litmus` found."""

    # pydantic's BaseModel has a deprecated method of this name.
    schema_: Literal["gupstress.litmus/1"] = Field(default="gupstress.litmus/1", alias="schema")
    gupstress: Build
    argv: tuple[str, ...]
    sets: dict[str, str]
    verdict: Literal["equal", "different", "unfinished", "not compared"]
    compared: int
    """Counters that were held against a kernel's."""
    cells: tuple[LitmusCell, ...]
