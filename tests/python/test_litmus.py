"""`gupstress litmus`: all equal as shipped, red where a rule is changed, bad files refused."""

import inspect
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from jsonschema import Draft202012Validator

import gupstress
from conftest import Ended
from gupstress import _core
from gupstress.cli import invoke
from gupstress.model import catalog
from gupstress.outcome.litmus import LitmusResult

Cli = Callable[..., Ended]

MEASURED = ["linux-6.1.176", "linux-6.12.43", "linux-6.12.57", "linux-7.2.13"]

STEPS = '["map a 4 anon", "touch a", "fill 20", "pin a"]'
EXPECT = '[expect."linux-6.12.43"]\nresult = "ok"\ndrain_all = 1\n'
"""24 pages stay in a batch of 31, so the pin drains; batches of 15 would be flushed."""


def scenario(name: str = "mine.toml", steps: str = STEPS, more: str = EXPECT) -> str:
    Path(name).write_text(f"steps = {steps}\n{more}")
    return name


def result(*args: str) -> LitmusResult:
    invoke(["litmus", *args, "--json", "r.json"])
    return LitmusResult.model_validate_json(Path("r.json").read_text())


# ---------------------------------------------------------------- what is shipped


RACES = [name for name in _core.names("litmus") if name.startswith("race-")]
COUNTED = [name for name in _core.names("litmus") if name not in RACES]


def test_every_counter_of_every_scenario_and_kernel_is_equal(cli: Cli) -> None:
    code, out, err = cli("litmus", "--json", "r.json")
    assert (code, err) == (0, "")
    found = LitmusResult.model_validate_json(Path("r.json").read_text())
    counted = [cell for cell in found.cells if cell.explored is None]
    assert list(dict.fromkeys(cell.scenario for cell in counted)) == COUNTED
    # Twenty of order 0 on four kernels, and 171 of folios on those of three that have them.
    assert [cell.kernel for cell in counted[:80]] == MEASURED * 20
    assert len(counted) == 80 + 422
    assert found.compared == sum(len(cell.expect or ()) for cell in counted)
    assert found.compared > 502 * 9
    raced = [cell.explored for cell in found.cells if cell.explored is not None]
    assert all(explored.complete for explored in raced)
    conditions = sum(len(explored.conditions) for explored in raced)
    assert conditions > 20
    assert out.splitlines()[-1] == (
        f"{502 + len(raced)} cells, {found.compared} counters compared, all equal,"
        f" {conditions} conditions of threads hold"
    )
    rows = [words for line in out.splitlines() if (words := line.split())]
    for name in COUNTED:
        shown = [word for words in rows if words[0] == name for word in words[1:]]
        assert set(shown) <= {"=", "-"}
        assert shown.count("=") == sum(cell.scenario == name for cell in counted)
    for name in RACES:
        assert f"\n{name} on linux-" in out, name
    assert max(map(len, out.splitlines())) <= 80


def test_what_is_written_validates_and_reads_back(cli: Cli) -> None:
    validator = Draft202012Validator(gupstress.schema("litmus"))
    _, out, err = cli("litmus", "anon-local", "--format", "json", "--json", "r.json")
    assert Path("r.json").read_text() == out
    validator.validate(json.loads(out))
    assert LitmusResult.model_validate_json(out).to_json() == out
    assert err == "gupstress: 4 cells, 36 counters compared, all equal\n"
    cell = json.loads(out)["cells"][0]
    assert (cell["scenario"], cell["kernel"], cell["class"]) == (
        "anon-local",
        "linux-6.1.176",
        "pinned",
    )
    assert cell["expect"].items() <= cell["counters"].items()
    assert not validator.is_valid({**json.loads(out), "cells": [{}]})


def test_all_scenarios_are_listed_and_shown(cli: Cli) -> None:
    code, out, _ = cli("list", "litmus")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == _core.names("litmus")
    assert "cpu 1; map a 4 anon; touch a; cpu 0; pin a" in out
    assert "Two pinners: one has the page isolated" in out
    Path("mine.toml").write_text(cli("show", "litmus", "anon-remote").out)
    assert cli("litmus", "mine.toml").out == cli("litmus", "anon-remote").out


# ---------------------------------------------------------------- several threads

