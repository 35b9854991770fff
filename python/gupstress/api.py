"""The functions that a Python program calls."""

import os
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gupstress import values
from gupstress.arguments import in_python
from gupstress.errors import ConfigError
from gupstress.model.policy import AxisValue, Policy
from gupstress.model.reference import kernel_name, policy_name, several
from gupstress.outcome import files
from gupstress.outcome.exploration import ExploreResult, ReplayResult
from gupstress.outcome.record import Document
from gupstress.problems import Problems
from gupstress.running import runner
from gupstress.running import scan as sweeps
from gupstress.running.request import (
    CELL_TIMEOUT_S,
    CONFIRMED,
    EXPLORED,
    NUMBERS,
    TUNE_BUDGET_S,
    TUNED,
    Driver,
    Request,
)
from gupstress.running.result import RunResult
from gupstress.running.trace import DEFAULT_LAST, Recorder
from gupstress.studies import exploration as search
from gupstress.studies import litmus as scenarios
from gupstress.studies import matrix as cells
from gupstress.studies.comparison import judge, rules
from gupstress.studies.shown import (
    Comparison,
    LitmusResult,
    MatrixResult,
    SoakResult,
    TuneResult,
)
from gupstress.values import shown

_DEFAULT = Request()


Name = str | os.PathLike[str]
"""Of a preset, or the path of a file; a path never means a preset."""

PolicyName = Name | Policy


@in_python
def run(
    profile: Name = _DEFAULT.profile,
    *,
    policy: PolicyName | Iterable[PolicyName] = (),
    kernel: Name = _DEFAULT.kernel,
    sets: Mapping[str, AxisValue] | None = None,
    threads: int | Sequence[int] | None = None,
    cpus: int | Sequence[int] | None = None,
    pins: int | Sequence[int] | None = None,
    perturb: float | Sequence[float] | None = None,
    scan: Mapping[str, Sequence[AxisValue]] | None = None,
    driver: Driver = _DEFAULT.driver,
    timeout: str | float = _DEFAULT.timeout_s,
    wall_timeout: str | float = _DEFAULT.wall_timeout_s,
    stall_after: str | float | None = None,
    seed: int | None = None,
    repeat: int = _DEFAULT.repeat,
    interleave: bool = _DEFAULT.interleave,
    threshold: str | Iterable[str] = (),
    abort_on: str | Iterable[str] = (),
    trace: str | os.PathLike[str] | None = None,
    trace_last: int = DEFAULT_LAST,
) -> RunResult:
    """Run policies under a load, as `gupstress run` does.

    Ctrl-C ends the run; the result then has the status `interrupted` and what was
    counted so far.

    Args:
        profile: The load: a preset's name or the path of a TOML file.
        policy: One or more presets, TOML files or `Policy`; none: the default presets.
        kernel: The rule set: a preset's name or the path of a TOML file.
        sets: Keys of policy, profile or kernel set by themselves.
        threads: Pinning threads; None, here and below: as the profile says. Here and below
            several are a sweep: a row each.
        cpus: Simulated CPUs.
        pins: Page pins after which a run is complete.
        perturb: Probability of a yield at each step.
        scan: Keys that `sets` takes too, each with several values: a row for each
            combination of them.
        driver: `os`: real threads; `sim`: coroutines on a virtual clock, the same for a seed.
        timeout: Longest time for one run of one policy, seconds or words such as `"60s"`;
            virtual on the simulator.
        wall_timeout: Longest time that one run may take of the host, so too.
        stall_after: Time without progress after which a call may be judged stuck, so too;
            None: `"2s"`, and `"200ms"` of virtual time on the simulator.
        seed: Of the first repeat, each further one adds 1; None: drawn.
        repeat: Runs of each policy.
        interleave: Whether repeats go round-robin over the policies.
        threshold: Conditions such as `"bounded:latency_ns.p99<2e6"`.
        abort_on: Thresholds on calls or page pins that also end a run once missed for good.
        trace: File for a trace of every run, in the Trace Event Format that Perfetto opens.
        trace_last: Events of each thread that the trace keeps, the newest.

    Raises:
        ConfigError: Everything wrong with the arguments, at once.
        ResourceError: The host has too few threads or too little memory left.
        OSError: The trace cannot be written; checked before anything runs, too.
    """
    problems = Problems()
    own = {"threads": threads, "cpus": cpus, "pins": pins, "perturb": perturb}
    asked: dict[str, Any] = {
        "policies": several(policy),
        "profile": profile,
        "kernel": kernel,
        "sets": tuple(_words(sets, problems)),
        **{name: None if isinstance(value, list | tuple) else value for name, value in own.items()},
        "scan": (
            *sweeps.given({k: v for k, v in own.items() if isinstance(v, list | tuple)}, problems),
            *sweeps.given(scan, problems),
        ),
        "driver": driver,
        "timeout_s": timeout,
        "wall_timeout_s": wall_timeout,
        "stall_after_s": stall_after,
        "seed": seed,
        "repeat": repeat,
        "interleave": interleave,
        "thresholds": several(threshold),
        "abort_on": several(abort_on),
        "trace_last": None if trace is None else trace_last,
    }
    path = _file("--trace", trace, "trace.json", problems)
    job = runner.prepare(Request(**asked), problems)
    if path is None:
        return runner.run(job, _command_line())
    if files.replaces(path, job.request.files):
        raise ConfigError([("trace", f"{path} is read by this run; nearest: trace.json")])
    files.check_writable(path)
    recorder = Recorder()
    result = runner.run(job, _command_line(), recorder=recorder)
    files.write_whole(path, recorder.to_json())
    return result


