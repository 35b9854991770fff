"""Files that are not quite right: one line with the place, exit 2, and nothing in them acts."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

import strange
from conftest import SMALL_OPTIONS, Ended
from gupstress import _core
from gupstress.outcome import files
from gupstress.render import junit
from gupstress.running import host
from gupstress.visible import markdown, typed, visible

Cli = Callable[..., Ended]

ACTS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
    r"|^\s*::|##\[",
    re.MULTILINE,
)
"""What acts on a terminal or on GitHub Actions."""


def hold(ended: Ended, *args: str) -> None:
    """Check what every end of a command has to be like, whatever it read."""
    code, out, err = ended
    assert code in (0, 1, 2, 3), (args, err)
    assert ACTS.search(out + err) is None, args
    if code == 2:
        assert out == ""
        assert err
        assert all(line.startswith("gupstress: ") for line in err.splitlines())
    if "junit" in args and code != 2:
        ET.fromstring(out)
    assert not list(Path.cwd().glob(".*.part"))


@pytest.fixture
def found(cli: Cli) -> dict[str, Any]:
    """Store a result of every kind, and return the documents by their files."""
    bad = ("--policy", "bounded", "--policy", "busted-accept", "--policy", "busted-leak-pin")
    sim = ("--profile", "same-range", "--driver", "sim", "--seed", "1", "--quiet")
    cli("run", *bad, *sim, "--set", "calls=20", "--repeat", "5", "--json", "run.json",
        "--threshold", "calls.stuck==0")  # fmt: skip
    cli("run", "--policy", "unbounded", "--profile", "zero-page", *sim[2:], "--json", "stuck.json")
    cli("compare", "run.json", "run.json", "--json", "compare.json")
    cli("litmus", "anon-remote", "--json", "litmus.json")
    cli("matrix", "--policy", "bounded", "--profile", "wasted-drain", "--driver", "sim",
        "--quiet", "--json", "matrix.json")  # fmt: skip
    names = ("run", "stuck", "compare", "litmus", "matrix")
    return {f"{name}.json": json.loads(Path(f"{name}.json").read_text()) for name in names}


@pytest.fixture
def every(cli: Cli, found: dict[str, Any]) -> dict[str, Any]:
    """Store documents of the other kinds, too."""
    cli("explore", "isolation-race", "--kernel", "linux-6.14", "--schedules", "50", "--seed", "1",
        "--json", "explore.json")  # fmt: skip
    (schedule,) = Path.cwd().glob("isolation-race-*.json")
    schedule.rename("schedule.json")
    cli("tune", "--profile", "free-loop", "--threads", "2", "--pins", "200", "--seed", "3",
        "--trials", "2", "--confirm", "0", "--quiet", "--json", "tune.json")  # fmt: skip
    cli(*SOAKED, "--state", "soak.json")
    shutil.copy(DOCS / "live-6.12.117-2.json", "live.json")
    others = {path.name: json.loads(path.read_text()) for path in Path.cwd().glob("*.json")}
    return {**others, **found}


DOCS = Path(__file__).resolve().parents[2] / "docs"

SCHEDULES = Path(__file__).resolve().parents[1] / "schedules"

SOAKED = ("soak", "--driver", "sim", "--cycles", "1", "--seed", "1", "--policy", "bounded",
          "--profile", "steady", "--kernel", "linux-6.14", "--quiet")  # fmt: skip


def reading(name: str) -> list[tuple[str, ...]]:
    """Return the commands that read a result of a kind."""
    report = ("report", "odd.json", "-o", "odd.html")
    match name:
        case "run.json" | "stuck.json":
            return [
                report,
                ("compare", "odd.json", name),
                ("compare", name, "odd.json", "--format", "markdown"),
                ("compare", name, "odd.json", "--format", "junit"),
            ]
        case "schedule.json":
            return [("replay", "odd.json"), ("replay", "odd.json", "--format", "html")]
        case "soak.json":
            return [(*SOAKED, "--state", "odd.json")]
        case "live.json":
            return [("compare", "--model", "odd.json")]
        case _:
            return [report]


RESULTS = 700
TABLES = 500
"""Files that the slow lane makes of either kind; `.ci/run fuzz` takes other ones each time."""


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_mutated_results(cli: Cli, every: dict[str, Any]) -> None:
    first = int(os.environ.get("GUPSTRESS_FUZZ_SEED", "0"))
    codes = set()
    for seed in range(first, first + RESULTS):
        name = random.Random(seed).choice(sorted(every))
        odd = strange.result(every[name], seed)
        for args in reading(name):
            Path("odd.json").write_bytes(odd)
            ended = cli(*args)
            hold(ended, *args, f"seed {seed}")
            codes.add(ended.code)
            assert ended.code != 2 or "odd.json" in ended.err
    assert {0, 2} <= codes


SETTLED = ("--driver", "sim", "--pins", "50", "--threads", "2", "--quiet", "--timeout", "300ms")

TAKING: dict[str, list[tuple[str, ...]]] = {
    "policy": [
        ("run", "--policy", "odd.toml", *SETTLED, "--format", "markdown"),
        ("matrix", "--policy", "odd.toml", "--profile", "wasted-drain", "--driver", "sim",
         "--quiet", "--timeout", "300ms"),
    ],
    "profile": [("run", "--profile", "odd.toml", "--policy", "bounded", *SETTLED)],
    "kernel": [
        ("run", "--kernel", "odd.toml", "--policy", "bounded", *SETTLED, "--format", "junit")
    ],
    "litmus": [("litmus", "odd.toml"), ("litmus", "odd.toml", "--format", "junit"),
               ("fit", "odd.toml")],
    "race": [("litmus", "odd.toml"), ("explore", "odd.toml", "--schedules", "50")],
    "job": [("run", "odd.toml", "--dry-run"), ("show", "job", "odd.toml"),
            ("run", "odd.toml", *SETTLED, "--repeat", "2")],
}  # fmt: skip
"""Commands by the kind of file that they take."""

JOB = """\
[global]
driver = "sim"
seed = 1
pins = 50
threads = 2
perturb = 0.5
timeout = "300ms"
policy = ["bounded"]
threshold = ["calls.stuck==0"]
[references]
profile = "short-refs"
[sizes]
repeat = 2
set = {migrate_retries = 20}
scan = {order = ["unpin-first", "isolate-while-pinned"]}
"""


def right(kind: str) -> str:
    """Return a file of a kind that is as it should be."""
    match kind:
        case "job":
            return JOB
        case "race":
            return _core.show("litmus", "race-isolation")
        case _:
            return _core.show(kind, _core.names(kind)[0])


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_mutated_tables(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    # What a file asks for may well be had here, and take its time: that is no mistake of it.
    monkeypatch.setattr(host, "memory_room", lambda: host.Room(64 << 20, "this test"))
    first = int(os.environ.get("GUPSTRESS_FUZZ_SEED", "0"))
    codes = set()
    for seed in range(first, first + TABLES):
        kind = random.Random(seed).choice(list(TAKING))
        Path("odd.toml").write_bytes(strange.table(right(kind), seed))
        for args in TAKING[kind]:
            ended = cli(*args)
            hold(ended, *args, f"seed {seed}")
            codes.add(ended.code)
    assert {0, 2} <= codes


@pytest.mark.parametrize("kind", list(TAKING))
def test_what_is_changed_is_right_before(cli: Cli, kind: str) -> None:
    Path("odd.toml").write_text(right(kind))
    for args in TAKING[kind]:
        assert cli(*args).code != 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("timeout = " + "9" * 400, "above 1000000000s; nearest: 1000000000s"),
        ("perturb = " + "9" * 400, "above 1; nearest: 1"),
        ("threshold = nan\nscan = {pages = [4, 8]}", "threshold: nan is not a condition; "),
    ],
    ids=["long", "much", "no text"],
)
def test_numbers_beyond_all_that_counts_are_refused(cli: Cli, line: str, said: str) -> None:
    Path("odd.toml").write_text(f"{line}\n")
    ended = cli("run", "odd.toml")
    hold(ended)
    assert ended.code == 2
    assert said in ended.err


def test_where_a_schedule_diverges_is_told_without_acting(cli: Cli) -> None:
    kept = next(SCHEDULES.glob("*.json"))
    odd = changed(json.loads(kept.read_text()), "counters.offlined", "##[error]x")
    Path("odd.json").write_text(json.dumps(odd))
    ended = cli("replay", "odd.json")
    hold(ended)
    assert ended.code == 3
    assert "diverges counters.offlined" in ended.err


def changed(document: Any, path: str, value: Any) -> Any:
    *way, last = path.split(".")
    at = document
    for key in way:
        at = at[int(key)] if isinstance(at, list) else at[key]
    if value is ...:
        del at[last]
    else:
        at[int(last) if isinstance(at, list) else last] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("results.0.calls.pinned", ..., "results.0.calls.pinned: Field required"),
        ("results.0.liveness.verdict", 7, "results.0.liveness.verdict: "),
        ("results.1.elapsed_s", 10**400, "results.1.elapsed_s: the number is out of range"),
        ("results.1.resolved.policy.extra", float("inf"), "results.1.resolved.policy.extra: "),
        ("settings.pins", "many", "settings.pins: "),
        ("host.load", [1.0], "host.load.1: "),
    ],
)
def test_the_place_in_the_file_is_named(
    cli: Cli, found: dict[str, Any], path: str, value: Any, said: str
) -> None:
    Path("odd.json").write_text(json.dumps(changed(found["run.json"], path, value)))
    for args in reading("run.json"):
        code, out, err = cli(*args)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert "odd.json: " in err
        assert said in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"schema": "gupstress.run/1", "schema": 1}', "the key 'schema' stands twice"),
        ("[" * 100_000, "too deep"),
        ('{"schema": "gupstress.run/1"', "not JSON: "),
        ("\ufeff{}", "not JSON: "),
    ],
)
def test_what_is_no_document_is_said(cli: Cli, text: str, said: str) -> None:
    Path("odd.json").write_text(text)
    code, out, err = cli("report", "odd.json", "-o", "odd.html")
    assert (code, out) == (2, "")
    assert said in err
    assert not Path("odd.html").exists()


HOSTILE = "::error::<b>\x1b[31m|`x`\ud800\u202e##[error]"


def test_words_of_a_file_act_on_nothing(
    cli: Cli, found: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    document = found["run.json"]
    for row in document["results"]:
        row["policy"] = HOSTILE + row["policy"]
    for threshold in document["thresholds"]:
        threshold["policy"] = HOSTILE + threshold["policy"]
    Path("odd.json").write_text(json.dumps(document))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    for form in ("table", "markdown", "junit", "json"):
        ended = cli("compare", "odd.json", "odd.json", "--format", form)
        assert ended.code in (0, 3)
        hold(ended, form)
    summary = Path("summary.md").read_text()
    assert ACTS.search(summary) is None
    assert "<b>" not in re.sub(r"\\<", "", summary)
    assert cli("report", "odd.json", "-o", "odd.html").code == 0
    page = Path("odd.html").read_text()
    assert "<b>" not in page
    assert "\x1b" not in page


def test_a_junit_file_is_well_formed_whatever_it_is_made_of() -> None:
    suite = ET.Element("testsuite", name=HOSTILE)
    case = ET.SubElement(suite, "testcase", name=HOSTILE)
    ET.SubElement(case, "failure", message=HOSTILE).text = f"{HOSTILE}\x00\n{HOSTILE}"
    text = junit.document(suite, HOSTILE)
    assert ACTS.search(text) is None
    read = list(ET.fromstring(text).iter())
    said = [word for element in read for word in element.attrib.values() if "error" in word]
    assert said == [visible(HOSTILE)] * 3
    (failure,) = (element for element in read if element.tag == "failure")
    assert failure.text == f"{visible(HOSTILE)}\\x00\n{visible(HOSTILE)}"


@pytest.mark.parametrize("name", ["\x1b[31mred", "::error::x", "a|b", "<b>", "a\nb", "", "x" * 81])
@pytest.mark.parametrize("kind", ["policy", "profile", "kernel", "litmus"])
def test_names_have_an_alphabet(cli: Cli, kind: str, name: str) -> None:
    text = _core.show(kind, _core.names(kind)[0])
    quoted = json.dumps(name)
    Path("odd.toml").write_text(
        re.sub(r'^name = ".*"$', lambda _: f"name = {quoted}", text, flags=re.M)
    )
    code, out, err = cli(*TAKING[kind][0])
    assert (code, out) == (2, "")
    assert "name: " in err
    assert "nearest: " in err
    assert ACTS.search(err) is None


def test_text_is_made_visible() -> None:
    assert visible("a\x1b[0m\n\ud800b") == r"a\x1b[0m\n\ud800b"
    assert visible("::error::x") == r"\::error::x"
    assert visible("x ##[group]") == r"x ##\[group]"
    assert visible("größer 日本 ✓") == "größer 日本 ✓"
    assert markdown("a_b *c* <i> _d_ |") == r"a_b \*c\* \<i\> \_d\_ \|"


def test_typed_words_are_the_same_words_to_a_shell() -> None:
    words = ["plain", "a b", "it's", "\x1b[31m\n\\ ' é", "日本"]
    line = f"printf '%s\\0' {typed(words)}"
    assert not re.search("[\x00-\x1f]", line)
    ended = subprocess.run(["bash", "-c", line], check=True, capture_output=True, text=True)  # noqa: S607
    assert ended.stdout.split("\0")[:-1] == words


# ---------------------------------------------------------------- what is in the way


def test_what_a_killed_run_left_is_in_nobodys_way(cli: Cli) -> None:
    # In a container every run has the same number.
    Path(f".r.json.{os.getpid()}.part").write_text("half of a resu")
    code, _, err = cli("--json", "r.json", "--quiet", "--policy", "bounded", *SMALL_OPTIONS)
    assert (code, err) == (0, "")
    assert json.loads(Path("r.json").read_text())["schema"] == "gupstress.run/1"


@pytest.mark.usefixtures("no_run")
def test_a_name_that_ends_in_a_slash_is_a_folders(cli: Cli) -> None:
    code, out, err = cli("--json", "new/", *SMALL_OPTIONS)
    assert (code, out) == (2, "")
    assert err == "gupstress: --json new/: cannot be written: Is a directory\n"
    assert not Path("new").exists()


def test_a_pipe_that_nobody_reads_is_given_up(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_READER_S", 0.2)
    os.mkfifo("pipe")
    code, out, err = cli("--json", "pipe", "--quiet", "--policy", "bounded", *SMALL_OPTIONS)
    assert code == 2
    assert "SUCCESS" in out
    assert err == "gupstress: --json pipe: cannot be written: nobody reads from it\n"


def test_a_pipe_whose_reader_is_late_gets_the_result(cli: Cli) -> None:
    os.mkfifo("pipe")
    read: list[str] = []

    def late() -> None:
        time.sleep(0.3)
        read.append(Path("pipe").read_text())

    reader = threading.Thread(target=late)
    reader.start()
    code, _, err = cli("--json", "pipe", "--quiet", "--policy", "bounded", *SMALL_OPTIONS)
    reader.join()
    assert (code, err) == (0, "")
    assert json.loads(read[0])["schema"] == "gupstress.run/1"


@pytest.mark.parametrize("kind", ["policy", "profile", "litmus"])
def test_forty_thousand_keys_are_one_problem(cli: Cli, kind: str) -> None:
    Path("odd.toml").write_text("".join(f"key{number} = {number}\n" for number in range(40_000)))
    code, out, err = cli(*TAKING[kind][0])
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "keys are more than a file may have; nearest: 4096" in err


def test_of_many_problems_the_first_are_said(cli: Cli) -> None:
    Path("odd.toml").write_text("".join(f"key{number} = {number}\n" for number in range(80)))
    code, _, err = cli(*TAKING["policy"][0])
    assert code == 2
    assert err.splitlines()[-1] == "gupstress: 30 more problems"
    assert err.count("\n") == 51


SLOWLY = """
import builtins, os, signal, sys
real = builtins.__import__
def slow(name, *args, **more):
    if name.startswith("gupstress.cli") or name == "click":
        os.kill(os.getpid(), signal.SIGINT)
    return real(name, *args, **more)
from gupstress.__main__ import main
builtins.__import__ = slow
sys.exit(main())
"""


def test_ctrl_c_while_modules_are_loaded_is_an_interrupt() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SLOWLY], check=False, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")
