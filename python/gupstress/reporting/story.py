"""What happened to a page, told in sentences."""

from collections import Counter
from collections.abc import Iterator

from gupstress.outcome.findings import (
    Breakdown,
    BrokenInvariant,
    FailedCall,
    Obstacle,
    PageState,
    StuckCall,
    UnsafePin,
)
from gupstress.outcome.results import PolicyResult
from gupstress.outcome.verdict import obstacle_words

Finding = StuckCall | UnsafePin | BrokenInvariant | FailedCall

_ALONE = {
    "passes": "With all other threads paused it went on and ended: the others starve it.",
    "fails": "With all other threads paused it did not end either: nobody else is to blame.",
}


def tell(finding: Finding) -> str:
    """Return a finding as sentences: who, where, which page, what stood in the way."""
    match finding:
        case StuckCall():
            sentences = _stuck(finding)
        case UnsafePin():
            sentences = iter(
                [
                    f"Thread {finding.thread} was told that its pin succeeded, after"
                    f" {_sweeps(finding.sweeps)}.",
                    _place(finding.page),
                    "A page there must stay movable, so the success is wrong.",
                ]
            )
        case FailedCall():
            needless = finding.class_ == "failed_spurious"
            sentences = iter(
                [
                    f"Thread {finding.thread} got {finding.errno} in {finding.step}, after"
                    f" {_sweeps(finding.sweeps)}.",
                    _found(finding.found) or _place(finding.page),
                    _in_the_way(finding.obstacle, finding.permanent),
                    f"The failure is {'needless' if needless else 'justified'}.",
                ]
            )
        case BrokenInvariant():
            frame = "" if finding.frame is None else f" of frame {finding.frame}"
            sentences = iter(
                [
                    f"The invariant {finding.invariant}{frame} does not hold: {finding.found}.",
                    "That is a bug in gupstress and says nothing about the policy.",
                ]
            )
    return " ".join(sentences)


def _stuck(finding: StuckCall) -> Iterator[str]:
    yield (
        f"Thread {finding.thread} was in {finding.step} and had waited"
        f" {finding.waited_s:.3g} s, in {_sweeps(finding.sweeps)}."
    )
    yield _found(finding.found) or _place(finding.page)
    yield _in_the_way(finding.obstacle, finding.permanent)
    if finding.alone is not None:
        yield _ALONE.get(finding.alone, f"With all other threads paused it {finding.alone}.")
    if finding.waits_for is not None:
        yield f"It waits for {finding.waits_for}."


def _sweeps(count: int) -> str:
    return "1 sweep" if count == 1 else f"{count:,} sweeps"


def _found(found: Breakdown | None) -> str | None:
    """Say who had what of a page when it failed its test; the caller's own is left out."""
    if found is None:
        return None
    parts = [
        _count(found.pins, "pin of others", "pins of others"),
        *(f"the {kind} batch of CPU {cpu}" for cpu, kind in found.batches),
        _count(found.holders, "holder that stays", "holders that stay"),
        _count(found.passing, "short reference", "short references"),
        "an isolation" + _by(found.isolated_by) if found.isolated else "",
        "its lock" + _by(found.locked_by) if found.locked_by is not None else "",
        "its writeback" if found.writeback else "",
    ]
    said = ", ".join(filter(None, parts)) or "nothing that could be told"
    return (
        f"Its page, frame {found.frame}, then had a refcount of {found.refcount} where"
        f" {found.expected} was expected: {said}."
    )


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}" if number else ""


def _by(thread: int | None) -> str:
    return "" if thread is None else f" by thread {thread}"


def _place(page: PageState | None) -> str:
    """Say where a page was and what was known of it."""
    if page is None:
        return "It had no page in hand."
    places = [f"on the {page.list} list"] if page.list else []
    places += [f"in the {kind} batch of CPU {cpu}" for cpu, kind in page.batches]
    flags = ", ".join(page.flags) or "no flag"
    return (
        f"Its page, frame {page.frame} in zone {page.zone}, was"
        f" {' and '.join(places) or 'on no list and in no batch'}, with refcount {page.refcount},"
        f" mapcount {page.mapcount} and {flags} set."
    )


def _in_the_way(obstacle: Obstacle | None, permanent: bool) -> str:
    if obstacle is None:
        return "Nothing stood in the way of its migration at that moment."
    lasting = "permanent" if permanent else "transient"
    return f"A {lasting} obstacle stood in the way of its migration: {obstacle_words(obstacle)}."


def failures_by_reason(result: PolicyResult) -> Counter[tuple[str, str, str, str]]:
    """Count the failed calls that were recorded by class, errno, step and obstacle."""
    return Counter(
        (
            failure.class_,
            failure.errno,
            failure.step,
            failure.obstacle.kind if failure.obstacle else "none",
        )
        for failure in result.failures
    )
