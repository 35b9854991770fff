"""`gupstress soak`: what its cycles are made of, what ends it, and how it goes on."""

import json
import re
import shlex
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import gupstress
from conftest import Ended, Row, broken, stuck
from gupstress import _core
from gupstress.cli import invoke
from gupstress.cli.run import command_line, run
from gupstress.errors import GupstressError, ResourceError
from gupstress.outcome.soak import SoakResult
from gupstress.problems import Problems
from gupstress.running import engine, reproduce
from gupstress.running.request import Request
from gupstress.studies.matrix import in_earnest
from gupstress.studies.soak import cycles, judge
from gupstress.studies.soak import soak as study
from test_interrupts import taken

__all__ = ["taken"]

Cli = Callable[..., Ended]

SIM = ("soak", "--driver", "sim", "--profile", "steady", "--profile", "short-refs", "--seed", "1")
ONE = ("soak", "--profile", "steady", "--policy", "bounded", "--seed", "1", "--cycles", "1")


def load(name: str = "s.json") -> SoakResult:
    text = Path(name).read_text(encoding="utf-8")
    Draft202012Validator(gupstress.schema("soak")).validate(json.loads(text))
    return SoakResult.model_validate_json(text)


def test_every_policy_and_every_load_comes_once_before_any_comes_again() -> None:
    plan = study.prepare(study.Soak(seed=4, drivers=("sim",)), Problems())
    for what, names in (
        ("policies", set(in_earnest())),
        ("profiles", set(_core.names("profile"))),
    ):
        for turn in range(2):
            numbers = range(turn * len(names), (turn + 1) * len(names))
            jobs = [cycles.prepare(plan.settings, {}, number)[1] for number in numbers]
            got = [
                job.request.profile if what == "profiles" else str(job.policies[0]) for job in jobs
            ]
            assert set(got) == names, (what, turn)
    again = [cycles.prepare(plan.settings, {}, 7)[1].request for _ in range(2)]
    assert again[0] == again[1]
    requests = [cycles.prepare(plan.settings, {}, number)[1].request for number in range(40)]
    for field, several in {"kernel": 15, "threads": 5, "cpus": 4, "perturb": 3, "seed": 40}.items():
        assert len({getattr(one, field) for one in requests}) >= several, field


def test_a_soak_that_goes_on_comes_to_what_one_without_a_break_does(cli: Cli) -> None:
    code, out, err = cli(*SIM, "--cycles", "9", "--json", "whole.json")
    assert code == 0, err
    assert [line.split(":")[1] for line in err.splitlines()[1:]] == [
        f" cycle {n}" for n in range(9)
    ]
    assert out.splitlines()[-1].startswith("gupstress: SUCCESS: no finding, 9 cycles of seed 1 in ")
    cli(*SIM, "--cycles", "4", "--state", "s.json")
    assert load().cycles == 4
    # The seed is that of the state.
    _, _, err = cli(*SIM[:-2], "--cycles", "5", "--state", "s.json")
    assert "seed 1; 4 cycles so far" in err
    parts, whole = load(), load("whole.json")
    assert (parts.cycles, parts.status) == (9, "complete")
    for same in ("settings", "calls", "pins", "verdicts", "run_on"):
        assert getattr(parts, same) == getattr(whole, same), same
    assert whole.calls
    assert whole.run_on["driver"] == {"sim": 9}


def test_a_broken_invariant_ends_it_and_its_command_shows_it_again(cli: Cli) -> None:
    args = (*SIM[:-2], "--profile", "prepinned", "--policy", "busted-lose-page", "--quiet")
    code, out, err = cli(*args, "--seed", "1", "--cycles", "40", "--state", "s.json")
    result = load()
    found = result.finding
    assert (code, err, result.status) == (1, "", "finding")
    assert found is not None
    assert found.kind == "broken"
    assert found.cycle == result.cycles < 40
    assert found.run is not None
    assert found.run.results[0].invariants.verdict == "broken"
    assert out.splitlines()[-1].startswith(f"gupstress: FAILURE: broken in cycle {found.cycle}, ")
    assert f"reproduce: {found.command}" in out
    words = shlex.split(found.command)
    assert words[0] == "gupstress"
    assert invoke([*words[1:], "--quiet"]) == 1
    # What goes on begins with it.
    code, *_ = cli(*args, "--cycles", "1", "--state", "s.json")
    assert code == 1
    assert load().finding == found.model_copy(update={"run": load().finding.run})  # type: ignore[union-attr]


