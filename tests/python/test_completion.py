"""Shell completion: what a shell is offered where."""

import os
import subprocess
import sys

import pytest

import gupstress


def offered(line: str) -> list[str]:
    """Ask as bash does when TAB is pressed at the end of a line."""
    words = line.split(" ")
    ended = subprocess.run(
        [sys.executable, "-m", "gupstress"],
        check=True,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "_GUPSTRESS_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        },
    )
    assert ended.stderr == ""
    return ended.stdout.splitlines()


def plain(*words: str) -> list[str]:
    return [f"plain,{word}" for word in words]


@pytest.mark.parametrize("command", ["gupstress", "gupstress run"])
def test_options_of_run_are_offered_with_and_without_its_name(command: str) -> None:
    assert offered(f"{command} --th") == plain("--threads", "--threshold")


def test_commands_are_offered() -> None:
    assert offered("gupstress ma") == plain("matrix")


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("gupstress --policy ", gupstress.policies()),
        ("gupstress matrix --profile ", gupstress.profiles()),
        ("gupstress run --kernel ", gupstress.kernels()),
        ("gupstress litmus --kernel ", gupstress.kernels()),
        ("gupstress show kernel ", gupstress.kernels()),
        ("gupstress show profile ", gupstress.profiles()),
    ],
)
def test_names_are_offered_where_they_belong(line: str, names: list[str]) -> None:
    assert offered(line) == plain(*names)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("gupstress --driver s", ["sim"]),
        ("gupstress --set isolat", ["isolation_failure=", "isolate_retries="]),
        ("gupstress --set pinner.h", ["pinner.hold="]),
        ("gupstress litmus --set isolat", ["isolation_failure=", "isolate_retries="]),
        ("gupstress --format j", ["json", "junit"]),
        ("gupstress list k", ["kernels"]),
        ("gupstress show pol", ["policy"]),
    ],
)
def test_words_are_offered(line: str, words: list[str]) -> None:
    assert offered(line) == plain(*words)


@pytest.mark.parametrize(
    "line",
    [
        "gupstress --policy ./mine",
        "gupstress --json r",
        "gupstress --trace r",
        "gupstress --baseline r",
        "gupstress litmus --json r",
        "gupstress compare base.json head.json --json r",
        "gupstress compare r",
        "gupstress compare base.json r",
        "gupstress report r",
        "gupstress report base.json -o r",
    ],
)
def test_files_are_left_to_the_shell(line: str) -> None:
    assert offered(line) == [f"file,{line.split()[-1]}"]


def test_the_scripts_are_there() -> None:
    for shell in ("bash", "zsh", "fish"):
        ended = subprocess.run(
            [sys.executable, "-m", "gupstress"],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "_GUPSTRESS_COMPLETE": f"{shell}_source"},
        )
        assert "_GUPSTRESS_COMPLETE" in ended.stdout
