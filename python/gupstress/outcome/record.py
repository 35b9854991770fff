"""What every model of a result is made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]
Amount = Annotated[int | float, Field(ge=0)]
Sample = Amount | None
"""A statistic, null where there was nothing to take it from."""


class Record(BaseModel):
    """A frozen part of a result."""

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        serialize_by_alias=True,
        validate_by_name=True,
        # JSON has no such numbers.
        allow_inf_nan=False,
    )


class Document(Record):
    """All that one command found: what a file holds."""

    def to_json(self) -> str:
        """Return the result as JSON text that `schema()` describes, with a final newline."""
        return self.model_dump_json(indent=2) + "\n"
