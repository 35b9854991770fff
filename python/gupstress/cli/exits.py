"""How a command ends: exit codes, and one line for everything that goes wrong."""

from collections.abc import Callable
from enum import IntEnum

import click

from gupstress import _core, errors
from gupstress.visible import visible


class Exit(IntEnum):
    """Exit codes of every command."""

    SUCCESS = 0
    FAILURE = 1
    USAGE = 2
    INCONCLUSIVE = 3
    UNAVAILABLE = 4
    INTERNAL = 70
    INTERRUPTED = 130


_MEANINGS = {
    Exit.SUCCESS: "all verdicts acceptable",
    Exit.FAILURE: (
        "a finding: stuck, unsafe, killed for memory, broken invariant, threshold missed,"
        " regression"
    ),
    Exit.USAGE: "usage or configuration error",
    Exit.INCONCLUSIVE: "inconclusive: host starved, too few samples",
    Exit.UNAVAILABLE: "not available here",
    Exit.INTERNAL: "internal error",
    Exit.INTERRUPTED: "interrupted; results so far are written",
}

# \b keeps click from filling the lines into a paragraph.
HELP = "\b\nExit codes:\n" + "\n".join(f"{code:>5}  {_MEANINGS[code]}" for code in Exit)
"""The exit codes as a help text shows them."""


class CommandError(Exception):
    """Ends a command as a usage error, with one line on standard error."""


def complain(line: str) -> None:
    """Write one line to standard error."""
    click.echo(f"gupstress: {visible(' '.join(line.split()))}", err=True)


_SHOWN = 50
"""Problems that are said; a file of another kind has one in each line."""


def guard(command: Callable[[], int | None]) -> int:
    """Carry out a command and return its exit code, whatever happens in it."""
    try:
        return command() or Exit.SUCCESS
    except click.ClickException as error:
        complain(error.format_message())
        return Exit.USAGE
    except errors.ConfigError as error:
        for place, message in error.problems[:_SHOWN]:
            complain(f"{place}: {message}" if place else message)
        if (more := len(error.problems) - _SHOWN) > 0:
            complain(f"{more} more problems")
        return Exit.USAGE
    except (CommandError, errors.ResourceError) as error:
        complain(str(error))
        return Exit.USAGE
    except errors.UnavailableError as error:
        complain(str(error))
        return Exit.UNAVAILABLE
    except errors.InconclusiveError as error:
        for line in error.console:
            click.echo(f"console: {visible(line)}", err=True)
        complain(str(error))
        return Exit.INCONCLUSIVE
    except MemoryError:
        complain("no memory left")
        return Exit.USAGE
    except SystemExit as end:
        # How click ends what it does for a shell that completes a line.
        return end.code if isinstance(end.code, int) else Exit.SUCCESS
    except (KeyboardInterrupt, click.Abort):
        complain("interrupted")
        return Exit.INTERRUPTED
    except BaseException as error:  # noqa: BLE001 -- a panic in the core is no Exception
        complain(
            f"internal error: {type(error).__name__}: {error}; please report this line with the"
            f" command line and the version, {_core.__version__} ({_core.build_profile})"
        )
        return Exit.INTERNAL
