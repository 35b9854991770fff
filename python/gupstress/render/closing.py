"""The last lines of a run; the very last says what was found, in one sentence."""

from collections.abc import Iterator, Sequence

from gupstress.outcome.results import PolicyResult, Run
from gupstress.outcome.units import amount, share
from gupstress.outcome.verdict import BAD, UNDECIDED, Outcome, outcome, verdicts, why_undecided

_NAMED = 3
"""Policies or thresholds that a sentence names."""

_WAITING = "(failed though waiting would have helped)"


def closing(run: Run, command: str) -> str:
    """Return the last lines: what was run, what runs it again, and what was found."""
    names = ("profile", "kernel", "driver", "threads", "cpus", "pins", "seed")
    scanned = {key: ",".join(words) for key, words in (run.settings.scan or {}).items()}
    told = {**{name: getattr(run.settings, name) for name in names}, **scanned}
    said = " ".join(f"{name}={value}" for name, value in told.items())
    return f"settings: {said}\nreproduce: {command}\n{end_line(run)}"


def end_line(run: Run) -> str:
    """Return the outcome of a run and what was found, on one line."""
    return f"gupstress: {outcome(run).value}: {_sentence(run)}"


def _sentence(run: Run) -> str:
    policies = _by_policy(run)
    found = [
        f"{name} {words}" for name, repeats in policies.items() if (words := _findings(repeats))
    ]
    found += _missed(run)
    match outcome(run):
        case Outcome.FAILURE:
            return _some(found, "; ")
        case Outcome.SUCCESS:
            return f"no finding; {_needless(policies)}"
        case Outcome.INCONCLUSIVE:
            undecided = (result for result in run.results if UNDECIDED in verdicts(result))
            reasons = {result.policy: why_undecided(result) for result in undecided}
            return _some([f"{name} undecided, {why}" for name, why in reasons.items()], "; ")
        case Outcome.INTERRUPTED:
            runs = "1 run" if len(run.results) == 1 else f"{len(run.results)} runs"
            return f"{runs} until then; {_some(found, '; ') if found else 'no finding'}"


def _by_policy(run: Run) -> dict[str, list[PolicyResult]]:
    policies: dict[str, list[PolicyResult]] = {}
    for result in run.results:
        policies.setdefault(result.policy, []).append(result)
    return policies


def _findings(repeats: Sequence[PolicyResult]) -> str:
    """Return what is wrong with a policy: each verdict, in how many repeats, with its count."""
    counts: dict[str, list[int]] = {}
    for result in repeats:
        numbers = (result.calls.stuck, result.calls.pinned_unsafe, result.invariants.broken)
        for verdict, number in zip(verdicts(result), numbers, strict=True):
            if verdict in BAD:
                counts.setdefault(verdict, []).append(number)
        if result.oom:
            verdict = "panicked" if result.oom.panicked else "oom-killed"
            counts.setdefault(verdict, []).append(result.oom.kills)
    return ", ".join(_finding(verdict, found, len(repeats)) for verdict, found in counts.items())


def _finding(verdict: str, found: Sequence[int], repeats: int) -> str:
    often = f" in {len(found)} of {repeats} repeats" if repeats > 1 else ""
    one, many = _COUNTED.get(verdict, ("call", "calls"))
    count = sum(found)
    return f"{verdict}{often} ({amount(count)} {one if count == 1 else many})" if count else (
        f"{verdict}{often}"
    )  # fmt: skip


_COUNTED = {
    "violated": ("unsafe pin", "unsafe pins"),
    "broken": ("invariant", "invariants"),
    "oom-killed": ("process", "processes"),
    "panicked": ("process killed before", "processes killed before"),
}
"""What is counted of verdicts that are not about calls that never ended."""


def _missed(run: Run) -> Iterator[str]:
    for threshold in run.thresholds:
        if not threshold.passed:
            yield f"{threshold.policy} {amount(threshold.observed)}, not {threshold.expr}"


def _needless(policies: dict[str, list[PolicyResult]]) -> str:
    shares = {name: share(*_failed(repeats)) for name, repeats in policies.items()}
    some = {name: part.replace("%", " %") for name, part in shares.items() if part != "0"}
    if not some:
        return "no needless failure"
    if len(policies) == 1:
        return f"{next(iter(some.values()))} needless failures {_WAITING}"
    return f"needless failures {_WAITING}: {_some([f'{n} {p}' for n, p in some.items()], ', ')}"


def _failed(repeats: Sequence[PolicyResult]) -> tuple[int, int]:
    failed = sum(result.calls.failed_spurious for result in repeats)
    return failed, sum(result.calls.issued for result in repeats)


def _some(words: Sequence[str], joint: str) -> str:
    more = len(words) - _NAMED
    return joint.join([*words[:_NAMED], *([f"{more} more"] if more > 0 else [])])
