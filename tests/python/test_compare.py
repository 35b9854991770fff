"""Comparing two runs: the statistics, the rules, what may be compared at all."""

import itertools
import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import pytest

import gupstress
from conftest import Row, broken, stuck, unsafe
from gupstress.outcome import metrics
from gupstress.outcome.comparison import Comparison, MetricComparison
from gupstress.outcome.results import Disturbance, PolicyResult
from gupstress.running.result import RunResult
from gupstress.studies.comparison import inference, rules
from gupstress.studies.comparison.rules import Evidence
from synthetic import noisy, repeat, run_of, run_with

Change = Callable[[RunResult], RunResult]

# Seven rates around a million, no two alike.
RATES = [1e6 * (1 + 0.01 * step) for step in (-3, -2, -1, 0, 1, 2, 3)]


def slower(rates: list[float], by: float) -> list[float]:
    return [rate / by for rate in rates]


def only(found: Comparison, metric: str = "throughput.pages_per_s") -> MetricComparison:
    (row,) = (row for policy in found.policies for row in policy.metrics if row.metric == metric)
    return row


# ---------------------------------------------------------------- statistics


@pytest.mark.parametrize(
    ("head", "base", "p"),
    [
        # Of C(14, 7) = 3432 orders, the two extreme ones.
        ([1, 2, 3, 4, 5, 6, 7], [8, 9, 10, 11, 12, 13, 14], 2 / 3432),
        ([8, 9, 10, 11, 12, 13, 14], [1, 2, 3, 4, 5, 6, 7], 2 / 3432),
        # C(10, 5) = 252; one exchange makes two more orders that are as extreme.
        ([1, 2, 3, 4, 6], [5, 7, 8, 9, 10], 4 / 252),
        # With ties, by permutation.
        ([1, 1, 1, 1, 1], [2, 2, 2, 2, 2], 2 / 252),
        ([0, 0, 0, 0, 0], [0, 0, 0, 0, 0], 1.0),
        ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], 1.0),
    ],
)
def test_mann_whitney_is_exact(head: list[float], base: list[float], p: float) -> None:
    assert inference.mann_whitney(head, base) == pytest.approx(p)


def test_mann_whitney_counts_the_ways_among_ties_too() -> None:
    head, base = [1.0, 2.0, 2.0, 3.0, 3.0], [2.0, 3.0, 3.0, 4.0]
    both = [*head, *base]

    def u(chosen: Sequence[float], others: Sequence[float]) -> float:
        return sum((a > b) + (a == b) / 2 for a in chosen for b in others)

    every = []
    for at in itertools.combinations(range(len(both)), len(head)):
        rest = [value for number, value in enumerate(both) if number not in at]
        every.append(u([both[number] for number in at], rest))
    seen = u(head, base)
    tail = min(sum(one <= seen for one in every), sum(one >= seen for one in every))
    assert inference.mann_whitney(head, base) == pytest.approx(min(1, 2 * tail / len(every)))


