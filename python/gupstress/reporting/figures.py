"""The plots of a report: what is drawn, and the same as a table for those who cannot see it.

Traces and layouts are plotly's, but for `colour`, which names a colour of the page: it
is put in by the page's script, since it differs between light and dark.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite, log10
from statistics import median
from typing import Any, NamedTuple

from gupstress.outcome.results import Calls, Fairness, PolicyResult
from gupstress.reporting.sources import Source
from gupstress.reporting.tables import Cell, Table, by_policy, number, results, whose

Trace = dict[str, Any]

_COLOURS = 6
"""Line colours that the page has; beyond them they repeat with another dash."""
_DASHES = ("solid", "dash", "dot", "dashdot")


class Figure(NamedTuple):
    """One plot."""

    title: str
    says: str
    """What the plot shows, for everyone."""
    traces: Sequence[Trace]
    layout: Mapping[str, Any]
    table: Table
    """The numbers behind the plot."""


def _line(index: int) -> Trace:
    dash = _DASHES[index // _COLOURS % len(_DASHES)]
    return {"colour": f"series-{index % _COLOURS + 1}", "line": {"dash": dash, "width": 2}}


class _Step(NamedTuple):
    """An interval of a run."""

    until: Cell
    pinned: Cell
    """Pages so far."""
    rate: float


def _steps(result: PolicyResult) -> Iterator[_Step]:
    """Yield the intervals of the timeline, and what came after its last point."""
    points = [
        *((point.t_s, point.pages_pinned, "timeline.") for point in result.timeline),
        (result.elapsed_s, result.pages.pinned, ""),
    ]
    since, before = 0.0, 0
    for until, pinned, where in points:
        if until > since:
            yield _Step(
                number(until, f"{where}t_s" if where else "elapsed_s"),
                number(pinned, f"{where}pages_pinned" if where else "pages.pinned"),
                (pinned - before) / (until - since),
            )
            since, before = until, pinned


def throughput(name: str, sources: Sequence[Source]) -> Figure:
    """Draw how many pages a policy pinned a second, interval by interval."""
    traces, rows = [], []
    for index, (heading, result) in enumerate(results(name, sources)):
        steps = list(_steps(result))
        line = _line(index)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": heading,
                "x": [0.0, *(step.until.value for step in steps)],
                # A step's height is that of the point at its end; the first begins at none.
                "y": [*(step.rate for step in steps[:1]), *(step.rate for step in steps)],
                **line,
                "line": {**line["line"], "shape": "vh"},
            }
        )
        rows += [[Cell(heading), step.until, step.pinned, number(step.rate)] for step in steps]
    return Figure(
        title="Throughput over time",
        says="Page pins a second in each interval of the timeline.",
        traces=traces,
        layout={
            "xaxis": {"title": {"text": "time"}, "ticksuffix": "s", "tickformat": "~s"},
            "yaxis": {"title": {"text": "page pins/s"}, "rangemode": "tozero"},
        },
        table=Table(
            f"{name}: throughput over time",
            ["run", "until, s", "page pins so far", "page pins/s"],
            rows,
        ),
    )


class _Quantile(NamedTuple):
    """A quantile as the axis shows it."""

    label: str
    height: float
    """Grows by one with each nine, so that the tail can be seen."""


_QUANTILES = {
    "min": _Quantile("min", 0),
    "p50": _Quantile("50 %", -log10(1 - 0.5)),
    "p90": _Quantile("90 %", 1),
    "p99": _Quantile("99 %", 2),
    "p99_9": _Quantile("99.9 %", 3),
    # The slowest of all calls is at 100 %, which has endless nines.
    "max": _Quantile("max", 4),
}


def latency(name: str, sources: Sequence[Source]) -> Figure:
    """Draw the distribution of a policy's latency, a line for each result."""
    found = results(name, sources)
    return _latency(name, [(heading, result.latency_ns.model_dump()) for heading, result in found])


def all_latencies(sources: Sequence[Source]) -> Figure:
    """Draw the distribution of every policy's latency, repeats as medians."""
    return _latency(
        "every policy",
        [
            (heading, _medians([result.latency_ns.model_dump() for result in repeats]))
            for heading, repeats in by_policy(sources)
        ],
    )


Quantiles = Mapping[str, float | None]


