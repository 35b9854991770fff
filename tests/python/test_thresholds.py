"""Thresholds: what is read, what is compared, what counts as missed."""

import re

import pytest

import gupstress
from gupstress import ConfigError
from gupstress.outcome.results import PolicyResult
from gupstress.outcome.thresholds import (
    check,
    metrics,
    observe,
    parse,
)
from gupstress.outcome.verdict import remarks
from gupstress.problems import Problems


def outcome(expr: str, result: PolicyResult) -> bool:
    problems = Problems()
    thresholds = parse([expr], [result.policy], problems)
    problems.refuse()
    (checked,) = check(thresholds, [result])
    assert checked.expr == expr
    return checked.passed


@pytest.mark.parametrize(
    ("expr", "passed"),
    [
        ("calls.pinned>=9", True),
        ("calls.pinned>9", False),
        ("calls.pinned<=9", True),
        ("calls.pinned<9", False),
        ("calls.pinned==9", True),
        ("calls.pinned!=9", False),
        (" calls.pinned == 9.0 ", True),
        ("calls.pinned<1e6", True),
    ],
)
def test_compares(result: PolicyResult, expr: str, passed: bool) -> None:
    calls = result.calls.model_copy(update={"pinned": 9})
    assert outcome(expr, result.model_copy(update={"calls": calls})) is passed


@pytest.fixture
def needy(result: PolicyResult) -> PolicyResult:
    """Return a result of 200 calls, 10 of which failed without need, with 50 drains."""
    calls = {"issued": 200, "pinned": 190, "failed_spurious": 10}
    changes = {"calls": result.calls.model_copy(update={"failed_justified": 0, **calls})}
    counters = result.counters.model_copy(update={"drain_all": 50, "drain_idle": 4})
    return result.model_copy(update={**changes, "counters": counters})


@pytest.mark.parametrize(
    ("expr", "passed"),
    [
        ("share.failed_spurious<=0.05", True),
        ("share.failed_spurious<0.05", False),
        ("failed_spurious<=5%", True),
        ("failed_spurious < 5 %", False),
        ("calls.failed_spurious<6%", True),
        ("share.failed_spurious<6%", True),
        ("failed_spurious<=10", True),
        ("failed_spurious<10", False),
        ("share.stuck==0", True),
        ("stuck==0%", True),
        ("share.pinned>=95%", True),
        ("drains_per_call==0.25", True),
        ("idle_drains_per_call<0.02", False),
        ("fairness.jain>=0%", True),
    ],
)
def test_shares_and_quotients(needy: PolicyResult, expr: str, passed: bool) -> None:
    assert outcome(expr, needy) is passed


def test_a_share_of_nothing_is_missed(result: PolicyResult) -> None:
    none = result.calls.model_copy(update=dict.fromkeys(type(result.calls).model_fields, 0))
    idle = result.model_copy(update={"calls": none})
    assert not outcome("share.stuck==0", idle)
    assert not outcome("drains_per_call<1e9", idle)


