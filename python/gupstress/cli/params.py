"""Reads option values; a refusal says what would be accepted."""

import click

from gupstress import _core, errors


def whole(value: str) -> int:
    """Read a whole number; its range is the request's to check."""
    try:
        return int(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a whole number; nearest: 1") from None


def probability(value: str) -> float:
    """Read a number; its range is the request's to check."""
    try:
        return float(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a number from 0 to 1; nearest: 0") from None


def duration(value: str | float) -> float:
    """Read a length of time in words as seconds."""
    if not isinstance(value, str):
        return value
    try:
        return _core.parse_duration(value)
    except errors.ConfigError as error:
        raise click.BadParameter("; ".join(message for _, message in error.problems)) from None


def setting(value: str) -> tuple[str, str]:
    """Split `AXIS=VALUE`; whether there is such an axis is the core's to say."""
    axis, equals, word = value.partition("=")
    if not (axis and equals):
        raise click.BadParameter(f"{value!r} is not AXIS=VALUE; nearest: {axis or 'AXIS'}=VALUE")
    return axis.strip(), word.strip()
