"""Tracebacks that end where the test does: what is ours explains none of its mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

_OURS = str(Path(__file__).parents[1])


def cut(error: BaseException) -> None:
    """Drop the frames below the last one that is not ours from an error's traceback."""
    last: TracebackType | None = None
    trace = error.__traceback__
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(_OURS):
            last = trace
        trace = trace.tb_next
    if last is not None:
        last.tb_next = None
