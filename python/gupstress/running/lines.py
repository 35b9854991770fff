"""Lines of a process's pipes, as they come, with a limit on how long one is waited for."""

import os
import selectors
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import NamedTuple

_CHUNK = 1 << 16


class Line(NamedTuple):
    """One line of one pipe."""

    pipe: str
    text: str


class Lines:
    """Reads several pipes at once. A last line without an end counts as one."""

    def __init__(self, pipes: Mapping[str, int]) -> None:
        """Take over file descriptors, by the names that lines are given under."""
        self._selector = selectors.DefaultSelector()
        self._left: dict[str, bytes] = {}
        self._ready: deque[Line] = deque()
        for name, pipe in pipes.items():
            self._selector.register(pipe, selectors.EVENT_READ, name)
            self._left[name] = b""

    def next(self, limit_s: float) -> Line | None:
        """Return the next line, None when all pipes are closed.

        Raises:
            TimeoutError: None came within `limit_s` seconds.
        """
        while not self._ready:
            if not self._selector.get_map():
                return None
            events = self._selector.select(limit_s)
            if not events:
                raise TimeoutError
            for key, _ in events:
                self._read(key.fd, key.data)
        return self._ready.popleft()

    def _read(self, pipe: int, name: str) -> None:
        if chunk := os.read(pipe, _CHUNK):
            *lines, self._left[name] = (self._left[name] + chunk).split(b"\n")
        else:
            lines = [self._left.pop(name)]
            lines = [line for line in lines if line]
            self._selector.unregister(pipe)
            os.close(pipe)
        self._ready += [Line(name, line.rstrip(b"\r").decode(errors="replace")) for line in lines]

    def __enter__(self) -> "Lines":  # noqa: PYI034 -- Self is of Python 3.11
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for key in list(self._selector.get_map().values()):
            self._selector.unregister(key.fileobj)
            os.close(key.fd)
        self._selector.close()
