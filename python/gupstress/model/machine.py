"""A machine to be driven by hand: one call at a time, always with the same outcome.

    >>> m = Machine(cpus=4, kernel="linux-6.12.43")
    >>> a = m.map(4, "shmem")
    >>> m.mlock(a, cpu=1)
    >>> m.touch(a, cpu=1)
    >>> m.pin(a, cpu=0)

It runs on the simulator, with every kworker at hand. Each call is carried to its end
before it returns; what cannot be done raises `MachineError` and changes nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from gupstress import _core
from gupstress.errors import GupstressError, MachineError
from gupstress.model.reference import KERNEL, kernel_name, policy_name, reference
from gupstress.model.script import Script
from gupstress.outcome import findings
from gupstress.outcome.findings import BrokenInvariant
from gupstress.outcome.verdict import describe, obstacle_words
from gupstress.problems import Problems, nearest
from gupstress.values import Whole, shown, whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    from gupstress.model.policy import Policy

Kind = Literal["anon", "shmem", "tmpfs", "hugetlb", "hugeshm", "ramfs", "file", "secret", "pfnmap"]
"""Of a mapping: anonymous memory, a memfd, a file of a tmpfs with `huge=always`, private or shared
huge pages of the hugetlb pool, a file without or with a backing store, mapped shared, a
`memfd_secret`, or a driver's pages."""

Caller = Literal["io_uring", "vfio", "umem", "udmabuf", "gup-fast", "gup-slow"]
"""Who pins: by which entry, how much at a time, and what half a range means."""

Klass = Literal[
    "pinned", "pinned_unsafe", "failed_justified", "failed_spurious", "oom_killed", "stuck"
]
"""How a call ended, by the truth."""

_CPUS = Whole(1, _core.MOST_SESSION_CPUS)
_LIMIT = Whole(0, 2**32 - 1)
_PAGES = Whole(1, 2**32 - 1)
"""What the core takes; how many really fit is for it to say."""


@dataclass(frozen=True, eq=False)
class Mapping:
    """Pages of an address space; `a[2:5]` and `a[0]` are ranges of it."""

    machine: Machine
    """None in a copy that was pickled, which describes pages and reaches none."""
    number: int
    pages: int
    kind: Kind

    def __getstate__(self) -> dict[str, object]:
        # The machine itself lives in one process.
        return {**vars(self), "machine": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state)

    def __len__(self) -> int:
        return self.pages

    def __getitem__(self, index: int | slice) -> Range:
        return self._all()[index]

    def __iter__(self) -> Iterator[Range]:
        return iter(self._all())

    def __repr__(self) -> str:
        return f"<mapping {self.number}: {self.pages} {self.kind} pages>"

    def _all(self) -> Range:
        return Range(self, 0, self.pages)


@dataclass(frozen=True)
class Range:
    """Some consecutive pages of a mapping."""

    mapping: Mapping
    start: int
    """First page."""
    stop: int
    """The page after the last one."""

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, index: int | slice) -> Range:
        """Return a part of the range.

        Raises:
            MachineError: It would be empty or reach out of the range, or has a step.
        """
        count = len(self)
        if isinstance(index, slice):
            first = 0 if index.start is None else index.start
            last = count if index.stop is None else index.stop
            asked = f"[{first}:{last}]"
            if index.step not in (None, 1):
                raise MachineError(f"a range has no step {index.step}; nearest: {asked}")
            # As in Python, what is negative counts from the end.
            first, last = (page + count if page < 0 else page for page in (first, last))
        else:
            asked = f"[{index}]"
            first = index + count if index < 0 else index
            last = first + 1
        if not 0 <= first < last <= count:
            reason = "out of bounds" if first < last else "no page"
            raise MachineError(f"{asked} is {reason} of {self!r}; nearest: [0:{count}]")
        return Range(self.mapping, self.start + first, self.start + last)

    def __iter__(self) -> Iterator[Range]:
        return (self[page] for page in range(len(self)))

    def __repr__(self) -> str:
        return f"<pages [{self.start}:{self.stop}] of mapping {self.mapping.number}>"


