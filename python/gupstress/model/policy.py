"""Policies made in Python."""

import json
import math
import re
from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, ValidationError

from gupstress import _core
from gupstress.errors import ConfigError
from gupstress.values import shown, whole

AxisValue = bool | int | float | str


class Policy(BaseModel):
    """A retry policy: a preset with some of its axes changed.

    `Policy(name="patient", base="bounded", isolate_retries=1000)` is what a TOML
    file with the same keys is; `gupstress show policy NAME` lists the axes.

    Raises:
        ConfigError: Everything that makes it no policy, at once.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, AxisValue]

    name: str
    base: str

    # Written out for type checkers, which would not take axes otherwise.
    def __init__(self, name: str, base: str, **axes: AxisValue) -> None:
        try:
            # Whole numbers of other make would be taken for fractions.
            plain = {
                axis: value if (n := whole(value)) is None else n for axis, value in axes.items()
            }
            super().__init__(name=name, base=base, **plain)
        except ValidationError as error:
            raise ConfigError(list(_problems(error))) from None
        try:
            _core.show("policy", f"Policy {name!r}", self.to_toml())
        except ConfigError as error:
            # Whoever wrote it saw no lines.
            place = f"Policy {name!r}"
            raise ConfigError([(place, message) for _, message in error.problems]) from None

    def to_toml(self) -> str:
        """Return the policy as the TOML text that `--policy FILE.toml` takes."""
        return "".join(
            f"{_key(axis)} = {_toml(value)}\n" for axis, value in self.model_dump().items()
        )


_BARE = re.compile(r"[A-Za-z0-9_-]+")


def _key(axis: str) -> str:
    return axis if _BARE.fullmatch(axis) else _toml(axis)


def _toml(value: AxisValue) -> str:
    """Write a value, which is as in JSON but for what JSON leaves as it is or has no word for."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", r"\u007f")


def _problems(error: ValidationError) -> Iterator[tuple[str, str]]:
    # A value is held against each type that it may have.
    inputs = {str(one["loc"][0]): one["input"] for one in error.errors(include_url=False)}
    for axis, value in inputs.items():
        if axis in ("name", "base"):
            near = {"name": "mine", "base": "bounded"}[axis]
            yield "Policy", f"{axis}: {shown(value)} is not text; nearest: {near}"
        else:
            kinds = "a number, text, True or False"
            yield "Policy", f"{axis}: {shown(value)} is not {kinds}; nearest: leave it out"
