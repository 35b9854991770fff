"""Traces: a file that viewers open, with every call in it and the newest events of each thread."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gupstress
from conftest import SMALL_OPTIONS, Ended
from gupstress.running.result import RunResult

Cli = Callable[..., Ended]
Event = dict[str, Any]

RUN = ("--quiet", "--policy", "bounded", "--policy", "none", *SMALL_OPTIONS)


def traced(cli: Cli, *options: str) -> tuple[RunResult, list[Event]]:
    ended = cli(*RUN, "--json", "r.json", "--trace", "t.json", *options)
    assert ended.code == 0, ended.err
    run = RunResult.model_validate_json(Path("r.json").read_text())
    return run, json.loads(Path("t.json").read_text())["traceEvents"]


def named(events: list[Event], kind: str) -> dict[tuple[int, ...], Event]:
    """Return the metadata of one kind by what it is of."""
    keys = ("pid", "tid") if kind == "thread_name" else ("pid",)
    return {
        tuple(event[key] for key in keys): event["args"]
        for event in events
        if event["name"] == kind
    }


def test_every_run_is_a_process_and_every_call_ends_in_its_class(cli: Cli) -> None:
    run, events = traced(cli, "--trace-last", "1000000")
    processes = named(events, "process_name")
    assert [args["name"] for args in processes.values()] == ["bounded", "none"]
    for (pid,), result in zip(processes, run.results, strict=True):
        classes = Counter(
            event["args"]["class"]
            for event in events
            if event["pid"] == pid and event["name"].startswith("pin: ")
        )
        counted = result.calls.model_dump(exclude={"issued", "interrupted"})
        assert classes == {name: count for name, count in counted.items() if count}


def test_steps_lie_within_their_calls_and_name_cpu_and_page(cli: Cli) -> None:
    _, events = traced(cli, "--trace-last", "1000000")
    slices = [
        event for event in events if event["ph"] == "X" and (event["pid"], event["tid"]) == (1, 0)
    ]
    calls = [
        (event["ts"], event["ts"] + event["dur"]) for event in slices if "class" in event["args"]
    ]
    sweeps = [event for event in slices if event["name"] == "pin:sweep"]
    assert len(sweeps) >= len(calls) > 3
    assert all(any(low <= sweep["ts"] <= high for low, high in calls) for sweep in sweeps)
    isolated = [event["args"] for event in slices if event["name"] == "collect:isolate"]
    assert isolated
    assert all(args.keys() == {"cpu", "frame"} for args in isolated)


def test_the_newest_events_are_kept_and_the_lost_are_counted(cli: Cli) -> None:
    _, whole = traced(cli, "--trace-last", "1000000")
    _, last = traced(cli, "--trace-last", "50")
    assert all(args["lost"] == 0 for args in named(whole, "thread_name").values())
    pinner = (1, 0)
    assert named(last, "thread_name")[pinner]["lost"] > 0

    def end(events: list[Event]) -> float:
        return max(float(e["ts"] + e["dur"]) for e in events if e["ph"] == "X" and e["pid"] == 1)

    assert end(last) == end(whole)
    assert len(last) < len(whole)


def test_every_thread_has_its_name(cli: Cli) -> None:
    _, events = traced(cli)
    names = {args["name"] for args in named(events, "thread_name").values()}
    assert {"pinner 0", "pinner 1", "churn 0", "short refs 0"} <= names
    # Those that had work.
    assert {"kworker/0", "kworker/1"} & names


def test_the_python_function_writes_the_same(cli: Cli) -> None:
    _, events = traced(cli, "--trace-last", "10")
    gupstress.run(
        policy=["bounded", "none"],
        driver="sim",
        threads=2,
        cpus=2,
        pins=200,
        seed=7,
        trace=Path("own.json"),
        trace_last=10,
    )
    assert json.loads(Path("own.json").read_text())["traceEvents"] == events


def test_a_run_without_a_trace_leaves_none(cli: Cli) -> None:
    assert cli(*RUN).code == 0
    assert os.listdir() == []


@pytest.mark.usefixtures("no_run")
@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--trace-last", "5"), "--trace-last says how much --trace keeps; nearest: --trace FILE"),
        (("--trace", "t", "--trace-last", "0"), "--trace-last: 0 is below 1; nearest: 1"),
        (("--trace", "no/t"), "--trace no/t: cannot be written: No such file or directory"),
        (
            ("--trace", "./r", "--json", "r"),
            "--trace ./r: is the file of --json; nearest: r-2.json",
        ),
        (
            ("--trace", "t", "--trace-last", "4294967295"),
            "; not even --threads 1 fits",
        ),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    cli: Cli, options: tuple[str, ...], line: str
) -> None:
    code, out, err = cli("--policy", "bounded", *options)
    assert (code, out) == (2, "")
    assert line in err
    assert err.count("\n") == 1
    assert os.listdir() == []


def test_a_trace_that_cannot_be_written_costs_no_result(cli: Cli) -> None:
    code, out, err = cli(*RUN, "--json", "r.json", "--trace", "/dev/full")
    assert code == 2
    assert "gupstress: SUCCESS" in out
    assert Path("r.json").exists()
    assert "--trace /dev/full: cannot be written: No space left on device" in err
