"""JSON Schemas of the files that the commands write."""

from typing import Any

from gupstress.errors import ConfigError
from gupstress.outcome.beside import Beside
from gupstress.outcome.comparison import Comparison
from gupstress.outcome.exploration import ExploreResult, ReplayResult
from gupstress.outcome.fit import FitResult
from gupstress.outcome.job import JobResult
from gupstress.outcome.litmus import LitmusResult
from gupstress.outcome.live import LiveCheck
from gupstress.outcome.matrix import MatrixResult
from gupstress.outcome.record import Document
from gupstress.outcome.results import Run
from gupstress.outcome.soak import SoakResult
from gupstress.outcome.suite import SuiteResult
from gupstress.outcome.tune import TuneResult
from gupstress.problems import nearest

_MODELS: dict[str, type[Document]] = {
    "run": Run,
    "matrix": MatrixResult,
    "litmus": LitmusResult,
    "fit": FitResult,
    "tune": TuneResult,
    "soak": SoakResult,
    "live": LiveCheck,
    "explore": ExploreResult,
    "replay": ReplayResult,
    "compare": Comparison,
    "beside": Beside,
    "pytest": SuiteResult,
    "job": JobResult,
}


def schema(command: str = "run") -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of what a command writes.

    Args:
        command: `run`, `matrix`, `litmus`, `fit`, `tune`, `soak`, `live`, `compare`, `beside`
            for `compare --model`, `pytest` for `--gupstress-json`, or `job` for a job file of
            several sections.

    Raises:
        ConfigError: There is no such command, or it writes no JSON.
    """
    if command not in _MODELS:
        near = nearest(command, _MODELS)
        raise ConfigError([("", f"no schema of {command!r}; nearest: {near}")])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_MODELS[command].model_json_schema(mode="serialization"),
    }
