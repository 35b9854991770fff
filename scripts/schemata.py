"""A copy of the sources with faults in it, one of which is chosen when a test runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parent.parent
MACHINE = Path("crates/machine/src")
CHOICE = """
/// Whether a test is to see this fault: that of the environment variable `MUTANT`. With one named
/// `MUTANTS_REACHED` it sees none, and that file has the number of each that it came by.
#[allow(missing_docs)]
#[inline]
pub fn mutant(number: u32) -> bool {
    static CHOSEN: std::sync::LazyLock<u32> = std::sync::LazyLock::new(|| {
        let is_asked = std::env::var_os("MUTANTS_REACHED").is_some();
        let chosen = || std::env::var("MUTANT").ok()?.parse().ok();
        if is_asked { u32::MAX } else { chosen().unwrap_or(0) }
    });
    if *CHOSEN == u32::MAX {
        reached(number);
    }
    *CHOSEN == number
}

#[cold]
fn reached(number: u32) {
    use std::io::Write;
    use std::sync::atomic::{AtomicBool, Ordering};
    static REACHED: [AtomicBool; 1 << 14] = [const { AtomicBool::new(false) }; 1 << 14];
    let known = &REACHED[number as usize];
    if !known.load(Ordering::Relaxed) && !known.swap(true, Ordering::Relaxed) {
        let path = std::env::var_os("MUTANTS_REACHED").unwrap();
        let mut file = std::fs::File::options().append(true).create(true).open(path).unwrap();
        file.write_all(format!("{number}\\n").as_bytes()).unwrap();
    }
}
"""


def choice(file: Path, number: int) -> str:
    """The expression in a file that is true where a fault is chosen."""
    at = "crate" if "machine" in file.parts else "gupstress_machine"
    return f"{at}::mutant({number})"


def copied(changed: Mapping[Path, str], to: Path) -> None:
    """Make a copy of the sources, with what stands in some files instead, and the choice."""
    ignored = shutil.ignore_patterns("target", ".git", ".venv", "*.so", "python", "docs")
    shutil.copytree(ROOT, to, ignore=ignored, dirs_exist_ok=True)
    for file, text in changed.items():
        (to / file).write_text(text, encoding="utf-8")
    with (to / MACHINE / "lib.rs").open("a", encoding="utf-8") as lib:
        lib.write(CHOICE)
