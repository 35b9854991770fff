"""The machine that is driven by hand: each method by what it does, each misuse by what it says."""

import copy
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

import gupstress
from gupstress.errors import MachineError
from gupstress.model.machine import Caller, Counts, Kind, Machine, Mapping, PageState, Range
from gupstress.studies import litmus

KERNEL = "linux-6.12.43"


@pytest.fixture
def machine() -> Machine:
    return Machine(cpus=4, kernel=KERNEL)


def state(machine: Machine, part: Mapping | Range, index: int = 0) -> PageState:
    found = machine.page(part, index)
    assert found is not None
    return found


def touched(machine: Machine, pages: int = 4, kind: Kind = "anon") -> Mapping:
    mapping = machine.map(pages, kind)
    machine.touch(mapping)
    return mapping


def on_lru(machine: Machine, pages: int = 4) -> Mapping:
    mapping = touched(machine, pages)
    machine.drain_all()
    return mapping


# ---------------------------------------------------------------- what each method does


def test_mapped_pages_are_absent_until_they_are_touched(machine: Machine) -> None:
    mapping = machine.map(3, "anon")
    assert len(mapping) == 3
    assert machine.page(mapping, 2) is None
    machine.touch(mapping[1:], cpu=2)
    assert machine.page(mapping, 0) is None
    page = state(machine, mapping, 2)
    assert (page.zone, page.mapcount, page.batches) == ("movable", 1, ((2, "lru_add"),))


def test_a_read_maps_the_zero_page(machine: Machine) -> None:
    mapping = machine.map(1, "anon")
    machine.read(mapping)
    page = state(machine, mapping)
    assert page.obstacle is not None
    assert page.obstacle.kind == "zero-page"
    assert page.where == "off the LRU"


def test_filling_a_batch_flushes_it(machine: Machine) -> None:
    mapping = touched(machine)
    machine.fill(26)
    assert state(machine, mapping).where == "lru_add batch of cpu 0"
    machine.fill(1, cpu=1)
    assert state(machine, mapping).where == "lru_add batch of cpu 0"
    machine.fill(1)
    assert state(machine, mapping).where == "inactive_anon list"


def test_a_locked_page_waits_in_the_mlock_batch(machine: Machine) -> None:
    mapping = machine.map(2, "anon")
    machine.mlock(mapping[:1], cpu=1)
    machine.touch(mapping, cpu=1)
    assert state(machine, mapping, 0).where == "mlock batch of cpu 1"
    assert "PG_mlocked" in state(machine, mapping, 0).flags
    assert state(machine, mapping, 1).where == "lru_add batch of cpu 1"
    machine.munlock(mapping, cpu=1)
    assert "PG_mlocked" not in state(machine, mapping, 0).flags


def test_a_cold_page_is_queued_for_deactivation(machine: Machine) -> None:
    mapping = on_lru(machine)
    machine.cold(mapping[0], cpu=3)
    assert state(machine, mapping, 0).batches == ((3, "deactivate"),)
    assert state(machine, mapping, 1).batches == ()


def test_a_lazily_freed_page_is_queued_for_it(machine: Machine) -> None:
    mapping = on_lru(machine)
    machine.lazyfree(mapping[0], cpu=3)
    assert state(machine, mapping, 0).batches == ((3, "lazyfree"),)


def test_a_holder_stands_in_the_way_until_it_lets_go(machine: Machine) -> None:
    mapping = on_lru(machine)
    before = state(machine, mapping).refcount
    machine.hold(mapping[0])
    page = state(machine, mapping)
    assert page.refcount == before + 1
    assert page.obstacle is not None
    assert page.obstacle.kind == "held"
    failed = machine.pin(mapping)
    assert (failed.ok, failed.error, failed.klass) == (False, "ENOMEM", "failed_justified")
    machine.release(mapping[0])
    machine.drain_all()
    assert state(machine, mapping).refcount == before
    assert machine.pin(mapping).ok


def test_a_shared_page_is_mapped_twice(machine: Machine) -> None:
    mapping = on_lru(machine)
    machine.share(mapping, cpu=1)
    assert [state(machine, mapping, page).mapcount for page in range(4)] == [2] * 4
    machine.check()


