"""Job files on the command line: what is asked, and the results of several sections."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from gupstress.cli import interrupts, output
from gupstress.cli.exits import Exit

if TYPE_CHECKING:
    from gupstress.outcome.results import Run
    from gupstress.problems import Problems
    from gupstress.running.jobfile import Section
    from gupstress.running.request import Request
    from gupstress.running.result import RunResult
    from gupstress.running.runner import Job

SEVERITY = (Exit.SUCCESS, Exit.INCONCLUSIVE, Exit.FAILURE, Exit.INTERRUPTED)
"""How a run, or one of several, may end, worst last."""


class Prepared(NamedTuple):
    """A section that can be run."""

    name: str
    job: "Job"


def sections(ctx: click.Context, asked: dict[str, Any], problems: "Problems") -> "list[Section]":
    """Return what is to be run: the sections of a job file, or what the options ask.

    Options that are given come before what the file says.
    """
    from gupstress.running import jobfile
    from gupstress.running.jobfile import Section
    from gupstress.running.request import Request

    if ctx.args and ctx.args[0].endswith(".toml"):
        file, *ctx.args = ctx.args
        given = {
            name: value
            for name, value in asked.items()
            if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
            or (name == "scan" and value)
            or (name == "trace_last")
        }
        return jobfile.read(file, given, problems)
    return [Section("", Request(**asked))]


def prepare(found: "Sequence[Section]", problems: "Problems") -> list[Prepared]:
    """Look up what every section names.

    Raises:
        ConfigError: Everything wrong with all of them, at once.
        ResourceError: The host cannot carry one of them.
    """
    from gupstress.errors import ConfigError
    from gupstress.problems import Problems
    from gupstress.running import runner

    ready = []
    for section in found:
        if not section.place:
            ready.append(Prepared(section.name, runner.prepare(section.request, problems)))
            continue
        try:
            ready.append(Prepared(section.name, runner.prepare(section.request, Problems())))
        except ConfigError as error:
            for place, message in error.problems:
                problems.add(section.placed(place), message)
    problems.refuse()
    return ready


def dry(ready: Sequence[Prepared], again: "Callable[[Request], str]") -> None:
    """Say what would be run, a line for each section, and what it would ask of the host."""
    for section in ready:
        needs = section.job.plan.needs
        name = f"{section.name}: " if section.name else ""
        runs = section.job.runs
        click.echo(
            f"# {name}{runs} {'run' if runs == 1 else 'runs'}, {needs.os_threads} threads,"
            f" {needs.memory_bytes / 2**20:.0f} MiB"
        )
        click.echo(again(section.job.request))


def run(
    ready: Sequence[Prepared],
    again: "Callable[[Request], str]",
    carry_out: "Callable[[Job, str], RunResult]",
    show: "Callable[[Run, str], None]",
    format_: str,
    json_file: str | None,
) -> int:
    """Run several sections one after another, and show each as if it had been run alone."""
    from gupstress.outcome import verdict
    from gupstress.outcome.job import JobResult, JobSection
    from gupstress.render import closing, junit

    results: list[JobSection] = []
    commands = [again(section.job.request) for section in ready]
    for section in ready:
        result = carry_out(section.job, section.name)
        results.append(JobSection(name=section.name, run=result))
        if result.status == "interrupted":
            break
    interrupts.settle()
    whole = JobResult(
        status="interrupted" if results[-1].run.status == "interrupted" else "complete",
        sections=tuple(results),
    )

    def told() -> None:
        if format_ == "json":
            click.echo(whole.to_json().rstrip())
        elif format_ == "junit":
            suites = [
                junit.suite(one.run, command, one.name)
                for one, command in zip(results, commands, strict=False)
            ]
            click.echo(junit.file(suites))
        else:
            for one, command in zip(results, commands, strict=False):
                click.echo(f"## {one.name}\n" if format_ == "markdown" else f"== {one.name}\n")
                show(one.run, command)
                click.echo()
        lines = [f"{one.name}: {closing.end_line(one.run)}" for one in results]
        click.echo("\n".join(lines), err=format_ in ("json", "junit"))

    output.deliver(json_file, whole.to_json, told)
    return max((Exit[verdict.outcome(one.run).name] for one in results), key=SEVERITY.index)
