"""Carries a request out: look up, refuse what cannot be, run each policy, gather."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import NamedTuple

from gupstress import _core
from gupstress.errors import ResourceError
from gupstress.model.reference import Reference, reference
from gupstress.outcome import stability, thresholds
from gupstress.outcome.results import Build, PolicyResult, Settings
from gupstress.outcome.thresholds import Threshold
from gupstress.problems import Problems
from gupstress.running import disturbance, host
from gupstress.running.engine import Observer, Plan, Snapshot
from gupstress.running.request import PRESETS, Request
from gupstress.running.result import RunResult
from gupstress.running.trace import Recorder


class Turn(NamedTuple):
    """One run among those of a job."""

    policy: str
    repeat: int
    """From 1."""
    repeats: int

    def __str__(self) -> str:
        return f"{self.policy} {self.repeat}/{self.repeats}" if self.repeats > 1 else self.policy


Watch = Callable[[Turn], AbstractContextManager[Observer | None]]
"""Opened around each run; gives what is told how far the run has come."""


def unwatched(turn: Turn) -> AbstractContextManager[None]:
    """Return the watch that looks at nothing."""
    return nullcontext()


@dataclass(frozen=True)
class Job:
    """A request that can be run."""

    request: Request
    """With its policies named, its seed drawn and the profile's numbers filled in."""
    seed: int
    """Of the first repeat."""
    plan: Plan
    """The same as the core has read it."""
    thresholds: Sequence[Threshold]
    final: Sequence[Threshold]
    """Those of them that end a run as soon as it can no longer meet them."""

    @property
    def policies(self) -> list[str]:
        """Names of the policies, as results give them."""
        return [policy["name"] for policy in self.plan.policies]

    def schedule(self) -> Iterator[tuple[int, int]]:
        """Yield the runs in their order, as (index of the policy, repeat from 1)."""
        policies, repeats = range(len(self.plan.policies)), range(1, self.request.repeat + 1)
        if self.request.interleave:
            yield from ((policy, repeat) for repeat in repeats for policy in policies)
        else:
            yield from ((policy, repeat) for policy in policies for repeat in repeats)


_ANY = Request()
"""Stands in for what cannot be read, while other mistakes are looked for."""


def prepare(request: Request, problems: Problems | None = None) -> Job:
    """Look up everything a request names and check that the host can carry it.

    Args:
        request: What is asked.
        problems: What is known to be wrong already.

    Raises:
        ConfigError: Everything wrong with the request, at once.
        ResourceError: The host has too few threads or too little memory left.
    """
    problems = problems or Problems()
    # What is wrong with one part does not keep the others from being looked at.
    request = request.checked(problems)
    names = request.policies or tuple(name for name in PRESETS if name in _core.names("policy"))
    policies: list[Reference] = []
    for name in names:
        with problems.collecting():
            policies.append(reference(name))
    load, rules = reference(_ANY.profile), reference(_ANY.kernel)
    with problems.collecting():
        load = reference(request.profile)
    with problems.collecting():
        rules = reference(request.kernel)

    seed = secrets.randbits(32) if request.seed is None else request.seed
    found: list[str] | None = None
    with problems.collecting():
        plan = Plan(policies, load, rules, request.sets, {**request.settings(), "seed": seed})
        found = [policy["name"] for policy in plan.policies]
        for name in sorted({name for name in found if found.count(name) > 1}):
            problems.add("--policy", f"{name!r} more than once; nearest: --repeat 2")
    conditions = thresholds.parse(request.thresholds, found, problems)
    final = thresholds.parse_final(request.abort_on, found, problems)
    problems.refuse()

    _require_room(plan)
    full = replace(
        request,
        policies=names,
        threads=plan.needs.threads,
        cpus=plan.needs.cpus,
        pins=plan.pins,
        seed=seed,
    )
    return Job(full, seed, plan, [*conditions, *final], final)


def _require_room(plan: Plan) -> None:
    threads, memory = host.thread_room(), host.memory_room()
    missing = host.shortage(plan.needs, threads, memory)
    if missing is None:
        return
    fitting = plan.most_threads(threads.left, memory.left)
    hint = f"largest that fits: --threads {fitting}" if fitting else "not even --threads 1 fits"
    raise ResourceError(f"{missing}; {hint}")


class _Lost(KeyboardInterrupt):
    """Ends a run as Ctrl-C does: what was counted is kept."""


@dataclass
class Abort:
    """Looks whether a run has missed a threshold for good, and ends it."""

    final: Sequence[Threshold]
    policy: str
    observer: Observer | None
    """Who else is told how far the run has come."""
    lost: bool = False

    def observe(self, now: Snapshot) -> None:
        """Look at how far the run has come."""
        if self.observer is not None:
            self.observer(now)
        known = {f"calls.{name}": count for name, count in now["calls"].items()}
        known["pages.pinned"] = now["pinned"]
        lost = (thresholds.is_lost(one, self.policy, known[one.metric]) for one in self.final)
        # Before the pinners set off there is nothing to keep.
        if now["elapsed_s"] > 0 and any(lost):
            self.lost = True
            raise _Lost


def run(
    job: Job,
    argv: Sequence[str],
    watch: Watch = unwatched,
    recorder: Recorder | None = None,
) -> RunResult:
    """Run every policy as often as asked; Ctrl-C ends it and keeps what was counted.

    Args:
        job: What to run.
        argv: The command line, for the result.
        watch: Shows how far it has come.
        recorder: Takes the traces of a request with `trace_last`.

    Raises:
        ResourceError: The host refused a thread or memory after all.
    """
    started_at, facts = datetime.now(timezone.utc), host.facts()
    results: list[PolicyResult] = []
    interrupted = False
    try:
        for policy, repeat in job.schedule():
            turn = Turn(job.policies[policy], repeat, job.request.repeat)
            with watch(turn) as observer:
                abort = Abort(job.final, turn.policy, observer)
                before = disturbance.read()
                row = job.plan.run(
                    policy, repeat, abort.observe if job.final else observer, recorder, str(turn)
                )
                after = disturbance.read()
            if abort.lost:
                row["status"] = "aborted"
            if job.request.driver == "os":
                row["disturbance"] = disturbance.between(before, after)
            results.append(PolicyResult.model_validate(row))
            if results[-1].status == "interrupted":
                break
    except KeyboardInterrupt:
        # Between two runs there is nobody else to take it.
        interrupted = True
    statuses = {result.status for result in results}
    return RunResult(
        gupstress=Build(version=_core.__version__, build_profile=_core.build_profile),
        argv=tuple(argv),
        started_at=started_at,
        status=(
            "interrupted"
            if interrupted or "interrupted" in statuses
            else "timeout"
            if "timeout" in statuses
            else "complete"
        ),
        host=facts,
        settings=_settings(job),
        results=stability.judged(results, _core.build_profile),
        thresholds=tuple(thresholds.check(job.thresholds, results)),
    )


def _settings(job: Job) -> Settings:
    request, plan = job.request, job.plan
    asked = {
        **request.settings(),
        "profile": plan.profile["name"],
        "kernel": plan.kernel["name"],
        # The profile comes with what was asked for in its place.
        "perturb": plan.profile["perturb"],
        "seed": job.seed,
        "repeat": request.repeat,
        "interleave": request.interleave,
        "sets": dict(request.sets),
    }
    rest = {key: value for key, value in plan.profile.items() if key != "name"}
    return Settings.model_validate({**rest, **asked})