THREADS = '[threads.A]\nsteps = ["pin a"]\n[threads.B]\ncpu = 1\nsteps = ["pin a"]\n'
TWO = '["map a 1 anon", "touch a", "drain"]'


def race(conditions: str) -> str:
    return scenario("race.toml", TWO, THREADS + conditions)


def test_threads_are_run_in_every_order_of_few_preemptions(cli: Cli) -> None:
    race('[[exists]]\n"A.result" = "ENOMEM"\n[[forbid]]\nunsafe = true\n')
    code, out, err = cli("litmus", "race.toml", "--json", "r.json")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("race on linux-7.2.13: ")
    assert lines[0].endswith(" schedules of at most 2 preemptions, complete")
    assert lines[1].startswith("  exists A.result = ENOMEM: ")
    assert lines[2] == "  forbid unsafe: never"
    assert lines[-1] == "1 cell, 2 conditions of threads hold"
    result = json.loads(Path("r.json").read_text())
    Draft202012Validator(gupstress.schema("litmus")).validate(result)
    (cell,) = LitmusResult.model_validate(result).cells
    assert cell.explored is not None
    few = cell.explored.schedules
    assert cli("litmus", "race.toml", "--preemptions", "1", "--json", "r.json").code == 0
    (cell,) = LitmusResult.model_validate_json(Path("r.json").read_text()).cells
    assert cell.explored is not None
    assert cell.explored.schedules < few


def test_a_condition_that_does_not_hold_is_a_finding(cli: Cli) -> None:
    race("[forbid]\nspurious = true\n[[exists]]\nstuck = true\n")
    code, out, _ = cli("litmus", "race.toml")
    assert code == 1
    assert "exists stuck: never" in out
    assert out.splitlines()[-2:] == [
        "1 cell, 2 of 2 conditions of threads do not hold",
        "reproduce: gupstress litmus race.toml --kernel linux-7.2.13",
    ]
    code, out, _ = cli("litmus", "race.toml", "--format", "junit")
    assert code == 1
    (failure,) = ET.fromstring(out).iter("failure")
    assert "exists stuck: never" in str(failure.get("message"))
    code, out, _ = cli("litmus", "race.toml", "--format", "markdown")
    assert code == 1
    assert "\n- exists stuck: never" in out


def test_what_was_not_searched_whole_is_not_decided(cli: Cli) -> None:
    race("[forbid]\nunsafe = true\n")
    code, out, _ = cli("litmus", "race.toml", "--wall-timeout", "1ns", "--preemptions", "9")
    assert code == 3
    assert "not complete" in out
    assert "forbid unsafe: not so far" in out
    assert out.splitlines()[-1] == "1 cell, 1 of 1 condition of threads not decided"


def test_a_race_is_explored_kept_and_told(cli: Cli) -> None:
    race('[exists]\n"B.result" = "ENOMEM"\n')
    code, out, _ = cli("explore", "race.toml", "--seed", "1")
    assert code == 1
    assert out.splitlines()[-1] == "FAILURE: linux-7.2: 1 outcome"
    code, out, _ = cli("replay", "race-linux-7.2-outcome-1-1.json")
    assert code == 1
    assert "outcome: race under policy linux-7.2 on linux-7.2.13" in out
    assert out.split("\n")[2].split()[:2] == ["A", "B"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("race.toml --threads 3", "--threads: has no effect on a scenario"),
        ("race.toml --set ranges.count=2", 'axis "ranges.count" has no effect on a scenario'),
        ("anon-remote", "anon-remote: no threads to explore; nearest: [threads.A]"),
        ("race-isolatio", "nearest: "),
    ],
)
def test_what_cannot_be_explored_is_refused(cli: Cli, line: str, said: str) -> None:
    race("[forbid]\nunsafe = true\n")
    code, out, err = cli("explore", *line.split())
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert said in err


def test_more_preemptions_than_can_be_tried_are_refused(cli: Cli) -> None:
    code, out, err = cli("litmus", race("[forbid]\nunsafe = true\n"), "--preemptions", "99")
    assert (code, out) == (2, "")
    assert err == "gupstress: --preemptions: 99 is not from 0 to 32; nearest: 32\n"


# ---------------------------------------------------------------- what is different


