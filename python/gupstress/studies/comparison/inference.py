"""The statistics: is there a difference, and how large is it?"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

SEED = 1
"""Of all resampling: the same files give the same numbers."""

RESAMPLES = 9999
"""Enough that an end of the interval stands on 500 of them (Efron and Tibshirani, 1993)."""

CONFIDENCE = 0.90
"""An interval that lies beyond, or within, some bounds by this much is a one-sided test of
either bound at half the rest, 5 % (Schuirmann, 1987)."""


def median_ratio(head: Sequence[float], base: Sequence[float]) -> float | None:
    """Return the median of `head` by that of `base`; None where the latter alone is 0."""
    above, below = float(np.median(head)), float(np.median(base))
    if below:
        return above / below
    return None if above else 1.0


def interval(head: Sequence[float], base: Sequence[float]) -> tuple[float, float] | None:
    """Return the percentile bootstrap interval of `median_ratio`, None where it has no end.

    Percentiles of the bootstrap distribution (Efron, 1979). The corrected interval, BCa,
    needs a jackknife, which is inconsistent for a median (Efron and Tibshirani, 1993).
    """

    def ratio(head: Any, base: Any, axis: int) -> Any:
        return np.median(head, axis=axis) / np.median(base, axis=axis)

    if not any(head) and not any(base):
        return 1.0, 1.0
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        # Of resamples without a ratio: the interval then has no end, which is told below.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            (head, base),
            ratio,
            n_resamples=RESAMPLES,
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=np.random.default_rng(SEED),
        ).confidence_interval
    low, high = float(found.low), float(found.high)
    return (low, high) if np.isfinite([low, high]).all() else None


def mann_whitney(head: Sequence[float], base: Sequence[float]) -> float:
    """Return the two-sided p of the U test (Mann and Whitney, 1947).

    Exact where either side has at most 8 values, by all permutations where there are
    ties and by as many as `RESAMPLES` where they are more; else asymptotic.
    """
    both = [*head, *base]
    if len(set(both)) == len(both):
        return float(stats.mannwhitneyu(head, base).pvalue)
    every = stats.PermutationMethod(n_resamples=RESAMPLES, rng=np.random.default_rng(SEED))
    return float(stats.mannwhitneyu(head, base, method=every).pvalue)


def adjusted(ps: Sequence[float]) -> list[float]:
    """Return p adjusted for their number, in their order (Benjamini and Hochberg, 1995).

    This bounds the rate of false discoveries among all: where nothing has changed, the
    chance of even one false alarm, just as Holm's procedure does. Where something has,
    it finds more, since a slower build is slower by several metrics at once. It holds
    for tests that depend on each other positively, as those metrics do (Benjamini and
    Yekutieli, 2001).
    """
    return [float(p) for p in stats.false_discovery_control(ps)] if ps else []