class Counts(dict[str, int]):
    """How often each event happened; `counts.drain_all` is `counts["drain_all"]`."""

    def __getattr__(self, name: str) -> int:
        if name not in self:
            raise AttributeError(f"no counter {name!r}; nearest: {nearest(name, self)}")
        return self[name]

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self]

    def __repr__(self) -> str:
        happened = ", ".join(f"{name}={count}" for name, count in self.items() if count)
        return f"<{happened or 'nothing counted'}>"


@dataclass(frozen=True, eq=False)
class PinOutcome:
    """What a pin came to."""

    part: Range
    """What was to be pinned."""
    number: int | None
    """By which the machine knows the pin, None if there is none."""
    error: str | None
    """The errno of a failure, such as `ENOMEM`."""
    klass: Klass
    """`pinned`, `pinned_unsafe`, `failed_justified`, `failed_spurious`, `oom_killed` or `stuck`.

    A call that never ends is given up: it is `stuck`, without an error. One that had its own
    program killed for memory is `oom_killed`, without an error too: nobody is left to be told.
    """
    counters: Counts
    """What was counted meanwhile, by everyone."""
    sweeps: int
    """Of the long-term loop."""

    @property
    def ok(self) -> bool:
        """Whether the range is pinned."""
        return self.number is not None

    def __repr__(self) -> str:
        ended = "killed" if self.klass == "oom_killed" else "no end"
        end = self.error or ("ok" if self.ok else ended)
        return f"<pin of {self.part!r}: {end}, {self.klass}, {self.counters!r}>"


class PageState(findings.PageState):
    """A page at this moment."""

    @property
    def where(self) -> str:
        """Where the LRU has the page: lists, batches, or in whose hands it is."""
        places = [] if self.list is None else [f"{self.list} list"]
        places += [f"{kind} batch of cpu {cpu}" for cpu, kind in self.batches]
        if not places and self.obstacle is not None and self.obstacle.kind == "isolated":
            return "isolated"
        return ", ".join(places) or "off the LRU"

    def __repr__(self) -> str:
        flags = " ".join(self.flags) or "no flags"
        of = f", order {self.order}" if self.order else ""
        return (
            f"<frame {self.frame} ({self.zone}{of}): refcount {self.refcount},"
            f" mapcount {self.mapcount}, {flags}; {self.where};"
            f" in the way: {obstacle_words(self.obstacle)}>"
        )

    __str__ = __repr__


@dataclass(frozen=True)
class Step:
    """A named point that a task passed."""

    at_ns: int
    """Virtual time at which it was over, from the beginning of the call."""
    task: int
    """0 is the caller, the others are kworkers."""
    cpu: int
    step: str
    frame: int | None
    """Of the page that it was about."""

    def __repr__(self) -> str:
        who = f"kworker/{self.cpu}" if self.task else f"cpu {self.cpu}"
        about = "" if self.frame is None else f" frame {self.frame}"
        return f"<{self.at_ns} ns {who}: {self.step}{about}>"


