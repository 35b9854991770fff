"""What people and programs read of a result."""

import io
import json
import re
from collections.abc import Callable
from xml.etree import ElementTree as ET

import pytest
from markdown_it import MarkdownIt
from rich.console import Console
from rich.text import Text

from conftest import SMALL_OPTIONS, Ended, Row, broken, stuck, unsafe
from gupstress.outcome import units
from gupstress.outcome.results import PolicyResult, ThresholdResult
from gupstress.render import columns, page
from gupstress.render.grid import HELD
from gupstress.render.junit import junit
from gupstress.running.result import RunResult

Cli = Callable[..., Ended]
Rows = Callable[..., list[Row]]


def run_of(run: RunResult, *results: PolicyResult, **changes: object) -> RunResult:
    return run.model_copy(update={"results": results, **changes})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0"),
        (7, "7"),
        (999.4, "999"),
        (999.6, "1k"),
        (12_345, "12.3k"),
        (999_999, "1M"),
        (1.25e6, "1.25M"),
        (3e12, "3e+03G"),
    ],
)
def test_amounts(value: float | None, text: str) -> None:
    assert units.amount(value) == text


@pytest.mark.parametrize(
    ("ns", "text"),
    [(None, "-"), (850, "850ns"), (1200, "1.2us"), (999_999, "1ms"), (31e9, "31s")],
)
def test_durations(ns: float | None, text: str) -> None:
    assert units.duration(ns) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 0, "0"), (0, 9, "0"), (1, 1_000_000, "<0.1%"), (1, 3, "33.3%"), (3, 3, "100%")],
)
def test_shares(part: int, whole: int, text: str) -> None:
    assert units.share(part, whole) == text


def test_tables_have_a_row_for_each_policy_and_fit_80_columns(
    small_run: RunResult, row: Row
) -> None:
    worst = broken(unsafe(stuck(row, "inconclusive")))
    worst["errors"] = {"ENOMEM": 12_345, "EHWPOISON": 12_345}
    worst["latency_ns"] = dict.fromkeys(worst["latency_ns"], 123_456_789)
    worst["sweeps"] = dict.fromkeys(worst["sweeps"], 123_456)
    result = PolicyResult.model_validate({**worst, "repeat": 1})
    named = result.model_copy(update={"policy": "a-policy-with-quite-a-long-name"})
    exprs = ThresholdResult(
        expr="a-policy-with-quite-a-long-name:latency_ns.p99_9<1234567",
        policy=named.policy,
        repeat=1,
        observed=123_456_789,
        passed=False,
    )
    text = page.plain(run_of(small_run, result, named, thresholds=(exprs,)), "again")
    beside = re.compile("finding: |note: |settings: |reproduce: |gupstress: ")
    tables = "\n".join(line for line in text.splitlines() if not beside.match(line))
    assert max(map(len, tables.splitlines())) <= 80
    assert tables.count("\nbounded ") >= 2
    for word in (
        "inconclusive",
        "violated",
        "broken",
        "ENOMEM 12.3k",
        "EHWPOISON",
        "123ms",
        "missed",
    ):
        assert word in tables
    for line in columns.LEGEND:
        assert len(line) <= 80


def test_repeats_are_one_row_with_medians_and_the_worst_verdict(
    small_run: RunResult, result: PolicyResult
) -> None:
    def repeat(number: int, rate: float, verdict: str) -> PolicyResult:
        return result.model_copy(
            update={
                "repeat": number,
                "throughput": result.throughput.model_copy(update={"pages_per_s": rate}),
                "liveness": result.liveness.model_copy(update={"verdict": verdict}),
            }
        )

    repeats = (repeat(1, 10, "live"), repeat(2, 900, "starved"), repeat(3, 20, "inconclusive"))
    run = run_of(small_run, *repeats)
    (deeds,) = columns.grid(run, columns.DEEDS).rows
    (costs,) = columns.grid(run, columns.COSTS).rows
    assert deeds[:2] == ["bounded", "starved"]
    assert costs[:2] == ["bounded", "20"]


