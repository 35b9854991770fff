#!/usr/bin/env python3
"""Takes what a page shows out of the results of its job: docs/thousand_cpus.py JOB.json.

Writes docs/thousand-cpus.csv, a line for each profile, size and policy; times in nanoseconds.
"""

import csv
import json
import sys
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("thousand-cpus.csv")

_COUNTED = ("drain_all", "drain_shortcut", "drain_idle", "drain_work", "drain_all_ns", "sweeps")


def line(name: str, result: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of one result, of the section `PROFILE-CPUS`."""
    profile, _, cpus = name.rpartition("-")
    calls, latency = result["calls"], result["latency_ns"]
    return {
        "profile": profile,
        "cpus": cpus,
        "policy": result["policy"],
        "calls": calls["issued"],
        "needless": calls["failed_spurious"],
        "unsafe": calls["pinned_unsafe"],
        "pages_per_s": round(result["throughput"]["pages_per_s"]),
        "p50": round(latency["p50"]),
        "p99": round(latency["p99"]),
        **{key: result["counters"][key] for key in _COUNTED},
    }


def main() -> None:
    """Write the file."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sections = [(section["name"], section["run"]) for section in job["sections"]]
    lines = [line(name, result) for name, run in sections for result in run["results"]]
    with FILE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, lines[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


if __name__ == "__main__":
    main()
