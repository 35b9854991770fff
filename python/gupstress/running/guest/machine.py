"""One virtual machine: booted, listened to, and gone, however it ends."""

import json
import os
import signal
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from gupstress import _core
from gupstress.errors import ConfigError, InconclusiveError, ResourceError
from gupstress.running.guest import image, initrd, modules
from gupstress.running.lines import Lines
from gupstress.running.live import Answer, Request, read

MIB = 1 << 20

_KEPT = 12
"""Lines of the console that are kept for who asks why it ended."""

_BOOTS = 3
"""Times that one is booted which ends before it says anything: emulation panics now and then."""

_KVM = "/dev/kvm"
_KVM_BOOT_S = 30.0
"""A kernel that runs on the processor itself says something long before."""

_ACCEL = {"kvm": ("kvm", "-cpu", "host"), "tcg": ("tcg,thread=multi",)}

_DEVICE = ("-machine", "q35", "-device", "intel-iommu,intremap=off", "-device", "pci-testdev")
"""A device that does nothing, behind an IOMMU, for who pins by VFIO."""
_DEVICE_WORDS = ("intel_iommu=on",)


class _EndedError(Exception):
    """A machine that did not answer."""

    def __init__(self, how: str, *, again: bool = False) -> None:
        """Say how it ended, and whether another boot may end otherwise."""
        super().__init__(how)
        self.again = again


@dataclass(frozen=True)
class Guest:
    """A virtual machine that boots a kernel for each question, and has our program alone in it."""

    kernel: image.Image
    modules: Path | None
    """Where its modules are, if they do not come with it."""
    cpus: int
    memory_bytes: int
    movable_bytes: int
    append: tuple[str, ...]
    """Words for the kernel's command line."""
    qemu_args: tuple[str, ...]
    accel: str
    """`auto`, `kvm` or `tcg`."""
    boot_s: float
    """Longest time until it says something."""
    note: Callable[[str], None]
    """Told what is worth knowing while it runs."""

    def ask(self, request: Request, wall_s: float) -> Iterator[Answer]:
        """Yield what is answered; see `Target`."""
        asked = json.dumps(request)
        if (needed := _core.live_cpus(asked)) > self.cpus:
            near = f"nearest: {needed}"
            raise ConfigError([("--cpus", f"{self.cpus} are fewer than are needed; {near}")])
        qemu, program = image.qemu(), image.init()
        device = _core.live_needs_device(asked)
        loaded = modules.of(self.kernel, self.modules) if device else {}
        try:
            with tempfile.TemporaryDirectory(prefix="gupstress-") as folder:
                files = Path(folder, "initrd")
                packed = initrd.files(program.read_bytes(), asked.encode(), loaded)
                files.write_bytes(initrd.archive(packed))
                booted = self.kernel.path
                if self.kernel.contents is not None:
                    booted = Path(folder, "kernel")
                    booted.write_bytes(self.kernel.contents)
                line = [qemu, *self._arguments(booted, files, device)]
                yield from self._boots(line, wall_s)
        except OSError as error:
            place = error.filename or tempfile.gettempdir()
            raise ResourceError(f"{place}: {error.strerror}; nearest: TMPDIR=FOLDER") from error

    def _boots(self, line: list[str], wall_s: float) -> Iterator[Answer]:
        """Boot until one answers; another boot only if the last one said nothing."""
        ways = self._ways()
        while True:
            accel = ways.pop(0)
            is_try = accel == "kvm" and "tcg" in ways
            boot = _Boot(min(self.boot_s, _KVM_BOOT_S) if is_try else self.boot_s, is_try)
            try:
                yield from boot.answers([*line, "-accel", *_ACCEL[accel]], wall_s)
                return
            except _EndedError as ended:
                ways = ways if ended.again else []
                if boot.told or not ways:
                    raise InconclusiveError(f"the guest {ended}", tuple(boot.console)) from None
                self.note(f"under {accel} the guest {ended}; again under {ways[0]}")

    def _ways(self) -> list[str]:
        tcg = ["tcg"] * _BOOTS
        if self.accel != "auto":
            return [self.accel] * _BOOTS
        # What looks like KVM need not be able to run a kernel: it is tried.
        return ["kvm", *tcg] if os.access(_KVM, os.R_OK | os.W_OK) else tcg

    def _arguments(self, kernel: Path, files: Path, device: bool) -> list[str]:
        words = ["console=ttyS0", "panic=-1", "reboot=t", "quiet", "rdinit=/init"]
        # On a busy host no tick may come while the kernel looks whether the timer works.
        words.append("no_timer_check")
        words += [f"movablecore={self.movable_bytes // MIB}M", *self.append]
        words += _DEVICE_WORDS if device else ()
        return [
            *("-smp", str(self.cpus)),
            *("-m", f"{self.memory_bytes // MIB}M"),
            *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
            *("-kernel", str(kernel), "-initrd", str(files), "-append", " ".join(words)),
            *(_DEVICE if device else ()),
            *self.qemu_args,
        ]


