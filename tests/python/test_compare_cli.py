"""`gupstress compare` and `run --baseline`: exit codes, formats, bad input."""

import json
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from jsonschema import Draft202012Validator

import gupstress
from conftest import SMALL_OPTIONS, Ended, Row, stuck, unsafe
from gupstress.outcome.results import Stability
from gupstress.running.result import RunResult
from synthetic import repeat, run_of, run_with

Cli = Callable[..., Ended]
Rows = Callable[..., list[Row]]

RATES = [1e6 * (1 + 0.01 * step) for step in (-3, -2, -1, 0, 1, 2, 3)]
SLOW = [rate / 1.15 for rate in RATES]
# Neither the same nor different: medians 6 % apart, and far from each other.
VAGUE = [0.94 * 1e6 * (1 + 0.2 * step) for step in (-3, -2, -1, 0, 1, 2, 3)]


@pytest.fixture(autouse=True)
def _not_in_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


@pytest.fixture
def base(small_run: RunResult) -> RunResult:
    run = run_of(small_run, RATES)
    Path("base.json").write_text(run.to_json())
    return run


def head(run: RunResult) -> None:
    Path("head.json").write_text(run.to_json())


# ---------------------------------------------------------------- exit codes


@pytest.mark.parametrize(
    ("rates", "code", "word"),
    [
        (RATES, 0, "SAME"),
        ([rate * 1.2 for rate in RATES], 0, "IMPROVEMENT"),
        (SLOW, 1, "REGRESSION"),
        (RATES[:4], 3, "INCONCLUSIVE"),
    ],
)
def test_exit_codes(cli: Cli, base: RunResult, rates: list[float], code: int, word: str) -> None:
    head(run_of(base.model_copy(update={"results": base.results[:1]}), rates))
    ended = cli("compare", "base.json", "head.json")
    assert (ended.code, ended.err) == (code, "")
    assert f"\ngupstress: {word} (metrics: " in ended.out


def test_runs_that_cannot_be_compared_are_exit_3_and_say_why(cli: Cli, base: RunResult) -> None:
    head(run_with(base, base.results, settings={"pins": 99, "threads": 3}))
    code, out, err = cli("compare", "base.json", "head.json")
    assert (code, err) == (3, "")
    assert "not comparable: settings.threads is 2 in base, 3 in head\n" in out
    assert "not comparable: settings.pins is 200 in base, 99 in head\n" in out
    assert "gupstress: NOT COMPARABLE: threshold=5%" in out


def test_a_simulation_that_gives_the_same_values_once_more_is_the_same(cli: Cli) -> None:
    once = ("--driver", "sim", "--policy", "linux-7.2", "--threads", "8", "--pins", "300")
    for name, seed in (("base", "1"), ("again", "1"), ("other", "2")):
        assert cli(*once, "--repeat", "5", "--seed", seed, "--json", f"{name}.json").code == 0
    rate = ("--metric", "latency_ns.max")
    assert cli("compare", "base.json", "again.json", *rate).code == 0
    # With other seeds it is a sample, of which five leave much open.
    assert cli("compare", "base.json", "other.json", *rate).code == 3


def test_a_new_finding_is_told(cli: Cli, base: RunResult, row: Row) -> None:
    bad = {"liveness": stuck(row)["liveness"], "status": "stuck"}
    rows = [repeat(base.results[0], 8, **bad), *base.results]
    head(run_with(base, rows))
    code, out, _ = cli("compare", "base.json", "head.json")
    assert code == 1
    assert (
        "finding: bounded: liveness was live in base, is livelocked in 1 of head's repeats\n" in out
    )


def test_the_threshold_and_the_metrics_are_those_asked_for(cli: Cli, base: RunResult) -> None:
    head(run_of(base.model_copy(update={"results": base.results[:1]}), SLOW))
    assert cli("compare", "base.json", "head.json", "--threshold", "25").code == 0
    assert cli("compare", "base.json", "head.json", "--threshold", "25%").code == 0
    assert cli("compare", "base.json", "head.json", "--metric", "cpu_s").code == 0
    code, out, _ = cli(
        "compare", "base.json", "head.json", "--metric", "cpu_s", "--metric", "pages_per_s"
    )
    assert code == 1
    assert "adjusted by Benjamini-Hochberg for 2 tests" in out


def test_the_command_is_repeated(cli: Cli, base: RunResult) -> None:
    head(base)
    options = ("--metric", "pages_per_s", "--threshold", "7.5")
    first = cli("compare", "base.json", "head.json", *options)
    command = first.out.splitlines()[-1].removeprefix("reproduce: gupstress ")
    assert cli(*shlex.split(command)) == first


