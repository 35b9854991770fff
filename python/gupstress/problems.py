"""What is wrong with a request, collected so that all of it is said at once."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

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
    return get_close_matches(wanted, list(names), n=1, cutoff=0.0)[0]
