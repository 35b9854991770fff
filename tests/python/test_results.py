"""The result JSON: what is written is what the schema says and what the core counted."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator, ValidationError
from pydantic import BaseModel
from pydantic import ValidationError as ModelError

import gupstress
from conftest import SMALL, SMALL_OPTIONS, Row, broken, stuck, unsafe
from gupstress import _core
from gupstress.cli import invoke
from gupstress.outcome.findings import Obstacle
from gupstress.outcome.results import Counters, Errors, PolicyResult
from gupstress.running import runner
from gupstress.running.request import Request
from gupstress.running.result import RunResult

VALIDATOR = Draft202012Validator(gupstress.schema())


def test_the_schema_is_one_and_names_itself() -> None:
    Draft202012Validator.check_schema(gupstress.schema())
    assert gupstress.schema()["properties"]["schema"]["const"] == "gupstress.run/1"


def test_what_the_command_writes_validates_and_reads_back() -> None:
    args = ["--json", "r.json", "--quiet", "--policy", "bounded", "--policy", "none"]
    assert invoke([*args, "--threshold", "calls.stuck==0", "--repeat", "2", *SMALL_OPTIONS]) == 0
    text = Path("r.json").read_text()
    VALIDATOR.validate(json.loads(text))
    run = RunResult.model_validate_json(text)
    assert run.to_json() == text
    assert run.status == "complete"
    assert [(row.policy, row.repeat) for row in run.results] == [
        ("bounded", 1),
        ("none", 1),
        ("bounded", 2),
        ("none", 2),
    ]
    assert len(run.thresholds) == 4


@pytest.mark.parametrize(
    "spoil",
    [
        lambda run: run.update(schema="gupstress.run/2"),
        lambda run: run.pop("host"),
        lambda run: run["results"][0].pop("calls"),
        lambda run: run["results"][0]["calls"].update(pinned=-1),
        lambda run: run["results"][0]["safety"].update(verdict="fine"),
        lambda run: run["results"][0]["counters"].update(drain_all="many"),
        lambda run: run["results"][0]["errors"].update(ENOMEM=0.5),
    ],
)
def test_what_is_not_a_result_does_not_validate(small_run: RunResult, spoil: Any) -> None:
    run = json.loads(small_run.to_json())
    VALIDATOR.validate(run)
    spoil(run)
    with pytest.raises(ValidationError):
        VALIDATOR.validate(run)
    with pytest.raises(ModelError):
        RunResult.model_validate(run)


def test_every_kind_of_finding_validates(small_run: RunResult, row: Row) -> None:
    found = PolicyResult.model_validate({**broken(unsafe(stuck(row))), "repeat": 1})
    run = json.loads(small_run.model_copy(update={"results": (found,)}).to_json())
    VALIDATOR.validate(run)
    assert run["results"][0]["liveness"]["findings"][0]["obstacle"] == {
        "kind": "held",
        "holders": 2,
    }


def test_calls_that_do_not_add_up_are_refused(row: Row) -> None:
    row["calls"]["issued"] += 1
    with pytest.raises(ModelError, match="calls issued"):
        PolicyResult.model_validate({**row, "repeat": 1})


def test_the_models_name_every_counter_of_the_core(row: Row) -> None:
    assert row["counters"].keys() == Counters.model_fields.keys()
    assert row["background"].keys() == Counters.model_fields.keys()


Leaves = set[tuple[str, str]]

NEVER_SEEN = {
    # Of a real kernel, see the tests of those.
    ("PolicyResult", "uncontended_ns"),
    # Added to what the core gives, by this package.
    ("PolicyResult", "disturbance"),
    ("PolicyResult", "stability"),
    ("PolicyResult", "scan"),
    # Of a run that the host's own time ended, see the tests of runs.
    ("PolicyResult", "wall_timeout"),
    # Of a victim that is held up by what is no pin.
    ("HeldUp", "obstacle"),
    # Of a run of the kernel that runs, see the tests of that.
    ("PolicyResult", "uncontended_ns"),
    # Of several kinds of callers, see the tests of tables.
    ("PolicyResult", "callers"),
    # Of a page lock that is not waited for, see the core's own tests.
    ("Breakdown", "locked_by"),
}
MAY_BE_LEFT_OUT = {
    *NEVER_SEEN,
    ("PolicyResult", "contention"),
    ("PolicyResult", "victims"),
    ("PolicyResult", "oom"),
    ("StuckCall", "waits_for"),
    *(("Errors", name) for name in Errors.model_fields),
}


def fields_of(model: type[BaseModel], value: Row, seen: Leaves, known: Leaves) -> None:
    """Compare the fields of a model with the keys of a value, both ways, all the way down."""
    names = {field.alias or name: field for name, field in model.model_fields.items()}
    known |= {(model.__name__, name) for name in names}
    if model is not Obstacle:
        assert value.keys() <= names.keys(), model
    for name, field in names.items():
        here = (model.__name__, name)
        if name not in value:
            assert here in MAY_BE_LEFT_OUT, here
        elif value[name] is not None and value[name] != []:
            seen.add(here)
            part = part_of(field.annotation)
            if part is None:
                continue
            inside = value[name]
            if isinstance(inside, dict) and inside.keys() <= VICTIMS:
                inside = list(inside.values())
            for one in inside if isinstance(inside, list) else [inside]:
                fields_of(part, one, seen, known)


VICTIMS = {"offliner", "contig"}


def part_of(annotation: Any) -> type[BaseModel] | None:
    """Return the model that a field holds, or holds several of, if it does."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(part_of, get_args(annotation))), None)


