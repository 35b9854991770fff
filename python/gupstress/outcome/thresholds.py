"""Thresholds: `[POLICY:]METRIC OP NUMBER[%]`, checked at every result.

A metric is the path of a number in a result (`latency_ns.p99`), or one of the quotients of
`ratios` (`share.failed_spurious`); where a path's last part is enough to tell which is
meant, it may stand alone (`pages_per_s`). Of calls a bound in percent means their share:
`failed_spurious<5%`.
"""

import math
import operator
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from gupstress.errors import ConfigError
from gupstress.outcome.ratios import RATIO_OF, RATIOS, SHARES
from gupstress.outcome.results import Calls, PolicyResult, ThresholdResult
from gupstress.problems import Problems, nearest

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}

_FORM = re.compile(
    r"(?:(?P<policy>.+):)?\s*(?P<metric>[\w.]+)\s*(?P<compare>[<>=!]+)"
    r"\s*(?P<bound>[^\s%]+)\s*(?P<percent>%)?"
)


@dataclass(frozen=True)
class Threshold:
    """One condition on a metric."""

    expr: str
    policy: str | None
    """The only policy that it is for, None for all."""
    metric: str
    """Full path."""
    compare: Callable[[float, float], bool]
    bound: float

    @property
    def condition(self) -> tuple[str, str, float]:
        """Metric, comparison and bound, as the core reads them."""
        word = next(word for word, compare in _COMPARE.items() if compare is self.compare)
        return self.metric, word, self.bound

    def check(self, result: PolicyResult) -> ThresholdResult:
        """Hold one result against the condition."""
        observed = observe(result, self.metric)
        return ThresholdResult(
            expr=self.expr,
            policy=result.policy,
            repeat=result.repeat,
            observed=observed,
            passed=observed is not None and self.compare(observed, self.bound),
        )


def observe(result: PolicyResult, metric: str) -> float | None:
    """Return the number at a metric's path, None if there was nothing to take it from."""
    value = read(result, metric)
    return None if value is None else float(value)


def read(result: PolicyResult, metric: str) -> Any:
    """Return what is at a metric's path as it is, None where a part of the path is missing."""
    if metric in RATIOS:
        part, whole = (read(result, path) for path in RATIOS[metric])
        return part / whole if part is not None and whole else None
    value: Any = result
    for name in metric.split("."):
        value = None if value is None else getattr(value, name)
    return value


@cache
def metrics() -> tuple[str, ...]:
    """Return the paths of all numbers in a result, and the names of all quotients."""
    return (*_numbers(), *RATIOS)


@cache
def _numbers() -> dict[str, bool]:
    """Return the paths of all numbers in a result, each with whether it counts something."""
    return dict(_leaves(PolicyResult, ""))


def _leaves(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, bool]]:
    for name, field in model.model_fields.items():
        if _is_number(field.annotation):
            yield prefix + name, not _is_number(field.annotation, (float,))
        elif part := _model(field.annotation):
            yield from _leaves(part, f"{prefix}{name}.")


def _model(annotation: Any) -> type[BaseModel] | None:
    """Return the part of a result that a field is, always or where there is one."""
    parts = get_args(annotation) if get_origin(annotation) is UnionType else (annotation,)
    models = (part for part in parts if isinstance(part, type) and issubclass(part, BaseModel))
    return next(models, None)


def _is_number(annotation: Any, kinds: tuple[type, ...] = (int, float)) -> bool:
    return annotation in kinds or any(_is_number(one, kinds) for one in get_args(annotation))


def parse(
    exprs: Iterable[str],
    policies: Collection[str] | None,
    problems: Problems,
    option: str = "--threshold",
) -> list[Threshold]:
    """Read thresholds, noting what is wrong with any of them.

    Args:
        exprs: As the user wrote them.
        policies: Names that may stand before a colon; None if they are not known.
        problems: Where to note.
        option: What they were given to.
    """
    found = []
    for expr in exprs:
        with problems.collecting():
            found.append(_parse(expr, policies, option))
    return found


_GROWING = (*(f"calls.{name}" for name in Calls.model_fields), "pages.pinned")
"""Numbers that are known while a run goes on, and only grow."""

_LIVE = (*_GROWING, *(name for name, (part, _) in SHARES.items() if part in _GROWING))
"""And shares of all calls, of which it is known what they can still come to."""

_LOWER = {operator.ge, operator.gt}


