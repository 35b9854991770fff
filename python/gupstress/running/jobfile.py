"""Job files: everything that `gupstress run` can be told, as TOML, for one run or for several.

    [global]
    policy = ["bounded", "linux-7.2"]
    threshold = ["calls.stuck==0"]

    [short]
    profile = "short-refs"

    [sizes]
    threads = [1, 8, 64]
    set = {isolate_retries = 5}

Keys are the long options of the command. Every table but `global` is a section, a run of
its own; what stands in `global`, or above all tables, holds for all of them. Files are
looked for beside the job file.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from gupstress.errors import ConfigError
from gupstress.model.catalog import parsed
from gupstress.model.reference import STANDARD_INPUT, read_file
from gupstress.problems import Problems, nearest
from gupstress.running import scan
from gupstress.running.request import NUMBERS, Request
from gupstress.values import is_file, shown

_SINGULAR = {"policies": "policy", "thresholds": "threshold", "sets": "set"}
"""Options that may be repeated are called after one of what they give."""


def _key(field: str) -> str:
    return _SINGULAR.get(field, field.removesuffix("_s").replace("_", "-"))


FIELDS = {_key(one.name): one.name for one in fields(Request) if one.name != "trace_last"}
"""Keys of a job file, each with the field of a request that it fills."""

_TABLES = ("set", "scan")
"""Keys whose value is a table."""

_GLOBAL = "global"


class Section(NamedTuple):
    """A run of a job file, or the one that options ask for."""

    name: str
    request: Request
    place: str = ""
    """Where it stands, as messages name it: the file and, if it has one, the table."""
    keys: frozenset[str] = frozenset()
    """What it says itself; the rest was given beside it."""

    def placed(self, option: str) -> str:
        """Return the place of a mistake that is told of an option."""
        word, _, rest = option.removeprefix("--").partition(" ")
        if option.startswith("--") and word in self.keys:
            # A list of values stands under the key that it is of.
            key = rest if word == "scan" and rest in self.keys else f"{word} {rest}"
            return f"{self.place} {key}".rstrip()
        # What the section does not say stands elsewhere, and not all of it is an option's.
        return option if option.startswith("--") else f"{self.place} {option}".strip()


def read(path: str, given: Mapping[str, Any], problems: Problems) -> list[Section]:
    """Return the sections of a job file, noting everything that is wrong with it.

    Args:
        path: The file.
        given: Fields of a request that come before what the file says.
        problems: Where to note.
    """
    table: dict[str, Any] = {}
    with problems.collecting():
        try:
            table = parsed(read_file(path))
        except ValueError as error:
            raise ConfigError([(path, f"not TOML: {error}")]) from None
    runs = {
        name: part
        for name, part in table.items()
        if isinstance(part, dict) and name not in (*_TABLES, _GLOBAL)
    }
    shared = {name: value for name, value in table.items() if name not in (*runs, _GLOBAL)}
    shared |= table.get(_GLOBAL, {}) if isinstance(table.get(_GLOBAL, {}), dict) else {}
    common = _fields(shared, path, path, problems)
    found = []
    for name, part in (runs or {Path(path).stem: {}}).items():
        own = _fields(part, path, f"{path} [{name}]", problems)
        # A sweep takes the place of one value, and one value that of a sweep.
        swept = {key for key, _ in own.get("scan", ())}
        kept = {field: value for field, value in common.items() if field not in swept}
        if "scan" in common:
            axes = (axis for axis in common["scan"] if axis[0] not in {*own, *swept})
            own["scan"] = (*axes, *own.get("scan", ()))
        if "sets" in common:
            own["sets"] = tuple({**dict(common["sets"]), **dict(own.get("sets", ()))}.items())
        place = f"{path} [{name}]" if runs else path
        said = {key for key, field in FIELDS.items() if field in {*kept, *own} - {*given}}
        said |= {key for key, _ in own.get("scan", ())}
        found.append(Section(name, Request(**{**kept, **own, **given}), place, frozenset(said)))
    return found


def _fields(table: Mapping[str, Any], path: str, place: str, problems: Problems) -> dict[str, Any]:
    """Return the fields of a request that a section fills."""
    asked: dict[str, Any] = {}
    scanned: list[tuple[str, tuple[str, ...]]] = []
    for word, value in table.items():
        key = word.replace("_", "-")
        field = FIELDS.get(key)
        if field is None:
            problems.add(place, f"no key {word!r}; nearest: {nearest(word, FIELDS)}")
        elif key == "scan":
            scanned += scan.given(value, problems)
        elif key == "set":
            asked[field] = tuple(_settings(value, place, problems))
        elif key in scan.OPTIONS and isinstance(value, list):
            scanned += scan.given({key: value}, problems)
        else:
            with problems.noting(f"{place} {word}"):
                asked[field] = _value(field, value, Path(path).parent)
    return {**asked, **({"scan": tuple(scanned)} if scanned else {})}


def _value(field: str, value: Any, folder: Path) -> Any:
    """Return a value as a request has it."""
    if isinstance(getattr(Request(), field), tuple):
        every = value if isinstance(value, list) else [value]
        return tuple(_beside(one, folder) if field == "policies" else one for one in every)
    if field in ("profile", "kernel"):
        return _beside(value, folder)
    if field in NUMBERS and isinstance(value, str):
        return NUMBERS[field].parse(value)
    return value


def _beside(name: Any, folder: Path) -> Any:
    if isinstance(name, str) and name != STANDARD_INPUT and is_file(name):
        return str(folder / name)
    return name


def _settings(value: Any, place: str, problems: Problems) -> Iterator[tuple[str, str]]:
    if not isinstance(value, dict):
        problems.add(f"{place} set", f"{shown(value)} is not a table; nearest: {{threads = 8}}")
        return
    for key, one in value.items():
        if isinstance(one, dict):
            yield from ((f"{key}.{rest}", word) for rest, word in _settings(one, place, problems))
        else:
            yield key, str(one).lower() if isinstance(one, bool) else str(one)


def shown_in_full(sections: Sequence[Section]) -> str:
    """Return sections as a job file that leaves nothing to defaults."""
    return "\n".join(f"[{_toml(one.name)}]\n{''.join(_lines(one.request))}" for one in sections)


def _lines(request: Request) -> Iterator[str]:
    full = replace(request, stall_after_s=request.stall_limit_s)
    for key, field in FIELDS.items():
        value = getattr(full, field)
        if field in ("sets", "scan"):
            if value:
                rows = (f"{_toml(name)} = {_toml(words)}" for name, words in value)
                yield f"{key} = {{{', '.join(rows)}}}\n"
        elif value is not None:
            yield f"{key} = {_toml(value)}\n"


def _toml(value: Any) -> str:
    # Text, numbers, truth and lists of them are written as in JSON.
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
