"""The model beside a real kernel, for people."""

from gupstress.outcome.beside import Beside, Quantity
from gupstress.outcome.units import duration, share
from gupstress.render.grid import Grid, piped, ruled
from gupstress.visible import markdown as marked


def plain(found: Beside) -> str:
    """Return it as text."""
    return f"{ruled(table(found))}\n\n{_legend(found)}"


def markdown(found: Beside) -> str:
    """Return it as Markdown."""
    return f"{piped(table(found))}\n\n{marked(_legend(found))}"


def _legend(found: Beside) -> str:
    alone = (duration(side.uncontended_ns) for side in (found.kernel, found.model))
    return (
        "latency: in calls that have nobody in their way, {} on the kernel and {} on the model;"
        " a page: of each round, and of each thread where acquired; else of each that was pinned."
    ).format(*alone)


def table(found: Beside) -> Grid:
    """Return a row for each quantity."""
    return Grid(
        headings=["quantity", found.kernel.kernel, f"model {found.model.kernel}"],
        rows=[
            ["calls", str(found.kernel.calls), str(found.model.calls)],
            *([one.name, *cells(one)] for one in found.quantities),
        ],
        aligns=["left", "right", "right"],
        widths=[None] * 3,
        stubs=1,
    )


def cells(one: Quantity) -> tuple[str, str]:
    """Return both numbers as people read them; `-` for what was not counted."""
    return _shown(one, one.kernel), _shown(one, one.model)


def _shown(one: Quantity, value: float | None) -> str:
    if value is None:
        return "-"
    return share(value, 1) if one.name.startswith("share.") else f"{value:.2f}"
