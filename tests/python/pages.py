"""Reads the project's pages: what a reader would type, copy or follow."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]

PAGES = [
    *(ROOT / f"{name}.md" for name in ("README", "ARCHITECTURE", "CONTRIBUTING", "SECURITY")),
    *sorted(ROOT.glob("docs/*.md")),
]

EXAMPLES = sorted(ROOT.glob("examples/*.py"))

FILES = ("toml", "python", "yaml")
"""Blocks that may be files of the reader's: the first line is a comment with the name."""

OUTPUTS = ("text", "")
"""Blocks that are only looked at."""

COMMAND = re.compile(r"(gupstress|pytest|pip|cargo|\.ci/run|docs/\w+\.py)(?= |$)|[A-Z]+=\S+ ")
"""What a command in running text begins with."""


@dataclass(frozen=True)
class Item:
    """Something on a page that can be done, in the order of the page."""

    line: int
    kind: Literal["command", "span", "file", "python", "session"]
    text: str
    """A command, or the text of a block."""
    name: str = ""
    """Of a file."""
    shown: tuple[str, ...] = ()
    """Lines of output that the page shows of a command."""
    exits: int | None = None
    """The exit code that the page itself tells."""


def tokens(page: Path) -> list[Token]:
    """Return a page's blocks."""
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


def inline(page: Path) -> Iterator[tuple[int, Token]]:
    """Yield what stands in running text, each with its line."""
    line = 0
    for token in tokens(page):
        line = token.map[0] + 1 if token.map else line
        for child in token.children or ():
            yield line, child


def items(page: Path) -> Iterator[Item]:
    """Yield everything on a page, or in the docstring of an example, that can be done."""
    if page in EXAMPLES:
        said = ast.get_docstring(ast.parse(page.read_text(encoding="utf-8"))) or ""
        for text in re.findall(r"^    (.+)$", said, re.MULTILINE):
            yield _command(1, text)
        return
    line = 0
    for token in tokens(page):
        line = token.map[0] + 1 if token.map else line
        if token.type == "fence":
            yield from _block(line, token.info.strip(), token.content)
        for child in token.children or ():
            if child.type == "code_inline" and COMMAND.match(child.content):
                yield Item(line, "span", child.content)


def _block(line: int, language: str, text: str) -> Iterator[Item]:
    first, _, _ = text.partition("\n")
    named = re.fullmatch(r"# ([\w./-]+\.\w+)", first)
    if language in FILES and named:
        yield Item(line, "file", text, name=named[1])
    elif language == "python":
        yield Item(line, "session" if ">>> " in text else "python", text)
    elif language == "sh":
        for command in _whole_lines(text):
            if not command.startswith("#"):
                yield _command(line, command)
    elif language in ("console", "text"):
        yield from _console(line, text)
    elif language == "py":
        raise ValueError(f"line {line}: a block of Python is `python`, which is run")
    elif language not in OUTPUTS:
        raise ValueError(f"line {line}: nobody knows what to do with a block of {language!r}")


def _whole_lines(text: str) -> list[str]:
    """Return lines, those that end in a backslash with what follows them."""
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def _console(line: int, text: str) -> Iterator[Item]:
    # What stands before the first prompt is no command's.
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, *shown = part.replace("\\\n", " ").splitlines()
        yield _command(line, command, tuple(shown))


def _command(line: int, text: str, shown: tuple[str, ...] = ()) -> Item:
    said = re.search(r"\s+# exits (\d+)\b.*$", text)
    command = text[: said.start()] if said else text
    return Item(line, "command", command, shown=shown, exits=int(said[1]) if said else None)


def links(page: Path) -> Iterator[tuple[int, str]]:
    """Yield the targets of a page's links and pictures, each with its line."""
    for line, token in inline(page):
        target = token.attrGet({"link_open": "href", "image": "src"}.get(token.type, ""))
        if target is not None:
            yield line, str(target)
    for found in re.finditer(r"<(?:img|source)[^>]* src(?:set)?=\"([^\"]+)\"", page.read_text()):
        yield 0, found[1]


def anchors(page: Path) -> set[str]:
    """Return what a link to a part of a page may name, as GitHub makes it of its headings."""
    found: set[str] = set()
    opened = False
    for token in tokens(page):
        if opened:
            title = "".join(child.content for child in token.children or ())
            slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
            repeats = (f"{slug}-{number}" for number in range(1, 1000))
            found.add(slug if slug not in found else next(s for s in repeats if s not in found))
        opened = token.type == "heading_open"
    return found
