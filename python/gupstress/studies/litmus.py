"""Litmus scenarios: what the model counts, held against what real kernels counted.

A scenario is a script of steps with the counts that kernels gave for its last pin. A
cell is one scenario under one kernel's rules; only the counters that the scenario gives
for that kernel are compared.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gupstress import _core
from gupstress.model.reference import read_file
from gupstress.outcome.litmus import Difference, LitmusCell, Value
from gupstress.outcome.live import Measured
from gupstress.outcome.results import Build
from gupstress.problems import Problems, nearest
from gupstress.running import engine
from gupstress.running.live import Target
from gupstress.studies.shown import LitmusResult
from gupstress.values import is_file

WALL_S = 60.0
"""Longest time of the host for one cell, unless told otherwise."""


@dataclass(frozen=True)
class Scenario:
    """A scenario that has been read."""

    given: str
    """Its preset's name or its file's path, as the user wrote it."""
    text: str
    """TOML."""
    name: str
    expect: Mapping[str, Mapping[str, Value]]
    """By kernel."""


@dataclass(frozen=True)
class Plan:
    """Which scenarios are run under which kernels."""

    scenarios: Sequence[Scenario]
    kernels: Sequence[str]
    """Those that were asked for; none: those that each scenario has expectations for."""
    sets: Sequence[tuple[str, str]]
    wall_s: float
    """Longest time of the host for one cell."""

    @property
    def files(self) -> list[str]:
        """The files that scenarios were read from."""
        return [scenario.given for scenario in self.scenarios if is_file(scenario.given)]

    def cells(self) -> Iterator[tuple[Scenario, str]]:
        """Yield every scenario with each of its kernels."""
        for scenario in self.scenarios:
            for kernel in self.kernels or _in_order(scenario.expect):
                yield scenario, kernel


def prepare(
    names: Sequence[str],
    kernels: Sequence[str],
    sets: Sequence[tuple[str, str]],
    wall_s: float = WALL_S,
    problems: Problems | None = None,
    *,
    measured: bool = False,
) -> Plan:
    """Read every scenario and check every name.

    Args:
        names: Presets or paths of TOML files; none: all presets.
        kernels: Rule sets; none: those that each scenario has expectations for.
        sets: Keys of kernel or policy set by themselves, as `(axis, value)`.
        wall_s: Longest time of the host for one cell, seconds.
        problems: What is known to be wrong already.
        measured: Whether a real kernel plays them: nothing need be known of it.

    Raises:
        ConfigError: Everything wrong with the request, at once.
    """
    problems = problems or Problems()
    known = _core.names("kernel")
    for kernel in kernels:
        if kernel not in known:
            near = nearest(kernel, known)
            problems.add("--kernel", f"no kernel {kernel!r}; nearest: {near}")
    scenarios: list[Scenario] = []
    for name in dict.fromkeys(names or _core.names("litmus")):
        with problems.collecting():
            scenarios += _read(name)
    owners: dict[str, str] = {}
    for scenario in scenarios:
        name = scenario.name
        if owners.setdefault(name, scenario.given) != scenario.given:
            message = f"the name {name!r} is that of {owners[name]} too; nearest: {name}-2"
            problems.add(scenario.given, message)
        for kernel in scenario.expect:
            if kernel not in known and not measured:
                near = nearest(kernel, known)
                problems.add(scenario.given, f"expect: no kernel {kernel!r}; nearest: {near}")
        if not kernels and not scenario.expect and not measured:
            problems.add(scenario.given, f"no expectations; nearest: --kernel {known[-1]}")
    for kernel in known:
        if kernel in kernels or any(kernel in scenario.expect for scenario in scenarios):
            with problems.collecting():
                engine.check_litmus(kernel, sets)
    problems.refuse()
    return Plan(scenarios, list(dict.fromkeys(kernels)), sets, wall_s)


def _read(name: str) -> list[Scenario]:
    """Read a preset, or a file of one scenario or several."""
    text = read_file(name) if is_file(name) else _core.show("litmus", name)
    scenarios = []
    for place, part in _core.split_litmus(name, text):
        table = engine.read_litmus(place, part)
        scenarios.append(Scenario(name, part, table["name"], table["expect"]))
    return scenarios


def _in_order(kernels: Mapping[str, object]) -> list[str]:
    """Return kernels oldest first."""
    return [kernel for kernel in _core.names("kernel") if kernel in kernels]


def run(plan: Plan, argv: Sequence[str]) -> LitmusResult:
    """Run every cell and compare what can be compared.

    Raises:
        ConfigError: A step cannot be done.
    """
    cells = tuple(_cell(scenario, kernel, plan) for scenario, kernel in plan.cells())
    compared = sum(len(cell.expect or {}) for cell in cells if cell.unfinished is None)
    return LitmusResult(
        gupstress=Build(version=_core.__version__, build_profile=_core.build_profile),
        argv=tuple(argv),
        sets=dict(plan.sets),
        verdict=(
            "different"
            if any(cell.differences for cell in cells)
            else "unfinished"
            if any(cell.unfinished for cell in cells)
            else "equal"
            if compared
            # Nothing was contradicted because nothing was asked.
            else "not compared"
        ),
        compared=compared,
        cells=cells,
    )


def _cell(scenario: Scenario, kernel: str, plan: Plan) -> LitmusCell:
    found = engine.run_litmus(scenario.given, scenario.text, kernel, plan.sets, plan.wall_s)
    expect, unfinished = found["expect"], found.get("unfinished")
    counters = found.get("counters", {})
    differences = [
        Difference(counter=counter, found=counters[counter], expected=value)
        for counter, value in (expect or {}).items()
        if unfinished is None and counters[counter] != value
    ]
    return LitmusCell.model_validate(
        {
            "scenario": scenario.name,
            "kernel": kernel,
            "class": found.get("class", "unfinished"),
            "counters": counters,
            "expect": expect,
            "differences": differences,
            "unfinished": unfinished,
        }
    )


REPEATS = 5
"""Times that a scenario is played on a real kernel, unless told otherwise."""


def measure(
    plan: Plan, target: Target, repeats: int, argv: Sequence[str], expected: str | None = None
) -> LitmusResult:
    """Play every scenario on a real kernel, and compare with what is known of it.

    Args:
        plan: The scenarios; the time is for each of them.
        target: Whose kernel.
        repeats: Times that each is played and counted.
        argv: The command line, for the result.
        expected: The kernel whose counts are expected; none: those of its own name.

    Raises:
        InconclusiveError: It did not answer to the end.
        UnavailableError: Something that is needed is not there.
    """
    by_name = {scenario.name: scenario for scenario in plan.scenarios}
    texts = [(scenario.given, scenario.text) for scenario in plan.scenarios]
    request = {"litmus": {"scenarios": texts, "repeats": repeats}}
    host: Measured | None = None
    cells: list[LitmusCell] = []
    for answer in target.ask(request, plan.wall_s):
        if "host" in answer:
            host = Measured.model_validate(answer["host"])
        elif host is not None and "cell" in answer:
            found = answer["cell"]
            known = expected or host.kernel
            cells.append(_measured(by_name[found["scenario"]], found, host.kernel, known, plan))
    compared = sum(len(_shared(cell)) for cell in cells)
    return LitmusResult(
        gupstress=Build(version=_core.__version__, build_profile=_core.build_profile),
        argv=tuple(argv),
        sets=dict(plan.sets),
        on="live",
        host=host,
        verdict=(
            "different"
            if any(cell.differences for cell in cells)
            else "equal"
            if compared
            else "measured"
            if any(cell.counters for cell in cells)
            else "not compared"
        ),
        compared=compared,
        cells=tuple(cells),
    )


def _measured(
    scenario: Scenario, found: Mapping[str, Any], kernel: str, known: str, plan: Plan
) -> LitmusCell:
    """Return the cell of a scenario that was played on a real kernel."""
    refused, counters = found["refused"], found["counters"]
    expect = scenario.expect.get(known)
    if expect is None and refused is None and known in _core.names("kernel"):
        # Nobody has counted it there: the model says what it would be.
        model = engine.run_litmus(scenario.given, scenario.text, known, plan.sets, plan.wall_s)
        counted = model.get("counters", {})
        wanted = (*counters, *found["missing"])
        expect = {counter: counted[counter] for counter in wanted if counter in counted}
    differences = [
        Difference(counter=counter, found=counters[counter], expected=value)
        for counter, value in (expect or {}).items()
        if counter in counters and counters[counter] != value
    ]
    return LitmusCell.model_validate(
        {
            **found,
            "kernel": kernel,
            "class": found["class"] or "refused",
            "expect": expect,
            "differences": differences,
        }
    )


def _shared(cell: LitmusCell) -> set[str]:
    """Return the counters of a cell that are held against something."""
    return set(cell.counters) & set(cell.expect or {})


def measured_toml(plan: Plan, result: LitmusResult) -> str:
    """Return what was counted as scenarios with expectations, for `litmus` and `fit` to take."""
    files = [(scenario.given, scenario.text) for scenario in plan.scenarios]
    cells = [
        {"scenario": cell.scenario, "counters": cell.counters}
        for cell in result.cells
        if cell.refused is None
    ]
    kernel = result.host.kernel if result.host else ""
    return _core.measured(files, json.dumps(cells), kernel)
