"""Reads option values; a refusal says what would be accepted."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from gupstress.problems import Problems, nearest
from gupstress.running.request import EXPLORED, NUMBERS
from gupstress.values import Bytes, Length, Share, Whole


def number(name: str) -> Callable[[Any], Any]:
    """Return what reads a number of a request; its range is the request's to check."""
    return reads((NUMBERS | EXPLORED)[name])


def reads(kind: Whole | Share | Length | Bytes) -> Callable[[Any], Any]:
    """Return what reads a value of this kind."""

    def read(value: Any) -> Any:
        # A default comes as it is.
        if not isinstance(value, str):
            return value
        try:
            return kind.parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return read


def numbers(name: str) -> Callable[[Any], Any]:
    """Return what reads a number of a request, or several with commas between for a sweep."""
    one = number(name)

    def read(value: Any) -> Any:
        if not isinstance(value, str) or "," not in value:
            return one(value)
        words = [word.strip() for word in value.split(",")]
        for word in words:
            one(word)
        return Several(words)

    return read


class Several(tuple[str, ...]):
    """The words of several values of an option."""

    __slots__ = ()


def scan(value: str) -> tuple[str, tuple[str, ...]]:
    """Read an axis of a sweep."""
    from gupstress.running.scan import parse

    try:
        return parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


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


class Gathering(click.Command):
    """A command that says everything that is wrong with its line at once.

    What cannot be read stands as if it had not been given, so that the command finds what
    else is wrong; it takes `mistakes()` for a start, and refuses them with its own.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the line, noting what is wrong with each part of it."""
        problems = ctx.meta.setdefault(_MISTAKES, Problems())
        try:
            return super().parse_args(ctx, list(args))
        except click.MissingParameter:
            raise
        except click.NoSuchOption as error:
            problems.add("", error.format_message())
            names = [error.option_name]
        except click.BadParameter as error:
            if not isinstance(error.param, click.Option):
                raise
            problems.add(error.param.opts[0], error.message)
            names = error.param.opts
        left = _without(names, args)
        if left == args:
            # One letter among several of a word: nobody can tell what the others meant.
            problems.refuse()
        ctx.params.clear()
        return self.parse_args(ctx, left)


def _without(names: Sequence[str], args: Sequence[str]) -> list[str]:
    """Return a line without some options and the words behind them, which were meant for them."""
    left: list[str] = []
    behind = False
    for word in args:
        if word.partition("=")[0] in names:
            behind = "=" not in word
        elif behind and not word.startswith("--"):
            behind = False
        else:
            behind = False
            left.append(word)
    return left


_MISTAKES = "gupstress.mistakes"


def mistakes() -> Problems:
    """Return what is wrong with the line of the command that is carried out."""
    found = click.get_current_context().meta.setdefault(_MISTAKES, Problems())
    assert isinstance(found, Problems)  # noqa: S101 -- for the type checker
    return found
