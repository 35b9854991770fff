"""The command line that makes a run of `gupstress.run` again."""

from collections.abc import Iterator, Mapping
from numbers import Real
from shlex import join, quote
from typing import Any

from gupstress import _core
from gupstress.model.policy import Policy
from gupstress.model.reference import several


def command(settings: Mapping[str, Any]) -> str:
    """Return one line to type, in a shell such as bash, for the same run.

    Args:
        settings: Arguments of `gupstress.run`.
    """
    return " ".join(["gupstress run", *_words(settings)])


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
            case "sets", Mapping():
                for axis, one in value.items():
                    yield join(["--set", f"{axis}={_word(one)}"])
            case "interleave", _:
                yield option if value else "--no-interleave"
            case (("timeout" | "wall_timeout" | "stall_after"), Real()):
                yield f"{option} {_core.show_duration(float(value))}"
            case _:
                yield join([option, _word(value)])


def _policy(policy: object) -> str:
    """Return a policy as a word; one made in Python becomes a file that is never stored."""
    if not isinstance(policy, Policy):
        return quote(str(policy))
    text = policy.to_toml()
    for character, escaped in (("\\", r"\\"), ("%", "%%"), ("\n", r"\n")):
        text = text.replace(character, escaped)
    return f"<(printf {quote(text)})"


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
