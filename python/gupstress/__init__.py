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
    from gupstress.api import kernels, policies, profiles, run
    from gupstress.comparison.judge import compare
    from gupstress.comparison.models import Comparison
    from gupstress.errors import ConfigError, GupstressError, MachineError, ResourceError
    from gupstress.machine import Machine
    from gupstress.policy import Policy
    from gupstress.results import PolicyResult, RunResult
    from gupstress.schemas import schema

_HOMES = {
    "Comparison": "comparison.models",
    "ConfigError": "errors",
    "GupstressError": "errors",
    "Machine": "machine",
    "MachineError": "errors",
    "Policy": "policy",
    "PolicyResult": "results",
    "ResourceError": "errors",
    "RunResult": "results",
    "__version__": "_core",
    "compare": "comparison.judge",
    "kernels": "api",
    "policies": "api",
    "profiles": "api",
    "run": "api",
    "schema": "schemas",
}

__all__ = [
    "Comparison",
    "ConfigError",
    "GupstressError",
    "Machine",
    "MachineError",
    "Policy",
    "PolicyResult",
    "ResourceError",
    "RunResult",
    "__version__",
    "compare",
    "kernels",
    "policies",
    "profiles",
    "run",
    "schema",
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
