//! A fingerprint of the sources that a replay depends on: a schedule is of the version that made it.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    println!("cargo:rerun-if-changed={}", folder.display());
    let Ok(entries) = fs::read_dir(folder) else { return into.push(folder.to_owned()) };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            into.push(path);
        }
    }
}

fn main() {
    let mut files = Vec::new();
    // What a run does: the machine, who runs it, the loads, and how calls are classed. Not how a
    // schedule is searched for, made smaller or told.
    let loads = ["src/stress", "src/litmus", "src/script", "src/explore/load.rs", "src/explore/scripted.rs"];
    let runs = ["../machine/src", "src/drive", "src/judge/class.rs"];
    let replays = ["src/explore/runner.rs", "src/explore/schedule.rs", "src/explore/file.rs"];
    for part in runs.into_iter().chain(loads).chain(replays) {
        sources(Path::new(part), &mut files);
    }
    files.sort();
    // FNV-1a: stable, and no dependency of a build.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for file in files {
        for byte in fs::read(&file).unwrap_or_default() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    println!("cargo:rustc-env=GUPSTRESS_FINGERPRINT={version}-{hash:016x}");
}