def test_what_is_not_shared_is_not_the_childs(machine: Machine) -> None:
    mapping = on_lru(machine)
    machine.share(mapping[1:3])
    assert [state(machine, mapping, page).mapcount for page in range(4)] == [1, 2, 2, 1]
    assert machine.pin(mapping).ok
    # A write for the pin has given the parent copies of its own.
    assert [state(machine, mapping, page).mapcount for page in range(4)] == [1] * 4
    machine.check()


def test_an_unmapped_mapping_gives_its_pages_back(machine: Machine) -> None:
    mapping = touched(machine, 8000)
    with pytest.raises(gupstress.MachineError, match="fill: killed, as there was no memory"):
        machine.fill(8000)
    machine = Machine(cpus=4, kernel=KERNEL)
    mapping = touched(machine, 8000)
    machine.unmap(mapping[:], cpu=1)
    machine.fill(8000)
    assert machine.check() > 0


def test_draining_empties_every_batch(machine: Machine) -> None:
    mapping = touched(machine)
    other = machine.map(1, "anon")
    machine.touch(other, cpu=3)
    machine.drain_all()
    for part in (mapping, other):
        assert (state(machine, part).list, state(machine, part).batches) == ("inactive_anon", ())


def test_a_pin_moves_pages_out_and_says_what_it_took(machine: Machine) -> None:
    mapping = machine.map(4, "anon")
    machine.touch(mapping, cpu=1)
    frame = state(machine, mapping).frame
    outcome = machine.pin(mapping, cpu=0)
    assert (outcome.ok, outcome.error, outcome.klass, outcome.sweeps) == (True, None, "pinned", 2)
    counted = {name: n for name, n in outcome.counters.items() if not name.endswith("_ns")}
    assert counted == {
        **dict.fromkeys(counted, 0),
        "acquired": 8,
        "released": 4,
        "migrated": 4,
        "migrate_calls": 1,
        "isolate_calls": 4,
        "drain_all": 1,
        "drain_work": 1,
        "drain_waits": 1,
        "mlock_drain": 1,
        "target_allocs": 4,
        "slow_entries": 1,
        "sweeps": 2,
    }
    page = state(machine, mapping)
    assert page.zone == "normal"
    assert page.frame != frame
    assert page.refcount > 1024
    machine.unpin(outcome)
    assert state(machine, mapping).refcount < 1024


def test_the_issue_that_opened_with_mlock() -> None:
    """Flag-based drains miss the mlock batch of another CPU: fixed in 6.12.57."""
    outcomes = []
    for kernel in ("linux-6.12.43", "linux-6.12.57"):
        machine = Machine(cpus=4, kernel=kernel)
        mapping = machine.map(4, "shmem")
        machine.mlock(mapping, cpu=1)
        machine.touch(mapping, cpu=1)
        machine.fill(40, cpu=1)
        outcomes.append(machine.pin(mapping, cpu=0))
    assert [outcome.klass for outcome in outcomes] == ["failed_spurious", "pinned"]
    assert outcomes[0].error == "ENOMEM"


def test_part_of_a_mapping_is_pinned_and_unpinned(machine: Machine) -> None:
    mapping = touched(machine, 8)
    first, second = machine.pin(mapping[0:2]), machine.pin(mapping[2:5])
    zones = [state(machine, mapping, page).zone for page in range(8)]
    assert zones == ["normal"] * 5 + ["movable"] * 3
    machine.unpin(second)
    machine.unpin(mapping[0:2])
    with pytest.raises(gupstress.MachineError, match="unpinned already"):
        machine.unpin(first)
    assert machine.check() > 0


def test_all_pins_in_a_range_are_unpinned_at_once(machine: Machine) -> None:
    mapping = touched(machine, 8)
    first, second, across = (machine.pin(mapping[a:b]) for a, b in ((0, 2), (2, 3), (3, 5)))
    machine.unpin(mapping[:4])
    for outcome in (first, second):
        with pytest.raises(gupstress.MachineError, match="unpinned already"):
            machine.unpin(outcome)
    machine.unpin(across)


