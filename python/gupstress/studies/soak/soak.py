"""The soak itself: cycle after cycle, kept as it goes, until time is up or something is wrong."""

import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from itertools import count
from math import inf
from pathlib import Path
from typing import NamedTuple, get_args

from gupstress import _core, values
from gupstress.errors import ConfigError, GupstressError, ResourceError
from gupstress.outcome import files, stored
from gupstress.outcome.results import Build, Run
from gupstress.outcome.soak import Held, SoakFinding, SoakSettings
from gupstress.problems import Problems
from gupstress.running import host, jobfile, reproduce, runner
from gupstress.running.cluster import Spread, here
from gupstress.running.request import MINUTES, NUMBERS, SOAK_MINUTES, Driver, Request
from gupstress.running.runner import Item, Job, Row
from gupstress.studies.matrix import in_earnest
from gupstress.studies.shown import SoakResult
from gupstress.studies.soak import cycles, judge
from gupstress.studies.soak.judge import Wrong
from gupstress.values import is_file

_SCHEMA = "gupstress.soak/1"


@dataclass(frozen=True)
class Soak:
    """What is asked of a soak."""

    minutes: int | None = None
    """Of the host's time; a cycle that has begun is ended. None: as long as there are cycles,
    and `SOAK_MINUTES` where these have no limit either."""
    most_cycles: int | None = None
    """Of this part; None: as many as there is time for."""
    seed: int | None = None
    """None: that of the state, or drawn."""
    policies: tuple[str, ...] = ()
    """Empty, here and below: all there are, of policies those not broken on purpose."""
    profiles: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    drivers: tuple[Driver, ...] = ()
    jobs: tuple[str, ...] = ()
    """Job files, whose sections are loads as profiles are."""
    state: str | None = None
    """File that keeps what was found, from which a soak goes on."""


@dataclass(frozen=True)
class Plan:
    """A soak that can be run."""

    soak: Soak
    settings: SoakSettings
    sections: Mapping[str, Request]
    """Of the job files."""
    kept: SoakResult | None
    """Of its earlier parts."""

    @property
    def files(self) -> list[str]:
        """The files that it reads."""
        named = (*self.soak.policies, *self.soak.profiles, *self.soak.kernels)
        read = [file for request in self.sections.values() for file in request.files]
        return [*filter(is_file, named), *self.soak.jobs, *read]

    @property
    def first(self) -> int:
        """Number of the cycle that it begins with."""
        return self.kept.cycles if self.kept else 0


class Cycle(NamedTuple):
    """One that has ended."""

    number: int
    section: str | None
    """Of a job file, if it was that."""
    run: Run
    held: Held


Told = Callable[[Cycle], None]
"""Told of each cycle as it ends."""


