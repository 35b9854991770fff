#!/usr/bin/env python3
"""Fills in what the pages can take from the package itself.

    docs/generate.py            writes the pages
    docs/generate.py --check    only says which pages are out of date, with what differs

A page names what it wants where it wants it:

    <!-- generated: kernels -->
    <!-- end -->

What stands between the two comments is replaced. `api NAME...` takes docstrings, the
other words of `_PARTS` take what `gupstress list` and `gupstress show` know.
"""

import argparse
import csv
import difflib
import functools
import json
import re
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from docstrings import api
from tables import code, table

import gupstress
from gupstress import _core
from gupstress.cli.exits import HELP
from gupstress.model import catalog
from gupstress.outcome import ratios, thresholds
from gupstress.outcome.beside import Beside
from gupstress.outcome.results import PolicyResult
from gupstress.render import beside as render
from gupstress.running import runner
from gupstress.running.request import Request
from gupstress.studies import beside as study

DOCS = Path(__file__).parent
PAGES = sorted(DOCS.glob("*.md"))

_MARKED = re.compile(
    r"(?P<begin><!-- generated: (?P<part>[^>]*?) -->\n).*?(?P<end><!-- end -->\n)", re.DOTALL
)


def filled(page: str) -> str:
    """Return a page with everything generated filled in anew."""

    def fill(found: re.Match[str]) -> str:
        word, *names = found["part"].split()
        if word not in _PARTS:
            raise SystemExit(f"no generated part {word!r}; there are {', '.join(_PARTS)}")
        return f"{found['begin']}\n{_PARTS[word](*names).strip()}\n\n{found['end']}"

    return _MARKED.sub(fill, page)


def presets(kind: str) -> dict[str, dict[str, Any]]:
    """Return every preset of a kind as the table that its TOML is, by name."""
    return {name: catalog.preset(kind, name) for name in _core.names(kind)}


_AXIS = re.compile(r"# (?P<doc>.*) \((?P<takes>.*)\)\n(?P<key>\w+) = (?P<value>.*)\n")


