"""What two runs must have in common to be compared, and what may differ between them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gupstress.outcome.comparison import Difference
from gupstress.outcome.results import Run
from gupstress.studies.comparison.pairing import Pair, policies

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


def obstacles(base: Run, head: Run, pairs: Sequence[Pair]) -> tuple[Difference, ...]:
    """Return what keeps two runs, or these policies of theirs, from being compared."""
    virtual = base.settings.driver == head.settings.driver == "sim"
    found = [
        *_differences(_identity(base, virtual), _identity(head, virtual)),
        *_hosts(base, head, "cpu_model", "cpus"),
    ]
    if not pairs:
        found += _differences({"policies": policies(base)}, {"policies": policies(head)})
    return tuple(found)


def changes(base: Run, head: Run, pairs: Sequence[Pair]) -> tuple[Difference, ...]:
    """Return what may differ between two runs, and does: the change that is judged.

    Two policies are each other's change as a whole; of one, it is the axes that differ.
    """
    alike = [pair.head for pair in pairs if pair.base == pair.head]
    return (
        *_hosts(base, head, "kernel"),
        *_differences(_subject(base, alike), _subject(head, alike)),
        *(
            Difference(what="policy", base=pair.base, head=pair.head)
            for pair in pairs
            if pair.base != pair.head
        ),
    )


def _identity(run: Run, virtual: bool) -> dict[str, Any]:
    settings = run.settings.model_dump()
    # What a step costs, and who gets a CPU when, is the work of a virtual clock only.
    free = _FREE if virtual else {*_FREE, "costs", "host", "slice", "tick", "preemption"}
    return {
        "build_profile": run.gupstress.build_profile,
        **_flat({k: v for k, v in settings.items() if k not in free}, "settings."),
        **_flat(
            {k: v for k, v in run.results[0].resolved["kernel"].items() if k not in _KERNEL_WORDS},
            "kernel.",
        ),
    }


def _hosts(base: Run, head: Run, *facts: str) -> Iterator[Difference]:
    """Yield differences of the two hosts, of which a simulator knows nothing."""
    if base.settings.driver == head.settings.driver == "os":
        before, after = (
            {f"host.{fact}": getattr(run.host, fact) for fact in facts} for run in (base, head)
        )
        yield from _differences(before, after)


def _subject(run: Run, common: Sequence[str]) -> dict[str, Any]:
    axes = {r.policy: r.resolved["policy"] for r in run.results if r.policy in common}
    return {
        "gupstress.version": run.gupstress.version,
        "settings.step_delay": (run.settings.model_extra or {}).get("step_delay"),
        "policies": sorted(policies(run)),
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
