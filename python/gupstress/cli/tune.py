"""`gupstress tune`: a search over the axes of a policy."""

import secrets
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from gupstress.cli import cluster as cluster_option
from gupstress.cli import completion, interrupts, output, presets
from gupstress.cli.exits import HELP, Exit, complain
from gupstress.cli.params import Gathering, Several, mistakes, number, numbers
from gupstress.cli.run import run
from gupstress.running.request import CONFIRMED, TUNE_BUDGET_S, TUNED

if TYPE_CHECKING:
    from gupstress.outcome.tune import Trial, TuneResult

_EXTRA = ("optuna", "jinja2", "plotly")
"""What comes with `gupstress[tune]` only."""

_AS_IN_RUN = ("kernel", "seed", "cpus", "sets", "quiet")


@click.command(
    cls=Gathering,
    short_help="Search for a policy that holds on given loads.",
    epilog=HELP,
)
@presets.several("profile", required=True)
@click.option(
    "--threads",
    type=numbers("threads"),
    required=True,
    metavar="N,...",
    help="Numbers of pinning threads; each is a cell.",
)
@click.option(
    "--base",
    default="linux-7.2",
    show_default=True,
    shell_complete=completion.preset("policy"),
    metavar="POLICY",
    help="Policy that the search starts from.",
)
@click.option(
    "--fix",
    "fixed",
    multiple=True,
    metavar="AXIS",
    help="Axis that stays as it is in the base; may be repeated.",
)
@click.option(
    "--budget",
    "budget_s",
    type=number("timeout_s"),
    metavar="TIME",
    default=TUNE_BUDGET_S,
    help="Time of this host for the search.  [default: 600s]",
)
@click.option(
    "--trials",
    type=number("repeat"),
    metavar="N",
    help="Most policies that are tried.  [default: as many as the budget has time for]",
)
@click.option(
    "--pins",
    type=number("pins"),
    metavar="N",
    default=TUNED.pins,
    help="Page pins of a cell.  [default: 100k]",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=number("timeout_s"),
    metavar="TIME",
    default=TUNED.timeout_s,
    help="Longest virtual time of a cell.  [default: 5s]",
)
@click.option(
    "--stall-after",
    "stall_after_s",
    type=number("stall_after_s"),
    metavar="TIME",
    default=TUNED.stall_after_s,
    help="Virtual time without progress after which a call may be judged stuck.  [default: 2s]",
)
@click.option(
    "--confirm",
    type=click.IntRange(CONFIRMED.low, CONFIRMED.high),
    metavar="N",
    default=3,
    help="Policies of the front that are run on real threads.  [default: 3]",
)
@click.option(
    "--state",
    shell_complete=completion.file,
    metavar="FILE",
    help="Keep the trials there, and go on with those that are there.",
)
@click.option(
    "-o",
    "--output",
    "policy_file",
    shell_complete=completion.file,
    metavar="POLICY.toml",
    help="Write the best policy, for --policy to take.",
)
@click.option(
    "--page",
    "page_file",
    shell_complete=completion.file,
    metavar="FILE.html",
    help="Write a page with the Pareto front and what each axis does.",
)
@cluster_option.option
@output.options(("table", "json"))
def tune(
    policy_file: str | None,
    page_file: str | None,
    format_: str,
    json_file: str | None,
    quiet: bool,
    cluster: str | None,
    **asked: Any,
) -> int:
    """Search over the axes of a retry policy, on the simulator.

    No call may fail without need, get stuck or pin what must move, with any number of
    threads; among policies that keep to that, the fastest, those with the shortest p99 and
    those with the fewest drains are looked for. The best are then run on real threads.

    \b
    gupstress tune --profile free-loop --threads 8,64,256 --budget 20m -o tuned.toml
    gupstress tune --profile free-loop --profile contended --threads 64 --state tune.log
    """  # noqa: D301 -- click looks for the character
    try:
        from gupstress.reporting import page
        from gupstress.reporting.sources import Study
        from gupstress.studies.tune import search as study
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        if missing not in _EXTRA:
            raise
        complain(f"tune needs {missing}: pip install 'gupstress[tune]'")
        return Exit.UNAVAILABLE
    problems = mistakes()
    cluster_option.check(cluster, "sim", problems)
    counts = study.counts(asked.pop("threads"), problems)
    own = ("profiles", "base", "fixed", "budget_s", "trials", "confirm", "state")
    given = {name: asked.pop(name) for name in own}
    for name in ("cpus",):
        if isinstance(asked[name], Several):
            problems.add(f"--{name} {','.join(asked[name])}", "a search has one of each")
            asked[name] = None
    if asked["seed"] is None:
        asked["seed"] = secrets.randbits(32)
    request = replace(TUNED, **asked)
    plan = study.prepare(study.Search(request=request, threads=counts, **given), problems)
    files = {"--json": json_file, "--output": policy_file, "--page": page_file}
    output.check(files, [name for name in given["profiles"] if name.endswith(".toml")])
    if not quiet:
        complain(f"seed {request.seed}; {len(plan.kept)} trials so far")

    def told(trial: "Trial") -> None:
        if not quiet:
            complain(_said(trial))

    over = cluster_option.opened(cluster, quiet)
    # From there on what was found is written down, whoever asks for an end.
    result = study.run(plan, sys.argv, told, interrupts.settle, over)
    if policy_file is not None and result.policy_toml is not None:
        output.write(policy_file, result.policy_toml, "--output")
    if page_file is not None:
        output.write(page_file, page.html([], [Study("tune", result)]), "--page")
    output.deliver(json_file, result.to_json, lambda: _print(result, format_))
    if result.status == "interrupted":
        return Exit.INTERRUPTED
    return Exit.SUCCESS if result.best is not None else Exit.FAILURE


# What means the same is said once.
tune.params += [param for param in run.params if param.name in _AS_IN_RUN]


def _said(trial: "Trial") -> str:
    if trial.feasible:
        return f"trial {trial.number}: {trial.pages_per_s:,.0f} pages/s"
    last = trial.cells[-1]
    wrong = last.failed_spurious + last.stuck + last.pinned_unsafe
    return f"trial {trial.number}: {wrong} of {last.issued} calls failed at {last.threads} threads"


def _print(result: "TuneResult", format_: str) -> None:
    from gupstress.render import tune as render

    click.echo(result.to_json().rstrip() if format_ == "json" else render.plain(result))
