"""Files are written whole or not at all."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import SMALL_OPTIONS, Ended
from gupstress import files

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
