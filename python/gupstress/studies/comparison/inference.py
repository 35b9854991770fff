"""The statistics: is there a difference, and how large is it?

Samples are a handful of repeats a side, and what is asked of them has exact answers: every
distribution here is counted out and none is sampled. The same files give the same numbers
without a seed, and nothing has to be installed for it.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, groupby
from statistics import NormalDist, median

CONFIDENCE = 0.90
"""An interval that lies beyond, or within, some bounds by this much is a one-sided test of
either bound at half the rest, 5 % (Schuirmann, 1987)."""

EXACT_UP_TO = 100
"""Values of both sides together up to which the U test is exact. With more the normal
distribution is as good, and counting takes longer than anybody would wait."""


def median_ratio(head: Sequence[float], base: Sequence[float]) -> float | None:
    """Return the median of `head` by that of `base`; None where the latter alone is 0."""
    above, below = median(head), median(base)
    if below:
        return above / below
    return None if above else 1.0


# ---------------------------------------------------------------- how large


def interval(head: Sequence[float], base: Sequence[float]) -> tuple[float, float] | None:
    """Return the percentile bootstrap interval of `median_ratio`, None where it has no end.

    Percentiles of the bootstrap distribution (Efron, 1979), which is known of a median
    without drawing any resample (Maritz and Jarrett, 1978). The corrected interval, BCa,
    needs a jackknife, which is inconsistent for a median (Efron and Tibshirani, 1993).

    Args:
        head: Values that are not negative, at least one.
        base: So too.
    """
    if not any(head) and not any(base):
        return 1.0, 1.0
    above, below = _Medians(head), _Medians(base)
    rest = (1 - CONFIDENCE) / 2

    def at_most(ratio: float, of_zeros: float) -> float:
        """Return the probability of ratios up to `ratio`; of 0/0 `of_zeros` is taken."""
        return math.fsum(
            weight * (above.at_most(ratio * value) if value else of_zeros * above.at_most(0.0))
            for value, weight in below
        )

    # Where even an unlimited ratio leaves too much, the rest is above any.
    if at_most(math.inf, 0.0) < 1 - rest:
        return None
    most = max(head) / min(filter(None, base))
    # Of 0/0 nothing is known: each end is as far out as it may be.
    low = _first(lambda ratio: at_most(ratio, 1.0) >= rest, most)
    return low, _first(lambda ratio: at_most(ratio, 0.0) >= 1 - rest, most)


class _Medians:
    """The distribution of the medians of all resamples of a sample."""

    def __init__(self, sample: Sequence[float]) -> None:
        found: dict[float, float] = {}
        for value, weight in _medians(sorted(sample)):
            found[value] = found.get(value, 0.0) + weight
        self._found = sorted(found.items())
        self._values = [value for value, _ in self._found]
        self._sums = [0.0, *accumulate(weight for _, weight in self._found)]

    def __iter__(self) -> Iterator[tuple[float, float]]:
        """Yield each median with its probability."""
        return iter(self._found)

    def at_most(self, bound: float) -> float:
        """Return the probability of a median up to `bound`."""
        return self._sums[bisect_right(self._values, bound)]


def _medians(values: Sequence[float]) -> Iterator[tuple[float, float]]:
    """Yield what a resample's median may be, and with what probability, of values in order."""
    n, half = len(values), (len(values) + 1) // 2
    # Of the value in the middle, or of the lower of the two there: at least `half` of the
    # draws, each of which is one of the first k with probability k/n, are up to it.
    up_to = [_at_least(half, n, k / n) for k in range(n + 1)]
    single = [up_to[k + 1] - up_to[k] for k in range(n)]
    if n % 2:
        yield from zip(values, single, strict=True)
        return
    ways = math.comb(n, half)
    # Of `half` draws, the largest is the k-th value, or the smallest the k-th from the end.
    ends = [((k + 1) / n) ** half - (k / n) ** half for k in range(n)]
    for i in range(n):
        apart = [ways * ends[i] * ends[n - 1 - j] for j in range(i + 1, n)]
        yield values[i], max(0.0, single[i] - math.fsum(apart))
        for j, weight in enumerate(apart, i + 1):
            yield (values[i] + values[j]) / 2, weight


def _at_least(least: int, n: int, p: float) -> float:
    """Return the probability of at least so many successes of n, each with probability p."""
    return math.fsum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(least, n + 1))


def _first(holds: Callable[[float], bool], high: float) -> float:
    """Return the smallest number from 0 on for which something holds that does so at `high`."""
    low = 0.0
    if holds(low):
        return low
    while low < (middle := (low + high) / 2) < high:
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


# ---------------------------------------------------------------- is there any


def mann_whitney(head: Sequence[float], base: Sequence[float]) -> float:
    """Return the two-sided p of the U test (Mann and Whitney, 1947).

    Exact up to `EXACT_UP_TO` values, among ties too: of all ways to deal the ranks out, the
    share of those that are as far apart. With more, from the normal distribution, corrected
    for ties and for continuity.
    """
    both = sorted([*head, *base])
    ranks: dict[float, int] = {}
    tied = []
    first = 0
    for value, group in groupby(both):
        count = len(list(group))
        # Twice the mean of the ranks from first + 1 to first + count, which is whole.
        ranks[value] = 2 * first + count + 1
        first += count
        tied.append(count)
    total = sum(ranks[value] for value in head)
    if len(both) > EXACT_UP_TO:
        return _normal(total, len(head), len(base), tied)
    ways = _ways([ranks[value] for value in both], len(head))
    below = sum(ways[: total + 1])
    above = sum(ways[total:])
    return min(1.0, 2 * min(below, above) / math.comb(len(both), len(head)))


def _ways(ranks: Sequence[int], size: int) -> list[int]:
    """Return in how many ways `size` of some numbers add up to each sum from 0 on."""
    width = math.comb(len(ranks), size).bit_length()
    # One long number holds all of the counts for a size, side by side: to add a rank to
    # every sum is to shift it, and Python adds long numbers faster than many short ones.
    counts = [1] + [0] * size
    for rank in ranks:
        for taken in range(size, 0, -1):
            counts[taken] += counts[taken - 1] << (rank * width)
    mask = (1 << width) - 1
    return [(counts[size] >> (at * width)) & mask for at in range(sum(ranks) + 1)]


def _normal(total: int, head: int, base: int, tied: Sequence[int]) -> float:
    n = head + base
    ties = sum(count**3 - count for count in tied) / (n * (n - 1))
    # Of twice the rank sum.
    deviation = 2 * math.sqrt(head * base / 12 * (n + 1 - ties))
    if not deviation:
        return 1.0
    off = abs(total - head * (n + 1)) - 1
    return min(1.0, 2 * NormalDist().cdf(-off / deviation))


def adjusted(ps: Sequence[float]) -> list[float]:
    """Return p adjusted for their number, in their order (Benjamini and Hochberg, 1995).

    This bounds the rate of false discoveries among all: where nothing has changed, the
    chance of even one false alarm, just as Holm's procedure does. Where something has,
    it finds more, since a slower build is slower by several metrics at once. It holds
    for tests that depend on each other positively, as those metrics do (Benjamini and
    Yekutieli, 2001).
    """
    least, found = 1.0, [0.0] * len(ps)
    for rank, index in sorted(enumerate(sorted(range(len(ps)), key=ps.__getitem__), 1))[::-1]:
        least = min(least, ps[index] * len(ps) / rank)
        found[index] = least
    return found
