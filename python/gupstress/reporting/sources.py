"""The runs that a report shows, each with a name of its own."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from gupstress.outcome import stored
from gupstress.outcome.comparison import Comparison
from gupstress.outcome.exploration import ExploreResult
from gupstress.outcome.job import JobResult
from gupstress.outcome.litmus import LitmusResult
from gupstress.outcome.matrix import MatrixResult
from gupstress.outcome.record import Document
from gupstress.outcome.results import PolicyResult, Run
from gupstress.outcome.suite import SuiteResult
from gupstress.outcome.tune import TuneResult
from gupstress.problems import Problems
from gupstress.studies.comparison.sources import read as pooled

_STUDIES: dict[str, type[Document]] = {
    "gupstress.matrix/1": MatrixResult,
    "gupstress.litmus/1": LitmusResult,
    "gupstress.compare/1": Comparison,
    "gupstress.explore/1": ExploreResult,
    "gupstress.tune/1": TuneResult,
}

_KINDS: dict[str, type[Document]] = {
    "gupstress.run/1": Run,
    "gupstress.pytest/1": SuiteResult,
    "gupstress.job/1": JobResult,
    **_STUDIES,
}


class Source(NamedTuple):
    """A run and where it is from."""

    name: str
    """Of its file, and of its test if it is one of a suite's."""
    run: Run

    def repeats(self, policy: str) -> list[PolicyResult]:
        """Return all results of a policy in this run."""
        return [result for result in self.run.results if result.policy == policy]


class Study(NamedTuple):
    """A document that is no run, and the file that it is from."""

    name: str
    document: Document


class Contents(NamedTuple):
    """What some files hold, in their order."""

    runs: list[Source]
    studies: list[Study]


def read(given: Sequence[Document | str | os.PathLike[str]]) -> Contents:
    """Return everything in some files; what is a result already is one too.

    Raises:
        ConfigError: Everything wrong with the files, at once.
    """
    problems = Problems()
    found = Contents([], [])
    paths = [os.fspath(one) for one in given if not isinstance(one, Document)]
    names = [Path(path).name for path in paths]
    for number, one in enumerate(given, 1):
        if isinstance(one, Run):
            found.runs.append(Source(f"run {number}" if len(given) > 1 else "run", one))
            continue
        if isinstance(one, Document):
            found.studies.append(Study(f"result {number}", one))
            continue
        path = os.fspath(one)
        file = path if names.count(Path(path).name) > 1 else Path(path).name
        with problems.collecting():
            document = _document(path)
            if isinstance(document, tuple(_STUDIES.values())):
                found.studies.append(Study(file, document))
                continue
            runs = list(_runs(document))
            if not runs:
                problems.add(path, "holds no run; nearest: one of a test that has run")
            for test, run in runs:
                among = f"{file}: {test}" if len(given) > 1 else test
                found.runs.append(Source(among if test else file, run))
    for path in dict.fromkeys(paths):
        if paths.count(path) > 1:
            problems.add(path, "more than once; nearest: once")
    problems.refuse()
    return found


def _document(path: str) -> Document:
    # The files of a folder are runs made in turn: shown as one, as they are compared.
    return pooled(path).run if Path(path).is_dir() else stored.read(path, _KINDS)


def _runs(document: Document) -> Iterator[tuple[str, Run]]:
    """Yield each run with its test, if it is one of a suite's."""
    if isinstance(document, Run):
        yield "", document
    elif isinstance(document, JobResult):
        yield from ((section.name, section.run) for section in document.sections)
    elif isinstance(document, SuiteResult):
        short = [case.test.rpartition("::")[2] for case in document.tests]
        for case, name in zip(document.tests, short, strict=True):
            test = case.test if short.count(name) > 1 else name
            for number, run in enumerate(case.runs, 1):
                yield (f"{test} {number}/{len(case.runs)}" if len(case.runs) > 1 else test), run


def policies(sources: Sequence[Source]) -> list[str]:
    """Return the name of every policy, in the order in which they first occur."""
    return list(dict.fromkeys(result.policy for source in sources for result in source.run.results))
