"""What `gupstress litmus` found, for people and for CI.

Each form takes the result and the command that shows again what is different, if
anything is.
"""

import textwrap
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree as ET

from gupstress import _core
from gupstress.outcome.litmus import Condition, Explored, LitmusCell, LitmusResult, Value
from gupstress.render import cross, junit
from gupstress.visible import markdown as marked

_EQUAL = "="
_ABSENT = "-"

LEGEND = (
    "=: all counters equal the kernel's. drain_all 1≠0: 1 is counted here, 0 there.",
    "A counter without ≠: there is nothing to compare it with.",
)


MEASURED = "3/4 unsteady: not the same each time. –: this kernel does not count it."
"""What is said below the counts of a real kernel too."""


def _legend(result: LitmusResult) -> tuple[str, ...]:
    return LEGEND if result.on == "model" else (*LEGEND, MEASURED)


def plain(result: LitmusResult, again: str | None) -> str:
    """Return the result as text; its tables are at most 80 columns wide."""
    legend = "\n".join(_legend(result))
    blocks = [cross.plain(table(result)), legend] if _counted(result) else []
    blocks += [
        "\n".join([*textwrap.wrap(_head(cell, explored), 80), *_conditions(explored)])
        for cell, explored in _explored(result)
    ]
    return "\n\n".join([*blocks, closing(result, again)])


def markdown(result: LitmusResult, again: str | None) -> str:
    """Return the result as Markdown."""
    legend = " ".join(_legend(result))
    blocks = [cross.markdown(table(result)), legend] if _counted(result) else []
    for cell, explored in _explored(result):
        lines = (f"- {marked(line.strip())}" for line in _conditions(explored, width=0))
        blocks.append("\n".join([marked(_head(cell, explored)), "", *lines]))
    blocks.append(f"**{marked(summary(result))}**")
    if again is not None:
        blocks.append(f"```sh\n{again}\n```")
    return "\n\n".join(blocks)


def _counted(result: LitmusResult) -> list[LitmusCell]:
    return [cell for cell in result.cells if cell.explored is None]


def _explored(result: LitmusResult) -> Iterator[tuple[LitmusCell, Explored]]:
    for cell in result.cells:
        if cell.explored is not None:
            yield cell, cell.explored


def _head(cell: LitmusCell, explored: Explored) -> str:
    count = f"{explored.schedules:,} schedules of at most {explored.preemptions} preemptions"
    complete = "complete" if explored.complete else "not complete"
    return f"{cell.scenario} on {cell.kernel}: {count}, {complete}"


def _conditions(explored: Explored, width: int = 80) -> Iterator[str]:
    for condition in explored.conditions:
        text = f"{condition.wanted} {condition.condition}: {_met(condition)}"
        if not width:
            yield text
            continue
        yield from textwrap.wrap(
            text, width, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False
        )


def _met(condition: Condition) -> str:
    if condition.first is not None:
        times = "once" if condition.times == 1 else f"{condition.times:,} times"
        return f"{times}, first in schedule {condition.first:,}"
    return "never" if condition.holds is not None else "not so far"


def _wrong(cell: LitmusCell) -> list[str]:
    """Return the conditions of a cell that do not hold."""
    conditions = cell.explored.conditions if cell.explored else ()
    return [
        f"{condition.wanted} {condition.condition}: {_met(condition)}"
        for condition in conditions
        if condition.holds is False
    ]


def closing(result: LitmusResult, again: str | None) -> str:
    """Return the summary, and below it how to see the differences again."""
    return summary(result) if again is None else f"{summary(result)}\nreproduce: {again}"


def summary(result: LitmusResult) -> str:
    """Return on one line what was compared and what came of it."""
    words = [_cells(len(result.cells))]
    if _counted(result):
        words.append(f"{result.compared} counters compared")
    differing = [cell for cell in result.cells if cell.differences]
    unfinished = [cell for cell in result.cells if cell.unfinished is not None]
    refused = sum(cell.refused is not None for cell in result.cells)
    unsteady = sum(bool(cell.unsteady) for cell in result.cells)
    done = (cell for cell in _counted(result) if cell.unfinished is None and cell.refused is None)
    unknown = sum(cell.expect is None for cell in done)
    if differing:
        differences = sum(len(cell.differences) for cell in differing)
        words.append(f"{differences} different in {_cells(len(differing))}")
    elif result.compared:
        words.append("all equal")
    if unfinished:
        first = unfinished[0]
        words.append(f"{_cells(len(unfinished))} unfinished ({first.scenario}: {first.unfinished})")
    if unsteady:
        words.append(f"{_cells(unsteady)} unsteady")
    if refused:
        words.append(f"{_cells(refused)} refused")
    if unknown:
        words.append(f"{_cells(unknown)} with nothing to compare")
    held = [condition.holds for _, each in _explored(result) for condition in each.conditions]
    if held:
        words.append(_holding(held))
    return ", ".join(words)


