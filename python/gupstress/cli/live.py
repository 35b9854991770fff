"""`gupstress live`: what the kernel that runs offers to measure with."""

import sys

import click

from gupstress.cli import output
from gupstress.cli.exits import HELP, Exit, complain

_EXITS = {"ready": Exit.SUCCESS, "unavailable": Exit.UNAVAILABLE}


@click.group(short_help="Measure the kernel that runs.")
def live() -> None:
    """Measure the kernel that runs.

    What it is asked is said by the commands that ask it: `gupstress litmus --on live`.
    """


@live.command(short_help="Say what this kernel offers to measure with.", epilog=HELP)
@output.options(("table", "json"))
def check(format_: str, json_file: str | None) -> int:
    """Say what this kernel offers to measure with, and what to do about what is missing."""
    # Here, so that `--help` need not wait for it.
    from gupstress.render import live as render
    from gupstress.studies import live as study

    output.check({"--json": json_file})
    result = study.check(sys.argv)

    def show() -> None:
        click.echo(result.to_json().rstrip() if format_ == "json" else render.plain(result))

    output.deliver(json_file, result.to_json, show)
    for fact in result.lacking:
        complain(f"{fact.fact}: {fact.found}; nearest: {fact.advice}")
    return _EXITS[result.verdict]
