"""Reads back the files that commands wrote."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from gupstress.errors import ConfigError
from gupstress.outcome.record import Document
from gupstress.problems import nearest
from gupstress.visible import visible

Kind = TypeVar("Kind", bound=Document)


def read(path: str, kinds: Mapping[str, type[Kind]]) -> Kind:
    """Return what a file holds.

    Args:
        path: The file.
        kinds: What it may hold, by the name of its schema.

    Raises:
        ConfigError: It cannot be read, or holds something else.
    """
    content = _parse(path)
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema is None:
        raise ConfigError([(path, f"not a result of gupstress; nearest: {next(iter(kinds))}")])
    if not isinstance(schema, str) or schema not in kinds:
        near = nearest(str(schema), kinds)
        raise ConfigError([(path, f"schema {schema!r} is not read here; nearest: {near}")])
    try:
        return kinds[schema].model_validate(content)
    except ValidationError as error:
        reason = "; ".join(_reasons(error))
        raise ConfigError([(path, f"not a {schema} result: {reason}")]) from None


def _parse(path: str) -> Any:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError([(path, f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError:
        raise ConfigError([(path, "cannot be read: not UTF-8 text")]) from None
    if not text.strip():
        raise ConfigError([(path, "is empty")])
    try:
        content = json.loads(text, parse_int=_whole, object_pairs_hook=_table)
        return _harmless(content, path, "")
    except RecursionError:
        raise ConfigError([(path, "not a result: its parts lie too deep in each other")]) from None
    except ValueError as error:
        raise ConfigError([(path, f"not JSON: {visible(str(error))}")]) from None


_DIGITS = 20
"""Of the longest whole number that a result holds."""

_LARGEST = 2.0**64
_SMALLEST = 2.0**-64
"""Numbers beyond these are measurements of nothing, and what is computed of them is no number."""


def _whole(digits: str) -> int | float:
    """Read a whole number; one that is too long for any is endless."""
    return int(digits) if len(digits) <= _DIGITS else float("inf")


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Read a table, in which no key stands twice."""
    table = dict(pairs)
    if len(table) < len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {twice!r} stands twice in a table")
    return table


def _harmless(content: Any, path: str, place: str) -> Any:
    """Return content with every text visible and every number one that can be reckoned with.

    Raises:
        ConfigError: A number is none; it is named by its place in the file.
    """
    match content:
        case str():
            return visible(content)
        case bool() | None:
            return content
        case int() | float():
            size = abs(content)
            if not (size == 0 or _SMALLEST <= size <= _LARGEST):
                raise ConfigError([(path, f"{place}: the number is out of range; nearest: 0")])
            return content
        case list():
            return [_harmless(one, path, _inside(place, at)) for at, one in enumerate(content)]
        case _:
            return {
                visible(key): _harmless(one, path, _inside(place, visible(key)))
                for key, one in content.items()
            }


def _inside(place: str, part: str | int) -> str:
    return f"{place}.{part}" if place else str(part)


_NAMED = 3
"""Mistakes of a file that are named; one that is of another make has hundreds."""


def _reasons(error: ValidationError) -> Iterator[str]:
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    for one in errors[:_NAMED]:
        yield f"{'.'.join(map(str, one['loc']))}: {one['msg']}"
    if len(errors) > _NAMED:
        yield f"{len(errors) - _NAMED} more"