@pytest.mark.parametrize(("kernel", "unshared"), [("linux-6.1.176", 0), ("linux-6.12.43", 1)])
def test_a_pin_for_reading_takes_the_zero_page_or_unshares_it(kernel: str, unshared: int) -> None:
    machine = Machine(kernel=kernel)
    mapping = machine.map(1, "anon")
    machine.read(mapping)
    assert machine.pin(mapping, write=False).counters.faults == unshared
    assert (state(machine, mapping).frame != 0) == bool(unshared)
    # What a read fault unshared is not writable yet.
    assert machine.pin(mapping, write=True).counters.faults == 1
    assert state(machine, mapping).frame != 0


def test_a_pin_that_never_ends_is_given_up_as_stuck() -> None:
    machine = Machine(cpus=1, policy="unbounded")
    mapping = machine.map(1, "anon")
    machine.read(mapping)
    outcome = machine.pin(mapping, write=False)
    assert (outcome.ok, outcome.error, outcome.klass) == (False, None, "stuck")
    assert outcome.sweeps > 100
    assert "no end" in repr(outcome)
    assert machine.check() > 0


def test_a_wrong_success_is_called_unsafe() -> None:
    machine = Machine(cpus=1, policy="busted-accept")
    mapping = touched(machine)
    outcome = machine.pin(mapping)
    assert (outcome.ok, outcome.klass) == (True, "pinned_unsafe")
    assert state(machine, mapping).zone == "movable"


def test_a_policy_may_be_a_preset_a_file_or_made_in_python() -> None:
    Path("mine.toml").write_text('base = "bounded"\nname = "mine"\n')
    mine = gupstress.Policy(name="made", base="linux-7.2", drain="never")
    for policy, name in (("bounded", "bounded"), ("mine.toml", "mine.toml"), (mine, "made")):
        machine = Machine(cpus=1, policy=policy)
        assert machine.policy == name
        machine.pin(touched(machine))
    assert machine.pin(touched(machine)).counters.drain_all == 0


def test_the_trace_names_the_steps_of_the_last_call_and_who_took_them(machine: Machine) -> None:
    mapping = machine.map(1, "anon")
    machine.touch(mapping, cpu=1)
    machine.pin(mapping, cpu=0)
    steps = machine.trace()
    names = [step.step for step in steps]
    assert names.index("collect:isolate") < names.index("migrate:copied")
    assert {step.cpu for step in steps if step.task == 0} == {0}
    assert {step.cpu for step in steps if step.task} == {1}
    times = [step.at_ns for step in steps if step.task == 0]
    assert times == sorted(set(times))
    assert repr(steps[0]) == f"<{steps[0].at_ns} ns cpu 0: pin:sweep>"
    assert any(repr(step).startswith(f"<{step.at_ns} ns kworker/1: ") for step in steps)
    assert any(repr(step).endswith(f" frame {step.frame}>") for step in steps if step.frame)
    machine.touch(mapping)
    assert len(machine.trace()) < len(steps)


def test_the_same_calls_have_the_same_outcome() -> None:
    def play() -> tuple[object, ...]:
        machine = Machine(cpus=3)
        mapping = machine.map(5, "shmem")
        machine.touch(mapping, cpu=1)
        machine.cold(mapping[:2], cpu=2)
        outcome = machine.pin(mapping)
        return outcome.counters, machine.trace(), machine.page(mapping, 0), machine.check()

    assert play() == play()


def test_a_recount_sees_a_leaked_pin() -> None:
    machine = Machine(cpus=1, policy="busted-leak-pin")
    mapping = on_lru(machine)
    assert machine.check() > 0
    machine.pin(mapping)
    with pytest.raises(gupstress.GupstressError, match=r"refcount is the sum .*\(frame \d+\)"):
        machine.check()


def test_a_deadlock_is_an_error_not_a_hang() -> None:
    machine = Machine(cpus=1, policy="busted-hold-lock")
    mapping = on_lru(machine)
    with pytest.raises(gupstress.MachineError, match="deadlock: nobody can run"):
        machine.pin(mapping)


def test_pins_may_overlap(machine: Machine) -> None:
    mapping = touched(machine)
    first, second = machine.pin(mapping[0:2]), machine.pin(mapping[1:4])
    machine.unpin(first)
    machine.unpin(second)
    assert machine.check() > 0


def test_a_page_whose_queueing_cleared_its_flag_is_in_order(machine: Machine) -> None:
    mapping = on_lru(machine)
    machine.cold(mapping)
    assert "PG_lru" not in state(machine, mapping).flags
    assert machine.check() > 0


