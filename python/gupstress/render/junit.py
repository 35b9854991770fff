"""A run's result as JUnit XML: one suite, one test case for each run of a policy."""

from collections.abc import Iterable
from xml.etree import ElementTree as ET

from gupstress.outcome.matrix import Cell
from gupstress.outcome.results import PolicyResult, Run
from gupstress.outcome.verdict import UNDECIDED, label, missed, result_findings, verdicts
from gupstress.render.closing import closing
from gupstress.visible import visible


def junit(run: Run, command: str, *more: ET.Element) -> str:
    """Return the result as JUnit XML.

    Findings and missed thresholds are failures, an undecided verdict is an error.

    Args:
        run: What to show.
        command: What to type to see it again.
        more: Further suites of the same file.
    """
    return file([suite(run, command), *more])


def suite(run: Run, command: str, name: str = "") -> ET.Element:
    """Return the result as a test suite, named after its section of a job if it is one."""
    suite = ET.Element(
        "testsuite",
        name=f"gupstress.{name}" if name else "gupstress",
        timestamp=run.started_at.isoformat(timespec="seconds"),
        time=f"{sum(map(wall_s, run.results)):.3f}",
    )
    for result in run.results:
        _add_case(suite, run, result)
    return complete(suite, closing(run, command))


def document(suite: ET.Element, said: str, *more: ET.Element) -> str:
    """Return a suite of test cases as a whole file.

    Args:
        suite: With its cases.
        said: What the command has to say beside them.
        more: Further suites that are complete.
    """
    return file([complete(suite, said), *more])


def file(every: Iterable[ET.Element]) -> str:
    """Return complete suites as a whole file."""
    suites = ET.Element("testsuites")
    suites.extend(every)
    for element in suites.iter():
        # Many characters are none of XML's, not even spelled as `&#27;`.
        element.attrib.update({name: visible(text) for name, text in element.attrib.items()})
        if element.text is not None:
            element.text = "\n".join(map(visible, element.text.split("\n")))
    ET.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suites, encoding="unicode")


def complete(suite: ET.Element, said: str) -> ET.Element:
    """Fill in a suite's counts and what the command has to say beside its cases."""
    suite.set("tests", str(len(suite.findall("testcase"))))
    for kind, count in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(count, str(len(suite.findall(f"testcase[{kind}]"))))
    ET.SubElement(suite, "system-out").text = said
    return suite


def wall_s(of: PolicyResult | Cell) -> float:
    """Return how long it took; an older file knows its own clock only."""
    return of.elapsed_s if of.wall_s is None else of.wall_s


def _add_case(suite: ET.Element, run: Run, result: PolicyResult) -> None:
    case = ET.SubElement(
        suite,
        "testcase",
        classname=f"gupstress.{run.settings.profile}",
        name=label(result, run),
        time=f"{wall_s(result):.3f}",
    )
    failures = [*result_findings(result)] + [
        missed(threshold)
        for threshold in run.thresholds
        if (threshold.policy, threshold.repeat) == (result.policy, result.repeat)
        and not threshold.passed
    ]
    if failures:
        ET.SubElement(case, "failure", message=failures[0]).text = "\n".join(failures)
    elif UNDECIDED in verdicts(result):
        ET.SubElement(case, "error", message=UNDECIDED)
