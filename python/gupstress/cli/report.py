"""`gupstress report`: results as one HTML page."""

import click

from gupstress.cli import completion, output
from gupstress.cli.exits import HELP, Exit, complain
from gupstress.cli.params import Gathering, mistakes

_EXTRA = ("jinja2", "plotly")
"""What comes with `gupstress[report]` only."""


@click.command(cls=Gathering, short_help="Show results as one HTML page.", epilog=HELP)
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
    "page_file",
    metavar="FILE",
    required=True,
    shell_complete=completion.file,
    help="The page to write.",
)
def report(files: tuple[str, ...], page_file: str) -> int:
    """Show one or more results, side by side, as one HTML page.

    The page needs no network and no other file. It shows what `--json` of run, matrix,
    litmus, explore and compare and `pytest --gupstress-json` wrote, and folders of runs,
    which become one. Findings of explore come with their stories.

    \b
    gupstress run --json run.json
    gupstress report run.json -o report.html
    gupstress report base.json head.json -o report.html
    """  # noqa: D301 -- click looks for the character
    try:
        from gupstress.reporting import page, sources
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        if missing not in _EXTRA:
            raise
        complain(f"report needs {missing}: pip install 'gupstress[report]'")
        return Exit.UNAVAILABLE
    mistakes().refuse()
    output.check({"--output": page_file}, files)
    output.write(page_file, page.html(*sources.read(files)), "--output")
    return Exit.SUCCESS
