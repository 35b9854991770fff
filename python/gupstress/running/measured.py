"""Runs on a real kernel: the same request, the same result."""

import json
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Literal

from gupstress import _core
from gupstress.errors import InconclusiveError
from gupstress.outcome import thresholds
from gupstress.outcome.live import Measured
from gupstress.outcome.results import Build, Host, PolicyResult
from gupstress.running import host, runner
from gupstress.running.live import Target
from gupstress.running.result import RunResult

SILENT_S = 120.0
"""Longest time between two lines of an answer: how far a run is comes every second."""


def measure(
    job: runner.Job, target: Target, argv: Sequence[str], note: Callable[[str], None]
) -> RunResult:
    """Run a load on a real kernel as often as asked.

    Args:
        job: What to run; its only policy is the kernel's own.
        target: Whose kernel.
        argv: The command line, for the result.
        note: Told how far it is.

    Raises:
        InconclusiveError: It did not answer to the end.
        UnavailableError: Something that is needed is not there.
    """
    started_at, facts = datetime.now(timezone.utc), host.facts()
    request = {"run": {"plan": json.dumps(job.plan.asked), "repeats": job.request.repeat}}
    results: list[PolicyResult] = []
    where: Measured | None = None
    interrupted = False
    try:
        for answer in target.ask(request, SILENT_S):
            if "host" in answer:
                where = Measured.model_validate(answer["host"])
            elif (now := answer.get("progress")) is not None:
                note(f"{now['elapsed_s']:.0f} s, {now['calls']} calls, {now['pinned']} page pins")
            elif (row := answer.get("row")) is not None:
                kernel = {"name": row["kernel"], "policy": row["policy"]}
                resolved = {"policy": {}, "profile": job.plan.profile, "kernel": kernel}
                results.append(PolicyResult.model_validate({**row, "resolved": resolved}))
    except KeyboardInterrupt:
        # Repeats that have ended are kept.
        if not results:
            raise
        interrupted = True
    if where is None:
        raise InconclusiveError("the answer does not say which kernel it is of")
    measured = Host(
        kernel=f"Linux {where.release}",
        cpu_model=facts.cpu_model,
        cpus=where.cpus,
        memory_bytes=where.memory_bytes,
        load=facts.load,
    )
    settings = runner.settings(job).model_copy(update={"target": "live", "kernel": where.kernel})
    timed_out = any(result.status == "timeout" for result in results)
    ended: Literal["complete", "timeout"] = "timeout" if timed_out else "complete"
    return RunResult(
        gupstress=Build(version=_core.__version__, build_profile=_core.build_profile),
        argv=tuple(argv),
        started_at=started_at,
        status="interrupted" if interrupted else ended,
        host=measured,
        settings=settings,
        results=tuple(results),
        thresholds=tuple(thresholds.check(job.thresholds, results)),
    )
