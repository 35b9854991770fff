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


@pytest.mark.parametrize(
    ("profile", "sets"),
    [
        ("fork-pin", ("callers.gup-fast-ro=0",)),
        ("udmabuf-race", ()),
        ("offline-victim", ("offliner.threads=1", "contig.threads=0")),
    ],
)
def test_who_is_in_the_way_of_a_load_breaks_nothing(
    cli: Cli, profile: str, sets: tuple[str, ...]
) -> None:
    words = [word for one in (*sets, "calls=50") for word in ("--set", one)]
    room = ("--memory", "1G", "--movable", "640M")
    args = ("--profile", profile, *words, "--json", "r.json")
    code, out, err = cli("guest", KERNEL, *room, "--", "run", *args)
    if "/dev/udmabuf" in err:
        pytest.skip("this kernel has no udmabuf")
    assert code in (0, 1), out + err
    (result,) = RunResult.load("r.json").results
    assert result.verdict in ("ok", "spurious")
    assert result.calls.pinned > result.calls.pinned_unsafe == 0
    assert result.invariants.checked > result.invariants.broken == 0


def test_a_device_is_there_for_who_pins_by_vfio(cli: Cli) -> None:
    code, out, _ = cli(
        "guest", KERNEL, "--", "litmus", "o0-1100-vfio", "--repeat", "2", "--json", "r.json"
    )
    assert code in (0, 1), out
    (cell,) = LitmusResult.model_validate_json(Path("r.json").read_text()).cells
    assert cell.refused is None
    # Twice each page: where it lay, and where it was moved to.
    assert cell.counters["acquired"] == 2200
    assert cell.counters["slow_entries"] == 3
