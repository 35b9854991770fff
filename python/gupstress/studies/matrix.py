"""The matrix: every policy on every profile of the kernel's history, one verdict a cell.

A profile says how bad each policy may be on it; a cell that is worse is a finding. A cell
whose share lies too near to where the verdict changes is run again, with the seeds of
further repeats, until it does not or has been run `_core.most_repeats()` times.
"""

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from gupstress import _core
from gupstress.model import catalog
from gupstress.outcome.matrix import Cell, MatrixSettings, scale
from gupstress.outcome.results import Build, Calls, PolicyResult, Verdict
from gupstress.outcome.verdict import (
    UNDECIDED,
    describe,
    result_findings,
    verdicts,
    why_undecided,
)
from gupstress.problems import Problems
from gupstress.render import junit
from gupstress.running import engine, host, runner
from gupstress.running.request import NUMBERS, Request
from gupstress.running.runner import Job, Watch, unwatched
from gupstress.studies.shown import MatrixResult

if TYPE_CHECKING:
    from gupstress.running.cluster import Spread

_BROKEN_ON_PURPOSE = "busted-"
"""What the names of the policies begin with that prove that a detector fires."""


@dataclass(frozen=True)
class Plan:
    """What is asked of a matrix, looked up."""

    request: Request
    """What all cells share; its profile is none of theirs, its seed is drawn."""
    jobs: Sequence[Job]
    """One for each profile and number of threads, with all policies."""
    threads: Sequence[int] = ()
    """Numbers of threads, growing, where there are several."""


def prepare(
    request: Request,
    profiles: Sequence[str],
    problems: Problems | None = None,
    threads: Sequence[object] = (),
) -> Plan:
    """Look up every policy and profile and check that the host can carry each cell.

    Args:
        request: What all cells share; without policies: all presets that are not
            broken on purpose.
        profiles: Presets or paths of TOML files; none: those of the kernel's history.
        problems: What is known to be wrong already.
        threads: Numbers of pinning threads that each cell is run with; none: the request's.

    Raises:
        ConfigError: Everything wrong with the request, at once.
        ResourceError: The host has too few threads or too little memory left.
    """
    shared = replace(
        request,
        policies=request.policies or tuple(in_earnest()),
        seed=secrets.randbits(32) if request.seed is None else request.seed,
    )
    problems = problems or Problems()
    counts = _growing(threads, problems)
    by_profile: list[list[Job]] = []
    for profile in profiles or _profiles():
        asked = replace(shared, profile=profile)
        with problems.collecting():
            by_profile.append(
                [runner.prepare(replace(asked, threads=count)) for count in counts]
                or [runner.prepare(asked)]
            )
    names = [_profile(same[0]) for same in by_profile]
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.add("--profile", f"{name!r} more than once; nearest: {name!r} once")
    problems.refuse()
    return Plan(shared, [job for same in by_profile for job in same], counts)


def _growing(threads: Sequence[object], problems: Problems) -> list[int]:
    """Return numbers of threads in their order, noting what is wrong with them."""
    said = f"--threads {','.join(map(str, threads))}"
    counts: list[int] = []
    for value in threads:
        with problems.noting(said):
            kind = NUMBERS["threads"]
            count = int(kind.check(kind.parse(value) if isinstance(value, str) else value))
            if count in counts:
                raise ValueError(f"{count} more than once; nearest: {count} once")
            counts.append(count)
    return sorted(counts)


def in_earnest() -> Iterator[str]:
    """Yield the policies that are not broken on purpose."""
    return (name for name in _core.names("policy") if not name.startswith(_BROKEN_ON_PURPOSE))


def _profiles() -> list[str]:
    return [name for name in _core.names("profile") if catalog.preset("profile", name)["history"]]


def _profile(job: Job) -> str:
    return str(job.plan.profile["name"])


