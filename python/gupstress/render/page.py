"""A run's result for a reader: findings, remarks, tables, and last what was found.

What it says is the same everywhere; `plain` is for pipes and files, `terminal` for
a screen, `markdown` for a page. Each takes the run and the command that runs it again.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gupstress.outcome.results import Run
from gupstress.outcome.verdict import (
    BAD,
    GOOD,
    UNDECIDED,
    Outcome,
    findings,
    first,
    outcome,
    remarks,
)
from gupstress.render.closing import closing
from gupstress.render.columns import COSTS, DEEDS, LEGEND, caller_grid, grid, threshold_grid
from gupstress.render.grid import Grid, fitted, piped, ruled, seen
from gupstress.render.relative import summary
from gupstress.visible import markdown as marked
from gupstress.visible import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_SHOWN = 5
"""Lines about one policy in a text; all that were recorded are in the JSON."""

_SHOWN_ON_SCREEN = 1
"""Lines about one policy where the table must not scroll away."""


def plain(run: Run, command: str) -> str:
    """Return the result as text; its tables are at most 80 columns wide."""
    blocks = [
        *_lines("finding: ", first(findings(run), _SHOWN)),
        *_lines("note: ", first(remarks(run), _SHOWN)),
    ]
    if run.thresholds:
        blocks.append(ruled(threshold_grid(run)))
    if run.results:
        grids = [grid(run, DEEDS), grid(run, COSTS), *_callers(run)]
        blocks += [*map(ruled, grids), "\n".join(LEGEND)]
    blocks += _lines("", summary(run))
    blocks.append(closing(run, command))
    return "\n\n".join(blocks)


def _callers(run: Run) -> Iterable[Grid]:
    found = caller_grid(run)
    return [] if found is None else [found]


def _lines(before: str, lines: Iterable[str]) -> list[str]:
    """Return lines as a block, or nothing where there are none."""
    text = "\n".join(before + visible(line) for line in lines)
    return [text] if text else []


def markdown(run: Run, command: str) -> str:
    """Return the result as Markdown."""
    blocks = [
        *_lines("- **finding** ", map(marked, first(findings(run), _SHOWN))),
        *_lines("- note: ", map(marked, first(remarks(run), _SHOWN))),
    ]
    if run.thresholds:
        blocks.append(piped(threshold_grid(run)))
    if run.results:
        grids = [grid(run, DEEDS), grid(run, COSTS), *_callers(run)]
        blocks += [*map(piped, grids), " ".join(LEGEND)]
    blocks += _lines("- ", map(marked, summary(run)))
    settings, _, end = closing(run, command).split("\n")
    blocks.append(f"{marked(settings)}\n\n```sh\n{command}\n```\n\n**{marked(end)}**")
    return "\n\n".join(blocks)


def terminal(run: Run, command: str, console: "Console") -> None:
    """Print the result to a terminal, in as few tables as its width lets it have."""
    from rich.text import Text

    for line in first(findings(run), _SHOWN_ON_SCREEN):
        console.print(Text.assemble(("finding: ", "bold red"), visible(line)), soft_wrap=True)
    for line in first(remarks(run), _SHOWN_ON_SCREEN):
        console.print(Text.assemble(("note: ", "bold yellow"), visible(line)), soft_wrap=True)
    if run.thresholds:
        _print(threshold_grid(run), console)
    if run.results:
        whole = grid(run, (*DEEDS, *COSTS[1:]))
        in_one = len(list(fitted(whole, console.width - _EDGES))) == 1
        parts = [whole] if in_one else [grid(run, DEEDS), grid(run, COSTS)]
        for part in [*parts, *_callers(run)]:
            _print(part, console)
        console.print(*LEGEND, sep="\n", style="dim", highlight=False)
    for line in summary(run):
        console.print(Text(visible(line)), soft_wrap=True)
    *before, end = closing(run, command).split("\n")
    for line in before:
        console.print(Text(visible(line)), soft_wrap=True)
    console.print(Text(visible(end), style=_ENDS.get(outcome(run), "")), soft_wrap=True)


_ENDS = {
    Outcome.SUCCESS: "bold green",
    Outcome.FAILURE: "bold red",
    Outcome.INCONCLUSIVE: "bold yellow",
}
"""The colours of last lines."""


_EDGES = 2
"""Of a table, which rich leaves white."""


def _print(table: Grid, console: "Console") -> None:
    for part in fitted(table, console.width - _EDGES):
        console.print(_boxed(part), soft_wrap=True)


def _boxed(grid: Grid) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading, align in zip(grid.headings, grid.aligns, strict=True):
        table.add_column(heading, justify=align, no_wrap=True)
    for row in grid.rows:
        table.add_row(*(Text(seen(cell), style=_style(cell)) for cell in row))
    return table


def _style(cell: str) -> str:
    if cell in GOOD or cell == "passed":
        return "green"
    if cell in BAD or cell == "missed":
        return "bold red"
    return "yellow" if cell == UNDECIDED else ""
