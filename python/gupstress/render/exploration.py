"""Explorations as text: what was searched, how well, and what was found."""

import textwrap
from collections.abc import Sequence

from gupstress.outcome.exploration import Coverage, ExploreResult

WIDTH = 80


def plain(result: ExploreResult, replays: Sequence[str]) -> str:
    """Return a search as text; `replays` are the commands that replay its findings."""
    rate = "" if result.schedules_per_s is None else f", {result.schedules_per_s:,.0f} a second"
    head, counts, *more = remarks(result)
    lines = [head, "", f"{counts}{rate}"]
    for line in more:
        lines += textwrap.wrap(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    for found, command in zip(result.findings, replays, strict=True):
        again = "" if found.times == 1 else f", {found.times:,} times"
        size = f"{found.preemptions} preemption{'' if found.preemptions == 1 else 's'}"
        local = "" if found.shrunk is None or found.shrunk.minimal else ", could be smaller"
        lines += ["", f"{found.kind}: schedule {found.schedule:,}{again}; {size}{local}"]
        lines += textwrap.wrap(found.sentence, WIDTH, initial_indent="  ", subsequent_indent="  ")
        lines.append(f"  {command}")
    return "\n".join([*lines, "", closing(result)])


def remarks(result: ExploreResult) -> list[str]:
    """Return what was searched, how much of it, and what that covers."""
    lines = [
        f"explore {result.profile}: policy {result.policy} on {result.kernel},"
        f" {_strategy(result)}, seed {result.seed}",
        f"{result.schedules:,} schedules, {result.steps:,} steps,"
        f" {result.states:,} distinct end states",
        f"coverage: {_coverage(result.coverage)}",
    ]
    if result.cut:
        lines.append(f"cut after too many steps, judged neither way: {result.cut:,} schedules")
    if never := result.coverage.never_reached:
        lines.append(f"steps never reached: {', '.join(never)}")
    return lines


def markdown(result: ExploreResult, replays: Sequence[str]) -> str:
    """Return a search as Markdown."""
    lines = [
        "| finding | schedule | times | preemptions | replay |",
        "|---|---:|---:|---:|---|",
    ]
    lines += [
        f"| {found.kind} | {found.schedule} | {found.times} | {found.preemptions} | `{command}` |"
        for found, command in zip(result.findings, replays, strict=True)
    ]
    table = lines if result.findings else ["No finding."]
    return "\n".join([*table, "", f"{closing(result)}; coverage: {_coverage(result.coverage)}."])


def closing(result: ExploreResult) -> str:
    """Return the last line: what was found."""
    if result.findings:
        kinds = [found.kind for found in result.findings]
        counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
        return f"FAILURE: {result.policy}: {counts}"
    if result.status == "interrupted":
        return f"INTERRUPTED: no finding in {result.schedules:,} schedules"
    return f"SUCCESS: no finding in {result.schedules:,} schedules"


def _strategy(result: ExploreResult) -> str:
    search = result.search
    often = result.yield_every
    yields = "" if often == 1 else f", a yield every {often} sweeps"
    match search["strategy"]:
        case "pct":
            return f"pct of depth {search['depth']}{yields}"
        case "bounded":
            return f"bounded by {search['preemptions']} preemptions{yields}"
    return "random"


def _coverage(coverage: Coverage) -> str:
    if coverage.parts is not None:
        done, parts = coverage.parts
        return "complete" if coverage.complete else f"not complete: {done} of {parts} parts"
    if coverage.missed is not None:
        return (
            f"a finding of this depth within {coverage.length} choices was missed with a chance of"
            f" at most {coverage.missed:.3g}"
        )
    return f"random; an undisturbed schedule has {coverage.length} choices"