def prepare(soak: Soak, problems: Problems) -> Plan:
    """Look everything up, and read the state.

    Raises:
        ConfigError: Everything wrong with it, at once.
    """
    if soak.minutes is None and soak.most_cycles is None:
        soak = replace(soak, minutes=SOAK_MINUTES)
    limits = {
        "--minutes": (MINUTES, soak.minutes),
        "--cycles": (NUMBERS["repeat"], soak.most_cycles),
    }
    for option, (kind, value) in {**limits, "--seed": (NUMBERS["seed"], soak.seed)}.items():
        if value is not None:
            with problems.noting(option):
                kind.check(value)
    jobs = []
    for file in soak.jobs:
        with problems.noting("--job"):
            jobs.append(values.file(file, "job.toml"))
    if soak.state is not None:
        with problems.noting("--state"):
            values.file(soak.state, "soak.json")
    sections = [one for file in jobs for one in jobfile.read(file, {}, problems)]
    for section in sections:
        _check([section.request], problems, section.placed)
    names = [section.name for section in sections]
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.add(name, "a section of two job files; nearest: another name")
    policies = soak.policies or tuple(in_earnest())
    profiles = soak.profiles or tuple(_core.names("profile"))
    kernels = soak.kernels or tuple(_core.names("kernel"))
    drivers: tuple[Driver, ...] = tuple(dict.fromkeys(soak.drivers)) or get_args(Driver)
    asked = Request(policies=policies, driver="sim", threads=1, cpus=1, pins=1, seed=0)
    for driver in drivers:
        _check([replace(asked, driver=driver)], problems)
    for kernel in kernels:
        _check([replace(asked, kernel=kernel)], problems)
    for profile in profiles:
        _check([replace(asked, profile=profile, kernel=kernel) for kernel in kernels], problems)
    problems.refuse()
    kept = _kept(soak.state)
    seed = soak.seed
    if seed is None:
        seed = kept.settings.seed if kept else secrets.randbits(32)
    settings = SoakSettings(
        seed=seed,
        policies=policies,
        profiles=profiles,
        kernels=kernels,
        drivers=drivers,
        jobs={one.name: jobfile.shown_in_full([one]) for one in sections},
    )
    if kept and kept.settings != settings:
        before, now = kept.settings.model_dump(), settings.model_dump()
        differs = ", ".join(key for key in now if before.get(key) != now[key])
        reason = f"{soak.state} is of a soak with another {differs}; nearest: another file"
        raise ConfigError([("--state", reason)])
    return Plan(soak, settings, {one.name: one.request for one in sections}, kept)


def _check(
    requests: Iterable[Request], problems: Problems, placed: Callable[[str], str] = str
) -> None:
    """Note what is wrong with the last of some requests, unless one of them is right."""
    try:
        # Whether the host carries it is asked when its turn comes.
        with suppress(ResourceError):
            cycles.first_fitting(requests)
    except ConfigError as error:
        for place, message in error.problems:
            problems.add(placed(place), message)


def _kept(state: str | None) -> SoakResult | None:
    if state is None or not Path(state).exists():
        return None
    return stored.read(state, {_SCHEMA: SoakResult})


def run(
    plan: Plan,
    argv: Sequence[str],
    told: Told = lambda cycle: None,
    over: Spread = here,
) -> SoakResult:
    """Run cycle after cycle until time is up or one has a finding.

    Ctrl-C ends it. What was found is in the state after every cycle. A cycle with a finding
    does not count: a soak that goes on begins with it.

    Args:
        plan: What to run.
        argv: The command line, for the result.
        told: Told of each cycle.
        over: Who makes the runs. What they leave behind is looked for if that is this process:
            in others it is not seen, and a link to them takes and gives back files as it likes.

    Raises:
        OSError: The state cannot be written.
    """
    soak = _Under(plan, argv, is_here=over is here)
    try:
        for made in over(_attempt, soak.items()):
            if not soak.take(made, told):
                return soak.keep("finding")
            soak.keep("interrupted")
    except KeyboardInterrupt:
        return soak.keep("interrupted")
    return soak.keep("complete")


_Made = Sequence[Row] | Wrong | None
"""Rows of the runs of a cycle; what failed; None: the host refused it."""


def _attempt(items: Sequence[Item] | None) -> _Made:
    """Make the runs of a cycle wherever this is.

    What the core raises is a finding; what a caller's signal handler does is not.
    """
    if items is None:
        return None
    rows: list[Row] = []
    try:
        for item in items:
            rows.append(runner.make(item))
            if rows[-1]["status"] == "interrupted":
                break
    except (ResourceError, MemoryError):
        return None
    except (GupstressError, _core.PanicException) as error:
        return Wrong("panic", f"{type(error).__name__}: {error}")
    return rows


