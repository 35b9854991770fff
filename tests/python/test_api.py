"""What a Python program sees."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import gupstress
from conftest import Row
from gupstress import _core
from gupstress.running.result import RunResult

Rows = Callable[..., list[Row]]

SMALL = {"driver": "sim", "threads": 2, "cpus": 2, "pins": 200, "seed": 7}


class Four:
    """A whole number of another make, such as those of numpy."""

    def __index__(self) -> int:
        return 4


def python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout


def test_importing_loads_nothing_heavy() -> None:
    heavy = "{'click', 'psutil', 'pydantic', 'rich', 'tabulate', 'gupstress._core'}"
    loaded = python(f"import sys, gupstress; print(sorted({heavy} & set(sys.modules)))")
    assert loaded == "[]\n"


def test_the_version_loads_no_models() -> None:
    heavy = "{'psutil', 'pydantic', 'rich', 'tabulate'}"
    code = (
        "import sys; from gupstress.cli import invoke; invoke(['--version']);"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    version, loaded = python(code).splitlines()
    assert version.startswith(f"gupstress {gupstress.__version__}")
    assert loaded == "[]"


def test_everything_public_is_there() -> None:
    for name in gupstress.__all__:
        assert getattr(gupstress, name) is not None
    assert set(gupstress.__all__) <= set(dir(gupstress))
    with pytest.raises(AttributeError, match="nothing"):
        gupstress.nothing  # noqa: B018


def test_names() -> None:
    assert {"none", "bounded", "linux-7.2"} <= set(gupstress.policies())
    assert {"contended", "steady", "drain-storm"} <= set(gupstress.profiles())
    assert {"linux-5.10", "linux-7.2.13"} <= set(gupstress.kernels())


def test_run_returns_what_was_counted() -> None:
    result = gupstress.run("steady", policy=["bounded", "linux-7.2"], **SMALL)  # type: ignore[arg-type]
    assert isinstance(result, gupstress.RunResult)
    assert [row.policy for row in result.results] == ["bounded", "linux-7.2"]
    assert result.settings.profile == "steady"
    for row in result.results:
        assert row.pages.pinned >= 200
        assert row.calls.failed_spurious == 0
        assert row.counters.acquired == row.counters.released
        assert row.invariants.checked > 0


def test_a_result_can_be_written_however_the_program_was_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["program", os.fsdecode(b"bad\xff")])
    result = gupstress.run(policy="bounded", **SMALL)  # type: ignore[arg-type]
    assert gupstress.RunResult.model_validate_json(result.to_json()).argv == (
        "program",
        "bad\ufffd",
    )


def test_the_same_seed_gives_the_same_run() -> None:
    def counted(seed: int) -> dict[str, object]:
        settings = {**SMALL, "seed": seed}
        (row,) = gupstress.run(policy="linux-7.2", **settings).results  # type: ignore[arg-type]
        return row.model_dump(exclude={"wall_s", "cpu_s", "seed"})

    assert counted(7) == counted(7)
    assert counted(7) != counted(8)


def test_a_policy_made_in_python_is_run_with_its_axes() -> None:
    policy = gupstress.Policy(
        name="mine",
        base="bounded",
        isolate_retries=Four(),  # type: ignore[arg-type]
        drain="never",
    )
    (row,) = gupstress.run(policy=policy, **SMALL).results  # type: ignore[arg-type]
    assert row.policy == "mine"
    assert row.resolved["policy"]["isolate_retries"] == 4
    assert row.resolved["policy"]["migrate_retries"] == 10
    assert row.counters.drain_all == 0


@pytest.mark.parametrize("name", ["plain", "größer", "bounded, 5 retries"])
def test_a_policys_name_may_be_of_any_letters(name: str) -> None:
    (row,) = gupstress.run(policy=gupstress.Policy(name, "bounded"), **SMALL).results  # type: ignore[arg-type]
    assert row.policy == name


@pytest.mark.parametrize("name", ['quo"ted', "a\\b", "two\nlines", "\N{SNOWMAN}"])
def test_a_policys_name_is_of_letters(name: str) -> None:
    with pytest.raises(gupstress.ConfigError, match=r"name: .* is not up to 80 letters, digits"):
        gupstress.Policy(name, "bounded")


def test_a_policys_mistakes_are_named_all_at_once() -> None:
    with pytest.raises(gupstress.ConfigError) as caught:
        gupstress.Policy(name="mine", base="bounded", isolate_retries="many", drian="never")
    problems = caught.value.problems
    assert ["isolate_retries" in problems[0][1], "drain" in problems[1][1]] == [True, True]
    assert [place for place, _ in problems] == ["Policy 'mine'", "Policy 'mine'"]
    first, second = (f"{place}: {message}" for place, message in problems)
    assert str(caught.value) == f"{first}; {second}"


def test_arguments_reach_the_run(rows: Rows) -> None:
    jobs = rows()
    result = gupstress.run(
        policy="bounded",
        sets={"isolate_retries": 5, "pinner.dma": False},
        timeout="1500ms",
        stall_after=0.25,
        threshold="calls.stuck==0",
        seed=3,
    )
    assert jobs[0]["sets"] == (("isolate_retries", "5"), ("pinner.dma", "false"))
    assert (jobs[0]["timeout_s"], jobs[0]["stall_after_s"], jobs[0]["seed"]) == (1.5, 0.25, 3)
    assert [threshold.passed for threshold in result.thresholds] == [True]


def test_paths_and_numbers_of_other_make_are_taken() -> None:
    for name, kind in (("bounded", "policy"), ("steady", "profile"), ("linux-6.17", "kernel")):
        Path(f"{kind}.toml").write_text(_core.show(kind, name))
    settings = {**SMALL, "threads": Four(), "timeout": Fraction(5, 2)}
    result = gupstress.run(
        Path("profile.toml"),
        policy=Path("policy.toml"),
        kernel=Path("kernel.toml"),
        **settings,  # type: ignore[arg-type]
    )
    asked = result.settings
    assert (asked.profile, asked.kernel, result.results[0].policy) == (
        "steady",
        "linux-6.17",
        "bounded",
    )
    assert (asked.threads, asked.timeout_s) == (4, 2.5)


def test_a_path_is_never_a_presets_name() -> None:
    with pytest.raises(gupstress.ConfigError, match=r"\./bounded: cannot be read: No such file"):
        gupstress.run(policy=Path("bounded"))


WRONG: list[tuple[dict[str, object], str]] = [
    ({"threads": 4.0}, "threads: 4.0 is not a whole number; nearest: 4"),
    ({"threads": "4"}, "threads: '4' is not a whole number; nearest: 4"),
    ({"threads": True}, "threads: True is not a whole number; nearest: 1"),
    ({"pins": 1e3}, "pins: 1000.0 is not a whole number; nearest: 1000"),
    ({"seed": "x"}, "seed: 'x' is not a whole number; nearest: 0"),
    ({"repeat": None}, "repeat: None is not a whole number; nearest: 1"),
    ({"perturb": "0.5"}, "perturb: '0.5' is not a number from 0 to 1; nearest: 0.5"),
    ({"timeout": None}, "timeout: None is not a length of time; nearest: 60s"),
    ({"timeout": [3]}, "timeout: [3] is not a length of time; nearest: 60s"),
    ({"timeout": "60"}, 'timeout: "60" is not a length of time such as "50us" or "2s"; nearest:'),
    ({"timeout": 0.0005}, "timeout: 500us is below 1ms; nearest: 1ms"),
    ({"timeout": float("inf")}, "timeout: inf is above 1000000000s; nearest: 1000000000s"),
    ({"driver": None}, "driver: None is not a driver; nearest: os"),
    ({"policy": [3]}, "policy: 3 is not a Policy, the name of one or a file; nearest: bounded"),
    ({"policy": b"bounded"}, "policy: b'bounded' is not a Policy, the name of one or a file;"),
    ({"policy": Path("a\0.toml")}, "a\0.toml: cannot be read: embedded null"),
    ({"policy": None}, "policy: None is not a Policy, the name of one or a file; nearest:"),
    ({"profile": 3}, "profile: 3 is not the name of a profile or a file; nearest: contended"),
    ({"kernel": None}, "kernel: None is not the name of a kernel or a file; nearest: linux-7.2"),
    ({"interleave": None}, "interleave: None is not True or False; nearest: False"),
    ({"interleave": "no"}, "interleave: 'no' is not True or False; nearest: False"),
    ({"interleave": 1}, "interleave: 1 is not True or False; nearest: True"),
    ({"sets": "drain=all"}, "sets: 'drain=all' is not a dict; nearest: "),
    ({"sets": {"isolate_retries": None}}, 'sets: isolate_retries: "None" is not'),
    ({"threshold": 3}, "threshold: 3 is not a condition; nearest: calls.stuck==0"),
    ({"trace": 3}, "trace: 3 is not a file; nearest: trace.json"),
]


@pytest.mark.parametrize(("settings", "said"), WRONG, ids=[str(settings) for settings, _ in WRONG])
def test_a_wrong_type_is_a_problem_like_any_other(
    no_run: None, settings: dict[str, object], said: str
) -> None:
    with pytest.raises(gupstress.ConfigError) as caught:
        gupstress.run(**settings)  # type: ignore[arg-type]
    assert len(caught.value.problems) == 1
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_wrong_types_are_named_all_at_once(no_run: None) -> None:
    with pytest.raises(gupstress.ConfigError) as caught:
        gupstress.run(
            policy=["bounded", 3, "bonded"],  # type: ignore[list-item]
            kernel=None,  # type: ignore[arg-type]
            threads="4",  # type: ignore[arg-type]
            timeout="soon",
            sets={"drian": "all"},
        )
    places = [place for place, _ in caught.value.problems]
    assert sorted(places) == ["", "kernel", "policy", "sets", "threads", "timeout"]


def test_a_policy_of_wrong_types_is_a_problem_too() -> None:
    with pytest.raises(gupstress.ConfigError) as caught:
        gupstress.Policy(name=3, base=None, isolate_retries=[5])  # type: ignore[arg-type]
    assert [message for _, message in caught.value.problems] == [
        "name: 3 is not text; nearest: mine",
        "base: None is not text; nearest: bounded",
        "isolate_retries: [5] is not a number, text, True or False; nearest: leave it out",
    ]


@pytest.mark.parametrize("settings", [{"threads": 0}, {"timeout": "soon"}, {"threshold": "x<1"}])
def test_bad_arguments_raise(settings: dict[str, object]) -> None:
    with pytest.raises(gupstress.ConfigError):
        gupstress.run(policy="bounded", **settings)  # type: ignore[arg-type]


def test_errors_have_one_root() -> None:
    assert issubclass(gupstress.ConfigError, gupstress.GupstressError)
    assert issubclass(gupstress.ResourceError, gupstress.GupstressError)


# ---------------------------------------------------------------- messages name arguments


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: gupstress.run(stall_after="x"), "stall_after: "),
        (
            lambda: gupstress.report([], output=7),  # type: ignore[arg-type]
            "output: 7 is not a file; nearest: report.html",
        ),
        (lambda: gupstress.run(threshold="calls.stuck=0"), "threshold calls.stuck=0: "),
        (lambda: gupstress.run(policy=["none", "none"]), "nearest: repeat=2"),
        (lambda: gupstress.run(threads=2, sets={"threads": 3}), "contradicts sets=threads=3"),
        (lambda: gupstress.matrix("steady", threads=0), "threads: 0 is below 1"),
        (lambda: gupstress.litmus(kernel="linux-7"), "kernel: no kernel 'linux-7'"),
        (lambda: gupstress.litmus(5), "5 is not the name of a scenario"),  # type: ignore[arg-type]
        (lambda: gupstress.report("none.json"), "none.json: cannot be read"),
    ],
)
def test_a_program_is_told_of_its_arguments(
    no_run: None, call: Callable[[], object], said: str
) -> None:
    with pytest.raises(gupstress.ConfigError) as caught:
        call()
    assert said in str(caught.value)
    assert "--" not in str(caught.value)


def test_a_comparison_names_arguments_too(small_run: RunResult) -> None:
    with pytest.raises(gupstress.ConfigError, match=r"nearest: base_policy=linux-7.2"):
        gupstress.compare(small_run)


# ---------------------------------------------------------------- what else the commands do


def test_a_matrix_is_a_call() -> None:
    found = gupstress.matrix("zero-page", policy="bounded", driver="sim", seed=1)
    assert [(cell.policy, cell.profile) for cell in found.cells] == [("bounded", "zero-page")]


def test_scenarios_are_a_call() -> None:
    found = gupstress.litmus("anon-remote", kernel="linux-6.12.43")
    assert (found.verdict, len(found.cells)) == ("equal", 1)
    differ = gupstress.litmus("anon-remote", kernel="linux-6.12.43", sets={"mglru": False})
    assert differ.sets == {"mglru": "false"}


def test_a_report_is_a_call(small_run: RunResult) -> None:
    text = gupstress.report([small_run, small_run], "page.html")
    assert Path("page.html").read_text() == text
    assert text.lstrip().startswith("<!doctype html>")
    Path("run.json").write_text(small_run.to_json())
    assert "run.json" in gupstress.report("run.json")


def test_a_bad_policy_is_refused_where_it_is_made() -> None:
    with pytest.raises(gupstress.ConfigError, match=r"^Policy 'x': no policy \"bonded\"; nearest"):
        gupstress.Policy("x", "bonded")
    # JSON leaves this character as it is, which TOML does not take.
    assert gupstress.Policy("x", "bounded", summary="a\x7fb").name == "x"


# ---------------------------------------------------------------- results in hand


def test_a_result_shows_its_verdict_table(small_run: RunResult) -> None:
    text = str(small_run)
    assert "policy   live  safe  check" in text
    assert text.splitlines()[-1].startswith("gupstress: SUCCESS: ")
    assert repr(small_run) == "<RunResult SUCCESS: bounded>"
    assert "\n" not in repr(small_run.results[0])
    assert repr(small_run.results[0]).startswith(
        "<PolicyResult bounded, repeat 1: live, safe, held"
    )
    markdown = small_run._repr_markdown_()
    assert "| policy" in markdown
    assert markdown.splitlines()[-1].startswith("**gupstress: SUCCESS")
    html = small_run._repr_html_()
    assert html.count("<table>") == 2
    assert ">live<" in html.replace(" ", "")


def test_a_policys_name_is_no_markup(small_run: RunResult) -> None:
    rows = [row.model_copy(update={"policy": "<b>|*x*"}) for row in small_run.results]
    run = small_run.model_copy(update={"results": tuple(rows)})
    assert "<b>" not in run._repr_html_()
    assert r"\<b\>\|\*x\*" in run._repr_markdown_()


def test_a_policys_result_is_found_by_its_name(small_run: RunResult) -> None:
    assert small_run["bounded"] is small_run.results[0]
    assert small_run["bounded", 1] is small_run.results[0]
    with pytest.raises(KeyError, match="no policy 'bonded' in this run; nearest: bounded"):
        small_run["bonded"]
    again = small_run.results[0].model_copy(update={"repeat": 2})
    twice = small_run.model_copy(update={"results": (*small_run.results, again)})
    assert twice["bounded", 2] is again
    assert twice.repeats("bounded") == twice.results
    with pytest.raises(KeyError, match=r"2 repeats of bounded; nearest: \['bounded', 1\]"):
        twice["bounded"]
    with pytest.raises(KeyError, match=r"no repeat 3; nearest: \['bounded', 2\]"):
        twice["bounded", 3]


def test_a_result_is_read_back(small_run: RunResult) -> None:
    Path("run.json").write_text(small_run.to_json())
    assert gupstress.RunResult.load("run.json") == small_run
    assert gupstress.RunResult.load(Path("run.json"))["bounded"].policy == "bounded"
    with pytest.raises(gupstress.ConfigError, match=r"none.json: cannot be read"):
        gupstress.RunResult.load("none.json")


def test_a_result_becomes_a_frame_where_there_is_pandas(
    small_run: RunResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=list))
    (row,) = small_run.to_frame()
    assert (row["policy"], row["repeat"], row["liveness"]) == ("bounded", 1, "live")
    assert row["calls.issued"] == small_run.results[0].calls.issued
    assert row["share.failed_spurious"] == 0
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match="to_frame needs pandas: pip install pandas"):
        small_run.to_frame()


def test_results_travel_to_other_processes(small_run: RunResult) -> None:
    machine = gupstress.Machine()
    area = machine.map(4, "anon")
    machine.touch(area)
    outcome = machine.pin(area[1:3])
    for one in (small_run, machine.page(area, 0), gupstress.Policy("x", "bounded")):
        assert pickle.loads(pickle.dumps(one)) == one
    copy = pickle.loads(pickle.dumps(outcome))
    assert (copy.klass, copy.counters, copy.sweeps) == ("pinned", outcome.counters, outcome.sweeps)
    assert repr(copy) == repr(outcome)
    # It says what was pinned, and holds nothing.
    with pytest.raises(gupstress.MachineError, match="another machine's"):
        machine.unpin(copy)


def test_studies_show_their_tables_too(small_run: RunResult) -> None:
    found: list[Any] = [
        gupstress.matrix("zero-page", policy="bounded", driver="sim", seed=1),
        gupstress.litmus("anon-remote", kernel="linux-6.12.43"),
        gupstress.compare(small_run, small_run),
    ]
    for one, words in zip(found, ("zero-page", "anon-remote", "pages_per_s"), strict=True):
        assert words in str(one)
        assert words.replace("_", r"_") in one._repr_markdown_()
        assert f">{words}" in one._repr_html_().replace(" ", "")
        assert repr(one).startswith(f"<{type(one).__name__} ")
        assert "\n" not in repr(one)
        assert "gupstress:" not in repr(one)
        assert pickle.loads(pickle.dumps(one)) == one
