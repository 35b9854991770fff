"""What each cycle of a soak runs: a function of the settings and its number alone.

So a soak goes on wherever it was left, and its cycles may be run anywhere in any order.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any, TypeVar

from gupstress.errors import ConfigError
from gupstress.outcome.soak import SoakSettings
from gupstress.running import runner
from gupstress.running.request import CELL_TIMEOUT_S, Request
from gupstress.running.runner import Job

Value = TypeVar("Value")

_THREADS = (1, 2, 8, 32, 64)
_CPUS = (1, 2, 4, 16)
_PERTURB = (None, 0.02, 0.5)
"""None: as the profile says."""

_PINS = {"os": 20_000, "sim": 5_000}
"""By driver: what most loads pin in well below a second."""

_WALL_TIMEOUT_S = 60.0
"""Longest time that a run may take of the host; a soak wants many runs, not long ones."""


def prepare(
    settings: SoakSettings, sections: Mapping[str, Request], number: int
) -> tuple[str | None, Job]:
    """Return what a cycle runs, with the section of a job file that it is of, if it is of one.

    Args:
        settings: What cycles are made of.
        sections: Of the job files.
        number: Of the cycle, from 0.

    Raises:
        ConfigError: No kernel and number of threads carries what the cycle is made of.
        ResourceError: The host has too few threads or too little memory left.
    """
    loads = [*settings.profiles, *sections]
    load = next(_dealt(settings.seed, "load", loads, number))
    seed = Random(f"{settings.seed} seed {number}").getrandbits(32)  # noqa: S311
    if load in sections:
        return load, runner.prepare(replace(sections[load], seed=seed))
    drawn: dict[str, Any] = {
        name: next(_dealt(settings.seed, name, values, number))
        for name, values in {
            "policy": settings.policies,
            "driver": settings.drivers,
            "cpus": _CPUS,
            "perturb": _PERTURB,
        }.items()
    }
    request = Request(
        policies=(drawn.pop("policy"),),
        profile=load,
        seed=seed,
        pins=_PINS[drawn["driver"]],
        timeout_s=CELL_TIMEOUT_S,
        wall_timeout_s=_WALL_TIMEOUT_S,
        **drawn,
    )
    on = (
        replace(request, kernel=kernel, threads=threads)
        for threads in _dealt(settings.seed, "threads", _THREADS, number)
        for kernel in _dealt(settings.seed, "kernel", settings.kernels, number)
    )
    return None, first_fitting(on)


def first_fitting(requests: Iterable[Request]) -> Job:
    """Return the first of some requests that can be.

    A load may need what a kernel has not, or have room for fewer threads.

    Raises:
        ConfigError: Everything wrong with the last of them.
        ResourceError: The host has too few threads or too little memory left.
    """
    refused = ConfigError([])
    for request in requests:
        try:
            return runner.prepare(request)
        except ConfigError as error:  # noqa: PERF203 -- is what the loop is for
            refused = error
    raise refused


def _dealt(seed: int, what: str, values: Sequence[Value], number: int) -> Iterator[Value]:
    """Yield the value of a cycle, and what would follow: each comes up once before any again."""
    turn, place = divmod(number, len(values))
    order = list(values)
    Random(f"{seed} {what} {turn}").shuffle(order)  # noqa: S311
    yield from order[place:]
    yield from order[:place]
