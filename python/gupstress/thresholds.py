"""Thresholds: `[POLICY:]METRIC OP NUMBER`, checked at every result.

A metric is the path of a number in a result (`latency_ns.p99`); where a path's last
part is enough to tell which is meant, it may stand alone (`pages_per_s`).
"""

import errno
import operator
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, reduce
from typing import Any, get_args

from pydantic import BaseModel

from gupstress import _core
from gupstress.problems import Problems, nearest
from gupstress.results import Counters, Errors, PolicyResult, Tally, ThresholdResult

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
    parts = metric.split(".")
    if len(parts) > 1 and isinstance(tally := getattr(result, parts[0]), Tally):
        return float(getattr(tally, parts[1], 0))
    value: float | None = reduce(getattr, parts, result)
    return None if value is None else float(value)


@cache
def metrics() -> tuple[str, ...]:
    """Return the paths of all numbers in a result."""
    return tuple(_leaves(PolicyResult, ""))


def _leaves(model: type[BaseModel], prefix: str) -> Iterator[str]:
    if issubclass(model, Tally):
        names = errno.errorcode.values() if model is Errors else _core.names("counter")
        yield from (prefix + name for name in names)
        return
    for name, field in model.model_fields.items():
        if _is_number(field.annotation):
            yield prefix + name
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _leaves(field.annotation, f"{prefix}{name}.")


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
    found = (_parse(expr, policies, problems) for expr in exprs)
    return [threshold for threshold in found if threshold is not None]


def _parse(
    expr: str, policies: Collection[str] | None, problems: Problems
) -> Threshold | None:
    def refuse(reason: str) -> None:
        problems.add(f"--threshold {expr}", reason)

    form = _FORM.fullmatch(expr.strip())
    if form is None:
        return refuse("not of the form [POLICY:]METRIC OP NUMBER, such as latency_ns.p99<2e6")
    try:
        bound = float(form["bound"])
    except ValueError:
        return refuse(f"{form['bound']!r} is not a number such as 2e6")
    policy: str | None = form["policy"]
    if policy is not None and policies is not None and policy not in policies:
        return refuse(f"no policy {policy!r} in this run; nearest: {nearest(policy, policies)}")
    paths = [path for path in metrics() if path == form["metric"]] or [
        path for path in metrics() if path.rpartition(".")[2] == form["metric"]
    ]
    if not paths:
        return refuse(f"no metric {form['metric']!r}; nearest: {nearest(form['metric'], metrics())}")
    if len(paths) > 1:
        return refuse(f"{form['metric']!r} may be any of {', '.join(paths)}; nearest: {paths[0]}")
    return Threshold(expr, policy, paths[0], _COMPARE[form["compare"]], bound)


def check(thresholds: Iterable[Threshold], results: Iterable[PolicyResult]) -> list[ThresholdResult]:
    """Hold every result against every threshold that is for its policy."""
    results = list(results)
    return [
        threshold.check(result)
        for threshold in thresholds
        for result in results
        if threshold.policy in (None, result.policy)
    ]