@pytest.mark.parametrize("high", [4, 10**9])
def test_mann_whitney_of_many_is_near_what_counting_gives(
    high: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = Random(5)
    for shift in range(4):
        head = [float(rng.randint(0, high)) for _ in range(30)]
        base = [rng.randint(0, high) + shift * high / 8 for _ in range(30)]
        exact = inference.mann_whitney(head, base)
        with monkeypatch.context() as patch:
            patch.setattr(inference, "EXACT_UP_TO", 0)
            assert inference.mann_whitney(head, base) == pytest.approx(exact, abs=0.01)


def test_mann_whitney_takes_hundreds_of_values() -> None:
    head, base = [float(n) for n in range(400)], [float(n + 200) for n in range(400)]
    assert inference.mann_whitney(head, base) < 1e-9
    assert inference.mann_whitney(head, head) == 1


@pytest.mark.parametrize(
    ("ps", "adjusted"),
    [
        ([], []),
        ([0.02], [0.02]),
        # Each by the number of tests and its rank: 3 x 0.01 / 1, 3 x 0.04 / 3, 3 x 0.03 / 2,
        # and none above one of a higher rank.
        ([0.01, 0.04, 0.03], [0.03, 0.04, 0.04]),
        ([0.01, 0.6, 0.9], [0.03, 0.9, 0.9]),
    ],
)
def test_p_is_adjusted_by_benjamini_and_hochberg(ps: list[float], adjusted: list[float]) -> None:
    assert inference.adjusted(ps) == pytest.approx(adjusted)


@pytest.mark.parametrize(
    ("head", "base"),
    [
        ([1.0, 2.0, 4.0], [2.0, 3.0, 5.0]),
        ([7.0, 2.0, 3.0, 11.0], [2.0, 3.0, 5.0]),
        ([7.0, 2.0, 3.0, 11.0], [13.0, 3.0, 3.0, 9.0]),
        ([0.0, 5.0, 6.0, 6.5, 8.0], [2.0, 3.5, 4.0]),
    ],
)
def test_the_interval_is_that_of_all_resamples(head: list[float], base: list[float]) -> None:
    ratios = sorted(
        median(above) / median(below)
        for above in itertools.product(head, repeat=len(head))
        for below in itertools.product(base, repeat=len(base))
    )
    rest = (1 - inference.CONFIDENCE) / 2
    ends = [ratios[math.ceil(share * len(ratios)) - 1] for share in (rest, 1 - rest)]
    assert inference.interval(head, base) == pytest.approx(ends)


def test_the_interval_takes_hundreds_of_values() -> None:
    rng = Random(5)
    head, base = ([rng.gauss(mean, 1) for _ in range(100)] for mean in (9, 10))
    low, high = inference.interval(head, base) or (0, 0)
    assert 0.8 < low < 0.95
    assert low < high < 1


def test_the_interval_of_what_does_not_vary_is_a_point() -> None:
    assert inference.interval([12.0] * 5, [10.0] * 5) == pytest.approx((1.2, 1.2))


def test_nothing_against_nothing_is_alike() -> None:
    assert inference.median_ratio([0.0] * 5, [0.0] * 5) == 1
    assert inference.interval([0.0] * 5, [0.0] * 5) == (1, 1)


def test_something_against_nothing_has_no_ratio() -> None:
    assert inference.median_ratio([1.0] * 5, [0.0] * 5) is None
    assert inference.interval([1.0, 2.0, 1.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0, 1.0]) is None


# ---------------------------------------------------------------- rules


def evidence(**changes: Any) -> Evidence:
    known: dict[str, Any] = {
        "interval": None,
        "better": "higher",
        "base_repeats": 7,
        "head_repeats": 7,
        "ratio": 0.85,
        "p_adjusted": 0.001,
        "left": None,
        "repeated": False,
        **changes,
    }
    if "interval" not in changes and known["ratio"] is not None:
        known["interval"] = (known["ratio"] - 0.05, known["ratio"] + 0.05)
    return Evidence(**known)


@pytest.mark.parametrize(
    ("changes", "verdict", "reason"),
    [
        ({}, "regression", None),
        ({"ratio": 1.15}, "improvement", None),
        ({"better": "lower"}, "improvement", None),
        ({"better": "lower", "ratio": 1.15}, "regression", None),
        # From nothing to something: beyond every threshold.
        ({"better": "lower", "ratio": None, "interval": None}, "regression", None),
        ({"ratio": None, "interval": None}, "improvement", None),
        # Large but not significant.
        ({"p_adjusted": 0.02}, "inconclusive", "may be chance"),
        ({"ratio": None, "p_adjusted": 0.02}, "inconclusive", "may be chance"),
        ({"p_adjusted": 0.019}, "regression", None),
        # Large, but perhaps only by chance so large.
        ({"ratio": 0.9, "interval": (0.86, 0.96)}, "inconclusive", "may be smaller than 5%"),
        ({"ratio": 1.1, "interval": (1.04, 1.2)}, "inconclusive", "may be smaller than 5%"),
        # Significant but not large.
        ({"ratio": 0.96, "interval": (0.955, 0.97)}, "same", None),
        ({"ratio": 0.96, "interval": (0.94, 0.97)}, "inconclusive", "more than 5% is not ruled"),
        ({"ratio": 1.04, "interval": (1.01, 1.06)}, "inconclusive", "more than 5% is not ruled"),
        ({"ratio": 1.0, "interval": None, "p_adjusted": 1}, "inconclusive", "not ruled out"),
        ({"ratio": 1.0, "interval": (0.95, 1.05), "p_adjusted": 1}, "same", None),
        # However much repeats differ from each other: the very same ones.
        ({"ratio": 1.0, "interval": (0.5, 2), "p_adjusted": 1, "repeated": True}, "same", None),
        # Too few to test.
        ({"p_adjusted": None, "head_repeats": 4}, "inconclusive", "4 of head have a value"),
        ({"p_adjusted": None, "repeated": True}, "inconclusive", "each side needs 5"),
        # The host's own difference: nine tenths to one side make up to 1 / 0.81.
        ({"left": (1.0, 0.9)}, "inconclusive", "100% of its CPU time to base, 90% to head"),
        ({"left": (0.9, 1.0)}, "inconclusive", "90% of its CPU time to base, 100% to head"),
        ({"left": (0.9, 0.9)}, "regression", None),
        ({"left": (1.0, 0.9), "ratio": 0.7}, "regression", None),
        ({"left": (1.0, 0.9), "ratio": 1.15}, "inconclusive", "CPU time"),
        ({"left": (1.0, 0.9), "ratio": 1.4}, "improvement", None),
        ({"left": (1.0, 0.1), "ratio": None, "better": "lower"}, "regression", None),
    ],
)
def test_the_verdict_of_a_metric(changes: dict[str, Any], verdict: str, reason: str | None) -> None:
    found, why = rules.of_metric(evidence(**changes), 0.05)
    assert found == verdict
    assert (why is None) == (reason is None)
    assert reason is None or reason in str(why)


def test_the_threshold_is_what_counts_as_large() -> None:
    assert rules.of_metric(evidence(), 0.09)[0] == "regression"
    assert rules.of_metric(evidence(), 0.11)[0] == "inconclusive"
    assert rules.of_metric(evidence(), 0.16)[0] == "inconclusive"
    assert rules.of_metric(evidence(), 0.21)[0] == "same"


@pytest.mark.parametrize(
    ("base", "head", "verdict"),
    [
        (["live", "live"], ["live", "live"], "same"),
        (["live", "live"], ["live", "livelocked"], "regression"),
        (["inconclusive"], ["deadlocked"], "regression"),
        (["safe"], ["violated"], "regression"),
        (["held"], ["broken"], "regression"),
        (["starved", "live"], ["livelocked", "livelocked"], "same"),
        (["starved", "live"], ["live", "live"], "improvement"),
        (["starved"], ["inconclusive"], "inconclusive"),
        (["live"], ["live", "inconclusive"], "inconclusive"),
        (["inconclusive"], ["live"], "same"),
    ],
)
def test_the_verdict_of_verdicts(base: list[str], head: list[str], verdict: str) -> None:
    assert rules.of_verdicts(base, head) == verdict


# ---------------------------------------------------------------- whole comparisons


def test_a_slower_head_is_a_regression_and_a_faster_one_an_improvement(
    small_run: RunResult,
) -> None:
    base, head = run_of(small_run, RATES), run_of(small_run, slower(RATES, 1.15))
    found = gupstress.compare(base, head)
    assert found.verdict == "regression"
    row = only(found)
    assert row.verdict == "regression"
    assert row.ratio == pytest.approx(1 / 1.15)
    assert row.interval is not None
    assert row.interval.low < 1 / 1.15 < row.interval.high
    assert row.p == pytest.approx(2 / 3432)
    assert row.base.median == 1e6
    assert row.base.mad == pytest.approx(2e4)
    assert gupstress.compare(head, base).verdict == "improvement"


def test_a_run_against_itself_is_the_same(small_run: RunResult) -> None:
    run = run_of(small_run, RATES)
    found = gupstress.compare(run, run)
    assert found.verdict == "same"
    assert {row.verdict for row in found.policies[0].metrics} == {"same"}


def test_nothing_decided_is_inconclusive(small_run: RunResult) -> None:
    wide = [1e6 * (1 + 0.1 * step) for step in range(-3, 4)]
    found = gupstress.compare(
        run_of(small_run, wide), run_of(small_run, slower(wide, 1.1)), metric="pages_per_s"
    )
    assert found.verdict == "inconclusive"


def test_one_metric_decided_is_enough(small_run: RunResult) -> None:
    wide = [1e6 * (1 + 0.1 * step) for step in range(-3, 4)]
    found = gupstress.compare(run_of(small_run, wide), run_of(small_run, slower(wide, 1.1)))
    assert only(found).verdict == "inconclusive"
    assert found.verdict == "same"


@pytest.mark.parametrize("counts", [(4, 7), (7, 4), (1, 1)])
def test_fewer_than_five_repeats_decide_nothing(
    small_run: RunResult, counts: tuple[int, int]
) -> None:
    before, after = counts
    base, head = run_of(small_run, RATES[:before]), run_of(small_run, slower(RATES, 9)[:after])
    found = gupstress.compare(base, head)
    assert found.verdict == "inconclusive"
    assert found.method.tests == 0
    assert (only(found).base.repeats, only(found).head.repeats) == counts
    assert only(found).reason == (
        f"{before} repeats of base and {after} of head have a value; each side needs 5"
    )


def test_five_repeats_are_enough(small_run: RunResult) -> None:
    base, head = run_of(small_run, RATES[:5]), run_of(small_run, slower(RATES[:5], 1.2))
    assert gupstress.compare(base, head, metric="pages_per_s").verdict == "regression"


def test_p_is_adjusted_for_the_number_of_tests(small_run: RunResult) -> None:
    base, head = run_of(small_run, RATES[:5]), run_of(small_run, slower(RATES[:5], 1.2))
    found = gupstress.compare(base, head)
    row = only(found)
    # 2/252 would do for one test; there are four.
    assert found.method.tests == 4
    assert row.p == pytest.approx(2 / 252)
    assert row.p_adjusted == pytest.approx(min(1, 4 * 2 / 252))
    many = gupstress.compare(base, head, metric=list(metrics.METRICS))
    assert only(many).verdict == "inconclusive"


def test_cpu_time_of_the_simulator_is_not_compared_unless_asked_for(small_run: RunResult) -> None:
    real, simulated = (run_of(small_run, RATES, settings={"driver": d}) for d in ("os", "sim"))

    def compared(run: RunResult, **options: str) -> list[str]:
        return [row.metric for row in gupstress.compare(run, run, **options).policies[0].metrics]  # type: ignore[arg-type]

    assert "cpu_s" in compared(real)
    assert "cpu_s" not in compared(simulated)
    assert compared(simulated, metric="cpu_s") == ["cpu_s"]


def test_whether_runs_were_made_in_turn_is_told(small_run: RunResult) -> None:
    real = {"driver": "os"}
    base = run_of(small_run, RATES, settings=real)
    head = run_of(small_run, slower(RATES, 1.15), settings=real)
    assert gupstress.compare(base, head).method.in_turn is False
    simulated = (run_of(small_run, rates, settings={"driver": "sim"}) for rates in (RATES, RATES))
    assert gupstress.compare(*simulated).method.in_turn is None


def test_each_policy_is_compared_with_itself(small_run: RunResult) -> None:
    (first,) = small_run.results

    def run(slow: float) -> RunResult:
        rows = [repeat(first, n, rate=rate) for n, rate in enumerate(RATES, 1)]
        rows += [
            repeat(first, n, rate=rate / slow, policy="other") for n, rate in enumerate(RATES, 1)
        ]
        return run_with(small_run, rows)

    found = gupstress.compare(run(1), run(1.2))
    assert [policy.policy for policy in found.policies] == ["bounded", "other"]
    verdicts = [policy.metrics[0].verdict for policy in found.policies]
    assert verdicts == ["same", "regression"]
    assert found.method.tests == 8


@pytest.mark.parametrize(
    ("spoil", "kind"), [(stuck, "liveness"), (unsafe, "safety"), (broken, "invariants")]
)
def test_a_new_finding_is_a_regression_at_any_size(
    small_run: RunResult, row: Row, spoil: Callable[[Row], Row], kind: str
) -> None:
    good = run_of(small_run, [1e6])
    (first,) = good.results
    bad = repeat(PolicyResult.model_validate({**spoil(row), "repeat": 1}))
    worse = run_with(small_run, [first, bad.model_copy(update={"repeat": 2})])
    found = gupstress.compare(good, worse)
    assert found.verdict == "regression"
    (said,) = (one for one in found.policies[0].verdicts if one.verdict == "regression")
    assert (said.kind, said.base_bad, said.head_bad) == (kind, 0, 1)
    known = gupstress.compare(worse, worse).policies[0].verdicts
    assert {one.verdict for one in known} == {"same"}
    gone = gupstress.compare(worse, good).policies[0].verdicts
    assert [one.kind for one in gone if one.verdict == "improvement"] == [kind]


def test_a_verdict_that_head_did_not_reach_leaves_all_undecided(small_run: RunResult) -> None:
    base = run_of(small_run, RATES)
    row = base.results[3]
    liveness = row.liveness.model_copy(update={"verdict": "inconclusive"})
    rows = [*base.results[:3], row.model_copy(update={"liveness": liveness}), *base.results[4:]]
    found = gupstress.compare(base, run_with(base, rows))
    assert only(found).verdict == "same"
    assert found.verdict == "inconclusive"


def test_runs_that_were_stuck_say_nothing_of_rates(small_run: RunResult) -> None:
    (first,) = small_run.results
    rows = [repeat(first, n, rate=rate) for n, rate in enumerate(RATES, 1)]
    rows += [repeat(first, n, rate=1, status="stuck") for n in range(8, 15)]
    rows += [repeat(first, 15, rate=1, status="interrupted")]
    found = gupstress.compare(run_of(small_run, RATES), run_with(small_run, rows))
    assert only(found).head.repeats == 7
    assert only(found).verdict == "same"


def test_spurious_failures_are_a_share_of_all_calls(small_run: RunResult) -> None:
    (first,) = small_run.results

    def run(spurious: int) -> RunResult:
        return run_with(
            small_run, [repeat(first, n, spurious=spurious + 100 * n) for n in range(1, 8)]
        )

    row = only(gupstress.compare(run(1000), run(6000)), "share.failed_spurious")
    assert (row.verdict, row.base.median, row.head.median) == ("regression", 0.014, 0.064)
    row = only(gupstress.compare(run(6000), run(1000)), "share.failed_spurious")
    assert row.verdict == "improvement"


def test_the_first_spurious_failures_are_a_regression(small_run: RunResult) -> None:
    (first,) = small_run.results
    none = run_with(small_run, [repeat(first, n, spurious=0) for n in range(1, 8)])
    some = run_with(small_run, [repeat(first, n, spurious=n) for n in range(1, 8)])
    row = only(gupstress.compare(none, some), "share.failed_spurious")
    assert (row.verdict, row.ratio, row.interval) == ("regression", None, None)
    assert only(gupstress.compare(none, none), "share.failed_spurious").verdict == "same"


def host_that_took(others_s: float) -> Disturbance:
    return Disturbance(
        cpu_s=1,
        others_s=others_s,
        steal_s=0,
        quota_throttled_s=None,
        thermal_events=None,
        clock=None,
    )


def test_a_busier_host_is_not_blamed_on_the_head(small_run: RunResult) -> None:
    def run(slow: float, others_s: float) -> RunResult:
        took = {"disturbance": host_that_took(others_s)}
        run = run_of(small_run, slower(RATES, slow))
        return run_with(run, [result.model_copy(update=took) for result in run.results])

    row = only(gupstress.compare(run(1, 0), run(1.2, 0.1)))
    assert row.verdict == "inconclusive"
    assert row.reason == "the host left 100% of its CPU time to base, 90% to head"
    assert only(gupstress.compare(run(1, 0.1), run(1.2, 0.1))).verdict == "regression"
    assert only(gupstress.compare(run(1, 0), run(2, 0.1))).verdict == "regression"


def test_runs_made_in_turn_met_the_same_host(small_run: RunResult) -> None:
    start = small_run.started_at

    def side(name: str, minutes: Sequence[int], slow: float, others_s: float) -> str:
        took = {"disturbance": host_that_took(others_s)}
        runs = []
        for minute, rate in zip(minutes, slower(RATES, slow), strict=True):
            run = run_of(small_run, [rate])
            rows = [run.results[0].model_copy(update=took)]
            at = {"started_at": start + timedelta(minutes=minute)}
            runs.append(run_with(run, rows).model_copy(update=at))
        return write(name, *runs)

    base = side("base", range(0, 14, 2), 1, 0)
    assert gupstress.compare(base, side("turn", range(1, 15, 2), 1.2, 0.1)).verdict == "regression"
    later = gupstress.compare(base, side("later", range(20, 34, 2), 1.2, 0.1))
    assert only(later).verdict == "inconclusive"
    before = gupstress.compare(side("before", range(-20, -6, 2), 1, 0.1), base)
    assert only(before).verdict == "same"
    assert only(gupstress.compare("later", "base")).verdict == "inconclusive"


def test_the_same_files_give_the_same_numbers(small_run: RunResult) -> None:
    rng = Random(3)
    base, head = noisy(small_run, rng), noisy(small_run, rng)
    assert gupstress.compare(base, head) == gupstress.compare(base, head)


TRIES = 200


def test_noise_is_no_regression(small_run: RunResult) -> None:
    rng = Random(11)
    verdicts = [
        gupstress.compare(noisy(small_run, rng), noisy(small_run, rng)).verdict
        for _ in range(TRIES)
    ]
    # The adjustment allows one in twenty; what is large as well as unlikely is rarer.
    assert verdicts.count("regression") <= TRIES / 50


def test_a_slowdown_by_15_percent_is_a_regression(small_run: RunResult) -> None:
    rng = Random(12)
    verdicts = [
        gupstress.compare(noisy(small_run, rng), noisy(small_run, rng, 1.15)).verdict
        for _ in range(TRIES)
    ]
    assert verdicts.count("regression") >= TRIES * 0.95


# ---------------------------------------------------------------- what may be compared


def settings(**changes: Any) -> Change:
    return lambda run: run_with(run, run.results, settings=changes)


def host(**changes: Any) -> Change:
    return lambda run: run_with(run, run.results, host=changes)


def build(**changes: Any) -> Change:
    return lambda run: run_with(run, run.results, gupstress=changes)


def resolved(part: str, **changes: Any) -> Change:
    def change(run: RunResult) -> RunResult:
        rows = [
            row.model_copy(
                update={"resolved": {**row.resolved, part: {**row.resolved[part], **changes}}}
            )
            for row in run.results
        ]
        return run_with(run, rows)

    return change


@pytest.mark.parametrize(
    ("change", "what", "value"),
    [
        (build(build_profile="debug"), "build_profile", "debug"),
        (host(cpu_model="Other"), "host.cpu_model", "Other"),
        (host(cpus=999), "host.cpus", 999),
        (settings(profile="steady"), "settings.profile", "steady"),
        (settings(kernel="linux-6.17"), "settings.kernel", "linux-6.17"),
        (settings(driver="os"), "settings.driver", "os"),
        (settings(threads=99), "settings.threads", 99),
        (settings(cpus=99), "settings.cpus", 99),
        (settings(pins=99), "settings.pins", 99),
        (settings(perturb=0.9), "settings.perturb", 0.9),
        (settings(timeout_s=99), "settings.timeout_s", 99),
        (settings(memory={"movable": 1}), "settings.memory.movable", 1),
        (settings(costs={"idle": 1}), "settings.costs.idle", 1),
        (settings(another=7), "settings.another", 7),
        (resolved("kernel", batch_size=15), "kernel.batch_size", 15),
    ],
)
def test_what_makes_two_runs_unlike_is_named(
    small_run: RunResult, change: Change, what: str, value: object
) -> None:
    driver = "os" if what.startswith("host.") else "sim"
    base = run_of(small_run, RATES, settings={"driver": driver})
    found = gupstress.compare(base, change(base))
    assert found.verdict == "not comparable"
    assert found.policies == ()
    named = {one.what: one for one in found.obstacles}
    assert named[what].head == value
    assert named[what].base != value
    if what not in ("settings.memory.movable", "settings.costs.idle"):
        assert list(named) == [what]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (build(version="9.9"), "gupstress.version"),
        (settings(step_delay=20), "settings.step_delay"),
        (resolved("policy", isolate_retries=3), "bounded.isolate_retries"),
        (host(kernel="Linux 99"), None),
        (host(cpu_model="Other", cpus=999), None),
        (settings(seed=99), None),
        (settings(repeat=99), None),
        (settings(interleave=False), None),
        (settings(sets={"isolate_retries": "3"}), None),
        (settings(summary="Other words."), None),
        (resolved("kernel", summary="Other words."), None),
        (resolved("policy", summary="Other words."), None),
        (host(load=(9, 9, 9)), None),
    ],
)
def test_what_may_differ_is_compared_and_said(
    small_run: RunResult, change: Change, what: str | None
) -> None:
    base = run_of(small_run, RATES)
    found = gupstress.compare(base, change(base))
    assert found.verdict == "same"
    assert [one.what for one in found.changes] == ([what] if what else [])


