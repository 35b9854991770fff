"""Where the two sides of a comparison are from."""

import os
from collections.abc import Sequence
from datetime import datetime
from math import isclose
from pathlib import Path
from typing import NamedTuple

from gupstress.errors import ConfigError
from gupstress.outcome import stability, stored
from gupstress.outcome.results import Run
from gupstress.problems import Problems
from gupstress.studies.comparison import pairing, workload

_KINDS = {"gupstress.run/1": Run}


class Source(NamedTuple):
    """A run and what it was read from."""

    name: str | None
    run: Run
    first: datetime
    last: datetime
    """Start of the last run; that of the only one if it is one."""


def of_run(run: Run, name: str | None = None) -> Source:
    """Return a run as one side of a comparison."""
    return Source(name, run, run.started_at, run.started_at)


def read(given: Run | str | os.PathLike[str]) -> Source:
    """Return one side of a comparison: a result, its file, or all files of a folder pooled.

    A folder is what runs of two builds in turn leave: one file a turn for each build.

    Raises:
        ConfigError: It cannot be read, holds no result, or does not hold together.
    """
    if isinstance(given, Run):
        _check("", given)
        return of_run(given)
    name = os.fspath(given)
    if not Path(name).is_dir():
        return of_run(_read(name), name)
    files = sorted(map(str, Path(name).glob("*.json")))
    if not files:
        raise ConfigError([(name, "no *.json in this folder; nearest: the file of a run")])
    problems, runs = Problems(), []
    for file in files:
        with problems.collecting():
            runs.append(_read(file))
    problems.refuse()
    starts = [run.started_at for run in runs]
    return Source(name, _pooled(files, runs), min(starts), max(starts))


def _read(file: str) -> Run:
    run = stored.read(file, _KINDS)
    _check(file, run)
    return run


def in_turn(base: Source, head: Source) -> bool:
    """Whether runs of one side were made between those of the other."""
    if base.run is head.run:
        return base.run.settings.interleave
    return base.first < head.last and head.first < base.last


def _check(place: str, run: Run) -> None:
    """Refuse a result that cannot have come from a run as it is."""
    problems = Problems()
    if not run.results:
        problems.add(place, "holds no results; nearest: a run that was not interrupted")
    seen = set()
    for result in run.results:
        label = f"{result.policy}, repeat {result.repeat}"
        if (result.policy, result.repeat) in seen:
            problems.add(place, f"{label}: there twice")
        seen.add((result.policy, result.repeat))
        rate = result.throughput.pages_per_s
        if rate is not None and not isclose(rate * result.elapsed_s, result.pages.pinned):
            problems.add(place, f"{label}: pages_per_s is not pages.pinned / elapsed_s")
    problems.refuse()


def _pooled(files: Sequence[str], runs: Sequence[Run]) -> Run:
    """Return several runs of the same as one, their repeats numbered on.

    Raises:
        ConfigError: They are not of the same build and workload.
    """
    first, problems = runs[0], Problems()
    for file, run in zip(files, runs, strict=True):
        pairs = pairing.alike(first, run)
        unlike = workload.obstacles(first, run, pairs), workload.changes(first, run, pairs)
        for found in (*unlike[0], *unlike[1]):
            of_first, of_this = f"{found.base} in {files[0]}", f"{found.head} here"
            problems.add(file, f"not a repeat: {found.what} is {of_first}, {of_this}")
    problems.refuse()
    counts: dict[str, int] = {}
    results = []
    for result in (result for run in runs for result in run.results):
        counts[result.policy] = counts.get(result.policy, 0) + 1
        results.append(result.model_copy(update={"repeat": counts[result.policy]}))
    return first.model_copy(
        update={
            "results": stability.judged(results, first.gupstress.build_profile),
            "settings": first.settings.model_copy(update={"repeat": max(counts.values())}),
        }
    )
