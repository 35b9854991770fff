"""Found schedules that are kept: one for each bad cell of the matrix, as small as it gets.

They belong to a version of the machine. After a change of it `just schedules` makes them
anew, which is this file run by itself; with words, only those whose names have one of them.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import gupstress
from gupstress.model import catalog
from gupstress.outcome.exploration import Found

FOLDER = Path(__file__).parent.parent / "schedules"
AGAIN = "just schedules"
"""What makes them anew."""

MOST_THREADS = 3

_SEARCHES = (
    {"strategy": "random"},
    {"strategy": "pct"},
    {"strategy": "bounded", "preemptions": 2},
)
_SIZES = (
    {"threads": 2},
    {"threads": 2, "pages": 2, "calls": 2},
    {"threads": 3, "pages": 4, "calls": 3},
)
_SCHEDULES = 2000


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
    """Search for what a cell shows, in ever larger loads; None: it is not found."""
    for size in _SIZES:
        for search in _SEARCHES:
            result = gupstress.explore(
                cell.profile,
                policy=cell.policy,
                find=cell.kind,
                schedules=_SCHEDULES,
                seed=1,
                timeout="1h",
                shrink="1h",
                **size,  # type: ignore[arg-type]
                **search,  # type: ignore[arg-type]
            )
            if result.findings:
                return result.findings[0]
    return None


def main() -> int:
    """Make the files anew, and drop those of cells that are no more."""
    wanted = list(cells())
    for file in set(FOLDER.glob("*.json")) - {cell.file for cell in wanted}:
        file.unlink()
    missing = []
    for cell in wanted:
        if sys.argv[1:] and not any(word in cell.file.name for word in sys.argv[1:]):
            continue
        found = find(cell)
        if found is None:
            missing.append(cell)
            print(f"{cell.file.name}: not found", file=sys.stderr)
            continue
        cell.file.write_text(json.dumps(found.file, separators=(",", ":")) + "\n")
        threads = sum(not name.startswith("kworker") for name in found.file["tasks"])
        said = f"{cell.file.name}: {threads} threads, {found.preemptions} preemptions"
        print(said, flush=True)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
