"""Files are written whole or not at all."""

import errno
import json
import os
import shlex
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import gupstress
from conftest import COMMAND, SMALL_OPTIONS, Ended, in_a_shell
from gupstress.outcome import files
from gupstress.running.result import RunResult

Cli = Callable[..., Ended]


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the disk be full from a given write to it on, counted from 0."""

    def fill(after: int) -> None:
        left = [after]

        def fsync(descriptor: int) -> None:
            if left[0] == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            left[0] -= 1

        monkeypatch.setattr(os, "fsync", fsync)

    return fill


def test_a_full_disk_is_refused_before_anything_runs(
    cli: Cli, full_disk: Callable[[int], None], no_run: None
) -> None:
    Path("r.json").write_text("old")
    full_disk(0)
    code, out, err = cli("--json", "r.json", *SMALL_OPTIONS)
    assert (code, out) == (2, "")
    assert err == "gupstress: --json r.json: cannot be written: No space left on device\n"
    assert Path("r.json").read_text() == "old"
    assert os.listdir() == ["r.json"]


def test_a_disk_that_fills_up_meanwhile_leaves_the_old_file_and_shows_the_result(
    cli: Cli, full_disk: Callable[[int], None]
) -> None:
    Path("r.json").write_text("old")
    full_disk(1)
    code, out, err = cli("--json", "r.json", "--quiet", "--policy", "bounded", *SMALL_OPTIONS)
    assert code == 2
    assert "SUCCESS" in out
    assert err == "gupstress: --json r.json: cannot be written: No space left on device\n"
    assert Path("r.json").read_text() == "old"
    assert os.listdir() == ["r.json"]


def test_a_device_is_written_to_and_not_replaced(cli: Cli) -> None:
    code, _, err = cli("--json", "/dev/full", "--quiet", "--policy", "bounded", *SMALL_OPTIONS)
    assert code == 2
    assert err == "gupstress: --json /dev/full: cannot be written: No space left on device\n"
    assert Path("/dev/full").is_char_device()


def test_the_check_touches_nothing() -> None:
    files.check_writable("new.json")
    assert os.listdir() == []
    Path("old.json").write_text("old")
    files.check_writable("old.json")
    assert Path("old.json").read_text() == "old"


def test_a_link_stays_a_link_and_a_mode_stays_as_it_is() -> None:
    Path("real.json").write_text("old")
    Path("real.json").chmod(0o640)
    Path("link.json").symlink_to("real.json")
    files.write_whole("link.json", "new")
    assert Path("link.json").is_symlink()
    assert Path("real.json").read_text() == "new"
    assert Path("real.json").stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir()) == ["link.json", "real.json"]


def test_who_reads_the_old_file_goes_on_reading_it() -> None:
    Path("r.json").write_text("old")
    with open("r.json") as reader:
        files.write_whole("r.json", "new")
        assert reader.read() == "old"
    assert Path("r.json").read_text() == "new"


def test_a_new_file_has_the_mode_that_any_new_file_has() -> None:
    Path("plain").touch()
    files.write_whole("new.json", "text")
    assert Path("new.json").stat().st_mode == Path("plain").stat().st_mode


@pytest.mark.parametrize("line", ["--json f.json", "--trace f.json", "matrix --json f.json"])
def test_what_nobody_may_write_is_not_replaced(cli: Cli, no_run: None, line: str) -> None:
    Path("f.json").write_text("old")
    Path("f.json").chmod(0o444)
    code, out, err = cli(*line.split(), *("" if "matrix" in line else SMALL_OPTIONS))
    option = line.rpartition(" f.json")[0].split()[-1]
    assert (code, out) == (2, "")
    assert err == f"gupstress: {option} f.json: cannot be written: Permission denied\n"
    assert Path("f.json").read_text() == "old"


OWN_INPUTS = [
    ("--baseline b.json --json ./b.json", "--json ./b.json", "b-2.json"),
    ("--baseline link.json --json b.json", "--json b.json", "b-2.json"),
    ("--baseline folder --json folder/b.json", "--json folder/b.json", "folder/b-2.json"),
    ("--baseline b.json --trace b.json", "--trace b.json", "b-2.json"),
    ("--policy p.toml --json p.toml", "--json p.toml", "p-2.json"),
    ("--profile l.toml --trace l.toml", "--trace l.toml", "l-2.json"),
    ("--kernel k.toml --json k.toml", "--json k.toml", "k-2.json"),
    ("matrix --policy p.toml --json p.toml", "--json p.toml", "p-2.json"),
    ("matrix --profile l.toml --json l.toml", "--json l.toml", "l-2.json"),
    ("litmus s.toml --json s.toml", "--json s.toml", "s-2.json"),
    ("compare b.json b.json --json b.json", "--json b.json", "b-2.json"),
    ("compare folder b.json --json folder/b.json", "--json folder/b.json", "folder/b-2.json"),
    ("report b.json -o b.json", "--output b.json", "b-2.html"),
]


@pytest.mark.parametrize(("line", "place", "near"), OWN_INPUTS, ids=[row[0] for row in OWN_INPUTS])
def test_a_command_does_not_replace_what_it_reads(
    cli: Cli, small_run: RunResult, no_run: None, line: str, place: str, near: str
) -> None:
    Path("folder").mkdir()
    for name in ("b.json", "folder/b.json"):
        Path(name).write_text(small_run.to_json())
    Path("link.json").symlink_to("b.json")
    presets = {"p": "policy bounded", "l": "profile contended", "k": "kernel linux-6.17"}
    for name, preset in {**presets, "s": "litmus anon-remote"}.items():
        Path(f"{name}.toml").write_text(cli("show", *preset.split()).out)
    before = {path: path.read_text() for path in Path().rglob("*.*")}
    code, out, err = cli(*line.split())
    assert (code, out) == (2, "")
    assert err == f"gupstress: {place}: is read by this command; nearest: {near}\n"
    assert {path: path.read_text() for path in Path().rglob("*.*")} == before


def test_a_folder_is_no_file_even_if_it_is_read(cli: Cli, no_run: None) -> None:
    code, _, err = cli("compare", ".", ".", "--json", ".")
    assert (code, err) == (2, "gupstress: --json .: cannot be written: Is a directory\n")


def test_a_trace_from_python_does_not_replace_what_is_read(cli: Cli, no_run: None) -> None:
    Path("p.toml").write_text(text := cli("show", "policy", "bounded").out)
    with pytest.raises(gupstress.ConfigError, match=r"p\.toml is read by this run"):
        gupstress.run(policy="p.toml", trace="p.toml")
    assert Path("p.toml").read_text() == text


def test_two_results_may_go_to_the_same_device(cli: Cli) -> None:
    options = ("--json", "/dev/null", "--trace", "/dev/null", "--policy", "bounded")
    assert cli(*options, *SMALL_OPTIONS).code == 0


@pytest.mark.parametrize("name", ["/dev/stdout", "/proc/self/fd/1", "/dev/fd/1"])
@pytest.mark.parametrize("into", ["cat", "cat > all.txt && cat all.txt"])
def test_standard_output_takes_a_file_before_the_result(name: str, into: str) -> None:
    line = shlex.join((*COMMAND, "--json", name, "--quiet", "--policy", "bounded", *SMALL_OPTIONS))
    ended = in_a_shell(f"{line} | {into}")
    assert ended.stderr == ""
    run, end = json.JSONDecoder().raw_decode(ended.stdout)
    assert run["schema"] == "gupstress.run/1"
    assert "gupstress: SUCCESS" in ended.stdout[end:]


def test_what_standard_output_is_redirected_to_keeps_all_that_is_written() -> None:
    options = ("--json", "/dev/stdout", "--quiet", "--policy", "bounded", *SMALL_OPTIONS)
    with open("all.txt", "w") as file:
        subprocess.run((*COMMAND, *options), stdout=file, check=True)
    text = Path("all.txt").read_text()
    run, end = json.JSONDecoder().raw_decode(text)
    assert run["status"] == "complete"
    assert "gupstress: SUCCESS" in text[end:]


def test_a_process_takes_a_file() -> None:
    line = shlex.join((*COMMAND, "--quiet", "--policy", "bounded", *SMALL_OPTIONS))
    ended = in_a_shell(f"{line} --json >(cat >&2)")
    assert ended.returncode == 0
    assert json.loads(ended.stderr)["status"] == "complete"


def test_a_named_pipe_is_opened_once(cli: Cli) -> None:
    os.mkfifo("f")
    taken: list[str] = []
    reader = threading.Thread(target=lambda: taken.append(Path("f").read_text()), daemon=True)
    reader.start()
    assert cli("--json", "f", "--quiet", "--policy", "bounded", *SMALL_OPTIONS).code == 0
    reader.join()
    assert json.loads(taken[0])["status"] == "complete"
    assert Path("f").is_fifo()


def test_a_descriptor_that_is_only_read_is_refused(cli: Cli, no_run: None) -> None:
    Path("r.json").touch()
    with open("r.json") as file:
        name = f"/dev/fd/{file.fileno()}"
        code, _, err = cli("--json", name, *SMALL_OPTIONS)
    assert code == 2
    assert err == f"gupstress: --json {name}: cannot be written: Bad file descriptor\n"


def test_a_link_that_leads_nowhere_is_refused(cli: Cli, no_run: None) -> None:
    Path("loop").symlink_to("loop")
    code, _, err = cli("--json", "loop", *SMALL_OPTIONS)
    assert code == 2
    assert err == ("gupstress: --json loop: cannot be written: Too many levels of symbolic links\n")


@pytest.mark.parametrize(
    ("line", "near"),
    [
        ("--json -", "--format json"),
        ("litmus --json -", "--format json"),
        ("--trace -", "--trace /dev/stdout"),
        ("report b.json -o -", "--output /dev/stdout"),
    ],
)
def test_a_dash_is_no_file(
    cli: Cli, small_run: RunResult, no_run: None, line: str, near: str
) -> None:
    Path("b.json").write_text(small_run.to_json())
    code, out, err = cli(*line.split())
    assert (code, out) == (2, "")
    assert err.endswith(f"nearest: {near}\n")
    assert err.count("\n") == 1
    assert os.listdir() == ["b.json"]
