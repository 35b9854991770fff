"""Limits of address space from what can hardly be loaded to what is plenty: an answer each time."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from gupstress.running.result import RunResult

MIB = 1 << 20
LIMITS = 22
COMMANDS = (
    ("run", "--driver", "os", "--threads", "64", "--pins", "20000", "--policy", "bounded"),
    ("run", "--driver", "sim", "--threads", "64", "--pins", "5000", "--policy", "bounded"),
    ("run", "--driver", "os", "--threads", "4", "--pins", "5000", "--trace", "t.json"),
)


def limited(
    command: tuple[str, ...], limit: int, folder: Path
) -> "subprocess.CompletedProcess[str]":
    """Run a command that may have so many bytes of address space."""
    return subprocess.run(
        (sys.executable, "-m", "gupstress", *command),
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )


def least(folder: Path) -> int:
    """Return the fewest MiB, about, in which the command's modules can be loaded."""
    low, high = 16, 4096
    while high - low > 8:
        middle = (low + high) // 2
        loads = limited(("list", "policies"), middle * MIB, folder).returncode == 0
        low, high = (low, middle) if loads else (middle, high)
    return high


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("command", COMMANDS, ids=["threads", "simulator", "trace"])
def test_no_limit_of_memory_ends_a_run_without_an_answer(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    base = least(tmp_path)
    codes: dict[int, int] = {}
    wrong: list[tuple[object, ...]] = []
    # The closer to the least, the closer to each other.
    for number in range(LIMITS):
        limit = base - 8 + round(2000 * (number / LIMITS) ** 2)
        out = tmp_path / "r.json"
        out.unlink(missing_ok=True)
        ended = limited((*command, "--quiet", "--json", "r.json"), limit * MIB, tmp_path)
        codes[limit] = ended.returncode
        last = ended.stderr.strip().splitlines()[-1:]
        if ended.returncode not in (0, 1, 2, 3):
            wrong.append((limit, ended.returncode, last))
        if ended.returncode == 2 and not ("leaves" in last[0] or "memory" in last[0]):
            wrong.append((limit, "no word of memory", last))
        if out.exists():
            RunResult.model_validate_json(out.read_text())
        left = {path.name for path in tmp_path.iterdir()} - {"r.json", "t.json"}
        if left:
            wrong.append((limit, "left behind", left))
    assert not wrong, (codes, wrong)
    assert {0, 2} <= set(codes.values()), codes
