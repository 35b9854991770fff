"""What tests ask of a result, with failures that can be read."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import cast

from gupstress.outcome import thresholds
from gupstress.outcome.results import PolicyResult, Run, ThresholdResult
from gupstress.outcome.verdict import describe, label, missed
from gupstress.problems import Problems


class UnmetError(AssertionError):
    """A result is not as it was asserted to be."""

    def __init__(self, message: str, run: Run, thresholds: Sequence[ThresholdResult]) -> None:
        super().__init__(message)
        self.run = run
        self.thresholds = thresholds
        """What was asserted beyond the run's own verdicts, as thresholds that were checked."""


class Assertions:
    """The assertions that a `RunResult` has; each looks at all results, repeats too."""

    def assert_live(self) -> None:
        """Assert that every pin returned; a verdict that could not be reached is none.

        Raises:
            UnmetError: Naming who is stuck where, or why nobody knows.
        """
        __tracebackhide__ = True
        self._assert("live", _not_live)

    def assert_safe(self) -> None:
        """Assert that every success was true and that the machine's own books balance.

        Raises:
            UnmetError: Naming the pages that must not be pinned, or what does not balance.
        """
        __tracebackhide__ = True
        self._assert("safe", _not_safe)

    def assert_no_spurious(self) -> None:
        """Assert that no call failed without need.

        Raises:
            UnmetError: Naming calls and what stood in their way.
        """
        __tracebackhide__ = True
        self._assert("free of spurious failures", _spurious, "calls.failed_spurious==0")

    def assert_threshold(self, *exprs: str) -> None:
        """Assert conditions such as `"bounded:latency_ns.p99<2e6"`.

        Raises:
            ConfigError: One of them is none.
            UnmetError: Naming what was observed instead.
        """
        __tracebackhide__ = True
        run = cast("Run", self)
        found = _check(run, exprs)

        def wrong(result: PolicyResult) -> Iterator[str]:
            for one in found:
                if (one.policy, one.repeat) == (result.policy, result.repeat) and not one.passed:
                    yield missed(one)

        self._assert("within its thresholds", wrong, *exprs)

    def _assert(
        self, wanted: str, wrong: Callable[[PolicyResult], Iterable[str]], *exprs: str
    ) -> None:
        __tracebackhide__ = True
        run = cast("Run", self)
        found = {label(result, run): list(wrong(result)) for result in run.results}
        if any(found.values()) or not found:
            raise UnmetError(_message(wanted, found), run, _check(run, exprs))


def _check(run: Run, exprs: Iterable[str]) -> list[ThresholdResult]:
    problems = Problems()
    parsed = thresholds.parse(exprs, {result.policy for result in run.results}, problems)
    problems.refuse()
    return list(thresholds.check(parsed, run.results))


_SHOWN = 3
"""Lines on one result in a message; all findings are in the result."""


def _message(wanted: str, found: Mapping[str, Sequence[str]]) -> str:
    said = [f"not {wanted}:"]
    for name, lines in found.items():
        said += [f"{name}: {line}" for line in lines[:_SHOWN]]
        if len(lines) > _SHOWN:
            said.append(f"{name}: {len(lines) - _SHOWN} more like these")
    return "\n  ".join(said if found else [*said, "nothing was run"])


def _not_live(result: PolicyResult) -> Iterator[str]:
    liveness = result.liveness
    if liveness.verdict != "live":
        yield liveness.verdict
        yield from map(describe, liveness.findings)


def _not_safe(result: PolicyResult) -> Iterator[str]:
    if result.safety.verdict != "safe":
        yield f"{result.calls.pinned_unsafe} calls pinned what must stay movable"
        yield from map(describe, result.safety.findings)
    if result.invariants.verdict == "inconclusive":
        yield "the end of the run cut the recount of the machine off"
    elif result.invariants.verdict != "held":
        yield "the machine's own books do not balance, which is a bug in gupstress"
        yield from map(describe, result.invariants.findings)


def _spurious(result: PolicyResult) -> Iterator[str]:
    if result.calls.failed_spurious:
        yield f"{result.calls.failed_spurious} of {result.calls.issued} calls failed without need"
        needless = (one for one in result.failures if one.class_ == "failed_spurious")
        yield from map(describe, needless)
