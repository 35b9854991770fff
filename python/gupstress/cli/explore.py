"""`gupstress explore` and `gupstress replay`: the interleaving that goes wrong, and again."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gupstress.cli import cluster as cluster_option
from gupstress.cli import completion, interrupts, output, presets
from gupstress.cli.exits import HELP, CommandError, Exit, complain
from gupstress.cli.params import Gathering, OneOf, mistakes, number
from gupstress.cli.run import run
from gupstress.visible import typed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from gupstress.outcome.exploration import ExploreResult

_STRATEGIES = ("random", "pct", "bounded")
_KINDS = ("unsafe", "stuck", "spurious", "broken", "outcome")


def _kinds(value: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in value.split(",") if word.strip())


# What means the same as in `run` is said there once; see below.
@click.command(
    cls=Gathering, short_help="Search for the interleaving that goes wrong.", epilog=HELP
)
@click.argument(
    "profile",
    default="isolation-race",
    metavar="[NAME|FILE.toml]",
    shell_complete=completion.preset("profile"),
)
@presets.one("policy", "kernel", "the rule set's own")
@click.option(
    "--strategy",
    type=OneOf(_STRATEGIES),
    default="random",
    show_default=True,
    help="Uniform picks; changing priorities; all with few preemptions.",
)
@click.option(
    "--threads", type=number("threads"), metavar="N", help="Pinners of a profile.  [default: 2]"
)
@click.option(
    "--pages", type=number("pages"), metavar="N", help="Pages that they pin.  [default: 1]"
)
@click.option(
    "--calls", type=number("calls"), metavar="N", help="Calls of each pinner.  [default: 1]"
)
@click.option(
    "--preemptions",
    type=number("preemptions"),
    default=2,
    show_default=True,
    metavar="K",
    help="Most preemptions of a bounded search.",
)
@click.option(
    "--depth",
    type=number("depth"),
    default=3,
    show_default=True,
    metavar="D",
    help="Orderings that a finding of pct may need.",
)
@click.option(
    "--yield-every",
    type=number("yield_every"),
    default=1,
    show_default=True,
    metavar="K",
    help="Of how many sweeps of a thread it yields after one, in pct and bounded.",
)
@click.option(
    "--schedules",
    type=number("schedules"),
    metavar="N",
    help="Most schedules.  [default: 20000; bounded: all]",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=number("timeout_s"),
    default=60.0,
    metavar="TIME",
    help="Longest search.  [default: 60s]",
)
@click.option(
    "--find",
    type=_kinds,
    metavar="KIND,…",
    help=f"What is a finding, of {', '.join(_KINDS)}; an outcome is a condition of a scenario"
    " that is met.  [default: all but spurious]",
)
@click.option("--keep-going", is_flag=True, help="Go on after the first finding.")
@click.option(
    "--shrink",
    "shrink_s",
    type=number("timeout_s"),
    default=10.0,
    metavar="TIME",
    help="Longest time for making findings smaller.  [default: 10s]",
)
@click.option(
    "--workers",
    type=number("workers"),
    metavar="N",
    help="Threads that search; findings do not depend on it.  [default: one a CPU]",
)
@click.option(
    "-o",
    "--output",
    "folder",
    metavar="DIR",
    default=".",
    help="Where schedule files of findings go.  [default: here]",
)
@cluster_option.option
@output.options(("table", "markdown", "json"))
def explore(
    folder: str,
    format_: str,
    json_file: str | None,
    cluster: str | None,
    **settings: "Any",
) -> int:
    """Search for an interleaving that goes wrong, on the simulator.

    What is explored is a profile, cut to size, or a litmus scenario with threads.

    Each finding is made as small as it gets and written as a file that `gupstress
    replay` plays back.

    \b
    gupstress explore isolation-race --kernel linux-6.14
    gupstress explore --strategy bounded --preemptions 2 --find unsafe,stuck,spurious
    gupstress explore race-drain-sweep --kernel linux-5.13 --strategy bounded
    """  # noqa: D301 -- click looks for the character
    # Here, so that `--help` need not wait for it.
    from gupstress import _core
    from gupstress.studies import exploration as study

    problems = mistakes()
    cluster_option.check(cluster, "sim", problems)
    wanted = study.Exploration(**settings)
    with problems.collecting():
        _core.check_explore(wanted.request())
    problems.refuse()
    output.check({"--json": json_file}, wanted.files)
    if not Path(folder).is_dir():
        raise CommandError(f"--output {folder}: no such folder; nearest: .")
    result = study.run(wanted, _teller(), cluster_option.opened(cluster))
    interrupts.settle()
    files = _write(result, folder)
    output.deliver(json_file, result.to_json, lambda: _print(result, files, format_))
    if result.status == "interrupted":
        return Exit.INTERRUPTED
    if result.findings:
        return Exit.FAILURE
    incomplete = result.coverage.complete is False and result.status == "timeout"
    return Exit.INCONCLUSIVE if incomplete else Exit.SUCCESS


_AS_IN_RUN = ("kernel", "sets", "seed")

explore.params += [param for param in run.params if param.name in _AS_IN_RUN]


def _teller() -> "Any":
    """Return what shows on a terminal how far the search is."""
    if not sys.stderr.isatty():
        return None

    def tell(progress: "Mapping[str, Any]") -> None:
        line = f"{progress['schedules']:,} schedules, {progress['findings']:,} findings"
        click.echo(f"\r\x1b[K{line} ", nl=False, err=True)

    return tell


def _write(result: "ExploreResult", folder: str) -> list[str]:
    """Write each finding's schedule file; return their names."""
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", nl=False, err=True)
    names = []
    for number_, found in enumerate(result.findings, 1):
        stem = f"{result.profile}-{result.policy}-{found.kind}-{result.seed}-{number_}"
        name = str(Path(folder) / f"{stem}.json")
        output.write(name, found.text, "--output")
        names.append(name)
    return names


