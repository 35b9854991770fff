"""Where a command's result goes: standard output, and a file if one was asked for."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from gupstress.cli import completion
from gupstress.cli.exits import CommandError
from gupstress.cli.params import OneOf

Command = TypeVar("Command", bound=Callable[..., Any])


def options(formats: Sequence[str]) -> Callable[[Command], Command]:
    """Return what gives a command the options that say where its result goes."""

    def add(command: Command) -> Command:
        command = click.option(
            "--json",
            "json_file",
            shell_complete=completion.file,
            metavar="FILE",
            help="Also write the result as JSON.",
        )(command)
        return click.option(
            "--format",
            "format_",
            type=OneOf(formats),
            default=formats[0],
            show_default=True,
            help="What standard output gets.",
        )(command)

    return add


def check(outputs: Mapping[str, str | None], inputs: Iterable[str] = ()) -> None:
    """Refuse, before anything runs, files that could not be written later, or must not be.

    Args:
        outputs: By option the file that it asked for, if it did.
        inputs: Files that the command reads, and folders whose results it reads.

    Raises:
        CommandError: One cannot be written, or is another one or an input.
    """
    from gupstress.outcome import files

    taken = dict.fromkeys(inputs, "is read by this command")
    for option, file in outputs.items():
        if file is None:
            continue
        if file == "-":
            raise CommandError(f"{option} -: {_STANDARD_OUTPUT[option]}")
        with _reporting(f"{option} {file}"):
            if other := files.replaces(file, taken):
                raise CommandError(
                    f"{option} {file}: {taken[other]}; nearest: {_near(option, file)}"
                )
            files.check_writable(file)
        taken[file] = f"is the file of {option}"


_SUFFIXES = {
    "--json": ".json",
    "--trace": ".json",
    "--output": ".html",
    "--page": ".html",
    "--export-csv": ".csv",
}

_STANDARD_OUTPUT = {
    "--json": "standard output gets it with --format json; nearest: --format json",
    "--trace": "is no file; nearest: --trace /dev/stdout",
    "--export-csv": "is no file; nearest: --export-csv /dev/stdout",
    "--output": "is no file; nearest: --output /dev/stdout",
    "--page": "is no file; nearest: --page /dev/stdout",
}
"""What is said to who means standard output, as other tools write it."""


def _near(option: str, file: str) -> Path:
    """Return a name like one that is taken."""
    path = Path(file)
    return path.with_name(f"{path.stem}-2{_SUFFIXES[option]}")


def write(file: str, text: str, option: str) -> None:
    """Write a file that an option asked for.

    Raises:
        CommandError: It cannot be written.
    """
    from gupstress.outcome import files

    with _reporting(f"{option} {file}"):
        files.write_whole(file, text)


def deliver(json_file: str | None, json: Callable[[], str], show: Callable[[], None]) -> None:
    """Write a result to its file, if it has one, and to standard output.

    Raises:
        CommandError: The file cannot be written.
    """
    try:
        if json_file is not None:
            write(json_file, json(), "--json")
    finally:
        # What was found is worth reading even where it could not be kept.
        show()


@contextmanager
def _reporting(target: str) -> Iterator[None]:
    """End the command with one line where `target` cannot be written."""
    try:
        yield
    except OSError as error:
        raise CommandError(f"{target}: cannot be written: {error.strerror}") from error