def _holding(held: Sequence[bool | None]) -> str:
    conditions = "1 condition" if len(held) == 1 else f"{len(held)} conditions"
    if all(held):
        return f"{conditions} of threads hold{'s' if len(held) == 1 else ''}"
    unknown = held.count(None)
    words = [f"{held.count(False)} of {conditions} of threads do not hold"] * (False in held)
    words += [f"{unknown} of {conditions} of threads not decided"] * bool(unknown)
    return ", ".join(words)


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"


def table(result: LitmusResult) -> cross.Cross:
    """Return what differs, a row for each scenario and a column for each kernel."""
    found = {(cell.scenario, cell.kernel): cell for cell in _counted(result)}
    rows = list(dict.fromkeys(scenario for scenario, _ in found))
    used = {kernel for _, kernel in found}
    # A real kernel may have a name that is nobody's yet.
    named = [kernel for kernel in _core.names("kernel") if kernel in used]
    columns = [*named, *sorted(used - set(named))]
    return cross.Cross(
        corner="scenario",
        rows=rows,
        columns=columns,
        cells=[[_parts(found.get((row, column)), result) for column in columns] for row in rows],
        joint=", ",
    )


def _parts(cell: LitmusCell | None, result: LitmusResult) -> list[str]:
    if cell is None:
        return [_ABSENT]
    if cell.unfinished is not None:
        return ["unfinished"]
    if cell.refused is not None:
        return [f"refused: {cell.refused}"]
    unsteady = [f"{counter} {_span(values)} unsteady" for counter, values in cell.unsteady.items()]
    if result.on == "live" and cell.expect is not None:
        # What is expected and could not be counted is neither equal nor different.
        missing = [f"{counter} –" for counter in cell.missing if counter in cell.expect]
        return [*_differences(cell), *unsteady, *missing] or [_EQUAL]
    if unsteady:
        return [*_counts(cell, _compared(cell.scenario, result)), *unsteady]
    if cell.expect is None:
        return list(_counts(cell, _compared(cell.scenario, result)))
    return _differences(cell) or [_EQUAL]


def _span(values: Sequence[Value]) -> str:
    """Return what an unsteady counter was, each value once."""
    return "/".join(str(value) for value in dict.fromkeys(values))


def _differences(cell: LitmusCell) -> list[str]:
    return [
        f"{difference.counter} {difference.found}≠{difference.expected}"
        for difference in cell.differences
    ]


def _compared(scenario: str, result: LitmusResult) -> set[str]:
    """Return the counters of a scenario that are compared under some kernel."""
    cells = (cell for cell in result.cells if cell.scenario == scenario)
    return {counter for cell in cells for counter in cell.expect or ()}


def _counts(cell: LitmusCell, compared: set[str]) -> Iterator[str]:
    """Yield what was counted: what is compared elsewhere; if nothing is, everything."""
    if (end := cell.counters.get("result")) is not None:
        yield str(end)
    for counter, value in cell.counters.items():
        if isinstance(value, int) and value and (counter in compared or not compared):
            yield f"{counter} {value}"


def junit_xml(result: LitmusResult, again: str | None) -> str:
    """Return the result as JUnit XML: a case for each cell, skipped where nothing is compared."""
    suite = ET.Element("testsuite", name="gupstress.litmus")
    for cell in result.cells:
        case = ET.SubElement(
            suite, "testcase", classname=f"gupstress.litmus.{cell.kernel}", name=cell.scenario
        )
        if cell.differences:
            ET.SubElement(case, "failure", message=", ".join(_differences(cell)))
        elif cell.unfinished is not None:
            ET.SubElement(case, "error", message=cell.unfinished)
        elif cell.refused is not None:
            ET.SubElement(case, "skipped", message=cell.refused)
        elif wrong := _wrong(cell):
            ET.SubElement(case, "failure", message=", ".join(wrong))
        elif cell.explored is not None:
            if any(condition.holds is None for condition in cell.explored.conditions):
                ET.SubElement(case, "error", message="not every schedule was run")
        elif not cell.expect:
            ET.SubElement(case, "skipped", message="nothing to compare with")
    return junit.document(suite, closing(result, again))
