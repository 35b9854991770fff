"""A host that gives too little is nobody's livelock."""

import os
import subprocess
import sys
import tempfile
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


CPU = Path("/sys/fs/cgroup/cpu")


@contextmanager
def throttling(turn: Turn) -> Iterator[Observer]:
    """Give every third thread of a run, pinners and kworkers alike, a thousandth of one CPU.

    All of them together: they share one cgroup.
    """
    group = Path(tempfile.mkdtemp(prefix="gupstress-", dir=CPU))
    (group / "cpu.cfs_period_us").write_text("1000000")
    (group / "cpu.cfs_quota_us").write_text("1000")
    over = threading.Event()

    def throttle() -> None:
        throttled: set[str] = set()
        while not over.wait(0.005):
            for task in Path("/proc/self/task").iterdir():
                # One that has ended meanwhile is no matter.
                with suppress(OSError):
                    name = (task / "comm").read_text().strip().rpartition("gupstress-")[2]
                    if task.name not in throttled and name.isdigit() and int(name) % 3 == 0:
                        (group / "tasks").write_text(task.name)
                        throttled.add(task.name)

    def observe(now: Snapshot) -> None:
        pass

    thread = threading.Thread(target=throttle)
    thread.start()
    try:
        yield observe
        # With nobody out of quota, this would be any run.
        assert "nr_throttled 0" not in (group / "cpu.stat").read_text().splitlines()
    finally:
        over.set()
        thread.join()
        group.rmdir()


@pytest.fixture
def watch(request: pytest.FixtureRequest) -> runner.Watch:
    """A run on a host of which others take most, or with some threads throttled."""
    if request.param == "hogs":
        request.getfixturevalue("hogs")
        return runner.unwatched
    if not os.access(CPU, os.W_OK):
        pytest.skip(f"no cgroups of the CPU controller can be made in {CPU}")
    return throttling


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("watch", ["hogs", "throttled"], indirect=True)
@pytest.mark.parametrize("stall_after_s", [0.3, None])
@pytest.mark.parametrize("profile", ["drain-storm", "contended"])
def test_no_healthy_policy_is_called_stuck_on_a_starved_host(
    watch: runner.Watch, stall_after_s: float | None, profile: str
) -> None:
    # Four policies, seven times each way: more than two hundred runs in all.
    # No run is over before its slow threads have used up what they may.
    load = Request(policies=HEALTHY, profile=profile, threads=16, pins=1_000_000, timeout_s=12.0)
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
