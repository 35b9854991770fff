"""`gupstress live check` and `--on live`: what a kernel offers, and what is refused without it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

import gupstress
from conftest import Ended
from gupstress.outcome.live import LiveCheck

Cli = Callable[..., Ended]


def checked(cli: Cli) -> LiveCheck:
    cli("live", "check", "--json", "check.json")
    return LiveCheck.model_validate_json(Path("check.json").read_text())


def test_every_fact_has_a_line_and_what_is_missing_says_what_to_do(cli: Cli) -> None:
    code, out, err = cli("live", "check")
    found = checked(cli)
    assert code == (4 if found.lacking else 0)
    for fact in found.facts:
        (line,) = [line for line in out.splitlines() if f"  {fact.fact}: " in line]
        assert (fact.status == "missing") == ("; nearest: " in line), line
        assert bool(fact.advice) == (fact.status == "missing")
    assert len(err.splitlines()) == len(found.lacking)
    assert {"io_uring", "movable memory", "tracefs", "memlock", "MGLRU"} <= {
        fact.fact for fact in found.facts
    }
    Draft202012Validator(gupstress.schema("live")).validate(
        json.loads(Path("check.json").read_text())
    )


def test_without_what_is_needed_litmus_ends_with_one_line(cli: Cli) -> None:
    found = checked(cli)
    if not found.lacking:
        pytest.skip("this host has movable memory")
    code, out, err = cli("litmus", "anon-local", "--on", "live")
    assert (code, out) == (4, "")
    (line,) = err.splitlines()
    assert all(f"{fact.fact}: {fact.found}" in line for fact in found.lacking)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--repeat", "3"), "--repeat: 3: for a real kernel; nearest: --on live"),
        (("-o", "m.toml"), "--output: m.toml: for a real kernel; nearest: --on live"),
        (("--on", "liv"), "'liv' is not one of model, live; nearest: live"),
        (
            ("--on", "live", "--kernel", "linux-6.12.43", "--kernel", "linux-7.2.13"),
            "--kernel: one real kernel is none of 2; nearest: linux-6.12.43",
        ),
    ],
)
def test_what_only_a_real_kernel_or_only_the_model_has_is_refused(
    cli: Cli, args: tuple[str, ...], said: str
) -> None:
    code, out, err = cli("litmus", "anon-local", *args)
    assert (code, out) == (2, "")
    assert said in err