def parse_final(
    exprs: Iterable[str], policies: Collection[str] | None, problems: Problems
) -> list[Threshold]:
    """Read thresholds that can be missed for good before the end of a run, noting others.

    Args:
        exprs: As the user wrote them.
        policies: Names that may stand before a colon; None if they are not known.
        problems: Where to note.
    """
    found = parse(exprs, policies, problems, "--abort-on")
    for one in found:
        place = f"--abort-on {one.expr}"
        if one.metric not in _LIVE:
            near = nearest(one.metric, _LIVE)
            reason = f"{one.metric} may recover, or is not known, until the end; nearest: {near}"
            problems.add(place, reason)
        elif one.compare is operator.ne or (one.metric in _GROWING and one.compare in _LOWER):
            problems.add(place, f"may recover until the end; nearest: {one.metric}==0")
    return found


def _parse(expr: str, policies: Collection[str] | None, option: str) -> Threshold:
    def refusal(reason: str) -> ConfigError:
        return ConfigError([(f"{option} {expr}", reason)])

    form = _FORM.fullmatch(expr.strip())
    if form is None:
        raise refusal("not of the form [POLICY:]METRIC OP NUMBER; nearest: latency_ns.p99<2e6")
    policy, metric, compare = form["policy"], form["metric"], form["compare"]
    if compare not in _COMPARE:
        near = f"{metric}{_MEANT.get(compare, '<')}{form['bound']}{form['percent'] or ''}"
        raise refusal(f"{compare!r} is not one of {' '.join(_COMPARE)}; nearest: {near}")
    if policy is not None and policies is not None and policy not in policies:
        raise refusal(f"no policy {policy!r} in this run; nearest: {nearest(policy, policies)}")
    paths = [path for path in _numbers() if metric in (path, path.rpartition(".")[2])]
    if metric not in RATIOS:
        if not paths:
            raise refusal(f"no metric {metric!r}; nearest: {nearest(metric, metrics())}")
        if metric not in paths:
            if len(paths) > 1:
                raise refusal(f"{metric!r} may be {' or '.join(paths)}; nearest: {paths[0]}")
            metric = paths[0]
    bound = _finite(form["bound"])
    if bound is None:
        raise refusal(f"{form['bound']!r} is not a finite number; nearest: 2e6")
    metric, bound, reason = _fitted(metric, compare, bound, percent=form["percent"] is not None)
    if reason is not None:
        raise refusal(reason)
    return Threshold(expr, policy, metric, _COMPARE[compare], bound)


_MEANT = {"=": "==", "===": "==", "=<": "<=", "=>": ">=", "<>": "!=", "!": "!="}
"""How other languages write a comparison."""

_FRACTIONS = {*SHARES, "fairness.jain", "fairness.min_max", "contention.enomem_share"}
"""What is from 0 to 1."""


def _fitted(
    metric: str, compare: str, bound: float, *, percent: bool
) -> tuple[str, float, str | None]:
    """Return the metric and bound that are meant, and why they cannot be, if they cannot."""
    said = f"{bound:g}"
    ratio = RATIO_OF.get(metric)
    if percent:
        bound /= 100
        # A count in percent is its share of all.
        metric = ratio if ratio in SHARES else metric
        if metric not in _FRACTIONS:
            near = f"{ratio or metric}{compare}{bound if ratio else said}"
            return metric, bound, f"{metric} is no share of anything; nearest: {near}"
    if metric in _FRACTIONS and not 0 <= bound <= 1:
        near = f"{metric}{compare}{min(max(float(said), 0), 100):g}%"
        return metric, bound, f"{metric} is from 0 to 1; nearest: {near}"
    # A count is never between 0 and 1: it is a share of all that was meant.
    if _numbers().get(metric) and 0 < bound < 1:
        near = f"{ratio}{compare}{said}" if ratio else f"{metric}{compare}1"
        return metric, bound, f"{metric} is a count, {said} is none; nearest: {near}"
    return metric, bound, None


def _finite(word: str) -> float | None:
    """Return the number that a word is; nothing compares with one that is not finite."""
    try:
        number = float(word)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def check(
    thresholds: Iterable[Threshold], results: Sequence[PolicyResult]
) -> Iterator[ThresholdResult]:
    """Hold every result against every threshold that is for its policy."""
    for threshold in thresholds:
        for result in results:
            if threshold.policy in (None, result.policy, result.base_policy):
                yield threshold.check(result)