# ---------------------------------------------------------------- ranges


def test_ranges_count_as_python_does(machine: Machine) -> None:
    mapping = machine.map(6, "anon")
    assert mapping[2:5] == Range(mapping, 2, 5)
    assert mapping[-1] == mapping[5] == mapping[5:] == Range(mapping, 5, 6)
    assert mapping[-3:-1] == Range(mapping, 3, 5)
    assert mapping[2:5][1:] == Range(mapping, 3, 5)
    assert [len(part) for part in mapping] == [1] * 6
    assert list(mapping[1:3]) == [mapping[1], mapping[2]]


def test_the_last_page_may_be_asked_for_by_minus_one(machine: Machine) -> None:
    mapping = machine.map(3, "anon")
    machine.touch(mapping[-1])
    assert machine.page(mapping, -1) == machine.page(mapping, 2) == machine.page(mapping[1:], 1)


# ---------------------------------------------------------------- what a notebook shows


def test_everything_shows_itself_on_one_line(machine: Machine) -> None:
    mapping = machine.map(4, "shmem")
    machine.touch(mapping, cpu=1)
    outcome = machine.pin(mapping[1:3], cpu=0)
    page = state(machine, mapping)
    assert repr(machine) == "<machine: 4 cpus, kernel linux-6.12.43, policy kernel>"
    assert repr(mapping) == "<mapping 0: 4 shmem pages>"
    assert repr(mapping[1:3]) == "<pages [1:3] of mapping 0>"
    said = repr(outcome)
    assert said.startswith(
        "<pin of <pages [1:3] of mapping 0>: ok, pinned, <acquired=4, released=2,"
    )
    for counted in ("migrated=2", "isolate_calls=2", "drain_all=1", "drain_work=1", "sweeps=2"):
        assert counted in said
    assert repr(page) == str(page)
    assert repr(page) == (
        f"<frame {page.frame} (movable): refcount 2, mapcount 1, {' '.join(page.flags)};"
        " inactive_anon list; in the way: no obstacle>"
    )
    machine.hold(mapping[0])
    assert repr(state(machine, mapping)).endswith("in the way: held, holders 1>")


def test_counters_are_attributes_too() -> None:
    counts = Counts(drain_all=1, sweeps=0)
    assert counts.drain_all == counts["drain_all"] == 1
    assert "sweeps" in dir(counts)
    assert repr(counts) == "<drain_all=1>"
    assert repr(Counts(sweeps=0)) == "<nothing counted>"
    assert copy.deepcopy(counts) == counts
    with pytest.raises(AttributeError, match="no counter 'drainall'; nearest: drain_all"):
        counts.drainall  # noqa: B018


def test_an_outcome_is_frozen(machine: Machine) -> None:
    outcome = machine.pin(touched(machine))
    with pytest.raises(AttributeError):
        outcome.error = None  # type: ignore[misc]


# ---------------------------------------------------------------- misuse

FOREIGN = Machine(cpus=1).map(4, "anon")


def gone(machine: Machine, mapping: Mapping) -> Mapping:
    machine.unmap(mapping)
    return mapping


def written_back(machine: Machine, part: Mapping) -> Machine:
    machine.startwriteback(part[0])
    return machine


Use = Callable[[Machine, Mapping], object]

