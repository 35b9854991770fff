"""Explorations: searches for the interleaving that goes wrong, and replays of what they found."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from secrets import randbits
from typing import TYPE_CHECKING, Any, NamedTuple

from gupstress import _core
from gupstress.errors import ConfigError
from gupstress.model.reference import KERNEL, reference
from gupstress.outcome.exploration import ExploreResult, ReplayResult
from gupstress.values import is_file

if TYPE_CHECKING:
    from gupstress.model.policy import Policy
    from gupstress.running.cluster import Spread

STRATEGIES = ("random", "pct", "bounded")
FORMATS = ("text", "markdown", "html")


@dataclass(frozen=True)
class Exploration:
    """Everything that a search depends on; the defaults are those of the command line."""

    profile: str = "isolation-race"
    """A profile, or a litmus scenario with threads."""
    policy: "str | Policy" = "kernel"
    """`kernel` is the rule set's own."""
    kernel: str = KERNEL
    sets: tuple[tuple[str, str], ...] = ()
    threads: int | None = None
    pages: int | None = None
    calls: int | None = None
    """What a profile is cut to; None: two threads, one page, one call."""
    strategy: str = "random"
    preemptions: int = 2
    depth: int = 3
    yield_every: int = 1
    schedules: int | None = None
    """None: 20,000, and all there are for a bounded search."""
    timeout_s: float = 60.0
    find: tuple[str, ...] | None = None
    """None: all but needless failures, which are so common that they are asked for."""
    keep_going: bool = False
    seed: int | None = None
    """None: drawn."""
    workers: int | None = None
    """None: as many as there are CPUs."""
    shrink_s: float = 10.0
    """Longest time for making findings smaller."""
    drawn: int = field(default_factory=lambda: randbits(32))

    @property
    def files(self) -> list[str]:
        """The files among the names."""
        names = (self.profile, self.policy, self.kernel)
        return [name for name in names if isinstance(name, str) and is_file(name)]

    def request(self, **changes: Any) -> str:
        """Return it as the core wants it, with some of it changed."""
        return json.dumps(
            {
                "profile": _load(self.profile),
                "policy": reference(self.policy, "policy"),
                "kernel": reference(self.kernel, "kernel"),
                "sets": self.sets,
                "threads": self.threads,
                "pages": self.pages,
                "calls": self.calls,
                "strategy": self.strategy,
                "preemptions": self.preemptions,
                "depth": self.depth,
                "yield_every": self.yield_every,
                "schedules": self.schedules,
                "timeout_s": self.timeout_s,
                "find": None if self.find is None else list(dict.fromkeys(self.find)),
                "keep_going": self.keep_going,
                "seed": self.drawn if self.seed is None else self.seed,
                "workers": self.workers or len(os.sched_getaffinity(0)),
                "shrink_s": self.shrink_s,
                **changes,
            }
        )


def _load(name: str) -> "Mapping[str, str]":
    """Return a profile as the core wants it, or a scenario."""
    if name in _core.names("litmus"):
        return {"name": name}
    return reference(name, "profile")


def run(
    exploration: Exploration,
    observer: Callable[[Mapping[str, Any]], None] | None = None,
    over: "Spread | None" = None,
) -> ExploreResult:
    """Search; `observer` is told now and then how far the search is.

    Ctrl-C ends the search; what was found so far is the result. It is the same whoever
    searches: `over` says who does, None: this process.

    Raises:
        ConfigError: Everything that is wrong with the request, at once.
    """
    if over is not None:
        return _spread(exploration, over)
    told = None if observer is None else lambda text: observer(json.loads(text))
    return ExploreResult.of(json.loads(_core.explore(exploration.request(), told)))


_PARTS = 64
"""Parts that a search is cut into for others: many, as the first that finds something ends it."""


class _Part(NamedTuple):
    """Some batches of a search."""

    request: str
    first: int
    end: int


def _search(part: _Part) -> str:
    """Do a part wherever this is."""
    return _core.explore_part(*part)


def _spread(exploration: Exploration, over: "Spread") -> ExploreResult:
    """Have others search, and put together what they found."""
    began = time.monotonic()
    batches = _core.explore_batches(exploration.request())
    size = max(batches // _PARTS, 1)

    def parts() -> Iterator[_Part]:
        for first in range(0, batches, size):
            left = max(exploration.timeout_s - (time.monotonic() - began), 0.001)
            yield _Part(exploration.request(timeout_s=left, workers=1), first, first + size)

    texts: list[str] = []
    stopped, schedules, most = None, 0, exploration.schedules or inf
    try:
        for text in over(_search, parts()):
            texts.append(text)
            part = json.loads(text)
            stopped = part["stopped"]
            schedules += sum(batch["schedules"] for batch in part["batches"].values())
            if part["over"] or stopped is not None or schedules >= most:
                break
    except KeyboardInterrupt:
        stopped = "interrupted"
    elapsed_s = time.monotonic() - began
    found = _core.explore_gather(exploration.request(), texts, stopped, elapsed_s)
    return ExploreResult.of(json.loads(found))


def replay(path: str | os.PathLike[str], format_: str = "text") -> ReplayResult:
    """Run a schedule file again and tell it as `text`, `markdown` or `html`.

    Raises:
        ConfigError: The file cannot be read, is no schedule or one of another version.
    """
    place, text = read(path)
    return ReplayResult.model_validate(json.loads(_core.replay(place, text, format_)))


def trace(path: str | os.PathLike[str]) -> str:
    """Return the trace of a schedule file as a JSON array of Trace Events.

    Raises:
        ConfigError: As from `replay`.
    """
    place, text = read(path)
    return "[" + _core.trace_schedule(place, text) + "]\n"


def read(path: str | os.PathLike[str]) -> tuple[str, str]:
    """Return a file's name and its text.

    Raises:
        ConfigError: It cannot be read.
    """
    place = os.fspath(path)
    try:
        return place, Path(place).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError([(place, f"cannot be read: {reason}")]) from error
