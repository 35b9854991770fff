"""`--cluster`: the option, and who does the work."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from gupstress.cli.exits import complain

if TYPE_CHECKING:
    from gupstress.problems import Problems
    from gupstress.running.cluster import Spread

option: Callable[[Any], Any] = click.option(
    "--cluster",
    metavar="local[:N]|ADDRESS",
    help="Spread the work over N processes of this host, or over the workers of a Dask"
    " scheduler; what comes of it is the same. On the simulator.",
)


def check(cluster: str | None, driver: object, problems: "Problems") -> None:
    """Note what is wrong with the option, before anything runs."""
    if cluster is None:
        return
    from gupstress.running import cluster as running

    running.check(cluster, problems)
    if driver != "sim":
        problems.add(
            f"--cluster {cluster}",
            f"spreads what the simulator does, not driver {driver}; nearest: --driver sim",
        )


def opened(cluster: str | None, quiet: bool = False) -> "Spread | None":
    """Return what spreads work over a cluster until the command ends, None without one."""
    if cluster is None:
        return None
    from gupstress.running import cluster as running

    told = (lambda _: None) if quiet else complain
    return click.get_current_context().with_resource(running.opened(cluster, told))