@in_python
def matrix(
    profile: Name | Iterable[Name] = (),
    *,
    policy: PolicyName | Iterable[PolicyName] = (),
    kernel: Name = _DEFAULT.kernel,
    sets: Mapping[str, AxisValue] | None = None,
    threads: int | Sequence[int] | None = None,
    cpus: int | None = None,
    pins: int | None = None,
    repeat: int = _DEFAULT.repeat,
    driver: Driver = _DEFAULT.driver,
    timeout: str | float = CELL_TIMEOUT_S,
    stall_after: str | float | None = None,
    seed: int | None = None,
) -> MatrixResult:
    """Run every policy on every profile: one verdict a cell, as `gupstress matrix` does.

    Args:
        profile: One or more loads; none: those of the kernel's history.
        policy: One or more policies; none: all that are not broken on purpose.
        kernel: The rule set.
        sets: Keys of policy, profile or kernel set by themselves.
        threads: Pinning threads; None, here and below: as each profile says. Several: a cell
            for each, and how far each policy holds.
        cpus: Simulated CPUs.
        pins: Page pins after which a run is complete.
        repeat: Runs of each cell, which its verdict is of.
        driver: `os` or `sim`.
        timeout: Longest time for one cell, seconds or words such as `"20s"`.
        stall_after: Time without progress after which a call may be judged stuck.
        seed: None: drawn.

    Raises:
        ConfigError: Everything wrong with the arguments, at once.
        ResourceError: The host has too few threads or too little memory left.
    """
    problems = Problems()
    counts = threads if isinstance(threads, list | tuple) else ()
    asked: dict[str, Any] = {
        "policies": several(policy),
        "kernel": kernel,
        "sets": tuple(_words(sets, problems)),
        "threads": None if counts else threads,
        "cpus": cpus,
        "pins": pins,
        "repeat": repeat,
        "driver": driver,
        "timeout_s": timeout,
        "stall_after_s": stall_after,
        "seed": seed,
    }
    plan = cells.prepare(Request(**asked), several(profile), problems, counts)
    return cells.run(plan, _command_line())


@in_python
def litmus(
    scenario: Name | Iterable[Name] = (),
    *,
    kernel: str | Iterable[str] = (),
    sets: Mapping[str, AxisValue] | None = None,
) -> LitmusResult:
    """Hold scripted scenarios against what real kernels counted, as `gupstress litmus` does.

    Args:
        scenario: One or more presets or TOML files; none: all presets.
        kernel: One or more rule sets; none: those that each scenario has counts of.
        sets: Keys of kernel or policy set by themselves.

    Raises:
        ConfigError: Everything wrong with the arguments, at once.
    """
    problems = Problems()
    words = tuple(_words(sets, problems))
    names = []
    for one in several(scenario):
        with problems.noting("scenario"):
            names.append(values.name(one, "the name of a scenario", "anon-remote"))
    plan = scenarios.prepare(names, several(kernel), words, problems=problems)
    return scenarios.run(plan, _command_line())