def test_findings_are_one_readable_line_each(small_run: RunResult, row: Row) -> None:
    result = PolicyResult.model_validate({**broken(unsafe(stuck(row), 7)), "repeat": 1})
    lines = page.plain(run_of(small_run, result), "again").splitlines()
    found = [line for line in lines if line.startswith("finding: ")]
    assert found[0] == (
        "finding: bounded: livelocked: thread 3 in collect:isolate on no page: held, holders 2"
        " (permanent), 1200 sweeps, 2.1s without an end, alone it fails"
    )
    assert "pinned frame 12 (movable, refcount 1025, PG_lru), which must stay movable" in found[1]
    assert len(found) == 6
    assert found[-1] == "finding: bounded: 4 more, which --json has"


def test_a_screen_has_one_finding_a_policy(small_run: RunResult, row: Row) -> None:
    result = PolicyResult.model_validate({**broken(unsafe(stuck(row), 7)), "repeat": 1})
    other = result.model_copy(update={"policy": "other"})
    found = [
        line
        for line in terminal(run_of(small_run, result, other), 300).splitlines()
        if "finding: " in Text.from_ansi(line).plain
    ]
    assert len(found) == 4
    assert "bounded: 8 more" in found[1]
    assert "other: 8 more" in found[3]


def test_a_finding_of_less_than_a_second_is_not_of_none(small_run: RunResult, row: Row) -> None:
    changed = stuck(row)
    changed["liveness"]["findings"][0]["waited_s"] = 0.0004
    result = PolicyResult.model_validate({**changed, "repeat": 1})
    assert "400us without an end" in page.plain(run_of(small_run, result), "again")


def test_a_debug_build_is_said(small_run: RunResult) -> None:
    assert "build" not in page.plain(small_run, "again")
    build = small_run.gupstress.model_copy(update={"build_profile": "debug"})
    slow = small_run.model_copy(update={"gupstress": build})
    assert "note: this is a debug build" in page.plain(slow, "again")


def test_the_end_says_what_was_found_and_what_makes_it_again(cli: Cli) -> None:
    options = (*SMALL_OPTIONS, "--policy", "bounded", "--set", "isolate_retries=5")
    more = ("--timeout", "1500ms", "--threshold", "calls.stuck==0", "--no-interleave")
    _, out, _ = cli("--quiet", *options, *more)
    *_, settings, again, end = out.splitlines()
    assert settings == (
        "settings: profile=contended kernel=linux-7.2.13 driver=sim"
        " threads=2 cpus=2 pins=200 seed=7"
    )
    assert end == "gupstress: SUCCESS: no finding; no needless failure"
    assert again.startswith("reproduce: gupstress run --policy bounded ")
    for words in (
        "--profile contended",
        "--kernel linux-7.2.13",
        "--driver sim",
        "--timeout 1500ms",
        "--set isolate_retries=5",
        "--threshold calls.stuck==0",
        "--no-interleave",
    ):
        assert words in again
    assert "--stall-after" not in again


def test_the_command_makes_the_same_run_again(cli: Cli) -> None:
    _, first, _ = cli("--quiet", *SMALL_OPTIONS, "--policy", "bounded", "--perturb", "0.25")
    command = first.splitlines()[-2].removeprefix("reproduce: gupstress ")
    _, second, _ = cli(*command.split(), "--quiet")
    assert second == first


def test_json_is_all_that_standard_output_gets(cli: Cli) -> None:
    code, out, err = cli("--format", "json", "--policy", "bounded", *SMALL_OPTIONS)
    assert code == 0
    assert json.loads(out)["schema"] == "gupstress.run/1"
    assert "SUCCESS" in err
    assert "reproduce: " in err


@pytest.mark.parametrize("format_", ["table", "markdown", "json", "junit"])
def test_quiet_leaves_standard_error_empty(cli: Cli, format_: str) -> None:
    code, out, err = cli("--quiet", "--format", format_, "--policy", "bounded", *SMALL_OPTIONS)
    assert (code, err) == (0, "")
    assert "bounded" in out


