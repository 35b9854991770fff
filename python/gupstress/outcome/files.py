"""Files that are written whole or not at all."""

import errno
import fcntl
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_PROBE_BYTES = 1 << 20
"""Space that a folder must have before a run whose result goes there is started."""

_LINKS = 40
"""Links behind each other that the kernel follows."""

_READER_S = 10.0
"""How long a pipe may have nobody who reads it, before it is given up."""

_NAME = 200
"""Characters of a file's name that the name of its new content begins with."""

_LOOK_S = 0.05
"""Time between two looks whether a pipe is read."""


def check_writable(path: str) -> None:
    """Check, without touching the file, that it can be written later.

    Raises:
        OSError: It cannot, for instance because the folder is missing or the disk is full.
    """
    if (descriptor := _descriptor(path)) is not None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise _error(errno.EBADF)
    elif special := _special(path):
        # Who reads a pipe would take the end of the check for that of the result.
        if not stat.S_ISFIFO(special):
            Path(path).open("ab").close()
        elif not os.access(path, os.W_OK):
            raise _error(errno.EACCES)
    else:
        with _beside(_replaced(path)) as file:
            _write(file, bytes(_PROBE_BYTES))
            file.unlink()


def write_whole(path: str, text: str) -> None:
    """Write a file so that it holds either what it held before or all of `text`.

    A device, a pipe or what is open already, such as `/dev/stdout`, is written to as it is.

    Raises:
        OSError: It could not be written; the file is as it was.
    """
    descriptor = _descriptor(path)
    if descriptor is not None or (special := _special(path)):
        if descriptor is not None:
            place: str | int = os.dup(descriptor)
        else:
            place = _read_by_someone(path) if stat.S_ISFIFO(special) else path
        with open(place, "w", encoding="utf-8") as stream:  # noqa: PTH123 -- may be a number
            stream.write(text)
        return
    target = _replaced(path)
    with _beside(target) as file:
        _write(file, text.encode())
        if target.exists():
            shutil.copymode(target, file)
        file.replace(target)


def replaces(path: str, others: Iterable[str]) -> str | None:
    """Return which of some others a file would take the place of, None if of none.

    Args:
        path: The file that is to be written.
        others: Files, and folders whose `*.json` are meant.

    Raises:
        OSError: The file cannot be looked at.
    """
    target = Path(os.path.realpath(path))
    if _descriptor(path) is not None or _special(path) or target.is_dir():
        return None
    for other in others:
        place = Path(os.path.realpath(other))
        among = target.parent == place and target.suffix == ".json" and target.exists()
        if target == place or among:
            return other
    return None


def _descriptor(path: str) -> int | None:
    """Return the number of the open file that a name such as `/dev/stdout` stands for."""
    own, file = Path(f"/proc/{os.getpid()}/fd"), Path(path)
    for _ in range(_LINKS):
        file = Path(os.path.realpath(file.parent), file.name)
        if file.parent == own and file.name.isdecimal():
            return int(file.name)
        if not file.is_symlink():
            return None
        file = file.parent / file.readlink()
    return None


def _special(path: str) -> int:
    """Return the mode of a device, pipe or socket, 0 of what is none."""
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        return 0
    return 0 if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else mode


def _replaced(path: str) -> Path:
    """Return the file that a new one takes the place of.

    Raises:
        OSError: It is a folder, or must not be written.
    """
    if path.endswith(os.sep):
        # As a path it would lose the one sign that a folder is meant.
        raise _error(errno.EISDIR)
    # A link stays a link: what it points to is replaced.
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise _error(errno.EISDIR)
    # To replace a file only its folder has to be writable, and root may do anything; what
    # nobody may write is protected all the same.
    if target.exists() and not (target.stat().st_mode & 0o222 and os.access(target, os.W_OK)):
        raise _error(errno.EACCES)
    return target


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _read_by_someone(path: str) -> int:
    """Open a pipe that has a reader, or has one soon."""
    end = time.monotonic() + _READER_S
    while (descriptor := _opened(path)) is None:
        if time.monotonic() > end:
            raise OSError(errno.ENXIO, "nobody reads from it")
        time.sleep(_LOOK_S)
    # How fast it is read is the reader's business.
    os.set_blocking(descriptor, True)
    return descriptor


def _opened(pipe: str) -> int | None:
    """Open a pipe, if it has a reader."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Give a name for a new file in the same folder, and leave nothing there on failure."""
    # A number of the process would be the same in every container, and what one that was
    # killed left behind would be in the way of all that follow.
    file = target.with_name(f".{target.name[:_NAME]}.{secrets.token_hex(6)}.part")
    try:
        yield file
    except BaseException:
        file.unlink(missing_ok=True)
        raise


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