MISUSE: dict[str, tuple[Use, str]] = {
    "cpu too large": (lambda m, a: m.touch(a, cpu=4), r"no cpu 4: .* 0 to 3; nearest: 3"),
    "cpu below 0": (lambda m, a: m.fill(1, cpu=-1), r"no cpu -1: .* nearest: 0"),
    "cpu of a pin": (lambda m, a: m.pin(a, cpu=9), "no cpu 9"),
    "cpu of a fork": (lambda m, a: m.share(a, cpu=9), "no cpu 9"),
    "cpu of an unmapping": (lambda m, a: m.unmap(a, cpu=9), "no cpu 9"),
    "cpu of an unpin": (lambda m, a: m.unpin(m.pin(a), cpu=9), "no cpu 9"),
    "nothing mapped": (lambda m, a: m.map(0, "anon"), r"pages=0 .*nearest: 1"),
    "fewer than nothing": (lambda m, a: m.fill(-1), r"pages=-1 .*nearest: 1"),
    "too much mapped": (lambda m, a: m.map(10**6, "anon"), r"1000000 pages .* 1 to \d+"),
    "far too much mapped": (lambda m, a: m.map(2**40, "anon"), str(2**40)),
    "kind of mapping": (lambda m, a: m.map(4, "shm"), r'"shm"; nearest: shmem'),  # type: ignore[arg-type]
    "slice out of bounds": (lambda m, a: m.pin(a[2:5]), r"\[2:5\] is out of bounds .*\[0:4\]"),
    "slice before the first": (lambda m, a: m.pin(a[-5:2]), r"\[-5:2\] is out of bounds"),
    "page out of bounds": (lambda m, a: m.page(a, 4), r"\[4\] is out of bounds"),
    "part of a part": (lambda m, a: m.touch(a[1:3][2]), r"\[2\] is out of bounds .*\[1:3\]"),
    "no page": (lambda m, a: m.touch(a[2:2]), r"\[2:2\] is no page"),
    "backwards": (lambda m, a: m.touch(a[3:1]), r"\[3:1\] is no page"),
    "step": (lambda m, a: m.touch(a[::2]), "no step 2"),
    "no range": (lambda m, a: m.touch(0), "0 is no mapping and no range"),  # type: ignore[arg-type]
    "mapping of another": (lambda m, a: m.touch(FOREIGN), "is another machine's"),
    "range of another": (lambda m, a: m.pin(FOREIGN[1:]), "is another machine's"),
    "page of another": (lambda m, a: m.page(FOREIGN, 0), "is another machine's"),
    "pin of another": (
        lambda m, a: m.unpin(FOREIGN.machine.pin(FOREIGN)),
        "is another machine's",
    ),
    "touch after unmap": (lambda m, a: m.touch(gone(m, a)), "has been unmapped"),
    "pin after unmap": (lambda m, a: m.pin(gone(m, a)[:2]), "has been unmapped"),
    "page after unmap": (lambda m, a: m.page(gone(m, a), 0), "has been unmapped"),
    "unmap twice": (lambda m, a: m.unmap(gone(m, a)), "has been unmapped"),
    "part of a move": (
        lambda m, a: m.mremap(a[1:]),
        r"\[1:4\].* not all of it; nearest: <map",
    ),
    "cpu that is no number": (lambda m, a: m.touch(a, cpu="0"), "no cpu '0'.*nearest: 0"),  # type: ignore[arg-type]
    "pages that are no number": (lambda m, a: m.map(4.0, "anon"), r"4\.0 .*nearest: 4"),  # type: ignore[arg-type]
    "kind that is no text": (lambda m, a: m.map(4, 3), 'no kind of mapping "3"'),  # type: ignore[arg-type]
    "unpin nothing": (lambda m, a: m.unpin(a), "no pin lies in"),
    "release what is not held": (lambda m, a: m.release(a[3]), "page 3 .* held by nobody"),
    "unlock what is not locked": (lambda m, a: m.unlock(a[3]), "page 3 .* locked by nobody"),
    "writeback of what is under it": (
        lambda m, a: written_back(m, a).startwriteback(a[0]),
        "startwriteback: EBUSY",
    ),
    "block that there is not": (lambda m, a: m.contig(10**6), "no pageblock 1000000.*nearest"),
    "block to take offline that there is not": (
        lambda m, a: m.offline(10**6),
        "no pageblock 1000000.*nearest",
    ),
    "lazyfree of shmem": (lambda m, a: m.lazyfree(m.map(1, "shmem")), "lazyfree: EINVAL"),
}


@pytest.mark.parametrize("case", MISUSE)
def test_misuse_is_refused_and_leaves_the_machine_intact(machine: Machine, case: str) -> None:
    use, said = MISUSE[case]
    mapping = touched(machine)
    with pytest.raises(gupstress.MachineError, match=said) as caught:
        use(machine, mapping)
    assert "\n" not in str(caught.value)
    assert machine.check() > 0
    assert machine.pin(touched(machine)).ok


def test_a_pin_is_unpinned_once(machine: Machine) -> None:
    outcome = machine.pin(touched(machine))
    machine.unpin(outcome)
    with pytest.raises(gupstress.MachineError, match="unpinned already"):
        machine.unpin(outcome)
    assert machine.check() > 0


