"""`gupstress matrix`: one verdict a cell, and an exit code that looks at what was expected."""

import json
import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree as ET

import pytest
from jsonschema import Draft202012Validator

import gupstress
from conftest import Ended, Row, broken, come_to, job_of, stuck, unsafe
from gupstress import _core
from gupstress.cli import invoke
from gupstress.model import catalog
from gupstress.outcome.matrix import Cell, MatrixResult
from gupstress.outcome.results import PolicyResult, Verdict
from gupstress.render import cross
from gupstress.running import engine, progress, runner
from gupstress.running.request import Request
from gupstress.running.runner import Turn, Watch
from gupstress.studies import matrix

Cli = Callable[..., Ended]
Rows = Callable[..., list[Row]]

SIM = ("--driver", "sim", "--seed", "7")

POLICIES = ("none", "bounded", "ignore", "linux-7.2")
PROFILES = ("oom", "wasted-drain", "lru-batch-ref")

VALIDATOR = Draft202012Validator(gupstress.schema("matrix"))


def options(policies: tuple[str, ...], profiles: tuple[str, ...]) -> list[str]:
    words = [("--policy", name) for name in policies] + [("--profile", name) for name in profiles]
    return ["matrix", *SIM, *(word for pair in words for word in pair)]


def load(name: str = "r.json") -> MatrixResult:
    text = Path(name).read_text()
    VALIDATOR.validate(json.loads(text))
    result = MatrixResult.model_validate_json(text)
    assert result.to_json() == text
    return result


def stricter(profile: str, *policies: str) -> str:
    """Write a profile of which some policies are expected to be all right."""
    table, _, _ = _core.show("profile", profile).partition("[expect]")
    expect = {**catalog.preset("profile", profile)["expect"], **dict.fromkeys(policies, "ok")}
    lines = [f'"{policy}" = "{verdict}"\n' for policy, verdict in expect.items()]
    Path("mine.toml").write_text(f"{table}[expect]\n{''.join(lines)}")
    return "mine.toml"


# ---------------------------------------------------------------- cells that are run


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> MatrixResult:
    file = str(tmp_path_factory.mktemp("matrix") / "r.json")
    assert invoke([*options(POLICIES, PROFILES), "--quiet", "--json", file]) == 0
    return load(file)


def test_every_policy_meets_every_profile(small: MatrixResult) -> None:
    assert (small.policies, small.profiles) == (POLICIES, PROFILES)
    pairs = [(cell.profile, cell.policy) for cell in small.cells]
    assert pairs == [(profile, policy) for profile in PROFILES for policy in POLICIES]
    assert small.status == "complete"
    assert (small.settings.driver, small.settings.seed) == ("sim", 7)
    assert (small.settings.timeout_s, small.settings.stall_after_s) == (20, 0.2)
    assert small.settings.threads is None


def test_each_verdict_is_what_the_policy_is_known_for(small: MatrixResult) -> None:
    verdicts = {(cell.profile, cell.policy): cell.verdict for cell in small.cells}
    assert verdicts["oom", "linux-7.2"] == "oom-killed"
    assert verdicts["oom", "ignore"] == "unsafe"
    assert verdicts["wasted-drain", "bounded"] == "slow-drains"
    assert verdicts["wasted-drain", "linux-7.2"] == "ok"
    assert verdicts["lru-batch-ref", "none"] == "spurious"
    assert verdicts["lru-batch-ref", "linux-7.2"] == "ok"
    assert not any(cell.worse for cell in small.cells)


def test_issued_is_the_sum_of_all_classes_in_every_cell(small: MatrixResult) -> None:
    for cell in small.cells:
        calls = cell.calls
        ended = calls.pinned + calls.pinned_unsafe + calls.failed_justified + calls.failed_spurious
        assert calls.issued == ended + calls.oom_killed + calls.stuck > 0


def test_a_cell_says_what_its_verdict_rests_on(small: MatrixResult) -> None:
    found = {(cell.profile, cell.policy): cell.finding for cell in small.cells}
    assert found["wasted-drain", "linux-7.2"] is None
    assert "bystander 2, which had 48 pages, none of use: in vain" in str(found["oom", "linux-7.2"])
    assert "(transient)" in str(found["lru-batch-ref", "none"])
    assert "which must stay movable" in str(found["oom", "ignore"])
    assert "drains of all CPUs found nothing" in str(found["wasted-drain", "bounded"])


