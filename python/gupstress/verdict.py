"""What a result means: its findings in words, and the outcome as a whole."""

from collections.abc import Iterator
from enum import Enum

from pydantic import JsonValue

from gupstress.results import Liveness, PolicyResult, RunResult, StuckCall, ThresholdResult


class Outcome(Enum):
    """How a run as a whole is judged."""

    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    """There is at least one finding."""
    INCONCLUSIVE = "INCONCLUSIVE"
    """No finding, but a verdict that could not be reached."""
    INTERRUPTED = "INTERRUPTED"


GOOD = frozenset({"live", "safe", "held"})
"""The verdicts that are no finding."""

UNDECIDED = "inconclusive"


def verdicts(result: PolicyResult) -> tuple[str, str, str]:
    """Return the three verdicts of a result: liveness, safety, invariants."""
    return result.liveness.verdict, result.safety.verdict, result.invariants.verdict


def outcome(run: RunResult) -> Outcome:
    """Judge a run as a whole."""
    if run.status == "interrupted":
        return Outcome.INTERRUPTED
    if any(True for _ in findings(run)):
        return Outcome.FAILURE
    if any(UNDECIDED in verdicts(result) for result in run.results):
        return Outcome.INCONCLUSIVE
    return Outcome.SUCCESS


def findings(run: RunResult) -> Iterator[str]:
    """Yield everything that makes a run a failure, one line each."""
    for result in run.results:
        for line in result_findings(result):
            yield f"{label(result, run)}: {line}"
    for threshold in run.thresholds:
        if not threshold.passed:
            yield f"{threshold.policy}: {missed(threshold)}"


def label(result: PolicyResult | ThresholdResult, run: RunResult) -> str:
    """Return the name of a result among those of its run."""
    repeats = run.settings.repeat
    return result.policy if repeats == 1 else f"{result.policy} {result.repeat}/{repeats}"


def result_findings(result: PolicyResult) -> Iterator[str]:
    """Yield what is wrong with one result, one line each, thresholds aside."""
    for part in (result.liveness, result.safety, result.invariants):
        if part.verdict in GOOD or part.verdict == UNDECIDED:
            continue
        # A verdict stands even where no single case of it was recorded.
        if not part.findings:
            yield part.verdict
        for finding in part.findings:
            yield f"{part.verdict}: {describe(finding)}"


def describe(finding: StuckCall | JsonValue) -> str:
    """Return a finding in words, on one line."""
    if isinstance(finding, StuckCall):
        lasting = "permanent" if finding.permanent else "transient"
        return (
            f"thread {finding.thread} in {finding.step} on page {finding.page}:"
            f" {finding.obstacle} ({lasting}), {finding.sweeps} sweeps,"
            f" {finding.waited_s:.1f} s without progress, alone: {finding.alone}"
        )
    if isinstance(finding, dict):
        return ", ".join(f"{key} {value}" for key, value in finding.items())
    return str(finding)


def missed(threshold: ThresholdResult) -> str:
    """Return in words how a threshold was missed."""
    observed = "nothing" if threshold.observed is None else f"{threshold.observed:g}"
    return f"threshold {threshold.expr} missed: observed {observed}"


def remarks(run: RunResult) -> Iterator[str]:
    """Yield what a reader must know to take the numbers for what they are, one line each."""
    for result in run.results:
        name = label(result, run)
        if result.status == "timeout":
            yield (
                f"{name}: the timeout of {run.settings.timeout_s:g} s ended the run"
                f" after {result.pages.pinned} of {run.settings.pins} page pins"
            )
        if result.status == "interrupted":
            yield f"{name}: interrupted after {result.pages.pinned} of {run.settings.pins} page pins"
        if UNDECIDED in verdicts(result):
            yield f"{name}: inconclusive, {_why_undecided(result.liveness)}"
    if run.gupstress.build_profile != "release":
        yield (
            f"this is a {run.gupstress.build_profile} build:"
            " its verdicts hold, its times and rates say nothing"
        )


def _why_undecided(liveness: Liveness) -> str:
    return "; ".join(map(describe, liveness.findings)) or "the host left too little CPU time to judge"