def test_a_failed_pin_is_not_unpinned(machine: Machine) -> None:
    mapping = touched(machine)
    machine.hold(mapping)
    with pytest.raises(gupstress.MachineError, match=r"the pin of .* failed"):
        machine.unpin(machine.pin(mapping))
    assert machine.check() > 0


def test_an_unpin_on_no_cpu_leaves_the_pin(machine: Machine) -> None:
    outcome = machine.pin(touched(machine))
    with pytest.raises(gupstress.MachineError, match="no cpu 4"):
        machine.unpin(outcome, cpu=4)
    machine.unpin(outcome, cpu=3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"cpus": 0}, ["cpus: 0 is below 1; nearest: 1"]),
        ({"cpus": -3}, ["cpus: -3 is below 1; nearest: 1"]),
        ({"cpus": 2000}, ["cpus: 2000 is above 1024; nearest: 1024"]),
        ({"cpus": 4.0}, ["cpus: 4.0 is not a whole number; nearest: 4"]),
        ({"kernel": "linux-6.12.44"}, ["nearest: linux-6.12.43"]),
        ({"kernel": None}, ["kernel: None is not the name of a kernel or a file"]),
        ({"policy": "bonded"}, ["nearest: bounded"]),
        ({"policy": "none.toml"}, ["none.toml: cannot be read: No such file"]),
        ({"policy": 3}, ["policy: 3 is not a Policy"]),
        (
            {"cpus": "4", "kernel": "linux-6.12.44", "policy": "bonded"},
            ["cpus: '4' is not", "nearest: linux-6.12.43", "nearest: bounded"],
        ),
    ],
)
def test_a_machine_that_cannot_be(arguments: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(gupstress.ConfigError) as caught:
        Machine(**arguments)
    assert len(caught.value.problems) == len(said)
    for words in said:
        assert words in str(caught.value)


def test_a_machine_takes_paths_and_numbers_of_other_make(tmp_path: Path) -> None:
    class Four:
        def __index__(self) -> int:
            return 4

    file = tmp_path / "patient.toml"
    file.write_text('base = "bounded"\n')
    machine = Machine(cpus=Four(), policy=file)  # type: ignore[arg-type]
    assert (machine.cpus, machine.policy) == (4, str(file))
    assert len(machine.map(Four(), "anon")) == 4  # type: ignore[arg-type]


def test_a_machine_may_go_from_thread_to_thread() -> None:
    machine = Machine(cpus=2)
    with ThreadPoolExecutor(1) as pool:
        area = pool.submit(machine.map, 2, "anon").result()
    machine.touch(area)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(machine.pin, area).result().ok
    assert machine.check() > 0


def test_a_frame_outlives_its_mapping_by_its_pin() -> None:
    m = Machine(cpus=2, kernel="linux-7.2.13")
    a = m.map(4, "anon")
    m.touch(a)
    out = m.pin(a)
    m.dontneed(a[1])
    assert m.page(a, 1) is None
    m.unmap(a)
    m.check()
    m.unpin(out)
    m.check()


def test_a_signal_ends_a_call_and_the_machine_goes_on() -> None:
    m = Machine(policy=gupstress.Policy(name="endless", base="bounded", migrate_retries=2**32 - 1))
    a = m.map(1, "anon")
    m.touch(a)
    m.hold(a)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        # The call would take hundreds of milliseconds of CPU time.
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with pytest.raises(KeyboardInterrupt):
            m.pin(a)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    m.release(a)
    assert m.pin(a).ok
    m.check()


def test_a_script_makes_the_same_again(tmp_path: Path) -> None:
    m = Machine(cpus=4, kernel="linux-6.12.43")
    a, b = m.map(4, "shmem"), m.map(8, "anon")
    m.mlock(a, cpu=1)
    m.touch(a, cpu=1)
    m.touch(b[2:5], cpu=2)
    m.fill(40, cpu=1)
    m.hold(b[2])
    m.drain_all()
    with pytest.raises(MachineError):
        m.touch(b, cpu=9)
    assert m.pin(b[3:5], cpu=3, write=False).ok
    m.unpin(b[3:5])
    out = m.pin(a, cpu=0)
    file = tmp_path / "again.toml"
    file.write_text(m.script("again"))
    assert yaml.safe_load(m.script().partition("steps = ")[2]) == [
        "map a 4 shmem",
        "map b 8 anon",
        "cpu 1",
        "mlock a",
        "touch a",
        "cpu 2",
        "touch b 2 5",
        "cpu 1",
        "fill 40",
        "cpu 0",
        "hold b 2 3",
        "drain",
        "cpu 3",
        "pinro b 3 5",
        "cpu 0",
        "unpin b",
        "pin a",
    ]
    plan = litmus.prepare([str(file)], [KERNEL], [])
    (cell,) = litmus.run(plan, []).cells
    assert {name: cell.counters[name] for name in out.counters} == out.counters


# ---------------------------------------------------------------- who pins, and what ends a pin


def test_a_pin_for_reading_gets_a_page_of_its_own_and_keeps_it() -> None:
    machine = Machine(cpus=2, kernel="linux-7.2.13")
    mapping = on_lru(machine, 1)
    machine.share(mapping)
    pinned = machine.pin(mapping, write=False)
    assert pinned.ok
    assert (pinned.counters.faults, pinned.counters.migrated) == (1, 0)
    before = state(machine, mapping)
    assert before.zone == "normal"
    assert "PG_anon_exclusive" in before.flags
    machine.touch(mapping)
    assert state(machine, mapping).frame == before.frame
    machine.check()


def test_a_pin_for_reading_of_the_zero_page_leaves_its_count() -> None:
    machine = Machine(cpus=2, kernel="linux-7.2.13")
    mapping, other = machine.map(1, "anon"), machine.map(1, "anon")
    machine.read(mapping)
    machine.read(other)
    zero = state(machine, other)
    pinned = machine.pin(mapping, write=False)
    assert (pinned.ok, pinned.counters.faults) == (True, 1)
    assert state(machine, mapping).frame != zero.frame
    assert state(machine, other).refcount == zero.refcount


def test_unmapping_under_a_pin_leaves_the_frames_to_the_device() -> None:
    machine = Machine(cpus=2, kernel="linux-7.2.13")
    mapping = touched(machine, 4)
    pinned = machine.pin(mapping)
    assert machine.severed(pinned) == []
    machine.unmap(mapping[2:])
    assert machine.severed(pinned) == [2, 3]
    machine.check()
    machine.unmap(mapping)
    machine.check()
    machine.unpin(pinned)
    machine.check()


def test_callers_go_on_from_a_short_count_or_fail(machine: Machine) -> None:
    mapping = on_lru(machine, 8)
    machine.unpin(machine.pin(mapping[0:4]))
    machine.drain_all()
    machine.hold(mapping[6])
    assert machine.pin(mapping).error == "EFAULT"
    callers: tuple[Caller, ...] = ("umem", "vfio")
    for caller in callers:
        failed = machine.pin(mapping, caller=caller)
        assert (failed.error, failed.klass) == ("ENOMEM", "failed_justified")
        assert failed.counters.acquired == failed.counters.released
    with pytest.raises(MachineError, match="no caller 'hand'; nearest"):
        machine.pin(mapping, caller="hand")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("limit", "caller", "error"),
    [("memlock", "io_uring", "ENOMEM"), ("dma_entries", "vfio", "ENOSPC")],
)
def test_callers_are_limited_by_the_machine_and_by_its_script(
    limit: str, caller: Caller, error: str, tmp_path: Path
) -> None:
    machine = Machine(cpus=1, **{limit: 3})  # type: ignore[arg-type]
    pages = 1 if limit == "memlock" else 4
    mapping = touched(machine, 4 * pages)
    parts = [mapping[i * pages : (i + 1) * pages] for i in range(4)]
    outcomes = [machine.pin(part, caller=caller) for part in parts]
    assert [(pin.error, pin.klass) for pin in outcomes] == [
        *[(None, "pinned")] * 3,
        (error, "failed_justified"),
    ]
    file = tmp_path / "again.toml"
    file.write_text(machine.script("again"))
    (cell,) = litmus.run(litmus.prepare([str(file)], [machine.kernel], []), []).cells
    assert cell.class_ == "failed_justified"
    machine.unpin(outcomes[0])
    assert machine.pin(parts[3], caller=caller).ok


