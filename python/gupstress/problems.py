"""What is wrong with a request, collected so that all of it is said at once."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from gupstress import _core
from gupstress.errors import ConfigError


class Problems:
    """A list of `(place, message)` that ends in one `ConfigError`."""

    def __init__(self) -> None:
        self._found: list[tuple[str, str]] = []

    def add(self, place: str, message: str) -> None:
        """Note one problem; `place` is `file:line`, an option, or empty."""
        self._found.append((place, message))

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Take over what a `ConfigError` in this block lists."""
        try:
            yield
        except ConfigError as error:
            self._found.extend(error.problems)

    @contextmanager
    def noting(self, place: str) -> Iterator[None]:
        """Note what a `ValueError` in this block says of a place."""
        try:
            yield
        except ValueError as error:
            self.add(place, str(error))

    def refuse(self) -> None:
        """Raise what was collected, if anything was.

        Raises:
            ConfigError: All problems noted so far.
        """
        if self._found:
            # What several parts of a request share would be said once for each.
            raise ConfigError(list(dict.fromkeys(self._found)))


def nearest(wanted: str, names: Iterable[str]) -> str:
    """Return the name that `wanted` was most likely meant to be."""
    return _core.nearest(wanted, list(names)) or ""
