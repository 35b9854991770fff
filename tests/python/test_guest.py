"""`gupstress guest`: whatever the machine does, one clear line, and nothing is left running.

The machine is a script that behaves like one; `test_guest_boot.py` boots real kernels.
"""

import errno
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

import gupstress
from conftest import COMMAND, Ended
from guests import COUNTED, COUNTERS, PANIC, WHOLE
from gupstress.outcome.beside import Beside
from gupstress.outcome.litmus import LitmusResult
from gupstress.running.guest import machine
from gupstress.running.result import RunResult

Cli = Callable[..., Ended]


def boots() -> int:
    return int(Path("boots").read_text())


def test_an_answer_is_compared_and_kept(cli: Cli, kernel: str, qemu: Callable[..., None]) -> None:
    qemu(WHOLE)
    args = ("--memory", "300M", "--movable", "64M", "--append", "quiet", "--qemu-arg", "-s -S")
    code, out, err = cli(
        "guest", kernel, "--cpus", "2", *args, "--",
        "litmus", "anon-local", "-o", "m.toml", "--json", "r.json",
    )  # fmt: skip
    assert (code, err) == (0, "")
    found = LitmusResult.model_validate_json(Path("r.json").read_text())
    assert (found.on, found.verdict, found.compared) == ("live", "equal", 4)
    (cell,) = found.cells
    assert cell.missing == ("drain_local",)
    assert "drain_local –" in " ".join(out.split())
    words = json.loads(Path("words").read_text())
    assert words[words.index("-smp") + 1] == "2"
    assert words[words.index("-m") + 1] == "300M"
    assert "movablecore=64M quiet" in words[words.index("-append") + 1]
    assert words[words.index("-s") + 1] == "-S"
    # What was counted is known from now on: the same kernel explains it.
    assert cli("fit", "m.toml")[0] == 0
    assert "acquired = 8" in Path("m.toml").read_text()
    assert "drain_local" not in Path("m.toml").read_text()


ROW = {
    "policy": "kernel", "kernel": "linux-6.12.117", "status": "complete", "verdict": "spurious",
    "elapsed_s": 1.0, "wall_s": 1.0, "cpu_s": 0.5, "seed": 1, "interrupted": 0, "repeat": 1,
    "errors": {"ENOMEM": 1}, "pages": {"pinned": 12, "contended": None},
    "throughput": {"calls_per_s": 4.0, "pages_per_s": 12.0},
    "latency_ns": dict.fromkeys(("min", "mean", "p50", "p90", "p99", "p99_9", "max"), 5),
    "sweeps": dict.fromkeys(("mean", "p50", "p99", "max")),
    "counters": dict.fromkeys(COUNTED), "background": dict.fromkeys(COUNTED),
    "fairness": {"jain": 1.0, "min_max": 1.0, "longest_wait_ns": 5, "max_bypass": None},
    "liveness": {"verdict": "live", "findings": []},
    "safety": {"verdict": "safe", "findings": []},
    "invariants": {"verdict": "held", "checked": 3, "broken": 0, "findings": []},
    "failures": [], "contention": None, "timeline": [], "resolved": {},
    "calls": {"issued": 4, "pinned": 3, "pinned_unsafe": 0, "failed_justified": 0,
              "failed_spurious": 1, "stuck": 0},
}  # fmt: skip
"""What a real kernel may come to: what it does not count is null."""


def test_a_load_has_the_same_result_and_what_is_not_counted_is_null(
    cli: Cli, kernel: str, qemu: Callable[..., None]
) -> None:
    row = {**ROW, "counters": {**ROW["counters"], "acquired": 40}}  # type: ignore[dict-item]
    qemu(f"tell({{'host': HOST}}); tell({{'row': {row}}}); tell({{'end': 2}})")
    words = ("--profile", "same-range", "--threads", "2", "--threshold", "calls.stuck==0")
    code, out, _ = cli("guest", kernel, "--", "run", *words, "--json", "r.json", "--quiet")
    assert code == 0
    found = RunResult.load("r.json")
    assert (found.settings.target, found.settings.kernel) == ("live", "linux-6.12.117")
    assert found.host.kernel == "Linux 6.12.117-test"
    (result,) = found.results
    assert (result.counters.acquired, result.counters.drain_all) == (40, None)
    assert "25%" in out.replace(".0%", "%")
    Draft202012Validator(gupstress.schema("run")).validate(json.loads(Path("r.json").read_text()))


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--policy", "bounded"), "--policy: bounded: not on a real kernel; nearest: none"),
        (("--profile", "contended"), "reclaim.threads: 1: not on a real kernel"),
        (("--profile", "same-range", "--trace", "t.json"), "--trace: t.json: a real kernel"),
        (
            ("--profile", "same-range", "--set", "calls=9", "--abort-on", "calls.stuck==0"),
            "--abort-on",
        ),
        (("--profile", "same-range", "--cpus", "8"), "--cpus: 4 are fewer than are needed"),
    ],
)
def test_a_load_that_no_system_calls_make_is_refused(
    cli: Cli, kernel: str, qemu: Callable[..., None], args: tuple[str, ...], said: str
) -> None:
    qemu(WHOLE)
    code, out, err = cli("guest", kernel, "--", "run", *args, "--quiet")
    assert (code, out) == (2, "")
    assert said in err
    assert not Path("boots").exists()


