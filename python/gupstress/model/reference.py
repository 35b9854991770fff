"""What policies, profiles and kernels are called: presets' names, files, and `Policy`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gupstress import _core, values
from gupstress.errors import ConfigError
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


def reference(wanted: str | Policy) -> Reference:
    """Return a policy, profile or kernel as the core wants it, reading its file if it is one.

    Raises:
        ConfigError: The file cannot be read.
    """
    if not isinstance(wanted, str):
        return {"path": f"Policy {wanted.name!r}", "text": wanted.to_toml()}
    if not is_file(wanted):
        return {"name": wanted}
    try:
        return {"path": wanted, "text": Path(wanted).read_text(encoding="utf-8")}
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        if isinstance(error, UnicodeDecodeError):
            reason = "not UTF-8 text"
        raise ConfigError([(wanted, f"cannot be read: {reason}")]) from error


def several(value: Any) -> list[Any]:
    """Return what may be one or many as a list."""
    from gupstress.model.policy import Policy

    one = isinstance(value, str | bytes | os.PathLike | Policy) or not isinstance(value, Iterable)
    return [value] if one else list(value)
