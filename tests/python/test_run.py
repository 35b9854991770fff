"""Running: order, seeds, what ends a run early, and what the exit code says of it."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from conftest import SMALL, SMALL_OPTIONS, Ended, Row, broken, stuck, unsafe
from gupstress.errors import ResourceError
from gupstress.running import engine, host, progress, runner
from gupstress.running.engine import Observer, Snapshot
from gupstress.running.result import RunResult
from gupstress.running.runner import Turn

Cli = Callable[..., Ended]
Rows = Callable[..., list[Row]]


def order(interleave: bool, rows: Rows) -> list[tuple[object, object]]:
    jobs = rows()
    request = replace(SMALL, policies=("none", "bounded"), repeat=3, interleave=interleave)
    run = runner.run(runner.prepare(request), [])
    assert [result.repeat for result in run.results] == (
        [1, 1, 2, 2, 3, 3] if interleave else [1, 2, 3, 1, 2, 3]
    )
    return [(job["policy"]["name"], job["seed"]) for job in jobs]


def test_repeats_go_round_robin_and_each_has_a_seed_of_its_own(rows: Rows) -> None:
    assert order(True, rows) == [
        ("none", 7),
        ("bounded", 7),
        ("none", 8),
        ("bounded", 8),
        ("none", 9),
        ("bounded", 9),
    ]


def test_repeats_go_policy_by_policy_where_asked(rows: Rows) -> None:
    assert [policy for policy, _ in order(False, rows)] == ["none"] * 3 + ["bounded"] * 3


def test_seeds_stay_in_their_range(rows: Rows) -> None:
    jobs = rows()
    runner.run(runner.prepare(replace(SMALL, seed=2**64 - 1, repeat=2)), [])
    assert [job["seed"] for job in jobs] == [2**64 - 1, 0]


def test_a_seed_is_drawn_and_said(rows: Rows, cli: Cli) -> None:
    jobs = rows()
    _, out, err = cli("--policy", "bounded")
    assert err == f"gupstress: seed {jobs[0]['seed']}\n"
    assert f"--seed {jobs[0]['seed']}" in out
    cli("--policy", "bounded")
    assert jobs[0]["seed"] != jobs[1]["seed"]


def test_the_presets_are_run_where_no_policy_is_named(rows: Rows, cli: Cli) -> None:
    jobs = rows()
    cli("--quiet")
    names = [job["policy"]["name"] for job in jobs]
    assert names[:4] == ["none", "unbounded", "bounded", "linux-7.2"]
    assert set(names[4:]) <= {"cooperative"}


def test_the_policy_kernel_is_the_rule_sets_own() -> None:
    request = replace(SMALL, policies=("kernel",), kernel="linux-6.12.43")
    (result,) = runner.run(runner.prepare(request), []).results
    assert (result.policy, result.kernel) == ("linux-5.13", "linux-6.12.43")


def test_a_set_axis_reaches_the_policy_that_is_run() -> None:
    request = replace(SMALL, sets=(("isolate_retries", "5"),))
    (result,) = runner.run(runner.prepare(request), []).results
    assert result.resolved["policy"]["isolate_retries"] == 5


def test_what_a_show_prints_is_taken_back(cli: Cli) -> None:
    Path("mine.toml").write_text(cli("show", "policy", "bounded").out)
    Path("load.toml").write_text(cli("show", "profile", "contended").out)
    Path("rules.toml").write_text(cli("show", "kernel", "linux-6.17").out)
    files = ("--policy", "mine.toml", "--profile", "load.toml", "--kernel", "rules.toml")
    code, out, _ = cli(*files, *SMALL_OPTIONS)
    assert code == 0
    assert "profile=contended kernel=linux-6.17" in out


# ---------------------------------------------------------------- exit codes


@pytest.mark.parametrize("policy", ["bounded", "cooperative"])
def test_who_waits_for_others_without_a_pause_lets_time_pass(cli: Cli, policy: str) -> None:
    load = ("--driver", "sim", "--profile", "isolation-race", "--seed", "1", "--timeout", "10ms")
    waits = ("--set", "other_pinner=wait", "--set", "backoff_min=0")
    assert cli("--policy", policy, *load, *waits, "--quiet").code in (0, 3)


@pytest.mark.parametrize("policy", ["bounded", "linux-7.2"])
@pytest.mark.parametrize(
    ("defect", "verdict"), [("leak-pin", "broken"), ("hold-lock", "livelocked")]
)
def test_a_defect_is_found_in_any_policy(cli: Cli, policy: str, defect: str, verdict: str) -> None:
    load = ("--driver", "sim", "--profile", "short-refs", "--seed", "1", "--pins", "500")
    code, out, _ = cli("--policy", policy, *load, "--set", f"defect={defect}")
    assert code == 1
    assert f"finding: {policy}: {verdict}" in out


def test_a_run_in_which_no_call_ended_proves_nothing(cli: Cli) -> None:
    never = ("--policy", "unbounded", "--profile", "zero-page", "--driver", "sim", "--seed", "1")
    code, out, _ = cli(*never, "--timeout", "100ms", "--stall-after", "10s")
    assert code == 3
    assert "note: unbounded: inconclusive, no call ended in time" in out


def undecided(row: Row) -> Row:
    row["liveness"]["verdict"] = "inconclusive"
    return row


def spurious(row: Row) -> Row:
    row["calls"]["issued"] += 5
    row["calls"]["failed_spurious"] += 5
    row["causes"]["pinned"] += 5
    return row


def timeout(row: Row) -> Row:
    row["status"] = "timeout"
    return row


@pytest.mark.parametrize(
    ("change", "options", "code", "word"),
    [
        (lambda row: row, (), 0, "SUCCESS"),
        (spurious, (), 0, "SUCCESS"),
        (spurious, ("--threshold", "calls.failed_spurious==0"), 1, "FAILURE"),
        (timeout, (), 0, "SUCCESS"),
        (stuck, (), 1, "FAILURE"),
        (unsafe, (), 1, "FAILURE"),
        (broken, (), 1, "FAILURE"),
        (undecided, (), 3, "INCONCLUSIVE"),
        (lambda row: undecided(unsafe(row)), (), 1, "FAILURE"),
        (undecided, ("--threshold", "calls.pinned<0"), 1, "FAILURE"),
    ],
)
def test_exit_codes(
    cli: Cli,
    rows: Rows,
    row: Row,
    change: Callable[[Row], Row],
    options: tuple[str, ...],
    code: int,
    word: str,
) -> None:
    rows(change(row))
    ended = cli("--policy", "bounded", *options, *SMALL_OPTIONS)
    assert ended.code == code
    assert f"gupstress: {word}: " in ended.out


def test_one_bad_result_among_good_ones_is_a_finding(cli: Cli, rows: Rows, row: Row) -> None:
    rows(row, unsafe(dict(row, calls=dict(row["calls"]))), row)
    assert cli("--policy", "bounded", "--repeat", "3", *SMALL_OPTIONS).code == 1


def test_a_timeout_is_no_finding_but_said(cli: Cli, rows: Rows, row: Row) -> None:
    rows(timeout(row))
    code, out, _ = cli("--policy", "bounded", "--timeout", "3s", *SMALL_OPTIONS)
    assert code == 0
    assert f"bounded: the timeout of 3 s ended the run after {row['pages']['pinned']} of 200" in out


def test_an_error_inside_is_one_line_and_exit_70(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    class Panic(BaseException):
        """As a panic of the core arrives."""

    def fail(*_: object) -> Row:
        raise Panic("index out\nof bounds")

    monkeypatch.setattr(engine.Plan, "run", fail)
    code, out, err = cli("--quiet", *SMALL_OPTIONS)
    assert (code, out) == (70, "")
    assert err.startswith("gupstress: internal error: Panic: index out of bounds; please report")
    assert err.count("\n") == 1


# ---------------------------------------------------------------- interrupts


def interrupting(turn: Turn) -> "contextmanager[Observer]":  # type: ignore[valid-type]
    @contextmanager
    def watching() -> Iterator[Observer]:
        def observe(now: Snapshot) -> None:
            signal.raise_signal(signal.SIGINT)

        yield observe

    return watching()


def interrupting_late(turn: Turn) -> "contextmanager[Observer]":  # type: ignore[valid-type]
    """Interrupt once something has been counted, however long that takes."""

    @contextmanager
    def watching() -> Iterator[Observer]:
        def observe(now: Snapshot) -> None:
            if now["pinned"]:
                signal.raise_signal(signal.SIGINT)

        yield observe

    return watching()


ENDLESS = replace(SMALL, policies=("bounded", "none"), driver="os", pins=2**60)


def test_an_interrupt_keeps_what_was_counted() -> None:
    run = runner.run(runner.prepare(ENDLESS), [], interrupting_late)
    assert run.status == "interrupted"
    (result,) = run.results
    assert result.status == "interrupted"
    assert result.calls.issued > 0
    assert result.invariants.verdict == "held"


def test_an_interrupted_command_writes_what_it_has(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "watch", lambda stream, under: interrupting)
    options = ("--threads", "2", "--pins", str(2**60), "--policy", "bounded", "--json", "r.json")
    code, out, _ = cli(*options)
    assert code == 130
    assert "bounded: interrupted after" in out
    assert RunResult.model_validate_json(Path("r.json").read_text()).status == "interrupted"


def test_an_interrupt_between_runs_keeps_the_results_before_it(rows: Rows, row: Row) -> None:
    rows(row)
    seen: list[Turn] = []

    @contextmanager
    def watching(turn: Turn) -> Iterator[None]:
        if seen:
            raise KeyboardInterrupt
        seen.append(turn)
        yield None

    run = runner.run(runner.prepare(replace(SMALL, policies=("none", "bounded"))), [], watching)
    assert run.status == "interrupted"
    assert [result.policy for result in run.results] == ["none"]


# ---------------------------------------------------------------- nothing outlives its limit

LONG_STEPS = (("step_delay", "30s"),)
MANY_PASSES = (("migrate_sync_passes", "4294967295"),)


@pytest.mark.parametrize("driver", ["os", "sim"])
@pytest.mark.parametrize(
    ("profile", "sets"),
    [
        ("contended", LONG_STEPS),
        ("prepinned", MANY_PASSES),
        ("prepinned", (*MANY_PASSES, ("migrate_async_passes", "4294967295"))),
    ],
)
def test_an_interrupt_ends_what_a_setting_makes_endless(
    driver: Literal["os", "sim"], profile: str, sets: tuple[tuple[str, str], ...]
) -> None:
    endless = replace(
        SMALL, policies=("linux-7.2",), driver=driver, profile=profile, sets=sets, pins=2**60
    )
    forever = replace(endless, threads=None, timeout_s=1e9, stall_after_s=1e9)
    run = runner.run(runner.prepare(forever), [], interrupting)
    (result,) = run.results
    assert (run.status, result.status) == ("interrupted", "interrupted")
    assert result.calls.failed_spurious == result.calls.failed_justified == 0
    assert result.invariants.verdict == "held"


@pytest.mark.parametrize("limits", [(0.5, 3600.0), (60.0, 0.5)])
@pytest.mark.parametrize("sets", [LONG_STEPS, MANY_PASSES])
def test_a_timeout_ends_it_too(
    limits: tuple[float, float], sets: tuple[tuple[str, str], ...]
) -> None:
    request = replace(
        SMALL, policies=("linux-7.2",), driver="os", profile="prepinned", sets=sets, pins=2**60
    )
    own, wall = limits
    request = replace(request, threads=None, timeout_s=own, wall_timeout_s=wall)
    (result,) = runner.run(runner.prepare(request), []).results
    assert result.status == "timeout"
    assert result.calls.failed_spurious == result.calls.failed_justified == 0


def test_wall_time_bounds_what_virtual_time_does_not(cli: Cli) -> None:
    endless = ("--driver", "sim", "--profile", "prepinned", "--seed", "1")
    limits = ("--stall-after", "1000000s", "--timeout", "1000000s", "--wall-timeout", "500ms")
    sets = ("--set", "migrate_sync_passes=4294967295")
    code, out, _ = cli("--policy", "linux-7.2", *endless, *limits, *sets)
    assert code == 3
    assert "linux-7.2: the wall timeout of 0.5 s ended the run after 0 of" in out


# ---------------------------------------------------------------- what the host can carry


def test_a_policy_that_is_refused_costs_none_that_has_run(
    cli: Cli, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows()
    run = engine.Plan.run

    def refusing(plan: engine.Plan, policy: int, *rest: object) -> Row:
        if policy == 1:
            raise ResourceError("thread 7 of 9 refused")
        return run(plan, policy, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(engine.Plan, "run", refusing)
    options = ("--policy", "none", "--policy", "bounded", "--json", "r.json", *SMALL_OPTIONS)
    code, out, err = cli(*options, "--quiet")
    assert (code, err) == (2, "gupstress: thread 7 of 9 refused\n")
    kept = RunResult.model_validate_json(Path("r.json").read_text())
    assert [result.policy for result in kept.results] == ["none"]
    assert "none" in out


def test_a_run_that_does_not_fit_is_refused_with_the_largest_that_does(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, no_run: None
) -> None:
    monkeypatch.setattr(host, "thread_room", lambda: host.Room(50, "kernel.threads-max"))
    code, out, err = cli("--threads", "100", "--json", "r.json")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "100 pinning threads need" in err
    assert "kernel.threads-max leaves 50" in err
    fitting = int(err.rsplit(" ", 1)[1])
    plan = runner.prepare(replace(SMALL, driver="os", cpus=None, threads=fitting)).plan.needs
    assert plan.os_threads == 50
    assert not Path("r.json").exists()


def test_too_little_memory_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "memory_room", lambda: host.Room(2**20, "cgroup memory.max"))
    with pytest.raises(ResourceError, match=r"MiB, cgroup memory.max leaves 1 MiB; not even"):
        runner.prepare(SMALL)
