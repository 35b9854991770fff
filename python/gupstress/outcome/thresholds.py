"""Thresholds: `[POLICY:]METRIC OP NUMBER`, checked at every result.

A metric is the path of a number in a result (`latency_ns.p99`); where a path's last
part is enough to tell which is meant, it may stand alone (`pages_per_s`).
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
from gupstress.outcome.results import PolicyResult, ThresholdResult
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
    r"(?:(?P<policy>.+):)?\s*(?P<metric>[\w.]+)\s*(?P<compare>>=|<=|==|!=|>|<)\s*(?P<bound>\S+)"
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
    value: Any = result
    for name in metric.split("."):
        value = None if value is None else getattr(value, name)
    return value


@cache
def metrics() -> tuple[str, ...]:
    """Return the paths of all numbers in a result."""
    return tuple(_leaves(PolicyResult, ""))


def _leaves(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if _is_number(field.annotation):
            yield prefix + name
        elif part := _model(field.annotation):
            yield from _leaves(part, f"{prefix}{name}.")


def _model(annotation: Any) -> type[BaseModel] | None:
    """Return the part of a result that a field is, always or where there is one."""
    parts = get_args(annotation) if get_origin(annotation) is UnionType else (annotation,)
    models = (part for part in parts if isinstance(part, type) and issubclass(part, BaseModel))
    return next(models, None)


def _is_number(annotation: Any) -> bool:
    return annotation in (int, float) or any(map(_is_number, get_args(annotation)))


def parse(
    exprs: Iterable[str], policies: Collection[str] | None, problems: Problems
) -> list[Threshold]:
    """Read thresholds, noting what is wrong with any of them.

    Args:
        exprs: As the user wrote them.
        policies: Names that may stand before a colon; None if they are not known.
        problems: Where to note.
    """
    found = []
    for expr in exprs:
        with problems.collecting():
            found.append(_parse(expr, policies))
    return found


def _parse(expr: str, policies: Collection[str] | None) -> Threshold:
    def refusal(reason: str) -> ConfigError:
        return ConfigError([(f"--threshold {expr}", reason)])

    form = _FORM.fullmatch(expr.strip())
    if form is None:
        raise refusal("not of the form [POLICY:]METRIC OP NUMBER; nearest: latency_ns.p99<2e6")
    policy, metric = form["policy"], form["metric"]
    if policy is not None and policies is not None and policy not in policies:
        raise refusal(f"no policy {policy!r} in this run; nearest: {nearest(policy, policies)}")
    paths = [path for path in metrics() if metric in (path, path.rpartition(".")[2])]
    if not paths:
        raise refusal(f"no metric {metric!r}; nearest: {nearest(metric, metrics())}")
    if metric not in paths:
        if len(paths) > 1:
            raise refusal(f"{metric!r} may be {' or '.join(paths)}; nearest: {paths[0]}")
        metric = paths[0]
    bound = _finite(form["bound"])
    if bound is None:
        raise refusal(f"{form['bound']!r} is not a finite number; nearest: 2e6")
    return Threshold(expr, policy, metric, _COMPARE[form["compare"]], bound)


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
            if threshold.policy in (None, result.policy):
                yield threshold.check(result)
