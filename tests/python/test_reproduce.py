"""The command that makes a run again."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import gupstress
from conftest import in_a_shell
from gupstress.cli.run import run
from gupstress.running.reproduce import command

SMALL = {"driver": "sim", "threads": 2, "cpus": 2, "pins": 200, "seed": 7}


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({}, ""),
        ({"profile": "steady", "seed": 3}, "--profile steady --seed 3"),
        ({"policy": "bounded"}, "--policy bounded"),
        ({"policy": ["bounded", "my own.toml"]}, "--policy bounded --policy 'my own.toml'"),
        ({"sets": {"isolate_retries": 5, "pinner.dma": False}},
         "--set isolate_retries=5 --set pinner.dma=false"),
        ({"timeout": "90s", "stall_after": 0.25}, "--timeout 90s --stall-after 250ms"),
        ({"timeout": 1_000_000}, "--timeout 1000000s"),
        ({"policy": Path("my own.toml"), "kernel": Path("k.toml")},
         "--policy 'my own.toml' --kernel k.toml"),
        ({"timeout": Fraction(3, 2)}, "--timeout 1500ms"),
        ({"interleave": False, "repeat": 3}, "--no-interleave --repeat 3"),
        ({"interleave": True}, "--interleave"),
        ({"threads": None, "perturb": 0.5}, "--perturb 0.5"),
        ({"threshold": "calls.stuck==0"}, "--threshold calls.stuck==0"),
        ({"threshold": ["a<1", "b>2"]}, "--threshold 'a<1' --threshold 'b>2'"),
    ],
)  # fmt: skip
def test_each_argument_is_written_as_it_is_typed(settings: dict[str, Any], line: str) -> None:
    assert command(settings) == f"gupstress run {line}".strip()


def test_every_argument_of_run_is_an_option_of_run() -> None:
    from inspect import signature

    options = {option for param in run.params for option in (*param.opts, *param.secondary_opts)}
    words = dict.fromkeys(("policy", "threshold", "abort_on"), "x")
    samples = {"interleave": False, "sets": {"drain": "all"}, **words}
    for name in signature(gupstress.run).parameters:
        line = command({name: samples.get(name, 1)}).split()
        assert line[2] in options


def test_a_policy_made_in_python_is_run_by_its_name_and_axes() -> None:
    mine = gupstress.Policy("mine", "bounded", isolate_retries=5, summary="50 % \\ of 'a' \"b\"")
    settings = {**SMALL, "policy": ["bounded", mine]}
    wanted = gupstress.run(**settings)  # type: ignore[arg-type]
    line = f"{command(settings)} --format json --quiet"
    assert "\n" not in line
    ended = in_a_shell(line)
    assert (ended.returncode, ended.stderr) == (0, "")
    found = gupstress.RunResult.model_validate_json(ended.stdout)
    assert [result.policy for result in found.results] == ["bounded", "mine"]
    assert [result.calls for result in found.results] == [row.calls for row in wanted.results]
    assert [result.resolved for result in found.results] == [row.resolved for row in wanted.results]
