"""What ends a soak: what no run may come to, whatever it was asked for."""

import time
from collections.abc import Mapping
from typing import Literal, NamedTuple

import psutil

from gupstress.outcome.results import Run
from gupstress.outcome.soak import Held
from gupstress.outcome.verdict import missed, result_findings

_RETRIES = ("isolate_retries", "migrate_retries")
_ENDLESS = "unlimited"


class Wrong(NamedTuple):
    """What ends a soak."""

    kind: Literal["broken", "stuck", "leak", "threshold", "panic"]
    words: str


_PATIENCE_S = 60.0
"""How long a thread that has been joined, or a file that was closed, may take to be gone."""

_LOOK_S = 0.01


def must_end(policy: Mapping[str, object]) -> bool:
    """Whether every call under a policy ends by its own axes: a deadline, or counted retries."""
    counted = all(policy[name] != _ENDLESS for name in _RETRIES)
    return counted or bool(policy["deadline"])


def wrong(run: Run) -> Wrong | None:
    """Return what is wrong with a run, None if it may be as it is."""
    for result in run.results:
        words = next(result_findings(result), "")
        if result.invariants.verdict == "broken":
            return Wrong("broken", words)
        if result.calls.stuck and must_end(result.resolved["policy"]):
            return Wrong("stuck", words)
    return next((Wrong("threshold", missed(one)) for one in run.thresholds if not one.passed), None)


def held() -> Held:
    """Return what this process has of the host now."""
    process = psutil.Process()
    return Held(
        threads=process.num_threads(),
        descriptors=process.num_fds(),
        resident_bytes=process.memory_info().rss,
    )


def leaked(before: Held) -> Wrong | None:
    """Return what a run has left behind in this process, None if all that it took is gone."""
    end = time.monotonic() + _PATIENCE_S
    while True:
        now = held()
        left = {
            "threads": now.threads - before.threads,
            "open files": now.descriptors - before.descriptors,
        }
        more = [f"{number} {what}" for what, number in left.items() if number > 0]
        if not more:
            return None
        if time.monotonic() > end:
            return Wrong("leak", f"left behind: {', '.join(more)}")
        # The kernel says that a thread has ended a moment before it is gone.
        time.sleep(_LOOK_S)
