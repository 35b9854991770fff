"""What the runs of a pytest session found, schema `gupstress.pytest/1`."""

from typing import Literal

from pydantic import Field

from gupstress.outcome.record import Document, Record
from gupstress.outcome.results import Run


class Case(Record):
    """One test."""

    test: str
    """Its node id."""
    outcome: Literal["passed", "failed", "skipped"]
    runs: tuple[Run, ...]
    """In their order."""


class SuiteResult(Document):
    """Every test of a session that ran something."""

    # pydantic's BaseModel has a deprecated method of this name.
    schema_: Literal["gupstress.pytest/1"] = Field(default="gupstress.pytest/1", alias="schema")
    tests: tuple[Case, ...]
