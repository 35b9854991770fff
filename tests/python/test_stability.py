"""Whether a run's numbers may be trusted: what came between, and what is said of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from conftest import SMALL, Ended, Row
from gupstress.outcome import stability
from gupstress.outcome.results import Disturbance, Interval, PolicyResult
from gupstress.running import disturbance, runner
from gupstress.running.disturbance import Reading
from gupstress.running.result import RunResult
from synthetic import repeat

Cli = Callable[..., Ended]
Rows = Callable[..., list[Row]]

QUIET = Disturbance(cpu_s=10, others_s=0, steal_s=0, quota_throttled_s=0, thermal_events=0, clock=1)


@pytest.fixture
def first(small_run: RunResult) -> PolicyResult:
    return small_run.results[0].model_copy(update={"timeline": ()})


def reasons(repeats: list[PolicyResult], build: str = "release") -> tuple[str, ...]:
    found = stability.judge(repeats, build)
    assert found.stable == (not found.reasons)
    return found.reasons


def at(first: PolicyResult, *rates: float) -> list[PolicyResult]:
    return [repeat(first, n, rate=rate) for n, rate in enumerate(rates, 1)]


def with_host(first: PolicyResult, **changes: Any) -> list[PolicyResult]:
    host = QUIET.model_copy(update=changes)
    return [first.model_copy(update={"disturbance": host})]


def with_timeline(first: PolicyResult, first_half: int, last_half: int) -> PolicyResult:
    steps = [0] + [first_half] * 6 + [last_half] * 5
    points, pinned = [], 500
    for number, step in enumerate(steps, 1):
        pinned += step
        points.append(Interval(t_s=number / 10, pages_pinned=pinned, calls=0))
    return first.model_copy(update={"timeline": tuple(points)})


# ---------------------------------------------------------------- the judgement


def test_what_nothing_disturbed_is_stable(first: PolicyResult) -> None:
    repeats = [
        with_timeline(row, 100, 95).model_copy(update={"disturbance": QUIET})
        for row in at(first, 95e4, 1e6, 102e4)
    ]
    assert reasons(repeats) == ()


def test_a_wide_spread_of_repeats(first: PolicyResult) -> None:
    # Deviations 0, 10, 10 % of the median: 10 % x 1.4826.
    said = ("pages_per_s of the repeats varies by 15% (MAD)",)
    assert reasons(at(first, 9e5, 1e6, 11e5)) == said
    assert reasons(at(first, 94e4, 1e6, 106e4)) == ()
    assert reasons(at(first, 7e5, 14e5)) == ()


def test_one_repeat_far_from_the_rest(first: PolicyResult) -> None:
    said = "a repeat's pages_per_s is {} the rest"
    assert reasons(at(first, 1e6, 1e6, 1e6, 5e5)) == (said.format("50% below"),)
    assert reasons(at(first, 1e6, 1e6, 1e6, 2e6)) == (said.format("100% above"),)
    assert reasons(at(first, 1e6, 1e6, 1e6, 6e5)) == ()


def test_drift_over_the_timeline(first: PolicyResult) -> None:
    said = "pages_per_s changes by {} from a run's first half to its last"
    assert reasons([with_timeline(first, 100, 80)]) == (said.format("-20%"),)
    assert reasons([with_timeline(first, 100, 120)]) == (said.format("+20%"),)
    assert reasons([with_timeline(first, 100, 92)]) == ()
    # One run that drifts among others that do not is no trend.
    assert reasons([with_timeline(first, 100, rate) for rate in (80, 100, 100)]) == ()


def test_a_short_timeline_has_no_halves(first: PolicyResult) -> None:
    long = with_timeline(first, 100, 50)
    assert reasons([long.model_copy(update={"timeline": long.timeline[3:]})]) == ()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"others_s": 1.2}, "other processes took 12% of the CPU time"),
        ({"steal_s": 1.2}, "the hypervisor took 12% of the CPU time"),
        ({"quota_throttled_s": 5}, "the CPU quota of the cgroup was used up"),
        ({"thermal_events": 1}, "a CPU slowed down because it was hot"),
        ({"clock": 0.8}, "the highest clock of the CPUs was lowered"),
    ],
)
def test_what_the_host_did(first: PolicyResult, changes: dict[str, float], said: str) -> None:
    assert reasons(with_host(first, **changes)) == (said,)


@pytest.mark.parametrize(
    "changes",
    [
        {"others_s": 0.9},
        {"steal_s": 0.9},
        {"quota_throttled_s": 0.0},
        {"clock": 0.95},
        {"clock": 1.3},
        {"thermal_events": None, "clock": None, "quota_throttled_s": None},
    ],
)
def test_what_a_quiet_host_does(first: PolicyResult, changes: dict[str, float]) -> None:
    assert reasons(with_host(first, **changes)) == ()


def test_a_host_that_was_watched_too_briefly_says_nothing(first: PolicyResult) -> None:
    brief = with_host(first, cpu_s=0.3, others_s=0.2)
    assert reasons(brief) == ()
    # Together they are long enough.
    assert reasons(brief * 4) == ("other processes took 67% of the CPU time",)


def test_a_build_whose_speed_says_nothing(first: PolicyResult) -> None:
    assert reasons([first], "debug") == ("a debug build",)
    assert reasons([first], "checked") == ("a checked build",)


def test_runs_that_did_not_end_by_themselves_are_not_judged_by_their_rates(
    first: PolicyResult,
) -> None:
    cut = [repeat(first, n, rate=1, status=status) for n, status in ((4, "stuck"), (5, "stuck"))]
    cut.append(repeat(first, 6, rate=1, status="interrupted"))
    assert reasons(at(first, 1e6, 1e6, 1e6) + cut) == ("3 of 6 runs were stuck or interrupted",)


# ---------------------------------------------------------------- in a run


def test_each_repeat_has_the_judgement_of_its_policy(rows: Rows, row: Row) -> None:
    rows(*({**row, "elapsed_s": n, "throughput": {"calls_per_s": 1, "pages_per_s": n}}
           for n in (10, 11, 10, 50, 10, 90)))  # fmt: skip
    request = runner.prepare(replace(SMALL, policies=("bounded", "none"), repeat=3))
    run = runner.run(request, [])
    found = {result.policy: result.stability for result in run.results}
    assert found["bounded"] is not None
    assert found["none"] is not None
    assert found["bounded"].stable
    assert not found["none"].stable
    assert all(result.stability == found[result.policy] for result in run.results)


def test_instability_is_printed_before_the_tables(cli: Cli, rows: Rows, row: Row) -> None:
    rows(*({**row, "throughput": {"calls_per_s": 1, "pages_per_s": n}} for n in (10, 10, 90)))
    options = ("--driver", "sim", "--threads", "2", "--pins", "200", "--repeat", "3")
    code, out, _ = cli("--policy", "bounded", *options)
    assert code == 0
    assert out.startswith(
        "note: bounded: times and rates may be unstable:"
        " a repeat's pages_per_s is 800% above the rest\n"
    )


def test_a_run_on_real_threads_is_watched_and_one_on_a_virtual_clock_is_not(
    small_run: RunResult, rows: Rows
) -> None:
    assert small_run.results[0].disturbance is None
    rows()
    request = replace(SMALL, driver="os")
    (result,) = runner.run(runner.prepare(request), []).results
    assert result.disturbance is not None
    assert result.disturbance.cpu_s >= 0


# ---------------------------------------------------------------- the readings


def reading(**changes: Any) -> Reading:
    known = Reading(
        cpu_s=100,
        idle_s=50,
        steal_s=5,
        own_s=10,
        quota_s=None,
        thermal_events=None,
        highest_khz=None,
    )
    return known._replace(**changes)


def test_what_others_took_is_what_was_busy_and_not_our_own() -> None:
    found = disturbance.between(reading(), reading(cpu_s=120, idle_s=53, steal_s=6, own_s=22))
    # Of 20 s: 3 idle, 1 stolen, 12 our own.
    assert (found.cpu_s, found.steal_s, found.others_s) == (20, 1, 4)
    assert (found.quota_throttled_s, found.thermal_events, found.clock) == (None, None, None)


def test_rounding_makes_no_negative_load() -> None:
    found = disturbance.between(reading(), reading(cpu_s=101, own_s=11.02, steal_s=4.99))
    assert (found.others_s, found.steal_s) == (0, 0)


def test_throttling_is_the_difference_of_two_readings() -> None:
    before = reading(quota_s=2.0, thermal_events=7, highest_khz=4_000_000)
    after = reading(quota_s=2.5, thermal_events=9, highest_khz=3_000_000)
    found = disturbance.between(before, after)
    assert (found.quota_throttled_s, found.thermal_events, found.clock) == (0.5, 2, 0.75)


def put(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_host_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cpu(**changes: float) -> object:
        names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
        times = {**dict.fromkeys((*names, "guest", "guest_nice"), 1.0), **changes}

        class Times(SimpleNamespace):
            def __iter__(self) -> Any:
                return iter(vars(self).values())

        return Times(**times)

    every = [cpu(), cpu(idle=100), cpu(steal=3)]
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: every)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 2})
    put(tmp_path, "proc/self/cgroup", "4:cpu:/old\n0::/box/inner\n")
    put(tmp_path, "sys/fs/cgroup/box/cpu.stat", "usage_usec 9\nthrottled_usec 1500000\n")
    put(tmp_path, "sys/fs/cgroup/box/inner/cpu.stat", "usage_usec 9\n")
    for cpu_number in (0, 1):
        folder = f"sys/devices/system/cpu/cpu{cpu_number}"
        put(tmp_path, f"{folder}/thermal_throttle/core_throttle_count", "3\n")
        put(tmp_path, f"{folder}/cpufreq/scaling_max_freq", "2000000\n")
    found = disturbance.read(tmp_path)
    # Guests' time is in the user's already, and CPU 1 is not ours.
    assert (found.cpu_s, found.idle_s, found.steal_s) == (8 + 10, 4, 1 + 3)
    assert found.own_s > 0
    assert found.quota_s == 1.5
    assert found.thermal_events == 6
    assert found.highest_khz == 4_000_000


def test_a_host_that_does_not_tell(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/cgroup", "0::/\n")
    put(tmp_path, "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq", "<unsupported>\n")
    found = disturbance.read(tmp_path)
    assert (found.quota_s, found.thermal_events, found.highest_khz) == (None, None, None)
