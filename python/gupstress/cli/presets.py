"""Options that name a policy, a profile or a kernel, by name or by file."""

from collections.abc import Callable
from typing import Any

import click

from gupstress.cli import completion

_SAID = {"policy": "retry policy", "profile": "load", "kernel": "rules of the machine"}
_SEVERAL = {"policy": "policies", "profile": "profiles", "kernel": "kernels"}
"""What each kind is to a user, and the argument that takes several of it."""

FILE = "NAME|FILE.toml"


def one(
    kind: str, default: str | None = None, told: str = "", when: str = ""
) -> Callable[[Any], Any]:
    """Return the option that names one preset of a kind.

    Args:
        kind: `policy`, `profile` or `kernel`.
        default: What stands where none is named.
        told: The default in words, where its name says little.
        when: What has to be given for the option to mean anything.
    """
    said = f"{when}: the {_SAID[kind]}." if when else f"The {_SAID[kind]}."
    return click.option(
        f"--{kind}",
        default=default,
        show_default=not told,
        shell_complete=completion.preset(kind),
        metavar=FILE,
        help=_with_default(said, told),
    )


def several(
    kind: str, told: str = "", *, required: bool = False, metavar: str = FILE
) -> Callable[[Any], Any]:
    """Return the option that names presets of a kind, and may be repeated.

    Args:
        kind: `policy`, `profile` or `kernel`.
        told: In words, what stands where none is named.
        required: At least one has to be named.
        metavar: What it takes, if files are not among it.
    """
    return click.option(
        f"--{kind}",
        _SEVERAL[kind],
        multiple=True,
        required=required,
        shell_complete=completion.preset(kind),
        metavar=metavar,
        help=_with_default(f"The {_SAID[kind]}; may be repeated.", told),
    )


def _with_default(said: str, told: str) -> str:
    return f"{said}  [default: {told}]" if told else said
