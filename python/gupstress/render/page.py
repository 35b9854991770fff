"""A run's result for a reader: tables, findings, remarks and the line that repeats it all.

What it says is the same everywhere; `plain` is for pipes and files, `terminal` for
a screen, `markdown` for a page.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tabulate import tabulate

from gupstress.render.columns import COSTS, DEEDS, LEGEND, Column, amount, rows
from gupstress.results import RunResult
from gupstress.verdict import GOOD, UNDECIDED, findings, label, outcome, remarks

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def end_line(run: RunResult) -> str:
    """Return the outcome with the main parameters, so that one line tells what was run."""
    settings = run.settings
    parameters = ("profile", "kernel", "driver", "threads", "cpus", "pins", "seed")
    said = " ".join(f"{name}={getattr(settings, name)}" for name in parameters)
    return f"gupstress: {outcome(run).value}: {said}"


def _threshold_rows(run: RunResult) -> list[list[str]]:
    return [
        [
            threshold.expr,
            label(threshold, run),
            amount(threshold.observed),
            "passed" if threshold.passed else "missed",
        ]
        for threshold in run.thresholds
    ]


_THRESHOLD_HEADINGS = ("threshold", "policy", "observed", "")


def plain(run: RunResult, command: str) -> str:
    """Return the result as text of at most 80 columns, but for the lines that name things.

    Args:
        run: What to show.
        command: What to type to see it again.
    """
    blocks = []
    if run.results:
        blocks += [_grid(run, DEEDS, "simple"), _grid(run, COSTS, "simple"), "\n".join(LEGEND)]
    if run.thresholds:
        blocks.append(tabulate(_threshold_rows(run), _THRESHOLD_HEADINGS, disable_numparse=True))
    if said := _said(run):
        blocks.append("\n".join(said))
    blocks.append(f"{end_line(run)}\nreproduce: {command}")
    return "\n\n".join(blocks)


def markdown(run: RunResult, command: str) -> str:
    """Return the result as Markdown, arguments as for `plain`."""
    blocks = []
    if run.results:
        blocks += [_grid(run, DEEDS, "github"), _grid(run, COSTS, "github"), " ".join(LEGEND)]
    if run.thresholds:
        rows = _threshold_rows(run)
        blocks.append(
            tabulate(rows, _THRESHOLD_HEADINGS, tablefmt="github", disable_numparse=True)
        )
    if said := _said(run):
        blocks.append("\n".join(f"- {line}" for line in said))
    blocks.append(f"**{end_line(run)}**\n\n```sh\n{command}\n```")
    return "\n\n".join(blocks)


def _said(run: RunResult) -> list[str]:
    return [f"finding: {line}" for line in findings(run)] + [
        f"note: {line}" for line in remarks(run)
    ]


def _grid(run: RunResult, columns: Sequence[Column], style: str) -> str:
    return tabulate(
        rows(run, columns),
        [column.heading for column in columns],
        tablefmt=style,
        colalign=[column.align for column in columns],
        # Markdown has no wrapped cells, and needs none.
        maxcolwidths=[column.width for column in columns] if style == "simple" else None,
        disable_numparse=True,
    )


def terminal(run: RunResult, command: str, console: "Console") -> None:
    """Print the result to a terminal, arguments as for `plain`."""
    from rich.text import Text

    if run.results:
        whole = _table(run, (*DEEDS, *COSTS[1:]))
        if console.measure(whole).minimum <= console.width:
            console.print(whole)
        else:
            console.print(_table(run, DEEDS), _table(run, COSTS))
        console.print(*LEGEND, style="dim", highlight=False)
    for threshold in _threshold_rows(run):
        console.print("threshold", *threshold, highlight=False)
    for line in findings(run):
        console.print(Text.assemble(("finding: ", "bold red"), line), soft_wrap=True)
    for line in remarks(run):
        console.print(Text.assemble(("note: ", "bold yellow"), line), soft_wrap=True)
    console.print(Text(end_line(run), style="bold"), soft_wrap=True)
    console.print(Text(f"reproduce: {command}"), soft_wrap=True)


def _table(run: RunResult, columns: Sequence[Column]) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column.heading, justify=column.align, no_wrap=column.width is None)
    for row in rows(run, columns):
        table.add_row(*(Text(cell, style=_style(cell)) for cell in row))
    return table


def _style(cell: str) -> str:
    if cell in GOOD:
        return "green"
    if cell == UNDECIDED:
        return "yellow"
    return "bold red" if cell in BAD else ""