def test_on_real_threads_another_kernel_of_the_host_is_a_change(small_run: RunResult) -> None:
    base = run_of(small_run, RATES, settings={"driver": "os"})
    found = gupstress.compare(base, host(kernel="Linux 99")(base))
    assert found.verdict == "same"
    assert [one.what for one in found.changes] == ["host.kernel"]


def test_costs_on_a_virtual_clock_do_not_matter_on_a_real_one(small_run: RunResult) -> None:
    base = run_of(small_run, RATES, settings={"driver": "os"})
    assert gupstress.compare(base, settings(costs={"idle": 1})(base)).verdict == "same"


def test_runs_without_a_policy_in_common_are_named_as_such(small_run: RunResult) -> None:
    base = run_of(small_run, RATES)
    head = run_with(base, [row.model_copy(update={"policy": "none"}) for row in base.results])
    found = gupstress.compare(base, head)
    assert found.verdict == "not comparable"
    (one,) = found.obstacles
    assert (one.what, one.base, one.head) == ("policies", ["bounded"], ["none"])


def test_a_policy_that_only_one_side_has_is_said(small_run: RunResult) -> None:
    base = run_of(small_run, RATES)
    more = [row.model_copy(update={"policy": "none"}) for row in base.results]
    found = gupstress.compare(base, run_with(base, [*base.results, *more]))
    assert [policy.policy for policy in found.policies] == ["bounded"]
    assert [one.what for one in found.changes] == ["policies"]


