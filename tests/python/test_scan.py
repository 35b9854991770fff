"""Sweeps: a row for each value, one plot, and everything else as for policies."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gupstress
from conftest import Ended
from gupstress.reporting import figures
from gupstress.reporting.sources import Source
from gupstress.running import runner
from gupstress.running.request import Request

Cli = Callable[..., Ended]

SIM = {"driver": "sim", "seed": 1, "cpus": 2, "pins": 200}
OPTIONS = ["--driver", "sim", "--seed", "1", "--cpus", "2", "--pins", "200", "--quiet"]


def test_each_value_is_a_row() -> None:
    run = gupstress.run(policy=["bounded", "linux-7.2"], threads=[1, 3], **SIM)  # type: ignore[arg-type]
    assert [row.policy for row in run.results] == [
        "bounded threads=1",
        "linux-7.2 threads=1",
        "bounded threads=3",
        "linux-7.2 threads=3",
    ]
    assert [row.scan for row in run.results[::2]] == [{"threads": "1"}, {"threads": "3"}]
    assert {row.base_policy for row in run.results} == {"bounded", "linux-7.2"}
    assert run.settings.scan == {"threads": ("1", "3")}
    assert run["bounded threads=3"].resolved["profile"]["threads"] == 3
    # Only what is scanned makes a difference.
    alone = gupstress.run(policy="bounded", threads=3, **SIM)  # type: ignore[arg-type]
    assert run["bounded threads=3"].counters == alone["bounded"].counters


def test_keys_are_combined_and_repeated_in_turn() -> None:
    run = gupstress.run(
        policy="bounded",
        threads=[1, 2],
        scan={"isolate_retries": [3, 4], "pinner.dma": [False]},
        repeat=2,
        **SIM,  # type: ignore[arg-type]
    )
    points = [
        f"bounded threads={n} isolate_retries={r} pinner.dma=false" for n in (1, 2) for r in (3, 4)
    ]
    assert [row.policy for row in run.results] == points * 2
    assert run[points[1], 2].resolved["policy"]["isolate_retries"] == 4
    assert run[points[1], 2].seed == run[points[1], 1].seed + 1


def test_a_threshold_is_for_all_points_of_a_policy_or_for_one() -> None:
    thresholds = ["bounded:calls.stuck==0", "bounded threads=2:calls.issued<0"]
    run = gupstress.run(policy=["bounded", "none"], threads=[1, 2], threshold=thresholds, **SIM)  # type: ignore[arg-type]
    assert [(one.policy, one.passed) for one in run.thresholds] == [
        ("bounded threads=1", True),
        ("bounded threads=2", True),
        ("bounded threads=2", False),
    ]


def test_the_command_line_takes_lists(cli: Cli) -> None:
    once = ("--policy", "bounded", "--threads", "1, 2", "--scan", "isolate_retries=3,4", *OPTIONS)
    code, out, _ = cli(*once, "--json", "a.json", "--export-csv", "a.csv")
    assert code == 0
    assert "threads=1,2 cpus=2" in out
    (again,) = (line for line in out.splitlines() if line.startswith("reproduce: "))
    assert "--scan threads=1,2 --scan isolate_retries=3,4" in again
    found = json.loads(Path("a.json").read_text())
    assert [row["scan"]["threads"] for row in found["results"]] == ["1", "1", "2", "2"]
    table = list(csv.DictReader(Path("a.csv").read_text().splitlines()))
    assert [(row["policy"], row["isolate_retries"]) for row in table][:2] == [
        ("bounded threads=1 isolate_retries=3", "3"),
        ("bounded threads=1 isolate_retries=4", "4"),
    ]
    assert int(table[0]["calls.issued"]) == found["results"][0]["calls"]["issued"]


def test_the_report_has_one_plot_with_a_line_for_each_policy() -> None:
    run = gupstress.run(policy=["bounded", "linux-7.2"], threads=[2, 1], **SIM)  # type: ignore[arg-type]
    figure = figures.sweep([Source("a", run)])
    assert figure is not None
    assert figure.title == "Throughput by threads"
    assert [(trace["name"], trace["x"]) for trace in figure.traces] == [
        ("bounded", [1, 2]),
        ("linux-7.2", [1, 2]),
    ]
    assert figure.traces[0]["y"][1] == run["bounded threads=2"].throughput.pages_per_s
    assert figures.sweep([Source("a", gupstress.run(policy="bounded", threads=1, **SIM))]) is None  # type: ignore[arg-type]
    assert "Throughput by threads" in gupstress.report(run)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--threads", "1,x"], ["--threads", "'x' is not a whole number"]),
        (["--threads", "1,0"], ["--scan threads", "0 is below 1"]),
        (["--threads", "1,1"], ["1 more than once", "nearest: --repeat 2"]),
        (["--scan", "x"], ["'x' is not AXIS=A,B,C", "nearest: x=1,8,64"]),
        (["--scan", "threads=1,2", "--threads", "4"], ["contradicts --threads 4"]),
        (["--scan", "drian=all,never"], ["drian", "nearest: drain"]),
        (["--scan", "pins=1,2", "--scan", "pins=3,4"], ["pins is scanned already"]),
        (["--seed", "1,2"], ["--seed", "'1,2' is not a whole number"]),
    ],
)
def test_a_sweep_that_cannot_be(cli: Cli, no_run: None, words: list[str], said: list[str]) -> None:
    code, out, err = cli("--policy", "bounded", "--driver", "sim", *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert all(one in err for one in said)


def test_a_sweep_of_too_many_points_is_refused() -> None:
    axes: Any = (
        ("threads", tuple(map(str, range(1, 41)))),
        ("pins", tuple(map(str, range(1, 41)))),
    )
    with pytest.raises(gupstress.ConfigError, match="1600 points are more than 1000"):
        runner.prepare(Request(policies=("bounded",), scan=axes))


@pytest.mark.parametrize(
    ("word", "pins"),
    [("1e3", 1000), ("2k", 2000), ("1.5k", 1500), ("1M", 10**6), ("2G", 2 * 10**9)],
)
def test_numbers_may_be_written_short(word: str, pins: int) -> None:
    from gupstress.running.request import NUMBERS

    assert NUMBERS["pins"].parse(word) == pins


@pytest.mark.parametrize("word", ["1.5", "1e-3", "k", "1kk", "1 k", "0x10", "1_000", "1e9999"])
def test_what_is_no_whole_number_stays_none(word: str) -> None:
    from gupstress.running.request import NUMBERS

    with pytest.raises(ValueError, match="is not a whole number"):
        NUMBERS["pins"].parse(word)
