"""What was done with a machine, as the litmus scenario that does it again."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from gupstress.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Pages(Protocol):
    """Some pages of a mapping."""

    @property
    def start(self) -> int:
        """The first."""

    @property
    def stop(self) -> int:
        """The one after the last."""


class Script:
    """The steps so far, in the words of a scenario."""

    def __init__(self) -> None:
        self._lines: list[tuple[str, bool]] = []
        """Each with whether it is a step; else it is a comment."""
        self._names: dict[int, str] = {}
        self._sizes: dict[int, int] = {}
        self._cpu = 0

    def map(self, number: int, pages: int, kind: str) -> None:
        """Add a mapping, and give it a name."""
        at = len(self._names)
        self._names[number] = chr(ord("a") + at) if at < _LETTERS else f"m{at}"
        self._sizes[number] = pages
        self._lines.append((f"map {self._names[number]} {pages} {kind}", True))

    def name(self, number: int) -> str:
        """Return the name of a mapping."""
        return self._names[number]

    def words(self, word: str, number: int, pages: _Pages) -> str:
        """Return a step on pages of a mapping."""
        if word in ("hold", "release"):
            return f"{word} {self._names[number]} {pages.start}"
        whole = (pages.start, pages.stop) == (0, self._sizes[number])
        part = "" if whole else f" {pages.start} {pages.stop}"
        return f"{word} {self._names[number]}{part}"

    @contextmanager
    def adding(self, cpu: int, *steps: str) -> Iterator[None]:
        """Add steps on a CPU, unless the machine refuses what is done meanwhile."""
        before, was = len(self._lines), self._cpu
        if cpu != self._cpu:
            self._cpu = cpu
            self._lines.append((f"cpu {cpu}", True))
        self._lines += [(step, True) for step in steps]
        try:
            yield
        except MachineError:
            del self._lines[before:]
            self._cpu = was
            raise

    def remark(self, text: str) -> None:
        """Add what no step does."""
        self._lines.append((text, False))

    def toml(self, name: str, cpus: int, kernel: str, policy: str) -> str:
        """Return the scenario as a file."""
        lines = [
            f"    {json.dumps(text)}," if is_step else f"    # {text}"
            for text, is_step in self._lines
        ]
        return "\n".join(
            [
                f"# kernel {kernel}, policy {policy}",
                f"name = {json.dumps(name)}",
                f"cpus = {cpus}",
                "steps = [",
                *lines,
                "]",
                "",
            ]
        )


_LETTERS = 26
"""Mappings that are called by one."""
