"""A machine that is none: a script in the place of QEMU, which says what a guest would say."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gupstress import _core
from gupstress.outcome.results import Counters
from gupstress.running.guest import image, machine

QEMU = """#!{python}
import json, os, signal, sys, time
words = sys.argv[1:]
console, answer = (
    open(words[at + 1].partition(":")[2], "wb", buffering=0)
    for at, word in enumerate(words) if word == "-serial"
)
boots = int(open("boots").read()) + 1 if os.path.exists("boots") else 1
open("boots", "w").write(str(boots))
open("words", "w").write(json.dumps(words))
open("pid", "w").write(str(os.getpid()))
def tell(line): answer.write(json.dumps(line).encode() + b"\\n")
HOST = {{"kernel": "linux-6.12.117", "release": "6.12.117-test", "cpus": 4,
        "memory_bytes": 1, "movable_bytes": 1}}
CELL = {{"scenario": "anon-local", "class": "pinned", "counters": {counters}, "unsteady": {{}},
        "missing": ["drain_local"], "repeats": 5, "refused": None}}
{deeds}
"""

WHOLE = "tell({'host': HOST}); tell({'cell': CELL}); tell({'end': 2})"
PANIC = (
    "console.write(b'[1.0] x\\r\\n[1.1] Kernel panic - not syncing: Fatal exception\\r\\n');"
    " sys.exit()"
)
COUNTED = tuple(Counters.model_fields)
COUNTERS = {"result": "ok", "acquired": 8, "migrated": 4, "drain_all": 0}


@pytest.fixture
def kernel() -> str:
    """Something that looks like a kernel."""
    Path("bzImage").write_bytes(bytes(0x202) + b"HdrS" + bytes(64))
    return "bzImage"


@pytest.fixture
def qemu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what makes QEMU a script that does some deeds."""
    programs = Path("programs")
    programs.mkdir()
    init = programs / image.INIT
    init.write_text(f"#!/bin/sh\necho {image.INIT} {_core.__version__}\n")
    init.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs.absolute()))
    monkeypatch.setattr(machine, "_KVM", "no-kvm")

    def make(deeds: str, counters: dict[str, object] = COUNTERS) -> None:
        program = programs / image.QEMU
        program.write_text(QEMU.format(python=sys.executable, deeds=deeds, counters=counters))
        program.chmod(0o755)

    return make
