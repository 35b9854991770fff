"""A real kernel, booted: `.ci/run guest` says which, in GUPSTRESS_KERNEL."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Ended
from gupstress.outcome.litmus import LitmusResult
from gupstress.running.result import RunResult

Cli = Callable[..., Ended]

KERNEL = os.environ.get("GUPSTRESS_KERNEL", "")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not KERNEL, reason="no kernel to boot: GUPSTRESS_KERNEL"),
]

SCENARIOS = ("anon-local", "anon-remote", "shmem-mlock-on-lru-remote", "anon-held-ref")


def test_scenarios_are_counted_alike_each_time(cli: Cli) -> None:
    code, out, _ = cli("guest", KERNEL, "--", "litmus", *SCENARIOS, "--json", "r.json")
    found = LitmusResult.model_validate_json(Path("r.json").read_text())
    assert [cell.scenario for cell in found.cells] == list(SCENARIOS)
    # What this kernel counts is its own affair unless it is one that is known.
    assert code in (0, 1), out
    for cell in found.cells:
        assert cell.refused is None
        assert cell.counters["acquired"] == (4 if cell.scenario == "anon-held-ref" else 8)
        assert cell.counters["migrate_calls"] == 1
        assert not cell.unsteady


def test_a_load_runs_under_the_kernels_own_policy(cli: Cli) -> None:
    args = ("--profile", "same-range", "--threads", "2", "--set", "calls=100")
    code, out, _ = cli("guest", KERNEL, "--", "run", *args, "--json", "r.json")
    assert code == 0, out
    found = RunResult.load("r.json")
    assert found.settings.target == "live"
    (result,) = found.results
    assert (result.policy, result.status) == ("kernel", "complete")
    assert result.calls.issued >= 100
    assert result.calls.pinned_unsafe == result.calls.failed_justified == 0
    # Each page of each pin, while it was pinned and after.
    assert result.invariants.checked == 2 * result.pages.pinned
    assert result.uncontended_ns
    assert result.counters.acquired
    assert result.counters.sweeps is None
    assert result.contention is not None
    assert result.contention.migrated_per_page > 0
