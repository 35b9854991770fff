# The Rust core. Everything structured crosses as JSON text, which `gupstress.engine` speaks.

from collections.abc import Callable, Sequence
from typing import Final, final

__all__ = [
    "DEFAULT_KERNEL",
    "MOST_CPUS",
    "MOST_SESSION_CPUS",
    "MOST_THREADS",
    "Machine",
    "Plan",
    "__version__",
    "build_profile",
    "check_litmus",
    "guess_number",
    "judge_cell",
    "names",
    "nearest",
    "parse_duration",
    "read_litmus",
    "resolve",
    "run_litmus",
    "show",
    "show_duration",
    "verdicts",
    "words",
]

DEFAULT_KERNEL: Final[str]
MOST_CPUS: Final[int]
MOST_SESSION_CPUS: Final[int]
MOST_THREADS: Final[int]
__version__: Final[str]
build_profile: Final[str]  # "release", "checked" or "debug"

def names(kind: str) -> list[str]: ...
def show(kind: str, name: str, text: str | None = None) -> str: ...
def parse_duration(text: str) -> float: ...
def show_duration(seconds: float) -> str: ...
def nearest(wanted: str, names: Sequence[str]) -> str | None: ...
def guess_number(word: str) -> float | None: ...
def resolve(request: str) -> Plan: ...
def verdicts() -> list[str]: ...
def judge_cell(cell: str) -> str: ...
def run_litmus(
    place: str,
    text: str,
    kernel: str,
    sets: Sequence[tuple[str, str]] = ...,
    wall_s: float = ...,
) -> str: ...
def words() -> str: ...
def check_litmus(kernel: str, sets: Sequence[tuple[str, str]]) -> None: ...
def read_litmus(place: str, text: str) -> str: ...

@final
class Plan:
    def describe(self) -> str: ...
    def most_threads(self, threads: int, memory_bytes: int) -> int: ...
    def run(
        self,
        policy: int,
        repeat: int,
        observer: Callable[[str], None] | None = None,
        tracer: Callable[[str], None] | None = None,
        process: tuple[int, str] = ...,
    ) -> str: ...

@final
class Machine:
    def __new__(cls, cpus: int, kernel: str, policy: str) -> Machine: ...
    def map(self, pages: int, kind: str) -> int: ...
    def play(self, step: str, cpu: int) -> str | None: ...
    def unpin(self, pin: int, cpu: int) -> None: ...
    def page(self, mapping: int, index: int) -> str: ...
    def check(self) -> str: ...
    def trace(self) -> str: ...
