"""What comes with gupstress: presets of policies, profiles, kernels and scenarios."""

import sys
from typing import Any

from gupstress import _core

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def policies() -> list[str]:
    """Return the names of the retry policies that come with gupstress."""
    return _core.names("policy")


def profiles() -> list[str]:
    """Return the names of the loads that come with gupstress."""
    return _core.names("profile")


def kernels() -> list[str]:
    """Return the names of the kernel rule sets that come with gupstress, oldest first."""
    return _core.names("kernel")


def preset(kind: str, name: str) -> dict[str, Any]:
    """Return a preset as the table that its TOML is.

    Args:
        kind: `policy`, `profile`, `kernel` or `litmus`.
        name: Which one.

    Raises:
        ConfigError: There is no such preset.
    """
    return tomllib.loads(_core.show(kind, name))


def parsed(text: str) -> dict[str, Any]:
    """Return the table that a TOML text is.

    Raises:
        ValueError: It is none.
    """
    return tomllib.loads(text)
