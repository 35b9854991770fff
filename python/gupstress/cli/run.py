"""`gupstress run`: run policies under a load and say what came of it."""

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from gupstress import _core
from gupstress.cli import cluster as cluster_option
from gupstress.cli import completion, interrupts, output, presets, where
from gupstress.cli import job as job_file
from gupstress.cli.compare import EXITS, add_to_step_summary
from gupstress.cli.exits import HELP, Exit, complain
from gupstress.cli.params import (
    Gathering,
    OneOf,
    Several,
    mistakes,
    number,
    numbers,
    scan,
    setting,
)
from gupstress.errors import ConfigError
from gupstress.running.request import PRESETS, STALL_AFTER_S, Request
from gupstress.running.trace import DEFAULT_LAST, Recorder
from gupstress.visible import typed

if TYPE_CHECKING:
    from gupstress.outcome.comparison import Comparison
    from gupstress.outcome.results import Run
    from gupstress.problems import Problems
    from gupstress.running.jobfile import Section
    from gupstress.running.result import RunResult
    from gupstress.running.runner import Job, Watch

_DEFAULT = Request()
_FORMATS = ("table", "markdown", "json", "junit")


@click.command(
    cls=Gathering,
    short_help="Run policies under a load.",
    options_metavar="[OPTIONS] [JOB.toml]",
    epilog=HELP,
    context_settings={"allow_extra_args": True},
)
@presets.several("policy", " ".join(PRESETS))
@presets.one("profile", _DEFAULT.profile)
@presets.one("kernel", _DEFAULT.kernel)
@click.option(
    "--threads",
    type=numbers("threads"),
    metavar="N",
    help="Pinning threads.  [default: the profile's]",
)
@click.option(
    "--cpus", type=numbers("cpus"), metavar="N", help="Simulated CPUs.  [default: the profile's]"
)
@click.option(
    "--pins",
    type=numbers("pins"),
    metavar="N",
    help="Page pins for each policy.  [default: the profile's]",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=number("timeout_s"),
    metavar="TIME",
    default=_DEFAULT.timeout_s,
    help="Longest time for one run of one policy, virtual on the simulator."
    f"  [default: {_DEFAULT.timeout_s:g}s]",
)
@click.option(
    "--wall-timeout",
    "wall_timeout_s",
    type=number("wall_timeout_s"),
    metavar="TIME",
    default=_DEFAULT.wall_timeout_s,
    help="Longest time that one run may take of the host, from building the machine to its"
    f" recount, whatever the driver's clock says.  [default: {_DEFAULT.wall_timeout_s:g}s]",
)
@click.option(
    "--seed", type=number("seed"), metavar="N", help="Of all random choices.  [default: drawn]"
)
@click.option(
    "--driver",
    default=_DEFAULT.driver,
    shell_complete=completion.one_of("os", "sim"),
    show_default=True,
    metavar="os|sim",
    help="Real threads, or coroutines on a virtual clock.",
)
@click.option(
    "--perturb",
    type=numbers("perturb"),
    metavar="P",
    help="Probability of a yield at each step.  [default: the profile's]",
)
@click.option(
    "--repeat",
    type=number("repeat"),
    metavar="N",
    default=_DEFAULT.repeat,
    show_default=True,
    help="Runs of each policy; the table shows medians.",
)
@click.option(
    "--interleave/--no-interleave",
    default=_DEFAULT.interleave,
    show_default=True,
    help="Repeat round-robin over the policies.",
)
@click.option(
    "--stall-after",
    "stall_after_s",
    type=number("stall_after_s"),
    metavar="TIME",
    help="Time without progress after which a call may be judged stuck."
    f"  [default: {STALL_AFTER_S['os']:g}s, on the simulator {STALL_AFTER_S['sim']:g}s]",
)
@click.option(
    "--set",
    "sets",
    type=setting,
    shell_complete=completion.axis,
    metavar="AXIS=VALUE",
    multiple=True,
    help="Set one key of policy, profile or kernel; may be repeated.",
)
@click.option(
    "--scan",
    type=scan,
    shell_complete=completion.axis,
    metavar="AXIS=A,B,C",
    multiple=True,
    help="Run with each of these values, a row each; may be repeated, for each combination."
    "  --threads, --cpus, --pins and --perturb take such lists, too.",
)
@click.option(
    "--threshold",
    "thresholds",
    multiple=True,
    metavar="EXPR",
    help="Condition such as 'latency_ns.p99<2e6' or 'bounded:calls.stuck==0'; may be repeated.",
)
@click.option(
    "--abort-on",
    "abort_on",
    multiple=True,
    metavar="EXPR",
    help="Threshold on calls or page pins that also ends a run once it is missed for good.",
)
@click.option(
    "--baseline",
    shell_complete=completion.file,
    metavar="FILE",
    help="Also compare with this result, as `gupstress compare FILE` does.",
)
@output.options(_FORMATS)
@click.option(
    "--trace",
    "trace_file",
    shell_complete=completion.file,
    metavar="FILE",
    help="Also write what each thread did last, for Perfetto (ui.perfetto.dev).",
)
@click.option(
    "--trace-last",
    "last",
    type=number("trace_last"),
    metavar="N",
    help="Steps, waits and calls of each thread that --trace keeps, the newest."
    f"  [default: {DEFAULT_LAST}]",
)
@click.option(
    "--export-csv",
    "csv_file",
    shell_complete=completion.file,
    metavar="FILE",
    help="Also write every number as CSV: a row for each policy and repeat.",
)
@click.option(
    "--dry-run", "dry", is_flag=True, help="Check everything, say what would be run, run nothing."
)
@click.option(
    "--on",
    type=OneOf(("model", "live", "both")),
    help="What runs it: the model, or the kernel that runs, under its own policy; both: that,"
    " and the model beside it.  [default: model; live in a guest]",
)
@cluster_option.option
@click.option("--quiet", is_flag=True, help="No progress, nothing but the result.")
@click.pass_context
def run(
    ctx: click.Context,
    /,
    baseline: str | None,
    format_: str,
    on: str | None,
    json_file: str | None,
    trace_file: str | None,
    last: int | None,
    csv_file: str | None,
    dry: bool,
    quiet: bool,
    cluster: str | None,
    **asked: Any,
) -> int:
    """Run retry policies under a load: do their pins return, are they true, what do they cost?

    JOB.toml holds these options as keys, for one run or in sections for several; options
    that are given too come before it.

    \b
    gupstress run --threads 64 --policy bounded
    gupstress run --policy linux-7.2 --profile isolation-race --kernel linux-6.17
    gupstress run --policy bounded --set isolate_retries=5 --threshold 'calls.stuck==0'
    gupstress run --policy mine.toml --repeat 7 --json head.json --baseline base.json
    gupstress run --policy unbounded --profile zero-page --trace trace.json
    gupstress run nightly.toml --seed 7 --json nightly.json
    """  # noqa: D301 -- click looks for the character
    problems = mistakes()
    target = where.target(on, problems)
    if trace_file is None and last is not None:
        problems.add("", "--trace-last says how much --trace keeps; nearest: --trace FILE")
    if trace_file is not None:
        asked["trace_last"] = DEFAULT_LAST if last is None else last
    lists = {name: tuple(value) for name, value in asked.items() if isinstance(value, Several)}
    asked |= {**dict.fromkeys(lists), "scan": (*lists.items(), *asked["scan"])}
    sections = job_file.sections(ctx, asked, problems)
    for section in sections:
        cluster_option.check(cluster, section.request.driver, problems)
    if cluster is not None and (trace_file is not None or target is not None):
        other = "--trace" if target is None else f"--on {on}"
        problems.add(f"--cluster {cluster}", f"not with {other}; nearest: {other} alone")
    if target is not None:
        sections = [_measured(section, problems) for section in sections]
        if trace_file is not None:
            near = "nearest: --json FILE"
            problems.add("--trace", f"{trace_file}: a real kernel traces itself; {near}")
    if ctx.args:
        said = f"unexpected argument {ctx.args[0]!r}; a sub-command stands before all options"
        problems.add("", said)
    # Here, so that `--help` and `--version` need not wait for them.
    from gupstress.outcome import verdict
    from gupstress.running import progress, runner
    from gupstress.studies.comparison import sources

    base = None
    if baseline is not None:
        with problems.collecting():
            base = sources.read(baseline)
    outputs = {"--json": json_file, "--trace": trace_file, "--export-csv": csv_file}
    if len(sections) > 1:
        for option, one in {**outputs, "--baseline": baseline}.items():
            if one is not None and option != "--json":
                problems.add(option, "is for one run; nearest: a job file of one section")
    ready = job_file.prepare(sections, problems)
    job = ready[0].job
    read = [file for one in ready for file in one.job.request.files]
    output.check(outputs, read if baseline is None else [*read, baseline])

    def again(request: Request) -> str:
        return command_line(ctx.command, request)

    if dry:
        job_file.dry(ready, again)
        return Exit.SUCCESS
    recorder = None if trace_file is None else Recorder()
    over = cluster_option.opened(cluster, quiet)
    made = None if over is None else runner.spread((one.job for one in ready), over)

    def carry_out(one: "Job", name: str = "") -> "RunResult":
        if not quiet:
            complain(f"{name}: seed {one.seed}" if name else f"seed {one.seed}")
        watch = runner.unwatched if quiet else progress.watch(sys.stderr, name)
        if target is None:
            return runner.run(one, sys.argv, watch, recorder, made)
        from gupstress.running import measured

        found = measured.measure(one, target, sys.argv, (lambda _: None) if quiet else complain)
        if on != "both" or found.status == "interrupted":
            return found
        return _beside(found, one, watch, named=given("kernel"))

    def given(name: str) -> bool:
        return ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE

    if len(ready) > 1:

        def shown(one: "Run", command: str) -> None:
            _print(one, None, format_, command, quiet)

        return job_file.run(ready, again, carry_out, shown, format_, json_file)
    refused = None
    try:
        result = carry_out(job)
    except runner.RefusedError as error:
        refused, result = error, error.kept
    interrupts.settle()
    found = None
    # An interrupt may have left nothing to compare.
    if base is not None and result.results:
        from gupstress.studies.comparison import judge

        found = judge.judge(base, sources.of_run(result, json_file))
        result = result.model_copy(update={"comparison": found.model_dump(mode="json")})
    # Whose kernel it was is said in front of the options.
    command = again(job.request) if target is None else typed(["gupstress", *sys.argv[1:]])
    try:
        if trace_file is not None and recorder is not None:
            output.write(trace_file, recorder.to_json(), "--trace")
        if csv_file is not None:
            output.write(csv_file, result.to_csv(), "--export-csv")
    finally:
        output.deliver(
            json_file, result.to_json, lambda: _print(result, found, format_, command, quiet)
        )
    if refused is not None:
        raise refused
    code = Exit[verdict.outcome(result).name]
    if found is None:
        return code
    add_to_step_summary(found)
    return max(code, EXITS[found.verdict], key=job_file.SEVERITY.index)