def untimed(result: MatrixResult) -> list[Cell]:
    """Return cells without the host's time, which no seed decides."""
    return [cell.model_copy(update={"wall_s": None}) for cell in result.cells]


def test_the_same_seed_gives_the_same_cells(small: MatrixResult, cli: Cli) -> None:
    code, out, err = cli(*options(POLICIES, PROFILES), "--quiet", "--format", "json")
    assert (code, err) == (0, "")
    assert untimed(MatrixResult.model_validate_json(out)) == untimed(small)


def test_the_table_has_a_row_for_each_profile(cli: Cli) -> None:
    code, out, err = cli(*options(("none", "look"), ("oom", "lru-batch-ref")))
    assert code == 0
    assert "gupstress: seed 7" in err
    rows = {words[0]: words[1:] for line in out.splitlines() if (words := line.split())}
    assert rows["profile"] == ["none", "look"]
    assert rows["oom"] == ["OOM", "justified"]
    assert "killed" in rows
    assert rows["lru-batch-ref"] == ["spurious", "ok"]
    assert out.splitlines()[-1] == (
        "gupstress: 4 cells, none worse than expected: kernel=linux-7.2.13 driver=sim seed=7"
    )


def test_what_hangs_is_stuck(cli: Cli) -> None:
    args = (*options(("unbounded",), ("zero-page",)), "--stall-after", "20ms", "--json", "r.json")
    code, out, _ = cli(*args)
    assert code == 0
    assert "zero-page  STUCK\n" in out
    (cell,) = load().cells
    assert (cell.verdict, cell.expected, cell.status) == ("stuck", "stuck", "stuck")
    assert "zero-page (permanent)" in str(cell.finding)


def test_options_reach_every_cell(cli: Cli) -> None:
    args = (*options(("bounded",), ("wasted-drain",)), "--kernel", "linux-6.17", "--threads", "2")
    cli(*args, "--set", "drain=never", "--json", "r.json")
    result = load()
    assert (result.settings.kernel, result.settings.threads) == ("linux-6.17", 2)
    assert result.settings.sets == {"drain": "never"}
    # What never drains cannot do so in vain, and fails.
    assert result.cells[0].verdict == "spurious"


# ---------------------------------------------------------------- worse than expected


def test_a_cell_worse_than_expected_is_a_finding(cli: Cli) -> None:
    profile = stricter("oom", "ignore")
    code, out, _ = cli(*options(("ignore", "none"), (profile,)), "--json", "r.json")
    assert code == 1
    assert "oom      UNSAFE!  OOM\n" in out
    assert "\nignore on oom: expected ok, found UNSAFE\n  violated: thread " in out
    assert "2 cells, 1 worse than expected" in out
    assert [cell.worse for cell in load().cells] == [True, False]
    again = out.split("reproduce: gupstress ")[1].splitlines()[0].split()
    assert again[:5] == ["run", "--policy", "ignore", "--profile", "mine.toml"]
    code, out, _ = cli(*again, "--quiet", "--format", "json")
    assert code == 1
    (row,) = json.loads(out)["results"]
    assert row["calls"] == load().cells[0].calls.model_dump()


@pytest.mark.parametrize(
    ("policy", "profile", "words"),
    [
        ("none", "lru-batch-ref", ["spurious", "%!"]),
        ("bounded", "wasted-drain", ["slow", "drains", "%!"]),
        ("none", "oom", ["OOM", "killed!"]),
        ("cooperative", "oom", ["justified!"]),
    ],
)
def test_each_verdict_can_be_too_bad(cli: Cli, policy: str, profile: str, words: list[str]) -> None:
    args = options((policy,), (profile,))
    code, out, _ = cli(*args)
    assert (code, "!" in out.partition("justified: ")[0]) == (0, False)
    code, out, _ = cli(*options((policy,), (stricter(profile, policy),)))
    assert code == 1
    for word in words:
        assert word in out.partition("justified: ")[0]
    assert f"\n{policy} on {profile}: expected ok, found {words[0].removesuffix('!')}" in out


def test_broken_invariants_are_never_expected(cli: Cli) -> None:
    code, out, _ = cli(*options(("busted-leak-pin",), ("wasted-drain",)))
    assert code == 1
    assert "BROKEN!" in out
    assert "broken: refcount is the sum of its references" in out


