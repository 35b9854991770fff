"""How far a run has come, on standard error."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from gupstress.engine import Observer, Snapshot
from gupstress.runner import Watch

_LINE_EVERY_S = 5.0
"""Time of a run between two plain lines."""


def watch(stream: TextIO) -> Watch:
    """Return what shows progress on `stream`: a live line on a terminal, else one now and then."""
    return _live if stream.isatty() else _lines(stream)


def _lines(stream: TextIO) -> Watch:
    @contextmanager
    def watching(label: str) -> Iterator[Observer]:
        due, seen = _LINE_EVERY_S, 0

        def observe(now: Snapshot) -> None:
            nonlocal due, seen
            if now["elapsed_s"] < due:
                return
            due += _LINE_EVERY_S
            stream.write(f"gupstress: {label}: {_words(now, now['pinned'] - seen)}\n")
            stream.flush()
            seen = now["pinned"]

        yield observe

    return watching


def _words(now: Snapshot, news: int) -> str:
    words = (
        f"{now['elapsed_s']:.0f} s, {now['pinned']}/{now['target']} page pins,"
        f" {now['pages_per_s']:.0f}/s, {now['drain_all']} drains"
    )
    # Silence would leave it open whether the run or the reader is stuck.
    return words if news else f"{words}; no progress, most threads in {now['step']}"


@contextmanager
def _live(label: str) -> Iterator[Observer]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} pins"),
        TextColumn("{task.fields[rate]:.0f}/s"),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[step]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None, rate=0.0, step="")

        def observe(now: Snapshot) -> None:
            bar.update(
                task,
                completed=now["pinned"],
                total=now["target"],
                rate=now["pages_per_s"],
                step=now["step"],
            )

        yield observe
