"""Stress the kernel's long-term page pin under any retry policy.

    >>> import gupstress
    >>> result = gupstress.run("contended", policy=["bounded", "linux-7.2"], threads=64)
    >>> [row.calls.failed_spurious for row in result.results]

Everything public is here and is loaded when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gupstress._core import __version__
    from gupstress.api import compare, explore, litmus, matrix, replay, report, run, soak, tune
    from gupstress.errors import ConfigError, GupstressError, MachineError, ResourceError
    from gupstress.model.catalog import kernels, policies, profiles
    from gupstress.model.machine import Machine, Mapping, PageState, PinOutcome
    from gupstress.model.policy import Policy
    from gupstress.outcome.results import PolicyResult
    from gupstress.outcome.schemas import schema
    from gupstress.running.result import RunResult
    from gupstress.studies.shown import (
        Comparison,
        LitmusResult,
        MatrixResult,
        SoakResult,
        TuneResult,
    )

_HOMES = {
    "Comparison": "studies.shown",
    "ConfigError": "errors",
    "GupstressError": "errors",
    "LitmusResult": "studies.shown",
    "Machine": "model.machine",
    "MachineError": "errors",
    "Mapping": "model.machine",
    "MatrixResult": "studies.shown",
    "PageState": "model.machine",
    "PinOutcome": "model.machine",
    "Policy": "model.policy",
    "PolicyResult": "outcome.results",
    "ResourceError": "errors",
    "RunResult": "running.result",
    "SoakResult": "studies.shown",
    "TuneResult": "studies.shown",
    "__version__": "_core",
    "compare": "api",
    "explore": "api",
    "kernels": "model.catalog",
    "litmus": "api",
    "matrix": "api",
    "policies": "model.catalog",
    "profiles": "model.catalog",
    "replay": "api",
    "report": "api",
    "run": "api",
    "schema": "outcome.schemas",
    "soak": "api",
    "tune": "api",
}

__all__ = [
    "Comparison",
    "ConfigError",
    "GupstressError",
    "LitmusResult",
    "Machine",
    "MachineError",
    "Mapping",
    "MatrixResult",
    "PageState",
    "PinOutcome",
    "Policy",
    "PolicyResult",
    "ResourceError",
    "RunResult",
    "SoakResult",
    "TuneResult",
    "__version__",
    "compare",
    "explore",
    "kernels",
    "litmus",
    "matrix",
    "policies",
    "profiles",
    "replay",
    "report",
    "run",
    "schema",
    "soak",
    "tune",
]


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
