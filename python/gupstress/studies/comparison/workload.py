"""What two runs must have in common to be compared, and what may differ between them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gupstress.outcome.comparison import Difference
from gupstress.outcome.results import Run

_FREE = frozenset(
    {
        # How often and in which order, not what.
        "seed",
        "repeat",
        "interleave",
        # As they were typed; what they set is compared where it took effect.
        "sets",
        # Stands for a slower build.
        "step_delay",
        # Words.
        "summary",
        "reference",
        "history",
        "expect",
    }
)
"""Settings that do not make another workload."""

_KERNEL_WORDS = frozenset({"name", "summary", "policy"})
"""Of the kernel rules, what no run is shaped by: its policies are given by themselves."""


def obstacles(base: Run, head: Run) -> tuple[Difference, ...]:
    """Return what keeps two runs from being compared."""
    found = list(_differences(_identity(base), _identity(head)))
    if not common_policies(base, head):
        found += _differences({"policies": _policies(base)}, {"policies": _policies(head)})
    return tuple(found)


def common_policies(base: Run, head: Run) -> list[str]:
    """Return the names of the policies that both ran, in the order of `head`."""
    return [policy for policy in _policies(head) if policy in _policies(base)]


def _policies(run: Run) -> list[str]:
    return list(dict.fromkeys(result.policy for result in run.results))


def changes(base: Run, head: Run) -> tuple[Difference, ...]:
    """Return what may differ between two runs, and does: the change that is judged."""
    common = common_policies(base, head)
    return tuple(_differences(_subject(base, common), _subject(head, common)))


def _identity(run: Run) -> dict[str, Any]:
    settings = run.settings.model_dump()
    free = {*_FREE, "costs"} if run.settings.driver == "os" else _FREE
    return {
        "build_profile": run.gupstress.build_profile,
        "host.cpu_model": run.host.cpu_model,
        "host.cpus": run.host.cpus,
        **_flat({k: v for k, v in settings.items() if k not in free}, "settings."),
        **_flat(
            {k: v for k, v in run.results[0].resolved["kernel"].items() if k not in _KERNEL_WORDS},
            "kernel.",
        ),
    }


def _subject(run: Run, common: Sequence[str]) -> dict[str, Any]:
    axes = {r.policy: r.resolved["policy"] for r in run.results if r.policy in common}
    return {
        "gupstress.version": run.gupstress.version,
        "host.kernel": run.host.kernel,
        "settings.step_delay": (run.settings.model_extra or {}).get("step_delay"),
        "policies": sorted(_policies(run)),
        **{
            f"{policy}.{axis}": value
            for policy, table in axes.items()
            for axis, value in table.items()
            if axis not in ("name", "summary", "source")
        },
    }


def _flat(table: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _differences(base: Mapping[str, Any], head: Mapping[str, Any]) -> Iterator[Difference]:
    for what in dict.fromkeys([*base, *head]):
        if base.get(what) != head.get(what):
            yield Difference(what=what, base=base.get(what), head=head.get(what))
