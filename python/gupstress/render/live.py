"""What a kernel offers to measure with, for people."""

from gupstress.outcome.live import Fact, LiveCheck

_WIDTH = len("missing")


def plain(check: LiveCheck) -> str:
    """Return the facts as text, a line each."""
    return "\n".join([*map(line, check.facts), "", closing(check)])


def line(fact: Fact) -> str:
    """Return one fact, and what to do about it where it is missing."""
    status = "" if fact.status == "known" else fact.status
    advice = f"; nearest: {fact.advice}" if fact.advice else ""
    return f"{status:{_WIDTH}}  {fact.fact}: {fact.found}{advice}"


def closing(check: LiveCheck) -> str:
    """Return on one line whether this kernel can be measured."""
    where = f"{check.host.release}, {check.host.cpus} CPUs"
    if not check.lacking:
        return f"{where}: ready"
    lacks = ", ".join(one.fact for one in check.lacking)
    return f"{where}: not here, for lack of {lacks}"
