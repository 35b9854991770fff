"""The command line that makes a run of `gupstress.run` again."""

from collections.abc import Iterator, Mapping
from numbers import Real
from shlex import join, quote
from typing import Any

from gupstress import _core
from gupstress.model.policy import Policy
from gupstress.model.reference import several
from gupstress.running.request import DEFAULT, Request


def command(settings: Mapping[str, Any]) -> str:
    """Return one line to type, in a shell such as bash, for the same run.

    Args:
        settings: Arguments of `gupstress.run`.
    """
    return " ".join(["gupstress run", *_words(settings)])


_ALWAYS_SAID = ("policy", "profile", "kernel", "threads", "cpus", "pins", "seed")


def of(request: Request) -> str:
    """Return one line to type for the run of a request."""
    given, usual = _arguments(request), _arguments(DEFAULT)
    return command(
        {key: value for key, value in given.items() if key in _ALWAYS_SAID or value != usual[key]}
    )


def _arguments(request: Request) -> dict[str, Any]:
    """Return the arguments of `gupstress.run` that make a request."""
    return {
        "policy": request.policies,
        "profile": request.profile,
        "kernel": request.kernel,
        "sets": dict(request.sets),
        "scan": dict(request.scan),
        "threads": request.threads,
        "cpus": request.cpus,
        "pins": request.pins,
        "perturb": request.perturb,
        "driver": request.driver,
        "timeout": request.timeout_s,
        "wall_timeout": request.wall_timeout_s,
        "stall_after": request.stall_after_s,
        "seed": request.seed,
        "repeat": request.repeat,
        "interleave": request.interleave,
        "threshold": request.thresholds,
        "abort_on": request.abort_on,
    }


def _words(settings: Mapping[str, Any]) -> Iterator[str]:
    for name, value in settings.items():
        option = f"--{name.replace('_', '-')}"
        match name, value:
            case _, None:
                continue
            case "policy", _:
                for policy in several(value):
                    yield f"{option} {_policy(policy)}"
            case (("threshold" | "abort_on"), _):
                for expr in several(value):
                    yield join([option, expr])
            case "scan", Mapping():
                for axis, words in value.items():
                    yield join([option, f"{axis}={','.join(map(_word, words))}"])
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