def test_a_program_has_what_the_command_has(cli: Cli) -> None:
    asked: dict[str, Any] = {
        "driver": "sim",
        "profile": ["steady", "short-refs"],
        "seed": 1,
        "cycles": 4,
    }
    found = gupstress.soak(**asked, state=Path("program.json"))
    code, *_ = cli(*SIM, "--cycles", "4", "--state", "s.json", "--quiet")
    assert code == 0
    apart = {"argv", "started_at", "host", "elapsed_s", "held"}
    assert found.model_dump(exclude=apart) == load().model_dump(exclude=apart)
    assert load("program.json").model_dump() == found.model_dump()
    assert str(found).splitlines()[0].startswith("-")
    assert f"cycles of seed {asked['seed']}" in repr(found)
    # What it kept is what it goes on from.
    on = gupstress.soak(**asked | {"cycles": 1}, state=Path("program.json"))
    assert on.cycles == 5


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"policy": "boundd"}, "nearest: bounded"),
        ({"profile": [7]}, "7 is not the name of a profile"),
        ({"driver": "osx"}, "nearest: os"),
        ({"minutes": 0}, "minutes: 0 is below 1; nearest: 1"),
        ({"cycles": 0.5}, "cycles: 0.5 is not a whole number"),
        ({"seed": -1}, "seed: -1 is below 0"),
        ({"job": "no.toml"}, "no.toml: cannot be read"),
        ({"job": 7}, "job: 7 is not a file; nearest: job.toml"),
        ({"job": ["a.toml\0", ""]}, "job: 'a.toml\\x00' is not a file"),
        ({"state": 7}, "state: 7 is not a file; nearest: soak.json"),
        ({"state": ""}, "state: '' is not a file; nearest: soak.json"),
    ],
)
def test_bad_arguments_are_named(no_run: None, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(gupstress.ConfigError, match=re.escape(said)):
        gupstress.soak(**asked)


def test_without_any_limit_it_ends_after_ten_minutes(
    rows: Callable[..., list[Row]], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = rows()
    # A cycle of 250 seconds.
    monkeypatch.setattr(time, "monotonic", lambda: 250.0 * len(jobs))
    found = gupstress.soak(profile="steady", policy="bounded", seed=1)
    assert (found.status, found.cycles) == ("complete", 3)
    assert found.settings.drivers == ("os", "sim")


def test_the_command_of_a_finding_is_the_request_s_own() -> None:
    request = Request(
        policies=("none", "a b.toml"),
        sets=(("movable", "9"),),
        scan=(("batch_size", ("1", "2")),),
        perturb=0.5,
        wall_timeout_s=90.0,
        seed=3,
        repeat=2,
        interleave=False,
        thresholds=("calls.stuck==0",),
        abort_on=("calls.issued>0",),
    )
    of_a_soak, of_a_run = reproduce.of(request), command_line(run, request)
    assert sorted(shlex.split(of_a_soak)) == sorted(shlex.split(of_a_run))


def test_stuck_is_a_finding_where_every_call_ends(
    cli: Cli, rows: Callable[..., list[Row]], row: Row
) -> None:
    rows(stuck(row))
    code, out, _ = cli(*ONE, "--state", "s.json")
    assert code == 1
    assert load().finding.kind == "stuck"  # type: ignore[union-attr]
    assert "livelocked: thread 3 in collect:isolate" in out
    # Who may try for ever may be stuck for good.
    row["resolved"]["policy"] |= {"isolate_retries": "unlimited"}
    assert cli(*ONE)[0] == 0
    # Unless there is a deadline.
    row["resolved"]["policy"] |= {"deadline": 10**9}
    assert cli(*ONE)[0] == 1


def test_policies_that_must_end_are_those_that_count_or_have_a_deadline() -> None:
    plan = study.prepare(study.Soak(seed=1), Problems())
    names = plan.settings.policies
    all_ = gupstress.run("steady", policy=names, driver="sim", threads=1, pins=1, seed=1)
    ends = {one.policy for one in all_.results if judge.must_end(one.resolved["policy"])}
    proposals = {"backoff", "classify", "cooperative", "look", "look-ticket"}
    assert ends == {"none", "bounded", "isolate-bounded", *proposals}


@pytest.mark.parametrize("what", ["thread", "file"])
def test_what_a_run_leaves_behind_ends_it(
    cli: Cli,
    rows: Callable[..., list[Row]],
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    rows()
    run = engine.Plan.run
    over = threading.Event()
    left: list[Any] = []

    def leaking(*args: Any) -> Row:
        if what == "file":
            left.append(Path(__file__).open())  # noqa: SIM115 -- is left behind
        else:
            left.append(threading.Thread(target=over.wait))
            left[-1].start()
        return run(*args)

    monkeypatch.setattr(engine.Plan, "run", leaking)
    monkeypatch.setattr(judge, "_PATIENCE_S", 0.0)
    code, _, _ = cli(*ONE, "--state", "s.json")
    over.set()
    for one in left:
        one.close() if what == "file" else one.join()
    assert code == 1
    finding = load().finding
    assert finding is not None
    said = {"thread": "left behind: 1 threads", "file": "left behind: 1 open files"}
    assert (finding.kind, finding.words) == ("leak", said[what])


def test_what_is_opened_here_while_others_make_the_runs_is_no_finding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(judge, "_PATIENCE_S", 0.0)
    asked = study.Soak(
        seed=1, most_cycles=2, policies=("bounded",), profiles=("steady",), drivers=("sim",)
    )
    plan = study.prepare(asked, Problems())
    with ExitStack() as links:

        def elsewhere(make: Callable[[Any], Any], items: Iterable[Any], /) -> Iterator[Any]:
            for item in items:
                links.enter_context(Path(__file__).open())
                yield make(item)

        assert study.run(plan, [], over=elsewhere).status == "complete"


@pytest.mark.parametrize("kind", [GupstressError, _core.PanicException])
def test_a_panic_ends_it_with_what_makes_it_again(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    def panic(*_: object) -> Row:
        raise kind("a worker panicked")

    monkeypatch.setattr(engine.Plan, "run", panic)
    code, out, _ = cli(*ONE, "--state", "s.json")
    assert code == 1
    finding = load().finding
    assert finding is not None
    assert (finding.kind, finding.words, finding.run) == (
        "panic",
        f"{kind.__name__}: a worker panicked",
        None,
    )
    assert "reproduce: gupstress run --policy bounded --profile steady " in out


def test_what_a_signal_handler_of_the_caller_raises_is_no_finding_and_the_callers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Ended(BaseException):
        pass

    def end(*_: object) -> None:
        raise Ended

    made = engine.Plan.run

    def interrupted(*args: Any) -> Row:
        signal.raise_signal(signal.SIGUSR1)
        return made(*args)

    before = signal.signal(signal.SIGUSR1, end)
    try:
        monkeypatch.setattr(engine.Plan, "run", interrupted)
        state = tmp_path / "s.json"
        with pytest.raises(Ended):
            gupstress.soak(driver="sim", profile="steady", policy="bounded", cycles=1, state=state)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not state.exists()


def test_what_the_host_refuses_is_no_finding_and_decides_nothing(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Row:
        raise ResourceError("no thread left")

    monkeypatch.setattr(engine.Plan, "run", refuse)
    code, out, _ = cli(*ONE, "--cycles", "3")
    assert code == 3
    assert ", 3 refused by the host, " in out


@pytest.mark.usefixtures("taken")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_keeps_what_was_found(
    cli: Cli, rows: Callable[..., list[Row]], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    jobs = rows()
    run = engine.Plan.run

    def interrupted(*args: Any) -> Row:
        found = run(*args)
        if len(jobs) == 3:
            signal.raise_signal(number)
        return found

    monkeypatch.setattr(engine.Plan, "run", interrupted)
    code, out, _ = cli(*ONE[:-2], "--state", "s.json")
    assert code == 130
    assert "gupstress: INTERRUPTED: no finding, 2 cycles" in out
    assert (load().status, load().cycles) == ("interrupted", 2)


def test_time_is_over_when_it_is(
    cli: Cli, rows: Callable[..., list[Row]], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = rows()
    # A cycle of 25 seconds.
    monkeypatch.setattr(time, "monotonic", lambda: 25.0 * len(jobs))
    code, _, _ = cli(*ONE[:-2], "--minutes", "1", "--state", "s.json")
    assert (code, load().cycles, load().elapsed_s) == (0, 3, 75.0)


JOB = """
driver = "sim"
pins = 200
threads = 2
[good]
policy = "bounded"
profile = "steady"
[swept]
policy = ["none", "look"]
profile = "short-refs"
threads = [1, 2]
[strict]
policy = "none"
profile = "drain-race"
threshold = "calls.issued==0"
"""


def test_sections_of_job_files_are_loads(cli: Cli) -> None:
    Path("j.toml").write_text(JOB, encoding="utf-8")
    code, _, err = cli(*SIM, "j.toml", "--cycles", "20", "--state", "s.json")
    assert code == 1, err
    result = load()
    assert result.finding is not None
    assert result.finding.kind == "threshold"
    assert result.finding.words.startswith("threshold calls.issued==0 missed: observed ")
    assert "profile drain-race" in result.finding.command.replace("--", "")
    assert list(result.settings.jobs) == ["good", "swept", "strict"]
    assert result.run_on["job"]["strict"] == 1
    assert "job strict, " in err
    Path("j.toml").write_text(JOB[: JOB.index("[strict]")], encoding="utf-8")
    code, _, err = cli(*SIM, "j.toml", "--cycles", "5")
    counted = Counter(line.split(",")[0].split(": ")[-1] for line in err.splitlines()[1:])
    # Two profiles and two sections, and one of the five cycles is the first of the next turn.
    assert code == 0
    assert {"job good", "job swept", "steady", "short-refs"} == set(counted)
    assert "none threads=1 " in err
    code, _, err = cli(*SIM, "j.toml", "--cycles", "1", "--state", "s.json")
    assert (code, err) == (
        2,
        "gupstress: --state: s.json is of a soak with another jobs; nearest: another file\n",
    )


def test_json_is_all_that_standard_output_gets(cli: Cli) -> None:
    code, out, err = cli(*SIM, "--cycles", "1", "--format", "json", "--json", "s.json")
    assert code == 0
    assert json.loads(out) == json.loads(Path("s.json").read_text())
    assert load().settings.seed == 1
    assert "gupstress: SUCCESS: no finding, 1 cycles" in err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--policy", "bound"), "no policy 'bound'; nearest: bounded"),
        (("--profile", "stead"), "no profile 'stead'; nearest: steady"),
        (("--kernel", "linux-7"), "no kernel 'linux-7'; nearest: linux-7."),
        (("--minutes", "0"), "--minutes: 0 is below 1; nearest: 1"),
        (("--minutes", "soon"), "--minutes: 'soon' is not a whole number; nearest: 1"),
        (("--cycles", "0"), "--cycles: 0 is below 1; nearest: 1"),
        (("--driver", "threads"), "'threads' is not one of os, sim; nearest: sim"),
        (("none.toml",), "none.toml: cannot be read: No such file or directory"),
        (("--state", "nowhere/s.json"), "--state nowhere/s.json: cannot be written"),
        (("--state", "run.json"), "run.json: not a result of gupstress; nearest: gupstress.soak/1"),
        (
            ("--kernel", "linux-5.10", "--profile", "udmabuf-race"),
            "callers.udmabuf: linux-5.10 has no memfd_pin_folios",
        ),
    ],
)
def test_bad_input_is_one_line(cli: Cli, no_run: None, args: tuple[str, ...], said: str) -> None:
    Path("run.json").write_text("{}", encoding="utf-8")
    code, out, err = cli("soak", "--cycles", "1", *args)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1, err
    assert said in err.replace('"', "'"), err


def test_broken_comes_before_all_else(cli: Cli, rows: Callable[..., list[Row]], row: Row) -> None:
    rows(broken(stuck(row)))
    assert cli(*ONE, "--json", "s.json")[0] == 1
    assert load().finding.kind == "broken"  # type: ignore[union-attr]
