"""What a soak found, and where it goes on: the models of schema `gupstress.soak/1`."""

from typing import Literal

from pydantic import AwareDatetime, Field

from gupstress.outcome.record import Amount, Count, Document, Record
from gupstress.outcome.results import Build, Host, Run


class SoakSettings(Record):
    """What cycles are made of; the same settings make the same cycles."""

    seed: Count
    policies: tuple[str, ...]
    profiles: tuple[str, ...]
    kernels: tuple[str, ...]
    drivers: tuple[Literal["os", "sim"], ...]
    jobs: dict[str, str]
    """Sections of job files by name, each in full as a job file of its own."""


class SoakFinding(Record):
    """What ended a soak."""

    kind: Literal["broken", "stuck", "leak", "threshold", "panic"]
    """`stuck` is of a policy that must end; `leak` of what a run left behind in the process."""
    cycle: Count
    """Which one it was, from 0."""
    words: str
    command: str
    """What is typed to run the cycle again."""
    run: Run | None
    """What it came to; null where it came to nothing."""


class Held(Record):
    """What this process has of the host."""

    threads: Count
    descriptors: Count
    """Open files."""
    resident_bytes: Count


class SoakResult(Document):
    """Everything that one `gupstress soak` found; its state file, too."""

    # pydantic's BaseModel has a deprecated method of this name.
    schema_: Literal["gupstress.soak/1"] = Field(default="gupstress.soak/1", alias="schema")
    gupstress: Build
    argv: tuple[str, ...]
    started_at: AwareDatetime
    """When its first part was."""
    status: Literal["complete", "finding", "interrupted"]
    host: Host
    settings: SoakSettings
    cycles: Count
    """That came to their end without a finding, in all parts; the next one has this number."""
    refused: Count
    """Of these, that the host had too little left for."""
    elapsed_s: Amount
    """Of the host's time, in all parts."""
    calls: Count
    pins: Count
    """Page pins."""
    verdicts: dict[str, dict[str, Count]]
    """By policy, then by what a run came to."""
    run_on: dict[str, dict[str, Count]]
    """Runs by `profile`, `kernel`, `driver` and `job`, then by name."""
    held: tuple[Held, Held] | None
    """After the first cycle of the last part and after its last one; null: it had none."""
    finding: SoakFinding | None
