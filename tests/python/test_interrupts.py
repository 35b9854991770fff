"""Ctrl-C more than once, early, and late."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import SMALL_OPTIONS, Ended, Row
from gupstress.cli import interrupts, output
from gupstress.outcome import stability
from gupstress.running import engine
from gupstress.running.result import RunResult

Cli = Callable[..., Ended]


@pytest.fixture
def taken() -> Iterator[None]:
    """Let interrupts be handled as in a process of the command."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    interrupts.take()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def first(monkeypatch: pytest.MonkeyPatch, module: object, name: str, *numbers: int) -> None:
    """Send signals to this process before each call of a function."""
    function = getattr(module, name)

    def signalled(*args: object, **named: object) -> object:
        for number in numbers:
            signal.raise_signal(number)
        return function(*args, **named)

    monkeypatch.setattr(module, name, signalled)


@pytest.mark.usefixtures("taken")
def test_one_interrupts_and_those_after_it_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGTERM)
    # Who has waited long enough for a result is heard again.
    monkeypatch.setattr(interrupts, "_PEACE_S", -1.0)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.usefixtures("taken")
def test_further_ones_cost_nothing_that_was_counted(
    cli: Cli, rows: Callable[..., list[Row]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows()
    run = engine.Plan.run
    jobs: list[object] = []

    def interrupted(plan: engine.Plan, policy: int, repeat: int, *rest: Any) -> Row:
        jobs.append(policy)
        if len(jobs) == 2:
            signal.raise_signal(signal.SIGINT)
        return run(plan, policy, repeat, *rest)

    monkeypatch.setattr(engine.Plan, "run", interrupted)
    first(monkeypatch, stability, "judged", signal.SIGINT, signal.SIGTERM)
    first(monkeypatch, output, "deliver", signal.SIGINT, signal.SIGINT)
    code, out, _ = cli("--json", "r.json", *SMALL_OPTIONS)
    assert code == 130
    assert "gupstress: INTERRUPTED" in out
    stored = RunResult.model_validate_json(Path("r.json").read_text())
    assert stored.status == "interrupted"
    assert len(stored.results) == 1


@pytest.mark.usefixtures("taken")
@pytest.mark.parametrize("command", ["run", "matrix --profile zero-page"])
def test_what_is_being_written_is_not_interrupted(
    cli: Cli, rows: Callable[..., list[Row]], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    rows()
    first(monkeypatch, output, "deliver", signal.SIGINT)
    options = ("--policy", "bounded", "--driver", "sim", "--json", "r.json", "--quiet")
    code, out, err = cli(*command.split(), *options)
    assert (code, err) == (0, "")
    assert "bounded" in out
    assert Path("r.json").exists()


EARLY = """
class Finder:
    def find_spec(self, name, *_):
        if name == "gupstress.cli":
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Finder())
"""

LATE = """
atexit.register(lambda: signal.raise_signal(signal.SIGINT))
"""


@pytest.mark.parametrize(("when", "code"), [(EARLY, 130), (LATE, 0)], ids=["early", "late"])
def test_no_traceback_while_the_command_is_loaded_and_when_it_is_over(when: str, code: int) -> None:
    ending = "from gupstress.__main__ import main; sys.argv[1:] = ['--version']; sys.exit(main())"
    ended = subprocess.run(
        (sys.executable, "-c", f"import atexit, signal, sys\n{when}\n{ending}"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (code, "")


IN_A_TEXT = """
import sys
from gupstress.__main__ import main
from gupstress.running import runner

def prepare(*_, **__):
    exec("import signal; signal.raise_signal(signal.SIGINT)")

runner.prepare = prepare
sys.exit(main())
"""


def test_one_within_a_text_that_is_executed_ends_in_the_same_code() -> None:
    """As in the imports of many a library: Python would have `-m` end by the signal."""
    Path("command.py").write_text(IN_A_TEXT)
    ended = subprocess.run(
        (sys.executable, "-m", "command", "--policy", "none", "--quiet"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr.strip()) == (130, "gupstress: interrupted")


FORKING = """
import os, signal, sys
from contextlib import contextmanager
from gupstress.running import runner
from gupstress.running.request import Request

codes = []

def look(now):
    if codes:
        return
    child = os.fork()
    if child:
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        raise KeyboardInterrupt
    # A child that went on would do so for ever.
    codes.append(0)
    signal.alarm(600)

@contextmanager
def watching(turn):
    yield look

request = Request(
    policies=("none",), profile="steady", driver=sys.argv[1], threads=2, pins=10**12, seed=1
)
run = runner.run(runner.prepare(request), [], watching)
print(codes, run.status, run.results[0].invariants.verdict)
"""


@pytest.mark.parametrize("driver", ["os", "sim"])
def test_a_child_that_is_forked_while_a_run_is_on_ends_and_its_parent_goes_on(driver: str) -> None:
    ended = subprocess.run(
        (sys.executable, "-W", "ignore", "-c", FORKING, driver),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, "[70] interrupted held\n"), ended.stderr
    said = "gupstress: forked while a run was on: the child has none of its threads and ends\n"
    assert ended.stderr == said
