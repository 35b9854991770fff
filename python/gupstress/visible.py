"""Text from elsewhere as it may be shown: all of it is seen, and none of it acts.

What a file or a command line says may come from a stranger. A terminal obeys escape
sequences, Markdown is markup, and GitHub Actions takes lines of output for commands.
"""

import re
import shlex
from collections.abc import Iterable


def visible(text: str) -> str:
    r"""Return text on one line, with whatever acts on who shows it spelled out.

    >>> visible("a\x1b[31mb\n::error::c")
    'a\\x1b[31mb\\n::error::c'
    """
    if text.isascii() and text.isprintable() and "::" not in text and "##" not in text:
        # Nearly all of a stored file, which may have a million texts.
        return text
    return _COMMAND.sub(r"\1\\\2", _UNSEEN.sub(_spelled, text))


_UNSEEN = re.compile(
    # Control characters, lone surrogates, ends of lines and paragraphs.
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029"
    # What changes the direction of the text around it, and what has no width.
    "\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\uffff]"
)

_COMMAND = re.compile(r"(^\s*)(::)|(?<=##)()(?=\[)")
"""What GitHub Actions takes for a command: at the start of a line, or anywhere."""


def _spelled(found: "re.Match[str]") -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def markdown(text: str) -> str:
    """Return visible text that is itself where Markdown is shown, and no markup."""
    return _MARKUP.sub(r"\\\g<0>", text)


_MARKUP = re.compile(r"[\\`*<>\[\]|~&$]|(?<!\w)_|_(?!\w)")


def typed(words: Iterable[str]) -> str:
    """Return words as they are typed in a shell, in which every character can be seen."""
    return " ".join(map(_typed, words))


def _typed(word: str) -> str:
    if not _UNSEEN.search(word):
        return shlex.quote(word)
    spelled = "".join(_in_bytes(one) if _UNSEEN.match(one) or one in "\\'" else one for one in word)
    return f"$'{spelled}'"


def _in_bytes(character: str) -> str:
    return "".join(rf"\x{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))
