"""What a host may do to a run: limits, stops, signals, one CPU, a clock that is set."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

import gupstress
from conftest import COMMAND, in_a_shell
from gupstress.running.request import Driver
from gupstress.running.result import RunResult

DRIVERS: tuple[Driver, ...] = ("os", "sim")
SMALL = ("--threads", "8", "--policy", "bounded", "--seed", "1", "--pins", "2000")
NOBODY = 65_534


def limited(
    arguments: tuple[str, ...], kind: int, limit: int
) -> "subprocess.CompletedProcess[str]":
    """Run a command that has so much of something."""
    return subprocess.run(
        (*COMMAND, *arguments),
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(kind, (limit, limit)),
    )


# ---------------------------------------------------------------- limits


def test_a_file_that_may_not_be_as_long_is_refused_and_the_old_one_stays() -> None:
    Path("r.json").write_text("old")
    ended = limited(("run", *SMALL, "--json", "r.json"), resource.RLIMIT_FSIZE, 1000)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "gupstress: --json r.json: cannot be written: File too large\n"
    assert Path("r.json").read_text() == "old"
    assert os.listdir() == ["r.json"]


def loads(files: int) -> bool:
    return limited(("list", "policies"), resource.RLIMIT_NOFILE, files).returncode == 0


def test_few_descriptors_end_a_run_with_an_answer() -> None:
    least = next(files for files in range(3, 64) if loads(files))
    codes: list[int] = []
    for files in range(least, least + 6):
        options = ("run", *SMALL, "--quiet", "--json", "r.json", "--trace", "t.json")
        ended = limited(options, resource.RLIMIT_NOFILE, files)
        codes.append(ended.returncode)
        if ended.returncode == 0:
            RunResult.model_validate_json(Path("r.json").read_text())
        else:
            assert ended.returncode == 2, ended
            assert "Too many open files" in ended.stderr
            assert "Traceback" not in ended.stderr
        left = set(os.listdir()) - {"r.json", "t.json"}
        assert not left
    assert codes[-1] == 0, codes


REFUSED = """
import importlib, os, pkgutil, resource, sys
import gupstress
from gupstress.cli import invoke
from gupstress.running import host

# As where others start threads between the look at what is left and the start of ours.
host.thread_room = lambda *_: host.Room(1 << 20, "nothing")
options = [*sys.argv[1:3], "--policy", "bounded", "--quiet"]
# Who is nobody may not be let into the folder that the rest of this lies in.
for module in pkgutil.walk_packages(gupstress.__path__, "gupstress."):
    importlib.import_module(module.name)
invoke([*options, "--threads", "2", "--pins", "100"])
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(int(sys.argv[3]))
    os.setuid(int(sys.argv[3]))
