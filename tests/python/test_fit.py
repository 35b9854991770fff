"""`gupstress fit`: a kernel's counts lead to its rules; a count that no kernel has to none."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

import gupstress
from conftest import Ended
from gupstress import _core
from gupstress.model import catalog
from gupstress.outcome.fit import FitResult

Cli = Callable[..., Ended]

TELLING = (
    "anon-remote",
    "shmem-mlock-on-lru-remote",
    "anon-half-pinned-before",
    "anon-cold-remote",
)


@pytest.fixture
def measured() -> list[str]:
    """Some of the shipped scenarios, with what real kernels counted, as files."""
    for name in TELLING:
        Path(f"{name}.toml").write_text(_core.show("litmus", name))
    return [f"{name}.toml" for name in TELLING]


def test_a_kernel_is_found_and_its_file_taken_back(cli: Cli, measured: list[str]) -> None:
    args = ("fit", *measured, "--kernel", "linux-6.1.176", "-o", "k.toml", "--json", "r.json")
    code, out, _ = cli(*args)
    assert code == 0
    (found,) = FitResult.model_validate_json(Path("r.json").read_text()).kernels
    assert "linux-6.1.176" in found.explanations[0].same_rules
    assert found.explanations[0].policy == "linux-6.17"
    assert "drain_after_migrate" in {key.axis for key in found.decided}
    assert "the cells cannot tell apart: " in out
    machine = gupstress.Machine(kernel="k.toml")
    assert machine.policy == "kernel"
    Draft202012Validator(gupstress.schema("fit")).validate(json.loads(Path("r.json").read_text()))


def test_a_changed_count_is_explained_by_nothing(cli: Cli, measured: list[str]) -> None:
    file = Path("anon-remote.toml")
    head, tail = file.read_text().split('[expect."linux-7.2.13"]')
    file.write_text(f'{head}[expect."linux-7.2.13"]{tail.replace("acquired = 8", "acquired = 9")}')
    code, out, _ = cli("fit", *measured, "--kernel", "linux-7.2.13", "--json", "r.json")
    assert code == 1
    (found,) = FitResult.model_validate_json(Path("r.json").read_text()).kernels
    assert (found.verdict, found.explanations, found.toml) == ("unexplained", (), None)
    assert "anon-remote: acquired 8≠9: nothing explains it" in out


def test_a_changed_policy_is_written_beside_the_rules(cli: Cli) -> None:
    parts = []
    for name in (*TELLING, "anon-held-ref", "shmem-mlock-remote"):
        text = _core.show("litmus", name)
        counted = json.loads(
            _core.run_litmus(name, text, "linux-7.2.13", [("migrate_errno", "own")], 60)
        )
        expect = {key: counted["counters"][key] for key in ("result", "acquired", "drain_all")}
        steps = catalog.preset("litmus", name)["steps"]
        lines = [f"{key} = {json.dumps(value)}" for key, value in expect.items()]
        head = f'[[scenario]]\nname = "{name}"\nsteps = {json.dumps(steps)}\n'
        parts.append("\n".join([head, '[scenario.expect."linux-9.9"]', *lines, ""]))
    Path("m.toml").write_text("\n".join(parts))
    code, _, err = cli("fit", "m.toml", "-o", "k.toml", "--json", "r.json")
    assert code == 0
    (found,) = FitResult.model_validate_json(Path("r.json").read_text()).kernels
    assert [(one.table, one.axis) for one in found.explanations[0].changes] == [
        ("policy", "migrate_errno")
    ]
    assert "none of the named ones: --policy k.policy.toml" in err
    assert 'migrate_errno = "own"' in Path("k.policy.toml").read_text()
    machine = gupstress.Machine(cpus=2, kernel="k.toml", policy="k.policy.toml")
    held = machine.map(4, "anon")
    machine.touch(held)
    machine.hold(held[0:1])
    assert machine.pin(held).error not in (None, "ENOMEM")


def test_scenarios_may_stand_in_one_file(cli: Cli) -> None:
    Path("all.toml").write_text(
        "\n".join(
            f'[[scenario]]\nname = "n{fill}"\n'
            f'steps = ["map a 4 anon", "touch a", "fill {fill}", "pin a"]\n'
            f'[scenario.expect."linux-9.9"]\nresult = "ok"\ndrain_all = {drains}\n'
            for fill, drains in ((26, 1), (27, 0))
        )
    )
    code, _, _ = cli("fit", "all.toml", "-o", "k.toml")
    assert code == 0
    assert Path("k.toml").read_text().startswith('name = "linux-9.9"\n')


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("missing.toml", ["missing.toml", "No such file"]),
        ("anon-remote.toml --kernel linux-6.1.175", ["--kernel", "nearest: linux-6.1.176"]),
        ("anon-remote.toml -o k.toml", ["--output k.toml", "nearest: --kernel linux-6.1.176"]),
        ("empty.toml", ["empty.toml", "nearest: "]),
    ],
)
@pytest.mark.usefixtures("measured")
def test_one_line_and_exit_2(cli: Cli, line: str, said: list[str]) -> None:
    Path("empty.toml").write_text('steps = ["map a 1 anon", "pin a"]\n')
    code, out, err = cli("fit", *line.split())
    assert (code, out) == (2, "")
    assert err.startswith("gupstress: ")
    assert err.count("\n") == 1
    for words in said:
        assert words in err
