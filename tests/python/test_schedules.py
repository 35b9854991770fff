"""Schedules: those that are kept replay, defects are found, and files hold what they say."""

import json
import random
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest

import gupstress
import schedules
from gupstress.model import catalog

# ---------------------------------------------------------------- those that are kept


CELLS = {cell.file.stem: cell for cell in schedules.cells()}


def test_every_bad_cell_of_the_matrix_has_a_schedule() -> None:
    kept = [file.stem for file in schedules.FOLDER.glob("*.json")]
    assert sorted(kept) == sorted(CELLS), schedules.AGAIN


@pytest.mark.parametrize("name", CELLS)
def test_a_kept_schedule_shows_what_it_is_kept_for(name: str) -> None:
    cell = CELLS[name]
    again = f"after a change of the machine: {schedules.AGAIN}"
    try:
        result = gupstress.replay(cell.file)
    except gupstress.ConfigError as error:
        pytest.fail(f"{error}; {again}")
    assert result.differs is None, f"{result.differs}; {again}"
    assert result.kind == cell.kind, again
    tasks = json.loads(cell.file.read_text())["tasks"]
    threads = [name for name in tasks if not name.startswith("kworker")]
    assert len(threads) <= schedules.MOST_THREADS, again


# ---------------------------------------------------------------- what is wrong on purpose

BUSTED = {
    "busted-never-drains": ("drain-race", "stuck", {}),
    "busted-accept": ("isolation-race", "unsafe", {}),
    "busted-leak-pin": ("isolation-race", "broken", {}),
    "busted-lose-page": ("prepinned", "broken", {}),
    "busted-hold-lock": ("isolation-race", "stuck", {}),
    "busted-wait-cycle": ("same-range", "stuck", {"pages": 2, "calls": 2}),
}
"""Of each policy that is broken on purpose where it is found, and as what."""


@pytest.mark.parametrize("policy", BUSTED)
def test_a_busted_policy_is_found(policy: str) -> None:
    profile, kind, more = BUSTED[policy]
    size: dict[str, Any] = more
    result = gupstress.explore(
        profile,
        policy=policy,
        find=kind,
        schedules=2000,
        seed=1,
        timeout="1h",
        shrink="1ms",
        **size,
    )
    sys.stdout.write(f"{policy}: {result.schedules} schedules in {result.elapsed_s:.2f} s\n")
    assert [found.kind for found in result.findings] == [kind]


def test_every_busted_policy_is_tried() -> None:
    names = [name for name in gupstress.policies() if name.startswith("busted-")]
    assert sorted(BUSTED) == sorted(names)


WRONG_RULES: dict[str, dict[str, Any]] = {
    "a pin counts like any reference": {"pin_bias": 1},
    "no pass of a batched migration": {"migrate_async_passes": 0, "migrate_sync_passes": 0},
    "no pass of a migration page by page": {"migrate": "one-by-one", "migrate_passes": 0},
}
"""Rules that no kernel has, each of which makes a policy fail that otherwise never does: words
and yes or no are some kernel's each, so only numbers can be wrong."""

HARMLESS_RULES = ("batch_size",)
"""Numbers that kernels have of every size, and that decide only when a batch is flushed."""


def _of_rules(sets: dict[str, Any]) -> list[str]:
    result = gupstress.explore(
        "wasted-drain",
        policy="cooperative",
        sets=sets,
        find=("unsafe", "stuck", "spurious", "broken"),
        schedules=1000,
        seed=1,
        timeout="1h",
        shrink="1ms",
    )
    sys.stdout.write(f"{sets}: {result.schedules} schedules in {result.elapsed_s:.2f} s\n")
    return [found.kind for found in result.findings]


@pytest.mark.parametrize("what", WRONG_RULES)
def test_a_wrong_rule_is_found(what: str) -> None:
    sets = WRONG_RULES[what]
    assert _of_rules(sets) == ["spurious"]
    # With everything else of it, and the numbers right, nothing is found.
    assert _of_rules({key: value for key, value in sets.items() if key == "migrate"}) == []


def test_every_number_of_a_kernel_is_put_wrong() -> None:
    rules = catalog.preset("kernel", "linux-7.2.13")
    numbers = {key for key, value in rules.items() if type(value) is int}
    wrong = {key for sets in WRONG_RULES.values() for key in sets if key != "migrate"}
    assert wrong | set(HARMLESS_RULES) == numbers
    for key in HARMLESS_RULES:
        assert _of_rules({key: 1}) == []


