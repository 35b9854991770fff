"""What a kernel offers to measure with."""

from collections.abc import Sequence

from gupstress import _core
from gupstress.errors import InconclusiveError
from gupstress.outcome.live import Fact, LiveCheck, Measured
from gupstress.outcome.results import Build
from gupstress.running.live import Here, Target

WALL_S = 60.0
"""Longest time that one line of an answer is waited for, unless told otherwise."""


def check(argv: Sequence[str], target: Target | None = None, wall_s: float = WALL_S) -> LiveCheck:
    """Ask a kernel what it offers.

    Args:
        argv: The command line, for the result.
        target: Whose kernel; none: this host's.
        wall_s: Longest time that one line of its answer is waited for, seconds.

    Raises:
        InconclusiveError: It did not answer.
    """
    answers = list((target or Here()).ask({"check": {}}, wall_s))
    if not answers or "facts" not in answers[0]:
        raise InconclusiveError("the answer has no facts")
    facts = tuple(Fact.model_validate(fact) for fact in answers[0]["facts"])
    lacking = any(fact.needed and fact.status == "missing" for fact in facts)
    return LiveCheck(
        gupstress=Build(version=_core.__version__, build_profile=_core.build_profile),
        argv=tuple(argv),
        host=Measured.model_validate(answers[0]["host"]),
        verdict="unavailable" if lacking else "ready",
        facts=facts,
    )
