"""What the sections of a job file found, schema `gupstress.job/1`."""

from typing import Literal

from pydantic import Field

from gupstress.outcome.record import Document, Record
from gupstress.outcome.results import Run


class JobSection(Record):
    """One section."""

    name: str
    run: Run


class JobResult(Document):
    """Everything that one `gupstress run JOB.toml` of several sections found."""

    # pydantic's BaseModel has a deprecated method of this name.
    schema_: Literal["gupstress.job/1"] = Field(default="gupstress.job/1", alias="schema")
    status: Literal["complete", "interrupted"]
    sections: tuple[JobSection, ...]
    """In their order; those that an interrupt left out are missing."""