@pytest.mark.parametrize(
    ("expr", "near"),
    [
        ("failed_spurious<0.05", "share.failed_spurious<0.05"),
        ("calls.stuck<=0.5", "share.stuck<=0.5"),
        ("counters.drain_all<0.5", "drains_per_call<0.5"),
        ("counters.drain_all<5%", "drains_per_call<0.05"),
        ("counters.faults<0.5", "counters.faults<1"),
        ("latency_ns.p99<5%", "latency_ns.p99<5"),
        ("share.stuck<5", "share.stuck<5%"),
        ("share.stuck<500%", "share.stuck<100%"),
        ("calls.stuck=0", "calls.stuck==0"),
        ("failed_spurious=<5%", "failed_spurious<=5%"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_right_form(
    needy: PolicyResult, expr: str, near: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        outcome(expr, needy)
    assert str(refusal.value).endswith(f"nearest: {near}")
    outcome(near, needy)


def test_a_last_part_that_is_the_only_one_of_its_name_is_enough(result: PolicyResult) -> None:
    assert outcome(f"pages_per_s=={result.throughput.pages_per_s!r}", result)
    assert outcome(f"throughput.pages_per_s=={result.throughput.pages_per_s!r}", result)


def test_every_metric_can_be_observed(result: PolicyResult) -> None:
    for metric in metrics():
        part = getattr(result, metric.partition(".")[0], 1)
        assert (observe(result, metric) is None) == (part is None), metric
    assert {"latency_ns.p99_9", "sweeps.mean", "counters.drain_all", "fairness.jain"} < {*metrics()}


def test_an_errno_that_did_not_occur_counts_as_none(result: PolicyResult) -> None:
    assert result.calls.failed_justified == 0
    assert outcome("errors.EHWPOISON==0", result)


def test_what_could_not_be_observed_is_missed(result: PolicyResult) -> None:
    latency = result.latency_ns.model_copy(update={"p99": None})
    result = result.model_copy(update={"latency_ns": latency})
    assert not outcome("latency_ns.p99<1e18", result)


def test_a_policy_before_the_colon_restricts(result: PolicyResult) -> None:
    other = result.model_copy(update={"policy": "none"})
    problems = Problems()
    thresholds = parse(["none:calls.stuck==0", "calls.stuck==0"], ["bounded", "none"], problems)
    problems.refuse()
    checked = check(thresholds, [result, other])
    assert [row.policy for row in checked] == ["none", "bounded", "none"]


def test_problems_are_collected() -> None:
    problems = Problems()
    assert parse(["a<1", "calls.stuck==0", "b<1"], None, problems)
    with pytest.raises(ConfigError) as caught:
        problems.refuse()
    assert [place for place, _ in caught.value.problems] == ["--threshold a<1", "--threshold b<1"]


def test_a_cause_may_be_asked_for_and_is_missed_where_nobody_counted() -> None:
    result = gupstress.run(
        "same-range", policy="linux-7.2", driver="sim", seed=1, sets={"calls": 100}
    )
    causes = result.results[0].causes
    assert causes is not None
    assert causes.pinned > 0
    result.assert_threshold(f"causes.pinned=={causes.pinned}", "contention.enomem_share<=1")
    old = result.results[0].model_copy(update={"causes": None})
    assert observe(old, "causes.pinned") is None


@pytest.mark.parametrize(
    ("expr", "near"),
    [
        ("calls.pinned>=5", "calls.pinned==0"),
        ("calls.stuck!=0", "calls.stuck==0"),
        ("share.stuck!=0", "share.stuck==0"),
        ("share.contended<5%", "share."),
        ("latency_ns.p99<5", "nearest: "),
        ("counters.drain_all<5", "nearest: "),
        ("calls.stuk==0", "calls.stuck"),
    ],
)
def test_what_may_recover_ends_no_run(expr: str, near: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(near)):
        gupstress.run("steady", policy="bounded", driver="sim", abort_on=expr)


def test_a_run_ends_at_the_first_threshold_that_it_has_missed_for_good() -> None:
    run = gupstress.run(
        "short-refs",
        policy=["none", "cooperative"],
        driver="sim",
        seed=5,
        sets={"calls": 0},
        pins=400_000,
        abort_on="none:calls.failed_spurious==0",
    )
    first, second = run.results
    assert first.status == "aborted"
    assert first.calls.failed_spurious > 0
    assert first.pages.pinned < 400_000
    # On the simulator it ends where it always does.
    again = gupstress.run(
        "short-refs",
        policy="none",
        driver="sim",
        seed=5,
        sets={"calls": 0},
        pins=400_000,
        abort_on="calls.failed_spurious==0",
    )
    assert again.results[0].calls == first.calls
    # Only that run, and the miss is a missed threshold as any other.
    assert second.status == "complete"
    assert [(one.policy, one.passed) for one in run.thresholds] == [("none", False)]
    assert any("ended by --abort-on" in said.line for said in remarks(run))


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ("failed_spurious<4%", "aborted"),
        ("failed_spurious<99%", "complete"),
        ("share.pinned>=96%", "aborted"),
        ("share.pinned>=1%", "complete"),
    ],
)
def test_a_share_that_can_no_longer_be_met_ends_a_run(condition: str, status: str) -> None:
    run = gupstress.run(
        "short-refs",
        policy="none",
        driver="sim",
        seed=5,
        sets={"calls": 2000},
        pins=10**9,
        abort_on=condition,
    )
    (result,) = run.results
    assert result.status == status
    assert [one.passed for one in run.thresholds] == [status == "complete"]
    if status == "aborted":
        # Early: what is left cannot mend it, and no sooner.
        issued, bad = result.calls.issued, result.calls.failed_spurious
        assert issued < 2000
        assert bad >= 0.04 * (2000 - issued + bad)
