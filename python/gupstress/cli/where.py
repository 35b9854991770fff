"""Who is asked: the model, the kernel of this host, or that of a guest."""

from typing import TYPE_CHECKING

import click

from gupstress.problems import Problems

if TYPE_CHECKING:
    from gupstress.running.live import Target

_GUEST = "gupstress.guest"


def within(guest: "Target") -> None:
    """Have the commands below the current one ask a guest."""
    click.get_current_context().meta[_GUEST] = guest


def target(on: str | None, problems: Problems) -> "Target | None":
    """Return whose kernel is asked, None for the model.

    Args:
        on: What `--on` says, if it was given.
        problems: Takes what is wrong with it.
    """
    # Here, so that who asks the model need not wait for it.
    from gupstress.running.live import Here

    guest: Target | None = click.get_current_context().meta.get(_GUEST)
    if guest is not None:
        if on == "model":
            problems.add("--on", "model: a guest has a kernel of its own; nearest: live")
        return guest
    return Here() if on in ("live", "both") else None
