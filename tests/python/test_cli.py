"""The command as a whole: help, catalogues, the bare call, and a run on real threads."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

import gupstress
from conftest import COMMAND, SMALL_OPTIONS, Ended

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Cli = Callable[..., Ended]


def test_help_says_what_the_bare_call_takes_and_how_it_ends(cli: Cli) -> None:
    code, out, err = cli("--help")
    assert (code, err) == (0, "")
    for word in ("--policy", "--threshold", "list", "show", "gupstress --threads 64"):
        assert word in out
    assert "130  interrupted" in out


@pytest.mark.parametrize("command", ["run", "matrix", "litmus", "list", "show"])
def test_each_command_has_help(cli: Cli, command: str) -> None:
    code, out, _ = cli(command, "--help")
    assert code == 0
    assert out.startswith(f"Usage: gupstress {command}")


@pytest.mark.parametrize("command", ["", "litmus", "matrix"])
def test_examples_stand_on_lines_of_their_own(cli: Cli, command: str) -> None:
    _, out, _ = cli(*command.split(), "--help")
    lines = [line.strip() for line in out.splitlines()]
    examples = [line for line in lines if line.startswith(f"gupstress {command}")]
    assert len(examples) >= 3
    assert "\\b" not in out


def test_the_version_names_the_build(cli: Cli) -> None:
    code, out, _ = cli("--version")
    assert code == 0
    assert out.startswith(f"gupstress {gupstress.__version__} (")


def test_the_bare_call_is_run(cli: Cli) -> None:
    options = ("--quiet", "--policy", "bounded", *SMALL_OPTIONS)
    assert cli(*options) == cli("run", *options)


@pytest.mark.parametrize(
    ("kinds", "kind"), [("policies", "policy"), ("profiles", "profile"), ("kernels", "kernel")]
)
def test_all_that_is_listed_is_shown(cli: Cli, kinds: str, kind: str) -> None:
    code, listed, _ = cli("list", kinds)
    assert code == 0
    names = [line.split()[0] for line in listed.splitlines()]
    assert names == getattr(gupstress, kinds)()
    for name, line in zip(names, listed.splitlines(), strict=True):
        code, out, _ = cli("show", kind, name)
        assert code == 0
        table = tomllib.loads(out)
        assert table["name"] == name
        assert line.endswith(table["summary"])


def test_real_threads_pin_and_the_books_balance(cli: Cli) -> None:
    options = ("--threads", "16", "--pins", "20000", "--policy", "bounded", "--format", "json")
    code, out, _ = cli(*options)
    assert code == 0
    run = json.loads(out)
    (row,) = run["results"]
    assert run["settings"]["driver"] == "os"
    assert row["status"] == "complete"
    assert row["pages"]["pinned"] >= 20_000
    assert row["counters"]["acquired"] == row["counters"]["released"]
    assert row["invariants"]["verdict"] == "held"
    assert row["invariants"]["checked"] > 0


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_process_with_what_was_counted(
    signal_: signal.Signals, request: pytest.FixtureRequest
) -> None:
    args = (*COMMAND, "--threads", "2", "--policy", "bounded", "--pins", str(2**60))
    if signal.getsignal(signal_) is signal.SIG_IGN:
        # As under `nohup`; whoever is started has it from here.
        request.addfinalizer(lambda: signal.signal(signal_, signal.SIG_IGN))
        signal.signal(signal_, signal.SIG_DFL)
    with subprocess.Popen(
        (*args, "--timeout", "100s", "--json", "r.json"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        lines = iter(process.stderr)
        assert next(lines).startswith("gupstress: seed ")
        # The first progress line: from here on the run is under way.
        assert "page pins" in next(lines)
        process.send_signal(signal_)
        assert process.wait() == 130
    with open("r.json") as file:
        assert json.load(file)["status"] == "interrupted"
    assert os.listdir() == ["r.json"]