# ---------------------------------------------------------------- metrics and sources


def test_every_metric_can_be_read_and_found_by_its_shortest_name(
    small_run: RunResult, result: PolicyResult
) -> None:
    run = run_of(small_run, RATES)
    for path, metric in metrics.METRICS.items():
        value = metric.observe(result)
        assert value is not None, path
        assert value >= 0
        found = gupstress.compare(run, run, metric=metrics.short(path))
        assert [row.metric for row in found.policies[0].metrics] == [path]


@pytest.mark.parametrize(
    ("path", "better"),
    [
        ("throughput.pages_per_s", "higher"),
        ("throughput.calls_per_s", "higher"),
        ("fairness.jain", "higher"),
        ("fairness.min_max", "higher"),
        ("cpu_s", "lower"),
        ("latency_ns.p99", "lower"),
        ("sweeps.mean", "lower"),
        ("share.failed_spurious", "lower"),
        ("counters.drain_all", "lower"),
        ("fairness.longest_wait_ns", "lower"),
    ],
)
def test_which_way_is_better(path: str, better: str) -> None:
    assert metrics.METRICS[path].better == better


def test_what_has_no_bad_direction_cannot_be_compared(small_run: RunResult) -> None:
    run = run_of(small_run, RATES)
    for name in ("counters.acquired", "calls.failed_justified", "seed"):
        with pytest.raises(gupstress.ConfigError, match=f"no metric '{name}'"):
            gupstress.compare(run, run, metric=name)


