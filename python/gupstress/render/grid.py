"""Tables as text: no wider than a screen, and no word of them cut."""

from collections.abc import Iterator, Sequence
from textwrap import TextWrapper
from typing import Literal, NamedTuple

from tabulate import SEPARATING_LINE, tabulate

from gupstress.visible import markdown, visible

WIDTH = 80
"""Of a text that goes to no terminal, and of a terminal that nobody has made wider."""

_GAP = 2
"""Between two columns."""

_STUB = 13
"""A name that is longer is broken at its hyphens before its table is split."""

HELD = "\u00a0"
"""A space within a cell at which it is not broken."""

Align = Literal["left", "right"]


class Grid(NamedTuple):
    """A table's text and layout; all but `rows` and `stubs` have one entry a column."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    aligns: Sequence[Align]
    widths: Sequence[int | None]
    """Longer cells are wrapped between their words."""
    stubs: int = 1
    """Columns that say what a row is of, which stand in each part of a split table."""


def fitted(table: Grid, width: int = WIDTH) -> Iterator[Grid]:
    """Yield a table in parts below each other, none wider than a width unless one column is."""
    table = _wrapped(table, table.widths)
    room = width - _together(table, range(1, len(table.headings))) - _GAP
    if room < _width(table, 0):
        table = _wrapped(table, [max(room, _STUB), *[None] * (len(table.headings) - 1)])
    stubs = list(range(table.stubs))
    part = list(stubs)
    for column in range(table.stubs, len(table.headings)):
        if len(part) > len(stubs) and _together(table, [*part, column]) > width:
            yield _part(table, part)
            part = list(stubs)
        part.append(column)
    yield _part(table, part)


def _part(table: Grid, columns: Sequence[int]) -> Grid:
    return Grid(
        headings=[table.headings[column] for column in columns],
        rows=[[row[column] for column in columns] for row in table.rows],
        aligns=[table.aligns[column] for column in columns],
        widths=[None] * len(columns),
        stubs=table.stubs,
    )


def _wrapped(table: Grid, widths: Sequence[int | None]) -> Grid:
    rows = [
        [
            cell if width is None else _lines(cell, width, column == 0).replace(HELD, " ")
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in table.rows
    ]
    return table._replace(rows=rows, widths=[None] * len(widths))


def _lines(cell: str, width: int, at_hyphens: bool) -> str:
    wrapper = TextWrapper(width, break_long_words=False, break_on_hyphens=at_hyphens)
    return "\n".join(line for part in cell.split("\n") for line in wrapper.wrap(part) or [""])


def _width(table: Grid, column: int) -> int:
    lines = (line for row in table.rows for line in row[column].split("\n"))
    return max([*map(len, lines), *map(len, table.headings[column].split("\n"))])


def _together(table: Grid, columns: Sequence[int]) -> int:
    return sum(_width(table, column) + _GAP for column in columns) - _GAP


def ruled(table: Grid, width: int = WIDTH) -> str:
    """Return a table as text, with a rule under its headings."""
    return "\n\n".join(
        tabulate(
            # As tabulate's own headings they would widen every column by two.
            [part.headings, SEPARATING_LINE, *(list(map(seen, row)) for row in part.rows)],
            tablefmt="simple",
            colalign=part.aligns,
            disable_numparse=True,
        )
        for part in fitted(table, width)
    )


def seen(cell: str) -> str:
    """Return a cell of which every line is visible."""
    return "\n".join(map(visible, cell.split("\n")))


def piped(table: Grid) -> str:
    """Return a table as Markdown, in full width."""
    return tabulate(
        [list(map(_cell, row)) for row in table.rows],
        list(map(_cell, table.headings)),
        tablefmt="pipe",
        colalign=table.aligns,
        disable_numparse=True,
    )


def html(table: Grid) -> str:
    """Return a table as HTML, its text escaped."""
    return tabulate(
        [[visible(cell.replace(HELD, " ")) for cell in row] for row in table.rows],
        [visible(heading) for heading in table.headings],
        tablefmt="html",
        colalign=table.aligns,
        disable_numparse=True,
    )


def _cell(text: str) -> str:
    return markdown(visible(text.replace(HELD, " ")))