@in_python
def explore(
    profile: Name = "isolation-race",
    *,
    policy: PolicyName = "kernel",
    kernel: Name = _DEFAULT.kernel,
    sets: Mapping[str, AxisValue] | None = None,
    threads: int | None = None,
    pages: int | None = None,
    calls: int | None = None,
    strategy: str = "random",
    preemptions: int = 2,
    depth: int = 3,
    yield_every: int = 1,
    schedules: int | None = None,
    timeout: str | float = 60.0,
    find: str | Iterable[str] | None = None,
    keep_going: bool = False,
    seed: int | None = None,
    workers: int | None = None,
    shrink: str | float = 10.0,
) -> ExploreResult:
    """Search for an interleaving that goes wrong, as `gupstress explore` does.

    Args:
        profile: The load: a profile, which is cut to size, or a litmus scenario with threads;
            a preset's name or the path of a TOML file.
        policy: A preset, TOML file or `Policy`; `"kernel"`: the rule set's own.
        kernel: The rule set: a preset's name or the path of a TOML file.
        sets: Keys of policy, profile or kernel set by themselves.
        threads: Pinners of a profile; None: 2.
        pages: Pages that they pin; None: 1.
        calls: Calls of each; None: 1.
        strategy: `random`, `pct` (priorities that change) or `bounded` (all with few preemptions).
        preemptions: Most preemptions of a bounded search.
        depth: Orderings that a finding of `pct` may need.
        yield_every: Of how many sweeps of a thread it lets the others go on after one, in searches
            of `pct` and `bounded`.
        schedules: Most schedules; None: 20,000, and all there are for a bounded search.
        timeout: Longest search, seconds or words such as `"60s"`.
        find: Kinds that are findings: `unsafe`, `stuck`, `spurious`, `broken`, and `outcome`:
            a condition of a scenario that is met. None: all but `spurious`.
        keep_going: Whether the search goes on after its first finding.
        seed: Of everything drawn; None: drawn.
        workers: Threads that search; findings do not depend on it. None: one a CPU.
        shrink: Longest time for making findings smaller.

    Raises:
        ConfigError: Everything that is wrong with the arguments, at once.
    """
    problems = Problems()
    words = tuple(_words(sets, problems))
    numbers: dict[str, Any] = {}
    given = {
        "threads": threads,
        "pages": pages,
        "calls": calls,
        "preemptions": preemptions,
        "depth": depth,
        "yield_every": yield_every,
        "schedules": schedules,
        "seed": seed,
        "workers": workers,
    }
    limits = EXPLORED | NUMBERS
    for name, value in given.items():
        with problems.noting(f"--{name}"):
            least = name in ("preemptions", "depth", "yield_every") and value == 0
            numbers[name] = value if value is None or least else limits[name].check(value)
    for name, length in {"timeout": timeout, "shrink": shrink}.items():
        with problems.noting(f"--{name}"):
            numbers[f"{name}_s"] = limits["timeout_s"].check(length)
    problems.refuse()
    return search.run(
        search.Exploration(
            profile=values.name(profile, "the name of a profile", "isolation-race"),
            policy=policy_name(policy),
            kernel=kernel_name(kernel),
            sets=words,
            strategy=strategy,
            find=None if find is None else tuple(several(find)),
            keep_going=keep_going,
            **numbers,
        )
    )


@in_python
def replay(path: str | os.PathLike[str], format: str = "text") -> ReplayResult:  # noqa: A002
    """Play a schedule file back, as `gupstress replay` does.

    Args:
        path: The file that `gupstress explore` wrote.
        format: Of the story: `text`, `markdown` or `html`.

    Raises:
        ConfigError: It cannot be read, is no schedule or one of another version.
    """
    return search.replay(path, format)


