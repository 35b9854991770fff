"""Judges a run's own numbers: may its times and rates be trusted, and if not, why?

The limits are those at which pyperf calls a benchmark unstable (`pyperf check`).
"""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import NamedTuple

from gupstress.outcome.results import Disturbance, PolicyResult, Stability

_NOTABLE = 0.10
"""Spread, drift or loss from which numbers are called unstable."""

_FAR = 0.50
"""Distance of one repeat from the median from which it alone is enough."""

_TO_DEVIATION = 1.4826
"""Turns a median absolute deviation into the standard deviation of a normal sample."""

_SAMPLES = 10
"""Points of a timeline from which its two halves say something."""

_TICKS_S = 1.0
"""CPU time from which shares can be told: the kernel counts in hundredths of a second."""


def came_to_an_end(result: PolicyResult) -> bool:
    """Whether a run's times and rates are those of its work, not of a wait for nothing."""
    return result.status in ("complete", "timeout")


def judge(repeats: Sequence[PolicyResult], build_profile: str) -> Stability:
    """Judge all repeats of one policy.

    Args:
        repeats: One or more results.
        build_profile: Of the build that made them.
    """
    reasons = tuple(_reasons(repeats, build_profile))
    return Stability(stable=not reasons, reasons=reasons)


def judged(results: Sequence[PolicyResult], build_profile: str) -> tuple[PolicyResult, ...]:
    """Return results, each with the judgement of all repeats of its policy."""
    verdicts = {
        policy: judge([result for result in results if result.policy == policy], build_profile)
        for policy in {result.policy for result in results}
    }
    return tuple(
        result.model_copy(update={"stability": verdicts[result.policy]}) for result in results
    )


def _reasons(repeats: Sequence[PolicyResult], build_profile: str) -> Iterator[str]:
    ended = [result for result in repeats if came_to_an_end(result)]
    if len(ended) < len(repeats):
        yield f"{len(repeats) - len(ended)} of {len(repeats)} runs were stuck or interrupted"
    rates = [rate for rate in (r.throughput.pages_per_s for r in ended) if rate is not None]
    # Of fewer, nobody can say which is the odd one.
    if len(rates) > 2:
        yield from _spread(rates)
    yield from _drift(ended)
    elapsed_s = sum(result.elapsed_s for result in repeats)
    hosts = [result.disturbance for result in repeats if result.disturbance is not None]
    shares = taken(hosts)
    if shares is not None and shares.others >= _NOTABLE:
        yield f"other processes took {shares.others:.0%} of the CPU time"
    if shares is not None and shares.steal >= _NOTABLE:
        yield f"the hypervisor took {shares.steal:.0%} of the CPU time"
    if sum(host.quota_throttled_s or 0 for host in hosts) > _NOTABLE * elapsed_s:
        yield "the CPU quota of the cgroup was used up"
    if any(host.thermal_events for host in hosts):
        yield "a CPU slowed down because it was hot"
    if any(host.clock is not None and host.clock <= 1 - _NOTABLE for host in hosts):
        yield "the highest clock of the CPUs was lowered"
    if build_profile != "release":
        yield f"a {build_profile} build"


def _spread(rates: Sequence[float]) -> Iterator[str]:
    middle = median(rates)
    if middle == 0:
        return
    deviation = _TO_DEVIATION * median(abs(rate - middle) for rate in rates) / middle
    if deviation >= _NOTABLE:
        yield f"pages_per_s of the repeats varies by {deviation:.0%} (MAD)"
    far = max(rates, key=lambda rate: abs(rate - middle)) / middle - 1
    if abs(far) >= _FAR:
        yield f"a repeat's pages_per_s is {abs(far):.0%} {'above' if far > 0 else 'below'} the rest"


def _drift(repeats: Sequence[PolicyResult]) -> Iterator[str]:
    found = [drift for drift in map(_change_of_rate, repeats) if drift is not None]
    if found and abs(median(found)) >= _NOTABLE:
        yield f"pages_per_s changes by {median(found):+.0%} from a run's first half to its last"


def _change_of_rate(result: PolicyResult) -> float | None:
    """Return by how much the rate of the last half of a run differs from that of the first."""
    timeline = result.timeline
    if len(timeline) < _SAMPLES:
        return None
    # The first sample ends a start, in which threads come up one after another.
    start, middle, end = timeline[0], timeline[len(timeline) // 2], timeline[-1]
    first = (middle.pages_pinned - start.pages_pinned) / (middle.t_s - start.t_s)
    last = (end.pages_pinned - middle.pages_pinned) / (end.t_s - middle.t_s)
    return last / first - 1 if first else None


class Taken(NamedTuple):
    """Shares of the CPU time that there was."""

    others: float
    steal: float


def taken(found: Sequence[Disturbance]) -> Taken | None:
    """Return what was taken of the CPU time of some runs, None if that cannot be told."""
    cpu_s = sum(one.cpu_s for one in found)
    if cpu_s < _TICKS_S:
        return None
    return Taken(
        others=sum(one.others_s for one in found) / cpu_s,
        steal=sum(one.steal_s for one in found) / cpu_s,
    )
