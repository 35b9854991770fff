"""`gupstress soak`: run after run of everything there is, until something is wrong."""

import sys
from typing import TYPE_CHECKING, Any

import click

from gupstress.cli import cluster as cluster_option
from gupstress.cli import completion, interrupts, output, presets
from gupstress.cli.exits import HELP, Exit, complain
from gupstress.cli.params import Gathering, OneOf, mistakes, number, reads
from gupstress.cli.run import run
from gupstress.running.request import MINUTES, SOAK_MINUTES

if TYPE_CHECKING:
    from gupstress.outcome.soak import SoakResult
    from gupstress.studies.soak.soak import Cycle

_AS_IN_RUN = ("seed", "quiet")


@click.command(
    cls=Gathering,
    short_help="Run everything there is until something is wrong.",
    epilog=HELP,
)
@click.argument("jobs", nargs=-1, metavar="[JOB.toml]...", shell_complete=completion.file)
@click.option(
    "--minutes",
    type=reads(MINUTES),
    metavar="N",
    help="Time of this host; a cycle that has begun is ended."
    f"  [default: {SOAK_MINUTES}, with --cycles no limit]",
)
@click.option(
    "--cycles",
    "most_cycles",
    type=number("repeat"),
    metavar="N",
    help="Most cycles, those in the state not counted.  [default: as many as there is time for]",
)
@presets.several("policy", "all that are not broken on purpose")
@presets.several("profile", "all")
@presets.several("kernel", "all")
@click.option(
    "--driver",
    "drivers",
    type=OneOf(("os", "sim")),
    multiple=True,
    metavar="os|sim",
    help="May be repeated.  [default: both, with --cluster sim]",
)
@click.option(
    "--state",
    shell_complete=completion.file,
    metavar="FILE",
    help="Keep there what was found, after each cycle, and go on from there.",
)
@cluster_option.option
@output.options(("table", "json"))
def soak(
    format_: str,
    json_file: str | None,
    quiet: bool,
    cluster: str | None,
    **asked: Any,
) -> int:
    """Run policies, profiles, kernels, drivers and seeds in ever new pairs, cycle after cycle.

    A line a cycle. It ends at the first broken invariant, at a call that is said to be stuck
    under a policy whose every call ends, at what a run leaves behind in the process, or at a
    missed threshold of a job file, with the command that makes that cycle again. Sections of
    job files are loads as profiles are. What a cycle is made of is told by the seed and its
    number: a soak that goes on begins with the cycle that had the finding.

    \b
    gupstress soak --minutes 30 --state soak.json
    gupstress soak nightly.toml --driver sim --cycles 500
    """  # noqa: D301 -- click looks for the character
    # Here, so that `--help` need not wait for it.
    from gupstress.render import soak as render
    from gupstress.running.cluster import here
    from gupstress.studies.soak import soak as study

    problems = mistakes()
    if cluster is not None:
        asked["drivers"] = asked["drivers"] or ("sim",)
    for driver in asked["drivers"]:
        cluster_option.check(cluster, driver, problems)
    plan = study.prepare(study.Soak(**asked), problems)
    output.check({"--json": json_file, "--state": plan.soak.state}, plan.files)
    if not quiet:
        complain(f"seed {plan.settings.seed}; {plan.first} cycles so far")

    def told(cycle: "Cycle") -> None:
        if not quiet:
            complain(render.line(*cycle))

    over = cluster_option.opened(cluster, quiet) or here
    result = study.run(plan, sys.argv, told, over)
    interrupts.settle()
    output.deliver(json_file, result.to_json, lambda: _print(result, format_))
    if result.status == "interrupted":
        return Exit.INTERRUPTED
    if result.finding is not None:
        return Exit.FAILURE
    decided = sum(
        number
        for counts in result.verdicts.values()
        for verdict, number in counts.items()
        if verdict != "inconclusive"
    )
    return Exit.SUCCESS if decided else Exit.INCONCLUSIVE


# What means the same is said once.
soak.params += [param for param in run.params if param.name in _AS_IN_RUN]


def _print(result: "SoakResult", format_: str) -> None:
    from gupstress.render import soak as render

    if format_ == "table":
        click.echo(render.plain(result))
        return
    click.echo(result.to_json().rstrip())
    click.echo(render.end_line(result), err=True)