@in_python
def tune(
    profile: Name | Iterable[Name],
    *,
    threads: int | Sequence[int],
    base: Name = "linux-7.2",
    fix: str | Iterable[str] = (),
    kernel: Name = _DEFAULT.kernel,
    sets: Mapping[str, AxisValue] | None = None,
    cpus: int | None = None,
    pins: int | None = TUNED.pins,
    budget: str | float = TUNE_BUDGET_S,
    trials: int | None = None,
    timeout: str | float = TUNED.timeout_s,
    stall_after: str | float | None = TUNED.stall_after_s,
    confirm: int = 3,
    seed: int | None = None,
    state: Name | None = None,
) -> TuneResult:
    """Search over the axes of a policy for one that holds on loads, as `gupstress tune` does.

    Ctrl-C ends the search; the result then has the status `interrupted` and what was found so far.

    Args:
        profile: One or more loads: presets' names or paths of TOML files.
        threads: One or more numbers of pinning threads; each is a cell.
        base: The policy that the search starts from: a preset's name or the path of a TOML file.
        fix: One or more axes that stay as they are in the base.
        kernel: The rule set: a preset's name or the path of a TOML file.
        sets: Keys of policy, profile or kernel set by themselves.
        cpus: Simulated CPUs; None: as each profile says.
        pins: Page pins of a cell; None: as each profile says.
        budget: Time of this host for the search, seconds or words such as `"20m"`.
        trials: Most policies that are tried; None: as many as the budget has time for.
        timeout: Longest virtual time of a cell.
        stall_after: Virtual time without progress after which a call may be judged stuck.
        confirm: Policies of the front that are run on real threads.
        seed: None: drawn.
        state: File that keeps the trials, and that a search goes on from.

    Raises:
        ConfigError: Everything wrong with the arguments, at once.
        ModuleNotFoundError: `gupstress[tune]` is not installed.
        ResourceError: The host has too few threads or too little memory left.
    """
    from gupstress.studies.tune import search as policies

    problems = Problems()
    asked: dict[str, Any] = {
        "kernel": kernel,
        "sets": tuple(_words(sets, problems)),
        "cpus": cpus,
        "pins": pins,
        "timeout_s": timeout,
        "stall_after_s": stall_after,
        "seed": secrets.randbits(32) if seed is None else seed,
    }
    numbers: dict[str, Any] = {}
    for name, kind, value in (("budget", "timeout_s", budget), ("trials", "repeat", trials)):
        with problems.noting(f"--{name}"):
            numbers[name] = None if value is None else NUMBERS[kind].check(value)
    with problems.noting("--confirm"):
        numbers["confirm"] = CONFIRMED.check(confirm)
    counts = policies.counts(threads, problems)
    profiles = _names("profile", profile, _DEFAULT.profile, problems)
    bases = _names("base", base, "linux-7.2", problems, "policy")
    path = _file("--state", state, "tune.log", problems)
    problems.refuse()
    plan = policies.prepare(
        policies.Search(
            request=replace(TUNED, **asked),
            profiles=profiles,
            threads=counts,
            base=bases[0],
            fixed=several(fix),
            budget_s=numbers["budget"],
            trials=numbers["trials"],
            state=path,
            confirm=numbers["confirm"],
        ),
        problems,
    )
    return policies.run(plan, _command_line())


@in_python
def soak(
    job: Name | Iterable[Name] = (),
    *,
    minutes: int | None = None,
    cycles: int | None = None,
    policy: Name | Iterable[Name] = (),
    profile: Name | Iterable[Name] = (),
    kernel: Name | Iterable[Name] = (),
    driver: Driver | Iterable[Driver] = (),
    seed: int | None = None,
    state: Name | None = None,
) -> SoakResult:
    """Run everything there is until something is wrong, as `gupstress soak` does.

    It ends at the first thing that no run may come to. Ctrl-C ends it, too; the result then has
    the status `interrupted` and what was found so far.

    Args:
        job: Job files, whose sections are loads as profiles are.
        minutes: Of this host's time; a cycle that has begun is ended. None: 10, and no limit
            where there is one of `cycles`.
        cycles: Most cycles, those in the state not counted; None: as many as there is time for.
        policy: One or more presets or TOML files; none: all that are not broken on purpose.
        profile: Loads likewise; none, here and below: all there are.
        kernel: Rule sets likewise.
        driver: `os` and `sim`, or one of them.
        seed: None: that of the state, or drawn.
        state: File that keeps what was found, after each cycle, and that a soak goes on from.

    Raises:
        ConfigError: Everything wrong with the arguments, at once.
        OSError: The state cannot be written.
    """
    from gupstress.studies.soak import soak as study

    problems = Problems()
    jobs = [_file("--job", one, "job.toml", problems) for one in several(job)]
    asked = study.Soak(
        minutes=minutes,
        most_cycles=cycles,
        seed=seed,
        policies=_names("policy", policy, "bounded", problems),
        profiles=_names("profile", profile, _DEFAULT.profile, problems),
        kernels=_names("kernel", kernel, _DEFAULT.kernel, problems),
        drivers=tuple(several(driver)),
        jobs=tuple(one for one in jobs if one is not None),
        state=_file("--state", state, "soak.json", problems),
    )
    return study.run(study.prepare(asked, problems), _command_line())


