"""Runs that were never made, for what compares them: every number is given."""

from collections.abc import Sequence
from random import Random
from typing import Any

from gupstress.outcome.results import PolicyResult
from gupstress.running.result import RunResult


def repeat(
    template: PolicyResult,
    number: int = 1,
    *,
    rate: float = 1e6,
    cpu_us: float = 2.0,
    p99: float = 1e6,
    spurious: int = 2_000,
    drains: int = 200_000,
    **changes: Any,
) -> PolicyResult:
    """Return a result of 100,000 calls that pinned a million pages.

    Args:
        template: What all else is taken from.
        number: Of the repeat.
        rate: Pages a second.
        cpu_us: CPU time for each page, microseconds.
        p99: Latency of a call, nanoseconds.
        spurious: Calls that failed without need.
        drains: Calls of `lru_add_drain_all`.
        changes: Fields that replace those of the template.
    """
    row = template.model_dump(mode="json") | {"repeat": number, "stability": None} | changes
    row["calls"] = dict.fromkeys(row["calls"], 0) | row["calls"]
    stuck, unsafe = row["calls"]["stuck"], row["calls"]["pinned_unsafe"]
    row["calls"] = {
        "issued": 100_000,
        "pinned": 100_000 - spurious - stuck - unsafe,
        "pinned_unsafe": unsafe,
        "failed_justified": 0,
        "failed_spurious": spurious,
        "stuck": stuck,
    }
    row["causes"] = None
    row["pages"]["pinned"] = 1_000_000
    row["elapsed_s"] = 1e6 / rate
    row["throughput"] = {"pages_per_s": rate, "calls_per_s": rate / 10}
    row["cpu_s"] = cpu_us
    row["latency_ns"]["p99"] = p99
    row["counters"]["drain_all"] = drains
    return PolicyResult.model_validate(row)


def run_with(template: RunResult, results: Sequence[PolicyResult], **changes: Any) -> RunResult:
    """Return a run of these results; `settings`, `host` and `gupstress` are changed by key."""
    update: dict[str, Any] = {"results": tuple(results)}
    for part, keys in changes.items():
        update[part] = getattr(template, part).model_copy(update=keys)
    return template.model_copy(update=update)


def run_of(template: RunResult, rates: Sequence[float], **changes: Any) -> RunResult:
    """Return a run of one policy whose repeats differ in nothing but their rates."""
    (first,) = template.results
    return run_with(
        template, [repeat(first, n, rate=rate) for n, rate in enumerate(rates, 1)], **changes
    )


def noisy(template: RunResult, rng: Random, slowdown: float = 1.0) -> RunResult:
    """Return a run of 7 repeats as a quiet host makes them.

    Each repeat is slower or faster as a whole by 3 %, each time in it by a little more,
    and one repeat in a hundred met something that slowed it down by up to a third.

    Args:
        template: What all else is taken from.
        rng: Where the noise is from.
        slowdown: What all times are multiplied by.
    """
    (first,) = template.results
    results = []
    for number in range(1, 8):
        whole = slowdown * rng.lognormvariate(0, 0.03)
        if rng.random() < 0.01:
            whole *= rng.uniform(1.0, 1.33)
        results.append(
            repeat(
                first,
                number,
                rate=1e6 / (whole * rng.lognormvariate(0, 0.02)),
                cpu_us=2 * whole * rng.lognormvariate(0, 0.02),
                p99=1e6 * whole * rng.lognormvariate(0, 0.10),
                spurious=int(rng.gauss(2_000, 140)),
                drains=int(rng.gauss(200_000, 10_000)),
            )
        )
    return run_with(template, results)
