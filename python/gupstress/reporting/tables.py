"""The tables of a report. Every number in them keeps the exact value of the JSON."""

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

from gupstress.outcome.results import PolicyResult, Run
from gupstress.outcome.thresholds import metrics, read
from gupstress.outcome.verdict import BAD, GOOD, UNDECIDED, label, outcome
from gupstress.render.columns import COSTS, DEEDS, Column, caller_grid, causes
from gupstress.render.grid import Align
from gupstress.reporting.sources import Source, policies
from gupstress.reporting.story import failures_by_reason


class Cell(NamedTuple):
    """A table's cell."""

    text: str
    value: float | None = None
    """The number that the text stands for, None if it stands for none."""
    tone: str = ""
    """`good`, `bad` or `undecided`."""
    key: str = ""
    """What the number is called in the JSON."""
    align: Align = "left"


class Table(NamedTuple):
    """A table: as many columns as headings, the first ones name their row."""

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    stubs: int = 1
    """How many of the first columns name their row."""


_TONES = {
    **dict.fromkeys((*GOOD, "passed", "SUCCESS"), "good"),
    **dict.fromkeys((*BAD, "missed", "FAILURE"), "bad"),
    **dict.fromkeys((UNDECIDED, "INCONCLUSIVE", "INTERRUPTED"), "undecided"),
}


def word(text: str, align: Align = "left") -> Cell:
    """Return a cell of text; a verdict has its tone."""
    return Cell(text, tone=_TONES.get(text, ""), align=align)


def number(value: float | None, key: str = "") -> Cell:
    """Return a cell of a number, with as many digits as a reader takes in."""
    if value is None:
        return Cell("-", key=key, align="right")
    long = isinstance(value, int) or abs(value) >= 1000
    return Cell(f"{value:,.0f}" if long else f"{value:.4g}", value, key=key, align="right")


def overview(sources: Sequence[Source]) -> list[Table]:
    """Return the runs, and what each policy did and cost, as `gupstress run` prints it."""
    return [
        _runs(sources),
        _by_policy(sources, "What each policy did", DEEDS),
        _by_policy(sources, "What it cost", COSTS),
        *_by_caller(sources),
        *filter(None, [failures_by_cause(sources)]),
    ]


def _by_policy(sources: Sequence[Source], caption: str, columns: Sequence[Column]) -> Table:
    _, *others = columns
    return Table(
        caption=caption,
        headings=[whose(sources), *(column.heading for column in others)],
        rows=[
            [Cell(heading), *(word(column.cell(repeats), column.align) for column in others)]
            for heading, repeats in by_policy(sources)
        ],
    )


def _by_caller(sources: Sequence[Source]) -> Iterator[Table]:
    for source in sources:
        if (found := caller_grid(source.run)) is not None:
            whose_run = f" of {source.name}" if len(sources) > 1 else ""
            yield Table(
                caption=f"By kind of caller{whose_run}",
                headings=list(found.headings),
                rows=[
                    [word(text, align) for text, align in zip(row, found.aligns, strict=True)]
                    for row in found.rows
                ],
                stubs=found.stubs,
            )


def whose(sources: Sequence[Source]) -> str:
    """Return what the headings of `by_policy` name."""
    if len(sources) == 1:
        return "policy"
    return "policy, run" if len(policies(sources)) > 1 else "run"


def by_policy(sources: Sequence[Source]) -> Iterator[tuple[str, list[PolicyResult]]]:
    """Yield the repeats of each policy in each run, with as short a heading as will do."""
    names = policies(sources)
    for name in names:
        for source in sources:
            if repeats := source.repeats(name):
                both = f"{name}, {source.name}" if len(names) > 1 else source.name
                yield (both if len(sources) > 1 else name), repeats


_MAIN = ("profile", "kernel", "driver", "threads", "cpus", "pins", "seed")


def _runs(sources: Sequence[Source]) -> Table:
    """Return one row for each run: how it ended and what was asked of it."""
    return Table(
        caption="Runs",
        headings=["run", "outcome", *_MAIN],
        rows=[
            [
                Cell(source.name),
                word(outcome(source.run).value),
                *(_any(getattr(source.run.settings, name), name) for name in _MAIN),
            ]
            for source in sources
        ],
    )


def hosts(sources: Sequence[Source]) -> Table:
    """Return one row for each run: when, with which build and on which host it was made."""
    return Table(
        caption="Hosts",
        headings=["run", "started at", "gupstress", "kernel", "CPU", "CPUs", "memory", "load"],
        rows=[[Cell(source.name), *_facts(source.run)] for source in sources],
    )


def _facts(run: Run) -> Iterator[Cell]:
    yield Cell(f"{run.started_at:%Y-%m-%d %H:%M:%S %Z}")
    yield Cell(f"{run.gupstress.version} ({run.gupstress.build_profile})")
    yield Cell(run.host.kernel)
    yield Cell(run.host.cpu_model)
    yield number(run.host.cpus, "host.cpus")
    yield Cell(f"{run.host.memory_bytes / 2**30:.1f} GiB")
    yield Cell(" ".join(f"{load:.2f}" for load in run.host.load))


