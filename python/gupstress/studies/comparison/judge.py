"""Compares two runs: metric by metric, with one verdict each and one for all."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from gupstress.outcome import metrics
from gupstress.outcome.comparison import (
    Instability,
    Interval,
    Method,
    MetricComparison,
    PolicyComparison,
    Quantity,
    Side,
    VerdictComparison,
)
from gupstress.outcome.metrics import Metric
from gupstress.outcome.results import PolicyResult, Run
from gupstress.outcome.stability import came_to_an_end, taken
from gupstress.outcome.verdict import BAD, verdicts, worst
from gupstress.problems import Problems
from gupstress.running.result import RunResult
from gupstress.studies.comparison import inference, pairing, rules, workload
from gupstress.studies.comparison.pairing import Pair
from gupstress.studies.comparison.sources import Source, in_turn, read
from gupstress.studies.shown import Comparison


def compare(
    base: RunResult | str | os.PathLike[str],
    head: RunResult | str | os.PathLike[str] | None = None,
    *,
    base_policy: str | None = None,
    policy: str | Mapping[str, str] | Iterable[str] = (),
    metric: str | Iterable[str] = (),
    threshold: float = 100 * rules.DEFAULT_THRESHOLD,
) -> Comparison:
    """Compare as `gupstress.compare` does, which says what each argument is."""
    names = (metric,) if isinstance(metric, str) else tuple(metric)
    problems, sources = Problems(), []
    asked = pairing.parse(policy, problems)
    if head is None and base_policy is None and not asked:
        problems.add("", "one result, and nothing to compare it with; nearest: --base linux-7.2")
    if base_policy is not None and (head is not None or asked):
        other = asked[0].head if asked else base_policy
        near = f"--policy {base_policy}={other}"
        problems.add("--base", f"compares the policies of one result; nearest: {near}")
    chosen = metrics.find(names, problems)
    if not 0 <= threshold <= 100:
        bound = 100 if threshold > 100 else 0
        problems.add("--threshold", f"{threshold:g} is not from 0 to 100; nearest: {bound}")
    for side in (base,) if head is None else (base, head):
        with problems.collecting():
            sources.append(read(side))
    problems.refuse()
    before, after = sources[0], sources[-1]
    pairs = None
    if base_policy is not None:
        pairs = pairing.against(base_policy, before.run, before.name or "this run", problems)
    elif asked:
        places = before.name or "base", after.name or "head"
        pairs = pairing.named(asked, before.run, after.run, places, problems)
    problems.refuse()
    return judge(before, after, chosen, threshold / 100, pairs)


def judge(
    base: Source,
    head: Source,
    chosen: Sequence[Metric] = (),
    threshold: float = rules.DEFAULT_THRESHOLD,
    pairs: Sequence[Pair] | None = None,
) -> Comparison:
    """Compare two runs that were read; `threshold` is a share, not percent.

    No metric: a few of each kind. No pairs: the policies of the same name.
    """
    chosen = chosen or metrics.usual(head.run.settings.driver)
    if pairs is None:
        pairs = pairing.alike(base.run, head.run)
    obstacles = workload.obstacles(base.run, head.run, pairs)
    sides = [
        _Sides(pair, _repeats(base.run, pair.base), _repeats(head.run, pair.head))
        for pair in (() if obstacles else pairs)
    ]
    # What runs made in turn met was the same host: where it differs is noise like any other.
    turns = in_turn(base, head)
    left = {both.pair: None if turns else both.left() for both in sides}
    samples = [sample for both in sides for sample in both.samples(chosen)]
    tested = [sample for sample in samples if rules.enough(len(sample.base), len(sample.head))]
    ps = [inference.mann_whitney(sample.head, sample.base) for sample in tested]
    # All policies' at once: there is one answer, and each test is a chance to get it wrong.
    tests = {
        (sample.sides.pair, sample.metric): found
        for sample, *found in zip(tested, ps, inference.adjusted(ps), strict=True)
    }
    policies = tuple(
        PolicyComparison(
            policy=both.pair.head,
            base_policy=both.pair.base,
            verdicts=tuple(both.verdicts()),
            metrics=tuple(
                _metric(sample, tests.get((both.pair, sample.metric)), left[both.pair], threshold)
                for sample in samples
                if sample.sides is both
            ),
            instability=Instability(base=_reasons(both.base), head=_reasons(both.head)),
        )
        for both in sides
    )
    return Comparison(
        base=_side(base),
        head=_side(head),
        method=Method(
            threshold_percent=100 * threshold,
            alpha=rules.ALPHA,
            test="Mann-Whitney U, two-sided",
            adjustment="Benjamini-Hochberg",
            tests=len(tested),
            interval="percentile bootstrap of the ratio of medians",
            confidence=inference.CONFIDENCE,
            repeats_needed=rules.REPEATS_NEEDED,
            in_turn=None if head.run.settings.driver == "sim" else turns,
        ),
        verdict="not comparable" if obstacles else rules.of_all(policies),
        obstacles=obstacles,
        changes=workload.changes(base.run, head.run, pairs),
        policies=policies,
    )


@dataclass(frozen=True)
class _Sides:
    """All repeats of a policy on either side."""

    pair: Pair
    base: Sequence[PolicyResult]
    head: Sequence[PolicyResult]

    def verdicts(self) -> Iterator[VerdictComparison]:
        found = (zip(*map(verdicts, side), strict=True) for side in (self.base, self.head))
        for kind, base, head in zip(("liveness", "safety", "invariants"), *found, strict=True):
            yield VerdictComparison(
                kind=kind,
                base=worst(base),
                head=worst(head),
                base_bad=sum(verdict in BAD for verdict in base),
                head_bad=sum(verdict in BAD for verdict in head),
                verdict=rules.of_verdicts(base, head),
            )

    def replayed(self) -> bool:
        """Whether `head` is `base` once more: seed for seed, on a clock that nothing disturbs."""
        undisturbed = all(run.disturbance is None for run in (*self.base, *self.head))
        return undisturbed and [r.seed for r in self.base] == [r.seed for r in self.head]

    def left(self) -> tuple[float, float] | None:
        """Return the shares of its CPU time that the host left to either side, if it told."""
        base, head = _left_to(self.base), _left_to(self.head)
        return (base, head) if base and head else None

    def samples(self, chosen: Iterable[Metric]) -> Iterator["_Sample"]:
        for metric in chosen:
            yield _Sample(self, metric, _observed(self.base, metric), _observed(self.head, metric))


@dataclass(frozen=True)
class _Sample:
    """One metric of all repeats of a policy."""

    sides: _Sides
    metric: Metric
    base: list[float]
    head: list[float]


def _metric(
    sample: _Sample,
    tested: Sequence[float] | None,
    left: tuple[float, float] | None,
    threshold: float,
) -> MetricComparison:
    metric, base, head = sample.metric, sample.base, sample.head
    p, p_adjusted = tested or (None, None)
    interval = inference.interval(head, base) if tested else None
    ratio = inference.median_ratio(head, base) if base and head else None
    verdict, reason = rules.of_metric(
        rules.Evidence(
            better=metric.better,
            base_repeats=len(base),
            head_repeats=len(head),
            ratio=ratio,
            interval=interval,
            p_adjusted=p_adjusted,
            left=left,
            repeated=base == head and sample.sides.replayed(),
        ),
        threshold,
    )
    return MetricComparison(
        metric=metric.path,
        per=metric.per,
        better=metric.better,
        base=_quantity(base),
        head=_quantity(head),
        ratio=ratio,
        interval=None if interval is None else Interval(low=interval[0], high=interval[1]),
        p=p,
        p_adjusted=p_adjusted,
        verdict=verdict,
        reason=reason,
    )


def _left_to(repeats: Iterable[PolicyResult]) -> float | None:
    """Return the share of its CPU time that the host left to some runs, None if unknown."""
    found = taken([r.disturbance for r in repeats if r.disturbance is not None])
    # Counted in ticks, the shares may add up to a little more than all there was.
    return None if found is None else max(0.01, 1 - found.others - found.steal)


def _repeats(run: Run, policy: str) -> list[PolicyResult]:
    return [result for result in run.results if result.policy == policy]


def _observed(repeats: Iterable[PolicyResult], metric: Metric) -> list[float]:
    values = (metric.observe(result) for result in repeats if came_to_an_end(result))
    return [value for value in values if value is not None]


def _quantity(values: Sequence[float]) -> Quantity:
    if not values:
        return Quantity(repeats=0, median=None, mad=None)
    middle = median(values)
    return Quantity(
        repeats=len(values), median=middle, mad=median(abs(value - middle) for value in values)
    )


def _reasons(repeats: Sequence[PolicyResult]) -> tuple[str, ...]:
    judged = repeats[0].stability
    return () if judged is None else judged.reasons


def _side(source: Source) -> Side:
    return Side(
        source=source.name,
        version=source.run.gupstress.version,
        build_profile=source.run.gupstress.build_profile,
        started_at=source.run.started_at,
    )
