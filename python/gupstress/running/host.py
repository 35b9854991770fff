"""The machine a run is made on: its facts, and what it has left."""

import os
import platform
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from gupstress.outcome.results import Host
from gupstress.running.engine import Needs


def facts() -> Host:
    """Return what describes this machine, with its load at this moment."""
    return Host(
        kernel=f"{platform.system()} {platform.release()}",
        cpu_model=_cpu_model(),
        cpus=len(os.sched_getaffinity(0)),
        memory_bytes=psutil.virtual_memory().total,
        load=os.getloadavg(),
    )


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    # Not every architecture gives its processor a name there.
    return platform.machine()


class Room(NamedTuple):
    """How much of something a limit leaves."""

    left: int
    limit: str
    """Who sets the limit."""


class _Controller(NamedTuple):
    """The files of a cgroup controller: `(limit, usage)`."""

    name: str
    v2: tuple[str, str]
    v1: tuple[str, str]


_PIDS = _Controller("pids", ("pids.max", "pids.current"), ("pids.max", "pids.current"))
_MEMORY = _Controller(
    "memory",
    ("memory.max", "memory.current"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes"),
)

_MEMORY_SHARE = 0.9
"""Of the memory that is left, what a run may take; the rest keeps the host alive."""


def thread_room(root: Path = Path("/")) -> Room:
    """Return how many more threads can be started.

    Args:
        root: Where `proc` and `sys` are.
    """
    rooms = list(_cgroup_rooms(root, _PIDS))
    running = int((root / "proc/loadavg").read_text().split()[3].partition("/")[2])
    for limit in ("threads-max", "pid_max"):
        most = int((root / "proc/sys/kernel" / limit).read_text())
        rooms.append(Room(most - running, f"kernel.{limit}"))
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    # The kernel does not hold root to this one.
    if soft != resource.RLIM_INFINITY and os.geteuid() != 0:
        rooms.append(Room(soft - _threads_of_user(), "RLIMIT_NPROC (ulimit -u)"))
    return min(rooms)


def _threads_of_user() -> int:
    user = os.getuid()
    return sum(
        process.info["num_threads"] or 0
        for process in psutil.process_iter(["uids", "num_threads"])
        if process.info["uids"] is not None and process.info["uids"].real == user
    )


def memory_room(root: Path = Path("/")) -> Room:
    """Return how many bytes a run may use.

    Args:
        root: Where `proc` and `sys` are.
    """
    rooms = [*_cgroup_rooms(root, _MEMORY), Room(psutil.virtual_memory().available, "free memory")]
    rooms += [*_address_space(), *_committed(root)]
    left, limit = min(rooms)
    return Room(int(max(left, 0) * _MEMORY_SHARE), limit)


_ARENA = 64 << 20
"""Address space that malloc sets aside for a thread's allocations, for 8 threads a CPU at most."""


def _address_space() -> Iterator[Room]:
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        arenas = 8 * (os.cpu_count() or 1) * _ARENA
        used = psutil.Process().memory_info().vms + arenas
        yield Room(soft - used, "RLIMIT_AS (ulimit -v)")


def _committed(root: Path) -> Iterator[Room]:
    # Only then the kernel refuses what it could not back.
    if (root / "proc/sys/vm/overcommit_memory").read_text().strip() != "2":
        return
    lines = (root / "proc/meminfo").read_text().splitlines()
    kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    left = (kib["CommitLimit"] - kib["Committed_AS"]) << 10
    yield Room(left, "CommitLimit (vm.overcommit_memory=2)")


def _cgroup_rooms(root: Path, controller: _Controller) -> Iterator[Room]:
    mount = root / "sys/fs/cgroup"
    for line in (root / "proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if not names:
            top, (limit, usage) = mount, controller.v2
        elif controller.name in names.split(","):
            top, (limit, usage) = mount / controller.name, controller.v1
        else:
            continue
        group = top / path.strip("/")
        # Each ancestor's limit holds too; which of them are visible depends on the namespace.
        for place in (group, *group.parents):
            if place.is_relative_to(top) and (place / limit).exists():
                most = (place / limit).read_text().strip()
                if most != "max":
                    used = int((place / usage).read_text()) - _reclaimable(place, controller)
                    yield Room(int(most) - used, f"cgroup {limit}")


def _reclaimable(group: Path, controller: _Controller) -> int:
    """Return the bytes of page cache that a cgroup's usage counts but gives up when asked."""
    if controller is not _MEMORY:
        return 0
    stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    return int(stat.get("total_inactive_file", stat["inactive_file"]))


def shortage(needs: Needs, threads: Room, memory: Room) -> str | None:
    """Return what a run needs and the host does not have, None if it fits."""
    if needs.os_threads > threads.left:
        return (
            f"{needs.threads} pinning threads need {needs.os_threads} threads in all,"
            f" {threads.limit} leaves {threads.left}"
        )
    if needs.memory_bytes > memory.left:
        return (
            f"{needs.threads} pinning threads on {needs.cpus} CPUs need"
            f" {needs.memory_bytes / 2**20:.0f} MiB,"
            f" {memory.limit} leaves {memory.left / 2**20:.0f} MiB"
        )
    return None