def run(
    plan: Plan,
    argv: Sequence[str],
    watch: Callable[[str], Watch] = lambda profile: unwatched,
    over: "Spread | None" = None,
) -> MatrixResult:
    """Run every cell; Ctrl-C ends it and keeps what was found.

    Args:
        plan: What to run.
        argv: The command line, for the result.
        watch: Called with each profile and its place among them; gives what watches its
            cells.
        over: Who makes the runs; None: this process.

    Raises:
        ResourceError: The host refused a thread or memory after all.
    """
    made = None if over is None else runner.spread(plan.jobs, over)
    started_at, facts = datetime.now(timezone.utc), host.facts()
    cells: list[Cell] = []
    interrupted = False
    for number, job in enumerate(plan.jobs, 1):
        at = f" threads={job.request.threads}" if plan.threads else ""
        watched = watch(f"{_profile(job)}{at} ({number}/{len(plan.jobs)})")
        part = runner.run(job, argv, watched, made=made)
        interrupted = part.status == "interrupted"
        for found in _cells(part.results, job):
            cell, whole = found, True
            if not interrupted:
                cell, whole = _sharpened(found, part.results, job, watched, over)
            threads = job.request.threads if plan.threads else None
            cells.append(cell.model_copy(update={"threads": threads}))
            interrupted = interrupted or not whole
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
            kernel=plan.jobs[0].plan.kernel["name"],
            driver=request.driver,
            threads=request.threads,
            threads_each=tuple(plan.threads),
            cpus=request.cpus,
            pins=request.pins,
            repeat=request.repeat,
            timeout_s=request.timeout_s,
            stall_after_s=request.stall_limit_s,
            seed=plan.jobs[0].seed,
            sets=dict(request.sets),
        ),
        policies=tuple(plan.jobs[0].policies),
        profiles=tuple(dict.fromkeys(map(_profile, plan.jobs))),
        cells=tuple(cells),
        scale=tuple(map(scale, _by_policy(cells))) if plan.threads else (),
    )


def _by_policy(cells: Sequence[Cell]) -> Iterator[list[Cell]]:
    """Yield the cells of each policy on each profile, by growing threads."""
    for profile, policy in dict.fromkeys((cell.profile, cell.policy) for cell in cells):
        yield [cell for cell in cells if (cell.profile, cell.policy) == (profile, policy)]


def _cells(results: Sequence[PolicyResult], job: Job) -> Iterator[Cell]:
    """Yield what each policy came to, by all its repeats."""
    for policy in dict.fromkeys(result.policy for result in results):
        yield _cell([result for result in results if result.policy == policy], job)


def _sharpened(
    cell: Cell,
    results: Sequence[PolicyResult],
    job: Job,
    watch: Watch,
    over: "Spread | None",
) -> tuple[Cell, bool]:
    """Return a cell with as many repeats as it takes to tell, and whether they all were made."""
    of = [result for result in results if result.policy == cell.policy]
    policy = job.policies.index(cell.policy)
    further = range(len(of) + 1, _core.most_repeats() + 1)
    more: Iterator[PolicyResult]
    if over is None:
        more = (runner.once(job, policy, repeat, (), watch) for repeat in further)
    else:
        # Those that are not needed after all are given up.
        rows = over(runner.make, (runner.item(job, policy, repeat) for repeat in further))
        more = map(PolicyResult.model_validate, rows)
    try:
        while cell.close and len(of) < _core.most_repeats():
            of.append(next(more))
            cell = _cell(of, job)
            if of[-1].status == "interrupted":
                return cell, False
    except KeyboardInterrupt:
        return cell, False
    return cell, True


def _cell(results: Sequence[PolicyResult], job: Job) -> Cell:
    first, *_ = results
    worst = job.plan.profile["expect"]
    expected: Verdict = worst.get(first.policy, worst.get("*", "ok"))
    judged = engine.judge_cell(
        [
            {
                "verdict": result.verdict,
                "issued": result.calls.issued,
                "failed": result.calls.failed_justified + result.calls.failed_spurious,
                "idle_drains": result.counters.drain_idle,
            }
            for result in results
        ],
        expected,
    )
    # The repeat that the verdict is of, if it is of one.
    of = next((result for result in results if result.verdict == judged.verdict), first)
    calls = {name: sum(getattr(r.calls, name) for r in results) for name in Calls.model_fields}
    elapsed = sum(result.elapsed_s for result in results)
    pinned = sum(result.pages.pinned for result in results)
    return Cell(
        policy=first.policy,
        profile=_profile(job),
        expected=expected,
        **judged._asdict(),
        repeats=len(results),
        status=of.status,
        elapsed_s=elapsed,
        wall_s=sum(map(junit.wall_s, results)),
        calls=Calls(**calls),
        pages_per_s=pinned / elapsed if elapsed else None,
        finding=_finding(of, judged.verdict),
    )


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
        case "oom-killed" | "unsafe" | "stuck" | "panicked" | "broken":
            return next(result_findings(result), None)