def axes(kind: str, name: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Yield the section and the explanation of each key, as `gupstress show` prints them."""
    for block in re.split(r"^(?=\[)", _core.show(kind, name), flags=re.MULTILINE):
        section = re.match(r"\[(\w+)\]\n", block)
        for axis in _AXIS.finditer(block):
            yield section[1] if section else "", axis


def takes(axis: re.Match[str]) -> str:
    """Return what values a key takes, in short."""
    words = axis["takes"].split(" | ")
    if len(words) > 1:
        return " ".join(map(code, words))
    short = words[0].replace('a length of time such as "50us" or "2s"', "a time")
    return short.replace("a whole number from", "from")


_WORDS = ("name", "summary", "source", "reference", "policy", "history")
"""Keys that say what a preset is, not what it does."""


def policies() -> str:
    """Return the table of the policies."""
    rows = presets("policy").values()
    return table(
        ("policy", "where from", "in one sentence"),
        ([code(row["name"]), row["source"], row["summary"]] for row in rows),
    )


def policy_axes() -> str:
    """Return the table of a policy's axes."""
    found = [axis for _, axis in axes("policy", "none") if axis["key"] not in _WORDS]
    return table(
        ("axis", "what it decides", "values"),
        ([code(axis["key"]), axis["doc"], takes(axis)] for axis in found),
    )


def kernels() -> str:
    """Return the table of the kernels."""
    rows = presets("kernel").values()
    return table(
        ("rule set", "in one sentence", "its own policy"),
        ([code(row["name"]), row["summary"], code(row["policy"])] for row in rows),
    )


def kernel_axes() -> str:
    """Return the table of what a rule set's keys take."""
    first, *_ = _core.names("kernel")
    found = [axis for _, axis in axes("kernel", first) if axis["key"] not in _WORDS]
    return table(
        ("rule", "what it says", "values"),
        ([code(axis["key"]), axis["doc"], takes(axis)] for axis in found),
    )


def kernel_rules() -> str:
    """Return the table of the rules that differ between kernels, and those that do not."""
    rows = presets("kernel")
    rules = [axis["key"] for _, axis in axes("kernel", next(iter(rows)))]
    values = {rule: [_shown(row[rule]) for row in rows.values()] for rule in rules}
    differ = {rule: all_ for rule, all_ in values.items() if rule not in _WORDS}
    alike = {rule: all_[0] for rule, all_ in differ.items() if len(set(all_)) == 1}
    head = ("rule", *(name.removeprefix("linux-") for name in rows))
    body = ([code(rule), *all_] for rule, all_ in differ.items() if rule not in alike)
    said = ", ".join(f"{code(rule)} = {value}" for rule, value in alike.items())
    return f"{table(head, body)}\n\nThe same in all: {said}."


def _shown(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def profiles() -> str:
    """Return the profiles, each with its sentence and where it comes from."""
    return table(
        ("profile", "in one sentence", "where it comes from", "matrix"),
        (
            [code(row["name"]), row["summary"], row["reference"], "yes" if row["history"] else ""]
            for row in presets("profile").values()
        ),
    )


def profile_sizes() -> str:
    """Return the table of how much there is of what in each profile."""
    return table(
        ("profile", "threads", "CPUs", "complete after", "pages a call", "actors"),
        (
            [
                code(row["name"]),
                str(row["threads"]),
                str(row["cpus"]),
                _goal(row),
                "{pages_min} to {pages_max}".format(**row["pinner"]),
                ", ".join(
                    f"{count} {code(name)}"
                    for name, part in row.items()
                    if isinstance(part, dict)
                    and (count := part.get("threads", part.get("count")))
                    and name != "ranges"
                ),
            ]
            for row in presets("profile").values()
        ),
    )


def _goal(profile: Mapping[str, Any]) -> str:
    pins = f"{profile['pins']:,} pins"
    calls = "1 call" if profile["calls"] == 1 else f"{profile['calls']:,} calls"
    if not profile["calls"]:
        return pins
    # The largest call: where the calls end a run, the pins are out of reach.
    most = profile["calls"] * profile["pinner"]["pages_max"]
    return calls if most < profile["pins"] else f"{pins} or {calls}"


def blank_profile() -> Mapping[str, Any]:
    """Return the profile that a file with nothing but a name is."""
    with tempfile.TemporaryDirectory() as folder:
        blank = Path(folder, "blank.toml")
        blank.write_text('name = "blank"\n')
        return runner.prepare(Request(profile=str(blank))).plan.profile


def steps() -> str:
    """Return the names of the steps, by what they are part of."""
    groups: dict[str, list[str]] = {}
    for step in blank_profile()["costs"]:
        if step in ("base", "wakeup", "switch"):
            # Of the set and the scheduler, not of a step.
            continue
        groups.setdefault(step.partition(":")[0], []).append(code(step))
    return table(("part of", "steps"), ([name, " ".join(all_)] for name, all_ in groups.items()))


def profile_knobs(section: str = "") -> str:
    """Return the table of the keys in one section of a profile; none: those above all sections."""
    found = blank_profile()
    defaults = found[section] if section else found
    return table(
        ("key", "what it says", "values", "if not given"),
        (
            [code(axis["key"]), axis["doc"], takes(axis), _default(axis, defaults[axis["key"]])]
            for place, axis in axes("profile", "contended")
            if place == section and axis["key"] not in _WORDS
        ),
    )


def _default(axis: re.Match[str], value: object) -> str:
    if "a length of time" not in axis["takes"]:
        return code(str(value).lower())
    return code("none" if not value else f"{int(str(value)) / 1e6:g}ms")


def litmus() -> str:
    """Return the table of the scenarios that do one thing after the other."""
    return table(
        ("scenario", "steps"),
        (
            [code(name), "; ".join(row["steps"])]
            for name, row in presets("litmus").items()
            if "threads" not in row
        ),
    )


def races() -> str:
    """Return the table of the scenarios with threads."""
    rows = {name: row for name, row in presets("litmus").items() if "threads" in row}
    return table(
        ("scenario", "what happens", "threads"),
        (
            [
                code(name),
                row["summary"],
                " ∥ ".join("; ".join(thread["steps"]) for thread in row["threads"].values()),
            ]
            for name, row in rows.items()
        ),
    )


_EVERY = ("unsafe", "stuck", "spurious", "broken")


def searches() -> str:
    """Return what searches of the smallest machine find, and after how many schedules."""
    return table(("search", "what it came to"), [*_firsts(), *_wholes()])


def _search(policy: str, find: Any, seed: int = 1, **search: Any) -> Any:
    return gupstress.explore(
        policy=policy, find=find, seed=seed, timeout="1h", shrink="1ms", **search
    )


def _firsts() -> Iterator[list[str]]:
    """Yield after how many schedules an unsafe pin is found, of 20 seeds."""
    strategies: dict[str, dict[str, Any]] = {"random": {}, "pct": {"depth": 3}}
    for strategy, more in strategies.items():
        first = []
        for seed in range(1, 21):
            result = _search(
                "kernel", ["unsafe"], seed, kernel="linux-6.14", strategy=strategy, **more
            )
            first.append(result.findings[0].schedule + 1)
        depth = f" of depth {more['depth']}" if more else ""
        median, worst = statistics.median_low(first), max(first)
        yield [
            f"`linux-6.14`, unsafe, `{strategy}`{depth}",
            f"first after {median} (median), {worst} (worst of 20 seeds)",
        ]


def _wholes() -> Iterator[list[str]]:
    """Yield what every schedule of few preemptions came to."""
    for policy, preemptions in (("linux-7.2", 2), ("cooperative", 3), ("backoff", 3)):
        bounds: dict[str, Any] = {"strategy": "bounded", "preemptions": preemptions}
        needless = _search(policy, ["spurious"], **{**bounds, "preemptions": 0}).findings
        find = [kind for kind in _EVERY if kind != "spurious" or not needless]
        result = _search(policy, find, **bounds)
        found = ", ".join(sorted({finding.kind for finding in result.findings}))
        none = "none unsafe, none stuck" if needless else "no finding of any kind"
        yield [
            f"`{policy}`, `bounded`, {preemptions} preemptions",
            ("complete" if result.coverage.complete else "not complete")
            + f", {result.schedules:,} schedules: {found or none}"
            + ("; needless failures from 0 preemptions on" if needless else ""),
        ]


def story(profile: str, policy: str, kind: str) -> str:
    """Return the story of the first finding of a bounded search, as small as it gets."""
    result = gupstress.explore(
        profile,
        policy=policy,
        find=kind,
        strategy="bounded",
        seed=1,
        timeout="1h",
        shrink="1h",
    )
    (found,) = result.findings
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "found.json")
        file.write_text(found.text, encoding="utf-8")
        told = gupstress.replay(file).story
    return f"```text\n{told.strip()}\n```"


def words() -> str:
    """Return the words of scripts."""
    rows = json.loads(_core.words())
    return table(
        ("step", "what it does"),
        ([code(f"{row['word']} {row['usage']}".rstrip()), row["does"]] for row in rows),
    )


def contention() -> str:
    """Return what threads that pin one range do to each other, on the model and as measured."""
    rows = sorted([*_counted_elsewhere(), *_counted_live()], key=lambda row: row[:3])
    names = [name.rstrip(":") for name in _SHARES.values()]
    return table(
        ("kernel", "pages", "threads", *names, *(f"real: {name}" for name in names)),
        ([kernel, str(pages), str(threads), *cells] for kernel, pages, threads, cells in rows),
    )


_SHARES = {
    "share.ENOMEM": "ENOMEM:",
    "acquired a page": "acquired:",
    "migrated a page": "migrated:",
    "migrate_failed a page": "failed:",
}
"""Quantities that say how much threads are in each other's way, and what they are called."""

_ROUNDS = {4: 100, 64: 25}
"""Simulated, by the pages of a call."""

_Contended = tuple[str, int, int, list[str]]
"""Kernel, pages of a call, threads; the shares of the model, then those of the kernel."""


def _counted_live() -> Iterator[_Contended]:
    """Yield what `run --on live` counted, beside the model's: `compare --model`."""
    for found, rounds in _lives():
        numbers = {one.name: one for one in found.quantities}
        kernel, model = zip(*(render.cells(numbers[name]) for name in _SHARES), strict=True)
        yield found.model.kernel, rounds, found.threads, [*model, *kernel]


def _counted_elsewhere() -> Iterator[_Contended]:
    """Yield what kernels counted before there was `run --on live`."""
    with (DOCS / "contention.csv").open(encoding="utf-8", newline="") as file:
        measured = list(csv.DictReader(file))
    known = {(row["kernel"], int(row["pages"]), int(row["threads"])): row for row in measured}
    for kernel in dict.fromkeys(row["kernel"] for row in measured):
        for pages in _ROUNDS:
            for threads in (1, 2, 4, 8):
                model = study.quantities((), None, _simulated(kernel, pages, threads), None)
                counts = _measured(known.get((kernel, pages, threads)))
                numbers = {one.name: one for one in model}
                both = (
                    numbers[name].model_copy(update={"kernel": count})
                    for name, count in zip(_SHARES, counts, strict=True)
                )
                real, modelled = zip(*map(render.cells, both), strict=True)
                yield kernel, pages, threads, [*modelled, *real]


def _simulated(kernel: str, pages: int, threads: int) -> Sequence[PolicyResult]:
    calls = threads * _ROUNDS[pages]
    sizes = {"pinner.pages_min": pages, "pinner.pages_max": pages, "ranges.pages": pages}
    return gupstress.run(
        "same-range",
        policy="kernel",
        kernel=kernel,
        driver="sim",
        threads=threads,
        cpus=4,
        seed=1,
        pins=10**9,
        sets={**sizes, "calls": calls},
    ).results


def _measured(row: Mapping[str, str] | None) -> list[float | None]:
    if row is None:
        return [None] * len(_SHARES)
    each = ("acquired_per_page_per_thread", "migrated_per_page", "migrate_failed_per_page")
    return [int(row["enomem"]) / int(row["calls"]), *(float(row[share]) for share in each)]


def beside() -> str:
    """Return loads of real kernels beside the model's, from what `run --on live` wrote."""
    rows = []
    for found, _ in _lives():
        numbers = {one.name: one for one in found.quantities}
        pairs = [cell for name in _BESIDE for cell in render.cells(numbers[name])]
        head = [found.model.kernel.removeprefix("linux-"), found.profile, str(found.threads)]
        rows.append((found.model.kernel, found.threads, [*head, str(found.kernel.calls), *pairs]))
    sides = [f"{name} {side}" for name in _BESIDE.values() for side in ("kernel", "model")]
    return table(
        ("kernel", "profile", "threads", "calls", *sides), (row for *_, row in sorted(rows))
    )


@functools.cache
def _lives() -> tuple[tuple[Beside, int], ...]:
    """Return each load of a real kernel, beside the model's, and the pages of a call."""
    found = []
    for file in sorted(DOCS.glob("live-*.json")):
        live = study.read(str(file))
        rounds = live.results[0].contention
        pages = 0 if rounds is None else rounds.pages
        found.append((study.beside(live, study.request(live, file.name), file.name), pages))
    return tuple(found)


_BESIDE = {
    **_SHARES,
    "latency.p50": "median call:",
    "latency.p99": "p99:",
}
"""Quantities that are shown of each load, and what they are called."""


def thousand_cpus(profile: str) -> str:
    """Return what each policy did on each number of CPUs, from what `thousand_cpus.py` kept."""
    with (DOCS / "thousand-cpus.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["profile"] == profile]
    return table(
        ("policy", "CPUs", "pages/s", "needless", "drains a call", "a drain, µs", "p99, ms"),
        (
            _of_thousand(row)
            for policy in dict.fromkeys(row["policy"] for row in rows)
            for row in rows
            if row["policy"] == policy
        ),
    )


def _of_thousand(row: Mapping[str, str]) -> list[str]:
    calls, drains = int(row["calls"]), int(row["drain_all"])
    drain = f"{int(row['drain_all_ns']) / drains / 1e3:,.0f}" if drains else ""
    return [
        code(row["policy"]),
        f"{int(row['cpus']):,}",
        f"{int(row['pages_per_s']):,}",
        f"{int(row['needless']) / calls:.1%}",
        f"{drains / calls:.3f}",
        drain,
        f"{int(row['p99']) / 1e6:,.2f}",
    ]


def exits() -> str:
    """Return the table of exit codes."""
    return table(("code", "meaning"), re.findall(r"^ *(\d+)  (.+)$", HELP, re.MULTILINE))


def metrics() -> str:
    """Return the metrics of thresholds, by what they are part of."""
    groups: dict[str, list[str]] = {}
    for path in thresholds.metrics():
        if path in ratios.RATIOS:
            continue
        group, _, _ = path.rpartition(".")
        groups.setdefault(group, []).append(code(path))
    numbers = table(
        ("part of a result", "metrics"),
        ([code(group) or "the result itself", " ".join(all_)] for group, all_ in groups.items()),
    )
    quotients = table(
        ("quotient", "of"),
        ([code(name), f"{code(part)} / {code(of)}"] for name, (part, of) in ratios.RATIOS.items()),
    )
    return f"{numbers}\n\n{quotients}"


_PARTS: dict[str, Callable[..., str]] = {
    "policies": policies,
    "policy-axes": policy_axes,
    "kernels": kernels,
    "kernel-axes": kernel_axes,
    "kernel-rules": kernel_rules,
    "profiles": profiles,
    "profile-sizes": profile_sizes,
    "profile-knobs": profile_knobs,
    "litmus": litmus,
    "races": races,
    "searches": searches,
    "story": story,
    "words": words,
    "steps": steps,
    "contention": contention,
    "beside": beside,
    "thousand-cpus": thousand_cpus,
    "exits": exits,
    "metrics": metrics,
    "api": api,
}


def undocumented(pages: Mapping[Path, str]) -> list[str]:
    """Return the public names that no page asks for."""
    asked = {
        name
        for text in pages.values()
        for found in _MARKED.finditer(text)
        for name in found["part"].split()[1:]
    }
    return [name for name in gupstress.__all__ if name not in asked and name != "__version__"]


def main() -> int:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, say what differs")
    only_check = parser.parse_args().check
    before = {path: path.read_text(encoding="utf-8") for path in PAGES}
    after = {path: filled(text) for path, text in before.items()}
    for path, text in after.items():
        if text == before[path]:
            continue
        if only_check:
            old, new = (one.splitlines(keepends=True) for one in (before[path], text))
            sys.stdout.writelines(difflib.unified_diff(old, new, path.name, "generated", n=1))
        else:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"{path.name}\n")
    missing = undocumented(before)
    if missing:
        sys.stdout.write(f"on no page: {', '.join(missing)}\n")
    return 1 if missing or (only_check and after != before) else 0


if __name__ == "__main__":
    sys.exit(main())