def test_a_policy_that_a_profile_does_not_name_may_fail_where_nobody_can_pin(cli: Cli) -> None:
    Path("mine.toml").write_text('name = "mine"\nbase = "bounded"\n')
    Path("naive.toml").write_text('name = "naive"\nbase = "unbounded"\n')
    args = options(("mine.toml", "naive.toml"), ("hwpoison-mapped",))
    code, _, _ = cli(*args, "--json", "r.json")
    mine, naive = load().cells
    assert (mine.verdict, mine.expected, mine.worse) == ("justified", "justified", False)
    assert (naive.verdict, naive.worse, code) == ("stuck", True, 1)


def test_better_than_expected_is_no_finding(cli: Cli) -> None:
    text = _core.show("profile", "wasted-drain") + 'none = "stuck"\n'
    Path("mine.toml").write_text(text)
    assert cli(*options(("none",), ("mine.toml",))).code == 0


def test_a_profile_that_is_shown_expects_the_same_when_taken_back() -> None:
    Path("mine.toml").write_text(_core.show("profile", "zero-page"))
    for profile in ("zero-page", "mine.toml"):
        (job,) = matrix.prepare(Request(), [profile]).jobs
        assert job.plan.profile["expect"] == {"unbounded": "stuck"}


# ---------------------------------------------------------------- verdicts


def spurious(row: Row) -> Row:
    row["calls"]["issued"] += 5
    row["calls"]["failed_spurious"] += 5
    row["causes"]["pinned"] += 5
    come_to(row, "spurious")
    return row


def slow(row: Row) -> Row:
    row["counters"]["drain_idle"] = row["calls"]["issued"]
    row["verdict"] = "slow-drains"
    return row


def undecided(row: Row) -> Row:
    row["liveness"]["verdict"] = "inconclusive"
    come_to(row, "inconclusive")
    return row


def quick(row: Row) -> Row:
    row["counters"]["drain_idle"] = 0
    row["verdict"] = "ok"
    return row


def at_the_cut(row: Row) -> Row:
    row["calls"] |= dict.fromkeys(row["calls"], 0) | {"issued": 100, "pinned": 100}
    row["counters"]["drain_idle"] = 51
    row["verdict"] = "slow-drains"
    return row


def test_the_verdicts_and_their_order_are_the_cores() -> None:
    assert list(get_args(Verdict)) == _core.verdicts()


def test_a_share_at_the_cut_is_no_finding_and_is_shown(cli: Cli, rows: Rows, row: Row) -> None:
    rows(at_the_cut(row))
    # Of cooperative zero-page expects that it does not drain for nothing.
    code, out, _ = cli(*options(("cooperative",), ("zero-page",)), "--json", "r.json")
    (cell,) = load().cells
    assert (code, cell.verdict, cell.close, cell.worse) == (0, "ok", True, False)
    assert cell.share == pytest.approx(0.51)
    assert "%\n" in out
    row["counters"]["drain_idle"] = row["calls"]["issued"]
    code, out, _ = cli(*options(("cooperative",), ("zero-page",)))
    assert code == 1
    assert "slow\n" in out
    assert "100%!" in out


def test_a_cell_is_judged_by_all_its_repeats(row: Row, rows: Rows) -> None:
    slow_one, quick_one = slow(json.loads(json.dumps(row))), quick(row)
    jobs = rows(quick_one, slow_one, quick_one, slow_one)
    request = Request(policies=("bounded",), driver="sim", repeat=4, seed=5)
    plan = matrix.prepare(request, ["zero-page"])
    (cell,) = matrix.run(plan, []).cells
    # The rest of the rows are the last one again: the more of it the further from the cut.
    assert [job["seed"] for job in jobs] == [5, 6, 7, 8, 9]
    assert (cell.repeats, cell.calls.issued) == (5, 5 * row["calls"]["issued"])
    assert (cell.close, cell.verdict) == (False, "slow-drains")
    assert cell.share == pytest.approx(0.6, abs=0.01)


