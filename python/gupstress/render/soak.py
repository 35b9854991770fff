"""What `gupstress soak` found, for people."""

from collections.abc import Iterator

from gupstress.outcome.results import Run
from gupstress.outcome.soak import Held, SoakResult
from gupstress.outcome.units import amount
from gupstress.render.grid import Align, Grid, ruled


def line(number: int, section: str | None, run: Run, held: Held) -> str:
    """Return on one line what a cycle was and what came of it."""
    settings = run.settings
    load = settings.profile if section is None else f"job {section}"
    words = [f"{result.policy} {result.verdict}" for result in run.results]
    return (
        f"cycle {number}: {load}, {settings.kernel}, {settings.driver},"
        f" {settings.threads} threads, {settings.cpus} CPUs, seed {settings.seed}:"
        f" {', '.join(words)}; {held.resident_bytes >> 20} MiB"
    )


def plain(result: SoakResult) -> str:
    """Return the result as text."""
    blocks = [ruled(table(result))] if result.verdicts else []
    if result.finding is not None:
        blocks.append(f"{result.finding.words}\n  reproduce: {result.finding.command}")
    return "\n\n".join([*blocks, end_line(result)])


def table(result: SoakResult) -> Grid:
    """Return a table with a row for each policy, and how often its runs came to what."""
    verdicts = sorted({name for counts in result.verdicts.values() for name in counts})
    numbers: list[Align] = ["right" for _ in verdicts]
    return Grid(
        headings=["policy", *verdicts],
        rows=[
            [policy, *(amount(counts.get(name, 0)) for name in verdicts)]
            for policy, counts in sorted(result.verdicts.items())
        ],
        aligns=["left", *numbers],
        widths=[None] * (1 + len(verdicts)),
    )


def end_line(result: SoakResult) -> str:
    """Return on one line what came of it and how much it was."""
    outcome = {"complete": "SUCCESS", "finding": "FAILURE", "interrupted": "INTERRUPTED"}
    return f"gupstress: {outcome[result.status]}: {', '.join(_words(result))}"


def _words(result: SoakResult) -> Iterator[str]:
    found = result.finding
    yield "no finding" if found is None else f"{found.kind} in cycle {found.cycle}"
    yield f"{result.cycles} cycles of seed {result.settings.seed} in {result.elapsed_s:.0f} s"
    if result.refused:
        yield f"{result.refused} refused by the host"
    yield f"{amount(result.calls)} calls, {amount(result.pins)} page pins"
    names = {"profile": "profiles", "kernel": "kernels", "driver": "drivers", "job": "jobs"}
    yield (
        " ".join(
            f"{len(result.run_on[kind])} {many if len(result.run_on[kind]) != 1 else kind}"
            for kind, many in names.items()
            if kind in result.run_on
        )
        or "nothing was run"
    )
    if result.held is not None:
        first, last = (one.resident_bytes >> 20 for one in result.held)
        yield f"{first} MiB after its first cycle and {last} MiB after its last"
