//! The scenarios in `data/litmus`: most in a file of their own, many measured ones in one.

use crate::error::Result;
use crate::policy::{preset_text, presets};
use std::sync::LazyLock;

const ALONE: &[(&str, &str)] = presets!("litmus":
    "anon-local" "anon-remote" "anon-fault-in-pin" "anon-on-lru-local"
    "anon-on-lru-remote" "shmem-local" "shmem-mlock-remote" "shmem-mlock-on-lru-remote"
    "anon-mlock-local" "anon-64-local" "anon-cold-remote" "anon-held-ref"
    "anon-zero-page" "anon-repin" "anon-batch-edge-27" "anon-three-cpus"
    "anon-half-pinned-before" "shmem-munlock-remote" "anon-partial-range" "anon-lazyfree-local"
    "race-drain-sweep" "race-drain-unsafe" "race-isolation" "race-contended" "race-short-refs"
    "race-lock" "race-writeback" "race-contig" "race-udmabuf");

/// Files of several scenarios.
const TOGETHER: &[(&str, &str)] = presets!("litmus": "folios");

/// Names and texts of those in files of several.
static PARTS: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
    let files = TOGETHER.iter().map(|(_, text)| text.parse::<toml::Table>().expect("shipped TOML"));
    let part = |part: &toml::Value| {
        let name = part["name"].as_str().expect("a scenario has a name");
        (name.to_owned(), part.as_table().expect("a scenario is a table").to_string())
    };
    files
        .flat_map(|file| {
            file["scenario"].as_array().expect("[[scenario]]").iter().map(part).collect::<Vec<_>>()
        })
        .collect()
});

fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    let parts = PARTS.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    ALONE.iter().copied().chain(parts)
}

/// The scenarios shipped with the crate.
pub fn litmus_names() -> Vec<&'static str> {
    all().map(|(name, _)| name).collect()
}

/// A shipped scenario as TOML.
///
/// # Errors
/// There is none of that name; which is nearest.
pub fn show_litmus(name: &str) -> Result<&'static str> {
    preset_text("", "litmus", &all().collect::<Vec<_>>(), name)
}
