"""What a kernel offers to measure with, for people."""

from gupstress.outcome.live import LiveCheck
from gupstress.render import grid

_WIDTHS = (None, None, 30, 30)


def plain(check: LiveCheck) -> str:
    """Return the facts as text, a row each."""
    rows = [
        [one.fact, "" if one.status == "known" else one.status, one.found, one.advice]
        for one in check.facts
    ]
    table = grid.Grid(
        headings=["what", "", "found", "nearest"], rows=rows, aligns=["left"] * 4, widths=_WIDTHS
    )
    return "\n\n".join([grid.ruled(table), closing(check)])


def closing(check: LiveCheck) -> str:
    """Return on one line whether this kernel can be measured."""
    where = f"{check.host.release}, {check.host.cpus} CPUs"
    if not check.lacking:
        return f"{where}: ready"
    lacks = ", ".join(one.fact for one in check.lacking)
    return f"{where}: not here, for lack of {lacks}"