class _Under:
    """A soak that is under way."""

    def __init__(self, plan: Plan, argv: Sequence[str], *, is_here: bool) -> None:
        kept = plan.kept
        self.is_here = is_here
        self.plan, self.argv = plan, argv
        self.began = time.monotonic()
        self.before_s = kept.elapsed_s if kept else 0.0
        self.started_at = kept.started_at if kept else datetime.now(timezone.utc)
        self.facts = host.facts()
        self.made = 0
        self.asked: deque[tuple[str | None, Job] | None] = deque()
        """Cycles that have not been taken yet."""
        self.at_first = judge.held()
        self.calls, self.pins = (kept.calls, kept.pins) if kept else (0, 0)
        self.refused = kept.refused if kept else 0
        self.verdicts = _counters(kept.verdicts if kept else {})
        self.run_on = _counters(kept.run_on if kept else {})
        self.finding: SoakFinding | None = None
        self.held: tuple[Held, Held] | None = None

    def items(self) -> Iterator[Sequence[Item] | None]:
        """Yield the runs of each cycle, as long as there is time; None: the host refuses it."""
        asked = self.plan.soak
        ends_at = inf if asked.minutes is None else self.began + 60 * asked.minutes
        first = self.plan.first
        numbers = (
            count(first) if asked.most_cycles is None else range(first, first + asked.most_cycles)
        )
        for number in numbers:
            if time.monotonic() >= ends_at:
                return
            try:
                section, job = cycles.prepare(self.plan.settings, self.plan.sections, number)
            except (ResourceError, MemoryError):
                self.asked.append(None)
                yield None
            else:
                self.asked.append((section, job))
                yield [runner.item(*one, job.final) for one in job.schedule()]

    def take(self, made: _Made, told: Told) -> bool:
        """Take what the next cycle came to; false if that is a finding."""
        number, asked = self.plan.first + self.made, self.asked.popleft()
        if asked is None or made is None:
            self.refused += 1
            self.made += 1
            return True
        section, job = asked
        run: Run | None = None
        wrong: Wrong | None
        if isinstance(made, Wrong):
            wrong = made
        else:
            run = runner.run(job, self.argv, made=iter(made))
            if run.status == "interrupted":
                raise KeyboardInterrupt
            self._count(run, section)
            wrong = judge.wrong(run)
            if wrong is None and self.is_here:
                wrong = judge.leaked(self.at_first)
            now = judge.held()
            self.held = (self.held[0] if self.held else now, now)
            told(Cycle(number, section, run, now))
        if wrong is None:
            self.made += 1
            return True
        again = reproduce.of(job.request)
        self.finding = SoakFinding(cycle=number, **wrong._asdict(), command=again, run=run)
        return False

    def _count(self, run: Run, section: str | None) -> None:
        for result in run.results:
            self.verdicts.setdefault(result.policy, Counter())[result.verdict or "?"] += 1
            self.calls += result.calls.issued
            self.pins += result.pages.pinned
        kinds = {"driver": run.settings.driver, "kernel": run.settings.kernel}
        kinds |= {"profile": run.settings.profile} if section is None else {"job": section}
        for kind, name in kinds.items():
            self.run_on.setdefault(kind, Counter())[name] += 1

    def keep(self, status: str) -> SoakResult:
        """Return what was found so far, and write the state if there is one."""
        result = SoakResult.model_validate(
            {
                "gupstress": Build(version=_core.__version__, build_profile=_core.build_profile),
                "argv": tuple(self.argv),
                "started_at": self.started_at,
                "status": status,
                "host": self.facts,
                "settings": self.plan.settings,
                "cycles": self.plan.first + self.made,
                "refused": self.refused,
                "elapsed_s": self.before_s + time.monotonic() - self.began,
                "calls": self.calls,
                "pins": self.pins,
                "verdicts": self.verdicts,
                "run_on": self.run_on,
                "held": self.held,
                "finding": self.finding,
            }
        )
        if self.plan.soak.state is not None:
            files.write_whole(self.plan.soak.state, result.to_json())
        return result


def _counters(table: "dict[str, dict[str, int]]") -> dict[str, Counter[str]]:
    return {name: Counter(counts) for name, counts in table.items()}
