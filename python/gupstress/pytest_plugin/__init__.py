"""The pytest plugin: stress runs as fixtures, and failures that say how to see them again.

The marker `gupstress` takes arguments of `gupstress.run`. They are what the fixtures
`gupstress_run` and `gupstress_machine` start from; options of the command line come
before them, and arguments given in the test before those.

Every start of pytest imports this module, so it imports nothing heavy.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from gupstress.pytest_plugin import options
from gupstress.pytest_plugin.doings import Attempt, Doings, Shared

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path

    from gupstress.model.machine import Machine
    from gupstress.outcome.exploration import ExploreResult
    from gupstress.running.result import RunResult

_ALONE = (
    "a stress test needs the machine for itself;"
    " --gupstress-xdist runs it beside others, where its times and rates say nothing"
)


_DOINGS = pytest.StashKey[Doings]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    options.add(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and what keeps the results if they are asked for."""
    config.addinivalue_line(
        "markers",
        "gupstress(profile, policy=..., threads=..., ...): arguments of gupstress.run that"
        " gupstress_run and gupstress_machine start from",
    )
    if _is_worker(config):
        return
    for name in options.REQUESTED:
        # What is wrong in the configuration file is said before any test.
        options.configured(config, name)
    if (path := options.wanted(config, "json")) is not None:
        from gupstress.pytest_plugin.keeper import Keeper

        config.pluginmanager.register(Keeper(path), "gupstress-json")
    if (base := options.wanted(config, "compare")) is not None:
        from gupstress.pytest_plugin.comparing import Comparer

        config.pluginmanager.register(Comparer(base), "gupstress-compare")


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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Skip what would disturb, and be disturbed by, tests at the same time."""
    item.session.stash[_CURRENT] = item
    fixtures = getattr(item, "fixturenames", ())
    stress = item.get_closest_marker("gupstress") is not None
    # A machine is run step by step and disturbs nobody; a fixture that runs knows the driver.
    if stress and not {"gupstress_machine", "gupstress_run", "gupstress_runner"} & set(fixtures):
        _one_at_a_time(item.config, _marked(item))
    try:
        yield
    except BaseException as error:
        _forget_frames(error)
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    """Show a mistake of the test where the test makes it."""
    try:
        yield
    except BaseException as error:
        _forget_frames(error)
        raise


def _forget_frames(error: BaseException) -> None:
    # An error of ours has been raised only if all this has been loaded.
    if (errors := sys.modules.get("gupstress.errors")) is None:
        return
    if isinstance(error, errors.GupstressError):
        from gupstress.pytest_plugin import frames

        frames.cut(error)


def _one_at_a_time(config: pytest.Config, settings: Mapping[str, Any]) -> None:
    # The simulator has time of its own, which others cannot take.
    alone = settings.get("driver", "os") != "sim"
    if alone and _is_worker(config) and not options.wanted(config, "xdist"):
        pytest.skip(_ALONE)


_SHARED = pytest.StashKey[Shared]()
_CURRENT = pytest.StashKey[pytest.Item]()


@pytest.fixture
def gupstress_run(request: pytest.FixtureRequest) -> Callable[..., RunResult]:
    """Return `gupstress.run` with the marker's arguments as defaults.

    A threshold that is missed fails the test.
    """
    return _runner(request, _marked(request.node))


@pytest.fixture
def gupstress_explore(tmp_path: Path) -> Callable[..., ExploreResult]:
    """Return `gupstress.explore`; findings are kept in the test's folder.

    A failing test shows the commands that replay them; how long the files are kept is
    pytest's `tmp_path_retention_policy` to say.
    """

    def explore(profile: str = "isolation-race", **settings: Any) -> ExploreResult:
        __tracebackhide__ = True
        import gupstress
        from gupstress.visible import typed

        result = gupstress.explore(profile, **settings)
        for number, found in enumerate(result.findings, 1):
            file = tmp_path / f"{result.profile}-{result.policy}-{found.kind}-{number}.json"
            file.write_text(found.text, encoding="utf-8")
            # pytest shows what a test printed where the test fails.
            print(found.sentence)  # noqa: T201
            print(typed(["gupstress", "replay", str(file)]))  # noqa: T201
        return result

    return explore


@pytest.fixture(scope="session")
def gupstress_runner(request: pytest.FixtureRequest) -> Callable[..., RunResult]:
    """Return `gupstress.run` for fixtures of any scope, whose run several tests look at.

    It knows no marker; options and the configuration file count as in `gupstress_run`.
    """
    return _runner(request, {})


def _runner(request: pytest.FixtureRequest, marked: Mapping[str, Any]) -> Callable[..., RunResult]:
    config, session = request.config, request.session
    defaults: dict[str, Any] = {}
    for name in options.REQUESTED:
        said = (options.configured(config, name), marked.get(name), options.given(config, name))
        if known := [one for one in said if one is not None]:
            defaults[name] = known[-1]
    defaults = {**marked, **defaults}

    def run(profile: str | None = None, **settings: Any) -> RunResult:
        __tracebackhide__ = True
        from secrets import randbits

        import gupstress
        from gupstress.model.reference import several

        given = {**defaults, **settings}
        _one_at_a_time(config, given)
        if profile is not None:
            given["profile"] = profile
        if given.get("seed") is None:
            given["seed"] = randbits(32)
        attempt = Attempt(given)
        item = session.stash[_CURRENT]
        _doings(item).attempts.append(attempt)
        if request.scope == "session":
            session.stash.setdefault(_SHARED, Shared()).attempts.append(attempt)
        item.user_properties.append(("gupstress", attempt.command()))
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
    shared = item.session.stash.get(_SHARED, None)
    if report.failed and (doings is not None or shared is not None):
        error = call.excinfo.value if call.excinfo is not None else None
        told = doings or Doings()
        if shared is not None:
            own = told.attempts
            behind = shared.behind(error, getattr(item, "funcargs", {}).values())
            others = [one for one in behind if not any(one is mine for mine in own)]
            told = Doings([*own, *others], told.machines)
        if text := told.tell(error):
            report.sections.append(("gupstress", text))
    if doings is not None and report.when == "teardown":
        results = [attempt.result for attempt in doings.attempts if attempt.result is not None]
        # As text, because a worker of xdist sends its reports to another process.
        vars(report)["gupstress_runs"] = [result.to_json() for result in results]
    return report
