"""The axes of a policy that are searched, and the values of each."""

import re
from collections.abc import Mapping, Sequence

from gupstress import _core
from gupstress.model import catalog
from gupstress.model.policy import AxisValue
from gupstress.problems import Problems, nearest

Space = Mapping[str, tuple[AxisValue, ...]]

_FIXED = ("name", "summary", "source", "scope", "zero_page", "migrate_errno", "defect")
"""What a policy is called, which pages must move, and deliberate faults: not for a search."""

_AXIS = re.compile(r"# .* \((?P<takes>.*)\)\n(?P<key>\w+) = .*\n")

_COUNTS: tuple[AxisValue, ...] = (0, 1, 10, 100, 1000, "unlimited")
_PAUSES: tuple[AxisValue, ...] = ("none", "20us", "200us", "2ms", "20ms")
_DEADLINES: tuple[AxisValue, ...] = ("none", "1s", "4s", "10s")
_SHARES: tuple[AxisValue, ...] = (0.0, 0.5, 1.0)


def space(base: str, fixed: Sequence[str], problems: Problems) -> Space:
    """Return the axes to search from a policy, with its own value first.

    Args:
        base: A preset.
        fixed: Axes that stay as they are in it.
        problems: Takes those of `fixed` that are no axes.
    """
    own = catalog.preset("policy", base)
    found: dict[str, tuple[AxisValue, ...]] = {}
    for axis in _AXIS.finditer(_core.show("policy", base)):
        key = axis["key"]
        if key not in _FIXED:
            found[key] = tuple(dict.fromkeys((own[key], *_values(key, axis["takes"]))))
    for name in fixed:
        if name not in found:
            near = nearest(name, found)
            problems.add("--fix", f"no axis {name!r} to search; nearest: {near}")
    return {key: values for key, values in found.items() if key not in fixed}


def _values(key: str, takes: str) -> tuple[AxisValue, ...]:
    if " | " in takes:
        return tuple(takes.split(" | "))
    if "unlimited" in takes:
        return _COUNTS
    if "time" in takes:
        return _DEADLINES if key == "deadline" else _PAUSES
    return _SHARES


def repaired(axes: Mapping[str, AxisValue]) -> dict[str, AxisValue]:
    """Return axes as a policy takes them: no pause is longer than the longest."""
    fixed = dict(axes)
    least, most = (str(axes.get(key, "none")) for key in ("backoff_min", "backoff_max"))
    if _seconds(most) < _seconds(least):
        fixed["backoff_max"] = least
    return fixed


def _seconds(word: str) -> float:
    return 0.0 if word == "none" else _core.parse_duration(word)
