"""The search itself: what to try next is Optuna's to say, what came of it is the simulator's."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from math import prod
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from gupstress import _core
from gupstress.errors import ConfigError
from gupstress.model.policy import AxisValue, Policy
from gupstress.outcome.results import Build, PolicyResult
from gupstress.outcome.tune import (
    Confirmed,
    Trial,
    TuneCell,
    TuneSettings,
    effects,
    front,
)
from gupstress.problems import Problems
from gupstress.running import host, runner
from gupstress.running.request import NUMBERS, Request
from gupstress.running.runner import Job, Row
from gupstress.studies.shown import TuneResult
from gupstress.studies.tune.space import Space, repaired, space
from gupstress.studies.tune.text import policy_toml

if TYPE_CHECKING:
    from gupstress.running.cluster import Spread

_STUDY = "gupstress tune"
_NAME = "tuned"
"""What a policy is called while it is tried, and in its file."""

Told = Callable[[Trial], None]
"""Told of each trial as it ends."""


@dataclass(frozen=True)
class Search:
    """What is asked of a search."""

    request: Request
    """What all cells share, on the simulator; neither policies nor threads are of it."""
    profiles: Sequence[str]
    threads: Sequence[int]
    """Growing."""
    base: str = "linux-7.2"
    fixed: Sequence[str] = ()
    """Axes that stay as they are in the base."""
    budget_s: float = 600.0
    """Of the host's time, for the trials."""
    trials: int | None = None
    """Most of them, those of an earlier search not counted; None: as many as the budget has."""
    state: str | None = None
    """File that keeps the trials, from which a search goes on."""
    confirm: int = 3
    """Policies of the front that are run on real threads."""
    confirm_pins: int = 50_000


@dataclass(frozen=True)
class Plan:
    """A search that can be run."""

    search: Search
    space: Space
    settings: TuneSettings
    study: optuna.Study
    kept: Sequence[Trial]
    """Of an earlier search."""


class _InterruptedError(Exception):
    """Ctrl-C came while a cell was run."""


def counts(given: object, problems: Problems) -> list[int]:
    """Return numbers of threads, growing, noting what is wrong with them."""
    kind = NUMBERS["threads"]
    found: set[int] = set()
    values = given if isinstance(given, list | tuple) else (given,)
    for value in values:
        with problems.noting(f"--threads {','.join(map(str, values))}"):
            found.add(int(kind.check(kind.parse(value) if isinstance(value, str) else value)))
    return sorted(found)


def prepare(search: Search, problems: Problems) -> Plan:
    """Look everything up, check that the host can carry each cell, and open the state.

    Raises:
        ConfigError: Everything wrong with it, at once.
        ResourceError: The host has too few threads or too little memory left.
    """
    axes: Space = {}
    with problems.collecting():
        axes = space(search.base, search.fixed, problems)
    for profile in search.profiles:
        with problems.collecting():
            for threads in search.threads:
                asked = replace(search.request, policies=(search.base,), profile=profile)
                runner.prepare(replace(asked, threads=threads))
    for axis, word in search.request.sets:
        if axis.removeprefix("policy.") in axes:
            near = f"another --base, and --fix {axis}"
            problems.add(f"--set {axis}={word}", f"is searched; nearest: {near}")
    problems.refuse()
    request = search.request
    settings = TuneSettings(
        base=search.base,
        profiles=tuple(search.profiles),
        threads=tuple(search.threads),
        kernel=request.kernel,
        cpus=request.cpus,
        pins=request.pins or 0,
        timeout_s=request.timeout_s,
        seed=request.seed or 0,
        space=dict(axes),
        sets=dict(request.sets),
    )
    study = _study(search, settings)
    kept = [
        Trial.model_validate_json(json.dumps(trial.user_attrs["found"]))
        for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    ]
    return Plan(search, axes, settings, study, kept)


