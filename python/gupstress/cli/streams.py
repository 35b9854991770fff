"""Standard output and standard error as every command may rely on them."""

import io
import os
import sys
from typing import TextIO

from gupstress.cli.exits import CommandError


class _Result(io.FileIO):
    """Standard output: what cannot be written ends the command."""

    # The buffer above gives any kind of bytes.
    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        try:
            return super().write(data)
        except OSError as error:
            # Python would try the rest once more at its end, and complain.
            with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 -- is no path
                os.dup2(nowhere.fileno(), self.fileno())
            raise CommandError(f"standard output: cannot be written: {error.strerror}") from error


class _Remarks(io.FileIO):
    """Standard error: what cannot be said there is not said."""

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        try:
            return super().write(data) or len(data)
        except OSError:
            return len(data)


_LAST = 2
"""Number of standard error, the last of the three that every process expects."""


def prepare() -> None:
    """Let nothing about the two streams get in the way of a command."""
    # What is opened takes the lowest free number: without this, a result file could become
    # the standard error of a process that was started without one.
    while (number := os.open(os.devnull, os.O_RDWR)) <= _LAST:
        pass
    os.close(number)
    sys.stdout = _text(_Result(1, "w", closefd=False), sys.stdout)
    sys.stderr = _text(_Remarks(2, "w", closefd=False), sys.stderr)
    # A shell that does not know the size of its terminal says 0, which rich would believe.
    if os.environ.get("COLUMNS") == "0":
        del os.environ["COLUMNS"]


def _text(raw: io.FileIO, old: TextIO | None) -> io.TextIOWrapper:
    """Return a stream of text: on a terminal in its encoding, elsewhere in that of files."""
    encoding = old.encoding if raw.isatty() and old is not None else "utf-8"
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding, errors="backslashreplace", line_buffering=True
    )
