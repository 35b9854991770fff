"""The matrix: every policy on every profile of the kernel's history, one verdict a cell.

A profile says how bad each policy may be on it; a cell
that is worse is a finding.
"""

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from gupstress import _core
from gupstress.model import catalog
from gupstress.outcome.matrix import SEVERITY, Cell, MatrixResult, MatrixSettings, Verdict
from gupstress.outcome.results import Build, PolicyResult
from gupstress.outcome.verdict import (
    BAD,
    UNDECIDED,
    describe,
    result_findings,
    verdicts,
    why_undecided,
)
from gupstress.problems import Problems
from gupstress.running import host, runner
from gupstress.running.request import Request
from gupstress.running.runner import Job, Watch, unwatched

_SLOW_FROM = 0.5
"""Drains of all CPUs that found nothing, for each call, from where on they are slow."""

_BROKEN_ON_PURPOSE = "busted-"
"""What the names of the policies begin with that prove that a detector fires."""


@dataclass(frozen=True)
class Plan:
    """What is asked of a matrix, looked up."""

    request: Request
    """What all cells share; its profile is none of theirs, its seed is drawn."""
    jobs: Sequence[Job]
    """One for each profile, with all policies."""


def prepare(request: Request, profiles: Sequence[str], problems: Problems | None = None) -> Plan:
    """Look up every policy and profile and check that the host can carry each cell.

    Args:
        request: What all cells share; without policies: all presets that are not
            broken on purpose.
        profiles: Presets or paths of TOML files; none: those of the kernel's history.
        problems: What is known to be wrong already.

    Raises:
        ConfigError: Everything wrong with the request, at once.
        ResourceError: The host has too few threads or too little memory left.
    """
    shared = replace(
        request,
        policies=request.policies or tuple(_policies()),
        seed=secrets.randbits(32) if request.seed is None else request.seed,
    )
    problems = problems or Problems()
    jobs = []
    for profile in profiles or _profiles():
        with problems.collecting():
            jobs.append(runner.prepare(replace(shared, profile=profile)))
    names = [_profile(job) for job in jobs]
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.add("--profile", f"{name!r} more than once; nearest: {name!r} once")
    problems.refuse()
    return Plan(shared, jobs)


def _policies() -> Iterator[str]:
    return (name for name in _core.names("policy") if not name.startswith(_BROKEN_ON_PURPOSE))


def _profiles() -> list[str]:
    return [name for name in _core.names("profile") if catalog.preset("profile", name)["history"]]


def _profile(job: Job) -> str:
    return str(job.resolved.profile["name"])


def run(
    plan: Plan, argv: Sequence[str], watch: Callable[[str], Watch] = lambda profile: unwatched
) -> MatrixResult:
    """Run every cell; Ctrl-C ends it and keeps what was found.

    Args:
        plan: What to run.
        argv: The command line, for the result.
        watch: Called with each profile and its place among them; gives what watches its
            cells.

    Raises:
        ResourceError: The host refused a thread or memory after all.
    """
    started_at, facts = datetime.now(timezone.utc), host.facts()
    cells: list[Cell] = []
    interrupted = False
    for number, job in enumerate(plan.jobs, 1):
        part = runner.run(job, argv, watch(f"{_profile(job)} ({number}/{len(plan.jobs)})"))
        cells += [_cell(result, job) for result in part.results]
        interrupted = part.status == "interrupted"
        if interrupted:
            break
    request = plan.request
    return MatrixResult(
        gupstress=Build(version=_core.__version__, build_profile=_core.build_profile),
        argv=tuple(argv),
        started_at=started_at,
        status="interrupted" if interrupted else "complete",
        host=facts,
        settings=MatrixSettings(
            kernel=plan.jobs[0].resolved.kernel["name"],
            driver=request.driver,
            threads=request.threads,
            timeout_s=request.timeout_s,
            stall_after_s=request.stall_limit_s,
            seed=plan.jobs[0].seed,
            sets=dict(request.sets),
        ),
        policies=tuple(plan.jobs[0].policies),
        profiles=tuple(map(_profile, plan.jobs)),
        cells=tuple(cells),
    )


def _cell(result: PolicyResult, job: Job) -> Cell:
    verdict = judge(result)
    worst = job.resolved.profile["expect"]
    expected: Verdict = worst.get(result.policy, worst.get("*", "ok"))
    return Cell(
        policy=result.policy,
        profile=_profile(job),
        verdict=verdict,
        expected=expected,
        worse=verdict != "inconclusive" and SEVERITY[verdict] > SEVERITY[expected],
        status=result.status,
        elapsed_s=result.elapsed_s,
        calls=result.calls,
        finding=_finding(result, verdict),
    )


def judge(result: PolicyResult) -> Verdict:
    """Return the worst that can be said of a result for certain, or that nothing can."""
    calls = result.calls
    if result.invariants.verdict in BAD:
        return "broken"
    if calls.stuck or result.liveness.verdict in BAD:
        return "stuck"
    if calls.pinned_unsafe or result.safety.verdict in BAD:
        return "unsafe"
    # Who had no time to get stuck in, or to fail, is not known to be any good.
    if UNDECIDED in verdicts(result) or result.status == "interrupted" or not calls.issued:
        return "inconclusive"
    if calls.failed_spurious:
        return "spurious"
    if calls.failed_justified:
        return "justified"
    return "slow-drains" if result.counters.drain_idle >= _SLOW_FROM * calls.issued else "ok"


def _finding(result: PolicyResult, verdict: Verdict) -> str | None:
    """Return in words what a verdict rests on, None if it needs nothing."""
    match verdict:
        case "ok":
            return None
        case "justified" | "spurious":
            failures = (f for f in result.failures if f.class_ == f"failed_{verdict}")
            return next(map(describe, failures), None)
        case "slow-drains":
            return (
                f"{result.counters.drain_idle} of {result.counters.drain_all} drains of all CPUs"
                f" found nothing, in {result.calls.issued} calls"
            )
        case "inconclusive":
            if UNDECIDED in verdicts(result):
                return why_undecided(result)
            return f"{result.status} after {result.calls.issued} calls"
        case "unsafe" | "stuck" | "broken":
            return next(result_findings(result), None)
