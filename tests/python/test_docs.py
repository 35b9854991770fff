"""The pages do what they say: every command on them is run, every link leads somewhere."""

import doctest
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from conftest import in_a_shell
from gupstress import _core
from gupstress.cli import commands
from gupstress.cli.exits import Exit
from gupstress.pytest_plugin import options as plugin_options
from pages import (
    COMMAND,
    EXAMPLES,
    FILES,
    PAGES,
    ROOT,
    Item,
    anchors,
    inline,
    items,
    links,
)

CI = (ROOT / ".ci/run").read_text()
CARGO = (ROOT / "crates/run/Cargo.toml").read_text()
PROJECT = (ROOT / "pyproject.toml").read_text()


def in_ci(line: str) -> Callable[[], bool]:
    return lambda: re.search(rf"^ *run {re.escape(line)}$", CI, re.MULTILINE) is not None


def bench(name: str) -> Callable[[], bool]:
    path = ROOT / f"crates/run/benches/{name}.rs"
    return lambda: f'[[bench]]\nname = "{name}"' in CARGO and path.exists()


ELSEWHERE: dict[str, Callable[[], bool]] = {
    "pip install .": lambda: """ lint '.[test]'\n""" in CI,
    "pip install '.[test]'": lambda: """ lint '.[test]'\n""" in CI,
    "pip install '.[report]'": lambda: "\nreport = [\n" in PROJECT,
    "pip install ./guest": in_ci("pip install --quiet ./guest"),
    ".ci/run lint": lambda: "step_lint() {" in CI,
    "pytest": in_ci("pytest"),
    "cargo test --release": in_ci("cargo test --locked --profile checked"),
    "cargo bench --bench explore": bench("explore"),
    "cargo bench --bench limits": bench("limits"),
    "cargo bench --bench simulator": bench("simulator"),
    ".ci/run": lambda: "    '' | --slow)" in CI,
    ".ci/run --slow": lambda: "    '' | --slow)" in CI,
    ".ci/run mutants": lambda: "step_mutants() {" in CI,
    ".ci/run busy": lambda: "step_busy() {" in CI,
    ".ci/run setup": lambda: "step_setup() {" in CI,
    ".ci/run --list": lambda: "    --list)" in CI,
    ". .venv/bin/activate": lambda: "$PWD/.venv" in CI,
    "pip install gupstress pytest": lambda: '\nname = "gupstress"\n' in PROJECT,
}
"""Commands that no test can run, each with how it is known that they work."""

HERE = {"gupstress", "pytest", "mkdir", "cp", "grep"}
"""Programs that are run by the tests."""

MENTIONS = {
    "gupstress",
    "gupstress run",
    "gupstress show",
    "gupstress list",
    "gupstress compare",
    "gupstress explore",
    "gupstress replay",
    "gupstress soak",
    "gupstress tune",
} | {"gupstress report"}
"""Names of commands: what is meant is the command, not a call of it without anything."""

LONG = {
    "gupstress matrix": "--profile wasted-drain --policy bounded --policy linux-7.2",
    "gupstress run --set isolate_retries=5": "--pins 2000",
    "gupstress --threads 64 --timeout 30s --seed 7": "--pins 2000",
    "MY_POLICY=mine.toml pytest test_my_policy.py": "-k 'drained or oom'",
    "gupstress run examples/thousand-cpus.toml --quiet --json thousand.json": "--dry-run",
}
"""Commands that take long, each with what makes them short. In full they are run with --slow."""

EXITS = {
    # `unbounded` is among the policies that are run where none is named.
    "gupstress run --set isolate_retries=5": (0, 1),
    "gupstress --threads 64 --timeout 30s --seed 7": (0, 1),
    # The policy of the example is one that fails some of its tests.
    "MY_POLICY=mine.toml pytest test_my_policy.py": (1,),
    # CPU time is the host's, on the simulator too: its change may be the host's doing.
    "gupstress --policy policy.toml --profile wasted-drain --driver sim --seed 1 --repeat 7 --quiet"
    " --baseline base.json": (0, 1),
    # `linux-6.14` pins what must move.
    "gupstress run examples/thousand-cpus.toml --quiet --json thousand.json": (0, 1),
    # Few hosts have memory that has to stay movable.
    "gupstress live check": (0, 4),
}
"""Exit codes of commands whose page does not tell them beside the command."""