def _study(search: Search, settings: TuneSettings) -> optuna.Study:
    """Open the state, and check that it is of this search."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = _opened(search.state, settings.seed)
    except (OSError, ValueError, KeyError) as error:
        reason = getattr(error, "strerror", None) or "not the state of a search"
        raise ConfigError([("--state", f"{search.state}: {reason}")]) from None
    asked = settings.model_dump(mode="json")
    before = study.user_attrs.get("settings")
    if before is None:
        study.set_user_attr("settings", asked)
        study.enqueue_trial({axis: values[0] for axis, values in settings.space.items()})
    elif before != asked:
        differs = ", ".join(key for key in asked if before.get(key) != asked[key])
        reason = f"{search.state} is of a search with another {differs}; nearest: another file"
        raise ConfigError([("--state", reason)])
    return study


def _opened(state: str | None, seed: int) -> optuna.Study:
    storage: BaseStorage = InMemoryStorage()
    if state is not None:
        storage = JournalStorage(JournalFileBackend(state))
    # Another stream on each start, or a search that goes on would try again what it began with.
    made = sum(one.n_trials for one in optuna.get_all_study_summaries(storage))
    return optuna.create_study(
        storage=storage,
        study_name=_STUDY,
        load_if_exists=True,
        directions=["maximize", "minimize", "minimize"],
        sampler=optuna.samplers.TPESampler(seed=(seed + made) % 2**32),
    )


def run(
    plan: Plan,
    argv: Sequence[str],
    told: Told = lambda trial: None,
    settle: Callable[[], None] = lambda: None,
    over: "Spread | None" = None,
) -> TuneResult:
    """Search until the budget is spent, then run the best on real threads.

    Ctrl-C ends it and keeps what was found; `settle` is called before that is put together.
    `over` says who runs the cells of a trial, None: this process; real threads are always of
    this host.
    """
    started_at, facts = datetime.now(timezone.utc), host.facts()
    trials = list(plan.kept)
    confirmed: list[Confirmed] = []
    interrupted = True
    try:
        for trial in _trials(plan, over):
            trials.append(trial)
            told(trial)
        for best in front(trials)[: plan.search.confirm]:
            confirmed.append(_confirm(plan, best))  # noqa: PERF401 -- kept if the next is cut off
        interrupted = False
    except (KeyboardInterrupt, _InterruptedError):
        pass
    settle()
    found = front(trials)
    result = TuneResult(
        gupstress=Build(version=_core.__version__, build_profile=_core.build_profile),
        argv=tuple(argv),
        started_at=started_at,
        status="interrupted" if interrupted else "complete",
        host=facts,
        settings=plan.settings,
        trials=tuple(trials),
        front=tuple(trial.number for trial in found),
        confirmed=tuple(confirmed),
        effects=tuple(effects(trials)),
        best=_best(found, confirmed, asked=plan.search.confirm != 0 and not interrupted),
        policy_toml=None,
    )
    return result.model_copy(update={"policy_toml": policy_toml(result, _NAME)})


def _best(found: Sequence[Trial], confirmed: Sequence[Confirmed], *, asked: bool) -> int | None:
    """Return the best that held on real threads, or that was not run there and need not be."""
    held = {one.number: one.held for one in confirmed}
    sure = [trial.number for trial in found if held.get(trial.number)]
    open_ = [trial.number for trial in found if trial.number not in held and not asked]
    return next(iter(sure + open_), None)


def _trials(plan: Plan, over: "Spread | None") -> Iterator[Trial]:
    """Yield trials until the budget is spent."""
    ends_at = time.monotonic() + plan.search.budget_s
    made = 0
    while time.monotonic() < ends_at and made != plan.search.trials:
        asked = plan.study.ask()
        chosen: dict[str, Any] = {
            axis: asked.suggest_categorical(axis, list(values))
            for axis, values in plan.space.items()
        }
        with _told_if_cut_off(plan.study, asked):
            trial = _try(plan, asked.number, repaired(chosen), over)
        asked.set_user_attr("found", trial.model_dump(mode="json"))
        asked.set_constraint("violation", trial.violation)
        plan.study.tell(asked, [trial.pages_per_s, trial.p99_ns, trial.drains])
        made += 1
        yield trial


@contextmanager
def _told_if_cut_off(study: optuna.Study, trial: optuna.trial.Trial) -> Iterator[None]:
    try:
        yield
    except BaseException:
        study.tell(trial, state=TrialState.FAIL)
        raise


def _try(plan: Plan, number: int, axes: Mapping[str, AxisValue], over: "Spread | None") -> Trial:
    wanted = [(profile, n) for profile in plan.search.profiles for n in plan.search.threads]
    cells: list[TuneCell] = []
    jobs = [_job(plan.search, axes, profile, n, {"driver": "sim"}) for profile, n in wanted]
    # Those behind a cell that breaks a constraint are given up.
    made = None if over is None else runner.spread(jobs, over)
    for (profile, threads), job in zip(wanted, jobs, strict=True):
        cells.append(_cell(job, profile, threads, made))
        # What breaks a constraint with few threads is not worth the time of many.
        if cells[-1].violation:
            break
    missing = len(wanted) - len(cells)
    rates = [cell.pages_per_s for cell in cells]
    return Trial(
        number=number,
        axes=dict(axes),
        cells=tuple(cells),
        violation=sum(cell.violation for cell in cells) + missing,
        pages_per_s=0.0 if missing else prod(rate ** (1 / len(rates)) for rate in rates),
        p99_ns=max(cell.p99_ns or 0 for cell in cells),
        drains=sum(cell.drains for cell in cells) / len(cells),
    )


def _confirm(plan: Plan, trial: Trial) -> Confirmed:
    search = plan.search
    on_threads = {"driver": "os", "pins": search.confirm_pins, "timeout_s": 60.0}
    cells = tuple(
        _cell(
            _job(search, trial.axes, profile, threads, {**on_threads, "stall_after_s": None}),
            profile,
            threads,
        )
        for profile in search.profiles
        for threads in search.threads
    )
    return Confirmed(
        number=trial.number, cells=cells, held=not any(cell.violation for cell in cells)
    )


def _job(
    search: Search,
    axes: Mapping[str, AxisValue],
    profile: str,
    threads: int,
    changes: Mapping[str, Any],
) -> Job:
    policy = Policy(name=_NAME, base=search.base, **axes)
    asked = replace(search.request, policies=(policy,), profile=profile, threads=threads, **changes)
    return runner.prepare(asked)


def _cell(job: Job, profile: str, threads: int, made: Iterator[Row] | None = None) -> TuneCell:
    run_ = runner.run(job, (), made=made)
    if run_.status == "interrupted":
        raise _InterruptedError
    (result,) = run_.results
    return _found(result, profile, threads, job.request.driver)


def _found(result: PolicyResult, profile: str, threads: int, driver: str) -> TuneCell:
    calls = result.calls
    return TuneCell(
        profile=profile,
        threads=threads,
        driver="os" if driver == "os" else "sim",
        issued=calls.issued,
        failed_spurious=calls.failed_spurious,
        stuck=calls.stuck,
        pinned_unsafe=calls.pinned_unsafe,
        pages_per_s=result.throughput.pages_per_s or 0.0,
        p99_ns=None if result.latency_ns.p99 is None else int(result.latency_ns.p99),
        # The model has counted them, always.
        drains=(result.counters.drain_all or 0) / max(calls.issued, 1),
    )
