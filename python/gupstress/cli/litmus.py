"""`gupstress litmus`: scripted scenarios against what real kernels counted."""

import sys
from typing import TYPE_CHECKING

import click

from gupstress.cli import completion, output, presets, where
from gupstress.cli.exits import HELP, Exit
from gupstress.cli.params import Gathering, OneOf, mistakes, number, setting
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
    "measured": Exit.SUCCESS,
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
@presets.several("kernel", "all that a scenario has counts of", metavar="NAME")
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
    "--on",
    type=OneOf(("model", "live")),
    help="Who plays: the model, or the kernel that runs.  [default: model; live in a guest]",
)
@click.option(
    "--repeat",
    "repeats",
    type=number("repeat"),
    metavar="N",
    help="Times that a real kernel plays each.  [default: 5]",
)
@click.option(
    "-o",
    "--output",
    "measured_file",
    shell_complete=completion.file,
    metavar="MEASURED.toml",
    help="Write what a real kernel counted, for litmus and fit to take.",
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
    on: str | None,
    repeats: int | None,
    measured_file: str | None,
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
    gupstress litmus --on live -o measured.toml
    """  # noqa: D301 -- click looks for the character
    # Here, so that `--help` need not wait for it.
    from gupstress.studies import litmus as model

    problems = mistakes()
    target = where.target(on, problems)
    if target is None:
        for option, given in (("--repeat", repeats), ("--output", measured_file)):
            if given is not None:
                problems.add(option, f"{given}: for a real kernel; nearest: --on live")
    elif len(set(kernels)) > 1:
        problems.add(
            "--kernel", f"one real kernel is none of {len(kernels)}; nearest: {kernels[0]}"
        )
    measured = target is not None
    plan = model.prepare(
        scenarios,
        kernels,
        sets,
        wall_s,
        problems=problems,
        preemptions=preemptions,
        measured=measured,
    )
    output.check({"--json": json_file, "--output": measured_file}, plan.files)
    if target is None:
        result = model.run(plan, sys.argv)
    else:
        expected = plan.kernels[0] if plan.kernels else None
        result = model.measure(plan, target, repeats or model.REPEATS, sys.argv, expected)
        if measured_file is not None:
            output.write(measured_file, model.measured_toml(plan, result), "--output")
    again = None if measured else _again(plan, result)
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
