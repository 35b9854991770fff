"""Found schedules that are kept: one for each bad cell of the matrix, as small as it gets.

They belong to a version of the machine. After a change of it `just schedules` makes them
anew, which is this file run by itself; with words, only those whose names have one of them.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click

import gupstress
from gupstress.model import catalog
from gupstress.outcome.exploration import Found

FOLDER = Path(__file__).parent.parent / "schedules"
AGAIN = "just schedules"
"""What makes them anew."""

MOST_THREADS = 3

_SEARCHES: tuple[dict[str, Any], ...] = (
    {"threads": 2, "strategy": "bounded", "preemptions": 1},
    {"threads": 2, "strategy": "random"},
    {"threads": 2, "pages": 2, "calls": 2, "strategy": "pct"},
    {"threads": 2, "strategy": "bounded", "preemptions": 2},
    # Who is kept from going on long enough lets another use up all its tries.
    {"threads": 2, "strategy": "bounded", "preemptions": 1, "yield_every": 128},
    # Who has many pages isolated keeps another from them for long.
    {"threads": 2, "pages": 16, "strategy": "pct"},
    # Of three that pin parts of one large folio, some pin is nearly always in the way; with the
    # end of a round all but the last are through.
    {"threads": 3, "pages": 64, "strategy": "random"},
    {
        "threads": 3,
        "pages": 64,
        "strategy": "random",
        "sets": {"profile.pinner.rounds": False},
    },
)
_ACTORS = (
    "churn",
    "drainers",
    "reclaim",
    "compaction",
    "short_refs",
    "lockers",
    "writeback",
    "offliner",
    "contig",
    "forkers",
)
_SCHEDULES = 1000
_SHRINK = "4s"


class Bad(NamedTuple):
    """A cell of the matrix that a policy is expected to do badly in."""

    profile: str
    policy: str
    kind: str

    @property
    def file(self) -> Path:
        """Where its schedule is kept."""
        return FOLDER / f"{self.profile}-{self.policy}-{self.kind}.json"


def cells() -> Iterator[Bad]:
    """Yield the unsafe, stuck and spurious cells of the matrix."""
    for profile in catalog.profiles():
        for policy, verdict in catalog.preset("profile", profile).get("expect", {}).items():
            if verdict in ("unsafe", "stuck", "spurious"):
                yield Bad(profile, policy, verdict)


def find(cell: Bad) -> Found | None:
    """Search for what a cell shows, with nobody beside the pinners at first; None: not found."""
    beside = [name for name in _ACTORS if _threads(cell.profile, name)]
    for kept in (None, *beside):
        quiet: dict[str, Any] = {f"profile.{name}.threads": 0 for name in beside if name != kept}
        if kept is not None:
            # A pause longer than a run would keep it out of all of them.
            quiet |= {f"profile.{kept}.{key}": "1ns" for key in ("pause", "hold")}
        for search in _SEARCHES:
            result = gupstress.explore(
                cell.profile,
                policy=cell.policy,
                find=cell.kind,
                schedules=_SCHEDULES,
                seed=1,
                timeout="1h",
                shrink=_SHRINK,
                **{**search, "sets": {**quiet, **search.get("sets", {})}},
            )
            if result.findings:
                return result.findings[0]
    return None


def _threads(profile: str, actors: str) -> int:
    return int(catalog.preset("profile", profile).get(actors, {}).get("threads", 0))


def _kept(found: Found) -> str:
    """Return a file's text, in which nothing is explained."""
    settings = {
        key: "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
        if isinstance(text, str)
        else text
        for key, text in found.file["settings"].items()
    }
    return json.dumps({**found.file, "settings": settings}, separators=(",", ":")) + "\n"


def main() -> int:
    """Make the files anew, and drop those of cells that are no more."""
    wanted = list(cells())
    for file in set(FOLDER.glob("*.json")) - {cell.file for cell in wanted}:
        file.unlink()
    missing = False
    for cell in wanted:
        name = cell.file.stem
        if sys.argv[1:] and not any(word in name for word in sys.argv[1:]):
            continue
        cell.file.unlink(missing_ok=True)
        found = find(cell)
        if found is None:
            missing = True
            click.echo(f"{name}: not found")
            continue
        cell.file.write_text(_kept(found))
        threads = sum(not task.startswith("kworker") for task in found.file["tasks"])
        click.echo(f"{name}: {threads} threads, {found.preemptions} preemptions")
    return int(missing)


if __name__ == "__main__":
    sys.exit(main())
