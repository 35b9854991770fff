"""How far runs have come, on standard error: a live table on a terminal, else a few lines."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, TextIO

from gupstress.outcome.units import amount, share
from gupstress.render.grid import Align
from gupstress.running.engine import Observer, Snapshot
from gupstress.running.runner import Turn, Watch

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_LINE_EVERY_S = 5.0
"""Time of the host between two plain lines of a run, whatever its own clock says."""


def watch(stream: TextIO, under: str = "") -> Watch:
    """Return what shows progress on `stream`.

    Args:
        stream: Where to.
        under: What all the runs have in common.
    """
    if not stream.isatty():
        return _lines(stream, under)
    from rich.console import Console

    return live(Console(file=stream))


def _lines(stream: TextIO, under: str) -> Watch:
    @contextmanager
    def watching(turn: Turn) -> Iterator[Observer]:
        label = f"{under} {turn}".lstrip()
        due, seen = _LINE_EVERY_S, 0

        def observe(now: Snapshot) -> None:
            nonlocal due, seen
            if now["wall_s"] < due:
                return
            due += _LINE_EVERY_S
            stream.write(f"gupstress: {label}: {_words(now, now['pinned'] - seen)}\n")
            stream.flush()
            seen = now["pinned"]

        yield observe

    return watching


def _words(now: Snapshot, news: int) -> str:
    words = (
        f"{now['wall_s']:.0f} s, {now['pinned']}/{now['target']} page pins,"
        f" {now['pages_per_s']:.0f}/s, {now['drain_all']} drains"
    )
    # Silence would leave it open whether the run or the reader is stuck.
    return words if news else f"{words}; no progress, most threads in {now['step']}"


def live(console: "Console") -> Watch:
    """Return what keeps a table on a terminal while a run goes on: one row a policy.

    A policy that is through keeps its row, so that those after it can be held against it.
    """
    from rich.live import Live

    rows: dict[str, tuple[Turn, Snapshot | None]] = {}

    @contextmanager
    def watching(turn: Turn) -> Iterator[Observer]:
        rows[turn.policy] = turn, None
        with Live(_table(rows, turn), console=console, transient=True) as shown:

            def observe(now: Snapshot) -> None:
                rows[turn.policy] = turn, now
                shown.update(_table(rows, turn))

            yield observe

    return watching


class _Column(NamedTuple):
    heading: str
    cell: Callable[[Snapshot], str]
    align: Align = "right"


def _ended(now: Snapshot) -> int:
    return sum(now["calls"].values())


def _failed(now: Snapshot) -> int:
    return sum(count for name, count in now["calls"].items() if name.startswith("failed_"))


_COLUMNS = (
    _Column("time", lambda now: f"{now['wall_s']:.0f}s"),
    _Column("done", lambda now: f"{now['done']:.0%}"),
    _Column("pins/s", lambda now: amount(now["pages_per_s"])),
    _Column("failed", lambda now: share(_failed(now), _ended(now))),
    _Column("stuck", lambda now: amount(now["calls"].get("stuck", 0))),
    _Column("drains", lambda now: amount(now["drain_all"] / _ended(now) if _ended(now) else None)),
    _Column("most threads in", lambda now: now["step"], "left"),
)
"""Beside the policy; in the units of the tables at the end."""


def _table(rows: dict[str, tuple[Turn, Snapshot | None]], under_way: Turn) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("policy", overflow="fold")
    for column in _COLUMNS:
        table.add_column(column.heading, justify=column.align, no_wrap=True)
    for turn, now in rows.values():
        # A run that is being set up, or was over at once, has told nothing.
        cells = {column.heading: column.cell(now) if now else "" for column in _COLUMNS}
        if turn != under_way:
            cells["done"] = "over"
        table.add_row(str(turn), *cells.values())
    return table
