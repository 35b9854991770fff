"""Files that are written whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PROBE_BYTES = 1 << 20
"""Space that a folder must have before a run whose result goes there is started."""


def check_writable(path: str) -> None:
    """Check, without touching the file, that it can be written later.

    Raises:
        OSError: It cannot, for instance because the folder is missing or the disk is full.
    """
    target = Path(path).resolve()
    if _is_special(target):
        with target.open("ab"):
            return
    if target.is_dir():
        raise IsADirectoryError(None, "Is a directory", path)
    with _beside(target) as file:
        _write(file, bytes(_PROBE_BYTES))
        file.unlink()


def write_whole(path: str, text: str) -> None:
    """Write a file so that it holds either what it held before or all of `text`.

    Raises:
        OSError: It could not be written; the file is as it was.
    """
    # A link stays a link: what it points to is replaced.
    target = Path(path).resolve()
    if _is_special(target):
        # A device or pipe is written to, and cannot be replaced.
        target.write_text(text, encoding="utf-8")
        return
    with _beside(target) as file:
        _write(file, text.encode())
        if target.exists():
            shutil.copymode(target, file)
        file.replace(target)


def _is_special(target: Path) -> bool:
    return target.exists() and not target.is_file() and not target.is_dir()


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Give a name for a new file in the same folder, and leave nothing there on failure."""
    file = target.with_name(f".{target.name}.{os.getpid()}.part")
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
