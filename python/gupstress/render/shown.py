"""Results as `print` and notebooks show them: the tables and the last line."""

from abc import abstractmethod
from collections.abc import Sequence
from html import escape

from gupstress.render.grid import Grid, html, piped, ruled
from gupstress.visible import markdown, visible


class Shown:
    """What is shown as tables with a line below."""

    @abstractmethod
    def _tables(self) -> Sequence[Grid]:
        """Return the tables."""

    @abstractmethod
    def _end(self) -> str:
        """Return what was found, on one line."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {visible(self._end()).removeprefix('gupstress: ')}>"

    def __str__(self) -> str:
        return "\n\n".join([*map(ruled, self._tables()), visible(self._end())])

    def _repr_markdown_(self) -> str:
        return "\n\n".join([*map(piped, self._tables()), f"**{markdown(visible(self._end()))}**"])

    def _repr_html_(self) -> str:
        return "\n".join([*map(html, self._tables()), f"<p>{escape(visible(self._end()))}</p>"])