resource.setrlimit(resource.RLIMIT_NPROC, (20, 20))
sys.exit(invoke([*options, "--threads", "64"]))
"""


def test_a_thread_that_is_refused_midway_ends_those_before_it() -> None:
    ended = subprocess.run(
        (sys.executable, "-c", REFUSED, "run", "--seed=1", str(NOBODY)),
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2, ended
    said = r"gupstress: thread \d+ of \d+ refused: .*"
    assert re.fullmatch(said, ended.stderr.splitlines()[-1])


# ---------------------------------------------------------------- stops and CPUs


def has_run(pid: int, seconds: float) -> None:
    """Wait until a process has had so much more CPU time."""
    process = psutil.Process(pid)
    before = sum(process.cpu_times()[:2])
    while sum(process.cpu_times()[:2]) < before + seconds:
        threading.Event().wait(0.01)


@pytest.mark.parametrize("driver", DRIVERS)
def test_who_was_stopped_and_goes_on_is_not_stuck(driver: Driver) -> None:
    """A stop of ten times `--stall-after`, three times over."""
    args = ("run", "--driver", driver, "--threads", "8", "--policy", "bounded", "--pins", "1e15")
    limits = ("--stall-after", "20ms", "--timeout", "1000s")
    with subprocess.Popen(
        (*COMMAND, *args, *limits, "--json", "r.json"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        lines = iter(process.stderr)
        while "page pins" not in next(lines):
            pass
        for _ in range(3):
            process.send_signal(signal.SIGSTOP)
            os.waitpid(process.pid, os.WUNTRACED)
            threading.Event().wait(0.2)
            process.send_signal(signal.SIGCONT)
            has_run(process.pid, 0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
    (row,) = json.loads(Path("r.json").read_text())["results"]
    assert row["liveness"]["findings"] == []
    assert row["calls"]["stuck"] == 0
    assert row["calls"]["issued"] > 0


def test_one_cpu_is_enough_for_64_threads() -> None:
    one = {min(os.sched_getaffinity(0))}
    options = (
        "--policy",
        "none",
        "--policy",
        "linux-7.2",
        "--policy",
        "cooperative",
        "--seed",
        "1",
    )
    ended = subprocess.run(
        (*COMMAND, "run", "--threads", "64", "--pins", "5000", *options, "--format", "json"),
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, one),
    )
    assert ended.returncode == 0, ended.stderr
    rows = json.loads(ended.stdout)["results"]
    assert [row["status"] for row in rows] == ["complete"] * 3
    assert [row["liveness"]["verdict"] for row in rows] == ["live"] * 3


# ---------------------------------------------------------------- a clock that is set

STEPPING = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <time.h>

/* The time of day steps by an hour, now on and now back, at each look at it. */
int clock_gettime(clockid_t clock, struct timespec *at)
{
    static int (*real)(clockid_t, struct timespec *);
    static atomic_uint looks;

    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, at);
    if (clock == CLOCK_REALTIME)
        at->tv_sec += atomic_fetch_add(&looks, 1) % 2 ? 3600 : -3600;
    return failed;
}
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_clock_that_is_set_changes_no_length_of_time(driver: Driver) -> None:
    Path("stepping.c").write_text(STEPPING)
    built = in_a_shell("cc -shared -fPIC -o stepping.so stepping.c -ldl")
    assert built.returncode == 0, built.stderr
    environment = {**os.environ, "LD_PRELOAD": str(Path("stepping.so").resolve())}
    look = "import time; a, b, c = (time.time() for _ in range(3)); print(abs(b - a) > 3000)"
    steps = subprocess.run(
        (sys.executable, "-c", look), env=environment, capture_output=True, text=True, check=True
    )
    assert steps.stdout == "True\n"
    ended = subprocess.run(
        (*COMMAND, "run", *SMALL, "--driver", driver, "--timeout", "1000s", "--format", "json"),
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert ended.returncode == 0, ended.stderr
    (row,) = RunResult.model_validate_json(ended.stdout).results
    assert row.status == "complete"
    assert 0 < row.elapsed_s < 1000


# ---------------------------------------------------------------- one process, many runs


def digest(driver: Driver, seed: int) -> tuple[object, ...]:
    """Run a little and return what must be the same each time."""
    run = gupstress.run(policy="bounded", driver=driver, threads=4, pins=500, seed=seed)
    (row,) = run.results
    assert row.invariants.verdict == "held"
    counted = row.counters.model_dump() if driver == "sim" else {}
    return (row.status, row.liveness.verdict, counted)


def played() -> tuple[object, ...]:
    """Play a little on a machine and return what can be seen of it."""
    machine = gupstress.Machine(cpus=4)
    pages = machine.map(32, "anon")
    for cpu in range(3):
        machine.touch(pages[cpu * 8 : cpu * 8 + 8], cpu=cpu)
    machine.touch(pages[24:], cpu=3)
    outcome = machine.pin(pages, cpu=3)
    return outcome.counters, machine.trace(), machine.page(pages, 0), machine.check()


FORKED = """
import os, sys
import gupstress

def digest():
    run = gupstress.run(policy="bounded", driver=sys.argv[1], threads=4, pins=500, seed=3)
    (row,) = run.results
    return repr((row.status, row.liveness.verdict, row.invariants.verdict))

before = digest()
child = os.fork()
if not child:
    os._exit(0 if digest() == before else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), digest() == before)
"""


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_child_that_is_forked_between_runs_runs_as_its_parent_does(driver: Driver) -> None:
    ended = subprocess.run(
        (sys.executable, "-W", "ignore", "-c", FORKED, driver),
        check=False,
        capture_output=True,
        text=True,
    )
    assert (ended.stdout, ended.stderr) == ("0 True\n", "")


def in_threads(count: int, work: Callable[[int], object]) -> list[object]:
    """Call a function in as many threads, at once, and return what they return in order."""
    found: list[object] = [None] * count
    together = threading.Barrier(count)

    def body(number: int) -> None:
        together.wait()
        try:
            found[number] = work(number)
        except BaseException as error:  # noqa: BLE001 - Shown by the comparison.
            found[number] = error

    threads = [threading.Thread(target=body, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_eight_threads_have_eight_machines() -> None:
    alone = played()
    assert in_threads(8, lambda _: played()) == [alone] * 8


@pytest.mark.parametrize("driver", DRIVERS)
def test_eight_threads_run_at_once_what_they_would_alone(driver: Driver) -> None:
    alone = [digest(driver, seed) for seed in range(8)]
    assert in_threads(8, lambda seed: digest(driver, seed)) == alone


@pytest.mark.parametrize("driver", DRIVERS)
def test_three_hundred_runs_leave_nothing_behind(driver: Driver) -> None:
    process = psutil.Process()

    def held() -> tuple[int, int, int]:
        return process.memory_info().rss, process.num_fds(), process.num_threads()

    for seed in range(50):
        digest(driver, seed)
    memory, *others = held()
    for seed in range(50, 300):
        digest(driver, seed)
    after, *others_after = held()
    assert others_after == others
    # What one run leaves behind is at least a page, were it only its threads' or its frames'.
    assert after - memory < 250 * resource.getpagesize()