WITHOUT_THE_HOST = {
    "run": "--driver sim --seed 1",
    "matrix": "--driver sim --seed 1",
    "explore": "--timeout 1h",
    "litmus": "--wall-timeout 1h",
}
"""By command what takes the host's CPU time out of its verdict."""

PLACEHOLDER = re.compile(r"\b[A-Z]{3,}\b|…|\||\[")
"""What stands for a value in running text."""

named = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def is_real(item: Item) -> bool:
    """Whether something is a command with real values, and not a manner of speaking."""
    if item.kind == "span":
        return item.text not in MENTIONS and (
            item.text in ELSEWHERE or not PLACEHOLDER.search(item.text)
        )
    return item.kind == "command"


def says(page: Path, command: str) -> bool:
    return any(command in parts(item.text) for item in items(page))


def parts(command: str) -> list[str]:
    return [part.strip() for part in command.split(" && ")]


# All that a page has, one after the other.
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("page", [*PAGES, *EXAMPLES], ids=lambda page: page.name)
def test_commands_do_what_the_page_says(page: Path) -> None:
    follow(page)


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("command", LONG)
def test_long_commands_do_too(command: str) -> None:
    follow(next(page for page in [*PAGES, *EXAMPLES] if says(page, command)), in_full=command)


def follow(page: Path, in_full: str = "") -> None:
    """Do everything that stands on a page, in its order; `in_full` is a command not shortened."""
    # A reader has the project at hand.
    Path("examples").symlink_to(ROOT / "examples")
    if page in EXAMPLES:
        Path(page.name).symlink_to(page)
    names: dict[str, Any] = {"__name__": "__main__"}
    for item in items(page):
        place = f"{page.name}:{item.line}"
        match item.kind:
            case "file":
                Path(item.name).parent.mkdir(parents=True, exist_ok=True)
                Path(item.name).write_text(item.text)
            case "python":
                exec(compile(item.text, place, "exec"), names)  # noqa: S102
            case "session":
                hold_session(item, place, names)
            case _ if is_real(item):
                run(item, place, in_full)


def run(item: Item, place: str, in_full: str) -> None:
    """Run what of a command can be run here."""
    here = [part for part in parts(item.text) if part not in ELSEWHERE]
    for part in parts(item.text):
        assert part in ELSEWHERE or programs(part) <= HERE, (
            f"{place}: {part!r} is neither run by this test nor said to be run elsewhere"
        )
    if not here:
        return
    line = " && ".join(here)
    shorter = None if line == in_full else LONG.get(line)
    typed = line if shorter is None else f"{line} {shorter}"
    wanted = EXITS.get(line, (0,)) if item.exits is None else (item.exits,)
    ended = in_a_shell(typed)
    output = ended.stdout + ended.stderr
    undecided = ended.returncode not in wanted and ended.returncode == Exit.INCONCLUSIVE
    if undecided and (how := without_the_host(here[-1])):
        # The host gave it too little to tell; what the page promises is held against the rest.
        ended = in_a_shell(f"{typed} {how}")
        output += f"{how}\n{ended.stdout}{ended.stderr}"
    told = f"{place}: {line}\n{output}"
    assert ended.returncode in wanted, f"exit code {ended.returncode}, not {wanted}: {told}"
    missing = [one for one in item.shown if shape(one) not in shapes(output)]
    assert not missing, f"not in the output: {missing}: {told}"


def without_the_host(part: str) -> str | None:
    """Return the options with which a command's verdict is not the host's to leave open."""
    program, *words = part.split()
    if program != "gupstress":
        return None
    named = words and not words[0].startswith("-")
    return WITHOUT_THE_HOST.get(words[0] if named else "run")


def programs(part: str) -> set[str]:
    """Return the programs of a pipeline, what is set for them left out."""
    words = (side.split() for side in part.split(" | "))
    return {next(word for word in side if "=" not in word) for side in words}


def shape(line: str) -> str:
    """Return what of a line of output does not change from run to run: words and places."""
    if line.startswith("note:") or line == "...":
        # How loaded the host is; what the page leaves out.
        return ""
    # pytest says a time of more than a minute twice.
    line = re.sub(r" \(\d+:\d\d:\d\d\)$", "", line)
    # Which errors there were, and in what order, is the run's.
    line = re.sub(r"\bE(BUSY|NOMEM|FAULT|AGAIN)\b", "errno", line)
    line = re.sub(r"^( *)by \w+$", r"\1by cause", line)
    # A rate is said in thousands here and in millions there.
    numbers = re.sub(r"\d[\d.,]*(e[+-]?\d+)?[a-zGMµ%]*\b|\B\.\d+", "#", line)
    return " ".join(re.sub(r"-{2,}", "-", numbers).replace("%", "").split())