def test_sections_of_a_job_and_every_output_are_of_the_kernel(
    cli: Cli, kernel: str, qemu: Callable[..., None]
) -> None:
    qemu(f"tell({{'host': HOST}}); tell({{'row': {ROW}}}); tell({{'end': 2}})")
    Path("job.toml").write_text('profile = "same-range"\n[two]\nthreads = 2\n[four]\nthreads = 4\n')
    code, _, _ = cli("guest", kernel, "--", "run", "job.toml", "--json", "r.json", "--quiet")
    assert (code, boots()) == (0, 2)
    for section in json.loads(Path("r.json").read_text())["sections"]:
        assert section["run"]["settings"]["target"] == "live"
    Path("job.toml").write_text('profile = "same-range"\n[two]\npolicy = "bounded"\n[four]\n')
    code, _, err = cli("guest", kernel, "--", "run", "job.toml", "--quiet")
    assert (code, boots()) == (2, 2)
    assert "job.toml [two] policy: bounded: not on a real kernel" in err
    words = ("--profile", "same-range", "--export-csv", "r.csv", "--quiet")
    assert cli("guest", kernel, "--", "run", *words)[0] == 0
    assert "calls.failed_spurious" in Path("r.csv").read_text()


def live_row(**changes: object) -> dict[str, object]:
    """Return what 200 rounds of two threads and four pages came to."""
    counters = {**ROW["counters"], "acquired": 4800, "migrated": 800, "migrate_failed": 80}  # type: ignore[dict-item]
    calls = {**ROW["calls"], "issued": 400, "pinned": 300, "failed_spurious": 100}  # type: ignore[dict-item]
    latency = dict.fromkeys(("min", "mean", "p50", "p90", "p99", "p99_9", "max"), 30000)
    contention = {
        "rounds": 200, "pages": 4, "acquired_per_page_per_thread": 3.0, "migrated_per_page": 1.0,
        "migrate_failed_per_page": 0.1, "enomem_share": 0.25,
    }  # fmt: skip
    return {**ROW, "counters": counters, "calls": calls, "errors": {"ENOMEM": 100},
            "pages": {"pinned": 1200, "contended": None},
            "throughput": {"calls_per_s": 400.0, "pages_per_s": 1200.0},
            "latency_ns": latency, "contention": contention, "uncontended_ns": 20000,
            **changes}  # fmt: skip


SAME_RANGE = ("--profile", "same-range", "--threads", "2", "--set", "calls=200", "--seed", "1")


def test_the_model_stands_beside_the_kernel(
    cli: Cli, kernel: str, qemu: Callable[..., None]
) -> None:
    qemu(f"tell({{'host': HOST}}); tell({{'row': {live_row()}}}); tell({{'end': 2}})")
    code, out, _ = cli(
        "guest", kernel, "--", "run", *SAME_RANGE, "--on", "both", "--json", "r.json"
    )
    assert code == 0
    assert "model linux-6.12.117" in out
    run = RunResult.load("r.json")
    assert run.beside is not None
    code, _, err = cli("compare", "--model", "r.json", "--json", "b.json")
    assert (code, err) == (0, "")
    found = Beside.model_validate_json(Path("b.json").read_text())
    # Both ways are one: the same file gives the same, run for run.
    assert Beside.model_validate(run.beside).quantities == found.quantities
    both = {one.name: one for one in found.quantities}
    kernels = {name: one.kernel for name, one in both.items()}
    assert kernels["share.failed_spurious"] == kernels["share.ENOMEM"] == 0.25
    assert (kernels["acquired a page"], kernels["migrated a page"]) == (3.0, 1.0)
    assert (kernels["latency.p50"], kernels["latency.p99"]) == (1.5, 1.5)
    # The model did the same load: a page is migrated once a round, and some calls fail.
    assert both["migrated a page"].model == 1.0
    assert 0 < (both["share.ENOMEM"].model or 0) < 1
    assert (both["latency.p99"].model or 0) > 1
    assert found.model.calls == 200
    Draft202012Validator(gupstress.schema("beside")).validate(
        json.loads(Path("b.json").read_text())
    )