def test_policies_of_one_file_are_compared_with_one_of_them(cli: Cli, base: RunResult) -> None:
    slow = [repeat(base.results[0], n, rate=r, policy="slow") for n, r in enumerate(SLOW, 1)]
    Path("two.json").write_text(run_with(base, [*base.results, *slow]).to_json())
    code, out, err = cli("compare", "two.json", "--base", "bounded")
    assert (code, err) == (1, "")
    assert "changed: policy: bounded -> slow\n" in out
    assert "gupstress: REGRESSION (metrics: 1 regression, 3 same)" in out
    assert "base=two.json head=two.json base_policy=bounded\n" in out
    command = out.splitlines()[-1].removeprefix("reproduce: gupstress ")
    assert cli(*shlex.split(command)).out == out
    paired = cli("compare", "base.json", "two.json", "--policy", "bounded=slow")
    assert paired.code == 1
    assert cli(*shlex.split(paired.out.splitlines()[-1])[2:]) == paired
    xml = cli("compare", "two.json", "--base", "bounded", "--format", "junit").out
    suite = ET.fromstring(xml)
    assert len(suite.findall(".//testcase[@classname='gupstress.compare.slow vs bounded']")) == 7


# ---------------------------------------------------------------- formats


def test_the_table_fits_80_columns(cli: Cli, base: RunResult) -> None:
    rows = [
        repeat(row, n, rate=rate, policy="a-policy-with-quite-a-long-name")
        for n, (row, rate) in enumerate(zip(base.results, SLOW, strict=True), 1)
    ]
    for name in ("base", "head"):
        Path(f"{name}.json").write_text(run_with(base, [*base.results, *rows]).to_json())
    _, out, _ = cli("compare", "base.json", "head.json")
    table, _, _ = out.partition("ratio: ")
    assert "latency_ns.p99" in table
    assert max(map(len, table.splitlines())) <= 80


def test_the_table_says_what_was_found(cli: Cli, base: RunResult) -> None:
    head(run_of(base.model_copy(update={"results": base.results[:1]}), SLOW))
    _, out, _ = cli("compare", "base.json", "head.json")
    (row,) = (line.split() for line in out.splitlines() if " pages_per_s " in line)
    assert row[:5] == ["bounded", "pages_per_s", "1M", "870k", "0.87"]
    assert row[6:] == ["0.002", "regression"]
    (row,) = (line.split() for line in out.splitlines() if " latency_ns.p99 " in line)
    assert row[2:] == ["1ms", "1ms", "1.00", "1.00-1.00", "1.000", "same"]
    (row,) = (line.split() for line in out.splitlines() if " failed_spurious " in line)
    assert row[2:4] == ["2%", "2%"]


def test_notes_say_why_nothing_was_decided_and_what_changed(cli: Cli, base: RunResult) -> None:
    shaky = run_of(base.model_copy(update={"results": base.results[:1]}), VAGUE)
    rows = [
        row.model_copy(update={"stability": Stability(stable=False, reasons=("it was hot",))})
        for row in shaky.results
    ]
    head(run_with(base, rows, gupstress={"version": "9.9"}))
    _, out, _ = cli("compare", "base.json", "head.json")
    assert "note: bounded: pages_per_s: the change may be chance\n" in out
    assert "note: bounded: head may be unstable: it was hot\n" in out
    assert "base may be unstable" not in out
    assert f"changed: gupstress.version: {gupstress.__version__} -> 9.9\n" in out


def test_json_is_all_that_standard_output_gets_and_validates(cli: Cli, base: RunResult) -> None:
    head(run_of(base.model_copy(update={"results": base.results[:1]}), SLOW))
    code, out, err = cli(
        "compare", "base.json", "head.json", "--format", "json", "--json", "c.json"
    )
    assert code == 1
    assert json.loads(out) == json.loads(Path("c.json").read_text())
    Draft202012Validator(gupstress.schema("compare")).validate(json.loads(out))
    assert gupstress.Comparison.model_validate_json(out).to_json().rstrip() == out.rstrip()
    assert "gupstress: REGRESSION" in err


def test_markdown_has_a_table(cli: Cli, base: RunResult) -> None:
    head(run_of(base.model_copy(update={"results": base.results[:1]}), SLOW))
    _, out, _ = cli("compare", "base.json", "head.json", "--format", "markdown")
    assert out.startswith("**gupstress: REGRESSION (metrics: 1 regression, 3 same): ")
    assert "| policy   | metric          |" in out
    assert "```sh\ngupstress compare base.json head.json --threshold 5\n```" in out


def suites(text: str) -> list[ET.Element]:
    return list(ET.fromstring(text).iter("testsuite"))


