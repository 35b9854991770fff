"""Carries a request out: look up, refuse what cannot be, run each policy, gather."""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from gupstress import _core
from gupstress.errors import ResourceError
from gupstress.model.reference import Reference, reference
from gupstress.outcome import stability, thresholds
from gupstress.outcome.results import Build, PolicyResult, Settings
from gupstress.outcome.thresholds import Threshold
from gupstress.problems import Problems
from gupstress.running import disturbance, host, scan
from gupstress.running.engine import Observer, Plan
from gupstress.running.request import PRESETS, Request
from gupstress.running.result import RunResult
from gupstress.running.scan import Point
from gupstress.running.trace import Recorder

if TYPE_CHECKING:
    from gupstress.running.cluster import Spread


Row = dict[str, Any]
"""A result as the core gives it."""


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
    point: Point = ()
    """Of a sweep, where it is one of several jobs."""
    parts: "Sequence[Job]" = ()
    """One for each point of a sweep; all else here is as in the first."""

    @property
    def policies(self) -> list[str]:
        """Names of the policies, as results give them."""
        if self.parts:
            return [name for part in self.parts for name in part.policies]
        names = (str(policy["name"]) for policy in self.plan.policies)
        return [f"{name} {scan.label(self.point)}".rstrip() for name in names]

    def schedule(self) -> "Iterator[tuple[Job, int, int]]":
        """Yield the runs in their order, as (job, index of its policy, repeat from 1)."""
        runs = self._once
        repeats = range(1, self.request.repeat + 1)
        if self.request.interleave:
            yield from ((*run, repeat) for repeat in repeats for run in runs)
        else:
            yield from ((*run, repeat) for run in runs for repeat in repeats)

    @property
    def runs(self) -> int:
        """How many there are."""
        return len(self._once) * self.request.repeat

    @property
    def _once(self) -> "list[tuple[Job, int]]":
        return [
            (part, policy)
            for part in self.parts or (self,)
            for policy in range(len(part.plan.policies))
        ]


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
    points = scan.points(request, problems)
    if points in ([], [()]):
        return _prepare(request, problems)
    # One seed for all of it, so that only what is scanned makes a difference.
    seed = secrets.randbits(32) if request.seed is None else request.seed
    shared = replace(request, seed=seed, thresholds=(), abort_on=())
    parts = []
    for point in points:
        with problems.collecting():
            # Each has its own, which ends it: what is wrong here is said with what is there.
            mistakes = Problems()
            part = scan.at(shared, point, mistakes)
            parts.append(replace(_prepare(part, mistakes), point=point))
    names = [name for part in parts for name in part.policies]
    bases = [str(policy["name"]) for part in parts for policy in part.plan.policies]
    # All else is looked at with each part.
    limits = Request(thresholds=request.thresholds, abort_on=request.abort_on).checked(problems)
    conditions = thresholds.parse(limits.thresholds, [*bases, *names] or None, problems)
    final = thresholds.parse_final(limits.abort_on, [*bases, *names] or None, problems)
    problems.refuse()
    whole: dict[str, Any] = {key: None for key, _ in request.scan if key in scan.OPTIONS}
    full = replace(
        parts[0].request,
        sets=request.sets,
        thresholds=request.thresholds,
        abort_on=request.abort_on,
        scan=request.scan,
        **whole,
    )
    return replace(
        parts[0],
        request=full,
        thresholds=[*conditions, *final],
        final=final,
        point=(),
        parts=tuple(parts),
    )


def _prepare(request: Request, problems: Problems) -> Job:
    # What is wrong with one part does not keep the others from being looked at.
    request = request.checked(problems)
    names = request.policies or tuple(name for name in PRESETS if name in _core.names("policy"))
    policies: list[Reference] = []
    for name in names:
        with problems.collecting():
            policies.append(reference(name, "policy"))
    load, rules = reference(_ANY.profile, "profile"), reference(_ANY.kernel, "kernel")
    with problems.collecting():
        load = reference(request.profile, "profile")
    with problems.collecting():
        rules = reference(request.kernel, "kernel")

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


class RefusedError(ResourceError):
    """The host refused a run after others had ended.

    Attributes:
        kept: Those others.
    """

    def __init__(self, reason: str, kept: RunResult) -> None:
        super().__init__(reason)
        self.kept = kept


