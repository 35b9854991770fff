"""Kernels as Debian ships them: an image, and modules, in the data of a `.deb`.

The format is `deb(5)`: an `ar` archive, whose `data.tar` has the files.
"""

import io
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from lzma import LZMAError

MAGIC = b"!<arch>\n"

_HEAD = 60
_NAME, _SIZE = slice(0, 16), slice(48, 58)
_IMAGES = ("./boot/vmlinuz-*", "./usr/lib/modules/*/vmlinuz", "./lib/modules/*/vmlinuz")


def image(package: bytes) -> bytes:
    """Return the kernel image of a package.

    Raises:
        ValueError: It has none, or cannot be read; why.
    """
    for _, contents in _files(package, _IMAGES):
        return contents
    raise ValueError("a package without a kernel image")


def matching(package: bytes, wanted: Iterable[str]) -> dict[str, bytes]:
    """Return the files of a package whose paths match, by path.

    Raises:
        ValueError: It cannot be read; why.
    """
    return dict(_files(package, wanted))


def _files(package: bytes, wanted: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the files whose paths match, in the order of the package."""
    patterns = tuple(wanted)
    try:
        members = dict(_members(package))
    except ValueError:
        raise ValueError("a package that is cut off") from None
    name = next((name for name in members if name.startswith("data.tar")), None)
    if name is None:
        raise ValueError("an archive, but no Debian package")
    try:
        with tarfile.open(fileobj=io.BytesIO(members[name])) as data:
            for member in data:
                if member.isfile() and any(fnmatch(member.name, one) for one in patterns):
                    found = data.extractfile(member)
                    yield member.name, b"" if found is None else found.read()
    except (tarfile.TarError, EOFError, LZMAError, zlib.error, OSError):
        raise ValueError(f"a package whose {name} cannot be read") from None


def _members(archive: bytes) -> Iterator[tuple[str, bytes]]:
    at = len(MAGIC)
    while at < len(archive):
        head = archive[at : at + _HEAD]
        size, start = int(head[_SIZE]), at + _HEAD
        if start + size > len(archive):
            raise ValueError
        yield head[_NAME].decode("ascii", "replace").rstrip(" /"), archive[start : start + size]
        # Each begins at an even place.
        at = start + size + size % 2
