"""Progress: a line now and then, which names the step where nothing moves, and a live table."""

import io

import pytest
from rich.console import Console
from rich.text import Text

from gupstress.running import progress, runner
from gupstress.running.engine import Snapshot
from gupstress.running.request import Request
from gupstress.running.runner import Turn

BOUNDED = Turn("bounded", 1, 1)


def now(elapsed_s: float, pages: int, **calls: int) -> Snapshot:
    return {
        "wall_s": elapsed_s,
        # On the simulator next to nothing.
        "elapsed_s": elapsed_s / 1e6,
        "pinned": pages,
        "target": 1000,
        "done": pages / 1000,
        "calls": calls,
        "drain_all": 3,
        "pages_per_s": 20.0,
        "step": "collect:isolate",
    }


def lines(*snapshots: Snapshot, under: str = "", turn: Turn = BOUNDED) -> list[str]:
    stream = io.StringIO()
    with progress.watch(stream, under)(turn) as observe:
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


def test_a_line_names_the_repeat_and_what_the_runs_have_in_common() -> None:
    (line,) = lines(now(5.0, 7), under="oom (4/15)", turn=Turn("none", 2, 7))
    assert line.startswith("gupstress: oom (4/15) none 2/7: 5 s")


class Screen(io.StringIO):
    """A terminal that keeps all that was written to it."""

    def isatty(self) -> bool:
        return True


def shown(width: int) -> str:
    """Show two policies, the second in its third repeat, and return all that was written."""
    screen = Screen()
    console = Console(file=screen, width=width, force_terminal=True)
    watch = progress.live(console)
    with watch(BOUNDED) as observe:
        assert observe is not None
        observe(now(1.0, 910, pinned=30, failed_spurious=9, failed_justified=1))
    with watch(Turn("linux-7.2", 3, 7)) as observe:
        assert observe is not None
        observe(now(61.4, 250, pinned=4, stuck=2))
    return Text.from_ansi(screen.getvalue()).plain


def test_the_live_table_has_a_row_for_each_policy() -> None:
    out = shown(80)
    last = out[out.rindex("policy") :]
    rows = [line.split() for line in last.splitlines()]
    heads = ["policy", "time", "done", "pins/s", "failed", "stuck", "drains", "most"]
    assert rows[0][:8] == heads
    assert rows[2] == ["bounded", "1s", "over", "20", "25%", "0", "0.075", "collect:isolate"]
    assert rows[3][:8] == ["linux-7.2", "3/7", "61s", "25%", "20", "0", "2", "0.5"]


def test_what_is_told_last_is_the_end_of_the_run() -> None:
    job = runner.prepare(
        Request(policies=("bounded",), driver="sim", seed=1, pins=10**9, sets=(("calls", "400"),))
    )
    told: list[Snapshot] = []
    row = job.plan.run(0, 1, told.append)
    last = told[-1]
    assert last["calls"] | {"issued": row["calls"]["issued"]} == row["calls"]
    assert (last["pinned"], last["drain_all"]) == (
        row["pages"]["pinned"],
        row["counters"]["drain_all"],
    )
    # Nearly all of its calls, and next to none of its pins.
    assert last["done"] == 1
    assert all(0 <= now["done"] <= 1 for now in told)
    assert [now["wall_s"] for now in told] == sorted(now["wall_s"] for now in told)
    assert row["wall_s"] > 0


def test_the_live_table_fits_80_columns() -> None:
    assert max(map(len, shown(80).splitlines())) <= 80


def test_a_run_that_has_not_begun_has_an_empty_row() -> None:
    screen = Screen()
    with progress.live(Console(file=screen, width=80, force_terminal=True))(BOUNDED):
        pass
    assert "bounded" in screen.getvalue()


def test_a_terminal_gets_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    with progress.watch(screen)(BOUNDED) as observe:
        assert observe is not None
        observe(now(1.0, 10, pinned=1))
    assert "pins/s" in screen.getvalue()
