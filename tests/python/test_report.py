"""The HTML report: its numbers are the JSON's, and it needs nothing but itself."""

import base64
import json
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Callable
from functools import reduce
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from conftest import Ended, Row, broken, stuck, unsafe
from gupstress.outcome.findings import FailedCall
from gupstress.outcome.ratios import RATIOS
from gupstress.outcome.results import PolicyResult, ThresholdResult
from gupstress.outcome.suite import Case, SuiteResult
from gupstress.outcome.thresholds import metrics
from gupstress.render.columns import COSTS, DEEDS, grid
from gupstress.reporting.story import tell
from gupstress.running.result import RunResult

Cli = Callable[..., Ended]


class Cell(NamedTuple):
    """A table's cell as it was read."""

    tag: str
    attributes: dict[str, str | None]
    text: str
    value: str | None
    key: str | None


class Page(HTMLParser):
    """What of a page the tests look at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[Cell]]] = {}
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._rows: list[list[Cell]] = []
        self._into: list[str] = []
        self._number: dict[str, str | None] = {}
        self._open: tuple[str, dict[str, str | None]] | None = None
        self._quiet = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        match tag:
            case "caption":
                self._into = []
            case "tr":
                self._rows.append([])
            case "td" | "th":
                self._into, self._number, self._open = [], {}, (tag, dict(attrs))
            case "data":
                self._number = dict(attrs)
            case "script" | "style":
                self._quiet = True

    def handle_data(self, data: str) -> None:
        self._into.append(data)
        if not self._quiet:
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        words = "".join(self._into).strip()
        match tag:
            case "caption":
                assert words not in self.tables
                self._rows = self.tables[words] = []
            case "td" | "th":
                assert self._open is not None
                number = self._number
                cell = Cell(*self._open, words, number.get("value"), number.get("data-key"))
                self._rows[-1].append(cell)
            case "script" | "style":
                self._quiet = False


def stored(path: str, run: RunResult) -> Any:
    Path(path).write_text(run.to_json())
    return json.loads(run.to_json())


def shown(cli: Cli, *files: str) -> Page:
    code, out, err = cli("report", *files, "-o", "report.html")
    assert (code, out, err) == (0, "", "")
    return Page(completed(Path("report.html").read_text()))


def unpacked(page: str, name: str) -> str:
    """Return the script, the figures or the parts that a page brings with it."""
    packed = page.partition(f'id="{name}">')[2].partition("</script>")[0]
    return zlib.decompress(base64.b85decode(packed.replace(",", "<"))).decode()


def completed(page: str) -> str:
    """Return a page with its parts in their places, as its script puts them there."""
    place = re.compile(r'<div data-part="(\d+)"></div>')
    if place.search(page) is None:
        return page
    parts = json.loads(unpacked(page, "parts"))
    used: list[int] = []

    def part(found: re.Match[str]) -> str:
        used.append(int(found[1]))
        return str(parts[used[-1]])

    while place.search(page):
        page = place.sub(part, page)
    assert sorted(used) == list(range(len(parts)))
    return page


def at(table: Any, path: str) -> Any:
    return reduce(lambda part, key: part[key], path.split("."), table)


def same(cell: Cell, number: float | None) -> None:
    """Assert that a cell has a number, exactly, and shows it."""
    if number is None:
        assert (cell.text, cell.value) == ("-", None)
        return
    assert cell.value is not None
    # Through int, as a float cannot hold all that a seed may be.
    assert (int if isinstance(number, int) else float)(cell.value) == number
    assert float(cell.text.replace(",", "")) == pytest.approx(number, rel=5e-4)


@pytest.fixture
def bad_run(small_run: RunResult, row: Row) -> RunResult:
    """A run of two repeats of two policies, in which everything is wrong."""
    row["seed"] = 2**64 - 1
    row["cpu_s"] = 1 / 3
    wrong = broken(unsafe(stuck(row)))
    results = [
        PolicyResult.model_validate({**wrong, "policy": policy, "repeat": repeat})
        for repeat in (1, 2)
        for policy in ("bounded", "mine")
    ]
    threshold = ThresholdResult(
        expr="calls.stuck==0", policy="mine", repeat=2, observed=1, passed=False
    )
    settings = small_run.settings.model_copy(update={"repeat": 2})
    return small_run.model_copy(
        update={"results": tuple(results), "thresholds": (threshold,), "settings": settings}
    )


def test_every_number_is_that_of_the_json(
    cli: Cli, small_run: RunResult, bad_run: RunResult
) -> None:
    files = {"a.json": stored("a.json", small_run), "b.json": stored("b.json", bad_run)}
    page = shown(cli, *files)
    rows = [
        ("a.json", "a.json", 0),
        ("b.json 1/2", "b.json", 0),
        ("b.json 2/2", "b.json", 2),
    ]
    caption = "bounded: every measurement, named as --threshold takes it"
    (_, *headings), *lines = page.tables[caption]
    assert [heading.text for heading in headings] == [heading for heading, _, _ in rows]
    # What only real kernels and real threads have, and runs without memory.
    absent = ("contention.", "disturbance.", "uncontended_ns", "oom.")
    assert [line[0].text for line in lines] == [m for m in metrics() if not m.startswith(absent)]
    for name, *cells in lines:
        for cell, (_, file, index) in zip(cells, rows, strict=True):
            assert cell.key == name.text
            found = files[file]["results"][index]
            if name.text in RATIOS:
                part, whole = (at(found, path) for path in RATIOS[name.text])
                same(cell, part / whole if whole else None)
            else:
                same(cell, at(found, name.text))


def test_the_numbers_of_the_plots_are_those_of_the_json(
    cli: Cli, small_run: RunResult, row: Row
) -> None:
    end, pinned = row["elapsed_s"], row["pages"]["pinned"]
    row["timeline"] = [
        {"t_s": end / 3, "pages_pinned": pinned // 2, "calls": 1},
        {"t_s": end / 2, "pages_pinned": pinned // 2, "calls": 1},
    ]
    result = PolicyResult.model_validate({**row, "repeat": 1})
    run = small_run.model_copy(update={"results": (result,)})
    (row,) = stored("a.json", run)["results"]
    page = shown(cli, "a.json")
    for caption in ("latency of a call, ns", "sweeps of a call"):
        _, (_, *cells) = page.tables[f"bounded: {caption}"]
        for cell in cells:
            assert cell.key is not None
            same(cell, at(row, cell.key))
    _, *steps = page.tables["bounded: throughput over time"]
    points = [*((point["t_s"], point["pages_pinned"]) for point in row["timeline"])]
    points.append((row["elapsed_s"], row["pages"]["pinned"]))
    since, before = 0.0, 0
    for (_, until, pinned, rate), point in zip(steps, points, strict=True):
        same(until, point[0])
        same(pinned, point[1])
        same(rate, (point[1] - before) / (point[0] - since))
        since, before = point
    _, (_, *classes) = page.tables["Calls by class"]
    for cell in classes:
        assert cell.key is not None
        same(cell, at(row, cell.key))
    _, (_, drains) = page.tables["Drains of all CPUs for each call"]
    same(drains, row["counters"]["drain_all"] / row["calls"]["issued"])
    _, (_, *shares) = page.tables["Fairness between threads"]
    for cell in shares:
        assert cell.key is not None
        same(cell, at(row, cell.key))


def test_what_is_drawn_is_what_the_tables_say(cli: Cli, small_run: RunResult) -> None:
    (row,) = stored("a.json", small_run)["results"]
    shown(cli, "a.json")
    text = Path("report.html").read_text()
    figures = json.loads(unpacked(text, "figures"))
    calls, drains, latencies, fair, throughput, latency, _ = figures
    (rates,) = throughput["traces"]
    assert rates["x"] == [0, row["elapsed_s"]]
    assert rates["y"] == [row["pages"]["pinned"] / row["elapsed_s"]] * 2
    needless = calls["traces"][1]
    assert needless["name"] == "failed, needless"
    assert needless["x"] == [100 * row["calls"]["failed_spurious"] / row["calls"]["issued"]]
    assert drains["traces"][0]["x"] == [row["counters"]["drain_all"] / row["calls"]["issued"]]
    assert fair["traces"][0]["x"] == [row["fairness"]["jain"]]
    quantiles = [row["latency_ns"][name] for name in ("min", "p50", "p90", "p99", "p99_9", "max")]
    for figure in (latencies, latency):
        (trace,) = figure["traces"]
        assert trace["x"] == pytest.approx([ns * 1e-9 for ns in quantiles])
        assert trace["text"] == ["min", "50 %", "90 %", "99 %", "99.9 %", "max"]
        assert trace["y"] == sorted(trace["y"])
        assert figure["layout"]["xaxis"]["type"] == "log"


def test_policies_and_runs_are_told_apart(
    cli: Cli, small_run: RunResult, bad_run: RunResult
) -> None:
    stored("a.json", small_run)
    stored("b.json", bad_run)
    page = shown(cli, "a.json", "b.json")
    _, *rows = page.tables["What each policy did"]
    assert [row[0].text for row in rows] == ["bounded, a.json", "bounded, b.json", "mine, b.json"]
    headings, *rows = page.tables["Fairness between threads"]
    assert headings[0].text == "policy, run"
    assert [row[0].text for row in rows] == ["bounded, a.json", "bounded, b.json", "mine, b.json"]


def test_the_verdicts_are_those_that_run_prints(cli: Cli, bad_run: RunResult) -> None:
    stored("a.json", bad_run)
    page = shown(cli, "a.json")
    for caption, columns in (("What each policy did", DEEDS), ("What it cost", COSTS)):
        headings, *rows = page.tables[caption]
        printed = grid(bad_run, columns)
        assert [cell.text for cell in headings] == printed.headings
        assert [[cell.text for cell in row] for row in rows] == printed.rows
    _, (expr, policy, _, observed, verdict) = page.tables["Thresholds"]
    assert [cell.text for cell in (expr, policy, observed, verdict)] == [
        "calls.stuck==0",
        "mine 2/2",
        "1",
        "missed",
    ]


def test_runs_stand_side_by_side(cli: Cli, small_run: RunResult) -> None:
    settings = small_run.settings.model_copy(update={"threads": 3})
    files = {
        "a.json": stored("a.json", small_run),
        "b.json": stored("b.json", small_run.model_copy(update={"settings": settings})),
    }
    page = shown(cli, *files)
    headings, *rows = page.tables["What each policy did"]
    assert headings[0].text == "run"
    assert [row[0].text for row in rows] == ["a.json", "b.json"]
    headings, *rows = page.tables["Settings and profile"]
    assert [heading.text for heading in headings] == ["key", "a.json", "b.json"]
    numbers = 0
    for name, *cells in rows:
        for cell, run in zip(cells, files.values(), strict=True):
            if cell.value is not None:
                # The costs of steps have names with points of their own, none has today.
                same(cell, at(run["settings"], name.text))
                numbers += 1
    assert numbers > 20
    (threads,) = (cells for name, *cells in rows if name.text == "threads")
    assert [cell.text for cell in threads] == ["2", "3"]


def test_files_of_one_name_are_told_apart_by_their_folders(cli: Cli, small_run: RunResult) -> None:
    for folder in ("base", "head"):
        Path(folder).mkdir()
        stored(f"{folder}/run.json", small_run)
    _, *rows = shown(cli, "base/run.json", "head/run.json").tables["What it cost"]
    assert [row[0].text for row in rows] == ["base/run.json", "head/run.json"]


def test_the_files_of_a_folder_are_one_run(cli: Cli, small_run: RunResult) -> None:
    Path("head").mkdir()
    for turn in (1, 2):
        stored(f"head/{turn}.json", small_run)
    page = shown(cli, "head")
    _, *rows = page.tables["What each policy did"]
    assert [row[0].text for row in rows] == ["bounded"]
    headings, *_ = page.tables["bounded: every measurement, named as --threshold takes it"]
    assert [heading.text for heading in headings] == ["metric", "bounded 1/2", "bounded 2/2"]


def test_of_many_repeats_the_least_the_middle_and_the_most_are_shown(cli: Cli) -> None:
    options = ("--policy", "bounded", "--policy", "none", "--driver", "sim", "--threads", "8")
    cli("run", *options, "--pins", "2000", "--seed", "1", "--repeat", "7", "--json", "a.json")
    page = shown(cli, "a.json")
    caption = next(name for name in page.tables if name.startswith("bounded: every measurement"))
    assert "; of 7 repeats; 0 or not there in all: " in caption
    (_, *headings), *lines = page.tables[caption]
    assert [heading.text for heading in headings] == ["least", "median", "most"]
    results = json.loads(Path("a.json").read_text())["results"]
    calls = sorted(row["calls"]["issued"] for row in results if row["policy"] == "bounded")
    (found,) = (line for line in lines if line[0].text == "calls.issued")
    for cell, value in zip(found[1:], (calls[0], calls[3], calls[-1]), strict=True):
        same(cell, value)
    told = {line[0].text for line in lines} | set(caption.rpartition(": ")[2].split(", "))
    assert told == set(metrics())


def test_findings_are_told_in_sentences(cli: Cli, bad_run: RunResult) -> None:
    stored("a.json", bad_run)
    text = " ".join(shown(cli, "a.json").text.split())
    for sentence in (
        "Thread 3 was in collect:isolate and had waited 2.1 s, in 1,200 sweeps. It had no page in"
        " hand. A permanent obstacle stood in the way of its migration: held, holders 2. With all"
        " other threads paused it did not end either: nobody else is to blame.",
        "Thread 0 was told that its pin succeeded, after 1 sweep. Its page, frame 12 in zone"
        " movable, was on the inactive_anon list and in the lru_add batch of CPU 1, with refcount"
        " 1025, mapcount 1 and PG_lru set. A page there must stay movable, so the success is"
        " wrong.",
        "The invariant acquired = released does not hold: 7 and 6. That is a bug in gupstress",
    ):
        # Two repeats of two policies.
        assert text.count(sentence) == 4


def test_every_recorded_finding_is_there(cli: Cli, small_run: RunResult, row: Row) -> None:
    result = PolicyResult.model_validate({**unsafe(row, 50), "repeat": 1})
    stored("a.json", small_run.model_copy(update={"results": (result,)}))
    page = shown(cli, "a.json")
    assert page.text.count("so the success is wrong") == 50
    assert "47 more" in page.text


def test_failures_are_counted_by_what_stood_in_the_way(
    cli: Cli, small_run: RunResult, row: Row
) -> None:
    failure = {
        "thread": 1,
        "class": "failed_spurious",
        "errno": "EBUSY",
        "step": "putback:page",
        "sweeps": 11,
        "obstacle": {"kind": "in-batch", "cpu": 4},
        "permanent": False,
        "page": None,
    }
    row["failures"] = [failure, failure, {**failure, "obstacle": None}]
    result = PolicyResult.model_validate({**row, "repeat": 1})
    stored("a.json", small_run.model_copy(update={"results": (result,)}))
    page = shown(cli, "a.json")
    _, *rows = page.tables["bounded: 3 recorded failures by reason"]
    assert [[cell.text for cell in row] for row in rows] == [
        ["failed_spurious", "EBUSY", "putback:page", "in-batch", "2"],
        ["failed_spurious", "EBUSY", "putback:page", "none", "1"],
    ]
    assert "Thread 1 got EBUSY in putback:page, after 11 sweeps." in page.text
    assert "A transient obstacle stood in the way of its migration: in-batch, cpu 4." in page.text
    assert "Nothing stood in the way of its migration at that moment." in page.text
    assert page.text.count("The failure is needless.") == 3


def test_nothing_counted_is_shown_as_nothing(cli: Cli, small_run: RunResult, row: Row) -> None:
    row["calls"] = dict.fromkeys(row["calls"], 0)
    row["latency_ns"] = dict.fromkeys(row["latency_ns"])
    row["sweeps"] = {**dict.fromkeys(row["sweeps"], 0), "mean": None}
    row["timeline"] = []
    result = PolicyResult.model_validate({**row, "repeat": 1})
    stored("a.json", small_run.model_copy(update={"results": (result,)}))
    page = shown(cli, "a.json")
    _, (_, *quantiles) = page.tables["bounded: latency of a call, ns"]
    assert {cell.text for cell in quantiles} == {"-"}
    _, (_, drains) = page.tables["Drains of all CPUs for each call"]
    assert drains.text == "-"


def test_a_run_that_was_interrupted_at_once_is_shown(cli: Cli, small_run: RunResult) -> None:
    stored("a.json", small_run.model_copy(update={"results": (), "status": "interrupted"}))
    _, (name, outcome, *_) = shown(cli, "a.json").tables["Runs"]
    assert (name.text, outcome.text) == ("a.json", "INTERRUPTED")


def test_the_runs_of_a_suite_are_named_after_their_tests(cli: Cli, small_run: RunResult) -> None:
    cases = (
        Case(test="test_a.py::test_one", outcome="passed", runs=(small_run,)),
        Case(test="test_a.py::test_two", outcome="failed", runs=(small_run, small_run)),
        Case(test="test_b.py::test_two", outcome="failed", runs=(small_run,)),
    )
    Path("suite.json").write_text(SuiteResult(tests=cases).to_json())
    tests = ["test_one", "test_a.py::test_two 1/2", "test_a.py::test_two 2/2"]
    tests.append("test_b.py::test_two")
    _, *rows = shown(cli, "suite.json").tables["Runs"]
    assert [row[0].text for row in rows] == tests
    stored("a.json", small_run)
    _, *rows = shown(cli, "a.json", "suite.json").tables["Runs"]
    assert [row[0].text for row in rows] == ["a.json", *(f"suite.json: {test}" for test in tests)]


def test_the_page_refers_to_nothing_outside(cli: Cli, bad_run: RunResult) -> None:
    stored("a.json", bad_run)
    page = shown(cli, "a.json")
    attributes = [attributes for _, attributes in page.elements]
    assert not any({"src", "srcset", "action", "data-src"} & set(each) for each in attributes)
    targets = [each["href"] for each in attributes if "href" in each]
    ids = {each["id"] for each in attributes if "id" in each}
    for target in targets:
        assert target is not None
        assert target == "data:," or target.removeprefix("#") in ids
    assert len(targets) > 5
    policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'"
    assert any(each.get("content", "").startswith(policy) for each in attributes)  # type: ignore[union-attr]
    text = Path("report.html").read_text()
    assert unpacked(text, "plotly").count("plotly.js v") == 1
    style = text.partition("<style>")[2].partition("</style>")[0]
    assert "@import" not in style
    assert "url(" not in style


def test_a_report_of_whatever_is_under_2_mb(cli: Cli) -> None:
    names = ("none", "bounded", "linux-7.2", "cooperative", "ignore")
    policies = (word for name in names for word in ("--policy", name))
    options = (*policies, "--driver", "sim", "--threads", "8", "--pins", "500", "--seed", "1")
    cli("run", *options, "--repeat", "15", "--json", "run.json")
    assert len(json.loads(Path("run.json").read_text())["results"]) == 15 * 5
    profiles = ("--profile", "drain-race", "--profile", "zero-page")
    cli("matrix", *profiles, *options, "--json", "matrix.json")
    race = ("isolation-race", "--kernel", "linux-6.14", "--seed", "1", "--shrink", "1ms")
    cli("explore", *race, "--json", "explore.json")
    cli("litmus", "--json", "litmus.json")
    cli("compare", "run.json", "--base", "bounded", "--json", "compare.json")
    files = ("run.json", "matrix.json", "explore.json", "litmus.json", "compare.json")
    assert cli("report", *files, "-o", "report.html").code == 0
    assert Path("report.html").stat().st_size < 2_000_000


def test_matrices_scenarios_and_comparisons_are_shown(cli: Cli, small_run: RunResult) -> None:
    small = ("--policy", "bounded", "--policy", "busted-accept", "--profile", "same-range")
    cli("matrix", *small, "--driver", "sim", "--seed", "1", "--json", "matrix.json")
    cli("litmus", "anon-remote", "--set", "drain=never", "--json", "litmus.json")
    stored("a.json", small_run)
    cli("compare", "a.json", "a.json", "--json", "compare.json")
    page = shown(cli, "matrix.json", "litmus.json", "compare.json")
    assert "Matrix: matrix.json" in page.text
    matrix = page.tables["matrix.json: one verdict a cell"]
    assert [cell.text for cell in matrix[0]] == ["profile", "bounded", "busted-accept"]
    assert matrix[1][2].text.startswith("UNSAFE")
    litmus = page.tables["litmus.json: the model by the kernels"]
    assert any("≠" in cell.text for cell in litmus[1])
    compared = page.tables["compare.json: head by base"]
    assert {row[0].text for row in compared[1:]} == {"bounded"}
    # Nothing is drawn, so nothing draws.
    assert Path("report.html").stat().st_size < 100_000
    beside = shown(cli, "a.json", "matrix.json")
    assert "Matrix: matrix.json" in beside.text
    assert "Verdicts" in beside.text


def test_a_search_is_shown_with_the_story_of_each_finding(cli: Cli) -> None:
    race = ("isolation-race", "--kernel", "linux-6.14", "--seed", "1", "--shrink", "1ms")
    cli("explore", *race, "--json", "found.json")
    cli("litmus", "race-isolation", "--preemptions", "0", "--json", "litmus.json")
    page = shown(cli, "found.json", "litmus.json")
    assert "Exploration: found.json" in page.text
    assert page.tables["found.json: findings"][1][0].text == "unsafe"
    (caption,) = [caption for caption in page.tables if caption.startswith("unsafe: ")]
    story = page.tables[caption]
    assert [cell.text for cell in story[0]] == ["pinner 0", "pinner 1", "page: references, where"]
    assert any("folio_isolate_lru" in cell.text for row in story for cell in row)
    assert "took an empty collection for success" in page.text
    raced = page.tables["litmus.json: what threads come to"]
    assert {row[2].text for row in raced[1:]} == {"exists unsafe", "forbid unsafe", "forbid stuck"}


def test_plotly_finds_no_tags_in_names(cli: Cli, small_run: RunResult, row: Row) -> None:
    result = PolicyResult.model_validate({**row, "policy": "<b>a</b>", "repeat": 1})
    stored("a.json", small_run.model_copy(update={"results": (result,)}))
    shown(cli, "a.json")
    text = Path("report.html").read_text()
    figures = json.loads(unpacked(text, "figures"))
    named = json.dumps(figures)
    assert "&lt;b>a&lt;/b>" in named
    assert "<b>" not in named


def test_names_are_text_and_no_markup(cli: Cli, small_run: RunResult, row: Row) -> None:
    name = "</script><b onclick='x()'>&amp;"
    result = PolicyResult.model_validate({**row, "policy": name, "repeat": 1})
    stored("a.json", small_run.model_copy(update={"results": (result,)}))
    page = shown(cli, "a.json")
    assert "<b onclick" not in Path("report.html").read_text()
    assert name in page.text


def test_a_page_for_those_who_do_not_see_it(cli: Cli, bad_run: RunResult) -> None:
    stored("a.json", bad_run)
    page = shown(cli, "a.json")
    tags = [tag for tag, _ in page.elements]
    assert ("html", {"lang": "en"}) in page.elements
    for landmark in ("header", "nav", "main", "footer", "h1", "title"):
        assert tags.count(landmark) == 1
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert all(deeper - level <= 1 for level, deeper in pairwise(levels))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        if "aria-labelledby" in attributes:
            assert attributes["aria-labelledby"] in ids
    assert tags.count("table") == tags.count("caption") == len(page.tables)
    for headings, *rows in page.tables.values():
        assert {cell.attributes["scope"] for cell in headings} == {"col"}
        for row in rows:
            assert len(row) == len(headings)
            assert (row[0].tag, row[0].attributes["scope"]) == ("th", "row")
    plots = [attributes for _, attributes in page.elements if "data-figure" in attributes]
    assert len(plots) == tags.count("figure") == 4 + 2 * 3
    for plot in plots:
        assert plot["role"] == "img"
        assert plot["aria-label"]
    # Each plot has its own table; what may need scrolling can be reached by keyboard.
    regions = [attributes for _, attributes in page.elements if attributes.get("role") == "region"]
    assert len(regions) == tags.count("table")
    assert {(region["tabindex"], bool(region["aria-label"])) for region in regions} == {("0", True)}


def test_light_dark_and_print_have_their_colours(cli: Cli, small_run: RunResult) -> None:
    stored("a.json", small_run)
    shown(cli, "a.json")
    text = Path("report.html").read_text()
    _, _, rest = text.partition("<style>")
    light, dark = rest.partition("</style>")[0].split("@media (prefers-color-scheme: dark)")
    names = set(re.findall(r"--[\w-]+(?=:)", light))
    assert names
    assert set(re.findall(r"--[\w-]+(?=:)", dark)) == names
    assert "@media print" in dark


BAD = [
    ("report", ["RUN.json"]),
    ("report r.json", ["--output"]),
    ("report none.json -o r.html", ["none.json", "No such file"]),
    ("report folder -o r.html", ["folder", "no *.json"]),
    ("report empty.json -o r.html", ["empty.json", "is empty"]),
    ("report binary.json -o r.html", ["binary.json", "not UTF-8"]),
    ("report cut.json -o r.html", ["cut.json", "not JSON", "line"]),
    ("report list.json -o r.html", ["list.json", "nearest: gupstress.run/1"]),
    ("report old.json -o r.html", ["old.json", "'gupstress.run/0'", "nearest: gupstress.run/1"]),
    ("report odd.json -o r.html", ["odd.json", "schema []", "nearest: gupstress."]),
    ("report edited.json -o r.html", ["edited.json", "results.0.calls", "accounted for"]),
    ("report short.json -o r.html", ["short.json", "gupstress: Field required", "5 more"]),
    ("report nobody.json -o r.html", ["nobody.json", "holds no run"]),
    ("report r.json r.json -o r.html", ["r.json", "more than once"]),
    ("report r.json -o missing/r.html", ["missing/r.html", "No such file"]),
    ("report r.json -o .", ["--output .", "Is a directory"]),
    ("report r.json -o r.json", ["r.json", "nearest: r-2.html"]),
]


@pytest.mark.parametrize(("line", "said"), BAD, ids=[line for line, _ in BAD])
def test_one_line_exit_2_nothing_written(
    cli: Cli, small_run: RunResult, line: str, said: list[str]
) -> None:
    right = stored("r.json", small_run)
    Path("folder").mkdir()
    Path("empty.json").touch()
    Path("binary.json").write_bytes(b"\xff\xfe")
    Path("cut.json").write_text(small_run.to_json()[:500])
    Path("list.json").write_text("[]")
    Path("old.json").write_text(json.dumps({**right, "schema": "gupstress.run/0"}))
    Path("odd.json").write_text(json.dumps({**right, "schema": []}))
    right["results"][0]["calls"]["issued"] += 1
    Path("edited.json").write_text(json.dumps(right))
    Path("short.json").write_text('{"schema": "gupstress.run/1"}')
    Path("nobody.json").write_text(SuiteResult(tests=()).to_json())
    before = {path: path.read_bytes() for path in Path().glob("*.*")}
    code, out, err = cli(*line.split())
    assert (code, out) == (2, "")
    assert err.startswith("gupstress: ")
    assert err.count("\n") == 1
    for words in said:
        assert words in err
    assert {path: path.read_bytes() for path in Path().glob("*.*")} == before


def test_all_bad_files_are_named(cli: Cli) -> None:
    Path("empty.json").touch()
    code, _, err = cli("report", "none.json", "empty.json", "-o", "r.html")
    assert code == 2
    assert [line.split(": ")[1] for line in err.splitlines()] == ["none.json", "empty.json"]


def test_a_full_disk_leaves_the_old_page(
    cli: Cli, small_run: RunResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored("a.json", small_run)
    Path("report.html").write_text("old")
    calls = []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        # The check passes, the page itself does not fit.
        if len(calls) > 1:
            raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", fsync)
    code, _, err = cli("report", "a.json", "-o", "report.html")
    assert code == 2
    assert err == "gupstress: --output report.html: cannot be written: No space left on device\n"
    assert Path("report.html").read_text() == "old"
    assert sorted(os.listdir()) == ["a.json", "report.html"]


@pytest.mark.parametrize("module", ["jinja2", "plotly"])
def test_without_the_extra_it_says_how_to_get_it(small_run: RunResult, module: str) -> None:
    stored("a.json", small_run)
    code = (
        f"import sys; sys.modules[{module!r}] = None; from gupstress.cli import invoke;"
        " sys.exit(invoke(['report', 'a.json', '-o', 'report.html']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout) == (4, "")
    assert ended.stderr == f"gupstress: report needs {module}: pip install 'gupstress[report]'\n"
    assert os.listdir() == ["a.json"]


def test_a_failure_tells_who_had_what_of_its_page() -> None:
    found = {
        "frame": 7,
        "refcount": 2053,
        "expected": 1,
        "pins": 2,
        "batches": [[1, "activate"]],
        "holders": 0,
        "passing": 3,
        "isolated": False,
        "isolated_by": None,
        "locked_by": 4,
        "writeback": False,
    }
    failure = FailedCall.model_validate(
        {
            "thread": 3,
            "class": "failed_spurious",
            "errno": "ENOMEM",
            "step": "migrate:freeze",
            "sweeps": 1,
            "obstacle": {"kind": "pinned", "pins": 2},
            "permanent": False,
            "found": found,
            "page": None,
        }
    )
    assert tell(failure) == (
        "Thread 3 got ENOMEM in migrate:freeze, after 1 sweep. Its page, frame 7, then had a"
        " refcount of 2053 where 1 was expected: 2 pins of others, the activate batch of CPU 1,"
        " 3 short references, its lock by thread 4. A transient obstacle stood in the way of its"
        " migration: pinned, pins 2. The failure is needless."
    )
