"""Job files: everything a run can be told, for one run or for several."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from jsonschema import Draft202012Validator

import gupstress
from conftest import Ended
from gupstress.cli.run import run
from gupstress.outcome.job import JobResult
from gupstress.running.jobfile import FIELDS

Cli = Callable[..., Ended]

ONE = """
policy = "bounded"
driver = "sim"
pins = "0.5k"
cpus = 2
threads = 2
timeout = "2s"
seed = 3
set = {isolate_retries = 5, pinner.dma = false}
threshold = "calls.stuck==0"
"""

SEVERAL = """
driver = "sim"
cpus = 2
[global]
seed = 1
pins = 200
policy = ["bounded", "mine.toml"]
set = {isolate_retries = 5}
[first]
threads = 2
[second]
policy = "bounded"
threads = [1, 2]
set = {migrate_retries = 7}
threshold = ["calls.issued<0"]
"""


@pytest.fixture(autouse=True)
def _files() -> None:
    Path("jobs").mkdir()
    Path("jobs/one.toml").write_text(ONE)
    Path("jobs/several.toml").write_text(SEVERAL)
    Path("jobs/mine.toml").write_text('name = "mine"\nbase = "bounded"\n')


def test_a_file_is_the_options_that_it_holds(cli: Cli) -> None:
    found = cli("run", "jobs/one.toml", "--quiet")
    options = "--policy bounded --driver sim --pins 500 --cpus 2 --threads 2 --timeout 2s --seed 3"
    more = "--set isolate_retries=5 --set pinner.dma=false --threshold calls.stuck==0 --quiet"
    assert found == cli("run", *options.split(), *more.split())
    assert found.code == 0


def test_options_come_before_what_the_file_says(cli: Cli) -> None:
    code, out, _ = cli("run", "jobs/one.toml", "--seed", "9", "--pins", "300", "--format", "json")
    settings = json.loads(out)["settings"]
    assert (code, settings["seed"], settings["pins"], settings["threads"]) == (0, 9, 300, 2)


def test_every_option_of_a_request_is_a_key() -> None:
    options = {name.removeprefix("--") for param in run.params for name in param.opts}
    assert set(FIELDS) <= options
    beside = {"baseline", "format", "json", "trace", "trace-last", "export-csv", "dry-run", "quiet"}
    beside |= {"on", "cluster"}
    assert options - set(FIELDS) == beside


def test_each_section_is_a_run_and_the_worst_decides(cli: Cli) -> None:
    code, out, err = cli("run", "jobs/several.toml", "--json", "j.json")
    assert code == 1
    assert err.splitlines() == ["gupstress: first: seed 1", "gupstress: second: seed 1"]
    assert [line for line in out.splitlines() if line.startswith("== ")] == [
        "== first",
        "== second",
    ]
    first, second = out.splitlines()[-2:]
    assert first.startswith("first: gupstress: SUCCESS: ")
    assert second.startswith("second: gupstress: FAILURE: ")
    table = json.loads(Path("j.json").read_text())
    Draft202012Validator(gupstress.schema("job")).validate(table)
    found = JobResult.model_validate(table)
    assert [one.name for one in found.sections] == ["first", "second"]
    one, two = (section.run for section in found.sections)
    assert [row.policy for row in one.results] == ["bounded", "mine"]
    assert [row.policy for row in two.results] == ["bounded threads=1", "bounded threads=2"]
    assert one.settings.sets == {"isolate_retries": "5"}
    assert two.settings.sets == {"isolate_retries": "5", "migrate_retries": "7"}
    # Each can be made again by itself.
    commands = [line for line in out.splitlines() if line.startswith("reproduce: ")]
    _, again, _ = cli(*shlex.split(commands[0])[2:], "--format", "json", "--quiet")
    assert (
        json.loads(again)["results"][0]["counters"]
        == table["sections"][0]["run"]["results"][0]["counters"]
    )
    assert all(name in gupstress.report("j.json") for name in ("first", "second"))


def test_several_sections_for_machines(cli: Cli) -> None:
    _, out, err = cli("run", "jobs/several.toml", "--format", "junit", "--quiet")
    suites = ET.fromstring(out)
    assert [suite.get("name") for suite in suites] == ["gupstress.first", "gupstress.second"]
    assert [suite.get("failures") for suite in suites] == ["0", "2"]
    assert err.splitlines()[-1].startswith("second: gupstress: FAILURE")
    _, out, _ = cli("run", "jobs/several.toml", "--format", "json", "--quiet")
    assert json.loads(out)["schema"] == "gupstress.job/1"


def test_a_dry_run_says_what_it_would_do(cli: Cli, no_run: None) -> None:
    code, out, _ = cli("run", "jobs/several.toml", "--dry-run")
    said, first, more, second = out.splitlines()
    assert code == 0
    assert said.startswith("# first: 2 runs, ")
    assert "--policy jobs/mine.toml" in first
    assert more.startswith("# second: 2 runs, ")
    assert "--scan threads=1,2" in second
    code, out, _ = cli("run", "--policy", "bounded", "--seed", "1", "--dry-run")
    assert (code, out.splitlines()[1].startswith("gupstress run --policy bounded ")) == (0, True)
    assert cli("run", "--policy", "bonded", "--dry-run").code == 2


def test_a_dry_run_counts_any_number_of_runs(cli: Cli, no_run: None) -> None:
    options = ("--policy", "none", "--policy", "bounded", "--threads", "1,8", "--driver", "sim")
    ended = cli("run", *options, "--repeat", "4294967295", "--dry-run")
    assert ended.code == 0
    assert "17179869180 runs" in ended.out


def test_a_job_is_shown_in_full_and_taken_back(cli: Cli, no_run: None) -> None:
    code, out, _ = cli("show", "job", "jobs/several.toml")
    assert code == 0
    assert 'kernel = "linux-7.2.13"' in out
    assert "timeout = 60.0" in out
    Path("full.toml").write_text(out)
    once, again = (cli("run", file, "--dry-run").out for file in ("jobs/several.toml", "full.toml"))
    assert again.replace(" --stall-after 200ms", "") == once


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("polcy = 'x'\n[a]\n[b]", ["bad.toml: no key 'polcy'; nearest: policy"]),
        ("[a]\nthreads = 'x'", ["bad.toml [a] threads: 'x' is not a whole number"]),
        ("threads = 0", ["bad.toml threads: 0 is below 1"]),
        ("[a]\n[b]\nrepeat = 0", ["bad.toml [b] repeat: 0 is below 1"]),
        ("threads = [1, 0]", ["bad.toml threads: 0 is below 1"]),
        ("set = {isolate_retries = 'x'}", ['bad.toml set: isolate_retries: "x" is not a whole']),
        ("set = {nothing = 1}", ["bad.toml set: no axis"]),
        ("threshold = 'calls.stuk==0'", ["bad.toml threshold calls.stuk==0: no metric"]),
        ("[a]\nprofile = 'bonded'", ['bad.toml [a]: no profile "bonded"']),
        ("set = 5", ["bad.toml set: 5 is not a table"]),
        ("[a]\npolicy='none'\n[b]\npolicy = 'bonded'", ['[b]: no policy "bonded"']),
        ("[a\n", ["bad.toml: not TOML: "]),
    ],
)
def test_what_is_wrong_with_a_job_has_its_place(
    cli: Cli, no_run: None, text: str, said: list[str]
) -> None:
    Path("bad.toml").write_text(text)
    code, out, err = cli("run", "bad.toml")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert all(one in err for one in said)


def test_what_was_given_beside_a_job_is_told_of_its_option(cli: Cli, no_run: None) -> None:
    Path("good.toml").write_text("repeat = 2\n")
    code, _, err = cli("run", "good.toml", "--threshold", "calls.stuk==0")
    assert (code, err.startswith("gupstress: --threshold calls.stuk==0: ")) == (2, True)


@pytest.mark.parametrize("option", ["--trace", "--export-csv", "--baseline"])
def test_what_is_for_one_run_is_refused_for_several(cli: Cli, no_run: None, option: str) -> None:
    Path("base.json").write_text("{}")
    code, _, err = cli("run", "jobs/several.toml", option, "base.json")
    assert code == 2
    assert f"{option}: is for one run; nearest: a job file of one section" in err


def test_a_file_that_is_not_there(cli: Cli) -> None:
    code, _, err = cli("run", "none.toml")
    assert (code, err) == (2, "gupstress: none.toml: cannot be read: No such file or directory\n")
