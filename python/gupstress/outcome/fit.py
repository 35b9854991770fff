"""Which rules and policy explain a kernel's counts: the models of `gupstress.fit/1`."""

from typing import Literal

from pydantic import Field

from gupstress.outcome.record import Document, Record
from gupstress.outcome.results import Build


class Change(Record):
    """A key that is not as in the named rule set or policy."""

    table: Literal["kernel", "policy"]
    axis: str
    value: str


class Explanation(Record):
    """A rule set and a policy under which the model counts the same."""

    rules: str
    same_rules: tuple[str, ...]
    """Named rule sets that are the same in all but name."""
    policy: str
    own_policy: bool
    """Whether one of them has this policy itself."""
    changes: tuple[Change, ...]


class Decided(Record):
    """A key that some cell decides."""

    table: Literal["kernel", "policy"]
    axis: str
    by: str
    """A cell that differs when the key is changed, and how."""


class Undecided(Record):
    """A key whose values the cells cannot tell apart."""

    table: Literal["kernel", "policy"]
    axis: str
    values: tuple[str, ...]
    """Those that all explain every cell, the explanation's own first."""


class Unexplained(Record):
    """A cell that what comes nearest does not explain."""

    cell: str
    differences: tuple[str, ...]
    alone: bool
    """Whether something that was tried explains this cell, but not the others with it."""


class Nearest(Record):
    """What comes nearest where nothing explains all cells."""

    explanation: Explanation
    unexplained: tuple[Unexplained, ...]


class KernelFit(Record):
    """What was found for one kernel."""

    kernel: str
    verdict: Literal["explained", "ambiguous", "unexplained", "unfinished"]
    cells: int
    tried: int
    """Rule sets and policies that were tried."""
    explanations: tuple[Explanation, ...]
    """The likeliest first."""
    decided: tuple[Decided, ...]
    """Of the likeliest."""
    undecided: tuple[Undecided, ...]
    nearest: Nearest | None
    toml: str | None
    """The likeliest as a rule set that `--kernel` takes."""
    policy_toml: str | None
    """Its policy, where that is none of the named ones."""


class FitResult(Document):
    """Everything that one `gupstress fit` found."""

    # pydantic's BaseModel has a deprecated method of this name.
    schema_: Literal["gupstress.fit/1"] = Field(default="gupstress.fit/1", alias="schema")
    gupstress: Build
    argv: tuple[str, ...]
    kernels: tuple[KernelFit, ...]
