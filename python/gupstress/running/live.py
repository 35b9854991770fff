"""The same questions to a real kernel: this host's, or a guest's.

Whoever is asked answers in JSON objects, one a line, and closes with the number of those
before: an answer without that is not whole, whatever else was said.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from gupstress import _core
from gupstress.errors import ConfigError, InconclusiveError, ResourceError, UnavailableError
from gupstress.running.lines import Lines

Request = Mapping[str, Any]
Answer = Mapping[str, Any]


class Target(Protocol):
    """Someone who can be asked about a kernel."""

    def ask(self, request: Request, wall_s: float) -> Iterator[Answer]:
        """Yield what is answered, as it comes; the closing line is not among it.

        Args:
            request: What is asked.
            wall_s: Longest time that is waited for one line.

        Raises:
            InconclusiveError: The answer is not whole.
            UnavailableError: Something that is needed is not there.
        """


def read(line: str, before: int) -> Answer | None:
    """Read one line of an answer; None for the closing one.

    Args:
        line: What came.
        before: Lines of this answer before it.

    Raises:
        InconclusiveError: What came is no line of an answer.
        UnavailableError: What is missing there.
    """
    try:
        answer = json.loads(line)
    except ValueError:
        raise InconclusiveError(f"what came is no answer: {line[:80]!r}") from None
    if not isinstance(answer, dict):
        raise InconclusiveError(f"what came is no answer: {line[:80]!r}")
    if (end := answer.get("end")) is not None:
        if end != before:
            raise InconclusiveError(f"{before} lines came of {end}")
        return None
    if (missing := answer.get("unavailable")) is not None:
        raise UnavailableError(str(missing))
    if (wrong := answer.get("error")) is not None:
        raise ConfigError([("", str(wrong))])
    return answer


_ANSWER = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL);"
    " from gupstress import _core; _core.answer_live()"
)


class Here:
    """The kernel of this host, asked by a process that does nothing else.

    A pin that spins in the kernel ends with its process only, so the process is killed
    when its time is over; what it held is then given back by the kernel.
    """

    def ask(self, request: Request, wall_s: float) -> Iterator[Answer]:
        """Yield what is answered; see `Target`."""
        try:
            process = subprocess.Popen(  # noqa: S603 -- this very program
                [sys.executable, "-c", _ANSWER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                preexec_fn=_core.end_with_parent,
            )
        except OSError as error:
            raise ResourceError(f"no process to measure with: {error.strerror}") from error
        assert process.stdin is not None  # noqa: S101 -- for the type checker
        assert process.stdout is not None  # noqa: S101 -- for the type checker
        told = 0
        try:
            with Lines({"answer": os.dup(process.stdout.fileno())}) as lines, process.stdout:
                with process.stdin as asked:
                    asked.write(json.dumps(request).encode())
                while (line := lines.next(wall_s)) is not None:
                    answer = read(line.text, told)
                    if answer is None:
                        return
                    told += 1
                    yield answer
            raise InconclusiveError(f"the measuring process ended after {told} lines of its answer")
        except TimeoutError:
            raise InconclusiveError(_silence(told, wall_s)) from None
        finally:
            process.kill()
            process.wait()
            _core.clear_probes(process.pid)


def _silence(told: int, wall_s: float) -> str:
    limit = _core.show_duration(wall_s)
    return f"no answer within {limit} after {told} lines; nearest: a longer --wall-timeout"
