"""What can be compared of two runs, and which way is better: one table."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gupstress.outcome import thresholds
from gupstress.outcome.comparison import Better
from gupstress.outcome.ratios import RATIO_OF
from gupstress.outcome.results import Counters, PolicyResult
from gupstress.problems import Problems, nearest


@dataclass(frozen=True)
class Metric:
    """A number of a result that has a good and a bad direction."""

    path: str
    better: Better
    per: str | None = None
    """Path of what it is divided by, so that runs of different length can be compared."""

    def observe(self, result: PolicyResult) -> float | None:
        """Return the metric in one result, None if there was nothing to take it from."""
        value = thresholds.observe(result, self.path)
        if value is None or self.per is None:
            return value
        whole = thresholds.observe(result, self.per)
        return value / whole if whole else None


def _all() -> Iterator[Metric]:
    for rate in ("pages_per_s", "calls_per_s"):
        yield Metric(f"throughput.{rate}", "higher")
    yield Metric("cpu_s", "lower", per="pages.pinned")
    for part in ("mean", "p50", "p90", "p99", "p99_9", "max"):
        yield Metric(f"latency_ns.{part}", "lower")
    for part in ("mean", "p50", "p99", "max"):
        yield Metric(f"sweeps.{part}", "lower")
    yield Metric("share.failed_spurious", "lower")
    for counter in Counters.model_fields:
        if counter not in _NEITHER_WAY:
            yield Metric(f"counters.{counter}", "lower", per="calls.issued")
    yield Metric("fairness.jain", "higher")
    yield Metric("fairness.min_max", "higher")
    yield Metric("fairness.longest_wait_ns", "lower")
    yield Metric("fairness.max_bypass", "lower")


_NEITHER_WAY = frozenset(
    {
        "acquired",
        "released",
        "drain_shortcut",
        "gup_fast",
        "zapped",
        "offlined",
        "offline_failed",
        "dma_checked",
    }
)
"""Counters of which more is not worse: useful work, and what the load does by itself."""

METRICS = {metric.path: metric for metric in _all()}

_USUAL = (
    "throughput.pages_per_s",
    "cpu_s",
    "latency_ns.p99",
    "share.failed_spurious",
    "counters.drain_all",
)
"""Few, since every further one raises the bar for all: p is adjusted for their number."""

_OF_THE_HOST = frozenset({"cpu_s"})
"""What the simulator takes from its host, which says nothing about what was simulated."""


def usual(driver: str) -> tuple[Metric, ...]:
    """Return what is compared of runs on a driver unless something is asked for."""
    left_out = _OF_THE_HOST if driver == "sim" else ()
    return tuple(METRICS[path] for path in _USUAL if path not in left_out)


def short(path: str) -> str:
    """Return the shortest name that `find` takes for a metric."""
    tail = path.rpartition(".")[2]
    return tail if len(_named(tail)) == 1 else path


def _named(name: str) -> list[str]:
    return [path for path in METRICS if name in (path, path.rpartition(".")[2])]


def find(names: Iterable[str], problems: Problems) -> tuple[Metric, ...]:
    """Return the metrics of some names, noting those that are none.

    Args:
        names: Paths, or the last part of one where that is enough.
        problems: Where to note.
    """
    found: dict[str, Metric] = {}
    for name in names:
        paths = [name] if name in METRICS else _named(name)
        if len(paths) == 1:
            found[paths[0]] = METRICS[paths[0]]
        elif paths:
            problems.add("--metric", f"{name!r} may be {' or '.join(paths)}; nearest: {paths[0]}")
        elif RATIO_OF.get(name) in METRICS:
            near = RATIO_OF[name]
            problems.add(
                "--metric", f"{name} is a count, which grows with the run; nearest: {near}"
            )
        else:
            near = nearest(name, METRICS)
            problems.add("--metric", f"no metric {name!r} to compare; nearest: {near}")
    return tuple(found.values())
