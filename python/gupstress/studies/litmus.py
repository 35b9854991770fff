"""Litmus scenarios: what the model counts, held against what real kernels counted.

A scenario is a script of steps with the counts that kernels gave for its last pin. A
cell is one scenario under one kernel's rules; only the counters that the scenario gives
for that kernel are compared. Of one with threads every order of few preemptions is run,
and the ends are held against its conditions.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gupstress import _core
from gupstress.model.reference import read_file
from gupstress.outcome.litmus import Difference, LitmusCell, Value
from gupstress.outcome.results import Build
from gupstress.problems import Problems, nearest
from gupstress.running import engine
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
) -> Plan:
    """Read every scenario and check every name.

    Args:
        names: Presets or paths of TOML files; none: all presets.
        kernels: Rule sets; none: those that each scenario has expectations for.
        sets: Keys of kernel or policy set by themselves, as `(axis, value)`.
        wall_s: Longest time of the host for one cell, seconds.
        problems: What is known to be wrong already.
        preemptions: Of threads, at most.

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
            scenarios.append(_read(name))
    owners: dict[str, str] = {}
    for scenario in scenarios:
        name = scenario.name
        if owners.setdefault(name, scenario.given) != scenario.given:
            message = f"the name {name!r} is that of {owners[name]} too; nearest: {name}-2"
            problems.add(scenario.given, message)
        for kernel in scenario.expect:
            if kernel not in known:
                near = nearest(kernel, known)
                problems.add(scenario.given, f"expect: no kernel {kernel!r}; nearest: {near}")
        if not (kernels or scenario.concurrent or scenario.expect):
            problems.add(scenario.given, f"no expectations; nearest: --kernel {known[-1]}")
    for kernel in known:
        if kernel in kernels or any(kernel in scenario.kernels for scenario in scenarios):
            with problems.collecting():
                engine.check_litmus(kernel, sets)
    problems.refuse()
    return Plan(scenarios, list(dict.fromkeys(kernels)), sets, wall_s, preemptions)


def _read(name: str) -> Scenario:
    text = read_file(name) if is_file(name) else _core.show("litmus", name)
    table = engine.read_litmus(name, text)
    threads = bool(table["threads"])
    return Scenario(name, text, table["name"], table["expect"], threads, table["kernels"])


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
    where = (scenario.given, scenario.text, kernel, plan.sets)
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
