"""`gupstress list` and `gupstress show`: what comes with gupstress."""

import click

from gupstress import _core
from gupstress.cli import completion
from gupstress.cli.exits import HELP
from gupstress.cli.params import OneOf
from gupstress.model import catalog

KINDS = {"policies": "policy", "profiles": "profile", "kernels": "kernel", "litmus": "litmus"}
"""What can be listed, each with the name of one of them."""


_SHOWN = [*KINDS.values(), "job"]


@click.command("list", short_help="List what comes with gupstress.", epilog=HELP)
@click.argument("kinds", metavar="|".join(KINDS), type=OneOf(list(KINDS)))
def list_names(kinds: str) -> None:
    """List what comes with gupstress.

    \b
    gupstress list policies
    gupstress list profiles
    """  # noqa: D301 -- click looks for the character
    names = _core.names(KINDS[kinds])
    width = max(map(len, names))
    for name in names:
        table = catalog.preset(KINDS[kinds], name)
        # A litmus scenario is told best by its steps.
        summary = table.get("summary") or "; ".join(table["steps"])
        click.echo(f"{name:<{width}}  {summary}")


@click.command(short_help="Print one of them as TOML.", epilog=HELP)
@click.argument("kind", metavar="|".join(_SHOWN), type=OneOf(_SHOWN))
@click.argument("name", shell_complete=completion.shown)
def show(kind: str, name: str) -> None:
    """Print one of them as TOML, with every key explained.

    What is printed is taken back: --policy, --profile and --kernel take files too. Of a
    job, a file, it is everything that `gupstress run` makes of it.

    \b
    gupstress show policy bounded > mine.toml
    gupstress show profile contended
    gupstress show litmus shmem-mlock-on-lru-remote
    """  # noqa: D301 -- click looks for the character
    if kind == "job":
        from gupstress.cli import job
        from gupstress.problems import Problems
        from gupstress.running import jobfile

        problems = Problems()
        ready = job.prepare(jobfile.read(name, {}, problems), problems)
        found = [jobfile.Section(one.name, one.job.request) for one in ready]
        click.echo(jobfile.shown_in_full(found), nl=False)
        return
    click.echo(_core.show(kind, name), nl=False)
