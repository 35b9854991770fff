"""`gupstress list` and `gupstress show`: what comes with gupstress."""

import sys

import click

from gupstress import _core

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

KINDS = {"policies": "policy", "profiles": "profile", "kernels": "kernel"}
"""What can be listed, each with the name of one of them."""


@click.command("list")
@click.argument("kinds", metavar="|".join(KINDS), type=click.Choice(list(KINDS)))
def list_names(kinds: str) -> None:
    """List what comes with gupstress."""
    names = _core.names(KINDS[kinds])
    width = max(map(len, names))
    for name in names:
        summary = tomllib.loads(_core.show(KINDS[kinds], name))["summary"]
        click.echo(f"{name:<{width}}  {summary}")


@click.command()
@click.argument("kind", metavar="|".join(KINDS.values()), type=click.Choice(list(KINDS.values())))
@click.argument("name")
def show(kind: str, name: str) -> None:
    """Print one of them as TOML."""
    click.echo(_core.show(kind, name), nl=False)
