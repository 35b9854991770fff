"""Puts a report together."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

from gupstress.outcome.results import PolicyResult
from gupstress.outcome.verdict import remarks
from gupstress.reporting import figures, tables
from gupstress.reporting.figures import Figure
from gupstress.reporting.sources import Source, policies
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


class Section(NamedTuple):
    """All about one policy."""

    policy: str
    summary: str
    figures: Sequence[Figure]
    finds: Sequence[Finds]
    reasons: Sequence[Table]
    measurements: Table
    axes: Table


def html(sources: Sequence[Source]) -> str:
    """Return the page as text.

    Args:
        sources: At least one run.
    """
    environment = Environment(
        loader=PackageLoader("gupstress.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    swept = figures.sweep(sources)
    compared = [
        *([] if swept is None else [swept]),
        figures.failures(sources),
        figures.drains(sources),
        figures.all_latencies(sources),
        figures.fairness(sources),
    ]
    sections = [_section(policy, sources) for policy in policies(sources)]
    drawn = [*compared, *(figure for section in sections for figure in section.figures)]
    return environment.get_template("report.html.j2").render(
        sources=sources,
        overview=tables.overview(sources),
        thresholds=tables.thresholds(sources),
        notes=[(source.name, note.line) for source in sources for note in remarks(source.run)],
        compared=compared,
        sections=sections,
        hosts=tables.hosts(sources),
        settings=tables.settings(sources),
        # Each figure is known to the script by its number.
        drawn=[{"traces": figure.traces, "layout": figure.layout} for figure in drawn],
        plotly=get_plotlyjs(),
    )


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
