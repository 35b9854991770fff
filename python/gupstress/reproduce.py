"""The command line that makes a run of `gupstress.run` again."""

from collections.abc import Iterator, Mapping
from shlex import join, quote
from typing import Any

from gupstress.policy import Policy


def command(settings: Mapping[str, Any]) -> str:
    """Return one line to type, in a shell such as bash, for the same run.

    Args:
        settings: Arguments of `gupstress.run`.
    """
    return " ".join(["gupstress run", *_words(settings)])


def several(value: Any) -> list[Any]:
    """Return what may be one or many as a list."""
    return [value] if isinstance(value, str | Policy) else list(value or ())


def _words(settings: Mapping[str, Any]) -> Iterator[str]:
    for name, value in settings.items():
        option = f"--{name.replace('_', '-')}"
        match name, value:
            case _, None:
                continue
            case "policy", _:
                for policy in several(value):
                    yield f"{option} {_policy(policy)}"
            case "threshold", _:
                for expr in several(value):
                    yield join([option, expr])
            case "sets", _:
                for axis, one in value.items():
                    yield join(["--set", f"{axis}={_word(one)}"])
            case "interleave", _:
                yield option if value else "--no-interleave"
            case (("timeout" | "stall_after"), int() | float()):
                yield f"{option} {value:f}s"
            case _:
                yield join([option, _word(value)])


def _policy(policy: str | Policy) -> str:
    """Return a policy as a word; one made in Python becomes a file that is never stored."""
    if isinstance(policy, str):
        return quote(policy)
    text = policy.to_toml()
    for character, escaped in (("\\", r"\\"), ("%", "%%"), ("\n", r"\n")):
        text = text.replace(character, escaped)
    return f"<(printf {quote(text)})"


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
