"""Progress: a line now and then, which names the step where nothing moves."""

import io

from gupstress import progress
from gupstress.engine import Snapshot


def now(elapsed_s: float, pinned: int) -> Snapshot:
    return {
        "elapsed_s": elapsed_s,
        "pinned": pinned,
        "target": 1000,
        "calls": {},
        "drain_all": 3,
        "pages_per_s": 20.0,
        "step": "collect:isolate",
    }


def lines(*snapshots: Snapshot) -> list[str]:
    stream = io.StringIO()
    with progress.watch(stream)("bounded") as observe:
        assert observe is not None
        for snapshot in snapshots:
            observe(snapshot)
    return stream.getvalue().splitlines()


def test_lines_come_now_and_then() -> None:
    tenths = [now(tenth / 10, tenth) for tenth in range(1, 121)]
    assert lines(*tenths) == [
        "gupstress: bounded: 5 s, 50/1000 page pins, 20/s, 3 drains",
        "gupstress: bounded: 10 s, 100/1000 page pins, 20/s, 3 drains",
    ]


def test_no_progress_names_the_step() -> None:
    first, second = lines(now(5.0, 7), now(10.0, 7))
    assert "no progress" not in first
    assert second.endswith("no progress, most threads in collect:isolate")
