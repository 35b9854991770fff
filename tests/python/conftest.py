"""What the tests share: a way to call the command, and results to look at."""

import copy
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from guests import kernel, qemu
from gupstress import _core
from gupstress.cli import invoke
from gupstress.outcome.results import PolicyResult
from gupstress.running import engine, runner
from gupstress.running.request import Request
from gupstress.running.result import RunResult

Row = dict[str, Any]

__all__ = ["kernel", "qemu"]

SMALL = Request(policies=("bounded",), driver="sim", threads=2, cpus=2, pins=200, seed=7)
"""A request that the simulator carries out at once, and alike every time."""

SMALL_OPTIONS = ("--driver", "sim", "--threads", "2", "--cpus", "2", "--pins", "200", "--seed", "7")

COMMAND = (sys.executable, "-m", "gupstress")

COLOURS = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "PY_COLORS", "COLORTERM")
WIDTH = ("TERM", "COLUMNS", "LINES")
SERVICE = ("CI", "BUILD_NUMBER", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY")
PYTEST = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_XDIST_WORKER", "MY_POLICY")
SURROUNDINGS = COLOURS + WIDTH + SERVICE + PYTEST
"""What in the environment changes what a command prints or does."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run what takes minutes, too")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes minutes; run with --slow only")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("slow") and not item.config.getoption("--slow"):
        pytest.skip("takes minutes: --slow")


class Ended(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True, scope="session")
def _interruptible() -> None:
    # What a shell without job control starts in the background ignores Ctrl-C, and so would
    # everything that is interrupted here.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _in_own_folder(tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    # A terminal, a CI service or a pytest around the tests would have a say in what they see.
    for name in SURROUNDINGS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    def call(*args: str) -> Ended:
        code = invoke(args)
        return Ended(code, *capfd.readouterr())

    return call


@pytest.fixture(scope="session")
def small_run() -> RunResult:
    return runner.run(runner.prepare(SMALL), ["gupstress"])


@pytest.fixture(scope="session")
def _real_row() -> Row:
    return runner.prepare(SMALL).plan.run(0, 1)


@pytest.fixture
def row(_real_row: Row) -> Row:
    """A result as the core gives it, to be changed at will; near to no cut of a matrix."""
    found = copy.deepcopy(_real_row)
    found["counters"]["drain_idle"] = 0
    return found


@pytest.fixture
def result(row: Row) -> PolicyResult:
    return PolicyResult.model_validate({**row, "repeat": 1})


@pytest.fixture
def no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it an error to run anything."""

    def refuse(*_: object) -> Row:
        raise AssertionError("ran")

    monkeypatch.setattr(engine.Plan, "run", refuse)


def job_of(plan: engine.Plan, policy: int, repeat: int) -> Row:
    """Return what one run of a plan was asked to be."""
    seed = (plan.asked["seed"] + repeat - 1) % 2**64
    policy_ = plan.asked["policies"][policy]
    return {**plan.asked, "policy": policy_, "seed": seed, "pins": plan.pins}


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch, row: Row) -> Callable[..., list[Row]]:
    """Put results in place of runs: each run gives the next row, the last one for ever.

    Returns the list of jobs that were asked for.
    """

    def put(*given: Row) -> list[Row]:
        jobs: list[Row] = []

        def run(plan: engine.Plan, policy: int, repeat: int, *_: object, **__: object) -> Row:
            job = job_of(plan, policy, repeat)
            jobs.append(job)
            found = given[min(len(jobs), len(given)) - 1] if given else row
            name = plan.policies[policy]["name"]
            return {**found, "policy": name, "seed": job["seed"], "repeat": repeat}

        monkeypatch.setattr(engine.Plan, "run", run)
        return jobs

    return put


def in_a_shell(line: str) -> "subprocess.CompletedProcess[str]":
    """Run what a user would type, with the commands that were installed with this Python."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        ["/usr/bin/env", "bash", "-c", line],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path},
    )


def come_to(row: Row, verdict: str) -> None:
    """Give a row a verdict, if that is worse than the one it has."""
    row["verdict"] = max(row["verdict"], verdict, key=_core.verdicts().index)


def stuck(row: Row, verdict: str = "livelocked") -> Row:
    """Change a row into one with a stuck call."""
    come_to(row, "stuck")
    row["status"] = "stuck"
    row["calls"]["issued"] += 1
    row["calls"]["stuck"] += 1
    row["liveness"] = {
        "verdict": verdict,
        "findings": [
            {
                "thread": 3,
                "step": "collect:isolate",
                "page": None,
                "obstacle": {"kind": "held", "holders": 2},
                "permanent": True,
                "sweeps": 1200,
                "waited_s": 2.1,
                "alone": "fails",
            }
        ],
    }
    return row


def unsafe(row: Row, pins: int = 1) -> Row:
    """Change a row into one with pins that must not be."""
    come_to(row, "unsafe")
    row["calls"]["issued"] += pins
    row["calls"]["pinned_unsafe"] += pins
    page = {
        "frame": 12,
        "refcount": 1025,
        "mapcount": 1,
        "flags": ["PG_lru"],
        "zone": "movable",
        "list": "inactive_anon",
        "batches": [[1, "lru_add"]],
        "obstacle": None,
    }
    pin = {"thread": 0, "sweeps": 1, "page": page}
    row["safety"] = {"verdict": "violated", "findings": [pin] * pins}
    return row


def broken(row: Row) -> Row:
    """Change a row into one of a machine with a bug."""
    come_to(row, "broken")
    finding = {"invariant": "acquired = released", "frame": None, "found": "7 and 6"}
    row["invariants"] = {"verdict": "broken", "checked": 9, "findings": [finding]}
    return row
