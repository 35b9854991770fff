"""Litmus scenarios: what the model counts, held against what real kernels counted.

A scenario is a script of steps with the counts that kernels gave for its last pin. A
cell is one scenario under one kernel's rules; only the counters that the scenario gives
for that kernel are compared. Of one with threads every order of few preemptions is run,
and the ends are held against its conditions.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

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

PREEMPTIONS = 2
"""Of threads, at most, unless told otherwise: most races need no more."""

WALL_S = 60.0
"""Longest time of the host for one cell, unless told otherwise."""


@dataclass(frozen=True)
class Scenario:
    """A scenario that has been read."""

    given: str
    """Its preset's name or its file's path, as the user wrote it."""
    place: str
    """And where in that file it begins: what is wrong with it stands there."""
    text: str
    """TOML."""
    name: str
    expect: Mapping[str, Mapping[str, Value]]
    """By kernel."""
    concurrent: bool
    """Whether it has threads."""
    named: Sequence[str]
    """Kernels that conditions name."""

    @property
    def kernels(self) -> Sequence[str]:
        """Those that it says something about."""
        if self.concurrent:
            return self.named or (_core.DEFAULT_KERNEL,)
        return [kernel for kernel in _core.names("kernel") if kernel in self.expect]


@dataclass(frozen=True)
class Plan:
    """Which scenarios are run under which kernels."""

    scenarios: Sequence[Scenario]
    kernels: Sequence[str]
    """Those that were asked for; none: those that each scenario has expectations for."""
    sets: Sequence[tuple[str, str]]
    wall_s: float
    """Longest time of the host for one cell."""
    preemptions: int = PREEMPTIONS
    """Most preemptions of threads."""

    @property
    def files(self) -> list[str]:
        """The files that scenarios were read from."""
        return [scenario.given for scenario in self.scenarios if is_file(scenario.given)]

    def cells(self) -> Iterator[tuple[Scenario, str]]:
        """Yield every scenario with each of its kernels."""
        for scenario in self.scenarios:
            for kernel in self.kernels or scenario.kernels:
                yield scenario, kernel


def prepare(
    names: Sequence[str],
    kernels: Sequence[str],
    sets: Sequence[tuple[str, str]],
    wall_s: float = WALL_S,
    problems: Problems | None = None,
    preemptions: int = PREEMPTIONS,
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
        preemptions: Of threads, at most.
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
    if measured and not names:
        # No real kernel can be told which order its threads take.
        scenarios = [scenario for scenario in scenarios if not scenario.concurrent]
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
        if not (kernels or scenario.concurrent or scenario.expect or measured):
            problems.add(scenario.given, f"no expectations; nearest: --kernel {known[-1]}")
    for kernel in known:
        if kernel in kernels or any(kernel in scenario.kernels for scenario in scenarios):
            with problems.collecting():
                engine.check_litmus(kernel, sets)
    problems.refuse()
    return Plan(scenarios, list(dict.fromkeys(kernels)), sets, wall_s, preemptions)


def _read(name: str) -> list[Scenario]:
    """Read a preset, or a file of one scenario or several."""
    text = read_file(name) if is_file(name) else _core.show("litmus", name)
    scenarios = []
    for place, part in _core.split_litmus(name, text):
        table = engine.read_litmus(place, part)
        threads = bool(table["threads"])
        scenario = Scenario(
            name, place, part, table["name"], table["expect"], threads, table["kernels"]
        )
        scenarios.append(scenario)
    return scenarios


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
        verdict=_verdict(cells, compared),
        compared=compared,
        cells=cells,
    )


def _verdict(
    cells: Sequence[LitmusCell], compared: int
) -> Literal["equal", "different", "unfinished", "not compared"]:
    explored = [cell.explored for cell in cells if cell.explored is not None]
    held = [condition.holds for each in explored for condition in each.conditions]
    if False in held or any(cell.differences for cell in cells):
        return "different"
    if None in held or any(cell.unfinished for cell in cells):
        return "unfinished"
    # Nothing was contradicted where nothing was asked.
    return "equal" if compared or held else "not compared"


def _cell(scenario: Scenario, kernel: str, plan: Plan) -> LitmusCell:
    where = (scenario.place, scenario.text, kernel, plan.sets)
    if scenario.concurrent:
        found = engine.explore_litmus(*where, plan.preemptions, plan.wall_s)
    else:
        found = engine.run_litmus(*where, plan.wall_s)
    expect, unfinished = found.get("expect"), found.get("unfinished")
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
            "explored": found.get("explored"),
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
