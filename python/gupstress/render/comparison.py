"""What a comparison found, for people and for CI."""

from collections import Counter
from collections.abc import Iterator, Sequence
from textwrap import wrap
from xml.etree import ElementTree as ET

from gupstress.outcome.comparison import Comparison, MetricComparison, PolicyComparison
from gupstress.outcome.metrics import short
from gupstress.outcome.ratios import SHARES
from gupstress.outcome.units import amount, duration, share
from gupstress.render import junit
from gupstress.render.grid import WIDTH, Grid, piped, ruled
from gupstress.visible import markdown as marked


def plain(found: Comparison) -> str:
    """Return the comparison as text; its table is at most 80 columns wide."""
    blocks = [ruled(table(found)), "\n".join(_legend(found))] if found.policies else []
    for kind, lines in remarks(found):
        blocks.append("\n".join(f"{kind}: {line}" for line in lines))
    return "\n\n".join([*blocks, end_line(found)])


def markdown(found: Comparison) -> str:
    """Return the comparison as Markdown."""
    blocks = [piped(table(found)), " ".join(_legend(found))] if found.policies else []
    for kind, lines in remarks(found):
        blocks.append("\n".join(f"- {kind}: {marked(line)}" for line in lines))
    return "\n\n".join([f"**{marked(end_line(found))}**", *blocks])


def end_line(found: Comparison) -> str:
    """Return on one line what came of it."""
    counts = Counter(row.verdict for policy in found.policies for row in policy.metrics)
    words = [f"{count} {verdict}" for verdict, count in sorted(counts.items())]
    method = found.method
    against = {policy.base_policy for policy in found.policies if policy.label != policy.policy}
    base_policy = f" base_policy={against.pop()}" if len(against) == 1 else ""
    said = (
        f"threshold={method.threshold_percent:g}% alpha={method.alpha:g}"
        f" base={found.base.source or '-'} head={found.head.source or '-'}{base_policy}"
    )
    of = f" (metrics: {', '.join(words)})" if words else ""
    return f"gupstress: {found.verdict.upper()}{of}: {said}"


def _legend(found: Comparison) -> Iterator[str]:
    tests = found.method.tests
    yield f"ratio: head by base, of medians, with its {_percent(found)} confidence interval."
    yield (
        "p: Mann-Whitney, adjusted by Benjamini-Hochberg for"
        f" {tests} {'test' if tests == 1 else 'tests'}."
    )
    rows = [row for policy in found.policies for row in policy.metrics]
    for whole, one in (("pages.pinned", "page"), ("calls.issued", "call")):
        if names := dict.fromkeys(short(row.metric) for row in rows if row.per == whole):
            yield from wrap(f"per {one}: {', '.join(names)}.", WIDTH)


# ---------------------------------------------------------------- the table


def _percent(found: Comparison) -> str:
    return f"{found.method.confidence:.0%}"


def table(found: Comparison) -> Grid:
    """Return one row for each metric of each policy."""
    return Grid(
        headings=[
            "policy",
            "metric",
            "base",
            "head",
            "ratio",
            f"{_percent(found)} CI",
            "p",
            "verdict",
        ],
        rows=[[policy.label, *_cells(row)] for policy in found.policies for row in policy.metrics],
        aligns=["left", "left", "right", "right", "right", "right", "right", "left"],
        widths=[None] * 8,
        stubs=2,
    )


def _cells(row: MetricComparison) -> Iterator[str]:
    yield short(row.metric)
    yield _quantity(row, row.base.median)
    yield _quantity(row, row.head.median)
    yield "-" if row.ratio is None else _ratio(row.ratio)
    interval = row.interval
    yield "-" if interval is None else f"{_ratio(interval.low)}-{_ratio(interval.high)}"
    yield "-" if row.p_adjusted is None else _p(row.p_adjusted)
    yield row.verdict


def _quantity(row: MetricComparison, value: float | None) -> str:
    if value is None:
        return "-"
    if row.metric.partition(".")[0] == "latency_ns" or row.metric.endswith("_ns"):
        return duration(value)
    if row.metric.endswith("_s") and row.better == "lower":
        return duration(1e9 * value)
    return share(value, 1) if row.metric in SHARES else amount(value)


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.3g}"