def shapes(output: str) -> set[str]:
    return {"", *map(shape, output.splitlines())}


def hold_session(item: Item, place: str, names: dict[str, Any]) -> None:
    """Hold an interactive session against what it shows."""
    test = doctest.DocTestParser().get_doctest(item.text, names, place, place, item.line)
    said: list[str] = []
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    found = doctest.DocTestRunner(optionflags=options).run(test, out=said.append, clear_globs=False)
    # The runner works on a copy.
    names.update(test.globs)
    assert found.attempted
    assert not found.failed, "".join(said)


def test_what_is_said_of_commands_is_said_of_those_on_a_page() -> None:
    every = [item for page in [*PAGES, *EXAMPLES] for item in items(page)]
    said = {part for item in every for part in parts(item.text)}
    assert not {*LONG, *EXITS, *ELSEWHERE} - said


@pytest.mark.parametrize("command", ELSEWHERE)
def test_what_cannot_be_run_here_is_run_elsewhere(command: str) -> None:
    assert ELSEWHERE[command]()


def options() -> set[str]:
    """Return every option that there is: of the command, of the plugin, of this project's."""
    found = {
        "--slow",
        "--list",
        "--help",
        "--version",
        "--check",
        "--bench",
        "--cfg",
        "--test",
        "--release",
    }
    for command in [commands, *commands.commands.values()]:
        for param in command.params:
            found.update(param.opts, param.secondary_opts)
    assert isinstance(commands, click.Group)
    return found | {f"--gupstress-{option.name}" for option in plugin_options.OPTIONS}


@named
def test_options_exist(page: Path) -> None:
    """In running text too, where a command is not complete enough to be run."""
    for line, token in inline(page):
        text = token.content
        if token.type == "code_inline" and (text.startswith("--") or COMMAND.match(text)):
            for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", text):
                assert option in options(), f"{page.name}:{line}: no option {option}"


@named
def test_links_lead_somewhere(page: Path) -> None:
    for line, target in links(page):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        wanted = (page.parent / file).resolve() if file else page
        assert wanted.exists(), f"{page.name}:{line}: no file {file}"
        if anchor:
            assert anchor in anchors(wanted), f"{page.name}:{line}: no heading for {target}"


@named
def test_files_that_are_named_exist(page: Path) -> None:
    for line, token in inline(page):
        text = token.content
        if token.type == "code_inline" and re.match(r"(crates|python|data|tests)/[\w./-]+$", text):
            there = (ROOT / text.replace("NAME.toml", "")).exists()
            assert there, f"{page.name}:{line}: no file {text}"


def test_every_page_is_named_in_the_readme() -> None:
    named = {target.partition("#")[0] for _, target in links(ROOT / "README.md")}
    assert {f"docs/{page.name}" for page in PAGES if page.parent.name == "docs"} <= named


def test_what_is_generated_is_up_to_date() -> None:
    found = subprocess.run(
        [sys.executable, ROOT / "docs/generate.py", "--check"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, f"{found.stdout}{found.stderr}\nrun docs/generate.py"


def test_every_rule_and_axis_is_explained() -> None:
    keys = re.compile(r"^(\w+) = ", re.MULTILINE)
    for kind, page in (("kernel", "kernels"), ("policy", "policies")):
        text = (ROOT / f"docs/{page}.md").read_text()
        for key in keys.findall(_core.show(kind, _core.names(kind)[0])):
            told = key in ("name", "summary", "source", "policy") or f"`{key}`" in text
            assert told, f"{page}.md: {key}"


def copied() -> Iterator[tuple[str, Path]]:
    """Yield each file that a page shows, with the page."""
    for page in PAGES:
        for item in items(page):
            if item.kind == "file":
                yield item.text, page


def test_files_of_the_reader_are_whole() -> None:
    assert list(copied())
    for text, page in copied():
        kind = Path(text.partition("\n")[0]).suffix[1:]
        assert kind in ("toml", "py", "yml", "yaml"), f"{page.name}: {kind} is not of {FILES}"
        if kind in ("yml", "yaml"):
            yaml.safe_load(text)
