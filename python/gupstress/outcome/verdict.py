"""What a result means: its findings in words, and the outcome as a whole."""

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import NamedTuple

from gupstress.outcome.findings import (
    BrokenInvariant,
    FailedCall,
    Obstacle,
    PageState,
    StuckCall,
    UnsafePin,
)
from gupstress.outcome.results import Oom, PolicyResult, Run, ThresholdResult
from gupstress.outcome.units import duration


class Outcome(Enum):
    """How a run as a whole is judged."""

    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    """There is a finding, or a threshold was missed."""
    INCONCLUSIVE = "INCONCLUSIVE"
    """No failure, but a verdict that could not be reached."""
    INTERRUPTED = "INTERRUPTED"


GOOD = frozenset({"live", "safe", "held"})
UNDECIDED = "inconclusive"
BAD = frozenset({"starved", "livelocked", "deadlocked", "violated", "broken"})
"""The verdicts that are findings."""


def verdicts(result: PolicyResult) -> tuple[str, str, str]:
    """Return the three verdicts of a result: liveness, safety, invariants."""
    return result.liveness.verdict, result.safety.verdict, result.invariants.verdict


def worst(found: Iterable[str]) -> str:
    """Return the worst of some verdicts: a finding before undecided before good."""
    return max(found, key=lambda verdict: (verdict in BAD, verdict == UNDECIDED))


def outcome(run: Run) -> Outcome:
    """Judge a run as a whole."""
    if run.status == "interrupted":
        return Outcome.INTERRUPTED
    if any(not threshold.passed for threshold in run.thresholds):
        return Outcome.FAILURE
    if any(result.oom or not BAD.isdisjoint(verdicts(result)) for result in run.results):
        return Outcome.FAILURE
    if any(UNDECIDED in verdicts(result) for result in run.results):
        return Outcome.INCONCLUSIVE
    return Outcome.SUCCESS


class Said(NamedTuple):
    """Something to say of a run, on one line."""

    policy: str
    """Whom it is about; empty: all."""
    line: str


def findings(run: Run) -> Iterator[Said]:
    """Yield what was found, one line each; thresholds have their own table."""
    for result in run.results:
        for line in result_findings(result):
            yield Said(result.policy, f"{label(result, run)}: {line}")


def first(said: Iterable[Said], of_each: int) -> Iterator[str]:
    """Yield the first lines about each policy, and how many more there are."""
    about: dict[str, list[str]] = {}
    for one in said:
        about.setdefault(one.policy, []).append(one.line)
    for policy, lines in about.items():
        yield from lines[:of_each]
        if len(lines) > of_each:
            yield f"{policy}: {len(lines) - of_each} more, which --json has"


def label(result: PolicyResult | ThresholdResult, run: Run) -> str:
    """Return the name of a result among those of its run."""
    repeats = run.settings.repeat
    return result.policy if repeats == 1 else f"{result.policy} {result.repeat}/{repeats}"


def result_findings(result: PolicyResult) -> Iterator[str]:
    """Yield what is wrong with one result, one line each, thresholds aside."""
    for part in (result.liveness, result.safety, result.invariants):
        if part.verdict not in BAD:
            continue
        leaked = result.safety.leaked if part is result.safety else 0
        if leaked:
            yield f"leaked: {leaked} page pins that nobody gives back"
        # A verdict stands even where no single case of it was recorded.
        if not part.findings and not leaked:
            yield part.verdict
        for finding in part.findings:
            yield f"{part.verdict}: {describe(finding)}"
    if result.oom:
        yield from _killed(result.oom)


def _killed(oom: Oom) -> Iterator[str]:
    if oom.panicked:
        yield f"panicked: no memory, and nobody left to kill after {oom.kills}"
    for victim in oom.findings:
        use = f"{victim.useful} of use" if victim.useful else "none of use: in vain"
        yield (
            f"oom-killed: {victim.process}, which had {victim.pages} pages, {use},"
            f" with {victim.free_movable} free in Movable"
        )


def describe(finding: StuckCall | UnsafePin | BrokenInvariant | FailedCall) -> str:
    """Return a finding in words, on one line."""
    match finding:
        case StuckCall():
            alone = f", alone it {finding.alone}" if finding.alone else ""
            waits = f", waits for {finding.waits_for}" if finding.waits_for else ""
            return (
                f"thread {finding.thread} in {finding.step} on {_page(finding.page)}:"
                f" {_in_the_way(finding)}, {finding.sweeps} sweeps,"
                f" {duration(1e9 * finding.waited_s)} without an end{alone}{waits}"
            )
        case UnsafePin():
            return (
                f"thread {finding.thread} pinned {_page(finding.page)}, which must stay movable,"
                f" after {finding.sweeps} sweeps"
            )
        case BrokenInvariant():
            frame = "" if finding.frame is None else f" (frame {finding.frame})"
            return f"{finding.invariant}{frame}: {finding.found}"
        case FailedCall():
            return (
                f"thread {finding.thread} got {finding.errno} in {finding.step}"
                f" on {_page(finding.page)}: {_in_the_way(finding)}, {finding.sweeps} sweeps"
            )