def _measured(section: "Section", problems: "Problems") -> "Section":
    """Return a section as a real kernel runs it, noting what that cannot be asked for."""
    asked = section.request
    if others := [str(policy) for policy in asked.policies if policy != "kernel"]:
        near = "nearest: none, the kernel has its own"
        problems.add(section.placed("--policy"), f"{others[0]}: not on a real kernel; {near}")
    for name, option in (("abort_on", "--abort-on"), ("scan", "--scan")):
        if getattr(asked, name):
            problems.add(section.placed(option), "not on a real kernel; nearest: a run for each")
    return section._replace(request=replace(asked, policies=("kernel",), scan=(), abort_on=()))


def _beside(result: "RunResult", job: "Job", watch: "Watch", *, named: bool) -> "RunResult":
    """Have the model run the same, by the measured kernel's rules unless others are named."""
    from gupstress.studies import beside as study

    rules = job.request.kernel if named else None
    try:
        asked = study.request(result, "--on both", job.request.profile, rules)
        found = study.beside(result, asked, watch=watch)
    except ConfigError as error:
        # What was measured is worth keeping without it.
        for place, why in error.problems:
            complain(f"{place}: {why}")
        return result
    return result.model_copy(update={"beside": found.model_dump(mode="json")})


def _print(
    result: "Run", found: "Comparison | None", format_: str, command: str, quiet: bool
) -> None:
    """Write the result and what it was compared with, and nothing else, to standard output."""
    from gupstress.render import closing, comparison, junit, page

    if format_ == "table" and sys.stdout.isatty():
        from rich.console import Console

        page.terminal(result, command, Console())
    else:
        suites = [] if found is None else [comparison.suite(found)]
        texts = {
            "table": lambda: page.plain(result, command),
            "markdown": lambda: page.markdown(result, command),
            "json": lambda: result.to_json().rstrip(),
            "junit": lambda: junit.junit(result, command, *suites),
        }
        click.echo(texts[format_]())
    if result.beside is not None and format_ in ("table", "markdown"):
        from gupstress.outcome.beside import Beside
        from gupstress.render import beside as both

        model = Beside.model_validate(result.beside)
        click.echo(f"\n{both.plain(model) if format_ == 'table' else both.markdown(model)}")
    if found is not None and format_ in ("table", "markdown"):
        beside = {"table": comparison.plain, "markdown": comparison.markdown}
        click.echo(f"\n{beside[format_](found)}")
    if format_ in ("json", "junit") and not quiet:
        if found is not None:
            click.echo(comparison.end_line(found), err=True)
        click.echo(closing.closing(result, command), err=True)


_ALWAYS_SAID = ("policies", "profile", "kernel", "threads", "cpus", "pins", "seed")


def command_line(command: click.Command, request: Request) -> str:
    """Return the command line that makes the same request again."""
    words = ["gupstress", "run"]
    for param in command.params:
        name = param.name or ""
        # Options that are no part of the request say where the result goes.
        if not hasattr(request, name):
            continue
        value = getattr(request, name)
        if value is None or (value == getattr(_DEFAULT, name) and name not in _ALWAYS_SAID):
            continue
        if isinstance(value, bool):
            words.append((param.opts if value else param.secondary_opts)[0])
            continue
        for one in value if isinstance(value, tuple) else [value]:
            words += [param.opts[0], _written(name, one)]
    return typed(words)


def _written(name: str, value: Any) -> str:
    """Return a value as it is typed."""
    if name == "sets":
        return "=".join(value)
    if name == "scan":
        return f"{value[0]}={','.join(value[1])}"
    if name in ("timeout_s", "wall_timeout_s", "stall_after_s"):
        return _core.show_duration(value)
    return str(value)
