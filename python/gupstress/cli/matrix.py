"""`gupstress matrix`: every policy on every history profile, one verdict a cell."""

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from gupstress.cli import cluster as cluster_option
from gupstress.cli import interrupts, output, presets
from gupstress.cli.exits import HELP, Exit, complain
from gupstress.cli.params import Gathering, Several, mistakes, number
from gupstress.cli.run import command_line, run
from gupstress.running.request import CELL_TIMEOUT_S, Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from gupstress.outcome.matrix import Cell, MatrixResult
    from gupstress.running.runner import Watch
    from gupstress.studies.matrix import Plan

_FORMATS = ("table", "markdown", "json", "junit")


_AS_IN_RUN = (
    "kernel",
    "driver",
    "seed",
    "threads",
    "cpus",
    "pins",
    "repeat",
    "wall_timeout_s",
    "stall_after_s",
    "sets",
    "quiet",
)


@click.command(
    cls=Gathering,
    short_help="Run every policy on every history profile: one verdict a cell.",
    epilog=HELP,
)
@presets.several("policy", "all that are not broken on purpose")
@presets.several("profile", "those of the kernel's history")
@click.option(
    "--timeout",
    "timeout_s",
    type=number("timeout_s"),
    metavar="TIME",
    default=CELL_TIMEOUT_S,
    help=f"Longest time for one cell.  [default: {CELL_TIMEOUT_S:g}s]",
)
@cluster_option.option
@output.options(_FORMATS)
def matrix(
    profiles: tuple[str, ...],
    format_: str,
    json_file: str | None,
    quiet: bool,
    cluster: str | None,
    **asked: Any,
) -> int:
    """Run every policy on every profile of the kernel's history: one verdict a cell.

    A profile says how bad each policy may be on it. A cell that is worse is marked
    with ! and is a finding. A cell whose share is too near to where the verdict
    changes is run again, eight times at most. With several numbers of threads there
    is a cell for each, and how far each policy holds.

    \b
    gupstress matrix
    gupstress matrix --policy linux-7.2 --policy mine.toml --format markdown
    gupstress matrix --policy linux-7.2 --repeat 5 --format junit
    gupstress matrix --profile free-loop --threads 2,8,64,256,1024 --driver sim
    gupstress matrix --profile isolation-race --kernel linux-6.14 --driver sim --seed 7
    """  # noqa: D301 -- click looks for the character
    # Here, so that `--help` need not wait for them.
    from gupstress.outcome.matrix import undecided
    from gupstress.running import progress, runner
    from gupstress.studies import matrix as model

    problems = mistakes()
    cluster_option.check(cluster, asked["driver"], problems)
    threads: tuple[str, ...] = ()
    for name, value in asked.items():
        if isinstance(value, Several) and name == "threads":
            threads, asked[name] = value, None
        elif isinstance(value, Several):
            said = f"--{name} {','.join(value)}"
            problems.add(said, f"a matrix has one of each; nearest: --{name} {value[0]}")
            asked[name] = None
    plan = model.prepare(Request(**asked), profiles, problems, threads)
    output.check({"--json": json_file}, [file for job in plan.jobs for file in job.request.files])
    if not quiet:
        complain(f"seed {plan.request.seed}")

    def watch(profile: str) -> "Watch":
        if quiet:
            return runner.unwatched
        # Most cells end before there is any progress to tell.
        complain(profile)
        return progress.watch(sys.stderr, profile)

    result = model.run(plan, sys.argv, watch, cluster_option.opened(cluster, quiet))
    interrupts.settle()
    output.deliver(json_file, result.to_json, lambda: _print(result, format_, _again(plan), quiet))
    if result.status == "interrupted":
        return Exit.INTERRUPTED
    if any(cell.worse for cell in result.cells):
        return Exit.FAILURE
    return Exit.INCONCLUSIVE if any(map(undecided, result.cells)) else Exit.SUCCESS


# What means the same is said once.
matrix.params += [param for param in run.params if param.name in _AS_IN_RUN]


def _again(plan: "Plan") -> "Callable[[Cell], str]":
    several = bool(plan.threads)
    jobs = {
        (job.plan.profile["name"], job.request.threads if several else None): job
        for job in plan.jobs
    }

    def command(cell: "Cell") -> str:
        """Return the command that runs a cell by itself."""
        job = jobs[cell.profile, cell.threads]
        policy = job.request.policies[job.policies.index(cell.policy)]
        return command_line(run, replace(job.request, policies=(policy,)))

    return command


def _print(
    result: "MatrixResult", format_: str, again: "Callable[[Cell], str]", quiet: bool
) -> None:
    """Write the result, and nothing else, to standard output."""
    from gupstress.render import matrix as render

    texts = {
        "table": lambda: render.plain(result, again),
        "markdown": lambda: render.markdown(result, again),
        "json": lambda: result.to_json().rstrip(),
        "junit": lambda: render.junit_xml(result, again),
    }
    click.echo(texts[format_]())
    if format_ in ("json", "junit") and not quiet:
        click.echo(render.end_line(result), err=True)
