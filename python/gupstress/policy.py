"""Policies made in Python."""

import json

from pydantic import BaseModel, ConfigDict

AxisValue = bool | int | float | str


class Policy(BaseModel):
    """A retry policy: a preset with some of its axes changed.

    `Policy(name="patient", base="bounded", isolate_retries=1000)` is what a TOML
    file with the same keys is; `gupstress show policy NAME` lists the axes. They
    are checked by the run that uses the policy, which raises `ConfigError`.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, AxisValue]

    name: str
    base: str

    # Written out for type checkers, which would not take axes otherwise.
    def __init__(self, name: str, base: str, **axes: AxisValue) -> None:
        super().__init__(name=name, base=base, **axes)

    def to_toml(self) -> str:
        """Return the policy as the TOML text that `--policy FILE.toml` takes."""
        # A TOML basic string, number or boolean is written as in JSON.
        return "".join(
            f"{axis} = {json.dumps(value, ensure_ascii=False)}\n"
            for axis, value in self.model_dump().items()
        )