def test_a_cell_at_the_cut_is_run_again_up_to_a_limit(
    row: Row, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = rows(at_the_cut(row))
    request = Request(policies=("bounded",), driver="sim", seed=5)
    (cell,) = matrix.run(matrix.prepare(request, ["zero-page"]), []).cells
    assert _core.most_repeats() == 8
    assert [job["seed"] for job in jobs] == [*range(5, 13)]
    assert (cell.repeats, cell.close, cell.worse) == (8, True, False)
    # What is interrupted meanwhile keeps what it had.
    once = runner.once

    def stopped(*args: Any) -> PolicyResult:
        if len(jobs) > 10:
            raise KeyboardInterrupt
        return once(*args)

    monkeypatch.setattr(runner, "once", stopped)
    found = matrix.run(matrix.prepare(request, ["zero-page"]), [])
    assert (found.status, found.cells[0].repeats) == ("interrupted", 3)


@pytest.mark.parametrize(
    ("change", "policy", "code"),
    [
        # On zero-page, unbounded may be stuck and bounded may be nothing.
        (undecided, "bounded", 3),
        (undecided, "unbounded", 0),
        (stuck, "unbounded", 0),
        (stuck, "bounded", 1),
        (spurious, "unbounded", 0),
        (broken, "unbounded", 1),
        (lambda row: undecided(unsafe(row)), "bounded", 1),
    ],
)
def test_exit_codes(
    cli: Cli, rows: Rows, row: Row, change: Callable[[Row], Row], policy: str, code: int
) -> None:
    rows(change(row))
    ended = cli(*options((policy,), ("zero-page",)))
    assert ended.code == code
    assert ("1 inconclusive" in ended.out) == (code == 3)
    assert ("1 worse" in ended.out) == (code == 1)


def test_a_finding_outranks_what_is_undecided(cli: Cli, rows: Rows, row: Row) -> None:
    good = json.loads(json.dumps(row))
    rows(undecided(row), stuck(good))
    code, out, _ = cli(*options(("bounded", "none"), ("zero-page",)))
    assert code == 1
    assert "1 worse than expected, 1 inconclusive" in out
    assert "zero-page  ?        STUCK!\n" in out


# ---------------------------------------------------------------- what is run


def test_everything_is_run_where_nothing_is_named(cli: Cli, rows: Rows) -> None:
    jobs = rows()
    cli("matrix", "--quiet")
    policies = list(dict.fromkeys(job["policy"]["name"] for job in jobs))
    profiles = list(dict.fromkeys(job["profile"]["name"] for job in jobs))
    assert len(jobs) == len(policies) * len(profiles)
    assert set(_core.names("policy")) - set(policies) == {
        name for name in _core.names("policy") if name.startswith("busted-")
    }
    others = {"steady", "drain-storm", "same-range", "free-loop", "oversubscribed", "hugetlb"}
    assert set(_core.names("profile")) - set(profiles) == others
    assert len({job["seed"] for job in jobs}) == 1
    for job in jobs:
        assert (job["timeout_s"], job["stall_after_s"]) == (20, 2)
        assert job["pins"] == catalog.preset("profile", job["profile"]["name"])["pins"]


def test_an_interrupt_keeps_the_cells_before_it(
    cli: Cli, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Row] = []

    def run(plan: engine.Plan, policy: int, repeat: int, *_: object) -> Row:
        jobs.append(job_of(plan, policy, repeat))
        if len(jobs) == 4:
            signal.raise_signal(signal.SIGINT)
        return {**row, "policy": plan.policies[policy]["name"], "repeat": repeat}

    monkeypatch.setattr(engine.Plan, "run", run)
    args = options(("none", "bounded"), ("zero-page", "oom", "contig"))
    code, out, _ = cli(*args, "--json", "r.json")
    assert code == 130
    result = load()
    assert result.status == "interrupted"
    assert [(cell.profile, cell.policy) for cell in result.cells] == [
        ("zero-page", "none"),
        ("zero-page", "bounded"),
        ("oom", "none"),
    ]
    assert "contig     -     -\n" in out
    assert "3 cells, interrupted before 6" in out


# ---------------------------------------------------------------- output


def test_progress_names_the_cell_on_standard_error(
    cli: Cli, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels: list[str] = []
    rows()

    def watch(stream: object, under: str) -> Watch:
        def watching(turn: Turn) -> AbstractContextManager[None]:
            labels.append(f"{under} {turn}")
            return nullcontext()

        return watching

    monkeypatch.setattr(progress, "watch", watch)
    _, _, err = cli(*options(("none", "bounded"), ("oom", "contig")))
    assert err.splitlines() == [
        "gupstress: seed 7",
        "gupstress: oom (1/2)",
        "gupstress: contig (2/2)",
    ]
    assert labels == [
        "oom (1/2) none",
        "oom (1/2) bounded",
        "contig (2/2) none",
        "contig (2/2) bounded",
    ]


def test_quiet_and_json_leave_nothing_but_json(cli: Cli) -> None:
    args = options(("none",), ("oom",))
    code, out, err = cli(*args, "--format", "json", "--quiet")
    assert (code, err) == (0, "")
    VALIDATOR.validate(json.loads(out))
    _, _, err = cli(*args, "--format", "json")
    assert "1 cell, none worse" in err


def test_markdown_has_full_width(cli: Cli) -> None:
    profile = stricter("lru-batch-ref", "none")
    _, out, _ = cli(*options((*POLICIES, "linux-6.14"), (profile,)), "--format", "markdown")
    headings, _, cells = out.splitlines()[:3]
    names = [name.strip() for name in headings.strip("|").split("|")]
    assert names == ["profile", *POLICIES, "linux-6.14"]
    assert "%! |" in cells
    assert "spurious 9" in cells
    assert "- **none on lru-batch-ref: expected ok, found spurious" in out
    assert "  ```sh\n  gupstress run --policy none --profile mine.toml " in out


def test_a_table_is_split_evenly_to_fit_80_columns() -> None:
    names = [f"policy-number-{number}" for number in range(12)]
    table = cross.Cross("profile", ["a" * 14], names, [[["spurious", "12.3%!"]] * 12], " ")
    blocks = cross.plain(table).split("\n\n")
    assert [block.count("12.3%!") for block in blocks] == [6, 6]
    assert max(len(line) for block in blocks for line in block.splitlines()) <= 80
    assert cross.markdown(table).count("spurious 12.3%!") == 12


def test_a_long_name_is_wrapped_and_a_short_heading_is_whole() -> None:
    table = cross.Cross("profile", ["long-" * 20], ["a-b", "very-long-name"], [[["ok"]] * 2], " ")
    lines = cross.plain(table).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].split() == ["profile", "a-", "very-"]
    wide = cross.Cross("profile", ["x"], ["a-b"], [[["spurious"]]], " ")
    assert cross.plain(wide).splitlines()[1].split() == ["profile", "a-b"]


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--policy bonded", ["bonded", "nearest: bounded"]),
        ("--policy bounded --policy bounded", ["'bounded'", "more than once"]),
        ("--profile zero", ["zero", "nearest: zero-page"]),
        ("--profile oom --profile oom", ["'oom'", "more than once"]),
        ("--profile missing.toml", ["missing.toml", "No such file"]),
        ("--kernel linux-7.2.12", ["linux-7.2.12", "nearest: linux-7.2.13"]),
        ("--driver dream", ["dream", "nearest: "]),
        ("--seed -1", ["--seed", "nearest: 0"]),
        ("--threads 0", ["--threads", "nearest: 1"]),
        ("--timeout soon", ["--timeout", "soon"]),
        ("--stall-after 0s", ["--stall-after", "nearest: 1ms"]),
        ("--set isolate_retris=3", ["isolate_retris", "nearest: isolate_retries"]),
        ("--format junt", ["junt", "junit"]),
        ("--json missing/r.json", ["--json missing/r.json", "No such file"]),
        ("--pin 3", ["--pin", "--p"]),
        ("extra", ["extra"]),
    ],
)
@pytest.mark.usefixtures("no_run")
def test_one_line_exit_2_nothing_written(cli: Cli, line: str, said: list[str]) -> None:
    args = line.split()
    if "--json" not in args:
        args = ["--json", "r.json", *args]
    code, out, err = cli("matrix", *args)
    assert (code, out) == (2, "")
    assert err.startswith("gupstress: ")
    assert err.count("\n") == 1
    for words in said:
        assert words in err
    assert os.listdir() == []