@pytest.mark.parametrize(
    ("change", "name", "kernel", "said"),
    [
        ("batch_size=1", "anon-local", "linux-6.12.43", "drain_all 0≠1"),
        ("queueing_clears_lru=false", "anon-cold-remote", "linux-6.12.43", "result ENOMEM≠ok"),
        ("mlock_batched=false", "shmem-mlock-on-lru-remote", "linux-6.12.43", "result ok≠ENOMEM"),
        ("pin_bias=1", "anon-local", "linux-7.2.13", "migrated 0≠4"),
        ("drain_after_migrate=mapped", "anon-local", "linux-7.2.13", "drain_local 5≠1"),
        ("entry=slow", "anon-half-pinned-before", "linux-6.12.57", "acquired 8≠6"),
        ("mglru=false", "anon-cold-remote", "linux-7.2.13", "drain_work 0≠1"),
        ("drain=all", "anon-local", "linux-7.2.13", "drain_all 1≠0"),
    ],
)
def test_a_changed_rule_turns_cells_red(
    cli: Cli, change: str, name: str, kernel: str, said: str
) -> None:
    assert cli("litmus", name, "--kernel", kernel).code == 0
    code, out, _ = cli("litmus", name, "--kernel", kernel, "--set", change)
    assert code == 1
    assert said in out
    assert out.splitlines()[-1] == (
        f"reproduce: gupstress litmus {name} --kernel {kernel} --set {change}"
    )
    counter, values = said.split()
    (cell,) = result(name, "--kernel", kernel, "--set", change).cells
    differences = {each.counter: each for each in cell.differences}
    assert f"{differences[counter].found}≠{differences[counter].expected}" == values


def test_smaller_batches_are_flushed_before_the_pin(cli: Cli) -> None:
    assert cli("litmus", scenario()).code == 0
    code, out, _ = cli("litmus", "mine.toml", "--set", "batch_size=15")
    assert code == 1
    assert "drain_all 0≠1" in out


def test_only_what_differs_is_told_to_be_run_again(cli: Cli) -> None:
    _, out, _ = cli("litmus", *COUNTED[:20], "--set", "entry=slow")
    again = out.splitlines()[-1].removeprefix("reproduce: gupstress ").split()
    assert again[:2] == ["litmus", "anon-half-pinned-before"]
    code, out, _ = cli(*again)
    assert code == 1
    assert "3 cells, 27 counters compared, 3 different in 3 cells" in out


def test_wide_tables_are_split_to_fit_80_columns(cli: Cli) -> None:
    _, out, _ = cli("litmus", *COUNTED[:20], "--set", "pin_bias=1")
    *tables, _, _ = out.split("\n\n")
    assert len(tables) > 1
    assert max(len(line) for table in tables for line in table.splitlines()) <= 80
    for table in tables:
        assert table.count("anon-local") == 1
    found = result(*COUNTED[:20], "--set", "pin_bias=1").cells
    failed = [cell for cell in found if any(d.counter == "result" for d in cell.differences)]
    assert sum(table.count("result ENOMEM≠ok") for table in tables) == len(failed) > 0


# ---------------------------------------------------------------- what is not compared


def test_a_kernel_nobody_measured_shows_its_counts(cli: Cli) -> None:
    kernels = ("--kernel", "linux-6.14", "--kernel", "linux-7.2.13")
    code, out, _ = cli("litmus", "anon-remote", *kernels)
    assert code == 0
    for words in ("ok", "acquired 8", "migrated 4", "drain_work 1"):
        assert words in out
    assert "sweeps" not in out
    assert out.endswith("2 cells, 9 counters compared, all equal, 1 cell with nothing to compare\n")


def test_nothing_compared_is_no_pass(cli: Cli) -> None:
    code, out, _ = cli("litmus", "anon-remote", "--kernel", "linux-6.14")
    assert code == 3
    assert out.endswith("1 cell, 0 counters compared, 1 cell with nothing to compare\n")
    # With nothing to go by, all that happened is shown.
    assert "sweeps 2" in out


def test_a_file_without_expectations_runs_where_a_kernel_is_named(cli: Cli) -> None:
    code, out, _ = cli("litmus", scenario(more=""), "--kernel", "linux-6.12.43")
    assert code == 3
    assert "drain_all 1" in out


# ---------------------------------------------------------------- formats