def test_junit_has_a_case_for_each_verdict_and_metric(cli: Cli, base: RunResult) -> None:
    rows = [
        repeat(base.results[0], n, rate=rate, p99=1e6 * (1 + 0.2 * n))
        for n, rate in enumerate(SLOW, 1)
    ]
    head(run_with(base, rows))
    _, out, _ = cli(
        "compare", "base.json", "head.json", "--format", "junit", "--metric", "pages_per_s",
        "--metric", "latency_ns.p99", "--metric", "cpu_s", "--threshold", "90",
    )  # fmt: skip
    (suite,) = suites(out)
    names = [case.get("name") for case in suite.iter("testcase")]
    assert names == [
        "liveness",
        "safety",
        "invariants",
        "throughput.pages_per_s",
        "latency_ns.p99",
        "cpu_s",
    ]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("6", "0", "1")
    _, out, _ = cli("compare", "base.json", "head.json", "--format", "junit")
    (suite,) = suites(out)
    (failed,) = (
        case for case in suite.iter("testcase") if case.get("name") == "throughput.pages_per_s"
    )
    failure = failed.find("failure")
    assert failure is not None
    assert "1M in base, 870k in head, ratio 0.87" in str(failure.get("message"))


def test_junit_of_what_cannot_be_compared_is_an_error(cli: Cli, base: RunResult) -> None:
    head(run_with(base, base.results, settings={"pins": 99}))
    _, out, _ = cli("compare", "base.json", "head.json", "--format", "junit")
    (suite,) = suites(out)
    assert (suite.get("tests"), suite.get("errors")) == ("1", "1")
    error = suite.find("testcase/error")
    assert error is not None
    assert error.get("message") == "settings.pins is 200 in base, 99 in head"


def test_the_step_summary_gets_markdown_after_what_it_holds(
    cli: Cli, base: RunResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    head(base)
    Path("summary.md").write_text("# Before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    assert cli("compare", "base.json", "head.json").code == 0
    summary = Path("summary.md").read_text()
    assert summary.startswith("# Before\n**gupstress: SAME")
    assert "| policy   | metric          |" in summary


def test_a_step_summary_that_cannot_be_written_is_said_and_changes_nothing(
    cli: Cli, base: RunResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    head(base)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "missing/summary.md")
    code, out, err = cli("compare", "base.json", "head.json")
    assert code == 0
    assert "SAME" in out
    assert err == (
        "gupstress: GITHUB_STEP_SUMMARY missing/summary.md: cannot be written:"
        " No such file or directory\n"
    )


# ---------------------------------------------------------------- bad input


def edited(change: Callable[[Any], object]) -> Callable[[str], str]:
    def spoil(text: str) -> str:
        run = json.loads(text)
        change(run)
        return json.dumps(run)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: "", "head.json: is empty"),
        (lambda text: text[:500], "head.json: not JSON"),
        (lambda text: "[]", "nearest: gupstress.run/1"),
        (
            edited(lambda run: run.update(schema={})),
            "head.json: schema {} is not read here; nearest: gupstress.run/1",
        ),
        (
            edited(lambda run: run.update(schema="gupstress.run/0")),
            "head.json: schema 'gupstress.run/0' is not read here; nearest: gupstress.run/1",
        ),
        (edited(lambda run: run.update(results=[])), "head.json: holds no results"),
        (edited(lambda run: run.pop("host")), "head.json: not a gupstress.run/1 result: host"),
        (
            edited(lambda run: run["results"][0]["calls"].update(pinned=1)),
            "100000 calls issued, 2001 accounted for",
        ),
        (
            edited(lambda run: run["results"][2]["throughput"].update(pages_per_s=2e6)),
            "head.json: bounded, repeat 3: pages_per_s is not pages.pinned / elapsed_s",
        ),
        (
            edited(lambda run: run["results"][2]["latency_ns"].update(p99=float("inf"))),
            "results.2.latency_ns.p99",
        ),
        (
            edited(lambda run: run["results"].append(run["results"][2])),
            "head.json: bounded, repeat 3: there twice",
        ),
    ],
)
def test_a_file_that_is_no_result_is_one_line(
    cli: Cli, base: RunResult, spoil: Callable[[str], str], said: str
) -> None:
    Path("head.json").write_text(spoil(base.to_json()))
    for args in (("base.json", "head.json"), ("head.json", "base.json")):
        code, out, err = cli("compare", *args, "--json", "c.json")
        assert (code, out) == (2, "")
        assert err.startswith("gupstress: head.json: ")
        assert err.count("\n") == 1
        assert said in err
    assert sorted(os.listdir()) == ["base.json", "head.json"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("compare base.json", ["nothing to compare it with", "nearest: --base linux-7.2"]),
        ("compare base.json missing.json", ["missing.json", "No such file"]),
        ("compare base.json base.json more.json", ["more.json"]),
        ("compare base.json base.json --metric p99", ["latency_ns.p99 or sweeps.p99"]),
        ("compare base.json base.json --metric page_per_s", ["nearest: throughput.pages_per_s"]),
        ("compare base.json base.json --threshold x", ["'x'", "nearest: 5"]),
        ("compare base.json base.json --threshold -1", ["-1", "nearest: 0"]),
        ("compare base.json base.json --threshold 101", ["101", "nearest: 100"]),
        ("compare base.json base.json --threshold nan", ["nan", "not from 0 to 100"]),
        ("compare base.json base.json --format xml", ["xml", "nearest: table"]),
        ("compare base.json base.json --json missing/c.json", ["--json missing/c.json"]),
        ("compare base.json base.json --json base.json", ["--json base.json", "base-2.json"]),
        ("run --baseline missing.json", ["missing.json", "No such file"]),
        ("run --baseline", ["--baseline", "requires an argument"]),
    ],
)
def test_bad_input_is_one_line(
    cli: Cli, base: RunResult, no_run: None, line: str, said: list[str]
) -> None:
    code, out, err = cli(*line.split())
    assert (code, out) == (2, "")
    assert err.startswith("gupstress: ")
    assert err.count("\n") == 1
    for words in said:
        assert words in err
    assert os.listdir() == ["base.json"]
    assert Path("base.json").read_text() == base.to_json()


