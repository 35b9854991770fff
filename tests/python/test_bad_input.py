"""Bad input: one line for each problem, exit 2, nothing written, nothing run."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Ended
from gupstress import _core

Cli = Callable[..., Ended]

pytestmark = pytest.mark.usefixtures("no_run")

BAD = [
    ("--policy bonded", ["bonded", "nearest: bounded"]),
    ("--policy contended", ["--policy: contended is a profile", "nearest: --profile contended"]),
    ("--kernel bounded", ["--kernel: bounded is a policy", "nearest: --policy bounded"]),
    ("--profile linux-6.17", ["linux-6.17 is a policy, not a profile"]),
    ("--policy missing.toml", ["missing.toml", "No such file"]),
    ("--policy bounded --policy bounded", ["bounded", "more than once"]),
    ("--profile contend", ["contend", "nearest: contended"]),
    ("--kernel linux-7.2.12", ["linux-7.2.12", "nearest: linux-7.2.13"]),
    ("--kernel 7.2.13", ['no kernel "7.2.13"', "nearest: linux-7.2.13"]),
    ("--threads 0", ["--threads", "0 is below 1", "nearest: 1"]),
    ("--threads x", ["--threads", "'x' is not a whole number"]),
    ("--threads 2.5", ["--threads", "'2.5'"]),
    ("--threads 4294967296", ["--threads", "4294967296", "nearest: 100000"]),
    ("--threads", ["--threads", "requires an argument"]),
    ("--cpus 0", ["--cpus", "nearest: 1"]),
    ("--cpus 5000", ["--cpus: 5000 is above 4096", "nearest: 4096"]),
    ("--pins -5", ["--pins", "-5 is below 1", "nearest: 1"]),
    ("--pins 1.5", ["'1.5' is not a whole number", "nearest: 1\n"]),
    ("--pins 2kk", ["'2kk' is not a whole number"]),
    ("--pins 1e30", ["--pins", "is above 18446744073709551615", "nearest: 18446744073709551615\n"]),
    ("--pins 2000 --set pins=100", ["--pins 2000", "contradicts --set pins=100"]),
    ("--cpus 2 --set profile.cpus=3", ["--cpus 2", "contradicts --set profile.cpus=3"]),
    ("--seed -1", ["--seed", "nearest: 0"]),
    ("--seed 18446744073709551616", ["--seed", "nearest: 18446744073709551615"]),
    ("--repeat 0", ["--repeat", "nearest: 1"]),
    ("--perturb 2", ["--perturb", "nearest: 1"]),
    ("--perturb x", ["--perturb", "'x'"]),
    ("--perturb nan", ["--perturb: nan is not a number from 0 to 1", "nearest: 0"]),
    ("--perturb 50%", ["'50%'", "nearest: 0.5"]),
    ("--timeout soon", ["--timeout", '"soon" is not a length of time', "nearest: 2s"]),
    ("--timeout 0s", ["--timeout: 0s is below 1ms", "nearest: 1ms"]),
    ("--timeout 500us", ["--timeout: 500us is below 1ms", "nearest: 1ms"]),
    ("--timeout 60", ['"60" is not a length of time such as "50us" or "2s";', "nearest: 60s"]),
    ("--timeout none", ['"none" is not a length of time such as "50us" or "2s";', "nearest: 2s"]),
    ("--timeout 40y", ["--timeout: 1262", "is above", "nearest: 1000000000s"]),
    ("--stall-after never", ["--stall-after", "never"]),
    ("--driver dream", ["--driver", "dream", "nearest: "]),
    ("--driver OS", ["--driver", '"OS"', "nearest: os"]),
    ("--format xml", ["--format", "'xml'", "json", "nearest: table"]),
    ("--set isolate_retries=many", ["isolate_retries", "many", "nearest: unlimited"]),
    ("--set isolate_retries=-1", ["isolate_retries", '"-1"', "nearest: 0"]),
    ("--set mglru=yes", ["mglru", '"yes"', "nearest: true"]),
    ("--set memory.movable=9999999999", ["memory.movable", "nearest: 4294967295"]),
    (
        "--set threads=4294967295",
        ['threads: "4294967295" is not a whole number from 1 to 100000', "nearest: 100000"],
    ),
    ("--set cpus=5000", ['cpus: "5000" is not a whole number from 1 to 4096', "nearest: 4096"]),
    (
        "--set churn.threads=4294967295",
        ["is not a whole number from 0 to 100000", "nearest: 100000"],
    ),
    ("--set ranges.pages=4294967295", ["MiB", "leaves"]),
    ("--set ranges.count=4294967295", ["MiB", "leaves"]),
    ("--set pinner.fill=4294967295", ["MiB", "leaves"]),
    ("--set perturb=half", ["perturb", '"half"', "nearest: 0"]),
    ("--set pinner.hold=50", ["pinner.hold", '"50"', "nearest: 50s"]),
    ("--set pinner.hold=never", ["pinner.hold", '"never"', 'or "none"', "nearest: none"]),
    ("--set isolate_retris=3", ["isolate_retris", "nearest: isolate_retries"]),
    ("--set isolate_retries", ["isolate_retries", "AXIS=VALUE"]),
    ("--threshold latency_ns.p98<1", ["latency_ns.p98", "nearest: latency_ns.p99"]),
    ("--threshold errors.ENOMEN<1", ["nearest: errors.ENOMEM"]),
    ("--threshold p99<1", ["'p99'", "latency_ns.p99 or sweeps.p99"]),
    ("--threshold calls.stuck", ["calls.stuck", "METRIC OP NUMBER"]),
    ("--threshold calls.stuck==none", ["'none'", "not a finite number"]),
    ("--threshold calls.stuck==nan", ["'nan'", "not a finite number"]),
    ("--threshold calls.stuck<inf", ["'inf'", "not a finite number"]),
    ("--policy bounded --threshold bonded:calls.stuck==0", ["'bonded'", "nearest: bounded"]),
    ("--json missing/r.json", ["--json missing/r.json", "No such file"]),
    ("--json .", ["--json .", "Is a directory"]),
    ("--polcy bounded", ["--polcy", "--policy"]),
    ("--threads 4 list policies", ["list", "before all options"]),
    ("--threads 4 matrix", ["matrix", "before all options"]),
    ("run extra", ["extra"]),
    ("matrx", ["matrx"]),
    ("list policy", ["'policy'", "nearest: policies"]),
    ("show policies bounded", ["'policies'", "nearest: policy"]),
    ("show policy bonded", ["bonded", "nearest: bounded"]),
    ("show policy", ["Missing argument"]),
]


@pytest.mark.parametrize(("line", "said"), BAD, ids=[line for line, _ in BAD])
def test_one_line_exit_2_nothing_written(cli: Cli, line: str, said: list[str]) -> None:
    args = line.split()
    if "--json" not in args and args[0].startswith("--"):
        args = ["--json", "r.json", *args]
    code, out, err = cli(*args)
    assert code == 2
    assert out == ""
    assert err.startswith("gupstress: ")
    assert err.count("\n") == 1
    for words in said:
        assert words in err
    assert os.listdir() == []


def test_a_file_of_another_kind_is_one_line(cli: Cli) -> None:
    Path("load.toml").write_text(_core.show("profile", "steady"))
    code, out, err = cli("--policy", "load.toml")
    assert (code, out) == (2, "")
    said = "--policy: load.toml is a profile, not a policy; nearest: --profile load.toml"
    assert err == f"gupstress: {said}\n"


def test_ill_typed_options_are_named_with_all_others(cli: Cli) -> None:
    options = ("--threads", "x", "--format", "tabel", "--set", "axis", "--policy", "bonded")
    code, out, err = cli(*options, "--quite", "--pins", "0", "--baseline", "none.json")
    assert (code, out) == (2, "")
    said = ["--quite", "--threads: 'x'", "--format: 'tabel'", "--set: 'axis'", "--pins: 0"]
    for one in [*said, '"bonded"', "none.json: cannot be read"]:
        assert sum(one in line for line in err.splitlines()) == 1, one
    assert len(err.splitlines()) == 7


def test_a_policy_may_come_from_standard_input(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gupstress", "--policy", "-", "--driver", "sim", "--quiet"]
    options = ["--threads", "2", "--cpus", "2", "--pins", "200", "--format", "json"]
    toml = 'name = "piped"\nbase = "bounded"\n'
    kept: dict[str, Any] = {"input": toml, "capture_output": True, "text": True}
    found = subprocess.run([*command, *options], check=True, **kept)
    assert json.loads(found.stdout)["results"][0]["policy"] == "piped"
    bad = subprocess.run([*command, "--profile", "-"], check=False, **kept)
    assert bad.returncode == 2
    assert "--profile -: standard input is the policy already" in bad.stderr


def test_a_file_with_two_mistakes_has_both_named_with_their_places(cli: Cli) -> None:
    Path("p.toml").write_text('base = "bounded"\nisolate_retris = 3\ndrain = "al"\n')
    code, out, err = cli("--policy", "p.toml")
    first, second = err.splitlines()
    assert (code, out) == (2, "")
    assert "p.toml:2: " in first
    assert "isolate_retries" in first
    assert "p.toml:3: " in second
    assert "nearest: all" in second


@pytest.mark.parametrize("axis", ["name", "summary", "policy.name", "kernel.summary"])
def test_an_axis_that_is_refused_is_not_proposed(cli: Cli, axis: str) -> None:
    code, _, err = cli("--set", f"{axis}=x")
    refused, _, near = err.partition("; nearest: ")
    assert code == 2
    assert f'no axis "{axis}"' in refused
    assert near.strip() not in ("name", "summary")


def test_a_base_that_there_is_not_has_its_place_and_hides_no_other_mistake(cli: Cli) -> None:
    Path("p.toml").write_text('drain = "al"\nbase = "bonded"\n')
    code, out, err = cli("--policy", "p.toml")
    first, second = err.splitlines()
    assert (code, out) == (2, "")
    assert first == 'gupstress: p.toml:2: no policy "bonded"; nearest: bounded'
    assert "p.toml:1: drain" in second


def test_values_of_a_wrong_type_have_a_nearest_one(cli: Cli) -> None:
    Path("p.toml").write_text(
        "base = 'bounded'\nisolate_retries = 2.0\nbackoff_min = 50\nsummary = 3\ndrain = 1\n"
    )
    _, _, err = cli("--policy", "p.toml")
    nearest = [line.partition("; nearest: ")[2] for line in err.splitlines()]
    assert nearest[:3] == ["2", "50s", '"3"']
    assert nearest[3]


def test_mistakes_of_several_options_are_all_named(cli: Cli) -> None:
    options = ("--policy", "bonded", "--kernel", "6.12", "--threshold", "calls.stick==0")
    code, _, err = cli(*options, "--threads", "-1", "--profile", "no.toml", "--set", "x=1")
    threads, profile, axis, kernel, policy, threshold = err.splitlines()
    assert code == 2
    assert "--threads: -1" in threads
    assert "no.toml: cannot be read" in profile
    assert '"x"' in axis
    assert '"6.12"' in kernel
    assert '"bonded"' in policy
    assert "nearest: calls.stuck" in threshold


def test_numbers_out_of_range_are_all_named(cli: Cli) -> None:
    code, _, err = cli("--threads", "0", "--pins", "-5", "--repeat", "0")
    assert code == 2
    assert [line.split(":")[1].strip() for line in err.splitlines()] == [
        "--threads",
        "--pins",
        "--repeat",
    ]


def test_a_file_that_is_no_text_is_named(cli: Cli) -> None:
    Path("p.toml").write_bytes(b"\xff\xfe")
    code, _, err = cli("--policy", "p.toml")
    assert code == 2
    assert err == "gupstress: p.toml: cannot be read: not UTF-8 text\n"


def test_a_file_name_may_be_a_path_without_toml(cli: Cli) -> None:
    code, _, err = cli("--policy", "./bounded")
    assert code == 2
    assert "./bounded: cannot be read: No such file" in err


def test_a_table_of_keys_takes_no_value(cli: Cli) -> None:
    for text, said in (
        ("pinner = 3", "pinner: 3 is not a table of keys; nearest: pinner.pages_min"),
        (
            "[[pinner]]\nmemlock = 1",
            "pinner: a list is not a table of keys; nearest: pinner.pages_min",
        ),
    ):
        Path("p.toml").write_text(f"name = 'x'\nbase = 'contended'\n{text}\n")
        code, out, err = cli("--profile", "p.toml")
        assert (code, out, err) == (2, "", f"gupstress: p.toml:3: {said}\n")
