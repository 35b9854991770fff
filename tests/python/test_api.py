"""What a Python program sees."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

import gupstress
from conftest import Row

Rows = Callable[..., list[Row]]

SMALL = {"driver": "sim", "threads": 2, "cpus": 2, "pins": 200, "seed": 7}


def python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout


def test_importing_loads_nothing_heavy() -> None:
    heavy = "{'click', 'psutil', 'pydantic', 'rich', 'tabulate', 'gupstress._core'}"
    loaded = python(f"import sys, gupstress; print(sorted({heavy} & set(sys.modules)))")
    assert loaded == "[]\n"


def test_the_version_loads_no_models() -> None:
    heavy = "{'psutil', 'pydantic', 'rich', 'tabulate'}"
    code = (
        "import sys; from gupstress.cli import invoke; invoke(['--version']);"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    version, loaded = python(code).splitlines()
    assert version.startswith(f"gupstress {gupstress.__version__}")
    assert loaded == "[]"


def test_everything_public_is_there() -> None:
    for name in gupstress.__all__:
        assert getattr(gupstress, name) is not None
    assert set(gupstress.__all__) <= set(dir(gupstress))
    with pytest.raises(AttributeError, match="nothing"):
        gupstress.nothing  # noqa: B018


def test_names() -> None:
    assert {"none", "bounded", "linux-7.2"} <= set(gupstress.policies())
    assert {"contended", "steady", "drain-storm"} <= set(gupstress.profiles())
    assert {"linux-5.10", "linux-7.2.13"} <= set(gupstress.kernels())


def test_run_returns_what_was_counted() -> None:
    result = gupstress.run("steady", policy=["bounded", "linux-7.2"], **SMALL)  # type: ignore[arg-type]
    assert isinstance(result, gupstress.RunResult)
    assert [row.policy for row in result.results] == ["bounded", "linux-7.2"]
    assert result.settings.profile == "steady"
    for row in result.results:
        assert row.pages.pinned >= 200
        assert row.calls.failed_spurious == 0
        assert row.counters.acquired == row.counters.released
        assert row.invariants.checked > 0


def test_a_result_can_be_written_however_the_program_was_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["program", os.fsdecode(b"bad\xff")])
    result = gupstress.run(policy="bounded", **SMALL)  # type: ignore[arg-type]
    assert gupstress.RunResult.model_validate_json(result.to_json()).argv == (
        "program",
        "bad\ufffd",
    )


def test_the_same_seed_gives_the_same_run() -> None:
    def counted(seed: int) -> dict[str, object]:
        settings = {**SMALL, "seed": seed}
        (row,) = gupstress.run(policy="linux-7.2", **settings).results  # type: ignore[arg-type]
        return row.model_dump(exclude={"cpu_s", "seed"})

    assert counted(7) == counted(7)
    assert counted(7) != counted(8)


def test_a_policy_made_in_python_is_run_with_its_axes() -> None:
    policy = gupstress.Policy(name="mine", base="bounded", isolate_retries=5, drain="never")
    (row,) = gupstress.run(policy=policy, **SMALL).results  # type: ignore[arg-type]
    assert row.policy == "mine"
    assert row.resolved["policy"]["isolate_retries"] == 5
    assert row.resolved["policy"]["migrate_retries"] == 10
    assert row.counters.drain_all == 0


@pytest.mark.parametrize("name", ["plain", 'quo"ted', "a\\b", "größer", "\N{SNOWMAN}\N{PUSHPIN}"])
def test_a_policys_name_may_be_any_text(name: str) -> None:
    (row,) = gupstress.run(policy=gupstress.Policy(name, "bounded"), **SMALL).results  # type: ignore[arg-type]
    assert row.policy == name


def test_a_policys_mistakes_are_named_all_at_once() -> None:
    policy = gupstress.Policy(name="mine", base="bounded", isolate_retries="many", drian="never")
    with pytest.raises(gupstress.ConfigError) as caught:
        gupstress.run(policy=policy)
    problems = caught.value.problems
    assert ["isolate_retries" in problems[0][1], "drain" in problems[1][1]] == [True, True]
    assert all(place.startswith("Policy 'mine'") for place, _ in problems)
    first, second = (f"{place}: {message}" for place, message in problems)
    assert str(caught.value) == f"{first}; {second}"


def test_arguments_reach_the_run(rows: Rows) -> None:
    jobs = rows()
    result = gupstress.run(
        policy="bounded",
        sets={"isolate_retries": 5, "pinner.dma": False},
        timeout="1500ms",
        stall_after=0.25,
        threshold="calls.stuck==0",
        seed=3,
    )
    assert jobs[0]["sets"] == (("isolate_retries", "5"), ("pinner.dma", "false"))
    assert (jobs[0]["timeout_s"], jobs[0]["stall_after_s"], jobs[0]["seed"]) == (1.5, 0.25, 3)
    assert [threshold.passed for threshold in result.thresholds] == [True]


@pytest.mark.parametrize("settings", [{"threads": 0}, {"timeout": "soon"}, {"threshold": "x<1"}])
def test_bad_arguments_raise(settings: dict[str, object]) -> None:
    with pytest.raises(gupstress.ConfigError):
        gupstress.run(policy="bounded", **settings)  # type: ignore[arg-type]


def test_errors_have_one_root() -> None:
    assert issubclass(gupstress.ConfigError, gupstress.GupstressError)
    assert issubclass(gupstress.ResourceError, gupstress.GupstressError)
