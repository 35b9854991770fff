"""A run's result for a reader: tables, findings, remarks and the line that repeats it all.

What it says is the same everywhere; `plain` is for pipes and files, `terminal` for
a screen, `markdown` for a page. Each takes the run and the command that runs it again.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tabulate import SEPARATING_LINE, tabulate

from gupstress.outcome.results import Run
from gupstress.outcome.verdict import BAD, GOOD, UNDECIDED, findings, outcome, remarks
from gupstress.render.columns import COSTS, DEEDS, LEGEND, Grid, grid, threshold_grid

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def end_line(run: Run) -> str:
    """Return the outcome with the main parameters, so that one line tells what was run."""
    names = ("profile", "kernel", "driver", "threads", "cpus", "pins", "seed")
    said = " ".join(f"{name}={getattr(run.settings, name)}" for name in names)
    return f"gupstress: {outcome(run).value}: {said}"


def plain(run: Run, command: str) -> str:
    """Return the result as text; its tables are at most 80 columns wide."""
    blocks = []
    if run.results:
        blocks += [ruled(grid(run, DEEDS)), ruled(grid(run, COSTS)), "\n".join(LEGEND)]
    if run.thresholds:
        blocks.append(ruled(threshold_grid(run)))
    if lines := [f"finding: {line}" for line in findings(run)]:
        blocks.append("\n".join(lines))
    if lines := [f"note: {line}" for line in remarks(run)]:
        blocks.append("\n".join(lines))
    blocks.append(f"{end_line(run)}\nreproduce: {command}")
    return "\n\n".join(blocks)


def ruled(table: Grid) -> str:
    """Return a table as text, with a rule under its headings."""
    return tabulate(
        # As tabulate's own headings they would widen every column by two.
        [table.headings, SEPARATING_LINE, *table.rows],
        tablefmt="simple",
        colalign=table.aligns,
        maxcolwidths=list(table.widths),
        disable_numparse=True,
    )


def markdown(run: Run, command: str) -> str:
    """Return the result as Markdown."""
    blocks = []
    if run.results:
        blocks += [piped(grid(run, DEEDS)), piped(grid(run, COSTS)), " ".join(LEGEND)]
    if run.thresholds:
        blocks.append(piped(threshold_grid(run)))
    if lines := [f"- **finding** {line}" for line in findings(run)]:
        blocks.append("\n".join(lines))
    if lines := [f"- note: {line}" for line in remarks(run)]:
        blocks.append("\n".join(lines))
    blocks.append(f"**{end_line(run)}**\n\n```sh\n{command}\n```")
    return "\n\n".join(blocks)


def piped(table: Grid) -> str:
    """Return a table as Markdown."""
    return tabulate(
        [_escaped(row) for row in table.rows],
        _escaped(table.headings),
        tablefmt="pipe",
        colalign=table.aligns,
        disable_numparse=True,
    )


def _escaped(cells: Sequence[str]) -> list[str]:
    """Return cells whose text ends none of them."""
    return [cell.replace("|", r"\|") for cell in cells]


def terminal(run: Run, command: str, console: "Console") -> None:
    """Print the result to a terminal, in one table where it is wide enough."""
    from rich.text import Text

    if run.results:
        whole = _boxed(grid(run, (*DEEDS, *COSTS[1:])))
        unbounded = console.options.update(width=sys.maxsize)
        if console.measure(whole, options=unbounded).maximum <= console.width:
            console.print(whole)
        else:
            console.print(_boxed(grid(run, DEEDS)), _boxed(grid(run, COSTS)))
        console.print(*LEGEND, sep="\n", style="dim", highlight=False)
    if run.thresholds:
        console.print(_boxed(threshold_grid(run)))
    for line in findings(run):
        console.print(Text.assemble(("finding: ", "bold red"), line), soft_wrap=True)
    for line in remarks(run):
        console.print(Text.assemble(("note: ", "bold yellow"), line), soft_wrap=True)
    console.print(Text(f"{end_line(run)}\nreproduce: {command}"), soft_wrap=True)


def _boxed(grid: Grid) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading, align, width in zip(grid.headings, grid.aligns, grid.widths, strict=True):
        table.add_column(heading, justify=align, no_wrap=width is None)
    for row in grid.rows:
        table.add_row(*(Text(cell, style=_style(cell)) for cell in row))
    return table


def _style(cell: str) -> str:
    if cell in GOOD or cell == "passed":
        return "green"
    if cell in BAD or cell == "missed":
        return "bold red"
    return "yellow" if cell == UNDECIDED else ""
