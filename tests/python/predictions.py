"""What the simulator predicts for a load, beside what a real kernel was measured to do.

`python tests/python/predictions.py` prints it as Markdown.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import gupstress

MEASURED = Path(__file__).resolve().parents[2] / "data/measured/free-loop.json"

PINS = 400_000
TIMEOUT_S = 40.0
"""Of virtual time, where so many pins are too many: calls give up after 4 s of it."""

SEEDS = range(1, 6)
"""What is predicted is their mean: some policies are nearer to each other than two seeds of one."""


@dataclass(frozen=True)
class Cell:
    """One policy at one number of threads."""

    threads: int
    policy: str
    predicted: float
    """Page pins a second, mean of the seeds."""
    spread: tuple[float, float]
    """Least and most of them."""
    measured: float
    failed: float
    """Share of the calls that failed needlessly, predicted."""
    measured_failed: float


def cells(threads: Sequence[int] = (), seeds: Sequence[int] = SEEDS) -> Iterator[Cell]:
    """Yield each measured cell with its prediction, by threads; none: all of them."""
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))
    for cell in measured["cells"]:
        if threads and cell["threads"] not in threads:
            continue
        variant = measured["policies"][cell["policy"]]
        runs = [_predict(measured, variant, cell["threads"], seed) for seed in seeds]
        rates = [rate for rate, _ in runs]
        yield Cell(
            threads=cell["threads"],
            policy=cell["policy"],
            predicted=mean(rates),
            spread=(min(rates), max(rates)),
            failed=mean(failed for _, failed in runs),
            measured=cell["pages_per_s"],
            measured_failed=cell["failed_percent"] / 100,
        )


def _predict(
    measured: dict[str, Any], variant: dict[str, Any], threads: int, seed: int
) -> tuple[float, float]:
    """Return the rate and the share that failed needlessly."""
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
    rate = result.throughput.pages_per_s or 0.0
    return rate, result.calls.failed_spurious / max(result.calls.issued, 1)


def spearman(cells_: Sequence[Cell]) -> float:
    """Return the rank correlation of predicted and measured rates (Spearman, 1904)."""
    first, second = (
        _ranks([getattr(cell, name) for cell in cells_]) for name in ("predicted", "measured")
    )
    n = len(cells_)
    middle = (n + 1) / 2
    top = sum((a - middle) * (b - middle) for a, b in zip(first, second, strict=True))
    spread = [sum((a - middle) ** 2 for a in ranks) for ranks in (first, second)]
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
    columns = ("threads", "policy", "pages/s", "of seeds", "measured", "failed", "measured")
    out.write(f"| {' | '.join(columns)} |\n|---:|---|---:|---:|---:|---:|---:|\n")
    by_threads: dict[int, list[Cell]] = {}
    for cell in cells([int(word) for word in sys.argv[1:]]):
        by_threads.setdefault(cell.threads, []).append(cell)
        out.write(
            f"| {cell.threads} | {cell.policy} | {cell.predicted:,.0f} "
            f"| {cell.spread[0]:,.0f} – {cell.spread[1]:,.0f} | {cell.measured:,.0f} "
            f"| {cell.failed:.1%} | {cell.measured_failed:.0%} |\n"
        )
        out.flush()
    out.write("\n| threads | Spearman |\n|---:|---:|\n")
    for threads, found in by_threads.items():
        out.write(f"| {threads} | {spearman(found):.2f} |\n")


if __name__ == "__main__":
    main()
