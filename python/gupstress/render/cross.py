"""Tables of one cell for each pair of names, such as a scenario under a kernel."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gupstress.render.grid import Grid, piped, ruled

_WIDTH = 80
"""Of a text table, in characters."""
_GAP = 2
"""Between two columns."""


class Cross(NamedTuple):
    """A table of two names."""

    corner: str
    rows: Sequence[str]
    columns: Sequence[str]
    cells: Sequence[Sequence[Sequence[str]]]
    """By row, then column; a cell's parts are lines of their own in a text."""
    joint: str
    """What stands between a cell's parts in Markdown."""


def plain(table: Cross) -> str:
    """Return a table as text, split into as many below each other as its width needs."""
    return "\n\n".join(map(ruled, _blocks(table)))


def _blocks(table: Cross) -> Iterator[Grid]:
    # A long name may take half of the width, and is wrapped in it.
    stub = min(_WIDTH // 2, max(map(len, [table.corner, *table.rows])))
    widths = [_width(table, column) for column in range(len(table.columns))]
    for start, end in _spans(widths, _WIDTH - stub):
        headings = map(_heading, table.columns[start:end], widths[start:end])
        yield Grid(
            headings=[table.corner, *headings],
            rows=[
                [name, *map("\n".join, row[start:end])]
                for name, row in zip(table.rows, table.cells, strict=True)
            ],
            aligns=["left"] * (1 + end - start),
            widths=[stub] + [None] * (end - start),
        )


def _spans(widths: Sequence[int], room: int) -> list[tuple[int, int]]:
    """Return the columns of each block: as few blocks as fit, all of about one size."""
    for blocks in range(1, len(widths) + 1):
        size = math.ceil(len(widths) / blocks)
        starts = range(0, len(widths), size)
        spans = [(start, min(start + size, len(widths))) for start in starts]
        if all(sum(_GAP + width for width in widths[a:b]) <= room for a, b in spans):
            break
    return spans


def _width(table: Cross, column: int) -> int:
    lines = [line for row in table.cells for line in row[column]]
    return max(map(len, [*lines, *_heading(table.columns[column], 0).splitlines()]))


def _heading(name: str, width: int) -> str:
    """Return a name as it fits a column: whole, or broken at its hyphens."""
    return name if len(name) <= width else name.replace("-", "-\n")


def grid(table: Cross) -> Grid:
    """Return a table in full width, the parts of a cell one behind the other."""
    return Grid(
        headings=[table.corner, *table.columns],
        rows=[
            [name, *map(table.joint.join, row)]
            for name, row in zip(table.rows, table.cells, strict=True)
        ],
        aligns=["left"] * (1 + len(table.columns)),
        widths=[None] * (1 + len(table.columns)),
    )


def markdown(table: Cross) -> str:
    """Return a table as Markdown, in full width."""
    return piped(grid(table))