class Machine:
    """CPUs, memory, a kernel's rules and a retry policy.

    Methods take a mapping or a range of one and, where it matters, the CPU to run on.
    Each raises `MachineError`, and leaves the machine as it was, for a CPU that there is
    not, a range out of bounds, a mapping of another machine or one that is unmapped.

    Args:
        cpus: From 1 to 1024.
        kernel: A rule set: a preset's name or the path of a TOML file.
        policy: A preset's name, the path of a TOML file or a `Policy`; `kernel`: the
            rule set's own.
        memlock: Pages that callers may keep locked or pinned, by each way of counting
            (`RLIMIT_MEMLOCK`); none given, or 0: any number.
        dma_entries: DMA mappings that VFIO may have at a time (`dma_entry_limit`); none
            given: as many as a kernel allows that was told nothing.

    Raises:
        ConfigError: Everything wrong with the arguments, at once.
    """

    def __init__(
        self,
        cpus: int = 4,
        kernel: str | PathLike[str] = KERNEL,
        policy: str | PathLike[str] | Policy = "kernel",
        memlock: int | None = None,
        dma_entries: int | None = None,
    ) -> None:
        problems = Problems()
        # Stands in for what is wrong, while other mistakes are looked for.
        count, rules = 1, KERNEL
        retry: str | Policy = "kernel"
        with problems.noting("cpus"):
            count = _CPUS.check(cpus)
        with problems.noting("kernel"):
            rules = kernel_name(kernel)
        with problems.noting("policy"):
            retry = policy_name(policy)
        limits = {}
        for key, limit in (("memlock", memlock), ("dma_entries", dma_entries)):
            with problems.noting(key):
                if limit is not None:
                    limits[key] = _LIMIT.check(limit)
        with problems.collecting():
            references = [
                json.dumps(reference(rules, "kernel")),
                json.dumps(reference(retry, "policy")),
            ]
            self._core = _core.Machine(count, *references)
        problems.refuse()
        self._pins: dict[int, PinOutcome] = {}
        self._script = Script()
        self.cpus = count
        self.kernel = rules
        self.policy = retry if isinstance(retry, str) else retry.name
        for word, most in limits.items():
            self._play(word, most)

    def __repr__(self) -> str:
        return f"<machine: {self.cpus} cpus, kernel {self.kernel}, policy {self.policy}>"

    def map(self, pages: int, kind: Kind, order: int = 0) -> Mapping:
        """Map fresh pages, none present.

        Args:
            pages: How many.
            kind: What they are made of.
            order: Of the folios that faults make where they can, 1 to 9 for `anon` and `shmem`;
                0 for single pages.

        Raises:
            MachineError: There are no such folios.
        """
        count = _count("pages", pages)
        name = f"{kind}/{_count('order', order)}" if order else str(kind)
        made = Mapping(self, self._core.map(count, name), count, kind)
        self._script.map(made.number, count, name)
        return made

    def touch(self, part: Mapping | Range, cpu: int = 0) -> None:
        """Write each page."""
        self._act("touch", part, cpu)

    def read(self, part: Mapping | Range, cpu: int = 0) -> None:
        """Read each page; an untouched anonymous one maps the zero page."""
        self._act("read", part, cpu)

    def fill(self, pages: int, cpu: int = 0) -> None:
        """Write fresh anonymous pages of another mapping, which fills this CPU's batch."""
        self._play("fill", _count("pages", pages), cpu=self._cpu(cpu))

    def mlock(self, part: Mapping | Range, cpu: int = 0) -> None:
        """Lock in memory what is or will be present: `mlock2(MLOCK_ONFAULT)`."""
        self._act("mlock", part, cpu)

    def munlock(self, part: Mapping | Range, cpu: int = 0) -> None:
        """Undo `mlock`."""
        self._act("munlock", part, cpu)

    def cold(self, part: Mapping | Range, cpu: int = 0) -> None:
        """Call `madvise(MADV_COLD)`."""
        self._act("cold", part, cpu)

    def lazyfree(self, part: Mapping | Range, cpu: int = 0) -> None:
        """Call `madvise(MADV_FREE)`, which takes anonymous pages only."""
        self._act("lazyfree", part, cpu)

    def dontneed(self, part: Mapping | Range, cpu: int = 0) -> None:
        """Give pages up: `madvise(MADV_DONTNEED)`; what is pinned stays with its device alone."""
        self._act("dontneed", part, cpu)

    def remove(self, part: Mapping | Range, cpu: int = 0) -> None:
        """Punch a hole into a file (`MADV_REMOVE`); what is pinned stays with its device."""
        self._act("remove", part, cpu)

    def rdonly(self, part: Mapping | Range, cpu: int = 0) -> None:
        """Call `mprotect(PROT_READ)`."""
        self._act("rdonly", part, cpu)

    def mremap(self, mapping: Mapping | Range, cpu: int = 0) -> None:
        """Move a mapping to another address; its pages and pins stay what they are."""
        self._play("mremap", cpu=self._cpu(cpu), mapping=self._whole(mapping).number)

    def split(self, mapping: Mapping | Range, cpu: int = 0) -> None:
        """Make single pages of what lies there in larger folios."""
        self._play("split", cpu=self._cpu(cpu), mapping=self._whole(mapping).number)

    def hugepool(self, pages: int, cpu: int = 0) -> None:
        """Make the hugetlb pool so many huge pages large, first in Movable."""
        self._play("hugepool", _count("pages", pages, _LIMIT), cpu=self._cpu(cpu))

    def overcommit(self, pages: int, cpu: int = 0) -> None:
        """Let the hugetlb pool take so many huge pages more from the buddy allocator."""
        self._play("overcommit", _count("pages", pages, _LIMIT), cpu=self._cpu(cpu))

    def fragment(self, cpu: int = 0) -> None:
        """Leave no block of order 9 free outside Movable: long-lived pins lie in each."""
        self._play("fragment", cpu=self._cpu(cpu))

    def thpon(self, cpu: int = 0) -> None:
        """Set `transparent_hugepage/enabled` to `always`."""
        self._play("thpon", cpu=self._cpu(cpu))

    def pmdsplit(self, part: Mapping | Range, cpu: int = 0) -> None:
        """Call `mprotect(PROT_READ)` and undo it: what a PMD maps there is mapped by PTEs then."""
        self._act("pmdsplit", part, cpu)

    def alias(self, part: Mapping | Range, cpu: int = 0) -> None:
        """Write each page through a second mapping of the file."""
        self._act("alias", part, cpu)

    def write(self, part: Mapping | Range, cpu: int = 0) -> None:
        """Write each page of a file, mapped or not: `pwrite`."""
        self._act("write", part, cpu)

    def hold(self, part: Mapping | Range, cpu: int = 0) -> None:
        """Let another holder take one plain reference on each page and keep it: a pipe."""
        self._act("hold", part, cpu)

    def vhold(self, part: Mapping | Range, cpu: int = 0) -> None:
        """Do so by `vmsplice`, which maps what it takes, also of a file."""
        self._act("vhold", part, cpu)

    def release(self, part: Mapping | Range, cpu: int = 0) -> None:
        """Let go of one such reference on each page."""
        self._act("release", part, cpu)

    def lock(self, part: Mapping | Range, cpu: int = 0) -> None:
        """Lock each page and keep it locked, with a reference, as file systems and reclaim do."""
        self._act("lock", part, cpu)

    def unlock(self, part: Mapping | Range, cpu: int = 0) -> None:
        """Unlock each page that `lock` has locked, wherever it is by now."""
        self._act("unlock", part, cpu)

    def startwriteback(self, part: Mapping | Range, cpu: int = 0) -> None:
        """Put each page under writeback and keep it there, with a reference."""
        self._act("startwriteback", part, cpu)

    def endwriteback(self, part: Mapping | Range, cpu: int = 0) -> None:
        """End the writeback of each page that `startwriteback` has begun."""
        self._act("endwriteback", part, cpu)

    def contig(self, block: int, cpu: int = 0) -> None:
        """Take a pageblock of Movable and give it back: `alloc_contig_range`.

        Raises:
            MachineError: `EBUSY`: some page of it could not be moved.
        """
        self._play("contig", _count("block", block), cpu=self._cpu(cpu))

    def offline(self, block: int, cpu: int = 0) -> None:
        """Take a pageblock of Movable offline, however long it is in use, and online again.

        Raises:
            MachineError: It never ends: a page of the block can never be moved.
        """
        self._play("offline", _count("block", block), cpu=self._cpu(cpu))

    def share(self, part: Mapping | Range, cpu: int = 0) -> None:
        """Fork a child that keeps the pages shared copy-on-write; others are not the child's."""
        self._act("share", part, cpu)

    def sharew(self, part: Mapping | Range, cpu: int = 0) -> None:
        """Fork a child that writes the pages first: it gets its own, the parent keeps these."""
        self._act("sharew", part, cpu)

    def childexit(self, cpu: int = 0) -> None:
        """Let all children exit."""
        self._core.play("childexit", self._cpu(cpu))

    def unmap(self, part: Mapping | Range, cpu: int = 0) -> None:
        """Unmap part of a mapping, or all of it for good; a pinned frame lives on by its pin."""
        self._act("unmap", part, cpu)

    def exec(self, cpu: int = 0) -> None:
        """Run another program in this one's place: all is unmapped, and pins stay."""
        self._play("exec", cpu=self._cpu(cpu))

    def exit(self, cpu: int = 0) -> None:
        """End the program, as a signal that kills does: all is unmapped, pins are given back."""
        self._play("exit", cpu=self._cpu(cpu))
        self._pins.clear()

    def drain_all(self) -> None:
        """Empty every CPU's batches, as was done before each measurement on a real kernel."""
        self._play("drain")

    def settle(self, cpu: int = 0) -> None:
        """Empty every other CPU's batches, as scenarios measured on real kernels call it."""
        self._play("settle", cpu=self._cpu(cpu))

    def pin(
        self,
        part: Mapping | Range,
        cpu: int = 0,
        write: bool = True,
        caller: Caller = "io_uring",
    ) -> PinOutcome:
        """Pin a range for long: `pin_user_pages(FOLL_LONGTERM)`.

        A failure is an outcome, not an error.

        Args:
            part: What to pin.
            cpu: Where the caller runs.
            write: Whether the device will write (`FOLL_WRITE`).
            caller: Who pins.

        Raises:
            MachineError: There is no such caller, or it pins no such mapping on this kernel.
        """
        if caller not in get_args(Caller):
            near = nearest(str(caller), get_args(Caller))
            raise MachineError(f"no caller {shown(caller)}; nearest: {near}")
        area = self._range(part)
        tail = () if caller == "io_uring" else ("by", caller)
        found = json.loads(self._act("pin" if write else "pinro", area, cpu, *tail) or "null")
        outcome = PinOutcome(
            part=area,
            number=found["pin"],
            error=found["error"],
            klass=found["klass"],
            counters=Counts(found["counters"]),
            sweeps=found["sweeps"],
        )
        if outcome.number is not None:
            self._pins[outcome.number] = outcome
        return outcome

    def unpin(self, pinned: PinOutcome | Mapping | Range, cpu: int = 0) -> None:
        """Drop a pin, or all pins that lie in a range.

        Raises:
            MachineError: The pin has failed, is not held any more or is another machine's.
        """
        cpu, numbers = self._cpu(cpu), self._numbers(pinned)
        mapping = self._pins[numbers[0]].part.mapping
        held = [number for number, pin in self._pins.items() if pin.part.mapping is mapping]
        if len(numbers) < len(held):
            self._script.remark(f"{len(numbers)} of these {len(held)} pins only")
        with self._script.adding("unpin", cpu=cpu, mapping=mapping.number):
            for number in numbers:
                self._core.unpin(number, cpu)
                del self._pins[number]

    def severed(self, pinned: PinOutcome) -> list[int]:
        """Return the pages of a pin that its device and the program no longer share.

        `munmap`, `MADV_DONTNEED`, a hole punched into the file and exec succeed under a pin: the
        frame stays with the device, and the program's next access gets another.

        Raises:
            MachineError: The pin has failed, is not held any more or is another machine's.
        """
        [number] = self._numbers(pinned)
        return self._core.severed(number)

    def page(self, part: Mapping | Range, index: int) -> PageState | None:
        """Return the state of one page, None where none is present."""
        area = self._range(part)[index]
        found = json.loads(self._core.page(area.mapping.number, area.start))
        return None if found is None else PageState.model_validate(found)

    def check(self) -> int:
        """Recount every invariant; return how many things were checked.

        Raises:
            GupstressError: One is broken, which is a bug in gupstress, or a policy that
                is broken on purpose.
        """
        found = json.loads(self._core.check())
        broken = map(BrokenInvariant.model_validate, found["broken"])
        if said := "; ".join(map(describe, broken)):
            raise GupstressError(f"broken invariants: {said}")
        return int(found["checked"])

    def trace(self) -> list[Step]:
        """Return the steps that the last call took, kworkers' among them, as they were begun."""
        return [Step(**step) for step in json.loads(self._core.trace())]

    def script(self, name: str = "machine") -> str:
        """Return the calls so far as a scenario, which `gupstress litmus` takes.

        Args:
            name: Of the scenario.
        """
        return self._script.toml(name, self.cpus, self.kernel, self.policy)

    def _act(self, word: str, part: Mapping | Range, cpu: int, *tail: str) -> str | None:
        area = self._range(part)
        number = area.mapping.number
        pages = (area.start, area.stop)
        return self._play(word, *pages, cpu=self._cpu(cpu), mapping=number, tail=tail)

    def _play(
        self,
        word: str,
        *numbers: int,
        cpu: int = 0,
        mapping: int | None = None,
        tail: tuple[str, ...] = (),
    ) -> str | None:
        """Carry out one step; the core calls a mapping by its number."""
        named = () if mapping is None else (mapping,)
        with self._script.adding(word, *numbers, cpu=cpu, mapping=mapping, tail=tail):
            return self._core.play(" ".join(map(str, (word, *named, *numbers, *tail))), cpu)

    def _cpu(self, cpu: int) -> int:
        number, last = whole(cpu), self.cpus - 1
        if number is None or not 0 <= number <= last:
            near = min(max(number or 0, 0), last)
            raise MachineError(
                f"no cpu {shown(cpu)}: this machine has 0 to {last}; nearest: {near}"
            )
        return number

    def _range(self, part: Mapping | Range) -> Range:
        """Return what is meant, if it is this machine's."""
        if not isinstance(part, Mapping | Range):
            raise MachineError(f"{part!r} is no mapping and no range; nearest: what map() returns")
        area = part[:]
        if area.mapping.machine is not self:
            raise MachineError(f"{part!r} is another machine's; nearest: map() of this one")
        return area

    def _whole(self, part: Mapping | Range) -> Mapping:
        area = self._range(part)
        if len(area) != len(area.mapping):
            raise MachineError(f"{part!r} is not all of it; nearest: {area.mapping!r}")
        return area.mapping

    def _numbers(self, pinned: PinOutcome | Mapping | Range) -> list[int]:
        """Return the pins that are meant, at least one."""
        if isinstance(pinned, PinOutcome):
            area = self._range(pinned.part)
            if pinned.number is None:
                raise MachineError(f"the pin of {area!r} failed: it holds nothing to unpin")
            if pinned.number not in self._pins:
                raise MachineError(f"the pin of {area!r} has been unpinned already")
            return [pinned.number]
        area = self._range(pinned)
        found = [
            number
            for number, outcome in self._pins.items()
            if outcome.part.mapping is area.mapping
            and area.start <= outcome.part.start
            and outcome.part.stop <= area.stop
        ]
        if not found:
            raise MachineError(f"no pin lies in {pinned!r}")
        return found


def _count(name: str, value: int, possible: Whole = _PAGES) -> int:
    try:
        return possible.check(value)
    except ValueError as error:
        raise MachineError(f"{name}={error}") from None