def test_what_is_not_counted_is_missing_beside_the_model(
    cli: Cli, kernel: str, qemu: Callable[..., None]
) -> None:
    row = live_row(counters=ROW["counters"], uncontended_ns=None)
    qemu(f"tell({{'host': HOST}}); tell({{'row': {row}}}); tell({{'end': 2}})")
    cli("guest", kernel, "--", "run", *SAME_RANGE, "--json", "r.json")
    cli("compare", "--model", "r.json", "--json", "b.json")
    found = Beside.model_validate_json(Path("b.json").read_text())
    missing = {one.name for one in found.quantities if one.kernel is None}
    counted = {f"{name} a page" for name in ("acquired", "migrated", "migrate_failed")}
    assert missing == counted | {"latency.p50", "latency.p90", "latency.p99"}


def test_a_kernel_that_no_rules_are_known_of_is_kept_without_the_model(
    cli: Cli, kernel: str, qemu: Callable[..., None]
) -> None:
    row = live_row(kernel="linux-6.12.999")
    host = "{**HOST, 'kernel': 'linux-6.12.999'}"
    qemu(f"tell({{'host': {host}}}); tell({{'row': {row}}}); tell({{'end': 2}})")
    words = (*SAME_RANGE, "--on", "both", "--json", "r.json")
    code, _, err = cli("guest", kernel, "--", "run", *words)
    assert (code, RunResult.load("r.json").beside) == (0, None)
    assert "kernel 'linux-6.12.999' is none that is known; nearest: --kernel linux-" in err
    code, _, err = cli("compare", "--model", "r.json")
    assert (code, "r.json: kernel 'linux-6.12.999' is none that is known" in err) == (2, True)
    assert cli("compare", "--model", "r.json", "--kernel", "linux-6.12.117")[0] == 0
    assert cli("guest", kernel, "--", "run", *words, "--kernel", "linux-6.12.117")[0] == 0
    assert RunResult.load("r.json").beside is not None


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("r.json", "--profile", "steady"), "r.json: name was same-range, here it is steady"),
        (("r.json", "r.json"), "HEAD.json: --model holds one result"),
        (("r.json", "--threshold", "3"), "--threshold: --model holds one result"),
        (("r.json", "--format", "junit"), "junit: there is nothing to fail; nearest: json"),
        (("model.json",), "model.json: was run by the model; nearest: gupstress run --on live"),
    ],
)
def test_what_cannot_stand_beside_a_kernel_is_refused(
    cli: Cli, kernel: str, qemu: Callable[..., None], args: tuple[str, ...], said: str
) -> None:
    qemu(f"tell({{'host': HOST}}); tell({{'row': {live_row()}}}); tell({{'end': 2}})")
    cli("guest", kernel, "--", "run", *SAME_RANGE, "--json", "r.json")
    text = Path("r.json").read_text().replace('"target": "live"', '"target": "model"')
    Path("model.json").write_text(text)
    code, out, err = cli("compare", "--model", *args)
    assert (code, out) == (2, "")
    assert said in err
    code, _, err = cli("compare", "r.json", "--base", "kernel", "--kernel", "linux-6.12.43")
    assert (code, "--kernel: says what the model does; nearest: --model" in err) == (2, True)


def test_repeats_that_ended_are_kept_at_an_interrupt(
    kernel: str, qemu: Callable[..., None]
) -> None:
    told = "open('told', 'w').close(); time.sleep(600)"
    qemu(f"tell({{'host': HOST}}); tell({{'row': {ROW}}}); {told}")
    words = ("guest", kernel, "--", "run", *SAME_RANGE, "--repeat", "2", "--json", "r.json")
    with subprocess.Popen([*COMMAND, *words], stderr=subprocess.PIPE, text=True) as process:
        while not Path("told").exists():
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 130
    assert len(RunResult.load("r.json").results) == 1
    assert RunResult.load("r.json").status == "interrupted"


def test_another_count_is_a_finding(cli: Cli, kernel: str, qemu: Callable[..., None]) -> None:
    qemu(WHOLE, {**COUNTERS, "acquired": 9})
    code, out, _ = cli("guest", kernel, "--", "litmus", "anon-local")
    assert code == 1
    assert "acquired 9≠8" in out


