"""Where a command's result goes: standard output, and a file if one was asked for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gupstress.cli.exits import CommandError


def check(json_file: str | None) -> None:
    """Refuse, before anything runs, a file that could not be written later.

    Raises:
        CommandError: It cannot be written.
    """
    from gupstress import files

    if json_file is not None:
        with _reporting(f"--json {json_file}"):
            files.check_writable(json_file)


def deliver(json_file: str | None, json: Callable[[], str], show: Callable[[], None]) -> None:
    """Write a result to its file, if it has one, and to standard output.

    Raises:
        CommandError: One of them cannot be written.
    """
    from gupstress import files

    try:
        if json_file is not None:
            with _reporting(f"--json {json_file}"):
                files.write_whole(json_file, json())
    finally:
        # What was found is worth reading even where it could not be kept.
        with _reporting("standard output"):
            show()


@contextmanager
def _reporting(target: str) -> Iterator[None]:
    """End the command with one line where `target` cannot be written."""
    try:
        yield
    except OSError as error:
        raise CommandError(f"{target}: cannot be written: {error.strerror}") from error
