"""What the plugin may be told: on the command line, or in pytest's configuration file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


class _Option(NamedTuple):
    name: str
    help: str
    metavar: str | None = None
    """None: a switch."""
    number: str | None = None
    """Which number of a request it is."""


OPTIONS = (
    _Option("pins", "page pins of each policy in a run, instead of the marker's", "N", "pins"),
    _Option(
        "timeout",
        "longest time for one run of one policy, such as 20s, instead of the marker's",
        "TIME",
        "timeout_s",
    ),
    _Option("seed", "seed of every run, instead of the marker's or a drawn one", "N", "seed"),
    _Option(
        "json",
        "write the results of all runs to this file, which `gupstress report` reads",
        "FILE",
    ),
    _Option(
        "compare",
        "compare every test's runs with those in this file of an earlier --gupstress-json;"
        " a regression fails the session",
        "BASE.json",
    ),
    _Option(
        "xdist",
        "run stress tests on real threads under xdist too, where they are skipped otherwise",
    ),
)

"""Everything that the plugin may be told."""

REQUESTED = ("pins", "timeout", "seed")
"""Options that are arguments of `gupstress.run`."""


def add(parser: pytest.Parser) -> None:
    """Add the options, and for each a setting `gupstress_NAME` that it overrides."""
    group = parser.getgroup("gupstress", "stress of long-term page pins")
    for option in OPTIONS:
        name, text = f"gupstress_{option.name}", f"default of --gupstress-{option.name}"
        if option.metavar is None:
            group.addoption(f"--gupstress-{option.name}", action="store_true", help=option.help)
            parser.addini(name, text, type="bool", default=False)
        else:
            kind = {} if option.number is None else {"type": _number(option.number)}
            group.addoption(
                f"--gupstress-{option.name}", metavar=option.metavar, help=option.help, **kind
            )
            parser.addini(name, f"{text}; what a marker says counts more", default=None)


def given(config: pytest.Config, name: str) -> Any:
    """Return what the command line says, None if nothing."""
    return config.getoption(f"--gupstress-{name}")


def wanted(config: pytest.Config, name: str) -> Any:
    """Return what the command line says, or else the configuration file."""
    said = given(config, name)
    return configured(config, name) if said is None or said is False else said


def configured(config: pytest.Config, name: str) -> Any:
    """Return what the configuration file says, None if nothing.

    Raises:
        pytest.UsageError: It is no number where one is needed.
    """
    import pytest

    said = config.getini(f"gupstress_{name}")
    (option,) = (option for option in OPTIONS if option.name == name)
    if option.number is None or said in (None, ""):
        return said or None
    try:
        return _read(option.number, str(said))
    except ValueError as error:
        raise pytest.UsageError(f"gupstress_{name}: {error}") from None


def _number(name: str) -> Callable[[str], Any]:
    """Return what reads a number of a request."""

    def read(value: str) -> Any:
        from argparse import ArgumentTypeError

        try:
            return _read(name, value)
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from None

    return read


def _read(name: str, word: str) -> Any:
    from gupstress.running.request import NUMBERS

    return NUMBERS[name].check(NUMBERS[name].parse(word))
