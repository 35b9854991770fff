"""What was done with a machine, as the litmus scenario that does it again."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gupstress.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Iterator

_LETTERS = 26
"""Mappings that are called by one."""


_OF_PAGES = ("hold", "vhold", "release", "lock", "unlock", "startwriteback", "endwriteback")
"""Words that take no mapping without its pages."""


class Script:
    """The steps so far, in the words of a scenario."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._names: dict[int, str] = {}
        self._sizes: dict[int, int] = {}
        self._cpu = 0

    def map(self, number: int, pages: int, kind: str) -> None:
        """Add a mapping, and give it a name."""
        at = len(self._names)
        self._names[number] = chr(ord("a") + at) if at < _LETTERS else f"m{at}"
        self._sizes[number] = pages
        self._step(f"map {self._names[number]} {pages} {kind}")

    @contextmanager
    def adding(
        self,
        word: str,
        *numbers: int,
        cpu: int = 0,
        mapping: int | None = None,
        tail: tuple[str, ...] = (),
    ) -> Iterator[None]:
        """Add a step, unless the machine refuses what is done meanwhile.

        Args:
            word: Of the step.
            numbers: What follows the mapping's name: its pages, or a count.
            cpu: Where it is done.
            mapping: The number of the mapping that it is done to.
            tail: What comes last.
        """
        before, was = len(self._lines), self._cpu
        if cpu != self._cpu and word != "settle":
            self._cpu = cpu
            self._step(f"cpu {cpu}")
        words = [word]
        if mapping is not None:
            words.append(self._names[mapping])
        # All of a mapping needs no numbers; only what takes some pages for granted does.
        if word in _OF_PAGES or mapping is None or numbers != (0, self._sizes[mapping]):
            words += map(str, numbers)
        self._step(" ".join((*words, *tail)))
        try:
            yield
        except MachineError:
            del self._lines[before:]
            self._cpu = was
            raise

    def remark(self, text: str) -> None:
        """Add what no step says."""
        self._lines.append(f"# {text}")

    def _step(self, text: str) -> None:
        self._lines.append(f"{json.dumps(text)},")

    def toml(self, name: str, cpus: int, kernel: str, policy: str) -> str:
        """Return the scenario as a file."""
        return "\n".join(
            [
                f"# kernel {kernel}, policy {policy}",
                f"name = {json.dumps(name)}",
                f"cpus = {cpus}",
                "steps = [",
                *(f"    {line}" for line in self._lines),
                "]",
                "",
            ]
        )