def test_markdown_has_full_width_and_whole_cells(cli: Cli) -> None:
    args = ("litmus", "anon-local", "--format", "markdown")
    _, out, _ = cli(*args)
    assert out.startswith("| scenario   | linux-6.1.176   | linux-6.12.43   |")
    assert "| anon-local | =               | =               |" in out
    assert "```" not in out
    _, out, _ = cli(*args, "--set", "pin_bias=1")
    assert "drain_all 0≠1, drain_local 1≠5, migrate_failed 4≠0" in out
    assert "```sh\ngupstress litmus anon-local --kernel" in out


def test_junit_has_a_case_for_each_cell(cli: Cli) -> None:
    kernels = ("--kernel", "linux-6.14", "--kernel", "linux-6.12.43", "--kernel", "linux-6.12.57")
    code, out, err = cli(
        "litmus", "anon-cold-remote", *kernels, "--set", "mglru=false", "--format", "junit"
    )
    assert code == 1
    assert "drain_all" not in err
    (suite,) = ET.fromstring(out).iter("testsuite")
    counts = [suite.get(key) for key in ("tests", "failures", "errors", "skipped")]
    assert counts == ["3", "2", "0", "1"]
    unknown, *failed = suite.iter("testcase")
    assert unknown.find("skipped") is not None
    for case in failed:
        assert case.get("name") == "anon-cold-remote"
        failure = case.find("failure")
        assert failure is not None
        assert "drain_work 0≠1" in str(failure.get("message"))
    assert [case.get("classname") for case in failed] == [
        "gupstress.litmus.linux-6.12.43",
        "gupstress.litmus.linux-6.12.57",
    ]


# ---------------------------------------------------------------- bad input

WORDS = "cpu map touch read fill mlock munlock cold lazyfree dontneed remove rdonly pmdsplit mremap"

