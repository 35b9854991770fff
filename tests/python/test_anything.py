"""Whatever a file may say and whenever a signal may come: an end, an answer, no broken file."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gupstress import _core
from gupstress.running.result import RunResult

RUN = (sys.executable, "-m", "gupstress", "run", "--quiet")
ENDS = {0, 1, 2, 3}
"""Everything but an internal error, a panic, an abort and a signal."""

BOUNDED = ("--timeout", "200ms", "--wall-timeout", "3s", "--stall-after", "20ms", "--pins", "500")
HANGS_S = 600
"""Far longer than any of these may take, on a host however busy."""


COST = "a whole number from 0 to 4294967295"


def keys(kind: str, name: str) -> dict[str, str]:
    """Return every key of a preset's table with what it says it accepts."""
    accepted: dict[str, str] = {}
    section = said = ""
    for line in _core.show(kind, name).splitlines():
        if line.startswith("#"):
            said = line.rpartition(" (")[2].rstrip(")")
        elif line.startswith("["):
            section = line.strip("[]") + "."
        elif "=" in line:
            key = line.partition(" = ")[0]
            # Those of steps are all alike and say so once, in the docs.
            accepted[section + key] = COST if section == "costs." else said
            said = ""
    return accepted


def value(rng: random.Random, accepted: str) -> str:
    """Draw a value that a key says it accepts, the ends of its range often."""
    if " | " in accepted:
        return rng.choice(accepted.split(" | "))
    if accepted.startswith("true"):
        return rng.choice(("true", "false"))
    if "from 0 to 1" in accepted and "whole" not in accepted:
        return rng.choice(("0", "1", f"{rng.random():.3f}"))
    if "length of time" in accepted:
        return rng.choice(("none", "1ns", f"{rng.randrange(1, 999)}us", "30s", "1000000000s"))
    if "unlimited" in accepted:
        return rng.choice(("unlimited", "0", "1", str(rng.randrange(2**32)), "4294967295"))
    if "whole" in accepted:
        _, _, span = accepted.partition("from ")
        low, _, high = span.partition(" to ")
        least, most = int(low), int(high)
        near = least + min(most - least, rng.randrange(1, 300))
        # No host has room for the most of everything: then all that is tried is a refusal.
        far = most if most < 10_000 or rng.random() < 0.2 else near
        return str(rng.choice((least, least + 1, near, near, near, far)))
    return "text"


SAMPLES = 1000
TEXTS = ("name", "summary", "reference", "source", "policy")
"""Keys that say what a table is called and comes from."""


def draw(rng: random.Random) -> list[str]:
    """Return a command of random policy, kernel and profile keys."""
    kinds = {
        "policy": rng.choice(_core.names("policy")),
        "profile": rng.choice(_core.names("profile")),
        "kernel": rng.choice(_core.names("kernel")),
    }
    words = [word for kind, name in kinds.items() for word in (f"--{kind}", name)]
    for kind, name in kinds.items():
        table = {
            key: said
            for key, said in keys(kind, name).items()
            if not key.startswith("expect.") and key not in TEXTS
        }
        steps = [key for key in table if key.startswith("costs.")]
        # There are as many steps as other keys, and one is like another.
        for key in rng.sample(steps, k=max(0, len(steps) - 4)):
            del table[key]
        for key in rng.sample(sorted(table), k=min(len(table), rng.choice((0, 1, 1, 2, 4)))):
            words += ["--set", f"{kind}.{key}={value(rng, table[key])}"]
            if key == "backoff_min":
                words += ["--set", "policy.backoff_max=1000000000s"]
    return [*words, "--driver", rng.choice(("os", "sim")), "--seed", str(rng.randrange(1000))]


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_a_thousand_random_settings_end_with_an_answer(tmp_path: Path) -> None:
    rng = random.Random(20260801)
    wrong: list[tuple[object, ...]] = []
    refused = 0
    for number in range(SAMPLES):
        command = draw(rng)
        out = tmp_path / "r.json"
        out.unlink(missing_ok=True)
        try:
            ended = subprocess.run(
                (*RUN, *command, *BOUNDED, "--json", str(out)),
                capture_output=True,
                text=True,
                check=False,
                timeout=HANGS_S,
            )
        except subprocess.TimeoutExpired:
            wrong.append(("hang", number, command))
            continue
        refused += ended.returncode == 2
        if ended.returncode not in ENDS:
            wrong.append((ended.returncode, number, [*command, ended.stderr[-300:]]))
        elif out.exists():
            RunResult.model_validate_json(out.read_text())
    assert not wrong, json.dumps(wrong, indent=1)
    # What is refused tries nothing.
    assert refused <= 0.2 * SAMPLES, refused


def right(code: int, number: signal.Signals, err: str) -> bool:
    """Whether a command that got a signal ended with a code that it may have."""
    # Before Python has begun to handle signals one ends it as any other program.
    if code in {0, 130, -number}:
        return True
    # Then Python's own start-up is what is interrupted, and none of ours has run.
    return code == 1 and "KeyboardInterrupt" in err and "/gupstress/" not in err


@pytest.mark.slow
@pytest.mark.timeout(2 * 3600)
def test_signals_at_random_moments_leave_whole_files_and_right_codes(tmp_path: Path) -> None:
    rng = random.Random(7)
    wrong: list[tuple[object, ...]] = []
    for number in range(300):
        driver = rng.choice(("os", "sim"))
        out = tmp_path / f"{number}.json"
        command = (*RUN, "--driver", driver, "--threads", str(rng.choice((2, 64))), "--seed", "1")
        process = subprocess.Popen(
            (*command, "--pins", str(rng.choice((1000, 2**60))), "--json", str(out)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        time.sleep(rng.random() ** 2 * 4)
        number_of = rng.choice((signal.SIGINT, signal.SIGTERM))
        process.send_signal(number_of)
        try:
            _, err = process.communicate(timeout=HANGS_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            wrong.append(("hang", number, number_of))
            continue
        if not right(process.returncode, number_of, err):
            wrong.append((process.returncode, number, err[-300:]))
        if out.exists():
            RunResult.model_validate_json(out.read_text())
        left = [path.name for path in tmp_path.iterdir() if path.suffix != ".json"]
        if left:
            wrong.append(("left behind", number, left))
    assert not wrong, wrong
