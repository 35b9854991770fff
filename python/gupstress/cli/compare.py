"""`gupstress compare`: is a run worse than another?"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gupstress.cli import completion, output, presets
from gupstress.cli.exits import HELP, Exit, complain
from gupstress.cli.params import Gathering, mistakes
from gupstress.visible import typed

if TYPE_CHECKING:
    from gupstress.outcome.comparison import Comparison

_FORMATS = ("table", "markdown", "json", "junit")

EXITS = {
    "regression": Exit.FAILURE,
    "improvement": Exit.SUCCESS,
    "same": Exit.SUCCESS,
    "inconclusive": Exit.INCONCLUSIVE,
    "not comparable": Exit.INCONCLUSIVE,
}

DEFAULT_PERCENT = "5"


def _percent(value: str) -> float:
    """Read a percentage; its range is the comparison's to check."""
    try:
        return float(value.removesuffix("%"))
    except ValueError:
        near = DEFAULT_PERCENT
        raise click.BadParameter(f"{value!r} is not a percentage; nearest: {near}") from None


@click.command(cls=Gathering, short_help="Is a run worse than another?", epilog=HELP)
@click.argument("base", metavar="BASE.json", shell_complete=completion.file)
@click.argument("head", metavar="[HEAD.json]", required=False, shell_complete=completion.file)
@click.option(
    "--base",
    "base_policy",
    metavar="POLICY",
    help="Without HEAD.json: the policy of BASE.json that all its others are compared with.",
)
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="BASE=HEAD",
    help="Compare only this policy of BASE.json with that one of HEAD.json; may be repeated."
    "  [default: those of the same name]",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="What to compare, such as latency_ns.p50; may be repeated.  [default: a few of each kind]",
)
@click.option(
    "--threshold",
    type=_percent,
    metavar="PCT",
    default=DEFAULT_PERCENT,
    show_default=True,
    help="Smallest change of a median that counts, in percent.",
)
@click.option(
    "--model",
    is_flag=True,
    help="BASE.json is of a real kernel: run the model under the same load beside it.",
)
@presets.one("profile", told="that of BASE.json", when="With --model")
@presets.one("kernel", told="those of the measured kernel", when="With --model")
@output.options(_FORMATS)
def compare(
    base: str,
    head: str | None,
    base_policy: str | None,
    policies: tuple[str, ...],
    metrics: tuple[str, ...],
    threshold: float,
    model: bool,
    profile: str | None,
    kernel: str | None,
    format_: str,
    json_file: str | None,
) -> int:
    """Say for each policy and metric if HEAD is worse than BASE, or than another of its own.

    Each is what `gupstress run --repeat 7 --json` wrote, or a folder of such files: runs
    made in turn are then compared as one. A regression is a change that is too large
    (--threshold) and too sure (p < 0.02) to be noise, or a finding that is new.
    In GitHub Actions the summary of the step gets it too.

    \b
    gupstress run --repeat 7 --json base.json
    gupstress run --repeat 7 --json head.json --set isolate_retries=5
    gupstress compare base.json head.json
    gupstress compare base.json head.json --metric latency_ns.p50 --threshold 10
    gupstress compare base.json --base linux-7.2
    gupstress compare base.json head.json --policy linux-7.2=mine
    gupstress compare --model live.json
    """  # noqa: D301 -- click looks for the character
    _check_model(model)
    if model:
        return _beside(base, profile, kernel, format_, json_file)
    # Here, so that `--help` need not wait for it.
    from gupstress.studies.comparison import judge

    files = [base] if head is None else [base, head]
    mistakes().refuse()
    output.check({"--json": json_file}, files)
    found = judge.compare(
        *files, base_policy=base_policy, policy=policies, metric=metrics, threshold=threshold
    )
    command = ["gupstress", "compare", *files]
    if base_policy is not None:
        command += ["--base", base_policy]
    for policy in policies:
        command += ["--policy", policy]
    for metric in metrics:
        command += ["--metric", metric]
    command += ["--threshold", f"{threshold:g}"]
    output.deliver(json_file, found.to_json, lambda: _print(found, format_, typed(command)))
    add_to_step_summary(found)
    return EXITS[found.verdict]


_FOR_MODEL = {"profile", "kernel", "model", "base", "format_", "json_file"}


def _check_model(model: bool) -> None:
    """Note options that say nothing beside, or without, the model."""
    context = click.get_current_context()
    for param in context.command.params:
        name = param.name or ""
        given = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if given and model and name not in _FOR_MODEL:
            said = "--model holds one result of a real kernel against the model"
            word = "HEAD.json" if name == "head" else param.opts[0]
            mistakes().add(word, f"{said}; nearest: compare --model BASE.json")
        elif given and not model and name in ("profile", "kernel"):
            mistakes().add(param.opts[0], "says what the model does; nearest: --model")


def _beside(
    file: str, profile: str | None, kernel: str | None, format_: str, json_file: str | None
) -> int:
    """Hold a real kernel's result against the model."""
    from gupstress.render import beside as render
    from gupstress.studies import beside as study

    if format_ == "junit":
        mistakes().add("--format", "junit: there is nothing to fail; nearest: json")
    mistakes().refuse()
    output.check({"--json": json_file}, [file])
    live = study.read(file)
    found = study.beside(live, study.request(live, file, profile, kernel), file)
    texts = {
        "table": lambda: render.plain(found),
        "markdown": lambda: render.markdown(found),
        "json": lambda: found.to_json().rstrip(),
    }
    output.deliver(json_file, found.to_json, lambda: click.echo(texts[format_]()))
    return Exit.SUCCESS


def _print(found: "Comparison", format_: str, command: str) -> None:
    """Write the comparison, and nothing else, to standard output."""
    from gupstress.render import comparison as render

    texts = {
        "table": lambda: f"{render.plain(found)}\nreproduce: {command}",
        "markdown": lambda: f"{render.markdown(found)}\n\n```sh\n{command}\n```",
        "json": lambda: found.to_json().rstrip(),
        "junit": lambda: render.junit_xml(found),
    }
    click.echo(texts[format_]())
    if format_ in ("json", "junit"):
        click.echo(f"{render.end_line(found)}\nreproduce: {command}", err=True)


def add_to_step_summary(found: "Comparison") -> None:
    """Append a comparison to the summary of a step of GitHub Actions, if this is one."""
    from gupstress.render import comparison as render

    file = os.environ.get("GITHUB_STEP_SUMMARY")
    if not file:
        return
    try:
        with Path(file).open("a", encoding="utf-8") as summary:
            summary.write(f"{render.markdown(found)}\n\n")
    except OSError as error:
        # The verdict stands without it.
        complain(f"GITHUB_STEP_SUMMARY {file}: cannot be written: {error.strerror}")
