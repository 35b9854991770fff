"""The files of a guest, as the `newc` archive that the kernel unpacks.

The format: `Documentation/driver-api/early-userspace/buffer-format.rst`.
"""

import stat
from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Entry(NamedTuple):
    """One file."""

    name: str
    mode: int
    """Type and rights."""
    contents: bytes = b""
    device: tuple[int, int] = (0, 0)
    """Major and minor number."""


_TRAILER = Entry("TRAILER!!!", 0)


def files(init: bytes, request: bytes, modules: Mapping[str, bytes]) -> list[Entry]:
    """Return what a guest has: its only program, what it is asked, modules, and a console."""
    return [
        Entry("dev", stat.S_IFDIR | 0o755),
        # Open before the program can mount what has the others.
        Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)),
        Entry("init", stat.S_IFREG | 0o755, init),
        Entry("request.json", stat.S_IFREG | 0o600, request),
        *([Entry("modules", stat.S_IFDIR | 0o755)] if modules else ()),
        *(
            Entry(f"modules/{name}", stat.S_IFREG | 0o600, module)
            for name, module in modules.items()
        ),
    ]


def archive(entries: Iterable[Entry]) -> bytes:
    """Return the archive of some files."""
    return b"".join(_record(number, entry) for number, entry in enumerate([*entries, _TRAILER], 1))


def _record(number: int, entry: Entry) -> bytes:
    name = entry.name.encode() + b"\0"
    fields = (
        *(number, entry.mode, 0, 0, 1, 0, len(entry.contents)),
        *(0, 0, *entry.device, len(name), 0),
    )
    head = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(head + name) + _padded(entry.contents)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
