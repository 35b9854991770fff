"""`gupstress list` and `gupstress show`: what comes with gupstress."""

import click

from gupstress import _core, engine

KINDS = {"policies": "policy", "profiles": "profile", "kernels": "kernel", "litmus": "litmus"}
"""What can be listed, each with the name of one of them."""


@click.command("list")
@click.argument("kinds", metavar="|".join(KINDS), type=click.Choice(list(KINDS)))
def list_names(kinds: str) -> None:
    """List what comes with gupstress."""
    names = _core.names(KINDS[kinds])
    width = max(map(len, names))
    for name in names:
        table = engine.preset(KINDS[kinds], name)
        # A litmus scenario is told best by its steps.
        summary = table.get("summary") or "; ".join(table["steps"])
        click.echo(f"{name:<{width}}  {summary}")


@click.command()
@click.argument("kind", metavar="|".join(KINDS.values()), type=click.Choice(list(KINDS.values())))
@click.argument("name")
def show(kind: str, name: str) -> None:
    """Print one of them as TOML."""
    click.echo(_core.show(kind, name), nl=False)
