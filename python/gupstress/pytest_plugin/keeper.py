"""Keeps the results of a pytest session for `--gupstress-json`."""

import pytest

from gupstress.outcome import files
from gupstress.outcome.suite import Case, SuiteResult
from gupstress.running.result import RunResult


class Keeper:
    """Collects what reports bring and writes it at the end, whole or not at all."""

    def __init__(self, path: str) -> None:
        try:
            files.check_writable(path)
        except OSError as error:
            raise pytest.UsageError(_refusal(path, error)) from None
        self._path = path
        self._failed: set[str] = set()
        self._passed: set[str] = set()
        self._cases: list[Case] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in one phase of a test; the last one brings its runs."""
        if report.failed:
            self._failed.add(report.nodeid)
        if report.when == "call" and report.passed:
            self._passed.add(report.nodeid)
        if runs := getattr(report, "gupstress_runs", ()):
            self._cases.append(
                Case(
                    test=report.nodeid,
                    outcome="failed"
                    if report.nodeid in self._failed
                    else "passed"
                    if report.nodeid in self._passed
                    else "skipped",
                    runs=tuple(map(RunResult.model_validate_json, runs)),
                )
            )

    def pytest_sessionfinish(self) -> None:
        """Write the file."""
        try:
            files.write_whole(self._path, SuiteResult(tests=tuple(self._cases)).to_json())
        except OSError as error:
            pytest.exit(_refusal(self._path, error), returncode=pytest.ExitCode.INTERNAL_ERROR)


def _refusal(path: str, error: OSError) -> str:
    return f"--gupstress-json {path}: cannot be written: {error.strerror}"
