"""How the policies of a run stand to one of them."""

from typing import Any

import pytest

from conftest import Row, stuck
from gupstress.outcome.results import PolicyResult
from gupstress.render import page
from gupstress.render.relative import summary
from gupstress.running.result import RunResult
from synthetic import repeat, run_with


def of(run: RunResult, policy: str, *rates: float, **changes: Any) -> list[PolicyResult]:
    """Return repeats of a policy, of 100,000 calls each."""
    template = run.results[0]
    return [repeat(template, n, rate=r, policy=policy, **changes) for n, r in enumerate(rates, 1)]


def said(run: RunResult, *policies: list[PolicyResult]) -> list[str]:
    return list(summary(run_with(run, [row for rows in policies for row in rows])))


def test_policies_stand_to_the_kernels_own(small_run: RunResult) -> None:
    assert small_run.results[0].resolved["kernel"]["policy"] == "linux-7.2"
    assert said(
        small_run,
        of(small_run, "cooperative", 2.4e6, spurious=0),
        of(small_run, "linux-7.2", 1e6, spurious=26_000),
        of(small_run, "bounded", 1e5, spurious=50),
    ) == [
        "cooperative: 2.4 × linux-7.2's pins/s, 0 instead of 26% needless failures",
        "bounded: 0.10 × linux-7.2's pins/s, <0.1% instead of 26% needless failures",
    ]


def test_without_it_they_stand_to_the_first(small_run: RunResult) -> None:
    (line,) = said(small_run, of(small_run, "none", 1e6), of(small_run, "bounded", 1e6))
    assert line.startswith("bounded: 1.0 × none's pins/s, ")


def test_what_none_does_is_not_said(small_run: RunResult) -> None:
    none, one = (of(small_run, name, 1e6, spurious=0) for name in ("none", "bounded"))
    assert said(small_run, none, one) == ["bounded: 1.0 × none's pins/s"]
    assert said(small_run, none) == []
    assert said(small_run) == []


def test_repeats_give_the_error_of_the_quotient(small_run: RunResult) -> None:
    # Standard deviations are 10 % and 0; 2 x 10 % = 0.2.
    above, below = (1.8e6, 2e6, 2.2e6), (1e6, 1e6, 1e6)
    (line,) = said(
        small_run,
        of(small_run, "none", *below, spurious=0),
        of(small_run, "bounded", *above, spurious=0),
    )
    assert line == "bounded: 2.0 ± 0.2 × none's pins/s"
    (line,) = said(
        small_run,
        of(small_run, "none", *above, spurious=0),
        of(small_run, "bounded", *above, spurious=0),
    )
    # 10 % of either: by their squares, 14 %.
    assert line == "bounded: 1.0 ± 0.1 × none's pins/s"


@pytest.mark.parametrize(("scale", "shown"), [(123.4, "123"), (12.34, "12"), (0.01234, "0.012")])
def test_a_quotient_has_two_digits(small_run: RunResult, scale: float, shown: str) -> None:
    (line,) = said(small_run, of(small_run, "none", 1e5), of(small_run, "bounded", scale * 1e5))
    assert line.startswith(f"bounded: {shown} × ")


def test_a_policy_that_is_stuck_has_no_rate(small_run: RunResult, row: Row) -> None:
    bad = {"liveness": stuck(row)["liveness"], "status": "stuck"}
    (line,) = said(
        small_run,
        of(small_run, "none", 1e6, spurious=0),
        of(small_run, "bounded", 1e6, spurious=0, **bad),
    )
    assert line == "bounded: livelocked"


def test_every_text_has_it(small_run: RunResult) -> None:
    run = run_with(small_run, [*of(small_run, "none", 1e6), *of(small_run, "bounded", 3e6)])
    line = "bounded: 3.0 × none's pins/s, 2% instead of 2% needless failures"
    assert f"\n{line}\n" in page.plain(run, "again")
    assert f"\n- {line}\n" in page.markdown(run, "again")
