"""`gupstress tune`: a search over a policy's axes, what it keeps, and what it refuses."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import gupstress
from conftest import Ended
from gupstress.outcome.tune import Trial, TuneCell, TuneResult, front
from gupstress.problems import Problems
from gupstress.running import runner
from gupstress.running.request import Request
from gupstress.studies.tune import search as study
from gupstress.studies.tune.space import repaired, space

Cli = Callable[..., Ended]

SMALL = (
    *("tune", "--profile", "free-loop", "--threads", "4,2", "--pins", "600", "--seed", "3"),
    *("--budget", "1h", "--confirm", "0"),
)


def load(name: str) -> TuneResult:
    text = Path(name).read_text(encoding="utf-8")
    Draft202012Validator(gupstress.schema("tune")).validate(json.loads(text))
    return TuneResult.model_validate_json(text)


def trial(number: int, rate: float, p99: int, drains: float = 0.0, violation: float = 0.0) -> Trial:
    return Trial(
        number=number,
        axes={"look": "before-pin"},
        cells=(),
        violation=violation,
        pages_per_s=rate,
        p99_ns=p99,
        drains=drains,
    )


def test_the_front_holds_what_no_other_beats() -> None:
    trials = [
        trial(0, 100, 9, violation=0.5),
        trial(1, 50, 5),
        trial(2, 60, 5),
        trial(3, 40, 2),
        trial(4, 60, 6, drains=0.1),
        trial(5, 10, 2, drains=0.0),
    ]
    assert [one.number for one in front(trials)] == [2, 3]


def test_a_cell_with_a_call_that_may_not_fail_breaks_the_constraint() -> None:
    cell = TuneCell(
        profile="p",
        threads=1,
        driver="sim",
        issued=10,
        failed_spurious=0,
        stuck=0,
        pinned_unsafe=0,
        pages_per_s=1,
        p99_ns=1,
        drains=0,
    )
    assert cell.violation == 0
    for what in ("failed_spurious", "stuck", "pinned_unsafe"):
        assert cell.model_copy(update={what: 1}).violation == 0.1
    assert cell.model_copy(update={"issued": 0}).violation == 1


def test_every_axis_but_names_and_faults_is_searched_from_the_base_on() -> None:
    problems = Problems()
    found = space("linux-7.2", ("deadline",), problems)
    problems.refuse()
    assert found["drain"][0] == "extra-refs"
    assert set(found["look"]) == {"after-pin", "before-pin"}
    assert set(found["waiters"]) == {"none", "ticket"}
    assert "unlimited" in found["migrate_retries"]
    assert not {"defect", "scope", "name", "deadline"} & set(found)
    assert repaired({"backoff_min": "20ms", "backoff_max": "20us"})["backoff_max"] == "20ms"
    assert repaired({"backoff_min": "20us", "backoff_max": "2ms"})["backoff_max"] == "2ms"


def test_a_search_keeps_its_trials_goes_on_and_writes_what_policy_takes(cli: Cli) -> None:
    code, out, err = cli(*SMALL, "--trials", "3", "--state", "s.log", "--json", "a.json")
    first = load("a.json")
    assert code in (0, 1), err
    assert [one.number for one in first.trials] == [0, 1, 2]
    assert first.settings.threads == (2, 4)
    base = {axis: values[0] for axis, values in first.settings.space.items()}
    assert first.trials[0].axes == base, "it begins with the base"
    assert "trial 0: " in err
    assert out.splitlines()[-1].startswith("gupstress: 3 trials, ")

    args = ("--trials", "12", "--state", "s.log", "--json", "b.json")
    code, out, _ = cli(*SMALL, *args, "-o", "best.toml", "--page", "page.html")
    second = load("b.json")
    assert second.trials[:3] == first.trials
    assert len(second.trials) == 15
    assert code == (0 if second.best is not None else 1)
    assert second.best is not None, "15 policies, and none without a needless failure"
    text = Path("best.toml").read_text(encoding="utf-8")
    assert "# free-loop, 4 threads, simulator: " in text
    assert "# Not confirmed on real threads.\n" in text
    # It is a policy, and counts what the trial counted.
    best = second.trial(second.best)
    run = gupstress.run(
        "free-loop", policy="best.toml", driver="sim", threads=4, pins=600, seed=3, timeout=5
    )
    assert run.results[0].calls.issued == best.cells[-1].issued
    assert run.results[0].throughput.pages_per_s == best.cells[-1].pages_per_s
    page = Path("page.html").read_text(encoding="utf-8")
    assert "Pareto front" in page
    assert "What each axis does" in page


def test_the_best_are_run_on_real_threads(cli: Cli) -> None:
    args = (*SMALL[:-2], "--confirm", "1", "--trials", "1", "--base", "look")
    cli(*args, "--json", "a.json", "--quiet")
    result = load("a.json")
    (confirmed,) = result.confirmed
    assert [(cell.driver, cell.threads) for cell in confirmed.cells] == [("os", 2), ("os", 4)]
    assert all(cell.issued for cell in confirmed.cells)
    assert result.best == (0 if confirmed.held else None)


def test_what_breaks_a_constraint_with_few_threads_is_not_run_with_many(cli: Cli) -> None:
    args = ("--trials", "1", "--base", "none", "--json", "a.json")
    code, _, err = cli(*SMALL, *args)
    assert code == 1
    (found,) = load("a.json").trials
    assert [cell.threads for cell in found.cells] == [2]
    assert found.violation > 1
    assert not found.pages_per_s
    assert "calls failed at 2 threads" in err


def test_ctrl_c_keeps_what_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request(driver="sim", pins=600, seed=1, timeout_s=5.0, stall_after_s=2.0)
    asked = study.Search(
        request=request, profiles=("free-loop",), threads=(2,), confirm=0, state="s.log"
    )
    plan = study.prepare(asked, Problems())

    def told(one: Trial) -> None:
        if one.number == 1:
            raise KeyboardInterrupt

    result = study.run(plan, (), told)
    assert result.status == "interrupted"
    assert [one.number for one in result.trials] == [0, 1]
    # So does one in the middle of a cell, which counts for nothing.
    monkeypatch.setattr(runner, "run", _interrupted)
    result = study.run(study.prepare(asked, Problems()), ())
    assert [one.number for one in result.trials] == [0, 1]


def test_a_search_cut_off_has_its_best_though_nothing_was_confirmed() -> None:
    request = Request(driver="sim", pins=600, seed=1, timeout_s=5.0, stall_after_s=2.0)
    asked = study.Search(
        request=request, profiles=("free-loop",), threads=(2,), base="look", confirm=3
    )

    def told(one: Trial) -> None:
        raise KeyboardInterrupt

    settled: list[bool] = []
    plan = study.prepare(asked, Problems())
    result = study.run(plan, (), told, lambda: settled.append(True))
    assert (result.status, result.best, settled) == ("interrupted", 0, [True])
    assert result.policy_toml is not None
    assert "# Not confirmed on real threads.\n" in result.policy_toml


def test_being_asked_to_end_writes_every_file(tmp_path: Path) -> None:
    files = ("--json", "a.json", "-o", "best.toml", "--page", "page.html")
    args = [*SMALL[:-2], "--base", "look", "--confirm", "3", *files]
    command = [sys.executable, "-m", "gupstress", *args]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "trial 1: " in line:
                process.terminate()
                break
        process.stderr.read()
    assert process.returncode == 130
    assert load(str(tmp_path / "a.json")).status == "interrupted"
    assert "# Not confirmed" in (tmp_path / "best.toml").read_text(encoding="utf-8")
    assert "Pareto front" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_program_searches_as_the_command_does(cli: Cli) -> None:
    found = gupstress.tune(
        "free-loop", threads=[4, 2], pins=600, seed=3, base="look", trials=2, confirm=0
    )
    cli(*SMALL, "--base", "look", "--trials", "2", "--json", "a.json")
    assert found.trials == load("a.json").trials
    assert str(found).splitlines()[-1].startswith("gupstress: 2 trials, ")
    assert found.policy_toml is not None
    assert "tuned" in found.policy_toml


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"threads": "many"}, "threads many: 'many' is not a whole number"),
        ({"base": "linux-7.3"}, 'no policy "linux-7.3"; nearest: linux-7.2'),
        ({"fix": "drains"}, "fix: no axis 'drains' to search; nearest: drain"),
        ({"budget": "soon"}, "budget: "),
        ({"confirm": -1}, "confirm: -1 is below 0; nearest: 0"),
        ({"sets": {"drain": "never"}}, "nearest: another base, and fix=drain"),
        ({"base": 7}, "base: 7 is not the name of a policy or a file; nearest: linux-7.2"),
        ({"profile": [7]}, "profile: 7 is not the name of a profile or a file"),
        ({"state": 7}, "state: 7 is not a file; nearest: tune.log"),
        ({"state": ""}, "state: '' is not a file; nearest: tune.log"),
    ],
)
def test_bad_arguments_are_named_as_they_are_called(given: dict[str, Any], said: str) -> None:
    with pytest.raises(gupstress.ConfigError, match=re.escape(said)):
        gupstress.tune(**{"profile": "free-loop", "threads": 2, **given})


def _interrupted(*_: object, **__: object) -> object:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--base", "linux-7.3"), "no policy 'linux-7.3'; nearest: linux-7.2"),
        (("--fix", "drains"), "--fix: no axis 'drains' to search; nearest: drain"),
        (("--threads", "2,many"), "--threads"),
        (("--profile", "free-lop"), "nearest: free-loop"),
        (("--budget", "soon"), "--budget"),
        (("--set", "drain=never"), "is searched; nearest: another --base"),
        (("-o", "nowhere/x.toml"), "--output nowhere/x.toml: cannot be written"),
        (("--state", "nowhere/s.log"), "--state: nowhere/s.log"),
    ],
)
def test_bad_input_is_one_line(cli: Cli, args: tuple[str, ...], said: str) -> None:
    code, out, err = cli(*SMALL, "--trials", "1", *args)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1, err
    assert said in err.replace('"', "'"), err


def test_a_state_is_of_one_search(cli: Cli) -> None:
    cli(*SMALL, "--trials", "1", "--state", "s.log")
    code, _, err = cli(*SMALL, "--trials", "1", "--state", "s.log", "--base", "bounded")
    assert code == 2
    assert "s.log is of a search with another base, space; nearest: another file" in err
    Path("t.log").write_text("not a journal\n", encoding="utf-8")
    code, _, err = cli(*SMALL, "--trials", "1", "--state", "t.log")
    assert code == 2
    assert "--state: t.log: not the state of a search" in err


def test_without_the_extra_it_says_what_to_install(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("gupstress.studies.tune")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "optuna", None)
    code, out, err = cli(*SMALL)
    assert (code, out) == (4, "")
    assert err == "gupstress: tune needs optuna: pip install 'gupstress[tune]'\n"
