"""What a shell offers on TAB; click brings the scripts for bash, zsh and fish.

Every function here is a `shell_complete` of a click parameter.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import click
from click.shell_completion import CompletionItem

from gupstress import _core
from gupstress.model import catalog

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def file(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer files: the shell finds them better."""
    return [CompletionItem(incomplete, type="file")]


def one_of(*words: str) -> Complete:
    """Return what offers some words."""
    return lambda _, __, incomplete: _beginning(incomplete, words)


def preset(kind: str) -> Complete:
    """Return what offers the names of presets of a kind, and files where none fits."""

    def complete(
        ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return _beginning(incomplete, _core.names(kind)) or file(ctx, param, incomplete)

    return complete


def shown(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the names that `gupstress show` takes after the kind that stands there."""
    kind = ctx.params.get("kind")
    return _beginning(incomplete, _core.names(kind) if kind else ())


def axis(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the keys that `--set` takes."""
    tables = (
        catalog.preset(kind, _core.names(kind)[0]) for kind in ("policy", "profile", "kernel")
    )
    keys = dict.fromkeys(key for table in tables for key in _keys(table))
    return _beginning(incomplete, (f"{key}=" for key in keys if key not in _NOT_SET))


_NOT_SET = ("name", "summary", "source", "reference", "history")
"""What a table is called is not for `--set` to change."""


def _keys(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def _beginning(incomplete: str, words: Iterable[str]) -> list[CompletionItem]:
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]