def _latency(whose: str, series: Sequence[tuple[str, Quantiles]]) -> Figure:
    return _distribution(
        title="Latency of a call",
        says="Share of calls that ended within a time.",
        caption=f"{whose}: latency of a call, ns",
        key="latency_ns",
        series=series,
        # In seconds, so that ticks read 10 µs, 1 ms.
        scale=1e-9,
        axis={"title": {"text": "latency"}, "tickformat": "~s", "ticksuffix": "s"},
    )


def sweeps(name: str, sources: Sequence[Source]) -> Figure:
    """Draw the distribution of a call's sweeps, a line for each result."""
    found = results(name, sources)
    return _distribution(
        title="Sweeps of a call",
        says="Share of calls that needed at most so many; a log axis has no zero.",
        caption=f"{name}: sweeps of a call",
        key="sweeps",
        series=[(heading, result.sweeps.model_dump()) for heading, result in found],
        scale=1,
        axis={"title": {"text": "sweeps"}, "tickformat": "~s"},
    )


def _medians(repeats: Sequence[Quantiles]) -> Quantiles:
    return {name: _middle(quantiles[name] for quantiles in repeats) for name in repeats[0]}


def _distribution(
    title: str,
    says: str,
    caption: str,
    key: str,
    series: Sequence[tuple[str, Quantiles]],
    scale: float,
    axis: Mapping[str, Any],
) -> Figure:
    given = [name for name in _QUANTILES if all(name in quantiles for _, quantiles in series)]
    traces = []
    for index, (heading, quantiles) in enumerate(series):
        known = {name: value for name in given if (value := quantiles[name])}
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": heading,
                "x": [value * scale for value in known.values()],
                "y": [_QUANTILES[name].height for name in known],
                "text": [_QUANTILES[name].label for name in known],
                "hovertemplate": "%{text}: %{x}",
                **_line(index),
            }
        )
    return Figure(
        title=title,
        says=says,
        traces=traces,
        layout={
            "xaxis": {"type": "log", "nticks": 6, **axis},
            "yaxis": {
                "title": {"text": "calls"},
                "tickvals": [_QUANTILES[name].height for name in given],
                "ticktext": [_QUANTILES[name].label for name in given],
                "range": [-0.2, 4.2],
            },
        },
        table=Table(
            caption,
            ["run", *(_QUANTILES[name].label for name in given)],
            [
                [Cell(heading), *(number(quantiles[name], f"{key}.{name}") for name in given)]
                for heading, quantiles in series
            ],
        ),
    )


_CLASSES = {
    "failed_justified": ("failed, justified", "justified", ""),
    "failed_spurious": ("failed, needless", "spurious", "/"),
    "pinned_unsafe": ("pinned, unsafe", "unsafe", "x"),
    "oom_killed": ("killed for memory", "killed", "+"),
    "stuck": ("stuck", "stuck", "."),
}
"""Classes of calls that are not as they should be: name, colour and pattern."""


def failures(sources: Sequence[Source]) -> Figure:
    """Draw what share of calls did not end as they should, by class."""
    bars = [(heading, _sums(repeats)) for heading, repeats in by_policy(sources)]
    classes = [name for name in Calls.model_fields if name != "issued"]
    return Figure(
        title="Calls that were not simply pinned",
        says="Share of all calls, by class.",
        traces=[
            _bar(
                title,
                [heading for heading, _ in bars],
                [
                    100 * calls[name] / calls["issued"] if calls["issued"] else 0
                    for _, calls in bars
                ],
                {"colour": f"class-{colour}", "marker": {"pattern": {"shape": pattern}}},
            )
            for name, (title, colour, pattern) in _CLASSES.items()
        ],
        layout={
            "barmode": "stack",
            "xaxis": {"title": {"text": "of all calls"}, "ticksuffix": " %", "rangemode": "tozero"},
            "yaxis": {"autorange": "reversed"},
        },
        table=Table(
            "Calls by class",
            [whose(sources), "issued", *classes],
            [
                [
                    Cell(heading),
                    *(number(calls[name], f"calls.{name}") for name in ("issued", *classes)),
                ]
                for heading, calls in bars
            ],
        ),
    )


def _sums(repeats: Sequence[PolicyResult]) -> dict[str, int]:
    return {
        name: sum(getattr(result.calls, name) for result in repeats) for name in Calls.model_fields
    }


