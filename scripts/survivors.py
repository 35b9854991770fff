"""What no test is to notice of what cargo-mutants changes, each with the reason.

A row of the list names a file, a function, a line of it with what is changed between « and »,
what stands there instead, and why no test notices; `OPEN` if nobody has found out so far.
"""

from __future__ import annotations

import csv
import re
from typing import NamedTuple

from schemata import ROOT

LIST = ROOT / "tests/mutation/survivors.csv"
OPEN = "open"


class Change(NamedTuple):
    """A change by what it is, wherever its line stands by now."""

    file: str
    function: str
    line: str
    change: str


def listed() -> dict[Change, str]:
    """The reason of each."""
    with LIST.open(encoding="utf-8", newline="") as lines:
        return {
            Change(*(row[field] for field in Change._fields)): row["reason"]
            for row in csv.DictReader(lines)
        }


def written(rows: dict[Change, str]) -> None:
    """Write the list anew, in order."""
    LIST.parent.mkdir(parents=True, exist_ok=True)
    with LIST.open("w", encoding="utf-8", newline="") as lines:
        out = csv.writer(lines, lineterminator="\n")
        out.writerow([*Change._fields, "reason"])
        out.writerows([*change, reason] for change, reason in sorted(rows.items()))


def wrong() -> list[str]:
    """What of the list is not as the sources have it."""
    rows = listed()
    found = [f"{LIST.name}: {len(rows)} rows, out of order"] if list(rows) != sorted(rows) else []
    texts: dict[str, str] = {}
    for row, reason in rows.items():
        if row.file not in texts:
            path = ROOT / row.file
            texts[row.file] = path.read_text(encoding="utf-8") if path.exists() else ""
        text = texts[row.file]
        plain = row.line.replace("«", "").replace("»", "")
        name = row.function.rpartition("::")[2].partition("<")[0]
        if plain not in text or not re.search(rf"\bfn {re.escape(name)}\b", text):
            found.append(f"{row.file}: not there: {row.function}: {row.line}")
        if not reason.strip():
            found.append(f"{row.file}: no reason: {row.function}: {row.line}")
    return found
