"""Which policy of one run is held against which of the other."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from gupstress.outcome.results import Run
from gupstress.problems import Problems, nearest
from gupstress.values import shown


class Pair(NamedTuple):
    """The names of a policy on either side."""

    base: str
    head: str


def policies(run: Run) -> list[str]:
    """Return the names of a run's policies, in the order in which they first occur."""
    return list(dict.fromkeys(result.policy for result in run.results))


def alike(base: Run, head: Run) -> list[Pair]:
    """Pair the policies that both ran, in the order of `head`."""
    return [Pair(name, name) for name in policies(head) if name in policies(base)]


def against(name: str, run: Run, place: str, problems: Problems) -> list[Pair]:
    """Pair one policy of a run with each other one of it; note why if that cannot be."""
    names = policies(run)
    if name not in names:
        near = nearest(name, names)
        problems.add(f"--base {name}", f"no such policy in {place}; nearest: --base {near}")
    elif len(names) == 1:
        message = f"the only policy in {place}; nearest: a run of two policies"
        problems.add(f"--base {name}", message)
    return [Pair(name, other) for other in names if other != name]


def named(
    asked: Sequence[Pair], base: Run, head: Run, places: tuple[str, str], problems: Problems
) -> list[Pair]:
    """Return the pairs that were asked for, noting policies that were not run."""
    for pair in asked:
        for name, run, place in zip(pair, (base, head), places, strict=True):
            if name not in policies(run):
                near = nearest(name, policies(run))
                said = pair.head if pair.base == pair.head else f"{pair.base}={pair.head}"
                problems.add(f"--policy {said}", f"no {name!r} in {place}; nearest: {near}")
    return list(asked)


def parse(asked: object, problems: Problems) -> list[Pair]:
    """Read what a caller gives: `{"linux-7.2": "mine"}`, or `"linux-7.2=mine"`, one or several."""
    if isinstance(asked, Mapping):
        words: list[object] = [f"{base}={head}" for base, head in asked.items()]
    elif isinstance(asked, str) or not isinstance(asked, Iterable):
        words = [asked]
    else:
        words = list(asked)
    found = []
    for word in words:
        base, equals, head = word.partition("=") if isinstance(word, str) else ("", "", "")
        if not base or (equals and not head):
            near = f"{base or 'linux-7.2'}=mine"
            problems.add("--policy", f"{shown(word)} is not BASE=HEAD; nearest: {near}")
        else:
            found.append(Pair(base, head or base))
    return list(dict.fromkeys(found))
