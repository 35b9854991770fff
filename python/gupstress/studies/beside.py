"""The model beside a real kernel: the same load, and what both have in common to be told of it.

Times of a real kernel are not the model's, so both are given in units of a call that has nobody
in its way; everything else is a share, or a count for each page.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from gupstress import _core
from gupstress.errors import ConfigError
from gupstress.outcome import stored
from gupstress.outcome.beside import Beside, Quantity, Subject
from gupstress.outcome.results import Build, PolicyResult, Run
from gupstress.problems import nearest
from gupstress.running import runner
from gupstress.running.request import Request
from gupstress.running.runner import Watch
from gupstress.values import is_file

_MODELS_OWN = frozenset(
    {
        *("summary", "reference", "history", "perturb", "step_delay", "slice", "tick"),
        *("preemption", "memory", "cma_first", "host", "costs", "expect"),
    }
)
"""Keys of a profile that say how the model's machine is made: a real kernel has its own."""


def read(file: str) -> Run:
    """Return what was measured on a real kernel.

    Raises:
        ConfigError: It cannot be read, or the model has run it.
    """
    run = stored.read(file, {"gupstress.run/1": Run})
    if run.settings.target != "live":
        raise ConfigError([(file, "was run by the model; nearest: gupstress run --on live --json")])
    if not run.results:
        raise ConfigError([(file, "holds no results; nearest: a run that was not interrupted")])
    return run


def request(
    live: Run, place: str, profile: str | None = None, kernel: str | None = None
) -> Request:
    """Return what the model is asked for to do the same.

    Args:
        live: What was measured.
        place: Where it is from, for messages.
        profile: The load, where it is none of the shipped ones.
        kernel: The rule set, where it is not called as the measured kernel is.

    Raises:
        ConfigError: There is no such profile or rule set.
    """
    asked = live.settings
    load, rules = profile or asked.profile, kernel or asked.kernel
    for kind, name in (("profile", load), ("kernel", rules)):
        if name not in (known := _core.names(kind)) and not is_file(name):
            near = f"nearest: --{kind} {nearest(name, known)}"
            raise ConfigError([(place, f"{kind} {name!r} is none that is known; {near}")])
    return Request(
        policies=("kernel",),
        profile=load,
        kernel=rules,
        driver="sim",
        threads=asked.threads,
        cpus=asked.cpus,
        pins=asked.pins,
        timeout_s=asked.timeout_s,
        seed=asked.seed,
        repeat=asked.repeat,
        sets=tuple(asked.sets.items()),
    )


def beside(
    live: Run, asked: Request, source: str | None = None, watch: Watch = runner.unwatched
) -> Beside:
    """Run the model under the load that a real kernel had, and hold both against each other.

    Args:
        live: What was measured.
        asked: What the model is asked for, see `request`.
        source: The file that `live` is from.
        watch: Shows how far it has come.

    Raises:
        ConfigError: The model would not do the same.
    """
    job = runner.prepare(asked)
    _require_same(live, job.plan.profile, source or "this run")
    model = runner.run(job, (), watch)
    alone = job.plan.uncontended_ns()
    kernels = live.results[0].uncontended_ns
    return Beside(
        gupstress=Build(version=_core.__version__, build_profile=_core.build_profile),
        profile=live.settings.profile,
        threads=live.settings.threads,
        kernel=_subject(live.results, source, live.host.kernel, kernels),
        model=_subject(model.results, None, model.settings.kernel, alone),
        quantities=tuple(quantities(live.results, kernels, model.results, alone)),
    )


def _require_same(live: Run, profile: Mapping[str, Any], place: str) -> None:
    """Refuse a load that is not the one that was measured."""
    measured = live.results[0].resolved["profile"]
    if not isinstance(measured, dict):
        return
    for key, was in measured.items():
        now = profile.get(key)
        if isinstance(now, dict) and isinstance(was, dict):
            # What no profile had then, there was no other value of.
            now = {name: now.get(name) for name in was}
        if key not in _MODELS_OWN and now != was:
            words = f"{key} was {was}, here it is {now}; nearest: --profile FILE"
            raise ConfigError([(place, words)])


def _subject(
    results: Sequence[PolicyResult], source: str | None, kernel: str, uncontended: float | None
) -> Subject:
    return Subject(
        source=source,
        kernel=kernel,
        repeats=len(results),
        calls=sum(result.calls.issued for result in results),
        uncontended_ns=uncontended,
    )


Observe = Callable[[PolicyResult], "float | None"]


def quantities(
    kernel: Sequence[PolicyResult],
    kernel_alone: float | None,
    model: Sequence[PolicyResult],
    model_alone: float | None,
) -> Iterator[Quantity]:
    """Yield what both sides have: shares, acquisitions, latencies in uncontended calls.

    Args:
        kernel: Repeats of a real kernel.
        kernel_alone: What its call takes alone, in nanoseconds.
        model: Repeats of the model.
        model_alone: The same of the model's.
    """
    for name, observe in _OBSERVED.items():
        yield Quantity(name=name, kernel=_middle(kernel, observe), model=_middle(model, observe))
    for name in ("p50", "p90", "p99"):
        yield Quantity(
            name=f"latency.{name}",
            kernel=_calls(kernel, name, kernel_alone),
            model=_calls(model, name, model_alone),
        )


def _middle(results: Sequence[PolicyResult], observe: Observe) -> float | None:
    values = [value for value in map(observe, results) if value is not None]
    return median(values) if values else None


def _calls(results: Sequence[PolicyResult], name: str, alone: float | None) -> float | None:
    """Return a latency in units of an uncontended call."""
    took = _middle(results, lambda result: getattr(result.latency_ns, name))
    return took / alone if took is not None and alone else None


def _share(part: str) -> Observe:
    return lambda result: getattr(result.calls, part) / result.calls.issued


def _errno(name: str) -> Observe:
    return lambda result: getattr(result.errors, name) / result.calls.issued


def _page(counter: str) -> Observe:
    """Return what gives a counter for each page: of a round and thread, or of a success."""

    def observe(result: PolicyResult) -> float | None:
        count, rounds = getattr(result.counters, counter), result.contention
        if count is None:
            return None
        if rounds is None:
            return count / result.pages.pinned if result.pages.pinned else None
        threads = result.calls.issued / rounds.rounds if counter == "acquired" else 1
        return float(count / (rounds.rounds * rounds.pages * threads))

    return observe


_OBSERVED: dict[str, Observe] = {
    **{f"share.{name}": _share(name) for name in ("failed_spurious", "failed_justified")},
    **{f"share.{name}": _share(name) for name in ("pinned_unsafe", "oom_killed", "stuck")},
    **{f"share.{name}": _errno(name) for name in ("ENOMEM", "EFAULT")},
    **{f"{name} a page": _page(name) for name in ("acquired", "migrated", "migrate_failed")},
    "fairness.jain": lambda result: result.fairness.jain,
}
