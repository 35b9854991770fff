"""Reads back the files that commands wrote."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from gupstress.errors import ConfigError
from gupstress.outcome.results import Document
from gupstress.problems import nearest

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
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError([(path, f"not JSON: {error}")]) from None


_NAMED = 3
"""Mistakes of a file that are named; one that is of another make has hundreds."""


def _reasons(error: ValidationError) -> Iterator[str]:
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    for one in errors[:_NAMED]:
        yield f"{'.'.join(map(str, one['loc']))}: {one['msg']}"
    if len(errors) > _NAMED:
        yield f"{len(errors) - _NAMED} more"
