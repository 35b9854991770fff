"""What the simulator predicts for a load, beside what a real kernel was measured to do.

`python tests/python/predictions.py` prints it as Markdown.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gupstress

MEASURED = Path(__file__).resolve().parents[2] / "data/measured/free-loop.json"

PINS = 400_000
TIMEOUT_S = 40.0
"""Of virtual time, where so many pins are too many: calls give up after 4 s of it."""


@dataclass(frozen=True)
class Cell:
    """One policy at one number of threads."""

    threads: int
    policy: str
    predicted: float
    """Page pins a second."""
    measured: float
    failed: float
    """Share of the calls that failed needlessly, predicted."""
    measured_failed: float


def cells(threads: Sequence[int] = (), seed: int = 1) -> Iterator[Cell]:
    """Yield each measured cell with its prediction, by threads; none: all of them."""
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))
    for cell in measured["cells"]:
        if threads and cell["threads"] not in threads:
            continue
        variant = measured["policies"][cell["policy"]]
        yield Cell(
            threads=cell["threads"],
            policy=cell["policy"],
            **_predict(measured, variant, cell["threads"], seed),
            measured=cell["pages_per_s"],
            measured_failed=cell["failed_percent"] / 100,
        )


def _predict(
    measured: dict[str, Any], variant: dict[str, Any], threads: int, seed: int
) -> dict[str, float]:
    run = gupstress.run(
        measured["profile"],
        policy=variant["base"],
        sets=variant["set"],
        kernel=measured["kernel"],
        cpus=measured["cpus"],
        threads=threads,
        driver="sim",
        pins=PINS,
        timeout=TIMEOUT_S,
        stall_after=10,
        seed=seed,
    )
    (result,) = run.results
    return {
        "predicted": result.throughput.pages_per_s or 0.0,
        "failed": result.calls.failed_spurious / max(result.calls.issued, 1),
    }


def spearman(cells_: Sequence[Cell]) -> float:
    """Return the rank correlation of predicted and measured rates (Spearman, 1904)."""
    first, second = (
        _ranks([getattr(cell, name) for cell in cells_]) for name in ("predicted", "measured")
    )
    n = len(cells_)
    mean = (n + 1) / 2
    top = sum((a - mean) * (b - mean) for a, b in zip(first, second, strict=True))
    spread = [sum((a - mean) ** 2 for a in ranks) for ranks in (first, second)]
    return float(top / (spread[0] * spread[1]) ** 0.5)


def _ranks(values: Sequence[float]) -> list[float]:
    """Return each value's rank from 1; equal ones share theirs."""
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2
        for value in values
    ]


def main() -> None:
    """Print the table."""
    out = sys.stdout
    out.write("| threads | policy | rate predicted | measured | failed predicted | measured |\n")
    out.write("|---:|---|---:|---:|---:|---:|\n")
    by_threads: dict[int, list[Cell]] = {}
    for cell in cells([int(word) for word in sys.argv[1:]]):
        by_threads.setdefault(cell.threads, []).append(cell)
        out.write(
            f"| {cell.threads} | {cell.policy} | {cell.predicted:,.0f} | {cell.measured:,.0f} "
            f"| {cell.failed:.1%} | {cell.measured_failed:.0%} |\n"
        )
        out.flush()
    out.write("\n| threads | Spearman |\n|---:|---:|\n")
    for threads, found in by_threads.items():
        out.write(f"| {threads} | {spearman(found):.2f} |\n")


if __name__ == "__main__":
    main()