def _print(result: "ExploreResult", files: "Sequence[str]", format_: str) -> None:
    from gupstress.render import exploration as render

    replays = [typed(["gupstress", "replay", file]) for file in files]
    if format_ == "json":
        click.echo(result.to_json().rstrip())
        click.echo(f"gupstress: {render.closing(result)}", err=True)
    elif format_ == "markdown":
        click.echo(render.markdown(result, replays))
    else:
        click.echo(render.plain(result, replays))


@click.command(short_help="Play a schedule file back, and tell it.", epilog=HELP)
@click.argument("file", metavar="FILE", shell_complete=completion.file)
@click.option(
    "--trace",
    "trace_file",
    metavar="FILE",
    shell_complete=completion.file,
    help="Write a trace for Perfetto.",
)
@click.option(
    "--format",
    "format_",
    type=OneOf(("text", "markdown", "html", "json")),
    default="text",
    show_default=True,
    help="What standard output gets.",
)
def replay(file: str, trace_file: str | None, format_: str) -> int:
    """Run a schedule that `gupstress explore` found, and tell it in columns.

    The exit code is 1 where it shows again what was found, 3 where it diverges.

    \b
    gupstress replay isolation-race-linux-6.14-unsafe-1-1.json
    """  # noqa: D301 -- click looks for the character
    from gupstress.studies import exploration as study

    output.check({"--trace": trace_file}, [file])
    result = study.replay(file, "text" if format_ == "json" else format_)
    if trace_file is not None:
        output.write(trace_file, study.trace(file), "--trace")
    click.echo(result.to_json().rstrip() if format_ == "json" else result.story.rstrip())
    if result.differs is not None:
        complain(f"{file}: diverges {result.differs}")
        return Exit.INCONCLUSIVE
    complain(f"{result.kind}, as in {file}")
    return Exit.FAILURE