BAD_FILES = {
    "unknown word": (
        {"steps": '["map a 4 anon", "tuch a", "pin a"]'},
        ["mine.toml:1", 'step 2 "tuch a"', "nearest: touch", WORDS],
    ),
    "unknown mapping": (
        {"steps": '["map a 4 anon", "pin b"]'},
        ["mine.toml:1", 'step 2 "pin b"', "not mapped"],
    ),
    "no such cpu": (
        {"steps": '["cpu 7", "map a 4 anon", "pin a"]'},
        ["mine.toml:1", 'step 1 "cpu 7"', "cpus 0 to 3"],
    ),
    "wrong arguments": (
        {"steps": '["map a four anon", "map a 4 anon", "pin a"]'},
        ["mine.toml:1", 'step 1 "map a four anon"', "usage: map A N anon[/O]|shmem[/O]"],
    ),
    "no pin": ({"steps": '["map a 4 anon"]'}, ["mine.toml", "no pin step"]),
    "unknown counter": (
        {"more": '[expect."linux-7.2.13"]\ndrain_al = 1\n'},
        ["mine.toml:3", "drain_al", "nearest: drain_all"],
    ),
    "unknown kernel": (
        {"more": '[expect."linux-6.12.44"]\ndrain_all = 1\n'},
        ["mine.toml", "'linux-6.12.44'", "nearest: linux-6.12.43"],
    ),
    "unknown key": ({"more": 'sumary = "x"\n' + EXPECT}, ["mine.toml:2", "nearest: summary"]),
    "no expectations": ({"more": ""}, ["mine.toml", "no expectations", "nearest: --kernel linux-"]),
    "step that cannot be done": (
        {"steps": '["map a 4 anon", "touch a", "release a 2", "pin a"]'},
        ["mine.toml:1", 'step 3 "release a 2"', "held by nobody", "nearest: hold a 2"],
    ),
    "end that no pin has": (
        {"more": '[expect."linux-7.2.13"]\nresult = "okk"\n'},
        ["mine.toml:3", 'result: "okk"', "nearest: ok"],
    ),
    "end that is no word": (
        {"more": '[expect."linux-7.2.13"]\nresult = 0\n'},
        ["mine.toml:3", "result: 0", "nearest: ok"],
    ),
    "count below nothing": (
        {"more": '[expect."linux-7.2.13"]\nacquired = -1\n'},
        ["mine.toml:3", "acquired: -1 is not a count", "nearest: 0"],
    ),
    "count that is a word": (
        {"more": '[expect."linux-7.2.13"]\nacquired = "4"\n'},
        ["mine.toml:3", 'acquired: "4" is not a count', "nearest: 4"],
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_refused_in_one_line(cli: Cli, case: str) -> None:
    texts, said = BAD_FILES[case]
    code, out, err = cli("litmus", scenario(**texts), "--json", "r.json")
    assert (code, out) == (2, "")
    assert err.startswith("gupstress: ")
    assert err.count("\n") == 1
    for words in said:
        assert words in err
    assert os.listdir() == ["mine.toml"]


def test_every_bad_step_has_its_line(cli: Cli) -> None:
    steps = '["map a 4 anon", "tuch a", "fil 3", "pin a", "pin a 1"]'
    _, _, err = cli("litmus", scenario(steps=steps))
    assert [line.split('"')[1] for line in err.splitlines()] == ["tuch a", "fil 3", "pin a 1"]


def test_steps_out_of_range_are_all_told_before_anything_runs(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gupstress.studies.litmus.run", None)
    wrong = {
        "map b 0 anon": "map b 1 anon",
        "map c 13000 shmem": "map c 12288 shmem",
        "fill 0": "fill 1",
        "cpu 9": "cpu 3",
        "touch a 4 5": "touch a 3 4",
        "share a 3 2": "share a 3 4",
        "pin a 2 9": "pin a 2 4",
        "hold a 9": "hold a 3",
        "release a 1": "hold a 1",
    }
    steps = ["map a 4 anon", *wrong, "pin a"]
    code, out, err = cli("litmus", scenario(steps=json.dumps(steps)))
    assert (code, out) == (2, "")
    for number, ((step, near), line) in enumerate(
        zip(wrong.items(), err.splitlines(), strict=True), 2
    ):
        assert line.startswith(f'gupstress: mine.toml:1: step {number} "{step}": ')
        assert line.endswith(f"; nearest: {near}")


def test_a_step_that_fails_when_it_is_run_has_its_place(cli: Cli) -> None:
    steps = '["map a 12000 shmem", "map b 12000 shmem", "touch a", "touch b", "pin a"]'
    code, _, err = cli("litmus", scenario(steps=steps))
    assert code == 2
    assert err == 'gupstress: mine.toml: step 4 "touch b": touch: killed, as there was no memory\n'


def test_of_several_scenarios_the_place_is_that_of_the_one_that_failed(cli: Cli) -> None:
    one = '[[scenario]]\nname = "{}"\nsteps = ["map a 4 {}", "touch a", "alias a", "pin a"]\n'
    Path("two.toml").write_text(one.format("one", "shmem") + one.format("two", "anon"))
    code, _, err = cli("litmus", "two.toml", "--kernel", "linux-7.2.13")
    assert (code, err) == (2, 'gupstress: two.toml:4: step 3 "alias a": alias: EINVAL\n')


def test_part_of_a_mapping_may_be_shared(cli: Cli) -> None:
    def faults(*share: str) -> int:
        steps = ["map a 4 anon", "touch a", *share, "pin a"]
        return int(result(scenario(steps=json.dumps(steps))).cells[0].counters["faults"])

    assert faults("share a") == faults() + 4
    assert faults("share a 1 3") == faults() + 2


@pytest.mark.parametrize("axis", ["ranges.count=77", "threads=0", "pins=3", "memory.movable=0"])
def test_an_axis_without_effect_is_refused(cli: Cli, axis: str) -> None:
    code, _, err = cli("litmus", "anon-remote", "--set", axis)
    name = axis.partition("=")[0]
    assert code == 2
    assert err.startswith(f'gupstress: --set: axis "{name}" has no effect on a scenario; nearest: ')
    near = err.rpartition(": ")[2].strip()
    assert near in {**catalog.preset("kernel", "linux-7.2.13"), **catalog.preset("policy", "none")}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("anon-remot", ["anon-remot", "nearest: anon-remote"]),
        ("missing.toml", ["missing.toml", "No such file"]),
        ("--kernel linux-6.12.44", ["--kernel", "'linux-6.12.44'", "nearest: linux-6.12.43"]),
        ("--set batch_sise=15", ["--set", "batch_sise", "nearest: batch_size"]),
        ("--set batch_size=many", ["batch_size", "many"]),
        ("--set batch_size", ["AXIS=VALUE"]),
        ("--format xml", ["xml", "junit"]),
        ("--json missing/r.json", ["--json missing/r.json", "No such file"]),
        ("--kernl x", ["--kernl", "--kernel"]),
    ],
)
def test_one_line_exit_2_nothing_written(cli: Cli, line: str, said: list[str]) -> None:
    args = line.split()
    if "--json" not in args:
        args = ["--json", "r.json", *args]
    code, out, err = cli("litmus", *args)
    assert (code, out) == (2, "")
    assert err.startswith("gupstress: ")
    assert err.count("\n") == 1
    for words in said:
        assert words in err
    assert os.listdir() == []


def test_all_mistakes_are_named_at_once(cli: Cli) -> None:
    scenario(more='[expect."linux-6.12.44"]\ndrain_all = 1\n')
    code, _, err = cli("litmus", "anon-remot", "mine.toml", "--kernel", "linux-7.2.12")
    assert code == 2
    kernel, preset, file = err.splitlines()
    assert "nearest: linux-7.2.13" in kernel
    assert "nearest: anon-remote" in preset
    assert "mine.toml" in file


def test_two_files_of_one_name_are_refused(cli: Cli) -> None:
    for name in ("one.toml", "two.toml"):
        scenario(name, more='name = "same"\n' + EXPECT)
    code, _, err = cli("litmus", "one.toml", "two.toml")
    assert code == 2
    assert "two.toml" in err
    assert "'same' is that of one.toml too" in err


def test_what_is_named_twice_is_run_once(cli: Cli) -> None:
    twice = ("anon-local", "anon-local", "--kernel", "linux-6.14", "--kernel", "linux-6.14")
    assert cli("litmus", *twice).out.endswith("1 cell with nothing to compare\n")


# ---------------------------------------------------------------- limits

ENDLESS = ("anon-held-ref", "--kernel", "linux-7.2.13", "--set", "migrate_retries=4294967295")


def test_a_pin_of_endlessly_many_tries_is_stuck(cli: Cli) -> None:
    code, out, _ = cli("litmus", *ENDLESS, "--wall-timeout", "20m")
    assert code == 1
    assert "result stuck≠ENOMEM" in out


def test_what_the_host_has_no_time_for_is_unfinished(cli: Cli) -> None:
    code, out, _ = cli("litmus", *ENDLESS, "--wall-timeout", "1ms", "--json", "r.json")
    assert code == 3
    found = LitmusResult.model_validate_json(Path("r.json").read_text())
    (cell,) = found.cells
    assert (found.verdict, cell.class_, cell.differences) == ("unfinished", "unfinished", ())
    said = 'step 6 "pin a": no end within 1ms of the host\'s time'
    assert cell.unfinished == said
    assert out.splitlines()[-1].endswith(f"1 cell unfinished (anon-held-ref: {said})")


def test_every_word_has_a_method() -> None:
    words = {row["word"] for row in json.loads(_core.words())}
    # `cpu` is an argument, `drain` is called `drain_all`, and a pin says how by arguments.
    pins = {"pinro", "vfpin", "vfpinro", "udpin"}
    # Of a machine itself.
    limits = {"memlock", "dma_entries"}
    assert limits < inspect.signature(gupstress.Machine).parameters.keys()
    # Nothing of the model goes by while a script sleeps.
    methods = words - {"cpu", "drain", "sleep"} - pins - limits | {"drain_all"}
    assert [word for word in sorted(methods) if not hasattr(gupstress.Machine, word)] == []


def test_every_profile_with_a_history_is_shown_by_a_race_or_is_none() -> None:
    page = (Path(__file__).parents[2] / "docs" / "litmus.md").read_text()
    table = page[page.index("| profile | shown by |") :].partition("\n\n")[0].splitlines()[2:]
    rows = dict(re.findall(r"^\| `([\w-]+)` \| (.+) \|$", line)[0] for line in table)
    history = [
        name for name in gupstress.profiles() if catalog.preset("profile", name).get("history")
    ]
    assert sorted(rows) == sorted(history)
    shown = {name for text in rows.values() for name in re.findall(r"`([\w-]+)`", text)}
    shipped = {name: catalog.preset("litmus", name) for name in _core.names("litmus")}
    assert shown <= set(shipped)
    assert {name for name, row in shipped.items() if "threads" in row} <= shown
    for profile, text in rows.items():
        races = [name for name in re.findall(r"`([\w-]+)`", text) if "threads" in shipped[name]]
        assert bool(races) != text.startswith("no race: "), profile