# ---------------------------------------------------------------- run --baseline

RUN = ("run", "--policy", "bounded", "--baseline", "base.json", *SMALL_OPTIONS)


def as_rows(base: RunResult, rates: list[float]) -> list[Row]:
    run = run_of(base.model_copy(update={"results": base.results[:1]}), rates)
    return [row.model_dump(mode="json") for row in run.results]


def undecided(row: Row) -> Row:
    row["liveness"]["verdict"] = "inconclusive"
    return row


@pytest.mark.parametrize(
    ("rates", "spoil", "code"),
    [
        (RATES, None, 0),
        (SLOW, None, 1),
        (RATES[:4], None, 3),
        # The worse of the two: the run's own verdict counts as ever.
        (RATES[:4], unsafe, 1),
        (SLOW, undecided, 1),
        (RATES, undecided, 3),
    ],
)
def test_a_run_is_compared_at_once(
    cli: Cli,
    base: RunResult,
    rows: Rows,
    rates: list[float],
    spoil: Callable[[Row], Row] | None,
    code: int,
) -> None:
    made = as_rows(base, rates)
    if spoil is not None:
        spoil(made[-1])
    rows(*made)
    ended = cli(*RUN, "--repeat", str(len(rates)), "--json", "head.json")
    assert ended.code == code
    run, compared = ended.out.index("reproduce: gupstress run"), ended.out.index("90% CI")
    assert run < compared
    assert "base=base.json head=head.json" in ended.out
    alone = cli("compare", "base.json", "head.json")
    assert alone.out.splitlines()[0] in ended.out


def test_a_run_that_cannot_be_compared_is_exit_3(cli: Cli, base: RunResult) -> None:
    code, out, _ = cli(*RUN, "--threads", "3")
    assert code == 3
    assert "not comparable: settings.threads is 2 in base, 3 in head" in out


def test_an_interrupted_run_stays_interrupted(cli: Cli, base: RunResult, rows: Rows) -> None:
    made = as_rows(base, SLOW)
    made[-1]["status"] = "interrupted"
    rows(*made)
    assert cli(*RUN, "--repeat", "7").code == 130


def test_the_json_of_a_run_holds_its_comparison(cli: Cli, base: RunResult, rows: Rows) -> None:
    rows(*as_rows(base, SLOW))
    code, out, err = cli(*RUN, "--repeat", "7", "--format", "json", "--json", "head.json")
    assert code == 1
    run = json.loads(out)
    assert run == json.loads(Path("head.json").read_text())
    Draft202012Validator(gupstress.schema()).validate(run)
    Draft202012Validator(gupstress.schema("compare")).validate(run["comparison"])
    assert run["comparison"]["verdict"] == "regression"
    assert "gupstress: REGRESSION" in err


def test_the_junit_file_of_a_run_has_a_suite_for_its_comparison(
    cli: Cli, base: RunResult, rows: Rows
) -> None:
    rows(*as_rows(base, SLOW))
    _, out, _ = cli(*RUN, "--repeat", "7", "--format", "junit")
    found = {suite.get("name"): suite.get("failures") for suite in suites(out)}
    assert found == {"gupstress": "0", "gupstress.compare": "1"}


def test_the_markdown_and_the_step_summary_of_a_run_have_its_comparison(
    cli: Cli, base: RunResult, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows(*as_rows(base, SLOW))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    _, out, _ = cli(*RUN, "--repeat", "7", "--format", "markdown")
    assert "**gupstress: REGRESSION" in out
    assert "**gupstress: REGRESSION" in Path("summary.md").read_text()
