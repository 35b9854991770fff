"""The rules by which what was found becomes a verdict."""

from collections.abc import Sequence
from dataclasses import dataclass

from gupstress.outcome.comparison import Better, PolicyComparison, Verdict
from gupstress.outcome.verdict import BAD, UNDECIDED

DEFAULT_THRESHOLD = 0.05
"""About what medians of 7 repeats of one build differ by on a quiet host."""

ALPHA = 0.02
"""Stricter than usual, as a comparison runs at every commit. With 5 repeats a side, of which
all of one are beyond all of the other, it takes two metrics of five that show it."""

REPEATS_NEEDED = 5
"""On each side: with 4, no p can be below 0.028, and one more metric doubles it."""


@dataclass(frozen=True)
class Evidence:
    """What is known of a metric of a policy."""

    better: Better
    base_repeats: int
    head_repeats: int
    ratio: float | None
    """Median of head by median of base; None where the latter alone is 0."""
    interval: tuple[float, float] | None
    """Of the ratio; None where it has no end."""
    p_adjusted: float | None
    """None where there are too few repeats to test."""
    left: tuple[float, float] | None
    """Share of the CPU time that the host left to base and to head, None if that is no matter."""
    repeated: bool
    """Whether head is base once more and gave the very same values: there is no chance in that."""


def enough(base_repeats: int, head_repeats: int) -> bool:
    """Whether there are enough repeats on both sides to judge a metric."""
    return min(base_repeats, head_repeats) >= REPEATS_NEEDED


def of_metric(found: Evidence, threshold: float) -> tuple[Verdict, str | None]:
    """Judge a metric.

    Args:
        found: What is known.
        threshold: Smallest change of the median that counts, as a share of base's.

    Returns:
        The verdict and, if it is inconclusive, why.
    """
    if found.p_adjusted is None:
        return "inconclusive", (
            f"{found.base_repeats} repeats of base and {found.head_repeats} of head have a value;"
            f" each side needs {REPEATS_NEEDED}"
        )
    if found.repeated:
        return "same", None
    change = _change(found.ratio, found.better, threshold)
    if change is not None:
        if found.p_adjusted >= ALPHA:
            return "inconclusive", "the change may be chance"
        if found.interval is not None and not _beyond(found.interval, threshold):
            return "inconclusive", f"the change may be smaller than {100 * threshold:g}%"
        if found.left is not None and _explained(found, *found.left, threshold):
            return "inconclusive", (
                "the host left {:.0%} of its CPU time to base, {:.0%} to head".format(*found.left)
            )
        return change, None
    if found.interval is not None and _within(found.interval, threshold):
        return "same", None
    return "inconclusive", f"a change of more than {100 * threshold:g}% is not ruled out"


def _explained(found: Evidence, base: float, head: float, threshold: float) -> bool:
    """Whether a change is no larger than what the host's own difference may make."""
    if found.ratio is None:
        return False
    # Work goes with the share of the CPU time, and how often two threads get in each
    # other's way with its square: nothing here is known to depend on it more.
    host = max(base / head, head / base) ** 2
    rest = found.ratio / host if found.ratio > 1 else found.ratio * host
    return _change(rest, found.better, threshold) != _change(found.ratio, found.better, threshold)


def _change(ratio: float | None, better: Better, threshold: float) -> Verdict | None:
    """Return what a ratio of medians would be if it were certain, None within the threshold."""
    if ratio is not None and abs(ratio - 1) <= threshold:
        return None
    grown = ratio is None or ratio > 1
    return "improvement" if grown == (better == "higher") else "regression"


def _within(interval: tuple[float, float], threshold: float) -> bool:
    low, high = interval
    return 1 - threshold <= low and high <= 1 + threshold


def _beyond(interval: tuple[float, float], threshold: float) -> bool:
    low, high = interval
    return high < 1 - threshold or 1 + threshold < low


def of_verdicts(base: Sequence[str], head: Sequence[str]) -> Verdict:
    """Judge one kind of verdict, given by those of all repeats on either side."""
    base_bad, head_bad = (not BAD.isdisjoint(side) for side in (base, head))
    if head_bad:
        return "same" if base_bad else "regression"
    if UNDECIDED in head:
        return "inconclusive"
    return "improvement" if base_bad else "same"


def of_all(policies: Sequence[PolicyComparison]) -> Verdict:
    """Judge everything: by the worst, and as undecided where no metric could be decided."""
    concluded = {row.verdict for policy in policies for row in policy.verdicts}
    measured = {row.verdict for policy in policies for row in policy.metrics}
    if "regression" in concluded | measured:
        return "regression"
    if "inconclusive" in concluded or measured == {"inconclusive"}:
        return "inconclusive"
    return "improvement" if "improvement" in concluded | measured else "same"
