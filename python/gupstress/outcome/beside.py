"""The model beside a real kernel, for one load: the models of `gupstress.beside/1`."""

from typing import Literal

from pydantic import Field

from gupstress.outcome.record import Count, Document, Record, Sample
from gupstress.outcome.results import Build


class Subject(Record):
    """Whose numbers they are."""

    source: str | None
    """The file that they are from; null where they were measured just now."""
    kernel: str
    """Linux's release, or the model's rule set."""
    repeats: Count
    calls: Count
    """Of all repeats."""
    uncontended_ns: Sample
    """What a call takes with nobody in its way; null: not measured."""


class Quantity(Record):
    """One number on both sides, medians of their repeats; null: not counted there."""

    name: str
    kernel: Sample
    model: Sample


class Beside(Document):
    """What a real kernel and the model came to under the same load."""

    # pydantic's BaseModel has a deprecated method of this name.
    schema_: Literal["gupstress.beside/1"] = Field(default="gupstress.beside/1", alias="schema")
    gupstress: Build
    profile: str
    threads: Count
    kernel: Subject
    model: Subject
    quantities: tuple[Quantity, ...]
