"""The pytest plugin: stress runs as fixtures, and failures that say how to see them again.

The marker `gupstress` takes arguments of `gupstress.run`. They are what the fixtures
`gupstress_run` and `gupstress_machine` start from; options of the command line come
before them, and arguments given in the test before those.

Every start of pytest imports this module, so it imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from gupstress.model.machine import Machine
    from gupstress.running.result import RunResult

_ALONE = (
    "a stress test needs the machine for itself;"
    " --gupstress-xdist runs it beside others, where its times and rates say nothing"
)


@dataclass
class Attempt:
    """A run that a test asked for."""

    settings: dict[str, Any]
    """Arguments of `gupstress.run`, the seed among them."""
    result: RunResult | None = None
    """None until it is over."""

    def command(self, thresholds: Iterable[str] = ()) -> str:
        """Return what to type to see it again, under further thresholds."""
        from gupstress.model.reference import several
        from gupstress.running.reproduce import command

        # One may be both given to the run and asserted afterwards.
        every = dict.fromkeys((*several(self.settings.get("threshold", ())), *thresholds))
        return command({**self.settings, "threshold": list(every)})

    def tell(self, error: BaseException | None) -> str:
        """Return the verdict table, the seed and the command, for a test that failed."""
        from gupstress.outcome.assertions import UnmetError
        from gupstress.render import page

        if self.result is None:
            end = f"gupstress: no result: seed={self.settings['seed']}"
            return f"{end}\nreproduce: {self.command()}"
        if not isinstance(error, UnmetError) or error.run is not self.result:
            return page.plain(self.result, self.command())
        # As if the run had been made under what was asserted: so will the next one.
        # One may be both given to the run and asserted.
        every = dict.fromkeys((*self.result.thresholds, *error.thresholds))
        judged = self.result.model_copy(update={"thresholds": tuple(every)})
        return page.plain(judged, self.command(one.expr for one in error.thresholds))


@dataclass
class Doings:
    """What a test has done so far."""

    attempts: list[Attempt] = field(default_factory=list)
    machines: list[Machine] = field(default_factory=list)

    def tell(self, error: BaseException | None) -> str:
        """Return everything that helps to see a failure again."""
        told = [attempt.tell(error) for attempt in self.attempts]
        for machine in self.machines:
            steps = "\n".join(map(repr, machine.trace()))
            told.append(f"{machine!r}, steps of its last call:\n{steps or 'none'}")
        return "\n\n".join(told)


_DOINGS = pytest.StashKey[Doings]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("gupstress", "stress of long-term page pins")
    group.addoption(
        "--gupstress-pins",
        metavar="N",
        type=_number("pins"),
        help="page pins of each policy in a run, instead of the marker's",
    )
    group.addoption(
        "--gupstress-timeout",
        metavar="TIME",
        type=_number("timeout_s"),
        help="longest time for one run of one policy, such as 20s, instead of the marker's",
    )
    group.addoption(
        "--gupstress-json",
        metavar="FILE",
        help="write the results of all runs to this file, which `gupstress report` reads",
    )
    group.addoption(
        "--gupstress-xdist",
        action="store_true",
        help="run stress tests under xdist too, where they are skipped otherwise",
    )


def _number(name: str) -> Callable[[str], Any]:
    """Return what reads a number of a request."""

    def read(value: str) -> Any:
        from argparse import ArgumentTypeError

        from gupstress.running.request import NUMBERS

        try:
            return NUMBERS[name].check(NUMBERS[name].parse(value))
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from None

    return read


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and what keeps the results if they are asked for."""
    config.addinivalue_line(
        "markers",
        "gupstress(profile, policy=..., threads=..., ...): arguments of gupstress.run that"
        " gupstress_run and gupstress_machine start from",
    )
    path = config.getoption("--gupstress-json")
    if path is not None and not _is_worker(config):
        from gupstress.pytest_plugin.keeper import Keeper

        config.pluginmanager.register(Keeper(path), "gupstress-json")


