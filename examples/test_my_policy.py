"""A stress suite for a retry policy: copy it, and put your policy in place of ours.

    pip install gupstress pytest
    gupstress show policy bounded > mine.toml
    MY_POLICY=mine.toml pytest test_my_policy.py

Most of it runs on the simulator, which takes turns by the seed alone: what fails once
fails again. The last test is on real threads, where nobody knows who comes first.
"""

import os

import pytest

POLICY = os.environ.get("MY_POLICY", "cooperative")
"""A name that `gupstress list policies` knows, or the path of a TOML file."""

pytestmark = pytest.mark.gupstress(policy=POLICY, driver="sim", seed=1, stall_after="200ms")


@pytest.mark.gupstress("contended", threads=16, pins=20_000)
@pytest.mark.parametrize("seed", range(1, 4))
def test_many_threads_pin_the_same_pages(gupstress_run, seed):
    result = gupstress_run(seed=seed)
    result.assert_live()
    result.assert_safe()
    result.assert_no_spurious()


@pytest.mark.parametrize(
    "profile",
    [
        "zero-page",
        "drain-race",
        "isolation-race",
        "mlock-batch",
        "lru-batch-ref",
        "short-refs",
        "writeback",
    ],
)
def test_what_passes_is_waited_for(gupstress_run, profile):
    result = gupstress_run(profile)
    result.assert_live()
    result.assert_safe()
    result.assert_no_spurious()


@pytest.mark.parametrize("profile", ["oom", "early-boot", "hwpoison", "prepinned", "cma-driver"])
def test_what_lasts_is_reported(gupstress_run, profile):
    result = gupstress_run(profile)
    result.assert_live()
    result.assert_safe()
    result.assert_threshold("calls.pinned==0", "calls.failed_justified>0")


def test_nothing_is_drained_where_nothing_waits(gupstress_run):
    result = gupstress_run("wasted-drain")
    result.assert_threshold("counters.drain_idle==0")


@pytest.mark.gupstress(cpus=4)
def test_a_page_in_the_mlock_batch_of_another_cpu_is_pinned(gupstress_machine):
    m = gupstress_machine()
    a = m.map(4, "shmem")
    m.mlock(a, cpu=1)
    m.touch(a, cpu=1)
    out = m.pin(a, cpu=0)
    assert out.klass == "pinned", out
    m.unpin(out)
    m.check()


@pytest.mark.gupstress(
    "contended", driver="os", seed=None, stall_after="2s", threads=16, pins=50_000
)
def test_real_threads(gupstress_run):
    gupstress_run().assert_safe()
