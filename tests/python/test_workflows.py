"""What surrounds the project: workflows, hooks and habits call what there is."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from gupstress.cli import commands
from pages import ROOT, links

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

WORKFLOWS = [*sorted(ROOT.glob(".github/workflows/*.yml")), ROOT / "examples/gupstress.yml"]

CALLERS = [
    *WORKFLOWS,
    ROOT / "justfile",
    ROOT / ".pre-commit-config.yaml",
    *(ROOT / name for name in ("CONTRIBUTING.md", ".github/pull_request_template.md")),
]
"""What calls steps of `.ci/run`."""

each = pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)


def read(file: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(file.read_text()))


def steps(file: Path) -> Iterator[dict[str, Any]]:
    for job in read(file)["jobs"].values():
        yield from job["steps"]


def scripts(file: Path) -> Iterator[str]:
    return (step["run"] for step in steps(file) if "run" in step)


def test_there_are_workflows() -> None:
    assert {"tests.yml", "release.yml", "benchmark.yml"} <= {file.name for file in WORKFLOWS}


@each
def test_actions_are_pinned_and_say_their_version(file: Path) -> None:
    used = re.findall(r"uses: (.*)$", file.read_text(), re.MULTILINE)
    assert used
    for action in used:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


def test_an_action_has_one_version() -> None:
    text = "".join(file.read_text() for file in WORKFLOWS)
    pins = set(re.findall(r"uses: (\S+)@(\S+)", text))
    assert len(pins) == len({action for action, _ in pins})


@each
def test_no_job_may_or_lasts_more_than_it_needs(file: Path) -> None:
    workflow = read(file)
    assert workflow["permissions"] == {}
    assert "group" in workflow["concurrency"]
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 180
        assert job["permissions"]["contents"] in ("read", "write")
    for step in steps(file):
        if str(step.get("uses", "")).startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@each
def test_scripts_are_shell(file: Path) -> None:
    for script in scripts(file):
        found = subprocess.run(["/usr/bin/env", "bash", "-n", "-c", script], check=False)
        assert found.returncode == 0, script


@each
def test_commands_of_gupstress_exist(file: Path) -> None:
    assert isinstance(commands, click.Group)
    for script in scripts(file):
        for line in script.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            places = [at for at, word in enumerate(words) if Path(word).name == "gupstress"]
            for at in places:
                following = words[at + 1 :]
                name = following[0] if following else ""
                if name.startswith("--version") or words[0] == "python":
                    continue
                known = {opt for param in commands.commands[name].params for opt in param.opts}
                given = {word for word in following if word.startswith("--")}
                assert given <= known, line


def known_steps() -> set[str]:
    listed = subprocess.run(
        [ROOT / ".ci/run", "--list"], check=True, capture_output=True, text=True
    )
    return set(listed.stdout.split())


@pytest.mark.parametrize("file", CALLERS, ids=lambda file: file.name)
def test_steps_that_are_called_exist(file: Path) -> None:
    for called in re.findall(r"\.ci/run((?: [a-z][a-z-]*)+)", file.read_text()):
        if file.suffix != ".md" or f"`.ci/run{called}`" in file.read_text():
            assert set(called.split()) <= known_steps()


def test_what_is_no_step_is_refused_before_any_is_run() -> None:
    found = subprocess.run(
        [ROOT / ".ci/run", "fmt", "nonsense"], check=False, capture_output=True, text=True
    )
    assert (found.returncode, found.stdout) == (2, "")
    assert ".ci/run STEP..." in found.stderr


def test_the_tests_workflow_leaves_no_step_out() -> None:
    text = (ROOT / ".github/workflows/tests.yml").read_text()
    called = {word for found in re.findall(r"\.ci/run(.*)", text) for word in found.split()}
    assert known_steps() - {"busy", "fuzz", "mutants"} <= called


def test_every_python_that_is_promised_is_tried() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    promised = {
        name.rpartition(" ")[2]
        for name in project["classifiers"]
        if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", name)
    }
    job = read(ROOT / ".github/workflows/tests.yml")["jobs"]["python"]
    assert set(job["strategy"]["matrix"]["python"]) == promised
    assert project["requires-python"] == ">=" + min(promised, key=lambda name: int(name[2:]))


def test_what_is_built_says_where_it_comes_from(tmp_path: Path) -> None:
    for name in ("README.md", "pyproject.toml", ".ci/stamp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    before = [target for _, target in links(tmp_path / "README.md")]
    address = "https://example.org/owner/name"
    subprocess.run([tmp_path / ".ci/stamp", address, "c0ffee"], check=True)
    after = [target for _, target in links(tmp_path / "README.md")]
    assert [target.removeprefix(f"{address}/blob/c0ffee/") for target in after] == before
    assert all(re.match("https:", target) for target in after)
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]
    assert project["urls"]["Repository"] == address
    assert project["optional-dependencies"]
