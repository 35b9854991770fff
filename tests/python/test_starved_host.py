"""A host that gives too little is nobody's livelock."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from gupstress.running import runner
from gupstress.running.engine import Observer, Snapshot
from gupstress.running.request import Request
from gupstress.running.runner import Turn

HEALTHY = ("none", "bounded", "linux-7.2", "cooperative")
FALSE = {"starved", "livelocked", "deadlocked"}


@pytest.fixture
def hogs() -> Iterator[None]:
    """Sixteen programs for each CPU that do nothing but take its time."""
    code = "while True: pass"
    many = range(16 * (os.cpu_count() or 1))
    running = [subprocess.Popen((sys.executable, "-c", code)) for _ in many]
    yield
    for hog in running:
        hog.kill()
    for hog in running:
        hog.wait()


def throttling(turn: Turn) -> "contextmanager[Observer]":  # type: ignore[valid-type]
    """Leave every third thread of a run, pinners and kworkers alike, what nobody else wants.

    Beside sixteen hogs that is less than a thousandth of a CPU.
    """
    over = threading.Event()

    def throttle() -> None:
        throttled: set[str] = set()
        while not over.wait(0.005):
            for task in Path("/proc/self/task").iterdir():
                # One that has ended meanwhile is no matter.
                with suppress(OSError):
                    name = (task / "comm").read_text().strip().rpartition("gupstress-")[2]
                    if task.name not in throttled and name.isdigit() and int(name) % 3 == 0:
                        os.sched_setscheduler(int(task.name), os.SCHED_IDLE, os.sched_param(0))
                        throttled.add(task.name)

    @contextmanager
    def watching() -> Iterator[Observer]:
        thread = threading.Thread(target=throttle)
        thread.start()

        def observe(now: Snapshot) -> None:
            pass

        try:
            yield observe
        finally:
            over.set()
            thread.join()

    return watching()


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.usefixtures("hogs")
@pytest.mark.parametrize("watch", [runner.unwatched, throttling], ids=["hogs", "throttled"])
@pytest.mark.parametrize("stall_after_s", [0.3, None])
@pytest.mark.parametrize("profile", ["drain-storm", "contended"])
def test_no_healthy_policy_is_called_stuck_on_a_starved_host(
    watch: runner.Watch, stall_after_s: float | None, profile: str
) -> None:
    # Four policies, seven times each way: more than two hundred runs in all.
    load = Request(policies=HEALTHY, profile=profile, threads=16, pins=2000, timeout_s=8.0)
    request = replace(load, stall_after_s=stall_after_s, repeat=7, seed=1)
    run = runner.run(runner.prepare(request), [], watch)
    assert len(run.results) == len(HEALTHY) * 7
    found = [(result.policy, result.liveness.verdict) for result in run.results]
    assert not [one for one in found if one[1] in FALSE], found
    assert not [result.calls.stuck for result in run.results if result.calls.stuck]


@pytest.mark.parametrize(
    ("policy", "profile", "verdict"),
    [
        ("unbounded", "zero-page", {"livelocked"}),
        ("busted-hold-lock", "same-range", {"livelocked"}),
        ("busted-wait-cycle", "same-range", {"deadlocked"}),
    ],
)
@pytest.mark.slow
def test_what_is_stuck_is_found_on_real_threads(
    policy: str, profile: str, verdict: set[str]
) -> None:
    request = Request(policies=(policy,), profile=profile, seed=1, repeat=5, stall_after_s=0.3)
    run = runner.run(runner.prepare(request), [])
    assert {result.liveness.verdict for result in run.results} == verdict
    assert all(result.calls.stuck for result in run.results)
