"""Standard output and standard error that are full, closed, or of another alphabet."""

import json
import os
import pty
import shlex
import subprocess
from pathlib import Path

import pytest

from conftest import COMMAND, SMALL_OPTIONS, in_a_shell

RUN = ("--policy", "bounded", *SMALL_OPTIONS)

FULL = "gupstress: standard output: cannot be written: No space left on device\n"


def redirected(how: str, *args: str) -> "subprocess.CompletedProcess[str]":
    return in_a_shell(f"{shlex.join((*COMMAND, *args))} {how}")


def on_a_terminal(*args: str, **environment: str) -> tuple[int, str]:
    """Run a command on a terminal; return its exit code and what the terminal was sent."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        (*COMMAND, *args),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", **environment},
    ) as process:
        os.close(theirs)
        sent = b""
        try:
            while chunk := os.read(ours, 65536):
                sent += chunk
        except OSError:
            # How a terminal says that nobody is left on it.
            os.close(ours)
    return process.returncode, sent.decode()


@pytest.mark.parametrize(
    "args",
    [
        ("--quiet", *RUN),
        ("--quiet", "--format", "json", *RUN),
        ("list", "policies"),
        ("show", "policy", "bounded"),
        ("litmus", "anon-remote"),
        ("--help",),
        ("list", "--help"),
        ("--version",),
    ],
    ids=shlex.join,
)
def test_a_full_standard_output_is_one_line(args: tuple[str, ...]) -> None:
    ended = redirected(">/dev/full", *args)
    assert (ended.returncode, ended.stderr) == (2, FULL)


def test_a_full_standard_output_costs_no_file() -> None:
    ended = redirected(">/dev/full", "--quiet", "--json", "r.json", *RUN)
    assert (ended.returncode, ended.stderr) == (2, FULL)
    assert json.loads(Path("r.json").read_text())["status"] == "complete"


@pytest.mark.parametrize("how", ["2>/dev/full", "2>&-", ">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_what_cannot_be_said_changes_nothing(how: str) -> None:
    ended = redirected(how, "--json", "r.json", *RUN)
    assert ended.returncode == 0
    assert ("gupstress: SUCCESS" in ended.stdout) == (">&-" not in how.replace("2>&-", ""))
    assert json.loads(Path("r.json").read_text())["status"] == "complete"


@pytest.mark.parametrize("how", ["2>/dev/full", "2>&-"])
def test_a_refusal_that_cannot_be_said_is_one(how: str) -> None:
    ended = redirected(how, "--bad")
    assert (ended.returncode, ended.stdout) == (2, "")


def test_a_terminal_of_0_columns_is_one_of_unknown_width() -> None:
    code, sent = on_a_terminal(*RUN, COLUMNS="0")
    assert code == 0
    assert "gupstress: SUCCESS" in sent


def test_a_terminal_that_lacks_a_letter_gets_a_replacement() -> None:
    policy = Path("p.toml")
    policy.write_text('base = "bounded"\nname = "für-alle"\n', encoding="utf-8")
    code, sent = on_a_terminal(
        *("--policy", "p.toml", *SMALL_OPTIONS),
        LC_ALL="C",
        PYTHONUTF8="0",
        PYTHONCOERCECLOCALE="0",
    )
    assert code == 0
    assert r"f\xfcr-alle" in sent


def test_data_is_utf_8_whatever_the_terminal_would_get() -> None:
    Path("p.toml").write_text('base = "bounded"\nname = "für-alle"\n', encoding="utf-8")
    line = shlex.join((*COMMAND, "--policy", "p.toml", "--format", "json", *SMALL_OPTIONS))
    ended = in_a_shell(f"LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 {line}")
    assert json.loads(ended.stdout)["results"][0]["policy"] == "für-alle"


@pytest.mark.parametrize("option", ["--json", "--policy", "--set", "--baseline"])
def test_an_argument_that_is_no_text_is_refused(option: str) -> None:
    ended = in_a_shell(f"{shlex.join((*COMMAND, *RUN))} {option} $'bad\\xff.json'")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "gupstress: bad\\xff.json: not utf-8 text; nearest: bad_.json\n"
    assert os.listdir() == []
