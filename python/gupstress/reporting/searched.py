"""The plots of a search over a policy's axes."""

from collections.abc import Sequence

from gupstress.outcome.tune import Effect, Trial, TuneResult
from gupstress.reporting.figures import Figure, Trace
from gupstress.reporting.tables import Cell, Table, number


def front(result: TuneResult) -> Figure:
    """Draw rate and p99 of every trial that kept the constraints, and the front among them."""
    good = [trial for trial in result.trials if trial.feasible]
    best = [trial for trial in good if trial.number in result.front]
    others = [trial for trial in good if trial.number not in result.front]
    return Figure(
        title="Pareto front",
        says="Rate and p99 latency of policies that kept the constraints; up and left is better.",
        traces=[
            _points("beaten by another", others, {"colour": "series-2", "marker": {"symbol": "x"}}),
            _points("beaten by none", best, {"colour": "series-1", "marker": {"size": 10}}),
        ],
        layout={
            "xaxis": {
                "type": "log",
                "title": {"text": "p99 latency"},
                "ticksuffix": "s",
                "tickformat": "~s",
            },
            "yaxis": {"title": {"text": "page pins/s"}, "rangemode": "tozero"},
        },
        table=Table(
            "Policies that kept the constraints",
            ["trial", "page pins/s", "p99, ns", "drains a call", "front"],
            [
                [
                    Cell(str(trial.number)),
                    number(trial.pages_per_s),
                    number(trial.p99_ns),
                    number(trial.drains),
                    Cell("yes" if trial in best else "no"),
                ]
                for trial in good
            ],
        ),
    )


def _points(name: str, trials: Sequence[Trial], look: Trace) -> Trace:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [trial.p99_ns * 1e-9 for trial in trials],
        "y": [trial.pages_per_s for trial in trials],
        "text": [f"trial {trial.number}, {trial.drains:.3g} drains a call" for trial in trials],
        "hovertemplate": "%{text}: %{y:,.0f} page pins/s, p99 %{x}",
        **look,
    }


def effects(result: TuneResult) -> Figure:
    """Draw the median rate with each value of each axis."""
    return Figure(
        title="What each axis does",
        says="Median rate of the policies with each value that kept the constraints; none: no bar.",
        traces=[
            {
                "type": "bar",
                "orientation": "h",
                "name": "median",
                "y": [_name(effect) for effect in result.effects],
                "x": [effect.median_pages_per_s or 0 for effect in result.effects],
                "colour": "series-1",
            }
        ],
        layout={
            "xaxis": {"title": {"text": "page pins/s"}, "rangemode": "tozero"},
            "yaxis": {"autorange": "reversed"},
            "height": 120 + 18 * len(result.effects),
        },
        table=Table(
            "Each value of each axis",
            ["axis", "value", "trials", "kept", "best page pins/s", "median", "median p99, ns"],
            [
                [
                    Cell(effect.axis),
                    Cell(str(effect.value)),
                    number(effect.trials),
                    number(effect.feasible),
                    number(effect.best_pages_per_s),
                    number(effect.median_pages_per_s),
                    number(effect.median_p99_ns),
                ]
                for effect in result.effects
            ],
            stubs=2,
        ),
    )


def _name(effect: Effect) -> str:
    return f"{effect.axis}={effect.value}"
