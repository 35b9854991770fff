"""Modules of a kernel that a guest loads: those of VFIO."""

import gzip
import lzma
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePath

from gupstress.errors import ConfigError
from gupstress.running.guest import package
from gupstress.running.guest.image import Image

_WANTED = ("*/drivers/vfio/*.ko*", "*/virt/lib/irqbypass.ko*")

_INSTALLED = ("/lib/modules", "/usr/lib/modules")

_UNPACKED: Mapping[str, Callable[[bytes], bytes]] = {
    ".ko": bytes,
    ".xz": lzma.decompress,
    ".gz": gzip.decompress,
}
"""By how a file's name ends. What is packed in another way is not loaded."""


def of(kernel: Image, given: Path | None) -> dict[str, bytes]:
    """Return VFIO's modules of a kernel, by name, unpacked; none where it has none.

    Args:
        kernel: The kernel.
        given: A package or a folder that has them; none: they come with the kernel.

    Raises:
        ConfigError: What is given has none of them, or cannot be read.
    """
    found: dict[str, bytes] = {}
    for place in [given] if given else _beside(kernel):
        found |= _within(place)
    if given and not found:
        raise _refused(f"{given} has no module of VFIO")
    return found


def _refused(why: str) -> ConfigError:
    return ConfigError([("--modules", f"{why}; nearest: {_NEAR}")])


def _within(place: Path) -> dict[str, bytes]:
    try:
        return _unpacked(_files(place))
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile):
        raise _refused(f"{place} has a module that cannot be unpacked") from None
    except OSError as error:
        raise _refused(f"{error.filename or place}: {error.strerror}") from None
    except ValueError as error:
        raise _refused(f"{place} is {error}") from None


_NEAR = "linux-modules-VERSION.deb"


def _beside(kernel: Image) -> list[Path]:
    """Return where the modules of a kernel are that come with it."""
    if kernel.contents is not None:
        return [kernel.path]
    version = kernel.path.name.removeprefix("vmlinuz-")
    # A built tree has its image three folders down.
    tree = [*kernel.path.parents][3:4] if kernel.path.name == "bzImage" else []
    places = [*tree, *(Path(folder, version) for folder in _INSTALLED)]
    return [place for place in places if place.is_dir()]


def _files(place: Path) -> dict[str, bytes]:
    if not place.is_dir():
        contents = place.read_bytes()
        if not contents.startswith(package.MAGIC):
            raise ValueError("no Debian package and no folder")
        return package.matching(contents, _WANTED)
    within = [path for pattern in _WANTED for path in place.rglob(pattern.removeprefix("*/"))]
    return {str(path): path.read_bytes() for path in within}


def _unpacked(files: Mapping[str, bytes]) -> dict[str, bytes]:
    ways: Iterable[tuple[str, bytes, Callable[[bytes], bytes] | None]] = (
        (PurePath(path).name, contents, _UNPACKED.get(PurePath(path).suffix))
        for path, contents in files.items()
    )
    return {
        name.partition(".ko")[0] + ".ko": unpack(contents)
        for name, contents, unpack in ways
        if unpack is not None
    }
