"""What a comparison found: the models of its JSON, schema `gupstress.compare/1`."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, JsonValue

from gupstress.outcome.record import Count, Document, Record, Sample

Verdict = Literal["regression", "improvement", "same", "inconclusive"]
Better = Literal["higher", "lower"]


class Side(Record):
    """One of the two runs."""

    source: str | None
    """The file or folder that it is from."""
    version: str
    build_profile: str
    started_at: AwareDatetime


class Method(Record):
    """How it was judged."""

    threshold_percent: Annotated[float, Field(ge=0)]
    """Smallest change of a median that counts."""
    alpha: float
    """Largest adjusted p that counts."""
    test: str
    adjustment: str
    """Of p, over all metrics of all policies."""
    tests: Count
    """How many p were adjusted together."""
    interval: str
    confidence: float
    repeats_needed: Count
    """On each side."""
    in_turn: bool | None
    """Whether runs of one side were made between those of the other; null on the simulator,
    where it is no matter."""


class Difference(Record):
    """Something that the two runs do not have in common; null where one lacks it."""

    what: str
    base: JsonValue
    head: JsonValue


class Quantity(Record):
    """A metric on one side."""

    repeats: Count
    median: Sample
    mad: Sample
    """Median absolute deviation, as it is: not scaled to a standard deviation."""


class Interval(Record):
    """A confidence interval."""

    low: float
    high: float


class MetricComparison(Record):
    """A metric of a policy."""

    metric: str
    """Its path in a result."""
    per: str | None
    """Path of what it was divided by."""
    better: Better
    base: Quantity
    head: Quantity
    ratio: float | None
    """Median of head by median of base; null where base's is 0 or there is none."""
    interval: Interval | None
    """Of the ratio."""
    p: float | None
    p_adjusted: float | None
    verdict: Verdict
    reason: str | None
    """Why it is inconclusive."""


class VerdictComparison(Record):
    """A verdict of a policy: the worst of each side's repeats."""

    kind: Literal["liveness", "safety", "invariants"]
    base: str
    head: str
    base_bad: Count
    """Repeats with a finding."""
    head_bad: Count
    verdict: Verdict


class Instability(Record):
    """Why times and rates of either side may be unstable; empty where they are not."""

    base: tuple[str, ...]
    head: tuple[str, ...]


class PolicyComparison(Record):
    """All that was compared of one policy."""

    policy: str
    """Of head."""
    base_policy: str | None = None
    """What it was compared with; null, in older files: the one of its name."""
    verdicts: tuple[VerdictComparison, ...]
    metrics: tuple[MetricComparison, ...]
    instability: Instability

    @property
    def label(self) -> str:
        """What was compared with what, as short as will do."""
        same = self.base_policy in (None, self.policy)
        return self.policy if same else f"{self.policy} vs {self.base_policy}"


class Comparison(Document):
    """Everything that one comparison found."""

    # pydantic's BaseModel has a deprecated method of this name.
    schema_: Literal["gupstress.compare/1"] = Field(default="gupstress.compare/1", alias="schema")
    base: Side
    head: Side
    method: Method
    verdict: Verdict | Literal["not comparable"]
    obstacles: tuple[Difference, ...]
    """What must be alike and is not; then nothing was compared."""
    changes: tuple[Difference, ...]
    """What may differ and does: the change that is judged."""
    policies: tuple[PolicyComparison, ...]