# ---------------------------------------------------------------- any number of them

PROFILES = (
    "contended",
    "isolation-race",
    "drain-race",
    "same-range",
    "short-refs",
    "writeback",
    "contig",
    "wasted-drain",
    "prepinned",
    "free-loop",
)
POLICIES = (
    "none",
    "unbounded",
    "bounded",
    "ignore",
    "linux-5.13",
    "linux-6.14",
    "linux-7.2",
    "busted-accept",
)


def _found(tmp_path: Path, count: int, workers: int) -> tuple[list[Path], list[object]]:
    """Write so many findings of all profiles and policies; return what was found, too."""
    files: list[Path] = []
    told: list[object] = []
    for number, (profile, policy) in enumerate(3 * list(product(PROFILES, POLICIES))):
        strategy = ("random", "pct", "bounded")[number % 3]
        result = gupstress.explore(
            profile,
            policy=policy,
            find=("unsafe", "stuck", "spurious", "broken"),
            pages=1 + number % 3,
            calls=1 + number % 2,
            strategy=strategy,
            preemptions=1,
            schedules=200,
            keep_going=True,
            seed=number,
            workers=workers,
            timeout="1h",
            shrink="1ms",
        )
        for found in result.findings:
            # How small it gets is a matter of time.
            told.append((found.kind, found.schedule, found.times))
            files.append(tmp_path / f"{len(files)}-{profile}-{policy}-{workers}.json")
            files[-1].write_text(found.text)
    return files[:count], told


@pytest.mark.slow
def test_any_file_replays_elsewhere_and_an_edited_one_tells_where(tmp_path: Path) -> None:
    files, told = _found(tmp_path, 200, 2)
    assert len(files) == 200
    # The same findings with another number of workers.
    assert _found(tmp_path, 0, 1)[1] == told
    # A JSON round trip, and another process.
    for file in files:
        file.write_text(json.dumps(json.loads(file.read_text()), sort_keys=True))
    program = (
        "import json, sys, gupstress\n"
        "for path in sys.argv[1:]:\n"
        "    print(json.dumps(json.loads(gupstress.replay(path).to_json())))\n"
    )
    command = [sys.executable, "-c", program, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for file, line in zip(files, done.stdout.splitlines(), strict=True):
        kept, replayed = json.loads(file.read_text()), json.loads(line)
        assert replayed["differs"] is None, file.name
        kept["outcome"] = {"broken": None, "conditions": [], **kept["outcome"]}
        for key in ("outcome", "counters", "steps"):
            assert replayed[key] == kept[key], f"{file.name}: {key}"
    draw = random.Random(1)
    for file in files:
        _edited(file, draw)


def _edited(file: Path, draw: random.Random) -> None:
    """Change one choice, which is told; change what it came to, which is told."""
    kept = json.loads(file.read_text())
    choices = [task for task, times in kept["choices"] for _ in range(times)]
    if choices:
        at = draw.randrange(len(choices))
        edited = [[task, 1] for task in choices]
        edited[at][0] = 99
        file.write_text(json.dumps({**kept, "choices": edited}))
        assert str(gupstress.replay(file).differs).startswith(f"at step {at + 1}: expected 99")
        file.write_text(json.dumps({**kept, "choices": edited[:at]}))
        assert str(gupstress.replay(file).differs).startswith(f"at step {at + 1}: expected the end")
    # A choice where there is none.
    file.write_text(json.dumps({**kept, "choices": [*kept["choices"], [0, 1]]}))
    assert str(gupstress.replay(file).differs).startswith(f"at step {len(choices) + 1}: expected 0")
    counter = next(name for name, count in kept["counters"].items() if count)
    counters = {**kept["counters"], counter: kept["counters"][counter] + 1}
    file.write_text(json.dumps({**kept, "counters": counters}))
    assert f"counters.{counter}: expected" in str(gupstress.replay(file).differs)
    for key, value in (
        ("kind", "broken"),
        ("steps", kept["steps"] + 1),
        ("yield_every", -1),
        ("seed", -1),
    ):
        file.write_text(json.dumps({**kept, key: value}))
        try:
            assert gupstress.replay(file).differs is not None, f"{file.name}: {key}"
        except gupstress.ConfigError:
            continue
