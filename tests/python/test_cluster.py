"""`--cluster`: whoever does the work, and whatever becomes of him, what comes of it is the same."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from conftest import COMMAND, SMALL_OPTIONS, Ended
from gupstress import _core
from gupstress.errors import ResourceError
from gupstress.running import cluster

Cli = Callable[..., Ended]

dask = pytest.importorskip("distributed", reason="needs gupstress[cluster]")

OF_THE_HOST = ("cpu_s", "wall_s", "elapsed_s", "schedules_per_s", "argv", "started_at", "host")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A scheduler with two workers."""
    with dask.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", memory_limit=0
    ) as workers:
        yield str(workers.scheduler_address)


def of_virtual_time(found: Any) -> Any:
    """Return a result without what the host has a say in."""
    if isinstance(found, dict):
        return {
            key: of_virtual_time(value)
            for key, value in found.items()
            if key not in OF_THE_HOST
            # Of a row it is the simulator's clock.
            or (key == "elapsed_s" and "liveness" in found)
        }
    return [of_virtual_time(one) for one in found] if isinstance(found, list) else found


def both(cli: Cli, address: str, *args: str) -> tuple[Any, str]:
    """Return what a command comes to on a cluster and in one process, once it is the same."""
    code, _, err = cli(*args, "--json", "spread.json", "--cluster", address)
    alone = cli(*args, "--json", "alone.json")
    assert code == alone.code, err
    spread, one = (json.loads(Path(f"{name}.json").read_text()) for name in ("spread", "alone"))
    assert of_virtual_time(spread) == of_virtual_time(one)
    return spread, err


def test_repeats_come_to_the_same(cli: Cli, address: str) -> None:
    args = ("--policy", "bounded", "--policy", "none", "--profile", "drain-race", "--repeat", "3")
    more = ("--abort-on", "none:pages.pinned<100", "--threads", "1,3", "--pins", "5000")
    found, err = both(cli, address, "run", *args, *more, "--driver", "sim", "--seed", "7")
    rows = [(row["policy"], row["repeat"], row["seed"]) for row in found["results"]]
    names = [f"{policy} threads={n}" for n in (1, 3) for policy in ("bounded", "none")]
    assert rows == [(name, n, 6 + n) for n in (1, 2, 3) for name in names]
    assert "aborted" in {row["status"] for row in found["results"]}
    assert "dashboard http://127.0.0.1:" in err


def test_a_job_file_comes_to_the_same(cli: Cli, address: str) -> None:
    Path("j.toml").write_text(
        'policy = "bounded"\ndriver = "sim"\nseed = 1\npins = 300\n'
        '[a]\nprofile = "steady"\nrepeat = 2\n[b]\nprofile = "short-refs"\n',
        encoding="utf-8",
    )
    found, _ = both(cli, address, "run", "j.toml")
    assert [one["name"] for one in found["sections"]] == ["a", "b"]


def test_a_matrix_comes_to_the_same_and_runs_what_is_close_again(cli: Cli, address: str) -> None:
    args = ("matrix", "--driver", "sim", "--seed", "1", "--pins", "300", "--threads", "2,4")
    of = ("--profile", "mlock-batch", "--profile", "drain-race", "--policy", "bounded")
    found, _ = both(cli, address, *args, *of, "--policy", "none")
    assert len(found["cells"]) == 8
    assert {cell["repeats"] for cell in found["cells"]} > {1}, "none was close"


def test_a_soak_comes_to_the_same(cli: Cli, address: str) -> None:
    args = ("soak", "--driver", "sim", "--profile", "steady", "--profile", "short-refs")
    found, _ = both_of_soak(cli, address, *args, "--seed", "1", "--cycles", "6")
    assert found["cycles"] == 6
    broken = (*args, "--profile", "prepinned", "--policy", "busted-lose-page", "--seed", "1")
    found, _ = both_of_soak(cli, address, *broken, "--cycles", "20")
    assert found["finding"]["kind"] == "broken"


def both_of_soak(cli: Cli, address: str, *args: str) -> tuple[Any, str]:
    err = cli(*args, "--json", "spread.json", "--cluster", address).err
    # In a process of its own: the cluster of the tests opens files in this one as it likes.
    subprocess.run((*COMMAND, *args, "--json", "alone.json"), check=False, capture_output=True)
    found = [json.loads(Path(f"{name}.json").read_text()) for name in ("spread", "alone")]
    for one in found:
        # Of the process that tells.
        del one["held"]
        for row in (one["finding"] or {"run": {"results": []}})["run"]["results"]:
            row["cpu_s"] = row["wall_s"] = 0
    assert of_virtual_time(found[0]) == of_virtual_time(found[1])
    return found[0], err


