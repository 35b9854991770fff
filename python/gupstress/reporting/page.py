"""Puts a report together."""

import base64
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

from gupstress.outcome.results import PolicyResult
from gupstress.outcome.verdict import remarks
from gupstress.reporting import figures, tables
from gupstress.reporting import studies as studies_
from gupstress.reporting.figures import Figure
from gupstress.reporting.sources import Source, Study, policies
from gupstress.reporting.story import Finding, tell
from gupstress.reporting.tables import Table

_TOLD = 3
"""Findings of one kind that are told at once; the others are folded away."""


class Finds(NamedTuple):
    """Findings of one kind in one result."""

    heading: str
    tone: str
    stories: Sequence[str]
    more: Sequence[str]


class Parts(list[str]):
    """What of the page is packed: its script puts each part in its place when it is loaded.

    What grows with runs and repeats is here, so that the page does not.
    """

    def keep(self, part: str) -> int:
        """Keep a part, and return its number."""
        self.append(part)
        return len(self) - 1

    @property
    def packed(self) -> str:
        """All of them, once everything is kept."""
        return packed(json.dumps(self))


class Section(NamedTuple):
    """All about one policy."""

    policy: str
    summary: str
    figures: Sequence[Figure]
    finds: Sequence[Finds]
    reasons: Sequence[Table]
    measurements: Table
    axes: Table


def html(sources: Sequence[Source], studies: Sequence[Study] = ()) -> str:
    """Return the page as text.

    Args:
        sources: Runs.
        studies: What is to be shown beside them; at least one of both.
    """
    environment = Environment(
        loader=PackageLoader("gupstress.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    swept = figures.sweep(sources)
    compared = [] if swept is None else [swept]
    if sources:
        compared += [
            figures.failures(sources),
            figures.drains(sources),
            figures.all_latencies(sources),
            figures.fairness(sources),
        ]
    sections = [_section(policy, sources) for policy in policies(sources)]
    shown = [studies_.show(study) for study in studies]
    drawn = [
        *(figure for study in shown for figure in study.figures),
        *compared,
        *(figure for section in sections for figure in section.figures),
    ]
    return environment.get_template("report.html.j2").render(
        sources=sources,
        studies=shown,
        overview=tables.overview(sources) if sources else [],
        thresholds=tables.thresholds(sources),
        notes=[(source.name, note.line) for source in sources for note in remarks(source.run)],
        compared=compared,
        sections=sections,
        hosts=tables.hosts(sources),
        settings=tables.settings(sources),
        parts=Parts(),
        # Each figure is known to the script by its number.
        drawn=packed(json.dumps([_drawn(figure) for figure in drawn])),
        plotly=_plotly() if drawn else "",
    )


def _drawn(figure: Figure) -> dict[str, Any]:
    return {"traces": _harmless(figure.traces), "layout": figure.layout}


@cache
def _plotly() -> str:
    return packed(get_plotlyjs())


def packed(text: str) -> str:
    """Return text in less than half of its size, as the page's script unpacks it.

    It is RFC 1950 in base 85, whose digits are those of RFC 1924, but that a `<` could end the
    element that it stands in.
    """
    return base64.b85encode(zlib.compress(text.encode(), 9)).translate(_DIGITS).decode("ascii")


_DIGITS = bytes.maketrans(b"<", b",")


def _harmless(value: Any) -> Any:
    """Return traces in whose words plotly finds none of the tags that it knows."""
    if isinstance(value, str):
        return value.replace("&", "&amp;").replace("<", "&lt;")
    if isinstance(value, Mapping):
        return {key: _harmless(one) for key, one in value.items()}
    return [_harmless(one) for one in value] if isinstance(value, list | tuple) else value


def _section(policy: str, sources: Sequence[Source]) -> Section:
    found = list(tables.results(policy, sources))
    return Section(
        policy=policy,
        summary=str(found[0][1].resolved["policy"].get("summary", "")),
        figures=[
            figures.throughput(policy, sources),
            figures.latency(policy, sources),
            figures.sweeps(policy, sources),
        ],
        finds=[finds for heading, result in found for finds in _finds(heading, result)],
        reasons=[tables.reasons(heading, result) for heading, result in found if result.failures],
        measurements=tables.measurements(policy, sources),
        axes=tables.axes(policy, sources),
    )


def _finds(heading: str, result: PolicyResult) -> Iterator[Finds]:
    spurious = [failure for failure in result.failures if failure.class_ == "failed_spurious"]
    kinds: list[tuple[str, Sequence[Finding]]] = [
        (result.liveness.verdict, result.liveness.findings),
        (result.safety.verdict, result.safety.findings),
        (result.invariants.verdict, result.invariants.findings),
        ("spurious", spurious),
    ]
    for verdict, findings in kinds:
        if findings:
            stories = [tell(finding) for finding in findings]
            yield Finds(
                heading=f"{heading}: {verdict}",
                tone=tables.word(verdict).tone,
                stories=stories[:_TOLD],
                more=stories[_TOLD:],
            )