def test_a_name_ends_no_cell_of_a_markdown_table(
    small_run: RunResult, result: PolicyResult
) -> None:
    named = result.model_copy(update={"policy": "a,b|c:d"})
    text = page.markdown(run_of(small_run, named), "again")
    rows = [line for line in text.splitlines() if line.startswith("| a,b")]
    assert len(rows) == 2
    for line in rows:
        assert line.startswith(r"| a,b\|c:d ")
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    assert sum(token.content == "a,b|c:d" for token in tokens) == 2


def test_markdown_has_both_tables(cli: Cli) -> None:
    _, out, _ = cli("--quiet", "--format", "markdown", "--policy", "bounded", *SMALL_OPTIONS)
    assert "| policy   | live   | safe   |" in out
    assert "|:---------|-------" in out
    assert out.count("| bounded ") == 2
    assert "```sh\ngupstress run --policy bounded " in out


def test_junit_has_a_case_for_each_run(
    small_run: RunResult, row: Row, result: PolicyResult
) -> None:
    bad = PolicyResult.model_validate({**unsafe(row), "repeat": 2, "wall_s": 7.0})
    assert bad.wall_s is not None
    undecided = result.model_copy(
        update={
            "repeat": 3,
            "liveness": result.liveness.model_copy(update={"verdict": "inconclusive"}),
        }
    )
    missed = ThresholdResult(expr="cpu_s<0", policy="bounded", repeat=2, observed=1, passed=False)
    settings = small_run.settings.model_copy(update={"repeat": 3})
    run = run_of(small_run, result, bad, undecided, settings=settings, thresholds=(missed,))
    (suite,) = ET.fromstring(junit(run, "again")).iter("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")
    good, failed, unsure = suite.iter("testcase")
    assert [case.get("name") for case in (good, failed, unsure)] == [
        "bounded 1/3",
        "bounded 2/3",
        "bounded 3/3",
    ]
    assert len(good) == 0
    # Of the host's time, which a virtual second is not.
    assert good.get("time") == f"{result.wall_s:.3f}"
    assert float(suite.get("time", "0")) == pytest.approx(
        2 * (result.wall_s or 0) + bad.wall_s, abs=1e-3
    )
    failure = failed.find("failure")
    assert failure is not None
    assert failure.text is not None
    assert "which must stay movable" in failure.text
    assert "threshold cpu_s<0 missed: observed 1" in failure.text
    assert unsure.find("error") is not None


def terminal(run: RunResult, width: int) -> str:
    screen = io.StringIO()
    page.terminal(run, "again", Console(file=screen, width=width, force_terminal=True))
    return screen.getvalue()


def test_a_wide_terminal_has_one_table_and_a_narrow_one_two(small_run: RunResult) -> None:
    assert terminal(small_run, 200).count("policy") == 1
    assert terminal(small_run, 80).count("policy") == 2


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_no_width_cuts_a_word_or_loses_a_column(small_run: RunResult, row: Row, width: int) -> None:
    worst = broken(unsafe(stuck(row, "inconclusive")))
    worst["errors"] = {"ENOMEM": 12_345, "EHWPOISON": 12_345}
    worst["latency_ns"] = dict.fromkeys(worst["latency_ns"], 123_456_789)
    long = PolicyResult.model_validate({**worst, "repeat": 1})
    run = run_of(small_run, long, long.model_copy(update={"policy": "isolate-bounded"}))
    text = Text.from_ansi(terminal(run, width)).plain
    assert "…" not in text
    tables = text[text.index("policy") : text.index("spurious: ")].splitlines()
    assert max(map(len, tables)) <= width
    seen = set(" ".join(tables).split())
    headings = [column.heading for column in (*columns.DEEDS, *columns.COSTS)]
    cells = ["inconclusive", "violated", "broken", "EHWPOISON", "12.3k", "123ms", "bounded"]
    assert seen >= {*headings, *cells}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda row: row, "SUCCESS: no finding; no needless failure"),
        (
            lambda row: needless(row, 1, 6),
            "SUCCESS: no finding; 16.7 % needless failures"
            " (failed though waiting would have helped)",
        ),
        (lambda row: stuck(row, "starved"), "FAILURE: bounded starved (1 call)"),
        (
            lambda row: broken(unsafe(row, 7)),
            "FAILURE: bounded violated (7 unsafe pins), broken",
        ),
        (
            lambda row: stuck(row, "inconclusive"),
            "INCONCLUSIVE: bounded undecided, thread 3 in collect:isolate on no page: held,"
            " holders 2 (permanent), 1200 sweeps, 2.1s without an end, alone it fails",
        ),
    ],
)
def test_the_last_line_says_what_was_found(
    small_run: RunResult, row: Row, change: Callable[[Row], Row], said: str
) -> None:
    result = PolicyResult.model_validate({**change(row), "repeat": 1})
    for text in (
        page.plain(run_of(small_run, result), "again"),
        Text.from_ansi(terminal(run_of(small_run, result), 500)).plain.rstrip(),
    ):
        assert text.splitlines()[-1] == f"gupstress: {said}"


