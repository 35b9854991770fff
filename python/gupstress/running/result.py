"""The result of a run as those who asked for it hold it."""

from __future__ import annotations

import os
from csv import DictWriter
from io import StringIO
from typing import TYPE_CHECKING, Any

from gupstress.outcome import stored
from gupstress.outcome.assertions import Assertions
from gupstress.outcome.results import PolicyResult, Run
from gupstress.outcome.thresholds import metrics, read
from gupstress.outcome.verdict import label, outcome, verdicts
from gupstress.problems import nearest
from gupstress.render.closing import end_line
from gupstress.render.columns import COSTS, DEEDS, caller_grid, grid
from gupstress.render.shown import Shown

if TYPE_CHECKING:
    from pandas import DataFrame


class RunResult(Shown, Run, Assertions):
    """Everything one command or `gupstress.run` found, and what tests ask of it.

    `result["bounded"]` is the result of a policy, `result["bounded", 3]` that of its third
    repeat; `print(result)` and a notebook show the verdict table.
    """

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RunResult:
        """Return the result that a file holds, as `to_json` or `--json` wrote it.

        Raises:
            ConfigError: It cannot be read, or holds something else.
        """
        return stored.read(os.fspath(path), {"gupstress.run/1": cls})

    def repeats(self, policy: str) -> tuple[PolicyResult, ...]:
        """Return all results of a policy.

        Raises:
            KeyError: It was not run.
        """
        found = tuple(result for result in self.results if result.policy == policy)
        if not found:
            names = {result.policy for result in self.results}
            raise KeyError(f"no policy {policy!r} in this run; nearest: {nearest(policy, names)}")
        return found

    def __getitem__(self, key: str | tuple[str, int]) -> PolicyResult:
        """Return the result of a policy, or of one of its repeats.

        Raises:
            KeyError: It was not run, or more than once and no repeat is named.
        """
        policy, repeat = (key, None) if isinstance(key, str) else key
        found = self.repeats(policy)
        if repeat is None and len(found) == 1:
            return found[0]
        for result in found:
            if result.repeat == repeat:
                return result
        near = f"[{policy!r}, {found[-1].repeat if repeat else found[0].repeat}]"
        said = f"{len(found)} repeats of {policy}" if repeat is None else f"no repeat {repeat}"
        raise KeyError(f"{said}; nearest: {near}")

    def to_frame(self) -> DataFrame:
        """Return a pandas data frame: a row for each result, a column for each number of it.

        Columns are named as thresholds name them, after `policy`, `repeat`, `status` and the
        three verdicts.

        Raises:
            ModuleNotFoundError: There is no pandas.
        """
        try:
            from pandas import DataFrame
        except ModuleNotFoundError as error:
            reason = "to_frame needs pandas: pip install pandas"
            raise ModuleNotFoundError(reason, name=error.name) from None
        return DataFrame(self.rows())

    def rows(self) -> list[dict[str, Any]]:
        """Return what `to_frame` has, as a list of dicts."""
        kinds = ("liveness", "safety", "invariants")
        return [
            {
                "policy": result.policy,
                "repeat": result.repeat,
                "status": result.status,
                **dict(zip(kinds, verdicts(result), strict=True)),
                **(result.scan or {}),
                **{name: read(result, name) for name in metrics() if name != "repeat"},
            }
            for result in self.results
        ]

    def to_csv(self) -> str:
        """Return what `to_frame` has as CSV text (RFC 4180, with a heading)."""
        rows, text = self.rows(), StringIO()
        writer = DictWriter(text, rows[0] if rows else ["policy"])
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def _tables(self) -> list[Any]:
        callers = caller_grid(self)
        tables = [grid(self, DEEDS), grid(self, COSTS)] if self.results else []
        return tables if callers is None else [*tables, callers]

    def _end(self) -> str:
        return end_line(self)

    def __repr__(self) -> str:
        names = dict.fromkeys(label(result, self) for result in self.results)
        return f"<RunResult {outcome(self).value}: {', '.join(names) or 'nothing was run'}>"
