"""Says what is wrong with the arguments of a call in the words of Python."""

import re
from collections.abc import Callable, Collection
from functools import wraps
from inspect import signature
from typing import ParamSpec, TypeVar

from gupstress.errors import ConfigError, ResourceError

Given = ParamSpec("Given")
Found = TypeVar("Found")


def in_python(function: Callable[Given, Found]) -> Callable[Given, Found]:
    """Let a function's errors name its arguments where a command's name options."""
    arguments = frozenset(signature(function).parameters)

    @wraps(function)
    def call(*args: Given.args, **kwargs: Given.kwargs) -> Found:
        __tracebackhide__ = True
        try:
            return function(*args, **kwargs)
        except ConfigError as error:
            found = [
                (_place(place, arguments), _message(message, arguments))
                for place, message in error.problems
            ]
            raise ConfigError(found) from error.__cause__
        except ResourceError as error:
            # The error itself: it may hold what had ended before it.
            error.args = (_message(str(error), arguments),)
            raise

    return call


_OPTION = re.compile(r"--(no-)?([a-z][a-z-]*)")

_WITH_VALUE = re.compile(r"--([a-z][a-z-]*) ('[^']*'|[^\s;,]+)")

_NAMES = {"set": "sets", "base": "base_policy"}
"""Arguments that are not called as their options are."""


def _name(option: str, arguments: Collection[str]) -> str:
    name = _NAMES.get(option, option)
    return name if name in arguments else option.replace("-", "_")


def _place(place: str, arguments: Collection[str]) -> str:
    return _OPTION.sub(lambda found: _name(found[2], arguments), place)


def _message(message: str, arguments: Collection[str]) -> str:
    said = _WITH_VALUE.sub(lambda found: f"{_name(found[1], arguments)}={found[2]}", message)
    return _OPTION.sub(lambda found: _name(found[2], arguments), said)