def test_a_count_is_no_share(small_run: RunResult) -> None:
    run = run_of(small_run, RATES)
    with pytest.raises(gupstress.ConfigError, match=r"is a count.*nearest: share.failed_spurious"):
        gupstress.compare(run, run, metric="calls.failed_spurious")
    named = gupstress.compare(run, run, metric="failed_spurious")
    assert named.policies[0].metrics[0].metric == "share.failed_spurious"
    assert named.policies[0].metrics[0].base.median == 0.02


def test_everything_wrong_is_said_at_once(small_run: RunResult) -> None:
    run = run_of(small_run, RATES)
    with pytest.raises(gupstress.ConfigError) as caught:
        gupstress.compare(run, "missing.json", metric=["p99", "pages_per_h"], threshold=-1)
    assert [place for place, _ in caught.value.problems] == [
        "metric",
        "metric",
        "threshold",
        "missing.json",
    ]
    said = [message for _, message in caught.value.problems]
    assert "latency_ns.p99 or sweeps.p99" in said[0]
    assert "nearest: throughput.pages_per_s" in said[1]
    assert "nearest: 0" in said[2]


def write(folder: str, *runs: RunResult) -> str:
    Path(folder).mkdir()
    for number, run in enumerate(runs):
        Path(folder, f"{number}.json").write_text(run.to_json())
    return folder