def test_files_are_written_read_and_punched(machine: Machine) -> None:
    mapping = machine.map(4, "shmem")
    machine.write(mapping[:2])
    assert machine.page(mapping, 0) is None
    machine.alias(mapping)
    machine.touch(mapping)
    assert state(machine, mapping, 3).mapcount == 2
    pinned = machine.pin(mapping, caller="udmabuf")
    machine.remove(mapping[0])
    assert machine.severed(pinned) == [0]
    machine.rdonly(mapping[1])
    machine.mremap(mapping)
    machine.vhold(mapping[2])
    with pytest.raises(MachineError, match="EFAULT"):
        machine.touch(mapping)
    machine.check()


# ---------------------------------------------------------------- huge pages, and the end


def test_a_pool_has_so_many_huge_pages_and_may_grow_by_what_is_overcommitted() -> None:
    machine = Machine(cpus=2, kernel="linux-7.2.13")
    with pytest.raises(MachineError, match="ENOMEM"):
        machine.map(512, "hugetlb")
    machine.hugepool(1)
    mapping = touched(machine, 512, "hugetlb")
    assert "PG_hugetlb" in state(machine, mapping).flags
    with pytest.raises(MachineError, match="ENOMEM"):
        machine.map(512, "hugetlb")
    machine.overcommit(1)
    more = touched(machine, 512, "hugetlb")
    with pytest.raises(MachineError, match="ENOMEM"):
        machine.map(512, "hugetlb")
    # What is unmapped is had again.
    machine.unmap(more)
    touched(machine, 512, "hugetlb")
    assert machine.check() > 0


