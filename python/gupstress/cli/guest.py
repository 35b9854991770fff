"""`gupstress guest`: the same in a virtual machine that boots another kernel."""

import shlex
from pathlib import Path

import click

from gupstress.cli import completion, where
from gupstress.cli.exits import HELP, CommandError, complain
from gupstress.cli.litmus import litmus
from gupstress.cli.params import Gathering, OneOf, mistakes, number, reads
from gupstress.cli.run import run
from gupstress.values import Bytes

MIB = 1 << 20

_COMMANDS: dict[str, click.Command] = {"litmus": litmus, "run": run}

_CPUS = 64
"""A guest with more of them than the host has is slow, and emulation has its own limit."""

_MOST_BYTES = 1 << 40
_KERNEL_NEEDS = 128 * MIB
"""What a kernel takes for itself of memory that does not move, and some to spare."""


@click.command(
    cls=Gathering,
    short_help="Measure another kernel, in a virtual machine that boots it.",
    epilog=HELP,
    options_metavar="[OPTIONS]",
)
@click.argument("kernel", metavar="KERNEL", shell_complete=completion.file)
@click.argument(
    "words", nargs=-1, required=True, metavar="-- litmus|run ...", type=click.UNPROCESSED
)
@click.option("--cpus", type=number("cpus"), metavar="N", default=4, help="CPUs.  [default: 4]")
@click.option(
    "--memory",
    type=reads(Bytes(2 * _KERNEL_NEEDS, _MOST_BYTES)),
    metavar="SIZE",
    default=512 * MIB,
    help="Memory.  [default: 512M]",
)
@click.option(
    "--movable",
    type=reads(Bytes(16 * MIB, _MOST_BYTES)),
    metavar="SIZE",
    default=256 * MIB,
    help="Of it, in ZONE_MOVABLE.  [default: 256M]",
)
@click.option(
    "--append", multiple=True, metavar="WORDS", help="Add to the kernel's command line; repeatable."
)
@click.option(
    "--qemu-arg",
    "qemu_args",
    multiple=True,
    metavar="WORDS",
    help="Add to the line of qemu-system-x86_64; repeatable.",
)
@click.option(
    "--accel",
    type=OneOf(("auto", "kvm", "tcg")),
    default="auto",
    help="What runs it.  [default: auto: KVM where it works, else emulation]",
)
@click.option(
    "--modules",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Where the kernel's modules are, a package or a folder, if they do not come with it: "
    "those of VFIO are loaded where a step pins by it.",
)
@click.option(
    "--boot-timeout",
    "boot_s",
    type=number("timeout_s"),
    metavar="TIME",
    default=240.0,
    help="Longest time until the guest says something.  [default: 4m]",
)
def guest(
    kernel: str,
    words: tuple[str, ...],
    cpus: int,
    memory: int,
    movable: int,
    append: tuple[str, ...],
    qemu_args: tuple[str, ...],
    accel: str,
    modules: Path | None,
    boot_s: float,
) -> int:
    """Boot KERNEL in a virtual machine and measure it there.

    KERNEL is a bzImage, a built tree, a Debian package, or an installed version. The machine
    has one program, ours, so that nothing else is counted.

    \b
    gupstress guest /boot/vmlinuz-6.12.57+deb13-amd64 -- litmus -o measured.toml
    gupstress guest ~/linux --cpus 8 -- litmus anon-remote --repeat 20
    """  # noqa: D301 -- click looks for the character
    # Here, so that `--help` need not wait for it.
    from gupstress.running.guest import image
    from gupstress.running.guest.machine import Guest

    problems = mistakes()
    name, *rest = words
    if name not in _COMMANDS:
        problems.add("", f"{name!r} is not done in a guest; nearest: -- litmus")
    if movable > memory - _KERNEL_NEEDS:
        near = f"{(memory - _KERNEL_NEEDS) // MIB}M"
        problems.add(
            "--movable", f"{movable // MIB}M leaves the kernel too little; nearest: {near}"
        )
    if not 1 <= cpus <= _CPUS:
        near = str(min(max(cpus, 1), _CPUS))
        problems.add("--cpus", f"{cpus} is not from 1 to {_CPUS}; nearest: {near}")
    with problems.collecting():
        found = image.kernel(kernel)
    problems.refuse()
    machine = Guest(
        kernel=found,
        modules=modules,
        cpus=cpus,
        memory_bytes=memory,
        movable_bytes=movable,
        append=append,
        qemu_args=tuple(word for line in qemu_args for word in shlex.split(line)),
        accel=accel,
        boot_s=boot_s,
        note=complain,
    )
    where.within(machine)
    context = click.get_current_context()
    command = _COMMANDS[name]
    with command.make_context(name, list(rest), parent=context) as inner:
        code = command.invoke(inner)
    if not isinstance(code, int):
        raise CommandError(f"{name}: ended without a code")
    return code
