"""What comes between a run and its CPUs: other processes, the hypervisor, throttling.

Everything is the difference of two readings, one before and one after the run.
"""

import os
import resource
from pathlib import Path
from typing import NamedTuple

import psutil

from gupstress.outcome.results import Disturbance


class Reading(NamedTuple):
    """The host's counters at one moment; None where it has none."""

    cpu_s: float
    """CPU time that has passed on the CPUs of this process, busy or not."""
    idle_s: float
    steal_s: float
    own_s: float
    """CPU time of this process."""
    quota_s: float | None
    thermal_events: int | None
    highest_khz: int | None


def read(root: Path = Path("/")) -> Reading:
    """Return what the host's counters say now.

    Args:
        root: Where `sys` and `proc` are.
    """
    mine = os.sched_getaffinity(0)
    every = psutil.cpu_times(percpu=True)
    cpus = [cpu for number, cpu in enumerate(every) if number in mine] or every
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return Reading(
        # What guests took is in `user` and `nice` already.
        cpu_s=sum(sum(cpu) - cpu.guest - cpu.guest_nice for cpu in cpus),
        idle_s=sum(cpu.idle + cpu.iowait for cpu in cpus),
        steal_s=sum(cpu.steal for cpu in cpus),
        own_s=usage.ru_utime + usage.ru_stime,
        quota_s=_quota_throttled_s(root),
        thermal_events=_sum(root, "thermal_throttle/*_throttle_count"),
        highest_khz=_sum(root, "cpufreq/scaling_max_freq"),
    )


def between(start: Reading, end: Reading) -> Disturbance:
    """Return what came between a run and its CPUs, from readings before and after it."""
    cpu_s, steal_s = end.cpu_s - start.cpu_s, end.steal_s - start.steal_s
    busy_s = cpu_s - (end.idle_s - start.idle_s) - steal_s
    quota_s = events = clock = None
    if start.quota_s is not None and end.quota_s is not None:
        quota_s = end.quota_s - start.quota_s
    if start.thermal_events is not None and end.thermal_events is not None:
        events = end.thermal_events - start.thermal_events
    if start.highest_khz and end.highest_khz:
        clock = end.highest_khz / start.highest_khz
    return Disturbance(
        cpu_s=cpu_s,
        # Counted apart from each other, so that their difference may fall below nothing.
        others_s=max(0.0, busy_s - (end.own_s - start.own_s)),
        steal_s=max(0.0, steal_s),
        quota_throttled_s=quota_s,
        thermal_events=events,
        clock=clock,
    )


def _sum(root: Path, name: str) -> int | None:
    """Return the sum of a file of each CPU, None if it cannot be told."""
    files = list((root / "sys/devices/system/cpu").glob(f"cpu[0-9]*/{name}"))
    try:
        return sum(int(file.read_text()) for file in files) if files else None
    except (OSError, ValueError):
        # Some drivers have the file and refuse to read it, or read `<unsupported>`.
        return None


def _quota_throttled_s(root: Path) -> float | None:
    """Return how long this process's cgroup, or one above it, has been out of CPU quota."""
    mount, found = root / "sys/fs/cgroup", []
    for line in (root / "proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        # Only the one hierarchy of version 2 has no name.
        if names:
            continue
        group = mount / path.strip("/")
        for place in (group, *group.parents):
            stat = place / "cpu.stat"
            if place.is_relative_to(mount) and stat.exists():
                counters = dict(line.split() for line in stat.read_text().splitlines())
                if "throttled_usec" in counters:
                    found.append(int(counters["throttled_usec"]) / 1e6)
    return max(found, default=None)
