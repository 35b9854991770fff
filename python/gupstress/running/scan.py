"""Sweeps: a request that is run once for each value of some keys, or for each pair of values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

from gupstress.running.request import NUMBERS, Request
from gupstress.values import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gupstress.problems import Problems

Point = tuple[tuple[str, str], ...]
"""A value of each key, as `(key, word)`."""

OPTIONS = ("threads", "cpus", "pins", "perturb")
"""Keys that are a request's own; all others are set as `--set` does."""

MOST = 1000
"""Points of a sweep. Who asks for more has most likely not multiplied."""


def points(request: Request, problems: Problems) -> list[Point]:
    """Return the points of a request's sweep in their order, noting what is wrong with it."""
    for number, (key, words) in enumerate(request.scan):
        said = f"--scan {key}={','.join(words)}"
        if any(key == other for other, _ in request.scan[:number]):
            problems.add(said, f"{key} is scanned already; nearest: one list of all its values")
        for word in sorted({word for word in words if words.count(word) > 1}):
            problems.add(said, f"{word} more than once; nearest: --repeat 2")
        if getattr(request, key, None) is not None and key in OPTIONS:
            problems.add(
                said, f"contradicts --{key} {getattr(request, key)}; nearest: {said} alone"
            )
    count = 1
    for _, words in request.scan:
        count *= len(words)
    if count > MOST:
        problems.add("--scan", f"{count} points are more than {MOST}; nearest: fewer values")
        return []
    return list(product(*([(key, word) for word in words] for key, words in request.scan)))


def at(request: Request, point: Point, problems: Problems) -> Request:
    """Return what is asked at one point of a request's sweep."""
    own: dict[str, Any] = {}
    sets = list(request.sets)
    for key, word in point:
        if key not in OPTIONS:
            sets.append((key, word))
            continue
        with problems.noting(f"--scan {key}"):
            own[key] = NUMBERS[key].check(NUMBERS[key].parse(word))
    return replace(request, scan=(), sets=tuple(sets), **own)


def label(point: Point) -> str:
    """Return a point in words."""
    return " ".join(f"{key}={word}" for key, word in point)


def parse(text: str) -> tuple[str, tuple[str, ...]]:
    """Read `AXIS=a,b,c`."""
    key, equals, words = text.partition("=")
    values = tuple(word.strip() for word in words.split(","))
    if not (key.strip() and equals and all(values)):
        near = f"{key.strip() or 'threads'}=1,8,64"
        raise ValueError(f"{text!r} is not AXIS=A,B,C; nearest: {near}")
    return key.strip(), values


def given(scan: object, problems: Problems) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the axes of a sweep that a Python program asks for: a mapping of lists."""
    if isinstance(scan, Mapping):
        for key, values in scan.items():
            several = not isinstance(values, str) and isinstance(values, Iterable)
            yield str(key), tuple(map(_word, values if several else [values]))
    elif scan is not None:
        near = "{'isolate_retries': [1, 10]}"
        problems.add("--scan", f"{shown(scan)} is not a dict; nearest: {near}")


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
