"""What is left of the host's threads and memory, by every limit that holds."""

import os
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from gupstress.running import host
from gupstress.running.engine import Needs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host on which nothing but the kernel's own limits hold."""
    for name, text in {
        "proc/loadavg": "0.1 0.2 0.3 1/100 4242\n",
        "proc/sys/kernel/threads-max": "5100\n",
        "proc/sys/kernel/pid_max": "32768\n",
        "proc/self/cgroup": "0::/user/app\n",
        "proc/sys/vm/overcommit_memory": "0\n",
    }.items():
        put(tmp_path, name, text)
    return tmp_path


def put(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_threads_of_root_are_those_that_the_kernel_leaves(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("resource.getrlimit", lambda kind: (1, 1))
    assert host.thread_room(root) == host.Room(5000, "kernel.threads-max")


def test_an_ancestors_limit_holds_too(root: Path) -> None:
    put(root, "sys/fs/cgroup/user/app/pids.max", "max\n")
    put(root, "sys/fs/cgroup/user/app/pids.current", "3\n")
    put(root, "sys/fs/cgroup/user/pids.max", "40\n")
    put(root, "sys/fs/cgroup/user/pids.current", "10\n")
    assert host.thread_room(root) == host.Room(30, "cgroup pids.max")


def test_a_users_limit_holds_for_all_but_root(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("resource.getrlimit", lambda kind: (10_000, 10_000))
    used = 10_000 - host.thread_room(root).left
    assert host.thread_room(root).limit == "kernel.threads-max"
    monkeypatch.setattr("resource.getrlimit", lambda kind: (4000, 10_000))
    assert host.thread_room(root).limit == "RLIMIT_NPROC (ulimit -u)"
    assert used > 0


def test_memory_does_not_count_a_cgroups_page_cache(root: Path) -> None:
    group = "sys/fs/cgroup/user/app"
    put(root, f"{group}/memory.max", "1000000\n")
    put(root, f"{group}/memory.current", "900000\n")
    put(root, f"{group}/memory.stat", "anon 400000\ninactive_file 500000\n")
    assert host.memory_room(root) == host.Room(540_000, "cgroup memory.max")


def test_memory_of_a_version_1_cgroup(root: Path) -> None:
    put(root, "proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/box\n")
    group = "sys/fs/cgroup/memory/box"
    put(root, f"{group}/memory.limit_in_bytes", "1000000\n")
    put(root, f"{group}/memory.usage_in_bytes", "500000\n")
    put(root, f"{group}/memory.stat", "inactive_file 1\ntotal_inactive_file 100000\n")
    assert host.memory_room(root) == host.Room(540_000, "cgroup memory.limit_in_bytes")


def test_memory_without_a_cgroup_is_what_is_free(root: Path) -> None:
    room = host.memory_room(root)
    assert room.limit == "free memory"
    assert 0 < room.left < psutil.virtual_memory().total


def test_memory_under_a_limit_of_address_space(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used = psutil.Process().memory_info().vms
    arenas = 8 * (os.cpu_count() or 1) * (64 << 20)
    monkeypatch.setattr("resource.getrlimit", lambda kind: (used + arenas + 1000, -1))
    monkeypatch.setattr(psutil.Process, "memory_info", lambda self: SimpleNamespace(vms=used))
    assert host.memory_room(root) == host.Room(900, "RLIMIT_AS (ulimit -v)")
    monkeypatch.setattr("resource.getrlimit", lambda kind: (used, -1))
    assert host.memory_room(root) == host.Room(0, "RLIMIT_AS (ulimit -v)")


def test_memory_where_the_kernel_overcommits_nothing(root: Path) -> None:
    put(root, "proc/sys/vm/overcommit_memory", "2\n")
    put(root, "proc/meminfo", "CommitLimit: 3 kB\nCommitted_AS: 1 kB\n")
    room = host.Room(int(2048 * 0.9), "CommitLimit (vm.overcommit_memory=2)")
    assert host.memory_room(root) == room


def test_what_fits_is_no_shortage() -> None:
    needs = Needs(threads=8, os_threads=20, memory_bytes=1000, cpus=4)
    assert host.shortage(needs, host.Room(20, "a"), host.Room(1000, "b")) is None
    assert host.shortage(needs, host.Room(19, "a"), host.Room(1000, "b")) is not None
    assert host.shortage(needs, host.Room(20, "a"), host.Room(999, "b")) is not None


def test_facts_describe_this_host() -> None:
    facts = host.facts()
    assert facts.cpus >= 1
    assert facts.memory_bytes == psutil.virtual_memory().total
    assert facts.cpu_model
    assert facts.kernel.startswith("Linux ")