class _Boot:
    """One boot of a guest."""

    def __init__(self, boot_s: float, is_try: bool) -> None:
        self.boot_s = boot_s
        self.is_try = is_try
        self.told = 0
        self.console: deque[str] = deque(maxlen=_KEPT)
        self.complaint = ""

    def answers(self, command: list[str], wall_s: float) -> Iterator[Answer]:
        """Yield what is answered.

        Raises:
            _EndedError: Before the answer was whole.
        """
        process, pipes = self._start(command)
        try:
            with Lines(pipes) as lines:
                if (yield from self._listen(lines, wall_s)):
                    return
            code = process.wait()
            # Where KVM is not what QEMU takes it for, an assertion of its own ends it.
            own = code >= 0 or code == -signal.SIGABRT
            raise _EndedError(self._how(code), again=own and (self.is_try or not self.complaint))
        finally:
            process.kill()
            process.wait()

    def _start(self, command: list[str]) -> tuple["subprocess.Popen[bytes]", dict[str, int]]:
        names = ("console", "answer", "complaint")
        ends = {name: os.pipe() for name in names}
        console, answer, complaint = (ends[name][1] for name in names)
        # Two serial lines, so that no message of the kernel gets into an answer.
        serial = [word for end in (console, answer) for word in ("-serial", f"file:/dev/fd/{end}")]
        try:
            process = subprocess.Popen(  # noqa: S603 -- what the user asked for
                [*command, *serial],
                stdin=subprocess.DEVNULL,
                stdout=complaint,
                stderr=complaint,
                pass_fds=(console, answer),
                # Ctrl-C is ours to answer.
                start_new_session=True,
                preexec_fn=_core.end_with_parent,
            )
        except OSError:
            for inner, _ in ends.values():
                os.close(inner)
            raise
        finally:
            for _, outer in ends.values():
                os.close(outer)
        return process, {name: inner for name, (inner, _) in ends.items()}

    def _listen(self, lines: Lines, wall_s: float) -> Generator[Answer, None, bool]:
        """Yield what is answered; return whether the answer is whole."""
        limit_s = self.boot_s
        while True:
            try:
                line = lines.next(limit_s)
            except TimeoutError:
                limit = _core.show_duration(limit_s)
                how = f"said nothing for {limit} after {self.told} lines of its answer"
                raise _EndedError(how, again=self.is_try) from None
            if line is None:
                return False
            if line.pipe == "answer":
                answer = read(line.text, self.told)
                if answer is None:
                    return True
                self.told += 1
                limit_s = wall_s
                yield answer
            elif line.pipe == "console":
                self.console.append(line.text)
            else:
                self.complaint = line.text if "warning:" not in line.text else self.complaint
                if line.text.startswith("KVM internal error"):
                    raise _EndedError("cannot be run on this processor", again=True)

    def _how(self, code: int) -> str:
        """Say how a machine ended that did not say its last line."""
        after = f"after {self.told} lines of its answer"
        if code == -signal.SIGABRT and self.complaint:
            return f"was not run: {self.complaint}"
        if code < 0:
            return f"was killed by {signal.Signals(-code).name} {after}"
        panic = next((line for line in self.console if "Kernel panic" in line), None)
        if panic is not None:
            return f"ended {after}: {panic.partition('] ')[2] or panic}"
        if code and self.complaint:
            return f"was not run: {self.complaint}"
        return f"ended {after}"
