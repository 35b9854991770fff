"""What a kernel offers to measure with: the models of `gupstress.live/1`."""

from typing import Literal

from pydantic import Field

from gupstress.outcome.record import Document, Record
from gupstress.outcome.results import Build


class Measured(Record):
    """The machine that was measured: this host, or a guest."""

    kernel: str
    """As rule sets are named: `linux-6.12.117`."""
    release: str
    """As it names itself: `6.12.117+deb12-cloud-amd64`."""
    cpus: int
    """CPUs that may be used, counted from 0 without a gap."""
    memory_bytes: int
    movable_bytes: int
    """Of it, in ZONE_MOVABLE."""


class Fact(Record):
    """One thing that is there or not."""

    fact: str
    found: str
    status: Literal["there", "missing", "known"]
    """`known`: for who reads the results; nothing depends on it."""
    needed: bool
    """Whether nothing can be measured without it."""
    advice: str
    """What to do about it; empty where nothing need be done."""


class LiveCheck(Document):
    """Everything that `gupstress live check` found."""

    # pydantic's BaseModel has a deprecated method of this name.
    schema_: Literal["gupstress.live/1"] = Field(default="gupstress.live/1", alias="schema")
    gupstress: Build
    argv: tuple[str, ...]
    host: Measured
    verdict: Literal["ready", "unavailable"]
    facts: tuple[Fact, ...]

    @property
    def lacking(self) -> tuple[Fact, ...]:
        """What is needed and missing."""
        return tuple(one for one in self.facts if one.needed and one.status == "missing")