@pytest.mark.usefixtures("no_run")
def test_all_mistakes_are_named_at_once(cli: Cli) -> None:
    Path("mine.toml").write_text(_core.show("profile", "oom") + 'none = "fine"\n')
    code, _, err = cli(
        "matrix", "--policy", "bonded", "--profile", "zero", "--profile", "mine.toml"
    )
    assert code == 2
    lines = err.splitlines()
    assert len(lines) == 3
    for words in ('"bonded"', '"zero"', "mine.toml:"):
        assert sum(words in line for line in lines) == 1


def test_an_unknown_schema_is_refused() -> None:
    with pytest.raises(gupstress.ConfigError, match="'matrx'; nearest: matrix"):
        gupstress.schema("matrx")


def test_a_cell_is_of_all_its_repeats_and_settings_reach_it(cli: Cli) -> None:
    line = [
        "matrix",
        "--policy",
        "linux-7.2",
        "--profile",
        "short-refs",
        "--driver",
        "sim",
        "--seed",
        "1",
    ]
    sized = ("--pins", "400", "--cpus", "2", "--repeat", "3", "--quiet")
    _, out, _ = cli(*line, *sized, "--json", "m.json")
    found = MatrixResult.model_validate_json(Path("m.json").read_text())
    (cell,) = found.cells
    assert (cell.repeats, found.settings.repeat) == (3, 3)
    assert (found.settings.pins, found.settings.cpus) == (400, 2)
    assert out.splitlines()[-1].endswith("cpus=2 pins=400 seed=1 repeat=3")
    run = gupstress.run(
        "short-refs", policy="linux-7.2", driver="sim", seed=1, pins=400, cpus=2, repeat=3
    )
    assert cell.calls.issued == sum(row.calls.issued for row in run.results)
    called = gupstress.matrix(
        "short-refs", policy="linux-7.2", driver="sim", seed=1, pins=400, cpus=2, repeat=3
    )
    assert untimed(called) == untimed(found)


