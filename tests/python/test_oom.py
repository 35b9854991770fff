"""Runs without memory: who is killed, what is said of it, and how it is judged."""

import json
from collections.abc import Callable

import pytest

import gupstress
from conftest import Ended
from gupstress.errors import MachineError
from gupstress.outcome.results import PolicyResult
from gupstress.outcome.verdict import Outcome, outcome
from gupstress.running.result import RunResult

Cli = Callable[..., Ended]
COMMON = ("--profile", "oom", "--driver", "sim", "--seed", "1", "--quiet")


def oom(policy: str, **sets: bool | float | str) -> PolicyResult:
    changes = {key.replace("__", "."): value for key, value in sets.items()}
    run = gupstress.run("oom", policy=policy, driver="sim", seed=1, sets=changes)
    return run.results[0]


def test_a_policy_that_asks_has_all_killed_and_one_that_reports_nobody() -> None:
    asks, reports = oom("linux-7.2"), oom("cooperative")
    assert asks.oom is not None
    assert [victim.process for victim in asks.oom.findings] == [
        "bystander 2",
        "bystander 1",
        "bystander 0",
        "pinners",
    ]
    assert (asks.oom.kills, asks.oom.needless, asks.counters.oom_kills) == (4, 4, 4)
    assert (asks.status, asks.verdict) == ("killed", "oom-killed")
    assert asks.calls.issued == asks.calls.oom_killed > 0
    assert (reports.oom, reports.counters.oom_kills) == (None, 0)
    assert (reports.status, reports.verdict) == ("complete", "justified")


def test_a_kill_is_a_finding_that_is_told(cli: Cli) -> None:
    code, out, err = cli("--policy", "linux-7.2", *COMMON)
    assert code == 1
    said = "oom-killed: pinners, which had 16 pages, none of use: in vain, with "
    assert said in out + err
    assert "FAILURE: linux-7.2 oom-killed (4 processes)" in out
    code, _, _ = cli("--policy", "cooperative", *COMMON)
    assert code == 0


def test_without_anybody_left_the_kernel_panics(cli: Cli) -> None:
    unkillable = ("--set", "pinner.oom_score_adj=-1000")
    code, out, _ = cli("--policy", "bounded", *COMMON, *unkillable, "--json", "r.json")
    assert code == 1
    (result,) = RunResult.load("r.json").results
    assert (result.status, result.verdict) == ("panicked", "panicked")
    assert "panicked (3 processes killed before)" in out


def test_kills_can_be_asked_for_in_thresholds(cli: Cli) -> None:
    for bound in ("calls.oom_killed==0", "oom_killed<5%", "counters.oom_kills==0"):
        code, out, _ = cli("--policy", "linux-7.2", *COMMON, "--threshold", bound)
        assert code == 1
        assert f"not {bound}" in out
        code, _, _ = cli("--policy", "cooperative", *COMMON, "--threshold", bound)
        assert code == 0


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        ({"hog": False, "memory.normal": 0}, "bystanders.count: 3 of them could do nothing"),
        ({"bystanders.outside": 49}, "49 is more than bystanders.pages; nearest: 48"),
        ({"bystanders.outside": 22}, "more than the 64 frames outside Movable; nearest: 21"),
        ({"bystanders.pages": 2000}, "memory.movable: 4096 frames have no room"),
        ({"bystanders.oom_score_adj": 1001}, "from -1000 to 1000; nearest: 1000"),
    ],
)
def test_bystanders_that_can_do_nothing_are_refused(
    sets: dict[str, bool | int | float | str], said: str
) -> None:
    with pytest.raises(gupstress.ConfigError) as refused:
        gupstress.run("oom", policy="none", driver="sim", sets=sets)
    assert said in str(refused.value)


def test_files_of_before_have_no_such_calls() -> None:
    run = gupstress.run("steady", policy="none", driver="sim", seed=1, pins=100)
    row = json.loads(run.model_dump_json(by_alias=True))
    for result in row["results"]:
        del result["calls"]["oom_killed"], result["oom"], result["counters"]["oom_kills"]
    old = RunResult.model_validate(row)
    assert (old.results[0].calls.oom_killed, old.results[0].counters.oom_kills) == (0, None)
    assert outcome(old) is Outcome.SUCCESS


def test_a_machine_says_that_its_program_was_killed() -> None:
    machine = gupstress.Machine(cpus=2)
    hog = machine.map(8192, "anon")
    machine.touch(hog)
    with pytest.raises(MachineError, match="touch: killed, as there was no memory"):
        machine.touch(machine.map(8192, "anon"))
    with pytest.raises(MachineError, match="OOM killer"):
        machine.pin(hog[0:1])
