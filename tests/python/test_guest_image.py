"""What a guest is made of: its kernel, modules and only program, and what is no such thing.

The machine is a script, as in `test_guest.py`.
"""

import io
import json
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from conftest import Ended
from guests import WHOLE
from gupstress.running.guest import image, initrd, modules

Cli = Callable[..., Ended]


def test_what_a_guest_is_made_of_is_looked_for_first(
    cli: Cli, kernel: str, qemu: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("guest", kernel, "--", "litmus", "anon-local")
    code, _, err = cli(*words)
    assert (code, err) == (
        4,
        "gupstress: no qemu-system-x86_64; nearest: apt install qemu-system-x86\n",
    )
    qemu(WHOLE)
    monkeypatch.setattr(image, "INIT", "no-such-init")
    code, _, err = cli(*words)
    assert (code, err) == (4, "gupstress: no no-such-init; nearest: pip install ./guest\n")
    code, _, err = cli("guest", kernel, "--cpus", "1", "--", "litmus", "anon-remote")
    assert (code, err) == (2, "gupstress: --cpus: 1 are fewer than are needed; nearest: 2\n")
    assert not Path("boots").exists()


BZIMAGE = bytes(0x202) + b"HdrS" + bytes(65)


def archived(members: dict[str, bytes]) -> bytes:
    """Return an `ar` archive."""
    parts = [b"!<arch>\n"]
    for name, contents in members.items():
        head = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(contents):<10}`\n"
        parts += [head.encode(), contents, b"\n" * (len(contents) % 2)]
    return b"".join(parts)


def tarred(files: dict[str, bytes], mode: Literal["w:gz", "w:xz"]) -> bytes:
    """Return a compressed `tar`."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as tar:
        for name, contents in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(contents)
            tar.addfile(entry, io.BytesIO(contents))
    return packed.getvalue()


@pytest.mark.parametrize("mode", ["w:gz", "w:xz"])
@pytest.mark.parametrize("place", ["./boot/vmlinuz-6.12", "./usr/lib/modules/6.12/vmlinuz"])
def test_the_kernel_of_a_debian_package_is_booted(
    cli: Cli, qemu: Callable[..., None], mode: Literal["w:gz", "w:xz"], place: str
) -> None:
    files = {"./boot/System.map": b"odd", place: BZIMAGE}
    members = {"debian-binary": b"2.0\n", "control.tar": b"odd"}
    data = archived({**members, f"data.tar.{mode[2:]}": tarred(files, mode)})
    Path("linux-image.deb").write_bytes(data)
    qemu(
        f"open('booted', 'wb').write(open(words[words.index('-kernel') + 1], 'rb').read())\n{WHOLE}"
    )
    code, _, err = cli("guest", "linux-image.deb", "--", "litmus", "anon-local")
    assert (code, err) == (0, "")
    assert Path("booted").read_bytes() == BZIMAGE


def test_an_installed_version_is_booted(
    cli: Cli, kernel: str, qemu: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("boot").mkdir()
    Path(kernel).rename("boot/vmlinuz-6.12.99-amd64")
    monkeypatch.setattr(image, "_INSTALLED", ("boot/vmlinuz-{}",))
    qemu(WHOLE)
    assert cli("guest", "6.12.99-amd64", "--", "litmus", "anon-local")[0] == 0
    words = json.loads(Path("words").read_text())
    assert words[words.index("-kernel") + 1] == "boot/vmlinuz-6.12.99-amd64"
    code, _, err = cli("guest", "6.12.98-amd64", "--", "litmus", "anon-local")
    assert (code, "6.12.98-amd64: No such file" in err) == (2, True)


def test_what_is_no_kernel_is_refused(cli: Cli, kernel: str) -> None:
    Path("vmlinux").write_bytes(b"\x7fELF" + bytes(600))
    Path("tree/arch/x86/boot").mkdir(parents=True)
    Path(kernel).rename("tree/arch/x86/boot/bzImage")
    assert image.kernel("tree").path == Path("tree/arch/x86/boot/bzImage")
    for given, members in [
        ("cut.deb", {"debian-binary": b"2.0\n", "data.tar": BZIMAGE}),
        ("other.deb", {"debian-binary": b"2.0\n"}),
        ("broken.deb", {"data.tar.xz": b"no tar"}),
        ("empty.deb", {"data.tar.gz": tarred({"./usr/share/doc/x": b""}, "w:gz")}),
        ("elf.deb", {"data.tar.gz": tarred({"./boot/vmlinuz-6": b"\x7fELF" + bytes(600)}, "w:gz")}),
    ]:
        Path(given).write_bytes(archived(members)[: -9 if given == "cut.deb" else None])
    for given, said in [
        ("cut.deb", "cut.deb is a package that is cut off"),
        ("other.deb", "other.deb is an archive, but no Debian package"),
        ("broken.deb", "broken.deb is a package whose data.tar.xz cannot be read"),
        ("empty.deb", "empty.deb is a package without a kernel image"),
        ("elf.deb", "elf.deb is an ELF file, not a bzImage"),
        ("vmlinux", "vmlinux is an ELF file, not a bzImage"),
        ("missing", "missing: No such file or directory"),
        (__file__, "is no bzImage"),
    ]:
        code, out, err = cli("guest", given, "--", "litmus")
        assert (code, out, len(err.splitlines())) == (2, "", 1)
        assert said in err
        assert "nearest: " in err


KEPT = """
import pathlib
pathlib.Path("kept").write_bytes(pathlib.Path(words[words.index("-initrd") + 1]).read_bytes())
"""
MODULES = "./usr/lib/modules/6.12/kernel"


def packaged(name: str, files: dict[str, bytes]) -> str:
    """Write a package, and return its name."""
    Path(name).write_bytes(
        archived({"debian-binary": b"2.0\n", "data.tar.gz": tarred(files, "w:gz")})
    )
    return name


def pinned(step: str) -> str:
    """Write a scenario that ends with a step, and return its file."""
    steps = json.dumps(["map a 1 anon", step])
    Path("v.toml").write_text(f'name = "anon-local"\nsteps = {steps}\n')
    return "v.toml"


def kept(*args: str, cli: Cli) -> tuple[list[str], bytes]:
    """Boot, and return the line of the machine and its files."""
    code, _, err = cli("guest", *args)
    # What is answered here is of another scenario.
    assert (code, err) == (1, "")
    return json.loads(Path("words").read_text()), Path("kept").read_bytes()


@pytest.mark.parametrize("step", ["vfpin a", "pinro a by vfio"])
def test_who_pins_by_vfio_has_a_device_and_the_modules_of_the_package(
    cli: Cli, qemu: Callable[..., None], step: str
) -> None:
    qemu(f"{KEPT}\n{WHOLE}")
    files = {
        "./boot/vmlinuz-6.12": BZIMAGE,
        f"{MODULES}/drivers/vfio/vfio.ko.xz": lzma.compress(b"of-vfio"),
        f"{MODULES}/drivers/vfio/pci/vfio-pci.ko": b"of-pci",
        f"{MODULES}/drivers/vfio/odd.ko.zst": b"packed otherwise",
        f"{MODULES}/virt/lib/irqbypass.ko.xz": lzma.compress(b"of-irq"),
        f"{MODULES}/drivers/net/tun.ko": b"of-no-use",
    }
    package = packaged("linux-image.deb", files)
    words, unpacked = kept(package, "--", "litmus", pinned(step), cli=cli)
    assert "pci-testdev" in words
    assert "intel_iommu=on" in words[words.index("-append") + 1]
    for name, contents in [
        ("vfio.ko", b"of-vfio"),
        ("vfio-pci.ko", b"of-pci"),
        ("irqbypass.ko", b"of-irq"),
    ]:
        assert f"modules/{name}\0".encode() in unpacked
        assert contents in unpacked
    assert b"of-no-use" not in unpacked
    assert b"odd" not in unpacked
    # Nobody else has any of it.
    words, unpacked = kept(package, "--", "litmus", pinned("pin a"), cli=cli)
    assert "pci-testdev" not in words
    assert "intel_iommu" not in words[words.index("-append") + 1]
    assert b"modules/vfio.ko\0" not in unpacked


def test_modules_come_from_where_they_are_said_to_be_or_beside_the_kernel(
    cli: Cli, kernel: str, qemu: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    qemu(f"{KEPT}\n{WHOLE}")
    file = pinned("vfpinro a")
    module = {f"{MODULES}/drivers/vfio/vfio.ko": b"of-vfio"}
    package = packaged("linux-modules.deb", module)
    assert b"of-vfio" in kept(kernel, "--modules", package, "--", "litmus", file, cli=cli)[1]
    # Without any the step is refused by name, in the guest.
    assert b"of-vfio" not in kept(kernel, "--", "litmus", file, cli=cli)[1]
    Path("tree/arch/x86/boot").mkdir(parents=True)
    Path(kernel).rename("tree/arch/x86/boot/bzImage")
    Path("tree/drivers/vfio").mkdir(parents=True)
    Path("tree/drivers/vfio/vfio.ko").write_bytes(b"of-tree")
    assert b"of-tree" in kept("tree", "--", "litmus", file, cli=cli)[1]
    Path("boot").mkdir()
    Path("tree/arch/x86/boot/bzImage").rename("boot/vmlinuz-6.12.99")
    monkeypatch.setattr(image, "_INSTALLED", ("boot/vmlinuz-{}",))
    monkeypatch.setattr(modules, "_INSTALLED", ("modules",))
    Path("modules/6.12.99/kernel/drivers/vfio").mkdir(parents=True)
    Path("modules/6.12.99/kernel/drivers/vfio/vfio.ko").write_bytes(b"of-installed")
    assert b"of-installed" in kept("6.12.99", "--", "litmus", file, cli=cli)[1]


def test_what_has_no_modules_is_refused(cli: Cli, kernel: str, qemu: Callable[..., None]) -> None:
    qemu(WHOLE)
    file = pinned("vfpin a")
    packaged("other.deb", {"./boot/vmlinuz-6.12": BZIMAGE})
    packaged("broken.deb", {f"{MODULES}/drivers/vfio/vfio.ko.xz": b"no xz"})
    Path("empty").mkdir()
    for given, said in [
        ("missing", "missing: No such file or directory"),
        ("other.deb", "other.deb has no module of VFIO"),
        ("empty", "empty has no module of VFIO"),
        ("broken.deb", "broken.deb has a module that cannot be unpacked"),
        (file, f"{file} is no Debian package and no folder"),
    ]:
        code, out, err = cli("guest", kernel, "--modules", given, "--", "litmus", file)
        assert (code, out) == (2, "")
        assert err == f"gupstress: --modules: {said}; nearest: linux-modules-VERSION.deb\n"
    assert not Path("boots").exists()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--", "matrix"), "'matrix' is not done in a guest; nearest: -- litmus"),
        (("--memory", "lots", "--", "litmus"), "'lots' is not an amount of memory; nearest: 256M"),
        (("--movable", "500M", "--", "litmus"), "--movable: 500M leaves the kernel too little"),
        (("--cpus", "65", "--", "litmus"), "--cpus: 65 is not from 1 to 64; nearest: 64"),
        (("--", "litmus", "--on", "model"), "--on: model: a guest has a kernel of its own"),
    ],
)
def test_a_wrong_line_is_refused(cli: Cli, kernel: str, args: tuple[str, ...], said: str) -> None:
    code, out, err = cli("guest", kernel, *args)
    assert (code, out) == (2, "")
    assert said in err


def test_the_archive_has_what_the_kernel_unpacks() -> None:
    archive = initrd.archive(initrd.files(b"program!", b"{}", {"vfio.ko": b"module"}))
    seen, at = {}, 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        mode, size, length = fields[1], fields[6], fields[11]
        name = archive[at + 110 : at + 110 + length - 1].decode()
        body = (at + 110 + length + 3) // 4 * 4
        if name == "TRAILER!!!":
            break
        seen[name] = (mode, archive[body : body + size], fields[9:11])
        at = (body + size + 3) // 4 * 4
    assert seen["init"] == (0o100755, b"program!", [0, 0])
    assert seen["request.json"][1] == b"{}"
    assert (seen["modules"][0], seen["modules/vfio.ko"][1]) == (0o040755, b"module")
    assert seen["dev/console"] == (0o020600, b"", [5, 1])
    assert len(archive) % 4 == 0
