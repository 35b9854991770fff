"""The shapes of contention on real kernels, in the page that shows them beside the simulator's.

That the simulator still gives what stands there is for the test of generated parts to see.
"""

import re
from collections import defaultdict
from statistics import fmean

import pytest

from pages import ROOT

Cell = dict[str, float]


def cells() -> dict[tuple[str, int], dict[int, Cell]]:
    """Return the simulator's table: by kernel and pages, then by threads."""
    page = (ROOT / "docs/fidelity.md").read_text(encoding="utf-8")
    part = re.search(r"<!-- generated: contention -->\n\n(.*?)\n\n<!-- end -->", page, re.DOTALL)
    assert part is not None
    head, _, *rows = (
        [cell.strip() for cell in line.split("|")[1:-1]] for line in part[1].split("\n")
    )
    found: dict[tuple[str, int], dict[int, Cell]] = defaultdict(dict)
    for kernel, pages, threads, *numbers in rows:
        known = zip(head[3:], numbers, strict=True)
        found[kernel, int(pages)][int(threads)] = {
            name: float(number.rstrip("%")) for name, number in known if number != "-"
        }
    return found


CELLS = cells()

each = pytest.mark.parametrize(("kernel", "pages"), CELLS)


@each
def test_one_thread_never_fails_and_acquires_every_page_twice(kernel: str, pages: int) -> None:
    alone = CELLS[kernel, pages][1]
    assert (alone["ENOMEM"], alone["acquired"], alone["failed"]) == (0, 2, 0)


@each
def test_needless_failures_begin_with_two_threads_and_grow(kernel: str, pages: int) -> None:
    shares = [cell["ENOMEM"] for _, cell in sorted(CELLS[kernel, pages].items())]
    # With more threads than CPUs, who waits for a CPU is in nobody's way.
    assert shares[:3] == sorted(shares[:3])
    assert shares[1] >= 3
    assert shares[3] > shares[1]


@each
def test_every_page_is_migrated_once_a_round(kernel: str, pages: int) -> None:
    assert all(cell["migrated"] == 1 for cell in CELLS[kernel, pages].values())


@pytest.mark.parametrize("kernel", sorted({kernel for kernel, _ in CELLS}))
def test_acquisitions_of_few_pages_grow_with_the_threads(kernel: str) -> None:
    acquired = [cell["acquired"] for _, cell in sorted(CELLS[kernel, 4].items())]
    assert acquired == sorted(acquired)


BUSY = "linux-6.12.117"
"""Counted on a host that had much else to do, which says more about the host."""


def test_shares_are_near_those_of_real_kernels() -> None:
    rows = [row for (kernel, _), row in CELLS.items() if kernel != BUSY]
    every = [cell for row in rows for cell in row.values() if "real: ENOMEM" in cell]
    apart = [abs(cell["ENOMEM"] - cell["real: ENOMEM"]) for cell in every]
    assert len(apart) == 24
    assert fmean(apart) <= 18
