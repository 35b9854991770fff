"""What a run found of single calls, pages, pins and processes: the evidence behind its verdicts."""

from typing import Literal

from pydantic import Field

from gupstress.outcome.record import Amount, Count, Record


class Obstacle(Record):
    """What stands in the way of a page's migration; further keys say whose or how many."""

    kind: str


class PageState(Record):
    """A page as it was found."""

    frame: Count
    order: Count = 0
    """Of the folio that it is part of, whose references and mappings these are."""
    refcount: int
    mapcount: int
    flags: tuple[str, ...]
    zone: str
    list: str | None
    """The LRU list that it is on."""
    batches: tuple[tuple[int, str], ...]
    """The per-CPU batches that it is in: CPU and kind."""
    obstacle: Obstacle | None


class Breakdown(Record):
    """Who had what of a page at the moment when it failed a test; the caller's own left out."""

    frame: Count
    refcount: int
    expected: int
    """References of mappings, of the page cache and of the caller."""
    pins: Count
    """Of others."""
    batches: tuple[tuple[int, str], ...]
    """CPU and kind; a reference each."""
    holders: Count
    """Those that never let go, pins among them."""
    passing: Count
    """References that are none of these."""
    isolated: bool
    """Whether another had it isolated."""
    isolated_by: int | None
    """Which thread had."""
    locked_by: int | None
    """Which thread held its lock."""
    writeback: bool


class StuckCall(Record):
    """A call that did not end, and what it was doing."""

    thread: Count
    step: str
    page: PageState | None
    obstacle: Obstacle | None
    found: Breakdown | None = None
    """For one that sweeps: the page when it last failed to get on."""
    permanent: bool
    sweeps: Count
    waited_s: Amount
    alone: str | None
    """What it did with all others paused: `fails`, `passes`; null: not tried."""
    waits_for: str | None = None
    """In a deadlock."""


class UnsafePin(Record):
    """A pin of a page that must stay movable."""

    thread: Count
    sweeps: Count
    page: PageState


class BrokenInvariant(Record):
    """A book of the machine that does not balance."""

    invariant: str
    frame: Count | None
    found: str


class HeldUp(Record):
    """An attempt that something was in the way of."""

    victim: str
    frame: Count
    pinner: Count | None
    """Whose unsafe pin that is, if it is one."""
    obstacle: Obstacle | None
    """What else stays in the page's way."""
    rounds: Count


class OomVictim(Record):
    """A process that the OOM killer chose."""

    process: str
    """`pinners`, a bystander by number, or a `forked child`."""
    points: int
    """Its badness, in pages: pages and page tables, and `oom_score_adj` thousandths of all."""
    pages: Count
    useful: Count
    """Those of them that the allocation could have used."""
    free_movable: Count
    """Frames of Movable that were free at that moment."""


class FailedCall(Record):
    """A call that failed, judged."""

    thread: Count
    class_: Literal["failed_justified", "failed_spurious"] = Field(alias="class")
    errno: str
    step: str
    """At which it failed to get on."""
    sweeps: Count
    obstacle: Obstacle | None
    """What made it fail."""
    permanent: bool
    found: Breakdown | None = None
    """The page that it failed over, at that moment."""
    page: PageState | None
    """The same page as the call left it."""
