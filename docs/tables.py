"""Markdown as the pages have it."""

from collections.abc import Iterable, Sequence

WIDTH = 120
"""Of a line."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    escaped = ([cell.replace("|", r"\|") for cell in row] for row in lines)
    return "\n".join(f"| {' | '.join(row)} |" for row in escaped)


def code(text: object) -> str:
    """Return text in the fixed-width face; nothing for nothing."""
    return f"`{text}`" if str(text) else ""
