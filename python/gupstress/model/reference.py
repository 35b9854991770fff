"""What policies, profiles and kernels are called: presets' names, files, and `Policy`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from gupstress import _core, values
from gupstress.errors import ConfigError
from gupstress.model.catalog import parsed, preset
from gupstress.values import is_file

if TYPE_CHECKING:
    from gupstress.model.policy import Policy

PROFILE, KERNEL = "contended", _core.DEFAULT_KERNEL
"""Those that are meant where none is named."""

Reference = Mapping[str, str]
"""A policy, profile or kernel as the core wants it: a preset's name, or a path and its text."""


def policy_name(value: object) -> str | Policy:
    """Return a policy, or the name of one, as it was given."""
    # Not at the top: a command that only helps or completes has no use for pydantic.
    from gupstress.model.policy import Policy

    if isinstance(value, Policy):
        return value
    return values.name(value, "a Policy, the name of one", "bounded")


profile_name = partial(values.name, what="the name of a profile", near=PROFILE)
"""Returns a profile's name, or refuses what is none."""

kernel_name = partial(values.name, what="the name of a kernel", near=KERNEL)
"""Returns a kernel's name, or refuses what is none."""


Named = Literal["policy", "profile", "kernel"]
"""What a name may be meant for."""


def reference(wanted: str | Policy, kind: Named) -> Reference:
    """Return a policy, profile or kernel as the core wants it, reading its file if it is one.

    Args:
        wanted: A preset's name, a file's path, `-` for standard input, or a policy.
        kind: What it is meant for.

    Raises:
        ConfigError: The file cannot be read, or what is named is of another kind.
    """
    if not isinstance(wanted, str):
        return {"path": f"Policy {wanted.name!r}", "text": wanted.to_toml()}
    if wanted == STANDARD_INPUT:
        return {"path": "standard input", "text": _standard_input(kind)}
    if not is_file(wanted):
        _require_kind(wanted, kind, lambda other: wanted in _core.names(other))
        return {"name": wanted}
    text = read_file(wanted)
    keys = _keys(text)
    # A file of another kind would be refused key by key.
    if keys and not keys & _own_keys(kind):
        _require_kind(wanted, kind, lambda other: bool(keys & _own_keys(other)))
    return {"path": wanted, "text": text}


STANDARD_INPUT = "-"


def _require_kind(wanted: str, kind: Named, is_of: Callable[[Named], bool]) -> None:
    """Refuse what is not of the kind that it is meant for, but of another."""
    for other in get_args(Named):
        if other != kind and is_of(other) and not is_of(kind):
            said = f"{wanted} is a {other}, not a {kind}; nearest: --{other} {wanted}"
            raise ConfigError([(f"--{kind}", said)])


def read_file(file: str) -> str:
    """Return the text of a file.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        if isinstance(error, UnicodeDecodeError):
            reason = "not UTF-8 text"
        raise ConfigError([(file, f"cannot be read: {reason}")]) from error


_TAKEN: dict[Named, str] = {}
"""Standard input, by what it was read for: there is one, which is read once."""


def _standard_input(kind: Named) -> str:
    if kind not in _TAKEN:
        if _TAKEN:
            (first,) = _TAKEN
            said = f"standard input is the {first} already; nearest: a file"
            raise ConfigError([(f"--{kind} -", said)])
        _TAKEN[kind] = read_file("/dev/stdin")
    return _TAKEN[kind]


def _keys(text: str) -> frozenset[str]:
    """Return the keys of a file, none where it is not even TOML: the core says why."""
    try:
        table = parsed(text)
    except ValueError:
        return frozenset()
    return frozenset(table) - _SHARED


_SHARED = frozenset({"name", "base", "summary", "source", "reference"})
"""Keys that a file of any kind may have."""


@cache
def _own_keys(kind: Named) -> frozenset[str]:
    return frozenset(preset(kind, _core.names(kind)[0])) - _SHARED


def several(value: Any) -> list[Any]:
    """Return what may be one or many as a list."""
    from gupstress.model.policy import Policy

    one = isinstance(value, str | bytes | os.PathLike | Policy) or not isinstance(value, Iterable)
    return [value] if one else list(value)
