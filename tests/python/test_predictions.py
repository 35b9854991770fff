"""What the simulator predicts of a real kernel's free loop holds: the page docs/predictions.md."""

import pytest

import gupstress
from predictions import Cell, cells, spearman


def test_ranks_correlate_by_spearman() -> None:
    def made(*rates: tuple[float, float]) -> list[Cell]:
        return [Cell(8, "p", one, (one, one), other, 0, 0) for one, other in rates]

    assert spearman(made((1, 10), (2, 20), (3, 30))) == pytest.approx(1)
    assert spearman(made((1, 30), (2, 20), (3, 10))) == pytest.approx(-1)
    # Scipy's, of the same numbers: 0.9486832980505138.
    assert spearman(made((1, 1), (2, 2), (3, 3), (4, 3))) == pytest.approx(0.9486832980505138)


def test_a_migration_waits_until_the_host_has_run_the_others() -> None:
    def median(threads: int, host_cpus: int) -> float:
        run = gupstress.run(
            "free-loop",
            policy="linux-7.2",
            driver="sim",
            cpus=2,
            threads=threads,
            pins=4000,
            seed=1,
            sets={
                "ranges.private": True,
                "ranges.pages": 4,
                "host.cpus": host_cpus,
                "pinner.pages_min": 4,
                "pinner.pages_max": 4,
                "pinner.zap": 1.0,
            },
        )
        (result,) = run.results
        assert result.latency_ns.p50 is not None
        return result.latency_ns.p50

    alone = median(1, 1)
    assert alone == pytest.approx(median(2, 0), rel=0.02)
    # Turns are many calls long: it is for the flush that it waits.
    assert median(2, 1) > 1.5 * alone


@pytest.mark.parametrize(("pages", "took_ns"), [(4, 28_000), (64, 418_000)])
def test_a_pin_of_one_thread_takes_what_it_took_on_the_patched_kernel(
    pages: int, took_ns: int
) -> None:
    sizes = {"pinner.pages_min": pages, "pinner.pages_max": pages}
    (result,) = gupstress.run(
        "same-range",
        policy="linux-7.2",
        kernel="linux-6.12.117",
        driver="sim",
        threads=1,
        pins=20 * pages,
        seed=1,
        sets={"costs.base": "tcg-icount-patched", **sizes},
    ).results
    assert result.latency_ns.mean == pytest.approx(took_ns, rel=0.03)


def test_who_looks_first_drains_before_it_waits_for_what_nobody_would_wake_it() -> None:
    # A thread that moves leaves pages in the batches of CPUs that it has been on.
    look, mainline = gupstress.run(
        "free-loop",
        policy=["look", "linux-7.2"],
        kernel="linux-6.12.117",
        driver="sim",
        cpus=4,
        threads=1,
        pins=20_000,
        seed=1,
        sets={"pinner.migrate_cpu": 0.1},
    ).results
    assert look.counters.drain_all
    assert look.counters.owner_waits == 0
    assert look.throughput.pages_per_s is not None
    assert mainline.throughput.pages_per_s is not None
    assert look.throughput.pages_per_s > 0.8 * mainline.throughput.pages_per_s


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_the_free_loop_is_as_a_real_kernel_has_it(capsys: pytest.CaptureFixture[str]) -> None:
    found = list(cells())
    by_threads = {
        threads: [c for c in found if c.threads == threads] for c in found if (threads := c.threads)
    }
    with capsys.disabled():
        for threads, of in by_threads.items():
            print(f"\n{threads} threads: Spearman {spearman(of):.2f}", end="")  # noqa: T201
    assert min(spearman(of) for of in by_threads.values()) >= 0.9
    rate = {(cell.threads, cell.policy): cell.predicted for cell in found}
    failed = {(cell.threads, cell.policy): cell.failed for cell in found}
    # At the edge of its collapse: half of it and twice the failures on costs 1.2 times these.
    assert rate[64, "backoff"] < rate[64, "backoff, drain unpinned"] / 40
    assert failed[64, "backoff"] > 0.08
    assert min(failed[threads, "backoff"] for threads in (128, 256)) > 0.5
    assert rate[128, "cooperative"] < rate[8, "cooperative"] / 20
    assert rate[256, "cooperative"] < rate[8, "cooperative"] / 50
    # Who looks first gets slower with threads, and a ticket mends that.
    assert rate[8, "look"] > 1.4 * rate[256, "look"]
    assert all(rate[threads, "look + ticket"] > rate[threads, "look"] for threads in (128, 256))
    # To the whole per cent in which it was measured.
    wrong = {
        (cell.threads, cell.policy): cell.failed
        for cell in found
        if cell.measured_failed == 0 and round(cell.failed, 2) > 0
    }
    assert wrong.pop((128, "cooperative"), 0) < 0.06
    assert wrong.pop((256, "backoff, drain unpinned"), 0) < 0.01
    assert not wrong
