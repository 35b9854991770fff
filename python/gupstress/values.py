"""Reads what a user gives as a value: words of a command line, arguments of a call.

What is refused raises `ValueError`, in one line that names the nearest value.
"""

import math
import operator
import os
import re
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Any

from gupstress import _core
from gupstress.errors import ConfigError


def shown(value: object) -> str:
    """Return a value as messages name it, on one line."""
    return " ".join(repr(value).split())


def whole(value: object) -> int | None:
    """Return the whole number that a value is, None if it is none."""
    try:
        # What is true or false is no number, though Python counts with it.
        return None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


_NUMBER = re.compile(r"(?P<digits>[+-]?\d+(\.\d+)?([eE]\+?\d{1,3})?)(?P<unit>[kMG]?)")

_UNITS = {"": 0, "k": 3, "M": 6, "G": 9}
"""Powers of ten."""


@dataclass(frozen=True)
class Whole:
    """Whole numbers of a range."""

    low: int
    high: int

    def parse(self, word: str) -> int:
        """Read a word; whether the number is in the range is for `check` to say."""
        form = _NUMBER.fullmatch(word.strip())
        number = None if form is None else Decimal(form["digits"]).scaleb(_UNITS[form["unit"]])
        if number is None or number != number.to_integral_value():
            raise self._no_number(word)
        return int(number)

    def check(self, value: object) -> int:
        """Return the number that a value is."""
        number = whole(value)
        if number is None:
            raise self._no_number(value)
        _require(number, number, self.low, self.high, str)
        return number

    def _no_number(self, value: object) -> ValueError:
        guess = _core.guess_number(str(value))
        near = int(min(max(guess or self.low, self.low), self.high))
        return ValueError(f"{shown(value)} is not a whole number; nearest: {near}")


@dataclass(frozen=True)
class Share:
    """Numbers from 0 to 1."""

    def parse(self, word: str) -> float:
        """Read a word; whether the number is in the range is for `check` to say."""
        try:
            return float(word)
        except ValueError:
            raise self._no_share(word) from None

    def check(self, value: object) -> float:
        """Return the number that a value is."""
        if not isinstance(value, Real) or isinstance(value, bool) or math.isnan(_real(value)):
            raise self._no_share(value)
        _require(value, _real(value), 0, 1, str)
        return float(value)

    def _no_share(self, value: object) -> ValueError:
        near = min(max(_core.guess_number(str(value)) or 0.0, 0.0), 1.0)
        return ValueError(f"{shown(value)} is not a number from 0 to 1; nearest: {near:g}")


@dataclass(frozen=True)
class Length:
    """Lengths of time in seconds, of a range."""

    low: float
    high: float

    def parse(self, words: str) -> float:
        """Read words such as `500ms`; whether the length is in the range is for `check` to say."""
        try:
            return _core.parse_duration(words)
        except ConfigError as error:
            raise ValueError(error.problems[0][1]) from None

    def check(self, value: object) -> float:
        """Return the length that a value is, given in seconds or in words."""
        if isinstance(value, str):
            seconds, said = self.parse(value), value
        elif (
            isinstance(value, Real) and not isinstance(value, bool) and not math.isnan(_real(value))
        ):
            seconds = _real(value)
            said = _core.show_duration(seconds) if 0 <= seconds < 10 * self.high else str(value)
        else:
            near = _core.show_duration(min(max(60.0, self.low), self.high))
            raise ValueError(f"{shown(value)} is not a length of time; nearest: {near}")
        _require(said, seconds, self.low, self.high, _core.show_duration)
        return seconds


def _real(value: Any) -> float:
    """Return a number as one that may be compared, whatever its size."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


_SIZE = re.compile(r"(?P<digits>\d+)(?P<unit>[KMG]?)(i?B)?", re.IGNORECASE)

_POWERS = {"": 0, "K": 10, "M": 20, "G": 30}
"""Powers of two, as the kernel's command line and QEMU have them."""


@dataclass(frozen=True)
class Bytes:
    """Amounts of memory in bytes, of a range."""

    low: int
    high: int

    def parse(self, word: str) -> int:
        """Read a word such as `512M`."""
        form = _SIZE.fullmatch(word.strip())
        if form is None:
            guess = int(_core.guess_number(word) or 0)
            near = _amount(min(max(guess, self.low), self.high))
            raise ValueError(f"{shown(word)} is not an amount of memory; nearest: {near}")
        number = int(form["digits"]) << _POWERS[form["unit"].upper()]
        _require(word, number, self.low, self.high, _amount)
        return number


def _amount(number: int) -> str:
    unit = next(unit for unit in "GMK" if number >> _POWERS[unit] or unit == "K")
    return f"{number >> _POWERS[unit]}{unit}"


def _require(said: object, number: Any, low: Any, high: Any, show: Any) -> None:
    """Refuse a number that is out of its range."""
    if number > high:
        raise ValueError(f"{said} is above {show(high)}; nearest: {show(high)}")
    if number < low:
        raise ValueError(f"{said} is below {show(low)}; nearest: {show(low)}")


def text(value: object, what: str, near: str) -> str:
    """Return a value that has to be text; `what` and `near` say what it should have been."""
    if isinstance(value, str):
        return value
    raise ValueError(f"{shown(value)} is not {what}; nearest: {near}")


def flag(value: object) -> bool:
    """Return a value that has to be true or false."""
    if isinstance(value, bool):
        return value
    near = str(value).lower() not in ("0", "no", "off", "false", "none")
    raise ValueError(f"{shown(value)} is not True or False; nearest: {near}")


def name(value: object, what: str, near: str) -> str:
    """Return a preset's name or the path of a file, which may be given as a `Path`."""
    if isinstance(value, os.PathLike):
        path = os.fspath(value)
        if isinstance(path, str):
            # A path is one wherever it leads: never a preset's name.
            return path if is_file(path) else os.path.join(os.curdir, path)  # noqa: PTH118
    return text(value, f"{what} or a file", near)


def file(value: object, near: str) -> str:
    """Return the path of a file, which may be given as a `Path`."""
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if isinstance(path, str) and path and "\0" not in path:
        return path
    raise ValueError(f"{shown(value)} is not a file; nearest: {near}")


def is_file(name: str) -> bool:
    """Whether a name given for a policy, profile, kernel or scenario means a file."""
    return name.endswith(".toml") or "/" in name