def _page(page: PageState | None) -> str:
    if page is None:
        return "no page"
    flags = " ".join(page.flags) or "no flags"
    return f"frame {page.frame} ({page.zone}, refcount {page.refcount}, {flags})"


def _in_the_way(finding: StuckCall | FailedCall) -> str:
    lasting = "permanent" if finding.permanent else "transient"
    return f"{obstacle_words(finding.obstacle)} ({lasting})"


def obstacle_words(obstacle: Obstacle | None) -> str:
    """Return in words what stands in the way of a page's migration."""
    if obstacle is None:
        return "no obstacle"
    more = ", ".join(f"{key} {value}" for key, value in (obstacle.model_extra or {}).items())
    return f"{obstacle.kind}, {more}" if more else obstacle.kind


def missed(threshold: ThresholdResult) -> str:
    """Return in words how a threshold was missed."""
    observed = "nothing" if threshold.observed is None else f"{threshold.observed:g}"
    return f"threshold {threshold.expr} missed: observed {observed}"


def held_up(result: PolicyResult) -> Iterator[str]:
    """Yield in words which of those who want memory back a pin has held up, or what never ends."""
    victims = result.victims
    for kind, all_ in victims.kinds.items() if victims else ():
        found = [one for one in victims.findings if one.victim == kind] if victims else []
        pinned = next((one for one in found if one.pinner is not None), None)
        stays = next((one for one in reversed(found) if one.obstacle is not None), None)
        if pinned is not None:
            yield (
                f"{kind}: {all_.held_up_by_pin} of {all_.attempts} attempts held up by unsafe pins,"
                f" the first by pinner {pinned.pinner} (frame {pinned.frame})"
            )
        if all_.stuck and stays is not None:
            yield f"{kind}: never ends at frame {stays.frame}: {obstacle_words(stays.obstacle)}"


def remarks(run: Run) -> Iterator[Said]:
    """Yield what a reader must know to take the numbers for what they are, one line each."""
    for result in run.results:
        name = label(result, run)
        if result.status == "timeout":
            yield Said(
                result.policy,
                f"{name}: {_which_timeout(result, run)} ended the run"
                f" after {result.pages.pinned} of {run.settings.pins} page pins",
            )
        if result.status == "aborted":
            yield Said(
                result.policy,
                f"{name}: ended by --abort-on after {result.pages.pinned}"
                f" of {run.settings.pins} page pins",
            )
        if result.status == "killed":
            yield Said(
                result.policy,
                f"{name}: the OOM killer ended the pinners after {result.pages.pinned}"
                f" of {run.settings.pins} page pins",
            )
        if result.status == "interrupted":
            yield Said(
                result.policy,
                f"{name}: interrupted after {result.pages.pinned} of {run.settings.pins} page pins",
            )
        if UNDECIDED in verdicts(result):
            yield Said(result.policy, f"{name}: inconclusive, {why_undecided(result)}")
        yield from (Said(result.policy, f"{name}: {said}") for said in held_up(result))
    unstable = {
        result.policy: result.stability.reasons
        for result in run.results
        if result.stability is not None and not result.stability.stable
    }
    for policy, reasons in unstable.items():
        yield Said(policy, f"{policy}: times and rates may be unstable: {'; '.join(reasons)}")
    if run.gupstress.build_profile != "release":
        yield Said(
            "",
            f"this is a {run.gupstress.build_profile} build:"
            " its verdicts hold, its times and rates say nothing",
        )


def _which_timeout(result: PolicyResult, run: Run) -> str:
    if result.wall_timeout and run.settings.wall_timeout_s is not None:
        return f"the wall timeout of {run.settings.wall_timeout_s:g} s"
    return f"the timeout of {run.settings.timeout_s:g} s"


def why_undecided(result: PolicyResult) -> str:
    """Return in words why a verdict of a result could not be reached."""
    if result.liveness.verdict != UNDECIDED:
        return "the end of the run cut the recount of the machine off"
    if result.liveness.findings:
        return "; ".join(map(describe, result.liveness.findings))
    return "the host left too little CPU time" if result.calls.issued else "no call ended in time"
