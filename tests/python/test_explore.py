"""Explorations from the command line and from Python."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest

import gupstress

pytest_plugins = ["pytester"]

RACE = ("explore", "isolation-race", "--kernel", "linux-6.14", "--seed", "1")


def call(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command line of its own process."""
    command = [sys.executable, "-m", "gupstress", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_finding_is_written_and_replays_in_another_process(tmp_path: Path) -> None:
    done = call(*RACE, "-o", str(tmp_path), "--json", str(tmp_path / "e.json"))
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[-1] == "FAILURE: linux-6.14: 1 unsafe"
    result = json.loads((tmp_path / "e.json").read_text())
    jsonschema.validate(result, gupstress.schema("explore"))
    (file,) = tmp_path.glob("isolation-race-*.json")
    assert f"gupstress replay {file}" in done.stdout
    again = call("replay", str(file))
    assert again.returncode == 1, again.stderr
    assert all(len(line) <= 80 for line in again.stdout.splitlines())
    assert "took an empty collection for success" in " ".join(again.stdout.split())
    told = call("replay", str(file), "--format", "json", "--trace", str(tmp_path / "t.json"))
    jsonschema.validate(json.loads(told.stdout), gupstress.schema("replay"))
    assert any(event["ph"] == "X" for event in json.loads((tmp_path / "t.json").read_text()))


def test_an_edited_file_diverges_where_it_was_edited(tmp_path: Path) -> None:
    (found,) = gupstress.explore(kernel="linux-6.14", seed=1).findings
    file = tmp_path / "f.json"
    file.write_text(found.text)
    assert gupstress.replay(file).differs is None
    edited = json.loads(found.text)
    edited["choices"].append([0, 1])
    file.write_text(json.dumps(edited))
    done = call("replay", str(file))
    assert done.returncode == 3
    assert "diverges at step" in done.stderr
    assert "expected 0 (pinner 0)" in done.stderr
    assert "In the end: ." not in done.stdout


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"machine": "0.0.0-0"}, "another version"),
        ({"schema": "gupstress.run/1"}, "is not a schedule"),
        ({"seed": "x"}, "expected u64"),
        ({"choices": [[0, 0]]}, "choices"),
    ],
)
def test_what_is_no_schedule_is_refused(
    tmp_path: Path, change: dict[str, object], says: str
) -> None:
    (found,) = gupstress.explore(kernel="linux-6.14", seed=1).findings
    file = tmp_path / "f.json"
    file.write_text(json.dumps({**found.file, **change}))
    done = call("replay", str(file))
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert says in done.stderr


def test_everything_wrong_is_said_at_once() -> None:
    with pytest.raises(gupstress.ConfigError) as raised:
        gupstress.explore(strategy="bound", threads=99, find="unsave", kernel="linux-7")
    text = str(raised.value)
    for said in ("bounded", "unsafe", "16", "linux-7"):
        assert said in text


def test_a_bounded_search_says_that_it_is_complete() -> None:
    result = gupstress.explore(policy="cooperative", strategy="bounded", preemptions=1, seed=1)
    assert result.coverage.complete is True
    assert result.findings == ()


def test_an_interrupt_keeps_what_was_found(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "gupstress", *RACE, "-o", str(tmp_path), "--keep-going"]
    words += ["--schedules", "1e9", "--json", str(tmp_path / "e.json"), "--shrink", "1ms"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        # Any moment will do: what has been found by then is kept, be it nothing.
        time.sleep(3)
        os.kill(running.pid, signal.SIGINT)
        running.communicate()
    if (tmp_path / "e.json").exists():
        assert running.returncode == 130
        assert json.loads((tmp_path / "e.json").read_text())["status"] == "interrupted"
    else:
        assert running.returncode in (130, -signal.SIGINT)


def test_the_fixture_keeps_findings_and_prints_their_replay(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_it(gupstress_explore):
            result = gupstress_explore(kernel="linux-6.14", seed=1)
            assert not result.findings
        """
    )
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["gupstress replay *isolation-race-linux-6.14-unsafe-1.json"])
