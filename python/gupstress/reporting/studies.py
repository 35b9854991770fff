"""What is in a report beside runs: matrices, litmus scenarios, comparisons and explorations."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from gupstress.outcome.comparison import Comparison
from gupstress.outcome.exploration import ExploreResult, Found, Story
from gupstress.outcome.litmus import LitmusResult
from gupstress.outcome.matrix import MatrixResult
from gupstress.outcome.tune import TuneResult
from gupstress.render import comparison, exploration, litmus, matrix, tune
from gupstress.render.cross import Cross
from gupstress.render.grid import Grid
from gupstress.reporting import searched
from gupstress.reporting.figures import Figure
from gupstress.reporting.sources import Study
from gupstress.reporting.tables import Cell, Table, word


class Shown(NamedTuple):
    """A study as a section shows it."""

    name: str
    kind: str
    verdict: str
    tone: str
    table: Table
    lines: Sequence[str]
    """What is to be said beside the table."""
    more: Sequence["Told"] = ()
    """Tables of their own, each with a sentence below it."""
    figures: Sequence[Figure] = ()


class Told(NamedTuple):
    """A table, and what is to be said of it."""

    table: Table
    end: str


_TONES = {
    "equal": "good",
    "same": "good",
    "improvement": "good",
    "different": "bad",
    "regression": "bad",
    "unfinished": "undecided",
    "not compared": "undecided",
    "not comparable": "undecided",
    "inconclusive": "undecided",
}


def show(study: Study) -> Shown:
    """Return a study as a section shows it."""
    name, document = study
    match document:
        case MatrixResult():
            worse = [cell for cell in document.cells if cell.worse]
            return Shown(
                name,
                "matrix",
                matrix.end_line(document),
                "bad" if worse else "good",
                _cross(f"{name}: one verdict a cell", matrix.table(document), _verdict),
                [
                    *matrix.legend(document),
                    *(f"{cell.policy} on {cell.profile}: {cell.finding}" for cell in worse),
                ],
            )
        case LitmusResult():
            return Shown(
                name,
                "litmus",
                litmus.summary(document),
                _TONES[document.verdict],
                _cross(f"{name}: the model by the kernels", litmus.table(document), _difference),
                litmus.LEGEND,
                [Told(_conditions(name, document), "")] if _raced(document) else [],
            )
        case ExploreResult():
            return Shown(
                name,
                "exploration",
                exploration.closing(document),
                "bad" if document.findings else "good",
                _found(f"{name}: findings", document),
                exploration.remarks(document),
                [Told(_story(found), found.story.end) for found in document.findings],
            )
        case TuneResult():
            return Shown(
                name,
                "search",
                tune.end_line(document),
                "good" if document.best is not None else "bad",
                _grid(f"{name}: policies that no other beats", tune.front(document)),
                (document.policy_toml or "").splitlines(),
                figures=[searched.front(document), searched.effects(document)],
            )
        case Comparison():
            return Shown(
                name,
                "comparison",
                comparison.end_line(document),
                _TONES[document.verdict],
                _rows(f"{name}: head by base", document),
                [
                    f"{kind}: {line}"
                    for kind, lines in comparison.remarks(document)
                    for line in lines
                ],
            )
        case _:
            raise TypeError(f"a {type(document).__name__} is no study")


def _raced(document: LitmusResult) -> bool:
    return any(cell.explored is not None for cell in document.cells)


def _conditions(name: str, document: LitmusResult) -> Table:
    """Return what the threads of scenarios came to."""
    tones = {True: "good", False: "bad", None: "undecided"}
    return Table(
        f"{name}: what threads come to",
        ["scenario", "kernel", "condition", "schedules that meet it", "of", "complete"],
        [
            [
                Cell(cell.scenario),
                Cell(cell.kernel),
                Cell(f"{one.wanted} {one.condition}", tone=tones[one.holds]),
                Cell(f"{one.times:,}", value=one.times, align="right"),
                Cell(f"{cell.explored.schedules:,}", cell.explored.schedules, align="right"),
                Cell("yes" if cell.explored.complete else "no"),
            ]
            for cell in document.cells
            if cell.explored is not None
            for one in cell.explored.conditions
        ],
        stubs=3,
    )


def _found(caption: str, document: ExploreResult) -> Table:
    return Table(
        caption,
        ["finding", "schedule", "times", "preemptions"],
        [
            [
                Cell(found.kind, tone="bad"),
                Cell(f"{found.schedule:,}", value=found.schedule, align="right"),
                Cell(f"{found.times:,}", value=found.times, align="right"),
                Cell(str(found.preemptions), value=found.preemptions, align="right"),
            ]
            for found in document.findings
        ],
    )


def _story(found: Found) -> Table:
    story = found.story
    return Table(
        f"{story.title} (schedule {found.schedule:,})",
        [*(story.tasks[task] for task in story.columns), "page: references, where"],
        list(_lines(story)),
        stubs=0,
    )


def _lines(story: Story) -> Iterator[list[Cell]]:
    for line in story.lines:
        own = line.task in story.columns
        texts = [line.text if task == line.task else "" for task in story.columns]
        if not own:
            texts = [f"[{story.tasks[line.task]}: {line.text}]", *texts[1:]]
        yield [*map(Cell, texts), Cell(line.page)]


def _cross(caption: str, table: Cross, tone: Callable[[str], str]) -> Table:
    return Table(
        caption=caption,
        headings=[table.corner, *table.columns],
        rows=[
            [Cell(name), *(_cell(parts, table.joint, tone) for parts in row)]
            for name, row in zip(table.rows, table.cells, strict=True)
        ],
    )


def _cell(parts: Iterable[str], joint: str, tone: Callable[[str], str]) -> Cell:
    text = joint.join(parts)
    return Cell(text, tone=tone(text))


def _verdict(text: str) -> str:
    if text.endswith("!") or text in ("UNSAFE", "STUCK", "BROKEN"):
        return "bad"
    return {"ok": "good", "justified": "good", "?": "undecided"}.get(text, "")


def _difference(text: str) -> str:
    return "bad" if "≠" in text else "good" if text == "=" else ""


def _rows(caption: str, found: Comparison) -> Table:
    return _grid(caption, comparison.table(found))


def _grid(caption: str, grid: Grid) -> Table:
    return Table(
        caption=caption,
        headings=list(grid.headings),
        rows=[
            [
                Cell(text, tone=_TONES.get(text, "")) if align == "left" else word(text, align)
                for text, align in zip(row, grid.aligns, strict=True)
            ]
            for row in grid.rows
        ],
        stubs=grid.stubs,
    )