def test_the_files_of_a_folder_are_one_run(small_run: RunResult) -> None:
    base = write("base", *(run_of(small_run, [rate]) for rate in RATES))
    head = write("head", *(run_of(small_run, [rate]) for rate in slower(RATES, 1.15)))
    Path("head", "notes.txt").write_text("no result")
    found = gupstress.compare(base, Path(head))
    assert found.verdict == "regression"
    assert (only(found).base.repeats, only(found).head.repeats) == (7, 7)
    assert (found.base.source, found.head.source) == ("base", "head")


def test_the_files_of_a_folder_are_judged_together(small_run: RunResult) -> None:
    folder = write("base", *(run_of(small_run, [rate]) for rate in (1e6, 1e6, 3e6)))
    found = gupstress.compare(folder, folder)
    assert found.policies[0].instability.base == ("a repeat's pages_per_s is 200% above the rest",)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (settings(pins=99), "settings.pins is 200 in odd/0.json, 99 here"),
        (build(version="9.9"), "gupstress.version is "),
    ],
)
def test_a_folder_of_unlike_files_is_refused(
    small_run: RunResult, change: Change, what: str
) -> None:
    run = run_of(small_run, [1e6])
    with pytest.raises(gupstress.ConfigError, match=what):
        gupstress.compare(run, write("odd", run, change(run)))