def settings(sources: Sequence[Source]) -> Table:
    """Return one column for each run with every setting and every key of the profile."""
    return _keys(
        "Settings and profile",
        {source.name: source.run.settings.model_dump() for source in sources},
    )


def axes(name: str, sources: Sequence[Source]) -> Table:
    """Return one column for each run with the axes of a policy and its kernel's rules."""
    resolved = {
        source.name: repeats[0].resolved for source in sources if (repeats := source.repeats(name))
    }
    return _keys(
        f"Axes of {name} and rules of its kernel",
        {
            run: {part: tables[part] for part in ("policy", "kernel")}
            for run, tables in resolved.items()
        },
    )


def _keys(caption: str, runs: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return one row for each key that any run has, one column for each run."""
    flat = {name: dict(_flat(table)) for name, table in runs.items()}
    keys = dict.fromkeys(key for table in flat.values() for key in table)
    return Table(
        caption=caption,
        headings=["key", *flat],
        rows=[
            [Cell(key), *(_any(table.get(key, "-"), key) for table in flat.values())]
            for key in keys
        ],
    )


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _any(value: Any, key: str) -> Cell:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Cell(f"{value}", value, key=key, align="right")
    return Cell(str(value).lower() if isinstance(value, bool) else str(value))


def thresholds(sources: Sequence[Source]) -> Table:
    """Return one row for each threshold at each result."""
    return Table(
        caption="Thresholds",
        headings=["threshold", "policy", "run", "observed", "verdict"],
        rows=[
            [
                Cell(threshold.expr),
                Cell(label(threshold, source.run)),
                Cell(source.name),
                number(threshold.observed, threshold.expr),
                word("passed" if threshold.passed else "missed"),
            ]
            for source in sources
            for threshold in source.run.thresholds
        ],
        stubs=3,
    )


_MOST_COLUMNS = 6
"""Results of a policy that are shown each by itself: of more than that nobody compares columns."""

_SPREAD: dict[str, Callable[[Sequence[float]], float]] = {
    "least": min,
    "median": statistics.median,
    "most": max,
}


def measurements(name: str, sources: Sequence[Source]) -> Table:
    """Return every number that a policy's results have.

    A column for each run and repeat; of many repeats three: what is least, in the middle and most.
    """
    caption = f"{name}: every measurement, named as --threshold takes it"
    columns = list(results(name, sources))
    if len(columns) <= _MOST_COLUMNS:
        rows = ((m, [_exact(result, m) for _, result in columns]) for m in metrics())
        return _measured(caption, [heading for heading, _ in columns], rows)
    runs = [(one.name, one.repeats(name)) for one in sources if one.repeats(name)]
    headings = [f"{run} {part}" if len(runs) > 1 else part for run, _ in runs for part in _SPREAD]
    spread = {m: [one for _, found in runs for one in _spread(found, m)] for m in metrics()}
    nothing = [m for m, values in spread.items() if not any(values)]
    told = {m: values for m, values in spread.items() if m not in nothing}
    caption += f"; of {len(columns)} repeats; 0 or not there in all: {', '.join(nothing)}"
    return _measured(caption, headings, told.items())


def _spread(found: Sequence[PolicyResult], metric: str) -> Iterator[float | None]:
    values = [value for one in found if (value := _exact(one, metric)) is not None]
    yield from (part(values) if values else None for part in _SPREAD.values())


def _measured(
    caption: str, headings: Sequence[str], rows: Iterable[tuple[str, Sequence[float | None]]]
) -> Table:
    return Table(
        caption=caption,
        headings=["metric", *headings],
        rows=[
            [Cell(metric), *(number(value, metric) for value in values)]
            for metric, values in rows
            if any(value is not None for value in values)
        ],
    )


def _exact(result: PolicyResult, metric: str) -> float | None:
    """Return a number as it is: a seed is too long for a float."""
    return cast("float | None", read(result, metric))


def results(name: str, sources: Sequence[Source]) -> Iterator[tuple[str, PolicyResult]]:
    """Yield all results of a policy, each with a heading that tells it from its others."""
    for source in sources:
        for result in source.repeats(name):
            repeat = label(result, source.run).removeprefix(name)
            yield (source.name if len(sources) > 1 else name) + repeat, result


def failures_by_cause(sources: Sequence[Source]) -> Table | None:
    """Return how many calls failed by what; None where none did, or nobody counted."""
    found = [(heading, causes(repeats)) for heading, repeats in by_policy(sources)]
    names = sorted({name for _, counted in found for name in counted})
    if not names:
        return None
    return Table(
        caption="Failed calls by what made them fail",
        headings=[whose(sources), *(name.replace("_", " ") for name in names)],
        rows=[
            [Cell(heading), *(number(counted.get(name, 0)) for name in names)]
            for heading, counted in found
        ],
    )


def reasons(heading: str, result: PolicyResult) -> Table:
    """Return the failed calls that were recorded, counted by what stood in the way."""
    return Table(
        caption=f"{heading}: {len(result.failures)} recorded failures by reason",
        headings=["class", "errno", "step", "obstacle", "calls"],
        rows=[
            [*map(Cell, reason), number(count)]
            for reason, count in failures_by_reason(result).most_common()
        ],
        stubs=4,
    )
