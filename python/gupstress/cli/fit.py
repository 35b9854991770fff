"""`gupstress fit`: which rules and policy explain what a kernel counted."""

import sys
from pathlib import Path

import click

from gupstress.cli import completion, output
from gupstress.cli.exits import HELP, CommandError, Exit, complain
from gupstress.cli.params import number

_EXITS = {
    "explained": Exit.SUCCESS,
    "ambiguous": Exit.SUCCESS,
    "unexplained": Exit.FAILURE,
    "unfinished": Exit.INCONCLUSIVE,
}
_WORST = ("unexplained", "unfinished", "ambiguous", "explained")


@click.command(short_help="Find the rules that explain what a kernel counted.", epilog=HELP)
@click.argument(
    "measured",
    nargs=-1,
    required=True,
    metavar="MEASURED.toml...",
    shell_complete=completion.file,
)
@click.option(
    "--kernel",
    "kernels",
    multiple=True,
    metavar="NAME",
    help="Whose counts; may be repeated.  [default: all that were counted]",
)
@click.option(
    "-o",
    "--output",
    "kernel_file",
    shell_complete=completion.file,
    metavar="KERNEL.toml",
    help="Write the likeliest rule set, for --kernel to take; and a policy that is none of the"
    " named ones beside it, KERNEL.policy.toml, for --policy.",
)
@click.option(
    "--wall-timeout",
    "wall_s",
    type=number("timeout_s"),
    metavar="TIME",
    default=600.0,
    help="Longest time of this host for the search.  [default: 600s]",
)
@output.options(("table", "json"))
def fit(
    measured: tuple[str, ...],
    kernels: tuple[str, ...],
    kernel_file: str | None,
    wall_s: float,
    format_: str,
    json_file: str | None,
) -> int:
    """Search for the rule set and policy under which the model counts the same.

    Named ones are tried first, then one key changed, then two. What is found is told with
    the keys that the cells decide and those whose values they cannot tell apart.

    \b
    gupstress fit measured.toml -o my-kernel.toml
    gupstress litmus measured.toml --kernel my-kernel.toml
    """  # noqa: D301 -- click looks for the character
    # Here, so that `--help` need not wait for it.
    from gupstress.render import fit as render
    from gupstress.studies import fit as study

    files = study.read(measured)
    output.check({"--json": json_file, "--output": kernel_file}, measured)
    result = study.run(files, kernels, sys.argv, wall_s)
    if kernel_file is not None:
        if len(result.kernels) != 1:
            near = result.kernels[0].kernel
            counted = len(result.kernels)
            raise CommandError(
                f"--output {kernel_file}: for one kernel, not {counted}; nearest: --kernel {near}"
            )
        (one,) = result.kernels
        if one.toml is not None:
            output.write(kernel_file, one.toml, "--output")
        if one.policy_toml is not None:
            policy_file = str(Path(kernel_file).with_suffix(".policy.toml"))
            output.write(policy_file, one.policy_toml, "--output")
            complain(f"its policy is none of the named ones: --policy {policy_file}")

    def show() -> None:
        click.echo(result.to_json().rstrip() if format_ == "json" else render.plain(result))

    output.deliver(json_file, result.to_json, show)
    verdicts = {one.verdict for one in result.kernels}
    return _EXITS[next(verdict for verdict in _WORST if verdict in verdicts)]
