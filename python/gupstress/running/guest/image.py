"""Finds what a guest is made of: the kernel, its only program, and who runs them."""

import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import NamedTuple

from gupstress import _core
from gupstress.errors import ConfigError, UnavailableError
from gupstress.problems import nearest
from gupstress.running.guest import package

QEMU = "qemu-system-x86_64"
INIT = "gupstress-guest"

_MAGIC_AT = 0x202
_MAGIC = b"HdrS"
"""Of the boot protocol, `Documentation/arch/x86/boot.rst`."""

_INSTALLED = ("/boot/vmlinuz-{}", "/usr/lib/modules/{}/vmlinuz", "/lib/modules/{}/vmlinuz")
_BUILT = "arch/x86/boot/bzImage"


class Image(NamedTuple):
    """A kernel that can be booted."""

    path: Path
    """Where it is from."""
    contents: bytes | None = None
    """The image itself, where it is part of that file."""


def kernel(given: str) -> Image:
    """Return the image that is meant: of a file, a built tree, an installed version, a package.

    Raises:
        ConfigError: There is none, or it is no kernel.
    """
    path = Path(given)
    if path.is_dir():
        path /= _BUILT
    if not path.exists() and "/" not in given:
        installed = (Path(place.format(given)) for place in _INSTALLED)
        path = next((place for place in installed if place.exists()), path)
    contents = None
    try:
        with path.open("rb") as image:
            head = image.read(_MAGIC_AT + len(_MAGIC))
        if head.startswith(package.MAGIC):
            contents = package.image(path.read_bytes())
            head = contents[: _MAGIC_AT + len(_MAGIC)]
    except OSError as error:
        raise ConfigError(
            [("KERNEL", f"{path}: {error.strerror}; nearest: {_near(given)}")]
        ) from None
    except ValueError as error:
        raise ConfigError([("KERNEL", f"{path} is {error}; nearest: {_near(given)}")]) from None
    if head[_MAGIC_AT:] != _MAGIC:
        what = "an ELF file, not a bzImage" if head.startswith(b"\x7fELF") else "no bzImage"
        raise ConfigError([("KERNEL", f"{path} is {what}; nearest: {_near(given)}")])
    return Image(path, contents)


def _near(given: str) -> str:
    versions = [
        path.name.removeprefix("vmlinuz-") for path in sorted(Path("/boot").glob("vmlinuz-*"))
    ]
    return nearest(given, versions) or f"LINUX/{_BUILT}"


def qemu() -> str:
    """Return the program that runs virtual machines.

    Raises:
        UnavailableError: It is not installed.
    """
    found = shutil.which(QEMU)
    if found is None:
        raise UnavailableError(f"no {QEMU}; nearest: apt install qemu-system-x86")
    return found


def init() -> Path:
    """Return the guest's only program, of this very version.

    Raises:
        UnavailableError: It is not installed, or another version is.
    """
    # An environment that is not active has its programs all the same.
    found = shutil.which(INIT, path=sysconfig.get_path("scripts")) or shutil.which(INIT)
    if found is None:
        raise UnavailableError(f"no {INIT}; nearest: pip install ./guest")
    wanted = f"{INIT} {_core.__version__}"
    try:
        asked = subprocess.run(  # noqa: S603 -- our own program
            [found, "--version"], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise UnavailableError(f"{found}: {error.strerror}; nearest: pip install ./guest") from None
    if asked.stdout.strip() != wanted:
        said = asked.stdout.strip()[:40] or "nothing"
        raise UnavailableError(f"{found} is {said}, not {wanted}; nearest: pip install ./guest")
    return Path(found)
