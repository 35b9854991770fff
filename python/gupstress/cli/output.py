"""Where a command's result goes: standard output, and a file if one was asked for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gupstress.cli.exits import CommandError


def check(file: str | None, option: str = "--json", other: str | None = None) -> None:
    """Refuse, before anything runs, a file that could not be written later.

    Args:
        file: The file, if one was asked for.
        option: Which option asked.
        other: A file that something else goes to.

    Raises:
        CommandError: It cannot be written, or is the other one.
    """
    from gupstress import files

    if file is not None:
        if other is not None and Path(file).resolve() == Path(other).resolve():
            raise CommandError(f"{option} {file}: is the file of --json; nearest: trace.json")
        with _reporting(f"{option} {file}"):
            files.check_writable(file)


def write(file: str, text: str, option: str) -> None:
    """Write a file that an option asked for.

    Raises:
        CommandError: It cannot be written.
    """
    from gupstress import files

    with _reporting(f"{option} {file}"):
        files.write_whole(file, text)


def deliver(json_file: str | None, json: Callable[[], str], show: Callable[[], None]) -> None:
    """Write a result to its file, if it has one, and to standard output.

    Raises:
        CommandError: One of them cannot be written.
    """
    try:
        if json_file is not None:
            write(json_file, json(), "--json")
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
