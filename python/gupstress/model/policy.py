"""Policies made in Python."""

import json
from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, ValidationError

from gupstress.errors import ConfigError
from gupstress.values import shown, whole

AxisValue = bool | int | float | str


class Policy(BaseModel):
    """A retry policy: a preset with some of its axes changed.

    `Policy(name="patient", base="bounded", isolate_retries=1000)` is what a TOML
    file with the same keys is; `gupstress show policy NAME` lists the axes. They
    are checked by the run that uses the policy, which raises `ConfigError`.

    Raises:
        ConfigError: A value is of a type that TOML has no word for, or a name is no text.
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

    def to_toml(self) -> str:
        """Return the policy as the TOML text that `--policy FILE.toml` takes."""
        # A TOML basic string, number or boolean is written as in JSON.
        return "".join(
            f"{axis} = {json.dumps(value, ensure_ascii=False)}\n"
            for axis, value in self.model_dump().items()
        )


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
