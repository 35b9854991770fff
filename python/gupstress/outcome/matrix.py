"""What a matrix found: the models of its JSON, schema `gupstress.matrix/1`."""

from typing import Literal

from pydantic import AwareDatetime, Field

from gupstress.outcome.results import (
    Amount,
    Build,
    Calls,
    Count,
    Document,
    Host,
    Record,
    Verdict,
)


class Cell(Record):
    """One policy on one profile."""

    policy: str
    profile: str
    verdict: Verdict
    expected: Verdict
    """The worst that the profile takes from the policy."""
    worse: bool
    """Whether the verdict is worse than expected; of an undecided one it is not known."""
    share: Amount | None = None
    """What the verdict rests on: failed calls of all, or idle drains for each call."""
    close: bool = False
    """Whether the share is too near to where the verdict changes to tell on which side it is."""
    repeats: Count = 1
    """Runs that the verdict is of: more than were asked for where it was close."""
    status: Literal["complete", "timeout", "stuck", "interrupted", "aborted"]
    elapsed_s: Amount
    calls: Calls
    """Of all repeats."""
    finding: str | None
    """The first one, in words."""


class MatrixSettings(Record):
    """What all cells share."""

    kernel: str
    driver: str
    threads: Count | None
    """Null, here and below: as each profile says."""
    cpus: Count | None = None
    pins: Count | None = None
    repeat: Count = 1
    """Runs of each cell, which its verdict is of."""
    timeout_s: Amount
    """Longest time for one cell."""
    stall_after_s: Amount
    seed: Count
    sets: dict[str, str]


class MatrixResult(Document):
    """Everything that one `gupstress matrix` found."""

    # pydantic's BaseModel has a deprecated method of this name.
    schema_: Literal["gupstress.matrix/1"] = Field(default="gupstress.matrix/1", alias="schema")
    gupstress: Build
    argv: tuple[str, ...]
    started_at: AwareDatetime
    status: Literal["complete", "interrupted"]
    host: Host
    settings: MatrixSettings
    policies: tuple[str, ...]
    profiles: tuple[str, ...]
    cells: tuple[Cell, ...]
    """By profile, then policy; those that an interrupt left out are missing."""


def undecided(cell: Cell) -> bool:
    """Whether a cell may be worse than expected, and nobody knows."""
    return cell.verdict == "inconclusive" and cell.expected not in ("stuck", "broken")