@pytest.mark.parametrize(
    "strategy",
    [
        ("random", "--schedules", "3000", "--keep-going"),
        ("random", "--schedules", "3000"),
        ("pct", "--schedules", "1000", "--keep-going"),
        ("bounded", "--preemptions", "1", "--keep-going"),
        ("bounded", "--preemptions", "1", "--schedules", "70", "--keep-going"),
    ],
    ids=" ".join,
)
def test_a_search_finds_the_same(cli: Cli, address: str, strategy: tuple[str, ...]) -> None:
    args = ("explore", "isolation-race", "--kernel", "linux-6.14", "--seed", "1")
    # How small a finding gets in a time is the host's: it has as long as it takes.
    more = ("--shrink", "1h", "--timeout", "1h", "--find", "unsafe,spurious", "--strategy")
    found, _ = both(cli, address, *args, *more, *strategy)
    assert found["status"] == "complete"
    assert found["findings"]


def test_a_worker_that_is_killed_midway_costs_time_only(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    spread = cluster._spread
    killed: list[int] = []

    def killing(*args: Any) -> Iterator[Any]:
        for number, result in enumerate(spread(*args)):
            if number == 1:
                # All others are waited for, and each worker has some of them.
                worker = next(
                    child
                    for child in psutil.Process().children(recursive=True)
                    if "spawn_main" in " ".join(child.cmdline())
                )
                killed.append(worker.pid)
                worker.send_signal(signal.SIGKILL)
                psutil.wait_procs([worker], timeout=60)
            yield result

    monkeypatch.setattr(cluster, "_spread", killing)
    args = ("explore", "isolation-race", "--kernel", "linux-6.14", "--seed", "1", "--keep-going")
    more = ("--schedules", "8000", "--timeout", "1h", "--shrink", "1h")
    found, err = both(cli, "local:2", *args, *more)
    assert len(killed) == 1
    assert not psutil.pid_exists(killed[0]) or psutil.Process(killed[0]).status() == "zombie"
    assert found["schedules"] == 8000
    assert found["findings"]
    assert "dashboard http://127.0.0.1:" in err


class Gone:
    """A client whose workers die of whatever they are given."""

    status = "running"
    cancelled = 0

    def nthreads(self) -> dict[str, int]:
        return {"one": 1}

    def submit(self, *_: object, **__: object) -> "Gone":
        return self

    def result(self) -> None:
        raise dask.KilledWorker("item", None, 3)

    def cancel(self, futures: list[object]) -> None:
        self.cancelled += len(futures)


def test_what_kills_every_worker_is_told() -> None:
    client = Gone()
    with pytest.raises(ResourceError, match="what was asked for killed 4 workers"):
        list(cluster._spread(dask, client, abs, range(100)))
    # A few are ahead of the first, and nobody waits for them now.
    assert client.cancelled == cluster._AHEAD - 1


def test_a_worker_of_another_make_is_refused(
    cli: Cli, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_build", lambda: ("9.9", "release"))
    code, _, err = cli("run", *SMALL_OPTIONS, "--policy", "bounded", "--cluster", address)
    assert code == 2, err
    has = f"a worker has {_core.__version__} {_core.build_profile}, not 9.9 release"
    assert f"--cluster: {has}; nearest: 9.9 release" in err


def test_without_the_extra_it_says_what_to_install(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    code, out, err = cli("explore", "--cluster", "local")
    assert (code, out) == (4, "")
    assert err == "gupstress: --cluster needs distributed: pip install 'gupstress[cluster]'\n"


SIM = ("--driver", "sim")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("run", *SIM, "--cluster", "local:0"), "--cluster local:0: 0 is below 1; nearest: 1"),
        (("matrix", *SIM, "--cluster", "local:x"), "local:x: 'x' is not a whole number; nearest"),
        (("explore", "--cluster", "here"), "no scheduler's address; nearest: local, or tcp://here"),
        (("run", "--cluster", "local"), "not driver os; nearest: --driver sim"),
        (("matrix", "--cluster", "local"), "not driver os; nearest: --driver sim"),
        (("soak", "--driver", "os", "--cluster", "local"), "not driver os; nearest: --driver sim"),
        (("run", *SIM, "--trace", "t.json", "--cluster", "local"), "not with --trace; nearest"),
        (
            ("explore", "--cluster", "tcp://127.0.0.1:1"),
            "--cluster tcp://127.0.0.1:1: no scheduler answers; nearest: local",
        ),
    ],
)
def test_bad_input_is_one_line(
    cli: Cli,
    no_run: None,
    monkeypatch: pytest.MonkeyPatch,
    args: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.setattr(cluster, "_ANSWER_S", 0.2)
    code, out, err = cli(*args)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1, err
    assert said in err.replace('"', "'"), err