def needless(row: Row, failed: int, issued: int) -> Row:
    row["calls"] = {
        **dict.fromkeys(row["calls"], 0),
        "issued": issued,
        "pinned": issued - failed,
        "failed_spurious": failed,
    }
    row["causes"] = None
    return row


def test_the_last_line_names_thresholds_and_repeats(small_run: RunResult, row: Row) -> None:
    good = PolicyResult.model_validate({**row, "repeat": 1})
    bad = PolicyResult.model_validate({**stuck(row, "livelocked"), "repeat": 2})
    missed = [
        ThresholdResult(expr=expr, policy="bounded", repeat=1, observed=41, passed=False)
        for expr in ("calls.stuck==0", "sweeps.max<1", "cpu_s<0")
    ]
    run = run_of(small_run, good, bad, thresholds=tuple(missed))
    assert page.plain(run, "again").splitlines()[-1] == (
        "gupstress: FAILURE: bounded livelocked in 1 of 2 repeats (1 call);"
        " bounded 41, not calls.stuck==0; bounded 41, not sweeps.max<1; 1 more"
    )


def test_no_color_is_honoured(small_run: RunResult, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[32mlive" in terminal(small_run, 80)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[32m" not in terminal(small_run, 80)


def test_a_pipe_gets_no_escapes(cli: Cli) -> None:
    _, out, err = cli("--policy", "bounded", *SMALL_OPTIONS)
    assert "\x1b" not in out + err


def test_kinds_of_callers_have_a_table_of_their_own(small_run: RunResult, row: Row) -> None:
    assert columns.caller_grid(small_run) is None
    part = {"threads": 2, **{key: row[key] for key in ("calls", "errors", "pages", "latency_ns")}}
    none = {**part, "errors": {"ENOMEM": 3}, "threads": 1}
    result = PolicyResult.model_validate(
        {**row, "repeat": 1, "callers": {"umem": part, "vfio": none}}
    )
    run = run_of(small_run, result)
    found = columns.caller_grid(run)
    assert found is not None
    assert [list(cells[:3]) for cells in found.rows] == [
        ["bounded", "umem", "2"],
        ["bounded", "vfio", "1"],
    ]
    assert found.rows[1][5] == f"ENOMEM{HELD}3"
    for text in (page.plain(run, "again"), page.markdown(run, "again"), terminal(run, 300)):
        assert "umem" in text
        assert "ENOMEM 3" in text


def test_pins_that_nobody_gives_back_are_a_finding(cli: Cli) -> None:
    sizes = ("ranges.pages=4608", "pinner.pages_min=4608", "pinner.pages_max=4608", "calls=1")
    sets = [word for size in (*sizes, "memory.movable=8192") for word in ("--set", size)]
    options = ("--profile", "oom", "--policy", "kernel", "--driver", "sim", "--threads", "1")
    again = ("run", *options, *sets, "--seed", "1", "--json", "r.json", "--kernel")
    code, out, _ = cli(*again, "linux-6.11")
    assert code == 1
    assert "leaked: 4608 page pins that nobody gives back" in out
    (result,) = RunResult.load("r.json").results
    assert (result.safety.leaked, result.safety.verdict) == (4608, "violated")
    assert result.invariants.verdict == "held"
    code, out, _ = cli(*again, "linux-6.12.43")
    # It goes on, and asks for targets.
    assert (code, "leaked" in out, "oom-killed: pinners" in out) == (1, False, True)