def _p(value: float) -> str:
    return "<.001" if value < 0.001 else f"{value:.3f}"


# ---------------------------------------------------------------- what stands beside it


def remarks(found: Comparison) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield the lines below the table, by their kind; none is empty."""
    lines = {
        "not comparable": list(_unlike(found)),
        "finding": [line for policy in found.policies for line in _findings(policy)],
        "changed": [f"{one.what}: {one.base} -> {one.head}" for one in found.changes],
        "note": [
            *_method_notes(found),
            *(line for policy in found.policies for line in _notes(policy)),
        ],
    }
    yield from ((kind, said) for kind, said in lines.items() if said)


def _unlike(found: Comparison) -> Iterator[str]:
    for one in found.obstacles:
        yield f"{one.what} is {one.base} in base, {one.head} in head"


def _findings(policy: PolicyComparison) -> Iterator[str]:
    for row in policy.verdicts:
        if row.verdict == "regression":
            yield (
                f"{policy.label}: {row.kind} was {row.base} in base,"
                f" is {row.head} in {row.head_bad} of head's repeats"
            )


def _method_notes(found: Comparison) -> Iterator[str]:
    changed = {row.verdict for policy in found.policies for row in policy.metrics}
    if found.method.in_turn is False and changed & {"regression", "improvement"}:
        yield (
            "base and head were not run in turn: what the host did meanwhile counts too;"
            " a folder for each side, filled in turn, is compared without it"
        )


def _notes(policy: PolicyComparison) -> Iterator[str]:
    for row in policy.verdicts:
        if row.verdict in ("improvement", "inconclusive"):
            yield f"{policy.label}: {row.kind} was {row.base} in base, is {row.head} in head"
    for reason in dict.fromkeys(row.reason for row in policy.metrics):
        if reason is not None:
            named = [short(row.metric) for row in policy.metrics if row.reason == reason]
            yield f"{policy.label}: {', '.join(named)}: {reason}"
    for side, reasons in policy.instability:
        if reasons:
            yield f"{policy.label}: {side} may be unstable: {'; '.join(reasons)}"


# ---------------------------------------------------------------- JUnit


def junit_xml(found: Comparison) -> str:
    """Return the comparison as a JUnit XML file of its own."""
    return junit.document(_suite(found), end_line(found))


def suite(found: Comparison) -> ET.Element:
    """Return the comparison as a JUnit test suite.

    It has a case for each verdict and each metric of each policy: a regression is a
    failure, what is inconclusive is skipped; one case that is an error says why two
    runs cannot be compared.
    """
    return junit.complete(_suite(found), end_line(found))


def _suite(found: Comparison) -> ET.Element:
    suite = ET.Element("testsuite", name="gupstress.compare")
    if found.obstacles:
        case = ET.SubElement(suite, "testcase", classname="gupstress.compare", name="comparable")
        lines = list(_unlike(found))
        ET.SubElement(case, "error", message=lines[0]).text = "\n".join(lines)
    for policy in found.policies:
        for row in policy.verdicts:
            message = f"was {row.base} in base, is {row.head} in head"
            _add_case(suite, policy.label, row.kind, row.verdict, message)
        for metric in policy.metrics:
            _add_case(suite, policy.label, metric.metric, metric.verdict, _sentence(metric))
    return suite


def _add_case(suite: ET.Element, policy: str, name: str, verdict: str, message: str) -> None:
    case = ET.SubElement(suite, "testcase", classname=f"gupstress.compare.{policy}", name=name)
    kind = {"regression": "failure", "inconclusive": "skipped"}.get(verdict)
    if kind is not None:
        ET.SubElement(case, kind, message=message)


def _sentence(row: MetricComparison) -> str:
    _, base, head, ratio, interval, p, _ = _cells(row)
    said = f"{base} in base, {head} in head, ratio {ratio} ({interval}), p {p}"
    return said if row.reason is None else f"{said}: {row.reason}"
