"""Holds the runs of a session against those of an earlier one, for `--gupstress-compare`."""

from typing import NamedTuple

import pytest

from gupstress.errors import ConfigError
from gupstress.outcome import stored
from gupstress.outcome.comparison import Comparison
from gupstress.outcome.results import Run
from gupstress.outcome.suite import SuiteResult
from gupstress.render import comparison as render
from gupstress.running.result import RunResult
from gupstress.studies.comparison import judge, sources


class _Found(NamedTuple):
    test: str
    """With the number of the run, if there are several."""
    comparison: Comparison


class Comparer:
    """Compares each run as its test ends, and says at the end what has changed."""

    def __init__(self, path: str) -> None:
        try:
            suite = stored.read(path, {"gupstress.pytest/1": SuiteResult})
        except ConfigError as error:
            raise pytest.UsageError(f"--gupstress-compare {error}") from None
        self._path = path
        self._base = {case.test: case.runs for case in suite.tests}
        self._found: list[_Found] = []
        self._unknown: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Compare the runs that the last phase of a test brings."""
        heads = [RunResult.model_validate_json(r) for r in getattr(report, "gupstress_runs", ())]
        if not heads:
            return
        bases = self._base.get(report.nodeid, ())
        if len(bases) != len(heads):
            self._unknown.append(f"{report.nodeid}: {len(bases)} runs before, {len(heads)} now")
        for number, (base, head) in enumerate(zip(bases, heads, strict=False), 1):
            name = f"{report.nodeid} {number}/{len(heads)}" if len(heads) > 1 else report.nodeid
            self._found.append(_Found(name, self._compare(base, head)))

    def _compare(self, base: Run, head: Run) -> Comparison:
        return judge.judge(sources.of_run(base, self._path), sources.of_run(head))

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Let a regression fail a session that has passed."""
        worse = any(one.comparison.verdict == "regression" for one in self._found)
        if worse and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show what has become worse in full, and of the rest the verdict."""
        terminalreporter.section(f"gupstress: compared with {self._path}")
        for test, found in self._found:
            terminalreporter.line(f"{found.verdict.upper()} {test}")
            if found.verdict in ("regression", "not comparable"):
                terminalreporter.line(f"\n{render.plain(found)}\n")
        for line in self._unknown:
            terminalreporter.line(f"NOT COMPARED {line}")
        if not self._found and not self._unknown:
            terminalreporter.line("nothing was run")