def test_an_empty_folder_is_refused(small_run: RunResult) -> None:
    with pytest.raises(gupstress.ConfigError, match=r"no \*.json in this folder"):
        gupstress.compare(write("empty"), run_of(small_run, RATES))


# ---------------------------------------------------------------- policies of other names


def two(run: RunResult, rates: Sequence[float], **changes: Any) -> RunResult:
    """Return a run of `bounded` at these rates, and of `mine` a fifth faster."""
    rows = [repeat(run.results[0], n, rate=rate) for n, rate in enumerate(rates, 1)]
    faster = [
        repeat(run.results[0], n, rate=1.2 * rate, policy="mine") for n, rate in enumerate(rates, 1)
    ]
    return run_with(run, [*rows, *faster], **changes)


def test_policies_of_one_run_are_compared_with_one_of_them(small_run: RunResult) -> None:
    run = two(small_run, RATES)
    found = gupstress.compare(run, base_policy="bounded")
    assert [(one.policy, one.base_policy, one.label) for one in found.policies] == [
        ("mine", "bounded", "mine vs bounded")
    ]
    assert found.verdict == "improvement"
    assert only(found).ratio == pytest.approx(1.2)
    assert [(one.what, one.base, one.head) for one in found.changes] == [
        ("policy", "bounded", "mine")
    ]
    assert gupstress.compare(run, base_policy="mine").verdict == "regression"


