"""The command `gupstress`: a group whose bare call is `gupstress run`."""

import os
import re
import signal
import sys
from collections.abc import Sequence

import click
from click.shell_completion import CompletionItem

from gupstress import _core
from gupstress.cli import interrupts, streams
from gupstress.cli.catalog import list_names, show
from gupstress.cli.compare import compare
from gupstress.cli.exits import HELP, CommandError, guard
from gupstress.cli.explore import explore, replay
from gupstress.cli.fit import fit
from gupstress.cli.guest import guest
from gupstress.cli.litmus import litmus
from gupstress.cli.live import live
from gupstress.cli.matrix import matrix
from gupstress.cli.report import report
from gupstress.cli.run import run
from gupstress.cli.soak import soak
from gupstress.cli.tune import tune


class Commands(click.Group):
    """A group that runs `run` where no sub-command is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `run` in front of options that are not the group's own."""
        own = {name for param in self.get_params(ctx) for name in param.opts}
        bare = not args and not ctx.resilient_parsing
        if bare or (args and args[0].startswith("-") and args[0] not in own):
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer the options of `run` too."""
        found = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("-"):
            with run.make_context("run", [], parent=ctx, resilient_parsing=True) as own:
                found += run.shell_complete(own, incomplete)
        return found

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the options of `run` too, since the bare call takes them."""
        with formatter.section("Options (those of run)"):
            records = (param.get_help_record(ctx) for param in run.params)
            formatter.write_dl([record for record in records if record is not None])
        super().format_options(ctx, formatter)


@click.group(
    cls=Commands,
    epilog=HELP,
    subcommand_metavar="[OPTIONS] | COMMAND [OPTIONS]",
    options_metavar="",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(_core.__version__, message=f"%(prog)s %(version)s ({_core.build_profile})")
def commands() -> None:
    """Stress the kernel's long-term page pin under any retry policy.

    Says for each policy whether every pin returns, whether its failures and
    successes are true, and what it costs.

    \b
    gupstress --threads 64 --policy bounded
    gupstress --policy bounded --policy linux-7.2 --threshold 'calls.stuck==0'
    gupstress list policies
    gupstress show policy bounded > mine.toml && gupstress --policy mine.toml
    eval "$(_GUPSTRESS_COMPLETE=bash_source gupstress)"  # TAB completes; or zsh_source, fish_source
    """  # noqa: D301 -- click looks for the character


commands.add_command(run)
commands.add_command(matrix)
commands.add_command(litmus)
commands.add_command(live)
commands.add_command(guest)
commands.add_command(fit)
commands.add_command(tune)
commands.add_command(soak)
commands.add_command(explore)
commands.add_command(replay)
commands.add_command(compare)
commands.add_command(report)
commands.add_command(list_names)
commands.add_command(show)


def invoke(args: Sequence[str]) -> int:
    """Carry out one command line and return its exit code."""
    return guard(lambda: commands.main(_texts(args), prog_name="gupstress", standalone_mode=False))


def _texts(args: Sequence[str]) -> list[str]:
    """Refuse words that are no text: no result could hold the command line."""
    for word in args:
        if _UNDECODED.search(word):
            shown = os.fsencode(word).decode(errors="backslashreplace")
            near = _UNDECODED.sub("_", word)
            encoding = sys.getfilesystemencoding()
            raise CommandError(f"{shown}: not {encoding} text; nearest: {near}")
    return list(args)


_UNDECODED = re.compile("[\ud800-\udfff]")
"""How Python keeps the bytes of an argument that it cannot read."""


def main() -> int:
    """Carry out the command line of this process and return its exit code."""
    streams.prepare()
    # A reader that goes away ends the tool as it ends any other.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    interrupts.take()
    code = invoke(sys.argv[1:])
    interrupts.ignore()
    return code