def sweep(sources: Sequence[Source]) -> Figure | None:
    """Draw the rates of a sweep over what was scanned, a line a policy; None without one.

    Of several keys the first that is of numbers is the axis; the others tell lines apart.
    """
    rows = [
        (heading, repeats) for heading, repeats in by_policy(sources) if repeats[0].scan is not None
    ]
    keys = [key for key in (rows[0][1][0].scan or {} if rows else {}) if _all_numbers(key, rows)]
    if not keys:
        return None
    key = keys[0]
    lines: dict[str, list[tuple[float, float | None]]] = {}
    for heading, repeats in rows:
        scanned = repeats[0].scan or {}
        # What tells a line is all of the heading but this one word.
        name = heading.replace(f" {key}={scanned[key]}", "", 1)
        rate = _middle(result.throughput.pages_per_s for result in repeats)
        lines.setdefault(name, []).append((float(scanned[key]), rate))
    return Figure(
        title=f"Throughput by {key}",
        says=f"Page pins a second with each value of {key}; medians of repeats.",
        traces=[
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "x": [at for at, _ in sorted(points, key=lambda point: point[0])],
                "y": [rate for _, rate in sorted(points, key=lambda point: point[0])],
                **_line(index),
            }
            for index, (name, points) in enumerate(lines.items())
        ],
        layout={
            "xaxis": {"title": {"text": key}},
            "yaxis": {"title": {"text": "page pins a second"}, "rangemode": "tozero"},
        },
        table=Table(
            f"Page pins a second by {key}",
            [whose(sources), key, "pins/s"],
            [
                [Cell(name), number(at, key), number(rate, "throughput.pages_per_s")]
                for name, points in lines.items()
                for at, rate in points
            ],
            stubs=2,
        ),
    )


def _all_numbers(key: str, rows: Sequence[tuple[str, Sequence[PolicyResult]]]) -> bool:
    try:
        return all(isfinite(float((repeats[0].scan or {})[key])) for _, repeats in rows)
    except (KeyError, ValueError):
        return False


def drains(sources: Sequence[Source]) -> Figure:
    """Draw how often a call drained all CPUs."""
    bars = [(heading, _middle(map(_drains, repeats))) for heading, repeats in by_policy(sources)]
    return Figure(
        title="Drains for each pin",
        says="lru_add_drain_all for each call.",
        traces=[_bar("", [name for name, _ in bars], [value for _, value in bars], _ALONE)],
        layout={
            "xaxis": {"title": {"text": "drains of all CPUs a call"}, "rangemode": "tozero"},
            "yaxis": {"autorange": "reversed"},
        },
        table=Table(
            "Drains of all CPUs for each call",
            [whose(sources), "drains a call"],
            [[Cell(name), number(value, "drains")] for name, value in bars],
        ),
    )


def _drains(result: PolicyResult) -> float | None:
    drains, calls = result.counters.drain_all, result.calls.issued
    return drains / calls if calls and drains is not None else None


def fairness(sources: Sequence[Source]) -> Figure:
    """Draw how evenly the work was shared between threads."""
    bars = [
        (heading, _medians([result.fairness.model_dump() for result in repeats]))
        for heading, repeats in by_policy(sources)
    ]
    return Figure(
        title="Fairness",
        says="Jain's index of the threads' shares: 1 where all are equal.",
        traces=[_bar("", [name for name, _ in bars], [found["jain"] for _, found in bars], _ALONE)],
        layout={
            "xaxis": {"title": {"text": "Jain's index"}, "range": [0, 1.1]},
            "yaxis": {"autorange": "reversed"},
        },
        table=Table(
            "Fairness between threads",
            [
                whose(sources),
                "Jain's index",
                "smallest by largest share",
                "longest wait, ns",
                "most calls that overtook one",
            ],
            [
                [
                    Cell(heading),
                    *(number(found[name], f"fairness.{name}") for name in Fairness.model_fields),
                ]
                for heading, found in bars
            ],
        ),
    )


def _bar(name: str, ys: Sequence[str], xs: Sequence[float | None], more: Trace) -> Trace:
    return {"type": "bar", "orientation": "h", "name": name, "x": xs, "y": ys, **more}


_ALONE = {
    "colour": "series-1",
    "texttemplate": "%{x:.3~g}",
    "textposition": "outside",
    "cliponaxis": False,
}


def _middle(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
