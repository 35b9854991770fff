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
    "check_explore",
    "check_litmus",
    "explore",
    "explore_litmus",
    "fit",
    "guess_number",
    "judge_cell",
    "names",
    "nearest",
    "parse_duration",
    "read_litmus",
    "replay",
    "resolve",
    "run_litmus",
    "show",
    "show_duration",
    "trace_schedule",
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
def explore_litmus(
    place: str,
    text: str,
    kernel: str,
    sets: Sequence[tuple[str, str]],
    preemptions: int,
    workers: int,
    wall_s: float = ...,
) -> str: ...
def fit(
    files: Sequence[tuple[str, str]], kernels: Sequence[str] = ..., wall_s: float = ...
) -> list[str]: ...
def explore(request: str, observer: Callable[[str], object] | None = None) -> str: ...
def check_explore(request: str) -> None: ...
def replay(
    place: str,
    text: str,
    format: str = "text",  # noqa: A002
) -> str: ...
def trace_schedule(place: str, text: str) -> str: ...
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
