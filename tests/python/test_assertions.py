"""What tests ask of a result, and what they read when it is not so."""

import pytest

import gupstress
from conftest import Row, broken, stuck, unsafe
from gupstress.outcome.assertions import UnmetError
from gupstress.outcome.results import PolicyResult
from gupstress.running.result import RunResult


def run_of(run: RunResult, *rows: Row) -> RunResult:
    results = [
        PolicyResult.model_validate({**row, "repeat": repeat}) for repeat, row in enumerate(rows, 1)
    ]
    settings = run.settings.model_copy(update={"repeat": len(rows)})
    return run.model_copy(update={"results": tuple(results), "settings": settings})


def spurious(row: Row, failures: int) -> Row:
    more = failures - row["calls"]["failed_spurious"]
    row["calls"]["issued"] += more
    row["causes"]["unknown"] += more
    row["calls"]["failed_spurious"] = failures
    failure = {
        "thread": 1,
        "class": "failed_spurious",
        "errno": "EBUSY",
        "step": "putback:page",
        "sweeps": 11,
        "obstacle": {"kind": "in-batch", "cpu": 4},
        "permanent": False,
        "page": None,
    }
    row["failures"] = [{**failure, "class": "failed_justified"}, *[failure] * failures]
    return row


def test_a_good_result_is_all_of_it(small_run: RunResult, row: Row) -> None:
    run = run_of(small_run, spurious(row, 0))
    run.assert_live()
    run.assert_safe()
    run.assert_no_spurious()
    run.assert_threshold("calls.stuck==0", "pages_per_s>0", "bounded:sweeps.max>=0")


def test_stuck_is_not_live(small_run: RunResult, row: Row) -> None:
    run = run_of(small_run, stuck(row, "starved"))
    with pytest.raises(AssertionError) as caught:
        run.assert_live()
    assert str(caught.value).startswith(
        "not live:\n  bounded: starved\n  bounded: thread 3 in collect:isolate on no page: held"
    )
    run.assert_safe()


def test_undecided_is_not_live(small_run: RunResult, row: Row) -> None:
    row["liveness"] = {"verdict": "inconclusive", "findings": []}
    with pytest.raises(UnmetError, match=r"not live:\n  bounded: inconclusive$"):
        run_of(small_run, row).assert_live()


def test_a_wrong_success_is_not_safe(small_run: RunResult, row: Row) -> None:
    run = run_of(small_run, unsafe(row, 7))
    with pytest.raises(UnmetError) as caught:
        run.assert_safe()
    lines = str(caught.value).splitlines()
    assert lines[:2] == ["not safe:", "  bounded: 7 calls pinned what must stay movable"]
    assert "thread 0 pinned frame 12 (movable" in lines[2]
    assert lines[-1] == "  bounded: 5 more like these"
    run.assert_live()


def test_books_that_do_not_balance_are_not_safe(small_run: RunResult, row: Row) -> None:
    with pytest.raises(UnmetError, match="a bug in gupstress\n  bounded: acquired = released: 7"):
        run_of(small_run, broken(row)).assert_safe()


def test_needless_failures_are_named_and_no_others(small_run: RunResult, row: Row) -> None:
    run = run_of(small_run, spurious(row, 2))
    with pytest.raises(UnmetError) as caught:
        run.assert_no_spurious()
    assert str(caught.value) == (
        f"not free of spurious failures:\n"
        f"  bounded: 2 of {run.results[0].calls.issued} calls failed without need\n"
        + "\n".join(
            ["  bounded: thread 1 got EBUSY in putback:page on no page: in-batch, cpu 4 (transient)"
             ", 11 sweeps"] * 2
        )
    )  # fmt: skip
    run.assert_live()
    run.assert_safe()


def test_every_repeat_is_looked_at(small_run: RunResult, row: Row) -> None:
    good = dict(row)
    run = run_of(small_run, good, unsafe(row))
    with pytest.raises(UnmetError, match=r"^not safe:\n  bounded 2/2: 1 calls"):
        run.assert_safe()


def test_a_missed_threshold_says_what_was_observed(small_run: RunResult, row: Row) -> None:
    row["latency_ns"]["p99"] = 1234
    run = run_of(small_run, row)
    with pytest.raises(UnmetError) as caught:
        run.assert_threshold("latency_ns.p99<1e3", "latency_ns.p99>1e3")
    assert str(caught.value) == (
        "not within its thresholds:\n  bounded: threshold latency_ns.p99<1e3 missed: observed 1234"
    )
    assert [found.passed for found in caught.value.thresholds] == [False, True]


@pytest.mark.parametrize("expr", ["latency_ns.p98<1", "mine:calls.stuck==0", "calls.stuck"])
def test_what_is_no_threshold_is_refused(small_run: RunResult, expr: str) -> None:
    with pytest.raises(gupstress.ConfigError, match="nearest"):
        small_run.assert_threshold(expr)


def test_what_was_not_run_is_nothing_good(small_run: RunResult) -> None:
    run = small_run.model_copy(update={"results": ()})
    for check in (run.assert_live, run.assert_safe, run.assert_no_spurious):
        with pytest.raises(UnmetError, match="nothing was run"):
            check()
    with pytest.raises(UnmetError, match="nothing was run"):
        run.assert_threshold("calls.stuck==0")
