"""`gupstress litmus`: scripted scenarios against what real kernels counted."""

import sys
from typing import TYPE_CHECKING

import click

from gupstress.cli import completion, output
from gupstress.cli.exits import HELP, Exit
from gupstress.cli.params import Gathering, mistakes, number, setting
from gupstress.visible import typed

if TYPE_CHECKING:
    from collections.abc import Callable

    from gupstress.outcome.litmus import LitmusCell, LitmusResult
    from gupstress.studies.litmus import Plan

_FORMATS = ("table", "markdown", "json", "junit")

_EXITS = {
    "equal": Exit.SUCCESS,
    "different": Exit.FAILURE,
    "unfinished": Exit.INCONCLUSIVE,
    "not compared": Exit.INCONCLUSIVE,
}


@click.command(
    cls=Gathering, short_help="Hold the model against what real kernels counted.", epilog=HELP
)
@click.argument(
    "scenarios",
    nargs=-1,
    metavar="[NAME|FILE.toml]...",
    shell_complete=completion.preset("litmus"),
)
@click.option(
    "--kernel",
    "kernels",
    multiple=True,
    shell_complete=completion.preset("kernel"),
    metavar="NAME",
    help="Rules of the machine; may be repeated.  [default: all that a scenario has counts of]",
)
@click.option(
    "--set",
    "sets",
    type=setting,
    shell_complete=completion.axis,
    metavar="AXIS=VALUE",
    multiple=True,
    help="Set one key of the kernel or its policy; may be repeated.",
)
@click.option(
    "--wall-timeout",
    "wall_s",
    type=number("timeout_s"),
    metavar="TIME",
    default=60.0,
    help="Longest time of this host for one scenario under one kernel.  [default: 60s]",
)
@click.option(
    "--preemptions",
    type=number("preemptions"),
    default=2,
    show_default=True,
    metavar="K",
    help="Most preemptions of threads: all orders of no more are run.",
)
@output.options(_FORMATS)
def litmus(
    scenarios: tuple[str, ...],
    kernels: tuple[str, ...],
    sets: tuple[tuple[str, str], ...],
    wall_s: float,
    preemptions: int,
    format_: str,
    json_file: str | None,
) -> int:
    """Run scripted scenarios under kernels' rules; compare with what those kernels counted.

    Threads of a scenario take their steps in every order of few preemptions, and the ends
    are held against its conditions.

    Without a name: all scenarios that come with gupstress.

    \b
    gupstress litmus
    gupstress litmus anon-remote --kernel linux-6.17
    gupstress show litmus anon-remote > mine.toml && gupstress litmus mine.toml
    gupstress litmus --set mglru=false
    """  # noqa: D301 -- click looks for the character
    # Here, so that `--help` need not wait for it.
    from gupstress.studies import litmus as model

    plan = model.prepare(
        scenarios, kernels, sets, wall_s, problems=mistakes(), preemptions=preemptions
    )
    output.check({"--json": json_file}, plan.files)
    result = model.run(plan, sys.argv)
    again = _again(plan, result)
    output.deliver(json_file, result.to_json, lambda: _print(result, format_, again))
    return _EXITS[result.verdict]


def _again(plan: "Plan", result: "LitmusResult") -> str | None:
    """Return the command that makes the cells that differ again, None if there are none."""
    cells = [cell for cell in result.cells if cell.differences or _fails(cell)]
    if not cells:
        return None
    names = {cell.scenario for cell in cells}
    words = ["gupstress", "litmus"]
    words += [scenario.given for scenario in plan.scenarios if scenario.name in names]
    for kernel in dict.fromkeys(cell.kernel for cell in cells):
        words += ["--kernel", kernel]
    for axis, value in plan.sets:
        words += ["--set", f"{axis}={value}"]
    return typed(words)


def _fails(cell: "LitmusCell") -> bool:
    conditions = cell.explored.conditions if cell.explored else ()
    return any(condition.holds is False for condition in conditions)


def _print(result: "LitmusResult", format_: str, again: str | None) -> None:
    from gupstress.render import litmus as render

    texts: dict[str, Callable[[], str]] = {
        "table": lambda: render.plain(result, again),
        "markdown": lambda: render.markdown(result, again),
        "json": lambda: result.to_json().rstrip(),
        "junit": lambda: render.junit_xml(result, again),
    }
    click.echo(texts[format_]())
    if format_ in ("json", "junit"):
        click.echo(f"gupstress: {render.closing(result, again)}", err=True)
