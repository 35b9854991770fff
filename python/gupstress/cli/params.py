"""Reads option values; a refusal says what would be accepted."""

from collections.abc import Callable
from typing import Any

import click

from gupstress.problems import nearest
from gupstress.running.request import NUMBERS


def number(name: str) -> Callable[[Any], Any]:
    """Return what reads a number of a request; its range is the request's to check."""
    kind = NUMBERS[name]

    def read(value: Any) -> Any:
        # A default comes as it is.
        if not isinstance(value, str):
            return value
        try:
            return kind.parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return read


class OneOf(click.Choice[str]):
    """A choice of words, the nearest of which a refusal names."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the word if it is one."""
        if value not in self.choices:
            near = nearest(str(value), self.choices)
            self.fail(f"{value!r} is not one of {', '.join(self.choices)}; nearest: {near}", param)
        return super().convert(value, param, ctx)


def setting(value: str) -> tuple[str, str]:
    """Split `AXIS=VALUE`; whether there is such an axis is the core's to say."""
    axis, equals, word = value.partition("=")
    if not (axis and equals):
        raise click.BadParameter(f"{value!r} is not AXIS=VALUE; nearest: {axis or 'AXIS'}=VALUE")
    return axis.strip(), word.strip()
