"""What a matrix found: the models of its JSON, schema `gupstress.matrix/1`."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Literal

from pydantic import AwareDatetime, Field

from gupstress.outcome.record import Amount, Count, Document, Record
from gupstress.outcome.results import Build, Calls, Host, Verdict


class Cell(Record):
    """One policy on one profile."""

    policy: str
    profile: str
    threads: Count | None = None
    """Pinning threads, where a matrix has cells for several numbers of them."""
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
    status: Literal["complete", "timeout", "stuck", "killed", "panicked", "interrupted", "aborted"]
    elapsed_s: Amount
    wall_s: Amount | None = None
    """Of the host's time, of all repeats; null in files older than this."""
    calls: Calls
    """Of all repeats."""
    pages_per_s: Amount | None = None
    """Page pins a second, of all repeats; null where no time passed."""
    finding: str | None
    """The first one, in words."""


class MatrixSettings(Record):
    """What all cells share."""

    kernel: str
    driver: str
    threads: Count | None
    """Null, here and below: as each profile says."""
    threads_each: tuple[Count, ...] = ()
    """Numbers of threads that there are cells for, where there are several."""
    cpus: Count | None = None
    pins: Count | None = None
    repeat: Count = 1
    """Runs of each cell, which its verdict is of."""
    timeout_s: Amount
    """Longest time for one cell."""
    stall_after_s: Amount
    seed: Count
    sets: dict[str, str]


class Scale(Record):
    """How far a policy holds on a profile as its threads grow."""

    policy: str
    profile: str
    holds: Count | None
    """The largest number of threads up to which no call failed needlessly, got stuck or pinned
    what must move; null: not even the smallest."""
    keeps: Amount | None
    """Share of its best rate that it has there; null where it does not hold."""


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
    """By profile, threads, then policy; those that an interrupt left out are missing."""
    scale: tuple[Scale, ...] = ()
    """By profile, then policy, where there are cells for several numbers of threads."""


def undecided(cell: Cell) -> bool:
    """Whether a cell may be worse than expected, and nobody knows."""
    return cell.verdict == "inconclusive" and cell.expected not in ("stuck", "panicked", "broken")


def scale(cells: Sequence[Cell]) -> Scale:
    """Return how far one policy holds on one profile, by its cells for growing threads."""
    held = list(takewhile(_holds, cells))
    best = max((cell.pages_per_s or 0 for cell in cells), default=0)
    last = held[-1] if held else None
    return Scale(
        policy=cells[0].policy,
        profile=cells[0].profile,
        holds=last.threads if last else None,
        keeps=(last.pages_per_s or 0) / best if last and best else None,
    )


def _holds(cell: Cell) -> bool:
    calls = cell.calls
    missed = calls.failed_spurious + calls.stuck + calls.pinned_unsafe
    undone = ("inconclusive", "oom-killed", "panicked", "broken")
    return missed == 0 < calls.issued and cell.verdict not in undone
