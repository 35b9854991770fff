"""Runs that are judged stuck: the verdict and the count of calls say the same, each time."""

from itertools import count
from typing import Literal

import pytest

import gupstress

RUNS = 50
"""Of each driver that are judged stuck."""

CASES = (
    ("unbounded", "zero-page"),
    ("busted-wait-cycle", "same-range"),
    ("unbounded", "hwpoison-mapped"),
)
"""Policies with loads under which no call of theirs ends."""

STALL = {"os": "100ms", "sim": "20ms"}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("driver", ["os", "sim"])
def test_what_is_judged_stuck_is_counted_as_stuck(driver: Literal["os", "sim"]) -> None:
    judged = 0
    kinds: set[str] = set()
    for seed in count():
        policy, profile = CASES[seed % len(CASES)]
        run = gupstress.run(
            profile,
            policy=policy,
            driver=driver,
            seed=seed,
            stall_after=STALL[driver],
            timeout="60s",
        )
        (result,) = run.results
        stuck = result.liveness.verdict in ("starved", "livelocked", "deadlocked")
        assert stuck == (result.calls.stuck > 0), (policy, profile, seed)
        assert stuck == bool(result.liveness.findings), (policy, profile, seed)
        assert stuck == (result.status == "stuck"), (policy, profile, seed)
        judged += stuck
        kinds |= {result.liveness.verdict} if stuck else set()
        if judged == RUNS:
            break
        # A host that is too busy may leave one undecided, not most.
        assert seed < 3 * RUNS, f"{judged} of {seed} runs were judged stuck"
    assert {"livelocked", "deadlocked"} <= kinds
