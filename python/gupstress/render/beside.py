"""The model beside a real kernel, for people."""

from collections.abc import Iterator
from textwrap import wrap

from gupstress.outcome.beside import Beside, Quantity
from gupstress.outcome.units import duration, share
from gupstress.render.grid import WIDTH, Grid, piped, ruled
from gupstress.visible import markdown as marked


def plain(found: Beside) -> str:
    """Return it as text."""
    legend = (line for one in _legend(found) for line in wrap(one, WIDTH))
    return f"{ruled(table(found))}\n\n{chr(10).join(legend)}"


def markdown(found: Beside) -> str:
    """Return it as Markdown."""
    return f"{piped(table(found))}\n\n{marked(' '.join(_legend(found)))}"


def _legend(found: Beside) -> Iterator[str]:
    alone = (duration(side.uncontended_ns) for side in (found.kernel, found.model))
    yield (
        "latency: in calls that have nobody in their way: {} on the kernel, {} on the model."
    ).format(*alone)
    yield (
        "a page: of each round, and of each thread where acquired; without rounds, of each"
        " that was pinned."
    )


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
