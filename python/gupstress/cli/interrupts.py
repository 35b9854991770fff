"""Ctrl-C, a lost terminal, or being asked to end, ends a command once.

It then has time for what it keeps.
"""

import signal
import time
from types import FrameType

_PEACE_S = 10.0
"""How long no other one counts; a result may go to a pipe that nobody reads."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Once:
    """A handler that interrupts, and then leaves what comes after it in peace."""

    def __init__(self) -> None:
        self.last: float | None = None

    def __call__(self, _: int, __: FrameType | None) -> None:
        now = time.monotonic()
        if self.last is None or now - self.last > _PEACE_S:
            self.last = now
            raise KeyboardInterrupt


_once = _Once()


def take() -> None:
    """Let the first one interrupt what is under way, and ignore those after it."""
    _once.last = None
    for number in _SIGNALS:
        # What a shell starts in the background is not meant by Ctrl-C.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _once)


def settle() -> None:
    """Let none interrupt what writes down what was found."""
    _once.last = time.monotonic()


def ignore() -> None:
    """Let none change how the process ends."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    # Python remembers one that passed through `exec` of a text, as imports do it, until the
    # next such `exec`, and would have `python -m` end by the signal instead of with its code.
    exec("")  # noqa: S102