def test_only_a_closing_line_proves_completion(
    cli: Cli, kernel: str, qemu: Callable[..., None]
) -> None:
    for end, said in [
        ("", "the guest ended after 2 lines of its answer"),
        ("; tell({'end': 3})", "2 lines came of 3"),
        ("; answer.write(b'ker')", "what came is no answer: 'ker'"),
        (f"; {PANIC}", "the guest ended after 2 lines of its answer: Kernel panic - not syncing"),
    ]:
        qemu(WHOLE.replace("; tell({'end': 2})", end))
        code, out, err = cli("guest", kernel, "--", "litmus", "anon-local")
        assert (code, out) == (3, "")
        assert said in err.splitlines()[-1]
        assert all(line.startswith("console: ") for line in err.splitlines()[:-1])


def test_a_panic_before_anything_is_said_is_tried_again(
    cli: Cli, kernel: str, qemu: Callable[..., None]
) -> None:
    qemu(f"if boots == 1: {PANIC}\n{WHOLE}")
    code, _, err = cli("guest", kernel, "--", "litmus", "anon-local")
    assert (code, boots()) == (0, 2)
    assert "Fatal exception; again under tcg" in err
    Path("boots").unlink()
    qemu(PANIC)
    code, _, err = cli("guest", kernel, "--", "litmus", "anon-local")
    assert (code, boots()) == (3, 3)
    assert "console: [1.1] Kernel panic" in err


def test_kvm_is_used_where_it_works(
    cli: Cli, kernel: str, qemu: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("kvm").touch()
    monkeypatch.setattr(machine, "_KVM", "kvm")
    qemu(f"if 'kvm' in words: print('KVM internal error. Suberror: 1'); time.sleep(60)\n{WHOLE}")
    code, _, err = cli("guest", kernel, "--", "litmus", "anon-local")
    assert (code, boots()) == (0, 2)
    assert "under kvm the guest cannot be run on this processor; again under tcg" in err
    code, _, err = cli("guest", kernel, "--accel", "tcg", "--", "litmus", "anon-local")
    assert (code, boots(), err) == (0, 3, "")
    # Some processors have a KVM that QEMU itself gives up on.
    qemu(f"if 'kvm' in words: print('kvm.c: failed.', flush=True); os.abort()\n{WHOLE}")
    code, _, err = cli("guest", kernel, "--", "litmus", "anon-local")
    assert (code, boots()) == (0, 5)
    assert "under kvm the guest was not run: kvm.c: failed.; again under tcg" in err
    code, _, err = cli("guest", kernel, "--accel", "kvm", "--", "litmus", "anon-local")
    assert (code, boots()) == (3, 6)
    assert err == "gupstress: the guest was not run: kvm.c: failed.\n"


def test_a_guest_killed_from_outside_is_not_booted_again(
    cli: Cli, kernel: str, qemu: Callable[..., None]
) -> None:
    qemu("os.kill(os.getpid(), signal.SIGKILL)")
    code, _, err = cli("guest", kernel, "--", "litmus", "anon-local")
    assert (code, boots()) == (3, 1)
    assert err == "gupstress: the guest was killed by SIGKILL after 0 lines of its answer\n"


def test_a_guest_that_hangs_is_ended(cli: Cli, kernel: str, qemu: Callable[..., None]) -> None:
    qemu("console.write(b'booting\\n'); time.sleep(600)")
    code, _, err = cli("guest", kernel, "--boot-timeout", "2s", "--", "litmus", "anon-local")
    assert (code, boots()) == (3, 1)
    console, line = err.splitlines()
    assert console == "console: booting"
    assert "said nothing for 2s" in line
    assert_gone(int(Path("pid").read_text()))


def assert_gone(pid: int) -> None:
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_what_qemu_complains_of_is_said(cli: Cli, kernel: str, qemu: Callable[..., None]) -> None:
    qemu("print('qemu: warning: slow'); print('qemu: -foo: invalid option'); sys.exit(1)")
    code, _, err = cli("guest", kernel, "--", "litmus", "anon-local")
    assert (code, boots()) == (3, 1)
    assert err == "gupstress: the guest was not run: qemu: -foo: invalid option\n"


def test_ctrl_c_leaves_nothing_running(kernel: str, qemu: Callable[..., None]) -> None:
    qemu("console.write(b'booting\\n'); time.sleep(600)")
    command = [*COMMAND, "guest", kernel, "--", "litmus", "anon-local"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not (Path("pid").exists() and Path("pid").read_text()):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert (process.returncode, err.strip()) == (130, "gupstress: interrupted")
    assert_gone(int(Path("pid").read_text()))


def test_a_full_disk_is_one_line(
    cli: Cli, kernel: str, qemu: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    qemu(WHOLE)

    def full(path: Path, _: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    code, out, err = cli("guest", kernel, "--", "litmus", "anon-local")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "No space left on device; nearest: TMPDIR=" in err