@in_python
def compare(
    base: RunResult | Name,
    head: RunResult | Name | None = None,
    *,
    base_policy: str | None = None,
    policy: str | Mapping[str, str] | Iterable[str] = (),
    metric: str | Iterable[str] = (),
    threshold: float = 100 * rules.DEFAULT_THRESHOLD,
) -> Comparison:
    """Say whether `head` is worse than `base`, as `gupstress compare` does.

    Each policy is compared with the one of its name in `base`. Policies of one run are
    compared with each other by `base_policy`, and those of different names by `policy`.

    A metric has regressed if its medians differ by more than the threshold in the bad
    direction, so does all of the 90 % bootstrap interval (Efron, 1979) of their ratio, and
    the U test (Mann and Whitney, 1947) finds the difference, with p below 0.02 after it was
    adjusted for the number of all tests (Benjamini and Hochberg, 1995). It is the same if
    that interval lies within the threshold. A finding that only `head` has is a regression
    at any size.

    Args:
        base: What to compare with: a result, its file, or a folder of files to be pooled.
        head: What is judged, given likewise; None: other policies of `base`.
        base_policy: The policy of `base` that all its others are compared with, without `head`.
        policy: Pairs to compare and no others, such as `{"linux-7.2": "mine"}` or
            `"linux-7.2=mine"`, base first.
        metric: One or more paths such as `"latency_ns.p50"`; none: a few of each kind.
        threshold: Smallest change that counts, percent of the base's median.

    Raises:
        ConfigError: Everything wrong with the arguments, at once.
    """
    return judge.compare(
        base, head, base_policy=base_policy, policy=policy, metric=metric, threshold=threshold
    )


@in_python
def report(run: Document | Name | Iterable[Document | Name], output: Name | None = None) -> str:
    """Return results, side by side, as one HTML page, as `gupstress report` writes it.

    Args:
        run: One or more results, their files, or folders of files to be pooled.
        output: Where to write the page, too.

    Raises:
        ConfigError: Everything wrong with the results, at once.
        ModuleNotFoundError: `gupstress[report]` is not installed.
        OSError: The page cannot be written.
    """
    from gupstress.reporting import page, sources

    given = [run] if isinstance(run, Document) else several(run)
    problems = Problems()
    path = _file("--output", output, "report.html", problems)
    problems.refuse()
    if path is not None:
        files.check_writable(path)
    text = page.html(*sources.read(given))
    if path is not None:
        files.write_whole(path, text)
    return text


def _command_line() -> list[str]:
    """Return how this process was called, as text that any file can hold."""
    return [os.fsencode(word).decode(errors="replace") for word in sys.argv]


def _file(option: str, given: object, near: str, problems: Problems) -> str | None:
    """Return the path of a file that may be given, None also for what is none."""
    with problems.noting(option):
        return None if given is None else values.file(given, near)
    return None


def _names(
    option: str, given: object, near: str, problems: Problems, kind: str | None = None
) -> tuple[str, ...]:
    """Return one or more names, but for what is none."""
    found = []
    for one in several(given):
        with problems.noting(f"--{option}"):
            found.append(values.name(one, f"the name of a {kind or option}", near))
    return tuple(found)


def _words(sets: object, problems: Problems) -> Iterator[tuple[str, str]]:
    """Yield axes and values as `--set` takes them."""
    if isinstance(sets, Mapping):
        for axis, value in sets.items():
            word = str(value)
            yield str(axis), word.lower() if word in ("True", "False") else word
    elif sets is not None:
        problems.add("--set", f"{shown(sets)} is not a dict; nearest: {{'isolate_retries': 5}}")