def test_the_models_are_what_the_core_gives_field_by_field() -> None:
    seen: Leaves = set()
    known: Leaves = set()
    for policy, profile in (
        ("none", "same-range"),
        ("linux-7.2", "same-range"),
        ("busted-wait-cycle", "same-range"),
        ("unbounded", "zero-page"),
        ("linux-6.14", "cma-driver"),
        ("busted-leak-pin", "wasted-drain"),
        ("ignore", "lru-batch-ref"),
        ("linux-5.13", "lru-batch-ref"),
        ("ignore", "offline-victim"),
        ("linux-7.2", "oom"),
    ):
        request = Request(
            policies=(policy,), profile=profile, driver="sim", seed=5, sets=(("calls", "40"),)
        )
        row = runner.prepare(request).plan.run(0, 1)
        assert row["verdict"] in _core.verdicts()
        fields_of(PolicyResult, row, seen, known)
    # What was never there was not compared; errors are those that happened.
    never = {(model, name) for model, name in known - seen if model != "Errors"}
    assert never <= NEVER_SEEN


def test_settings_say_what_was_run(small_run: RunResult) -> None:
    settings = small_run.settings
    assert (settings.profile, settings.kernel, settings.driver) == (
        "contended",
        "linux-7.2.13",
        "sim",
    )
    assert (settings.threads, settings.cpus, settings.pins, settings.seed) == (2, 2, 200, 7)
    # The profile's own keys stand beside.
    assert settings.model_extra is not None
    assert settings.model_extra["pinner"]["pages_max"] == 64


def test_the_perturbation_is_the_profiles_where_nobody_asks_for_another() -> None:
    request = Request(
        policies=("bounded",), profile="same-range", driver="sim", seed=5, sets=(("calls", "4"),)
    )
    assert request.perturb is None
    job = runner.prepare(request)
    assert runner.run(job, []).settings.perturb == job.plan.profile["perturb"] == 0.005


def test_settings_follow_sets_and_perturbation() -> None:
    from dataclasses import replace

    request = replace(SMALL, sets=(("pinner.pages_max", "8"),), perturb=0.5)
    settings = runner.run(runner.prepare(request), []).settings
    assert settings.model_extra is not None
    assert settings.model_extra["pinner"]["pages_max"] == 8
    assert settings.perturb == 0.5
    assert settings.sets == {"pinner.pages_max": "8"}


def test_a_result_is_frozen(small_run: RunResult) -> None:
    with pytest.raises(ModelError, match="frozen"):
        small_run.results[0].calls.pinned = 0


def unknown(part: object, place: str = "") -> set[str]:
    """Return the keys in a result that the schema does not name."""
    if isinstance(part, tuple):
        return set().union(*(unknown(item, f"{place}[]") for item in part))
    if not isinstance(part, BaseModel):
        return set()
    found = {f"{place}.{key}" for key in part.model_extra or ()}
    return found.union(*(unknown(value, f"{place}.{key}") for key, value in part))


@pytest.mark.parametrize("profile", ["zero-page", "same-range", "prepinned"])
def test_the_models_name_everything_that_the_core_tells(profile: str) -> None:
    request = Request(
        policies=("unbounded", "none"),
        profile=profile,
        driver="sim",
        threads=2,
        pins=100,
        timeout_s=1,
        stall_after_s=0.05,
        seed=1,
    )
    run = runner.run(runner.prepare(request), [])
    # What an obstacle is told with depends on its kind; a profile has keys of its own.
    told = {key for key in unknown(run.results) if ".obstacle." not in key}
    assert told == set()
    assert {"unbounded", "none"} == {result.policy for result in run.results}