@pytest.mark.parametrize("policy", [{"bounded": "mine"}, "bounded=mine", ["bounded=mine"]])
def test_a_policy_is_compared_with_one_of_another_name(small_run: RunResult, policy: Any) -> None:
    base = run_of(small_run, RATES)
    found = gupstress.compare(base, two(small_run, RATES), policy=policy)
    assert [one.label for one in found.policies] == ["mine vs bounded"]
    assert only(found).ratio == pytest.approx(1.2)


def test_of_several_policies_only_those_that_are_named_are_compared(small_run: RunResult) -> None:
    run = two(small_run, RATES)
    assert [one.label for one in gupstress.compare(run, run).policies] == ["bounded", "mine"]
    found = gupstress.compare(run, run, policy="mine")
    assert [one.label for one in found.policies] == ["mine"]


def test_policies_of_one_run_took_turns_if_they_were_interleaved(small_run: RunResult) -> None:
    for interleave in (True, False):
        settings = {"driver": "os", "interleave": interleave}
        run = two(small_run, RATES, settings=settings)
        assert gupstress.compare(run, base_policy="bounded").method.in_turn is interleave


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, ["nothing to compare it with", "nearest: base_policy=linux-7.2"]),
        (
            {"base_policy": "bound"},
            ["base_policy bound: no such policy", "nearest: base_policy=bounded"],
        ),
        ({"policy": "bounded=mime"}, ["policy bounded=mime: no 'mime' in", "nearest: mine"]),
        ({"policy": "=mine"}, ["'=mine' is not BASE=HEAD", "nearest: linux-7.2=mine"]),
        ({"policy": 7}, ["7 is not BASE=HEAD"]),
        (
            {"base_policy": "bounded", "policy": "bounded=mine"},
            ["base_policy: compares the policies of one result", "nearest: policy=bounded=mine"],
        ),
    ],
)
def test_policies_that_cannot_be_compared(
    small_run: RunResult, given: dict[str, Any], said: list[str]
) -> None:
    with pytest.raises(gupstress.ConfigError) as refusal:
        gupstress.compare(two(small_run, RATES), **given)
    assert all(words in str(refusal.value) for words in said)


def test_the_only_policy_of_a_run_has_nothing_beside_it(small_run: RunResult) -> None:
    with pytest.raises(gupstress.ConfigError, match="the only policy in this run"):
        gupstress.compare(run_of(small_run, RATES), base_policy="bounded")