def _is_worker(config: pytest.Config) -> bool:
    """Whether this process is one of xdist's."""
    return hasattr(config, "workerinput")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse markers that no run understands, before any test is run."""
    if not any(item.get_closest_marker("gupstress") for item in items):
        return
    from inspect import signature

    import gupstress
    from gupstress.problems import nearest

    known = list(signature(gupstress.run).parameters)
    for item in items:
        for name in _marked(item):
            if name not in known:
                raise pytest.UsageError(
                    f"{item.nodeid}: gupstress mark: no argument {name!r};"
                    f" nearest: {nearest(name, known)}"
                )


def _marked(item: pytest.Item) -> dict[str, Any]:
    """Return the arguments of an item's markers; the closest counts most."""
    settings: dict[str, Any] = {}
    for mark in reversed(list(item.iter_markers("gupstress"))):
        if len(mark.args) > 1:
            raise pytest.UsageError(
                f"{item.nodeid}: gupstress mark: {mark.args[1]!r} has no name;"
                " nearest: only the profile stands without one"
            )
        for profile in mark.args:
            settings["profile"] = profile
        settings.update(mark.kwargs)
    return settings


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what would disturb, and be disturbed by, tests at the same time."""
    stress = item.get_closest_marker("gupstress") is not None
    # A machine is run step by step and disturbs nobody.
    if stress and "gupstress_machine" not in getattr(item, "fixturenames", ()):
        _one_at_a_time(item.config)


def _one_at_a_time(config: pytest.Config) -> None:
    if _is_worker(config) and not config.getoption("--gupstress-xdist"):
        pytest.skip(_ALONE)


@pytest.fixture
def gupstress_run(request: pytest.FixtureRequest) -> Callable[..., RunResult]:
    """Return `gupstress.run` with the marker's arguments as defaults.

    A threshold that is missed fails the test.
    """
    _one_at_a_time(request.config)
    marked = _marked(request.node)
    asked = {name: request.config.getoption(f"--gupstress-{name}") for name in ("pins", "timeout")}
    defaults = {**marked, **{name: value for name, value in asked.items() if value is not None}}

    def run(profile: str | None = None, **settings: Any) -> RunResult:
        __tracebackhide__ = True
        from secrets import randbits

        import gupstress
        from gupstress.model.reference import several

        given = {**defaults, **settings}
        if profile is not None:
            given["profile"] = profile
        if given.get("seed") is None:
            given["seed"] = randbits(32)
        attempt = Attempt(given)
        _doings(request.node).attempts.append(attempt)
        request.node.user_properties.append(("gupstress", attempt.command()))
        attempt.result = gupstress.run(**given)
        if attempt.result.status == "interrupted":
            # It was the session that Ctrl-C was meant for.
            raise KeyboardInterrupt
        attempt.result.assert_threshold(*several(given.get("threshold", ())))
        return attempt.result

    return run


@pytest.fixture
def gupstress_machine(request: pytest.FixtureRequest) -> Callable[..., Machine]:
    """Return `gupstress.Machine` with the marker's `cpus`, `kernel` and `policy` as defaults."""
    marked = _marked(request.node)
    defaults: dict[str, Any] = {
        name: marked[name] for name in ("cpus", "kernel", "policy") if name in marked
    }

    def machine(**settings: Any) -> Machine:
        import gupstress

        made = gupstress.Machine(**{**defaults, **settings})
        _doings(request.node).machines.append(made)
        return made

    return machine


def _doings(item: pytest.Item) -> Doings:
    return item.stash.setdefault(_DOINGS, Doings())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a failure show its runs, and hand the runs of a test that is over on."""
    report = yield
    doings = item.stash.get(_DOINGS, None)
    if doings is not None and report.failed:
        error = call.excinfo.value if call.excinfo is not None else None
        report.sections.append(("gupstress", doings.tell(error)))
    if doings is not None and report.when == "teardown":
        results = [attempt.result for attempt in doings.attempts if attempt.result is not None]
        # As text, because a worker of xdist sends its reports to another process.
        vars(report)["gupstress_runs"] = [result.to_json() for result in results]
    return report
