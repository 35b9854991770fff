"""The columns of a run's tables: one row a policy, repeats as medians.

There are two groups, because all columns together do not fit 80 characters: what
the policy did, and what it cost.
"""

from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import NamedTuple

from gupstress.outcome.results import Errors, OfCaller, PolicyResult, Run
from gupstress.outcome.units import amount, duration, share
from gupstress.outcome.verdict import label, verdicts, worst
from gupstress.render.grid import HELD, Align, Grid

Repeats = Sequence[PolicyResult]
"""All results of one policy."""


class Column(NamedTuple):
    """A heading and what stands under it."""

    heading: str
    cell: Callable[[Repeats], str]
    align: Align = "right"
    width: int | None = None
    """Longer cells are wrapped."""


def _middle(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _median(
    read: Callable[[PolicyResult], float | None], show: Callable[[float | None], str]
) -> Callable[[Repeats], str]:
    return lambda repeats: show(_middle(map(read, repeats)))


def _of_calls(read: Callable[[PolicyResult], int]) -> Callable[[Repeats], str]:
    return lambda repeats: share(
        sum(map(read, repeats)), sum(result.calls.issued for result in repeats)
    )


def _worst(index: int) -> Callable[[Repeats], str]:
    return lambda repeats: worst(verdicts(result)[index] for result in repeats)


def _by_errno(errors: Iterable[Errors]) -> str:
    totals: dict[str, int] = {}
    for one in errors:
        for name, count in one.model_dump().items():
            totals[name] = totals.get(name, 0) + count
    return " ".join(f"{name}{HELD}{amount(count)}" for name, count in totals.items() if count)


def _errors(repeats: Repeats) -> str:
    said = _by_errno(result.errors for result in repeats)
    top = top_cause(repeats)
    parts = [said, f"by {CAUSES[top]}".replace(" ", HELD)] if top else [said]
    return " ".join(parts) or "-"


CAUSES = {
    "pinned": "pins",
    "in_batch": "batch",
    "isolated": "isolation",
    "locked": "lock",
    "writeback": "writeback",
    "short_refs": "refs",
    "zero_page": "zero page",
    "reserved": "reserved",
    "hwpoison": "poison",
    "never_on_lru": "no LRU",
    "held": "holder",
    "no_memory": "no memory",
    "bad_address": "address",
    "memlock": "memlock",
    "dma_entries": "DMA entries",
    "unknown": "unknown",
}
"""What failed calls are put down to, in as few letters as a cell has."""


def causes(repeats: Repeats) -> dict[str, int]:
    """Return failed calls by what made them fail, commonest first; none where nobody counted."""
    totals: dict[str, int] = {}
    for result in repeats:
        for name, count in result.causes.model_dump().items() if result.causes else ():
            totals[name] = totals.get(name, 0) + count
    return dict(sorted(((n, c) for n, c in totals.items() if c), key=lambda item: -item[1]))


def top_cause(repeats: Repeats) -> str | None:
    """Return what made most of the failed calls fail."""
    return next((name for name in causes(repeats) if name in CAUSES), None)


def _drains_per_call(result: PolicyResult) -> float | None:
    drains, calls = result.counters.drain_all, result.calls.issued
    return drains / calls if calls and drains is not None else None


def _contended(repeats: Repeats) -> str:
    contended = [result.pages.contended for result in repeats]
    known = [pages for pages in contended if pages is not None]
    if len(known) < len(contended):
        return amount(None)
    return share(sum(known), sum(result.pages.pinned for result in repeats))


def _sweeps(repeats: Repeats) -> str:
    mean = _middle(result.sweeps.mean for result in repeats)
    return f"{amount(mean)}/{amount(_middle(result.sweeps.max for result in repeats))}"


POLICY = Column("policy", lambda repeats: repeats[0].policy, "left")

DEEDS = (
    POLICY,
    Column("live", _worst(0), "left"),
    Column("safe", _worst(1), "left"),
    Column("check", _worst(2), "left"),
    Column("spurious", _of_calls(lambda result: result.calls.failed_spurious)),
    Column("justified", _of_calls(lambda result: result.calls.failed_justified)),
    Column("errors", _errors, "left", 12),
)
"""Does every pin return, is each success and each failure true?"""

COSTS = (
    POLICY,
    Column("pins/s", _median(lambda result: result.throughput.pages_per_s, amount)),
    Column("contended", _contended),
    Column("p50", _median(lambda result: result.latency_ns.p50, duration)),
    Column("p99", _median(lambda result: result.latency_ns.p99, duration)),
    Column("max", _median(lambda result: result.latency_ns.max, duration)),
    Column("sweeps", _sweeps),
    Column("drains", _median(_drains_per_call, amount)),
)
"""What does it cost?"""

LEGEND = (
    "spurious: calls that failed though waiting would have helped, of all.",
    "justified: calls that had to fail, of all. check: the machine's own books.",
    "errors: failed calls by errno, and by what most of them failed.",
    "p50, p99, max: latency of a call. sweeps: mean/max of a call.",
    "drains: lru_add_drain_all for each call. Repeats: medians.",
)


def grid(run: Run, columns: Sequence[Column]) -> Grid:
    """Return one row for each policy, in the order in which they were run."""
    policies = dict.fromkeys(result.policy for result in run.results)
    repeats = [[r for r in run.results if r.policy == policy] for policy in policies]
    return Grid(
        headings=[column.heading for column in columns],
        rows=[[column.cell(results) for column in columns] for results in repeats],
        aligns=[column.align for column in columns],
        widths=[column.width for column in columns],
    )


def _of_caller(repeats: Sequence[OfCaller]) -> Iterable[str]:
    issued = sum(caller.calls.issued for caller in repeats)
    yield amount(sum(caller.threads for caller in repeats) / len(repeats))
    yield share(sum(caller.calls.failed_spurious for caller in repeats), issued)
    yield share(sum(caller.calls.failed_justified for caller in repeats), issued)
    yield _by_errno(caller.errors for caller in repeats) or "-"
    for name in ("p50", "p99", "max"):
        yield duration(_middle(getattr(caller.latency_ns, name) for caller in repeats))


def caller_grid(run: Run) -> Grid | None:
    """Return one row for each kind of caller of each policy; None where all are of one kind."""
    kinds: dict[tuple[str, str], list[OfCaller]] = {}
    for result in run.results:
        for name, caller in result.callers.items():
            kinds.setdefault((result.policy, name), []).append(caller)
    if not kinds:
        return None
    headings = ["policy", "caller", "threads", "spurious", "justified", "errors"]
    left: Align = "left"
    right: Align = "right"
    return Grid(
        headings=[*headings, "p50", "p99", "max"],
        rows=[[*names, *_of_caller(repeats)] for names, repeats in kinds.items()],
        aligns=[left, left, right, right, right, left, right, right, right],
        widths=[*[None] * 5, 12, *[None] * 3],
        stubs=2,
    )


def threshold_grid(run: Run) -> Grid:
    """Return one row for each threshold at each result."""
    return Grid(
        headings=["threshold", "policy", "observed", "verdict"],
        rows=[
            [
                threshold.expr,
                label(threshold, run),
                amount(threshold.observed),
                "passed" if threshold.passed else "missed",
            ]
            for threshold in run.thresholds
        ],
        aligns=["left", "left", "right", "left"],
        widths=[None] * 4,
        stubs=2,
    )
