"""How the policies of one run stand to one of them: rates and needless failures."""

from collections.abc import Iterator, Sequence
from math import hypot
from statistics import mean, stdev
from typing import NamedTuple

from gupstress.outcome.results import PolicyResult, Run
from gupstress.outcome.stability import came_to_an_end
from gupstress.outcome.verdict import BAD, verdicts, worst


class Ratio(NamedTuple):
    """A rate by another one."""

    value: float
    deviation: float | None
    """Standard deviation, carried over from those of both; None of single runs."""


class Standing(NamedTuple):
    """How a policy stands to the one that all are held against."""

    policy: str
    to: str
    rate: Ratio | None
    """Of page pins a second, by means; None where either has no rate of its work."""
    needless: float | None
    """Share of the calls that failed without need; None without calls."""
    needless_there: float | None
    finding: str | None
    """The worst of its verdicts, if that is a finding."""


def standings(run: Run) -> Iterator[Standing]:
    """Yield every policy of a run but one: the kernel's own, or the first where that is absent.

    In a sweep policies are held against each other point by point; one policy alone is held
    against itself at the first point.
    """
    repeats: dict[str, list[PolicyResult]] = {}
    for result in run.results:
        repeats.setdefault(result.policy, []).append(result)
    points: dict[tuple[object, ...], list[str]] = {}
    for name, results in repeats.items():
        points.setdefault(tuple((results[0].scan or {}).items()), []).append(name)
    groups = points.values() if any(len(names) > 1 for names in points.values()) else [[*repeats]]
    for names in groups:
        if names:
            to = next(filter(lambda name: _is_own(repeats[name][0]), names), names[0])
            yield from (_standing(name, to, repeats) for name in names if name != to)


def _is_own(result: PolicyResult) -> bool:
    """Whether a policy is the kernel's own."""
    return result.base_policy == result.resolved["kernel"].get("policy")


def _standing(name: str, to: str, repeats: dict[str, list[PolicyResult]]) -> Standing:
    found = worst(verdict for result in repeats[name] for verdict in verdicts(result))
    return Standing(
        policy=name,
        to=to,
        rate=_ratio(_rates(repeats[name]), _rates(repeats[to])),
        needless=_needless(repeats[name]),
        needless_there=_needless(repeats[to]),
        finding=found if found in BAD else None,
    )


def _rates(results: Sequence[PolicyResult]) -> list[float]:
    rates = (result.throughput.pages_per_s for result in results if came_to_an_end(result))
    return [rate for rate in rates if rate is not None]


def _ratio(above: Sequence[float], below: Sequence[float]) -> Ratio | None:
    if not above or not below or not mean(below):
        return None
    value = mean(above) / mean(below)
    if min(len(above), len(below)) < 2 or not value:
        return Ratio(value, None)
    # The errors of a quotient add up as shares of its parts.
    return Ratio(value, value * hypot(*(stdev(side) / mean(side) for side in (above, below))))


def _needless(results: Sequence[PolicyResult]) -> float | None:
    issued = sum(result.calls.issued for result in results)
    return sum(result.calls.failed_spurious for result in results) / issued if issued else None