def test_a_pool_may_be_empty_and_not_less() -> None:
    machine = gupstress.Machine()
    machine.hugepool(2)
    machine.hugepool(0)
    machine.overcommit(0)
    for resize in (machine.hugepool, machine.overcommit):
        with pytest.raises(gupstress.MachineError, match=r"pages=-1 is below 0; nearest: 0"):
            resize(-1)
    with pytest.raises(gupstress.MachineError, match="ENOMEM"):
        machine.map(512, "hugetlb")


def test_what_was_reserved_is_given_back_by_an_unmap() -> None:
    machine = Machine(cpus=2, kernel="linux-7.2.13")
    machine.hugepool(1)
    for kind in ("hugetlb", "hugeshm"):
        machine.unmap(machine.map(512, kind))
    touched(machine, 512, "hugetlb")
    machine.check()


def test_a_huge_page_that_has_no_target_is_split_and_moved_page_by_page() -> None:
    counts = []
    for fragmented in (False, True):
        machine = Machine(cpus=2, kernel="linux-7.2.13")
        if fragmented:
            machine.fragment()
        mapping = machine.map(512, "anon", order=9)
        machine.touch(mapping)
        pinned = machine.pin(mapping)
        assert pinned.ok
        counted = pinned.counters
        counts.append((counted.thp_migration_success, counted.thp_migration_split))
        assert state(machine, mapping).order == (0 if fragmented else 9)
        machine.check()
    assert counts == [(1, 0), (0, 1)]


def test_huge_pages_are_made_from_then_on_that_they_are_wanted() -> None:
    machine = Machine(cpus=2, kernel="linux-7.2.13")
    script = "\n".join(
        [
            'name = "thp"',
            'steps = ["map a 512 anon", "touch a", "thpon", "map b 512 anon", "touch b", "pin b"]',
            '[expect."linux-7.2.13"]',
            "isolate_calls = 1",
        ]
    )
    machine.thpon()
    (line,) = yaml.safe_load(machine.script().partition("steps = ")[2])
    assert line == "thpon"
    file = Path("thp.toml")
    file.write_text(script)
    (cell,) = litmus.run(litmus.prepare([str(file)], ["linux-7.2.13"], []), []).cells
    assert cell.differences == ()


def test_a_program_that_execs_leaves_its_pins_and_one_that_exits_takes_them_along() -> None:
    machine = Machine(cpus=2, kernel="linux-7.2.13")
    mapping = touched(machine)
    pinned = machine.pin(mapping)
    machine.exec()
    assert machine.severed(pinned) == [0, 1, 2, 3]
    machine.check()
    machine.unpin(pinned)
    another = touched(machine)
    held = machine.pin(another)
    machine.exit()
    with pytest.raises(MachineError):
        machine.unpin(held)
    assert machine.check() > 0
