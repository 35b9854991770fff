"""The examples do what they say."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import in_a_shell

ROOT = Path(__file__).parents[2]
SUITE = ROOT / "examples/test_my_policy.py"


def pytest_on(suite: Path, policy: str | None, *options: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name != "MY_POLICY"}
    if policy is not None:
        environment["MY_POLICY"] = policy
    # A copy, so that nothing of this project is near it.
    shutil.copy(suite, "test_my_policy.py")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "--strict-markers", *options],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )


def test_the_suite_passes() -> None:
    ended = pytest_on(SUITE, None)
    assert ended.returncode == 0, ended.stdout
    assert re.search(r"^1\d passed in", ended.stdout, re.MULTILINE)


def test_the_suite_takes_a_file() -> None:
    Path("mine.toml").write_text('name = "mine"\nbase = "cooperative"\nbackoff_min = "2us"\n')
    ended = pytest_on(SUITE, "mine.toml", "--gupstress-json", "all.json", "-k", "wasted or oom")
    assert ended.returncode == 0, ended.stdout
    runs = [
        run for test in json.loads(Path("all.json").read_text())["tests"] for run in test["runs"]
    ]
    assert {run["results"][0]["policy"] for run in runs} == {"mine"}


def test_the_suite_finds_a_broken_policy_and_says_how_to_see_it_again() -> None:
    ended = pytest_on(SUITE, "busted-accept", "-x")
    assert ended.returncode == 1
    found = re.search(
        r"^busted-accept +live +violated +held .*"
        r"^reproduce: (gupstress run --policy busted-accept .*--seed 1 [^\n]*)$\n"
        r"^gupstress: FAILURE: busted-accept violated \(",
        ended.stdout,
        re.MULTILINE | re.DOTALL,
    )
    assert found is not None, ended.stdout
    again = in_a_shell(found[1])
    assert again.returncode == 1
    assert "finding: busted-accept: violated: " in again.stdout


def job_of(file: str) -> dict[str, Any]:
    (job,) = yaml.safe_load((ROOT / file).read_text())["jobs"].values()
    return dict(job)


def carry_out(job: dict[str, Any], step: str, **environment: str) -> int:
    """Run one step as GitHub Actions does, and return its exit code."""
    (script,) = (each["run"] for each in job["steps"] if each["name"] == step)
    ended = subprocess.run(
        ["/usr/bin/env", "bash", "-e", "-c", script],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **{name: str(value) for name, value in job["env"].items()},
             **environment},
    )  # fmt: skip
    sys.stdout.write(ended.stdout + ended.stderr)
    return ended.returncode


SMALL = "--driver sim --threads 2 --pins 200"


@pytest.fixture
def _two_commits() -> None:
    """Let this installation be what both commits were built to."""
    for side in ("base", "head"):
        Path(side, ".venv").mkdir(parents=True)
        Path(side, ".venv/bin").symlink_to(Path(sys.executable).parent)
        Path(side, "policy.toml").write_text('name = "mine"\nbase = "cooperative"\n')


@pytest.mark.usefixtures("_two_commits")
def test_the_workflow_passes_what_is_the_same() -> None:
    Path("head/tests").mkdir()
    shutil.copy(SUITE, "head/tests")
    job = job_of("examples/gupstress.yml")
    environment = {"LOAD": f"--profile contended {SMALL}", "GITHUB_STEP_SUMMARY": "summary.md"}
    for step in ("Stress the policy", "Run both in turn", "Compare", "Draw"):
        assert carry_out(job, step, **environment) == 0
    assert len(list(Path("results/base").iterdir())) == job["env"]["REPEATS"]
    assert "same" in Path("summary.md").read_text()
    assert "head" in Path("results/report.html").read_text()
    tests = json.loads(Path("results/suite.json").read_text())["tests"]
    assert {run["results"][0]["policy"] for test in tests for run in test["runs"]} == {"mine"}


@pytest.mark.usefixtures("_two_commits")
def test_the_workflow_stops_what_is_worse() -> None:
    Path("head/policy.toml").write_text('name = "mine"\nbase = "busted-accept"\n')
    job = job_of("examples/gupstress.yml")
    environment = {"LOAD": f"--profile contended {SMALL}", "REPEATS": "5"}
    assert carry_out(job, "Run both in turn", **environment) == 0
    assert carry_out(job, "Compare", **environment) == 1


@pytest.mark.usefixtures("_two_commits")
def test_the_workflow_stops_at_a_mistake() -> None:
    Path("head/policy.toml").write_text("drian = 1\n")
    job = job_of("examples/gupstress.yml")
    assert carry_out(job, "Run both in turn", LOAD=SMALL) == 2


@pytest.mark.usefixtures("_two_commits")
def test_the_projects_own_benchmark_has_the_same_form() -> None:
    job = job_of(".github/workflows/benchmark.yml")
    environment = {
        "LOAD": f"--policy bounded {SMALL}",
        "REPEATS": "5",
        "GITHUB_STEP_SUMMARY": "summary.md",
    }
    for step in ("Run both in turn", "Compare", "Draw"):
        assert carry_out(job, step, **environment) == 0
    for profile in job["env"]["PROFILES"].split():
        assert Path(f"results/{profile}.html").exists()
    assert Path("summary.md").read_text().count("bounded") >= 2
    example = job_of("examples/gupstress.yml")
    # It is what it judges.
    others = ("Get gupstress", "Stress the policy")
    names = [step["name"] for step in example["steps"] if step["name"] not in others]
    assert [step["name"] for step in job["steps"]] == names
