"""Fit: which rules and policy explain what kernels counted."""

import json
from collections.abc import Sequence

from gupstress import _core
from gupstress.model.reference import read_file
from gupstress.outcome.fit import FitResult, KernelFit
from gupstress.outcome.results import Build
from gupstress.problems import Problems
from gupstress.values import is_file

WALL_S = 600.0
"""Longest time of the host for one search, unless told otherwise."""


def read(paths: Sequence[str]) -> list[tuple[str, str]]:
    """Read measured files.

    Raises:
        ConfigError: Those that cannot be read, all at once.
    """
    problems = Problems()
    files: list[tuple[str, str]] = []
    for path in dict.fromkeys(paths):
        with problems.collecting():
            if not is_file(path):
                problems.add(path, f"no file {path!r}; nearest: {path}.toml")
                continue
            files.append((path, read_file(path)))
    problems.refuse()
    return files


def run(
    files: Sequence[tuple[str, str]],
    kernels: Sequence[str],
    argv: Sequence[str],
    wall_s: float = WALL_S,
) -> FitResult:
    """Search for what explains the counts of each kernel.

    Args:
        files: Paths and TOML texts of litmus scenarios with expectations.
        kernels: Those whose counts are explained; none: all that were counted.
        argv: The command line, for the result.
        wall_s: Longest time of the host, seconds.

    Raises:
        ConfigError: Everything wrong with the files, at once.
    """
    found = _core.fit(files, kernels, wall_s)
    return FitResult(
        gupstress=Build(version=_core.__version__, build_profile=_core.build_profile),
        argv=tuple(argv),
        kernels=tuple(KernelFit.model_validate(json.loads(one)) for one in found),
    )
