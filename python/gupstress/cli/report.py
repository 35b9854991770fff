"""`gupstress report`: results as one HTML page."""

from pathlib import Path

import click

from gupstress.cli import completion
from gupstress.cli.exits import HELP, CommandError, Exit, complain

_EXTRA = ("jinja2", "plotly")
"""What comes with `gupstress[report]` only."""


@click.command(short_help="Show results as one HTML page.", epilog=HELP)
@click.argument(
    "files",
    metavar="RUN.json...",
    nargs=-1,
    required=True,
    shell_complete=completion.file,
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    required=True,
    shell_complete=completion.file,
    help="The page to write.",
)
def report(files: tuple[str, ...], output: str) -> int:
    """Show one or more results, side by side, as one HTML page.

    The page needs no network and no other file. It shows what `gupstress run --json` and
    `pytest --gupstress-json` wrote, and folders of the former, whose runs become one.

    \b
    gupstress run --json run.json
    gupstress report run.json -o report.html
    gupstress report base.json head.json -o report.html
    """  # noqa: D301 -- click looks for the character
    from gupstress import files as written
    from gupstress.report import sources

    try:
        from gupstress.report import page
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        if missing not in _EXTRA:
            raise
        complain(f"report needs {missing}: pip install 'gupstress[report]'")
        return Exit.UNAVAILABLE
    if any(Path(file).resolve() == Path(output).resolve() for file in files):
        raise CommandError(f"--output {output}: is a result to show; nearest: report.html")
    shown = sources.read(files)
    try:
        written.check_writable(output)
        written.write_whole(output, page.html(shown))
    except OSError as error:
        raise CommandError(f"--output {output}: cannot be written: {error.strerror}") from error
    return Exit.SUCCESS