def test_a_matrix_as_junit(cli: Cli, rows: Rows, row: Row) -> None:
    # A simulation's own clock is not the host's.
    rows({**stuck(row), "elapsed_s": 60.0, "wall_s": 1.25})
    line = [
        "matrix",
        "--policy",
        "bounded",
        "--profile",
        "zero-page",
        "--driver",
        "sim",
        "--seed",
        "1",
        "--repeat",
        "2",
    ]
    code, out, err = cli(*line, "--format", "junit")
    suite = ET.fromstring(out)
    (case,) = suite.iter("testcase")
    assert code == 1
    assert case.get("classname") == "gupstress.matrix.zero-page"
    assert case.get("name") == "bounded"
    assert case.get("time") == "2.500"
    assert [found.get("time") for found in ET.fromstring(out)] == ["2.500"]
    (failure,) = case
    assert failure.tag == "failure"
    assert failure.get("message") == "bounded on zero-page: expected ok, found STUCK"
    assert "gupstress run --policy bounded --profile zero-page" in (failure.text or "")
    assert err.splitlines()[-1].startswith("gupstress: 1 cell, 1 worse than expected")


def test_a_matrix_has_no_sweeps_but_of_threads(cli: Cli, no_run: None) -> None:
    code, _, err = cli("matrix", "--cpus", "1,8", "--policy", "bounded")
    assert code == 2
    assert err == "gupstress: --cpus 1,8: a matrix has one of each; nearest: --cpus 1\n"
    code, _, err = cli("matrix", "--threads", "8,8", "--policy", "bounded")
    assert code == 2
    assert err == "gupstress: --threads 8,8: 8 more than once; nearest: 8 once\n"
    code, _, err = cli("matrix", "--threads", "8,0", "--policy", "bounded")
    assert code == 2
    assert err.startswith("gupstress: --threads 8,0: 0 is below 1; nearest: 1"), err


def test_with_several_numbers_of_threads_a_policy_holds_up_to_one_of_them(
    cli: Cli, rows: Rows, row: Row
) -> None:
    spurious = {**row["calls"], "failed_spurious": 1, "pinned": row["calls"]["pinned"] - 1}
    slow = {**row, "elapsed_s": 4 * row["elapsed_s"]}
    good = {**row, "calls": {**row["calls"]}}
    failed = {"calls": spurious, "causes": {**row["causes"], "pinned": row["causes"]["pinned"] + 1}}
    jobs = rows(good, slow, {**row, **failed}, good)
    code, out, err = cli(
        *("matrix", *SIM, "--policy", "linux-7.2", "--profile", "contended"),
        *("--threads", "64,2,8,256", "--json", "m.json"),
    )
    assert code == 0, err
    assert [job["threads"] for job in jobs] == [2, 8, 64, 256]
    result = load("m.json")
    assert result.settings.threads_each == (2, 8, 64, 256)
    assert [cell.threads for cell in result.cells] == [2, 8, 64, 256]
    (scale,) = result.scale
    # It fails with 64, so that it does not with 256 is of no use.
    assert (scale.policy, scale.profile, scale.holds) == ("linux-7.2", "contended", 8)
    assert scale.keeps == pytest.approx(0.25)
    words = next(line.split() for line in out.splitlines() if line.startswith("linux-7.2"))
    assert words[-2:] == ["8", "25%"]
    assert "threads=2,8,64,256" in out.splitlines()[-1]