def once(
    part: Job,
    policy: int,
    repeat: int,
    final: Sequence[Threshold],
    watch: Watch,
    recorder: Recorder | None = None,
) -> PolicyResult:
    """Run one policy of a job once.

    Args:
        part: The job, or the one of its parts.
        policy: Its place among the part's policies.
        repeat: From 1.
        final: Thresholds that end it as soon as it has missed them for good.
        watch: Shows how far it has come.
        recorder: Takes the trace of a request with `trace_last`.
    """
    turn = Turn(part.policies[policy], repeat, max(part.request.repeat, repeat))
    with watch(turn) as observer:
        row = _made(
            part.plan,
            policy,
            repeat,
            observer,
            recorder,
            str(turn),
            _conditions(part, policy, final),
        )
    return _result(part, policy, row)


def _made(plan: Plan, policy: int, repeat: int, *how: Any) -> Row:
    before = disturbance.read()
    row = plan.run(policy, repeat, *how)
    after = disturbance.read()
    if plan.asked["driver"] == "os":
        row["disturbance"] = disturbance.between(before, after)
    return row


def _conditions(part: Job, policy: int, final: Sequence[Threshold]) -> list[tuple[str, str, float]]:
    names = {str(part.plan.policies[policy]["name"]), part.policies[policy]}
    return [one.condition for one in final if one.policy in (None, *names)]


def _result(part: Job, policy: int, row: Row) -> PolicyResult:
    if part.point:
        row |= {"policy": part.policies[policy], "scan": dict(part.point)}
    return PolicyResult.model_validate(row)


class Item(NamedTuple):
    """One run as it may be made anywhere: all that it depends on."""

    asked: Mapping[str, Any]
    """Of its plan."""
    policy: int
    repeat: int
    abort_on: Sequence[tuple[str, str, float]]


def make(item: Item) -> Row:
    """Make a run wherever this is."""
    return _made(Plan.of(item.asked), item.policy, item.repeat, None, None, "", item.abort_on)


def item(part: Job, policy: int, repeat: int, final: Sequence[Threshold] = ()) -> Item:
    """Return one run of a job for others to make; the arguments are those of `once`."""
    return Item(part.plan.asked, policy, repeat, _conditions(part, policy, final))


def spread(jobs: Iterable[Job], over: "Spread") -> Iterator[Row]:
    """Have others make all runs of some jobs, in their order; `run` takes them from there."""
    return over(make, (item(*one, job.final) for job in jobs for one in job.schedule()))


def _results(
    job: Job, watch: Watch, recorder: Recorder | None, made: Iterator[Row] | None
) -> Iterator[PolicyResult]:
    for part, policy, repeat in job.schedule():
        if made is None:
            yield once(part, policy, repeat, job.final, watch, recorder)
        else:
            yield _result(part, policy, next(made))


def run(
    job: Job,
    argv: Sequence[str],
    watch: Watch = unwatched,
    recorder: Recorder | None = None,
    made: Iterator[Row] | None = None,
) -> RunResult:
    """Run every policy as often as asked; Ctrl-C ends it and keeps what was counted.

    Args:
        job: What to run.
        argv: The command line, for the result.
        watch: Shows how far it has come.
        recorder: Takes the traces of a request with `trace_last`.
        made: The runs as others have made them, from `spread`; None: they are made here.

    Raises:
        RefusedError: The host refused a thread or memory after all, and there are runs to keep.
        ResourceError: It did so at once.
    """
    started_at, facts = datetime.now(timezone.utc), host.facts()
    results: list[PolicyResult] = []
    interrupted = False
    refused: Exception | None = None
    try:
        for result in _results(job, watch, recorder, made):
            results.append(result)
            if results[-1].status == "interrupted":
                break
    except KeyboardInterrupt:
        # Between two runs there is nobody else to take it.
        interrupted = True
    except (ResourceError, MemoryError) as error:
        if not results:
            raise
        refused, interrupted = error, True
    statuses = {result.status for result in results}
    run = RunResult(
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
        settings=settings(job),
        results=stability.judged(results, _core.build_profile),
        thresholds=tuple(thresholds.check(job.thresholds, results)),
    )
    if refused is not None:
        raise RefusedError(str(refused) or "no memory left", run) from refused
    return run


def settings(job: Job) -> Settings:
    """Return what was asked for, with defaults filled in."""
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
    if job.parts:
        # What is scanned is told as it was in the first row.
        first = job.parts[0].request
        asked |= {"threads": first.threads, "cpus": first.cpus, "pins": first.pins}
        asked["scan"] = dict(request.scan)
    rest = {key: value for key, value in plan.profile.items() if key != "name"}
    return Settings.model_validate({**rest, **asked})
