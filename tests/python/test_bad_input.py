"""Bad input: one line for each problem, exit 2, nothing written, nothing run."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Ended

Cli = Callable[..., Ended]

pytestmark = pytest.mark.usefixtures("no_run")

BAD = [
    ("--policy bonded", ["bonded", "nearest: bounded"]),
    ("--policy missing.toml", ["missing.toml", "No such file"]),
    ("--policy bounded --policy bounded", ["bounded", "more than once"]),
    ("--profile contend", ["contend", "nearest: contended"]),
    ("--kernel linux-7.2.12", ["linux-7.2.12", "nearest: linux-7.2.13"]),
    ("--threads 0", ["--threads", "0 is below 1", "nearest: 1"]),
    ("--threads x", ["--threads", "'x' is not a whole number"]),
    ("--threads 2.5", ["--threads", "'2.5'"]),
    ("--threads 4294967296", ["--threads", "4294967296", "nearest: 4294967295"]),
    ("--threads", ["--threads", "requires an argument"]),
    ("--cpus 0", ["--cpus", "nearest: 1"]),
    ("--pins -5", ["--pins", "-5 is below 1", "nearest: 1"]),
    ("--seed -1", ["--seed", "nearest: 0"]),
    ("--seed 18446744073709551616", ["--seed", "nearest: 18446744073709551615"]),
    ("--repeat 0", ["--repeat", "nearest: 1"]),
    ("--perturb 2", ["--perturb", "nearest: 1"]),
    ("--perturb x", ["--perturb", "'x'"]),
    ("--perturb nan", ["--perturb", "nan"]),
    ("--timeout soon", ["--timeout", "soon"]),
    ("--timeout 0s", ["--timeout", "nearest: 0.001"]),
    ("--stall-after never", ["--stall-after", "never"]),
    ("--driver dream", ["--driver", "dream", "nearest: "]),
    ("--format xml", ["--format", "xml", "json"]),
    ("--set isolate_retries=many", ["isolate_retries", "many", "unlimited"]),
    ("--set isolate_retris=3", ["isolate_retris", "nearest: isolate_retries"]),
    ("--set isolate_retries", ["isolate_retries", "AXIS=VALUE"]),
    ("--threshold latency_ns.p98<1", ["latency_ns.p98", "nearest: latency_ns.p99"]),
    ("--threshold errors.ENOMEN<1", ["nearest: errors.ENOMEM"]),
    ("--threshold p99<1", ["'p99'", "latency_ns.p99 or sweeps.p99"]),
    ("--threshold calls.stuck", ["calls.stuck", "METRIC OP NUMBER"]),
    ("--threshold calls.stuck==none", ["'none'", "not a number"]),
    ("--policy bounded --threshold bonded:calls.stuck==0", ["'bonded'", "nearest: bounded"]),
    ("--json missing/r.json", ["--json missing/r.json", "No such file"]),
    ("--json .", ["--json .", "Is a directory"]),
    ("--polcy bounded", ["--polcy", "--policy"]),
    ("--threads 4 list policies", ["list", "before all options"]),
    ("--threads 4 matrix", ["matrix", "before all options"]),
    ("run extra", ["extra"]),
    ("matrx", ["matrx"]),
    ("list policy", ["policy", "policies"]),
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


def test_a_file_with_two_mistakes_has_both_named_with_their_places(cli: Cli) -> None:
    Path("p.toml").write_text('base = "bounded"\nisolate_retris = 3\ndrain = "al"\n')
    code, out, err = cli("--policy", "p.toml")
    first, second = err.splitlines()
    assert (code, out) == (2, "")
    assert "p.toml:2: " in first
    assert "isolate_retries" in first
    assert "p.toml:3: " in second
    assert "nearest: all" in second


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
